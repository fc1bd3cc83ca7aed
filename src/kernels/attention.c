// Which kernel a call of attention gets.
#include "kernels/attention.h"

enum { DRIVER_LLVMPIPE = 13 }; // VkDriverId

// llvmpipe, which is lavapipe's, has kernels of its own: a barrier or shared memory costs it more than it saves.
static bool has_software(const sxt_caps *caps, const sxt_attention_desc *desc) {
    return caps->driver_id == DRIVER_LLVMPIPE && sxt_plan_by_address(caps) && caps->int64 && caps->subgroup_size >= 4 &&
           caps->subgroup_size <= 16 && !sxt_attention_is_wide(desc);
}

// The kernels for llvmpipe keep a head in registers: of 256 channels it takes llvmpipe 22 s to compile one, of 576 30 s;
// the tile kernel 4 s, whatever the head. It is a twentieth as fast (gemma3-4b: 198 against 11 ms).
static bool compiles_too_long(const sxt_attention_desc *desc) {
    const double medium = 1 << 28; // operations: the tile kernel's 200 ms
    uint32_t head = desc->q.shape[SXT_CHANNEL], v_head = desc->v.shape[SXT_CHANNEL],
             widest = head > v_head ? head : v_head;
    // With a split that the caller chose, only what all calls on a cache have in common may decide.
    if (desc->split_keys > 0) return widest > 256;
    return (widest > 128 && sxt_attention_is_small(desc)) || (widest > 256 && sxt_attention_operations(desc) < medium);
}

static sxt_result plan_software(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    if (desc->tile == 0 && compiles_too_long(desc)) return sxt_attention_plan_tile(caps, desc, plan);
    if (sxt_attention_plan_decode(caps, desc, plan)) return SXT_OK;
    return sxt_attention_plan_prefill(caps, desc, plan);
}

// Matrix units take rows by eights or sixteens. With fewer to share a key, reading it takes the time either way: R rows
// make R operations for each byte of f16, and GPUs have 15 (H200) to 80 (RTX 4090) in plain f32.
static bool wants_matrix(const sxt_caps *caps, const sxt_attention_desc *desc) {
    enum { LEAST_ROWS = 8 };
    // With a split that the caller chose, the number of queries must not decide.
    bool enough = sxt_attention_packed_rows(desc) >= LEAST_ROWS || desc->split_keys > 0;
    return !caps->software && enough && sxt_attention_has_matrix(caps, desc);
}

uint32_t sxt_attention_tiles(sxt_attention_kernel kernel) {
    static const uint32_t counts[SXT_ATTENTION_KERNELS] = {[SXT_ATTENTION_TILE] = SXT_ATTENTION_TILE_TILES,
                                                           [SXT_ATTENTION_SOFTWARE] = SXT_ATTENTION_SOFTWARE_TILES,
                                                           [SXT_ATTENTION_MATRIX] = SXT_ATTENTION_MATRIX_TILES,
                                                           [SXT_ATTENTION_MATRIX2] = SXT_ATTENTION_MATRIX2_TILES};
    return counts[kernel];
}

sxt_result sxt_attention_plan(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    *out_plan = (sxt_plan){0};
    if (sxt_tensor_empty(&desc->o)) {
        sxt_plan_name(out_plan, "attention.none");
        return SXT_OK;
    }
    if (desc->tile > sxt_attention_tiles(desc->kernel))
        return sxt_plan_unsupported(out_plan, "attention: the kernel has no tile %u", desc->tile);
    switch (desc->kernel) {
    case SXT_ATTENTION_TILE:
        return sxt_attention_plan_tile(caps, desc, out_plan);
    case SXT_ATTENTION_SOFTWARE:
        if (has_software(caps, desc)) return plan_software(caps, desc, out_plan);
        return sxt_plan_unsupported(out_plan, "attention: kernel SOFTWARE is for lavapipe alone");
    case SXT_ATTENTION_MATRIX:
        return sxt_attention_plan_matrix(caps, desc, out_plan);
    case SXT_ATTENTION_MATRIX2:
        return sxt_attention_plan_matrix2(caps, desc, out_plan);
    default:
        break;
    }
    if (has_software(caps, desc)) return plan_software(caps, desc, out_plan);
    if (wants_matrix(caps, desc) && sxt_attention_plan_matrix(caps, desc, out_plan) == SXT_OK) return SXT_OK;
    *out_plan = (sxt_plan){0};
    return sxt_attention_plan_tile(caps, desc, out_plan);
}
