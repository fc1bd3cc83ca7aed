// Tensors as strided views: defaults, extents, checks that every front door needs.
#ifndef SXT_CORE_TENSOR_H
#define SXT_CORE_TENSOR_H

#include "core/device.h"

// Dims by their place in sxt_tensor.shape.
enum { SXT_BATCH = 0, SXT_TOKEN = 1, SXT_HEAD = 2, SXT_CHANNEL = 3 };

enum { SXT_DIMS_ALL = 15 }; // every dim, as a set of 1 << dim

// Which types a front door accepts for a tensor, as a bit set of 1 << sxt_type.
enum {
    SXT_TYPES_FLOAT = 1 << SXT_TYPE_F32 | 1 << SXT_TYPE_F16 | 1 << SXT_TYPE_BF16,
    SXT_TYPES_F32 = 1 << SXT_TYPE_F32,
    SXT_TYPES_F32_F16 = 1 << SXT_TYPE_F32 | 1 << SXT_TYPE_F16,
    SXT_TYPES_I32 = 1 << SXT_TYPE_I32,
    SXT_TYPES_CACHE = SXT_TYPES_FLOAT | 1 << SXT_TYPE_Q8_0 | 1 << SXT_TYPE_Q4_0 | 1 << SXT_TYPE_FP8_E4M3,
};

static inline bool sxt_tensor_present(const sxt_tensor *tensor) {
    return tensor->buffer != NULL;
}

static inline bool sxt_tensor_empty(const sxt_tensor *tensor) {
    return tensor->shape[0] == 0 || tensor->shape[1] == 0 || tensor->shape[2] == 0 || tensor->shape[3] == 0;
}

// Number of elements, counting repeats of stride 0.
uint64_t sxt_tensor_count(const sxt_tensor *tensor);

// Bytes from offset_bytes to the end of the last element that the view touches. 0 if it is empty. Strides must be
// resolved.
uint64_t sxt_tensor_extent(const sxt_tensor *tensor);

// The same view with blocks of the type as its elements (sxt_type_size bytes each). Itself where a block is one element.
static inline sxt_tensor sxt_tensor_in_blocks(const sxt_tensor *tensor) {
    sxt_tensor blocks = *tensor;
    uint32_t block = sxt_type_block(tensor->type);
    for (int dim = 0; dim < 3; dim++)
        blocks.strides[dim] /= block;
    blocks.shape[SXT_CHANNEL] /= block;
    return blocks;
}

// Element index, relative to offset_bytes, of one row of channels. Strides must be resolved.
static inline uint64_t sxt_tensor_row(const sxt_tensor *t, uint32_t batch, uint32_t token, uint32_t head) {
    return batch * t->strides[0] + token * t->strides[1] + head * t->strides[2];
}

// Checks one tensor of a description (buffer there and of this device, type, alignment, contiguous channels, inside
// its buffer without overflow) and fills the strides in place: dense ones where all are 0, and in dims of one element,
// whose stride says nothing, the dense value. `op` and `field` name it in messages. Dims of 0 pass.
sxt_result sxt_tensor_resolve(const sxt_device *device, const char *op, const char *field, uint32_t types,
                              sxt_tensor *tensor);

// Checks that each dim of a resolved `tensor` is that of `shape`, or is 1 and has its bit 1 << dim set in `repeatable`.
// Those repeat: they get shape[i] as wanted and stride 0. `like` says in messages where `shape` comes from: "x".
sxt_result sxt_tensor_broadcast(const sxt_device *device, const char *op, const char *field, const uint32_t shape[4],
                                uint32_t repeatable, const char *like, sxt_tensor *tensor);

// Checks that rows have at least one channel.
sxt_result sxt_tensor_check_channels(const sxt_device *device, const char *op, const char *field,
                                     const sxt_tensor *tensor);

// Checks that an output does not overlap itself (two elements at one address): no stride 0 in a dim of several elements,
// and dims that nest, each stride stepping over all that the smaller ones span.
sxt_result sxt_tensor_check_output(const sxt_device *device, const char *op, const char *field,
                                   const sxt_tensor *tensor);

// Checks that output `out` is either the very same view as `in` or shares no byte with it. With `same_ok` false, only
// the latter. Sees that views interleaved at a common stride (q, k and v packed token by token) share nothing.
sxt_result sxt_tensor_check_alias(const sxt_device *device, const char *op, const char *out_field,
                                  const sxt_tensor *out, const char *in_field, const sxt_tensor *in, bool same_ok);

// One row a tensor: what a front door says of each tensor of its description, before shapes.
typedef struct sxt_tensor_rule {
    const char *field;
    sxt_tensor *tensor; // in the description being resolved
    uint32_t types;     // accepted ones
    bool optional;
    bool output;
    const sxt_tensor *may_be[2]; // of an output: the inputs whose very view it may be
} sxt_tensor_rule;

// Resolves every tensor that is there, and rejects missing ones that are not optional.
sxt_result sxt_tensors_resolve(const sxt_device *device, const char *op, const sxt_tensor_rule *rules, size_t count);

// Checks every output against itself and against every other tensor. Call it when shapes are known to be right.
sxt_result sxt_tensors_check_overlap(const sxt_device *device, const char *op, const sxt_tensor_rule *rules,
                                     size_t count);

#endif
