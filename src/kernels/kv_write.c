#include "kernels/step.h"

// A step with k and v alone, as they are.
static sxt_step step_of(const sxt_kv_write_desc *desc) {
    return (sxt_step){
        .k = desc->k,
        .v = desc->v,
        .k_out = desc->cache.k,
        .v_out = desc->cache.v,
        .slots = desc->cache.slots,
        .block_table = desc->cache.block_table,
        .k_scale = desc->cache.k_scale,
        .v_scale = desc->cache.v_scale,
        .first_row = desc->cache.first_row,
        .k_cached = sxt_tensor_present(&desc->k),
        .norm = SXT_NORM_NONE,
        .rope.pairing = SXT_ROPE_NONE,
    };
}

static void fill_table(const void *context, void *out_data) {
    sxt_step step = step_of(context);
    sxt_step_table_fill(&step, out_data);
}

sxt_result sxt_kv_write_plan(const sxt_caps *caps, const sxt_kv_write_desc *desc, sxt_plan *out_plan) {
    sxt_step step = step_of(desc);
    sxt_result result = sxt_step_plan(caps, "kv_write", &step, out_plan);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    return result;
}
