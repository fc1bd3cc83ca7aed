// The plan that rope, qk_norm_rope, kv_write and kv_shift share: each is a step (shaders/interface/step.h) in which
// something is missing.
#ifndef SXT_KERNELS_STEP_H
#define SXT_KERNELS_STEP_H

#include "interface/step.h"
#include "kernels/kernels.h"

typedef struct sxt_step {
    sxt_tensor q, k, v;             // each may be missing
    sxt_tensor q_out, k_out, v_out; // of those that are there
    sxt_tensor q_weight, k_weight;
    sxt_tensor positions;
    sxt_tensor slots, block_table, k_scale, v_scale;
    uint32_t first_row;
    bool k_cached; // k_out is a cache, as v_out always is: rows follow from slots, block_table and first_row
    bool moved;    // rows whose positions are 0 stay as they are, and the magnitude of rotation is 1
    sxt_norm_kind norm;
    float eps, offset;
    bool normalise_v;
    sxt_rope_params rope; // pairing NONE: no rotation
} sxt_step;

static inline bool sxt_step_cached(const sxt_step *step) {
    return step->k_cached || sxt_tensor_present(&step->v_out);
}

// `op` names it in the variant. The caller sets plan->table.fill and .context.
sxt_result sxt_step_plan(const sxt_caps *caps, const char *op, const sxt_step *step, sxt_plan *out_plan);

// What table.fill must write for this step.
void sxt_step_table_fill(const sxt_step *step, void *out_data);

// The table's size and key.
void sxt_step_table_plan(const sxt_step *step, sxt_table *out_table);

// Units of eight channels in the rotary range, and in all of a head.
uint32_t sxt_step_rotary_units(const sxt_step *step);
uint32_t sxt_step_units(const sxt_step *step, uint32_t channels);

#endif
