#include "bound.h"

#include "number.h"
#include "store.h"

#include <math.h>
#include <string.h>

const sxt_slot *sxt_evidence_slot(const sxt_evidence *e, const char *field) {
    int slot = sxt_stage_slot(e->stage, field);
    return slot == SXT_NO_SLOT ? NULL : &e->work->slots[slot];
}

const void *sxt_evidence_before(const sxt_evidence *e, const char *field) {
    return e->before[sxt_stage_slot(e->stage, field)];
}

const void *sxt_evidence_result(const sxt_evidence *e, const char *field) {
    return e->reference[sxt_stage_slot(e->stage, field)];
}

// Replaces what is right by the middle of what may be stored, and the bound by half its width.
static void bound_codes(const sxt_slot *slot, const sxt_target *target, double *right, double *bound) {
    enum { MOST = 32 };
    uint32_t block = sxt_type_block(target->type), n = slot->shape[3];
    double errors[MOST], low[MOST], high[MOST];
    for (uint64_t i = 0; i < sxt_slot_count(slot); i += block) {
        uint64_t head = i / n % slot->shape[2];
        if (bound[i] == SXT_BOUND_KEPT) {
            // What is right was decoded to f32, which a scale may round; the next code is far off.
            for (uint32_t c = 0; c < block; c++)
                bound[i + c] = 0x1p-24 * fabs(right[i + c]);
            continue;
        }
        double scale = target->scale ? target->scale[target->scales == 1 ? 0 : head] : 1;
        for (uint32_t c = 0; c < block; c++)
            errors[c] = SXT_BOUND_SLACK * bound[i + c];
        sxt_store_range(target->type, right + i, errors, block, scale, low, high);
        for (uint32_t c = 0; c < block; c++) {
            right[i + c] = low[c] == high[c] ? low[c] : (low[c] + high[c]) / 2;
            // A little for the middle's own rounding, and for a zero of either sign.
            bound[i + c] = (high[c] - low[c]) / 2 / SXT_BOUND_SLACK + 0x1p-50 * fabs(right[i + c]) + 1e-300;
        }
    }
}

void sxt_bound(const sxt_evidence *e, const char *field, const sxt_target *target, double *out_right,
               double *out_bound) {
    const sxt_slot *slot = sxt_evidence_slot(e, field);
    uint64_t count = sxt_slot_count(slot);
    double out_u = sxt_number_roundoff(target->type), tiny = sxt_number_tiny(target->type);
    const sxt_qk_norm_rope_desc *fused = &e->stage->desc.qk_norm_rope;
    bool passes = e->stage->op == SXT_OP_QK_NORM_ROPE && field[0] == 'v' && !fused->normalise_v;
    for (uint64_t i = 0; i < count; i++)
        out_right[i] = sxt_number_get(slot->type, sxt_evidence_result(e, field), i);
    if (e->stage->op == SXT_OP_NORM)
        sxt_bound_norm(e, field, out_bound);
    else if (e->stage->op == SXT_OP_ATTENTION)
        sxt_bound_attention(e, field, out_bound);
    else if (e->stage->op == SXT_OP_ATTENTION_MERGE)
        sxt_bound_merge(e, field, out_bound);
    else
        sxt_bound_rotation(e, field, out_bound);
    if (passes || sxt_type_block(target->type) > 1 || target->type == SXT_TYPE_FP8_E4M3) {
        bound_codes(slot, target, out_right, out_bound);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        out_bound[i] = out_bound[i] == SXT_BOUND_KEPT ? 0 : out_bound[i] + out_u * fabs(out_right[i]) + tiny;
    }
}

double sxt_bound_relative_type(sxt_type type) {
    static const double limits[] = {[SXT_TYPE_F16] = 1e-3,
                                    [SXT_TYPE_BF16] = 8e-3,
                                    [SXT_TYPE_Q8_0] = 1e-2,
                                    [SXT_TYPE_Q4_0] = 0.15,
                                    [SXT_TYPE_FP8_E4M3] = 6e-2};
    return limits[type];
}

static bool reads_codes(const sxt_work *work, const sxt_stage *attention) {
    return sxt_type_block(work->slots[sxt_stage_slot(attention, "k")].type) > 1 ||
           sxt_type_block(work->slots[sxt_stage_slot(attention, "v")].type) > 1;
}

double sxt_bound_relative(const sxt_work *work, int slot) {
    double limit = sxt_bound_relative_type(work->slots[slot].type);
    for (int s = 0; s < work->stage_count; s++) {
        const sxt_field *fields = sxt_op_fields(work->stages[s].op);
        limit = fmax(limit, work->stages[s].op != SXT_OP_ATTENTION ? 2e-6
                            : reads_codes(work, &work->stages[s])  ? 1e-5
                                                                   : 5e-6);
        limit = fmax(limit, sxt_bound_relative_type(work->stages[s].products));
        for (int i = 0; fields[i].name; i++) {
            int written = work->stages[s].slots[i];
            // What one stage rounds, the next one reads.
            if (fields[i].written && written != SXT_NO_SLOT && !work->slots[written].result) {
                limit = fmax(limit, sxt_bound_relative_type(work->slots[written].type));
            }
        }
    }
    return limit;
}
