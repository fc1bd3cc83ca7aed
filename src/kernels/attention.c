// Which kernel a call of attention gets.
#include "kernels/attention.h"

enum { DRIVER_LLVMPIPE = 13 }; // VkDriverId

// llvmpipe, which is lavapipe's, has kernels of its own: a barrier or shared memory costs it more than it saves.
static bool wants_software(const sxt_caps *caps) {
    return caps->driver_id == DRIVER_LLVMPIPE && sxt_plan_by_address(caps) && caps->int64 && caps->subgroup_size >= 4 &&
           caps->subgroup_size <= 16;
}

sxt_result sxt_attention_plan(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    *out_plan = (sxt_plan){0};
    if (sxt_tensor_empty(&desc->o)) {
        sxt_plan_name(out_plan, "attention.none");
        return SXT_OK;
    }
    if (!wants_software(caps) || sxt_attention_is_wide(desc)) return sxt_attention_plan_tile(caps, desc, out_plan);
    if (sxt_attention_plan_decode(caps, desc, out_plan)) return SXT_OK;
    return sxt_attention_plan_prefill(caps, desc, out_plan);
}
