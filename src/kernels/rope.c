#include "kernels/step.h"

// A step with q alone and no norm.
static sxt_step step_of(const sxt_rope_desc *desc) {
    return (sxt_step){
        .q = desc->x, .q_out = desc->y, .positions = desc->positions, .norm = SXT_NORM_NONE, .rope = desc->rope};
}

static void fill_table(const void *context, void *out_data) {
    sxt_step step = step_of(context);
    sxt_step_table_fill(&step, out_data);
}

sxt_result sxt_rope_plan(const sxt_caps *caps, const sxt_rope_desc *desc, sxt_plan *out_plan) {
    sxt_step step = step_of(desc);
    sxt_result result = sxt_step_plan(caps, "rope", &step, out_plan);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    return result;
}
