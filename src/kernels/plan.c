#include "kernels/kernels.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sxt_plan_name(sxt_plan *plan, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(plan->variant, sizeof plan->variant, format, args);
    va_end(args);
}

sxt_result sxt_plan_unsupported(sxt_plan *plan, const char *format, ...) {
    memset(plan, 0, sizeof *plan);
    va_list args;
    va_start(args, format);
    vsnprintf(plan->variant, sizeof plan->variant, format, args);
    va_end(args);
    return SXT_ERROR_UNSUPPORTED;
}

static sxt_binding *next_binding(const sxt_caps *caps, sxt_dispatch *dispatch) {
    assert(dispatch->binding_count < SXT_MAX_BINDINGS);
    if (dispatch->binding_count >= caps->storage_buffers && !dispatch->by_address) return NULL;
    sxt_binding *binding = &dispatch->bindings[dispatch->binding_count++];
    *binding = (sxt_binding){.kind = SXT_BINDING_NONE};
    return binding;
}

sxt_result sxt_plan_bind(const sxt_caps *caps, const sxt_tensor *tensor, bool written, sxt_dispatch *dispatch,
                         uint32_t *out_base) {
    *out_base = 0;
    sxt_binding *binding = next_binding(caps, dispatch);
    if (!binding) return SXT_ERROR_UNSUPPORTED;
    binding->written = written; // also where no buffer is: the shader declares it as one that it writes
    if (!sxt_tensor_present(tensor) || sxt_tensor_empty(tensor)) return SXT_OK;

    uint64_t align = caps->storage_align > 4 ? caps->storage_align : 4;
    uint64_t rest = tensor->offset_bytes % align;
    // The rest is handed to the shader as elements: a type with blocks needs a start from which it is whole blocks.
    while (rest % sxt_type_size(tensor->type) != 0 && rest + align <= tensor->offset_bytes)
        rest += align;
    if (rest % sxt_type_size(tensor->type) != 0) return SXT_ERROR_UNSUPPORTED;
    uint64_t extent = sxt_tensor_extent(tensor);
    uint64_t bytes = (rest + extent + 3) & ~UINT64_C(3);
    if (bytes > caps->storage_range && !dispatch->by_address) return SXT_ERROR_UNSUPPORTED;
    *binding = (sxt_binding){
        .kind = SXT_BINDING_BUFFER,
        .written = written,
        .buffer = tensor->buffer,
        .offset = tensor->offset_bytes - rest,
        .bytes = bytes,
        .hazard_offset = tensor->offset_bytes,
        .hazard_bytes = extent,
    };
    *out_base = (uint32_t)(rest / sxt_type_size(tensor->type) * sxt_type_block(tensor->type));
    return SXT_OK;
}

// What fits the storage range has strides below 2^32 wherever they are multiplied by more than 0.
uint32_t sxt_plan_stride(const sxt_tensor *tensor, int dim) {
    return sxt_tensor_present(tensor) && tensor->shape[dim] > 1 ? (uint32_t)tensor->strides[dim] : 0;
}

sxt_result sxt_plan_view(const sxt_caps *caps, const sxt_tensor *tensor, bool written, sxt_dispatch *dispatch,
                         struct sxt_view *out_view) {
    *out_view = (struct sxt_view){.batch = sxt_plan_stride(tensor, SXT_BATCH),
                                  .token = sxt_plan_stride(tensor, SXT_TOKEN),
                                  .head = sxt_plan_stride(tensor, SXT_HEAD)};
    return sxt_plan_bind(caps, tensor, written, dispatch, &out_view->base);
}

sxt_result sxt_plan_bind_table(const sxt_caps *caps, sxt_dispatch *dispatch) {
    sxt_binding *binding = next_binding(caps, dispatch);
    if (!binding) return SXT_ERROR_UNSUPPORTED;
    binding->kind = SXT_BINDING_TABLE;
    return SXT_OK;
}

sxt_result sxt_plan_bind_faults(const sxt_caps *caps, sxt_dispatch *dispatch) {
    sxt_binding *binding = next_binding(caps, dispatch);
    if (!binding) return SXT_ERROR_UNSUPPORTED;
    binding->kind = SXT_BINDING_FAULTS;
    binding->written = true;
    return SXT_OK;
}

void sxt_plan_push(sxt_dispatch *dispatch, const void *push, uint32_t bytes) {
    assert(bytes <= SXT_MAX_PUSH);
    memcpy(dispatch->push, push, bytes);
    dispatch->push_bytes = bytes;
}

void sxt_plan_params(sxt_dispatch *dispatch, const void *params, uint32_t bytes) {
    assert(bytes <= SXT_MAX_PARAMS);
    memcpy(dispatch->params, params, bytes);
    dispatch->param_bytes = bytes;
}

bool sxt_plan_quads(const sxt_tensor *tensor, const struct sxt_view *view) {
    return !sxt_tensor_present(tensor) || (view->base | view->batch | view->token | view->head) % 4 == 0;
}

uint32_t sxt_plan_type(const sxt_tensor *tensor) {
    return sxt_tensor_present(tensor) ? (uint32_t)tensor->type : SXT_STORE_NONE;
}

bool sxt_plan_one(const sxt_tensor *tensor) {
    return sxt_tensor_present(tensor) && tensor->strides[SXT_CHANNEL] == 0 && tensor->shape[SXT_CHANNEL] > 1;
}

uint32_t sxt_plan_pow2(uint32_t value) {
    uint32_t power = 1;
    while (power < value && power < 0x80000000u)
        power *= 2;
    return power;
}

void sxt_plan_grid(const sxt_caps *caps, uint64_t count, uint32_t groups[3]) {
    uint64_t limit = caps->max_group_count[0];
    uint64_t y = (count + limit - 1) / limit;
    assert(y <= caps->max_group_count[1]);
    // Rows as even as can be, so that fewer than y workgroups are empty.
    groups[0] = count ? (uint32_t)((count + y - 1) / y) : 0;
    groups[1] = count ? (uint32_t)y : 1;
    groups[2] = 1;
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

bool sxt_plan_by_address(const sxt_caps *caps) {
    return caps->software && caps->buffer_address && caps->storage16 && caps->subgroup_arithmetic &&
           caps->subgroup_shuffle;
}

uint32_t sxt_plan_group(const sxt_caps *caps) {
    uint32_t limit = smaller(caps->max_invocations, caps->max_group_size_x);
    return smaller(limit, caps->software && caps->subgroup_size > 1 ? caps->subgroup_size : 128);
}

uint32_t sxt_plan_matrix_lanes(const sxt_caps *caps) {
    enum { VENDOR_AMD = 0x1002, VENDOR_INTEL = 0x8086 };
    if (!caps->subgroup_size_control) return caps->subgroup_size;
    if (caps->vendor_id == VENDOR_AMD && caps->subgroup_min <= 32 && caps->subgroup_max >= 32) return 32;
    if (caps->vendor_id == VENDOR_INTEL) return caps->subgroup_min;
    return caps->subgroup_size;
}

uint32_t sxt_plan_shares(const sxt_caps *caps, uint64_t invocations, uint32_t parts) {
    // A big GPU holds 2^18 invocations at a time; a CPU wants some workgroups for each core, and long ones.
    uint64_t wanted = caps->software ? 32 * (uint64_t)sxt_plan_group(caps) : UINT64_C(1) << 18;
    uint64_t shares = invocations ? (wanted + invocations - 1) / invocations : 1;
    if (shares > parts) shares = parts;
    if (shares > caps->max_group_count[2]) shares = caps->max_group_count[2];
    return shares ? (uint32_t)shares : 1;
}

// Fewer lanes with more pieces each, where that leaves fewer lanes idle (12 pieces: 4 lanes of 3, not 16 of 1). Runs of
// 4 lanes still read whole cache lines.
static uint32_t fewest_idle(uint32_t pieces, uint32_t lanes, uint32_t most) {
    uint32_t best = lanes, best_room = (pieces + lanes - 1) / lanes * lanes;
    for (uint32_t fewer = lanes / 2; fewer >= 4 && (pieces + fewer - 1) / fewer <= smaller(most, 4); fewer /= 2) {
        uint32_t room = (pieces + fewer - 1) / fewer * fewer;
        if (room < best_room) best = fewer, best_room = room;
    }
    return best;
}

sxt_row_shape sxt_plan_rows(const sxt_caps *caps, uint32_t pieces, uint32_t most) {
    uint32_t invocations = smaller(caps->max_invocations, caps->max_group_size_x);
    sxt_row_shape shape = {.subgroup = caps->subgroup_arithmetic && caps->subgroup_shuffle};
    // Without subgroup operations 32 lanes stand for what runs in step on most GPUs.
    uint32_t step = shape.subgroup ? caps->subgroup_size : 32;
    if (shape.subgroup && caps->subgroup_size_control) shape.subgroup_size = caps->subgroup_size;
    // A longer row takes as much of a workgroup as is needed to keep each lane's share at `most`.
    uint32_t wanted = sxt_plan_pow2(pieces);
    uint32_t lanes = smaller(wanted, step);
    while (lanes < wanted && (uint64_t)lanes * most < pieces && lanes * 2 <= smaller(invocations, 256))
        lanes *= 2;
    if (!caps->software) lanes = fewest_idle(pieces, lanes, most);
    shape.lanes = lanes;
    // On a CPU a workgroup of one subgroup has no barrier to wait at. Elsewhere 128 invocations keep a core busy. Rows
    // that span subgroups have a workgroup to themselves: no other row then waits at their barriers.
    uint32_t group = caps->software && shape.subgroup ? step : smaller(invocations, 128);
    shape.rows = shape.subgroup && lanes > step ? 1 : lanes < group ? group / lanes : 1;
    return shape;
}
