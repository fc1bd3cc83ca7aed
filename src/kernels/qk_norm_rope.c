#include "kernels/step.h"

static sxt_step step_of(const sxt_qk_norm_rope_desc *desc) {
    return (sxt_step){
        .q = desc->q,
        .k = desc->k,
        .v = desc->v,
        .q_out = desc->q_out,
        .k_out = sxt_tensor_present(&desc->k_out) ? desc->k_out : desc->cache.k,
        .v_out = desc->cache.v,
        .q_weight = desc->q_weight,
        .k_weight = desc->k_weight,
        .positions = desc->positions,
        .slots = desc->cache.slots,
        .block_table = desc->cache.block_table,
        .k_scale = desc->cache.k_scale,
        .v_scale = desc->cache.v_scale,
        .first_row = desc->cache.first_row,
        .k_cached = sxt_tensor_present(&desc->cache.k),
        .norm = desc->norm,
        .eps = desc->eps,
        .offset = desc->offset,
        .normalise_v = desc->normalise_v,
        .rope = desc->rope,
    };
}

static void fill_table(const void *context, void *out_data) {
    sxt_step step = step_of(context);
    sxt_step_table_fill(&step, out_data);
}

sxt_result sxt_qk_norm_rope_plan(const sxt_caps *caps, const sxt_qk_norm_rope_desc *desc, sxt_plan *out_plan) {
    sxt_step step = step_of(desc);
    sxt_result result = sxt_step_plan(caps, "qk_norm_rope", &step, out_plan);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    return result;
}
