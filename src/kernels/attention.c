// Which kernel a call of attention gets.
#include "kernels/attention.h"

enum { DRIVER_LLVMPIPE = 13 }; // VkDriverId

// llvmpipe, which is lavapipe's, has kernels of its own: a barrier or shared memory costs it more than it saves.
static bool has_software(const sxt_caps *caps, const sxt_attention_desc *desc) {
    return caps->driver_id == DRIVER_LLVMPIPE && sxt_plan_by_address(caps) && caps->int64 && caps->subgroup_size >= 4 &&
           caps->subgroup_size <= 16 && !sxt_attention_is_wide(desc);
}

static sxt_result plan_software(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    if (sxt_attention_plan_decode(caps, desc, plan)) return SXT_OK;
    return sxt_attention_plan_prefill(caps, desc, plan);
}

// Matrix units take rows by eights or sixteens. With fewer to share a key, reading it takes the time either way: R rows
// make R operations for each byte of f16, and GPUs have 15 (H200) to 80 (RTX 4090) in plain f32.
static bool wants_matrix(const sxt_caps *caps, const sxt_attention_desc *desc) {
    enum { LEAST_ROWS = 8 };
    return !caps->software && sxt_attention_packed_rows(desc) >= LEAST_ROWS && sxt_attention_has_matrix(caps, desc);
}

sxt_result sxt_attention_plan(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    *out_plan = (sxt_plan){0};
    if (sxt_tensor_empty(&desc->o)) {
        sxt_plan_name(out_plan, "attention.none");
        return SXT_OK;
    }
    switch (desc->kernel) {
    case SXT_ATTENTION_TILE:
        return sxt_attention_plan_tile(caps, desc, out_plan);
    case SXT_ATTENTION_SOFTWARE:
        if (has_software(caps, desc)) return plan_software(caps, desc, out_plan);
        return sxt_plan_unsupported(out_plan, "attention: kernel SOFTWARE is for lavapipe alone");
    case SXT_ATTENTION_MATRIX:
        return sxt_attention_plan_matrix(caps, desc, out_plan);
    default:
        break;
    }
    if (has_software(caps, desc)) return plan_software(caps, desc, out_plan);
    if (wants_matrix(caps, desc) && sxt_attention_plan_matrix(caps, desc, out_plan) == SXT_OK) return SXT_OK;
    *out_plan = (sxt_plan){0};
    return sxt_attention_plan_tile(caps, desc, out_plan);
}
