// Plans: for each operation a pure function from capabilities and a resolved description to what must be dispatched.
#ifndef SXT_KERNELS_KERNELS_H
#define SXT_KERNELS_KERNELS_H

#include "core/op.h"
#include "core/tensor.h"
#include "interface/view.h"
#include "vulkan/plan.h"

// Returns OK, or UNSUPPORTED with the reason in plan->variant. No Vulkan handle is touched: tensors' buffers are
// opaque.
#define SXT_OP_PLAN(enumerator, name)                                                                                  \
    sxt_result sxt_##name##_plan(const sxt_caps *caps, const sxt_##name##_desc *desc, sxt_plan *out_plan);
SXT_OPS(SXT_OP_PLAN)
#undef SXT_OP_PLAN

// The backend that runs these plans on the Vulkan runtime, and that of devices opened with compile_only.
extern const sxt_backend sxt_vulkan_backend;
extern const sxt_backend sxt_vulkan_compile_backend;

// Makes the plan of an operation; logs why if there is none.
sxt_result sxt_plan_make(const sxt_device *device, sxt_op op, const void *desc, sxt_plan *out_plan);

// The backends' `scratch_size` and `describe`.
sxt_result sxt_plan_scratch_size(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes);
sxt_result sxt_plan_describe(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size);

// sxt_measure_fma and sxt_measure_matrix on a device that runs; `shape` is one that the latter takes.
sxt_result sxt_vulkan_measure_fma(sxt_device *device, double *out_flops);
sxt_result sxt_vulkan_measure_matrix(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops);

// ── Helpers for plan functions ──

// Formats plan->variant.
void sxt_plan_name(sxt_plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Formats the reason into plan->variant, empties the plan, and returns UNSUPPORTED.
sxt_result sxt_plan_unsupported(sxt_plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Binds a tensor to the next binding of a dispatch, or NONE if it is absent. `out_base` gets the element index of the
// tensor's first element in the bound range (the remainder of its offset below storage_align). The bound range ends on
// a multiple of 4 bytes, since shaders see words: a buffer's memory must reach that far, as the runtime's does.
// UNSUPPORTED if it needs more than storage_range, or the dispatch more bindings than the device has; neither counts
// where by_address is set already.
sxt_result sxt_plan_bind(const sxt_caps *caps, const sxt_tensor *tensor, bool written, sxt_dispatch *dispatch,
                         uint32_t *out_base);

// The same, and gives all that a shader needs to find the tensor's rows. Strides of dims of 1 become 0.
sxt_result sxt_plan_view(const sxt_caps *caps, const sxt_tensor *tensor, bool written, sxt_dispatch *dispatch,
                         struct sxt_view *out_view);

// A stride as shaders multiply it: 0 in dims of 1, and of a tensor that is absent.
uint32_t sxt_plan_stride(const sxt_tensor *tensor, int dim);

// Binds the plan's table to the next binding.
sxt_result sxt_plan_bind_table(const sxt_caps *caps, sxt_dispatch *dispatch);

// Binds the device's fault word to the next binding.
sxt_result sxt_plan_bind_faults(const sxt_caps *caps, sxt_dispatch *dispatch);

// Copies a push-constant struct into a dispatch.
void sxt_plan_push(sxt_dispatch *dispatch, const void *push, uint32_t bytes);

// The same for a struct of params.
void sxt_plan_params(sxt_dispatch *dispatch, const void *params, uint32_t bytes);

// Each row of the view starts at a multiple of four elements (or the tensor is absent).
bool sxt_plan_quads(const sxt_tensor *tensor, const struct sxt_view *view);

// A tensor's type as a specialisation constant: SXT_STORE_NONE if it is absent.
uint32_t sxt_plan_type(const sxt_tensor *tensor);

// An optional gain or bias has one element a row, for all channels.
bool sxt_plan_one(const sxt_tensor *tensor);

// The smallest power of two that is at least `value`; 1 for 0.
uint32_t sxt_plan_pow2(uint32_t value);

// Spreads `count` workgroups over x and y (z is 1, free for another factor) within max_group_count; the shader undoes
// it by gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x and must skip what is past `count`. `count` may be
// up to the product of the device's two limits; 0 gives no workgroups.
void sxt_plan_grid(const sxt_caps *caps, uint64_t count, uint32_t groups[3]);

// Whether kernels should take buffers by address: on a CPU, where each access through a descriptor costs a check of
// bounds for every lane, and more time to compile than to run. (16-bit storage is there wherever this is.)
bool sxt_plan_by_address(const sxt_caps *caps);

// Invocations of a workgroup in a kernel whose invocations do not talk to one another.
uint32_t sxt_plan_group(const sxt_caps *caps);

// The size of subgroups for kernels on matrix units. AMD's do twice the work with subgroups of 64 for the same operands;
// Intel's drivers want the smallest there are.
uint32_t sxt_plan_matrix_lanes(const sxt_caps *caps);

// Into how many shares to cut `parts` of the work (heads, …) so that the device is busy, when `invocations` do one
// share.
uint32_t sxt_plan_shares(const sxt_caps *caps, uint64_t invocations, uint32_t parts);

// The kernel variants of one family and the shape of a workgroup whose rows are reduced by `lanes` invocations each.
typedef struct sxt_row_shape {
    bool subgroup;          // reductions by subgroup operations
    uint32_t subgroup_size; // for sxt_dispatch
    uint32_t lanes;         // invocations a row, a power of two
    uint32_t rows;          // rows of a workgroup: it has lanes · rows invocations
} sxt_row_shape;

// Chooses how many invocations share a row of `pieces` pieces (of 4 or 8 channels), so that few are idle and each has
// at most about `most` pieces, which only rows too long for a workgroup exceed.
sxt_row_shape sxt_plan_rows(const sxt_caps *caps, uint32_t pieces, uint32_t most);

static inline uint32_t sxt_larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

#endif
