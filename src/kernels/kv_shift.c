#include "kernels/step.h"

// A step that rotates k in place; a cache's rows are its tokens, and what they are moved by their positions.
static sxt_step step_of(const sxt_kv_shift_desc *desc) {
    return (sxt_step){
        .k = desc->k,
        .k_out = desc->k,
        .k_scale = desc->k_scale,
        .positions = desc->deltas,
        .moved = true,
        .norm = SXT_NORM_NONE,
        .rope = desc->rope,
    };
}

static void fill_table(const void *context, void *out_data) {
    sxt_step step = step_of(context);
    sxt_step_table_fill(&step, out_data);
}

sxt_result sxt_kv_shift_plan(const sxt_caps *caps, const sxt_kv_shift_desc *desc, sxt_plan *out_plan) {
    sxt_step step = step_of(desc);
    sxt_result result = sxt_step_plan(caps, "kv_shift", &step, out_plan);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    return result;
}
