#include "work.h"

#include "number.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const sxt_field norm_fields[] = {
    {"x", offsetof(sxt_norm_desc, x), false},
    {"weight", offsetof(sxt_norm_desc, weight), false},
    {"bias", offsetof(sxt_norm_desc, bias), false},
    {"residual", offsetof(sxt_norm_desc, residual), false},
    {"y", offsetof(sxt_norm_desc, y), true},
    {"residual_out", offsetof(sxt_norm_desc, residual_out), true},
    {NULL, 0, false},
};
static const sxt_field rope_fields[] = {
    {"x", offsetof(sxt_rope_desc, x), false},
    {"positions", offsetof(sxt_rope_desc, positions), false},
    {"y", offsetof(sxt_rope_desc, y), true},
    {NULL, 0, false},
};
static const sxt_field qk_norm_rope_fields[] = {
    {"q", offsetof(sxt_qk_norm_rope_desc, q), false},
    {"k", offsetof(sxt_qk_norm_rope_desc, k), false},
    {"q_weight", offsetof(sxt_qk_norm_rope_desc, q_weight), false},
    {"k_weight", offsetof(sxt_qk_norm_rope_desc, k_weight), false},
    {"positions", offsetof(sxt_qk_norm_rope_desc, positions), false},
    {"q_out", offsetof(sxt_qk_norm_rope_desc, q_out), true},
    {"k_out", offsetof(sxt_qk_norm_rope_desc, k_out), true},
    {NULL, 0, false},
};
static const sxt_field kv_write_fields[] = {
    {"k", offsetof(sxt_kv_write_desc, k), false},
    {"v", offsetof(sxt_kv_write_desc, v), false},
    {"slots", offsetof(sxt_kv_write_desc, slots), false},
    {"k_cache", offsetof(sxt_kv_write_desc, k_cache), true},
    {"v_cache", offsetof(sxt_kv_write_desc, v_cache), true},
    {NULL, 0, false},
};
static const sxt_field attention_fields[] = {
    {"q", offsetof(sxt_attention_desc, q), false},
    {"k", offsetof(sxt_attention_desc, k), false},
    {"v", offsetof(sxt_attention_desc, v), false},
    {"bias", offsetof(sxt_attention_desc, bias), false},
    {"sinks", offsetof(sxt_attention_desc, sinks), false},
    {"alibi_slopes", offsetof(sxt_attention_desc, alibi_slopes), false},
    {"o", offsetof(sxt_attention_desc, o), true},
    {"lse", offsetof(sxt_attention_desc, lse), true},
    {NULL, 0, false},
};

const sxt_field *sxt_op_fields(sxt_op op) {
    static const sxt_field *const fields[SXT_OP_COUNT] = {
        [SXT_OP_NORM] = norm_fields,
        [SXT_OP_ROPE] = rope_fields,
        [SXT_OP_QK_NORM_ROPE] = qk_norm_rope_fields,
        [SXT_OP_KV_WRITE] = kv_write_fields,
        [SXT_OP_ATTENTION] = attention_fields,
    };
    return fields[op];
}

int sxt_work_slot(sxt_work *work, const char *name, sxt_type type, const uint32_t shape[4], const void *initial) {
    assert(work->slot_count < SXT_MAX_SLOTS);
    sxt_slot *slot = &work->slots[work->slot_count];
    *slot = (sxt_slot){.name = name, .type = type, .initial = initial};
    memcpy(slot->shape, shape, sizeof slot->shape);
    return work->slot_count++;
}

sxt_stage *sxt_work_stage(sxt_work *work, sxt_op op) {
    assert(work->stage_count < SXT_MAX_STAGES);
    sxt_stage *stage = &work->stages[work->stage_count++];
    *stage = (sxt_stage){.op = op};
    for (int i = 0; i < SXT_MAX_FIELDS; i++)
        stage->slots[i] = SXT_NO_SLOT;
    return stage;
}

static int find_field(const sxt_stage *stage, const char *name) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    int i = 0;
    while (strcmp(fields[i].name, name) != 0)
        i++;
    return i;
}

void sxt_stage_bind(sxt_stage *stage, const char *field, int slot) {
    stage->slots[find_field(stage, field)] = slot;
}

int sxt_stage_slot(const sxt_stage *stage, const char *field) {
    return stage->slots[find_field(stage, field)];
}

uint64_t sxt_slot_count(const sxt_slot *slot) {
    return (uint64_t)slot->shape[0] * slot->shape[1] * slot->shape[2] * slot->shape[3];
}

uint64_t sxt_slot_bytes(const sxt_slot *slot) {
    return sxt_number_bytes(slot->type, sxt_slot_count(slot));
}

bool sxt_work_writes(const sxt_work *work, int slot) {
    for (int s = 0; s < work->stage_count; s++) {
        const sxt_field *fields = sxt_op_fields(work->stages[s].op);
        for (int i = 0; fields[i].name; i++) {
            if (fields[i].written && work->stages[s].slots[i] == slot) return true;
        }
    }
    return false;
}

void sxt_attention_visible(const sxt_attention_desc *desc, uint32_t tq, uint32_t tk, uint32_t i, uint32_t *out_first,
                           uint32_t *out_end) {
    int64_t own = (int64_t)i + tk - tq, first = 0, last = (int64_t)tk - 1; // masks are aligned bottom-right
    if (desc->causal && own < last) last = own;
    if (desc->windowed && desc->window_left >= 0 && own - desc->window_left > first) first = own - desc->window_left;
    if (desc->windowed && desc->window_right >= 0 && own + desc->window_right < last) last = own + desc->window_right;
    if (last < first) first = 0, last = -1;
    *out_first = (uint32_t)first;
    *out_end = (uint32_t)(last + 1);
}

double sxt_stage_flops(const sxt_work *work, const sxt_stage *stage) {
    const sxt_slot *slots = work->slots;
    if (stage->op == SXT_OP_KV_WRITE) return 0;
    if (stage->op != SXT_OP_ATTENTION) {
        double flops = 0;
        // Per element: 4 for a norm (square, add, two products), 3 for a rotation.
        for (int i = 0; i < 2; i++) {
            int slot = stage->slots[i];
            bool operand = i == 0 || stage->op == SXT_OP_QK_NORM_ROPE;
            double each = stage->op == SXT_OP_NORM ? 4 : stage->op == SXT_OP_ROPE ? 3 : 7;
            if (operand && slot != SXT_NO_SLOT) flops += each * (double)sxt_slot_count(&slots[slot]);
        }
        return flops;
    }
    const sxt_slot *q = &slots[sxt_stage_slot(stage, "q")], *v = &slots[sxt_stage_slot(stage, "v")];
    double pairs = 0;
    for (uint32_t i = 0; i < q->shape[1]; i++) {
        uint32_t first, end;
        sxt_attention_visible(&stage->desc.attention, q->shape[1], v->shape[1], i, &first, &end);
        pairs += end - first;
    }
    return 2 * pairs * q->shape[0] * q->shape[2] * ((double)q->shape[3] + v->shape[3]);
}

double sxt_stage_bytes(const sxt_work *work, const sxt_stage *stage) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    double bytes = 0;
    for (int i = 0; fields[i].name; i++) {
        int slot = stage->slots[i];
        if (slot == SXT_NO_SLOT) continue;
        // A cache may have more rows than the tokens that are written to it.
        if (stage->op == SXT_OP_KV_WRITE && fields[i].written) {
            const sxt_slot *from = &work->slots[sxt_stage_slot(stage, fields[i].name[0] == 'k' ? "k" : "v")];
            bytes += (double)sxt_number_bytes(work->slots[slot].type, sxt_slot_count(from));
        } else {
            bytes += (double)sxt_slot_bytes(&work->slots[slot]);
        }
    }
    return bytes;
}

void sxt_work_finish(sxt_work *work) {
    for (int i = 0; i < work->slot_count; i++)
        free(work->slots[i].owned);
    *work = (sxt_work){0};
}
