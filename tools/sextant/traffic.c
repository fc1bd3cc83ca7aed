// Useful arithmetic and least traffic of a stage, for figures of GFLOP/s and GB/s.
#include "work.h"

#include "number.h"

#include <string.h>

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

static double elements(const sxt_work *work, const sxt_stage *stage, const char *field) {
    int slot = sxt_stage_slot(stage, field);
    return slot == SXT_NO_SLOT ? 0 : (double)sxt_slot_count(&work->slots[slot]);
}

static double attention_flops(const sxt_work *work, const sxt_stage *stage) {
    const sxt_slot *q = &work->slots[sxt_stage_slot(stage, "q")], *v = &work->slots[sxt_stage_slot(stage, "v")];
    double pairs = 0;
    for (uint32_t i = 0; i < q->shape[1]; i++) {
        uint32_t first, end;
        sxt_attention_visible(&stage->desc.attention, q->shape[1], v->shape[1], i, &first, &end);
        pairs += end - first;
    }
    return 2 * pairs * q->shape[0] * q->shape[2] * ((double)q->shape[3] + v->shape[3]);
}

double sxt_stage_flops(const sxt_work *work, const sxt_stage *stage) {
    enum { NORM = 4, ROTATION = 3 }; // an element: square, add, two products; two products, one sum
    switch (stage->op) {
    case SXT_OP_NORM:
        return NORM * elements(work, stage, "x");
    case SXT_OP_ROPE:
        return ROTATION * elements(work, stage, "x");
    case SXT_OP_QK_NORM_ROPE:
        return (NORM + ROTATION) * (elements(work, stage, "q") + elements(work, stage, "k"));
    case SXT_OP_KV_SHIFT:
        return ROTATION * elements(work, stage, "k");
    case SXT_OP_ATTENTION:
        return attention_flops(work, stage);
    case SXT_OP_ATTENTION_MERGE:
        return 3 * elements(work, stage, "o"); // two products, one sum
    case SXT_OP_KV_WRITE:
    case SXT_OP_KV_COPY:
    case SXT_OP_COUNT:
        break;
    }
    return 0;
}

// Of a cache only the rows that are moved count, however many it has.
static double field_bytes(const sxt_work *work, const sxt_stage *stage, const char *field, bool written) {
    const sxt_slot *slot = &work->slots[sxt_stage_slot(stage, field)];
    double bytes = (double)sxt_slot_bytes(slot);
    if (strcmp(field, "k_cache") == 0 || strcmp(field, "v_cache") == 0) {
        const sxt_slot *from = &work->slots[sxt_stage_slot(stage, field[0] == 'k' ? "k" : "v")];
        return (double)sxt_number_bytes(slot->type, sxt_slot_count(from));
    }
    if (stage->op == SXT_OP_KV_COPY && slot->type != SXT_TYPE_I32) {
        double rows = (double)slot->shape[0] * (stage->desc.kv_copy.pages ? 1 : slot->shape[1]);
        return rows > 0 ? bytes / rows * elements(work, stage, "from") : 0;
    }
    return stage->op == SXT_OP_KV_SHIFT && written ? 2 * bytes : bytes; // in place: read, and written
}

double sxt_stage_bytes(const sxt_work *work, const sxt_stage *stage) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    double bytes = 0;
    for (int i = 0; fields[i].name; i++) {
        if (stage->slots[i] != SXT_NO_SLOT) bytes += field_bytes(work, stage, fields[i].name, fields[i].written);
    }
    return bytes;
}
