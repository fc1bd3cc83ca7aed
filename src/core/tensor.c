#include "core/tensor.h"

#include <stdio.h>
#include <string.h>

uint64_t sxt_tensor_count(const sxt_tensor *tensor) {
    return (uint64_t)tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

uint64_t sxt_tensor_extent(const sxt_tensor *tensor) {
    if (sxt_tensor_empty(tensor)) return 0;
    const sxt_tensor blocks = sxt_tensor_in_blocks(tensor);
    uint64_t last = 0;
    for (int dim = 0; dim < 4; dim++)
        last += (blocks.shape[dim] - 1) * blocks.strides[dim];
    return (last + 1) * sxt_type_size(tensor->type);
}

// *sum += a · b, or false where 64 bits do not hold it.
static bool add_product(uint64_t *sum, uint64_t a, uint64_t b) {
    if (b != 0 && a > (UINT64_MAX - *sum) / b) return false;
    *sum += a * b;
    return true;
}

// Byte after the last one that the view touches, counted from the buffer's start, or false past 64 bits.
static bool end_in_buffer(const sxt_tensor *tensor, uint64_t *out_end) {
    const sxt_tensor blocks = sxt_tensor_in_blocks(tensor);
    uint64_t size = sxt_type_size(tensor->type), last = 0;
    *out_end = tensor->offset_bytes;
    if (sxt_tensor_empty(tensor)) return true;
    for (int dim = 0; dim < 4; dim++)
        if (!add_product(&last, blocks.shape[dim] - 1, blocks.strides[dim])) return false;
    return add_product(out_end, last, size) && add_product(out_end, 1, size);
}

static void fill_strides(sxt_tensor *tensor) {
    bool dense = true;
    for (int dim = 0; dim < 4; dim++)
        dense = dense && tensor->strides[dim] == 0;
    uint64_t next = 1;
    for (int dim = 3; dim >= 0; dim--) {
        if (dense || tensor->shape[dim] <= 1) tensor->strides[dim] = next;
        next = tensor->strides[dim] * tensor->shape[dim];
    }
}

static const char *type_names(uint32_t types) {
    switch (types) {
    case SXT_TYPES_FLOAT:
        return "f32, f16 or bf16";
    case SXT_TYPES_CACHE:
        return "f32, f16, bf16, q8_0, q4_0 or fp8_e4m3";
    case SXT_TYPES_F32_F16:
        return "f32 or f16";
    case SXT_TYPES_F32:
        return "f32";
    default:
        return "i32";
    }
}

// Rows of a type with blocks consist of whole ones.
static sxt_result check_blocks(const sxt_logger *log, const char *op, const char *field, const sxt_tensor *tensor) {
    uint32_t block = sxt_type_block(tensor->type);
    if (tensor->shape[SXT_CHANNEL] % block != 0)
        SXT_REJECT(log, "%s: %s.shape[3] is %u, and must be a multiple of %u, a block of %s", op, field,
                   tensor->shape[SXT_CHANNEL], block, sxt_type_name(tensor->type));
    for (int dim = 0; dim < 3; dim++)
        if (tensor->strides[dim] % block != 0)
            SXT_REJECT(log, "%s: %s.strides[%d] is %llu, and must be a multiple of %u, a block of %s", op, field, dim,
                       (unsigned long long)tensor->strides[dim], block, sxt_type_name(tensor->type));
    return SXT_OK;
}

sxt_result sxt_tensor_resolve(const sxt_device *device, const char *op, const char *field, uint32_t types,
                              sxt_tensor *tensor) {
    const sxt_logger *log = &device->logger;
    if (tensor->buffer == NULL) SXT_REJECT(log, "%s: %s.buffer is NULL, and this tensor is required", op, field);
    if (tensor->buffer->device != device)
        SXT_REJECT(log, "%s: %s.buffer belongs to another device than the stream", op, field);
    uint32_t size = sxt_type_size(tensor->type);
    if (size == 0 || (types & 1u << tensor->type) == 0)
        SXT_REJECT(log, "%s: %s.type is %s, and must be %s", op, field, sxt_type_name(tensor->type), type_names(types));
    uint32_t align = sxt_type_block(tensor->type) == 1 ? size : 2; // blocks begin with an f16
    if (tensor->offset_bytes % align != 0)
        SXT_REJECT(log, "%s: %s.offset_bytes is %llu, and must be a multiple of %u for %s", op, field,
                   (unsigned long long)tensor->offset_bytes, align, sxt_type_name(tensor->type));
    uint64_t last_stride = tensor->strides[3];
    bool dense = (tensor->strides[0] | tensor->strides[1] | tensor->strides[2] | last_stride) == 0;
    if (!dense && last_stride != 1 && !(last_stride == 0 && tensor->shape[3] <= 1))
        SXT_REJECT(log, "%s: %s.strides[3] is %llu, and must be 1: channels are contiguous", op, field,
                   (unsigned long long)last_stride);
    fill_strides(tensor);
    sxt_result result = check_blocks(log, op, field, tensor);
    if (result != SXT_OK) return result;
    uint64_t end;
    if (!end_in_buffer(tensor, &end))
        SXT_REJECT(log, "%s: %s reaches past 64 bits of address: shape, strides or offset_bytes are absurd", op, field);
    if (end > tensor->buffer->bytes)
        SXT_REJECT(log, "%s: %s ends at byte %llu, and its buffer has %llu bytes", op, field, (unsigned long long)end,
                   (unsigned long long)tensor->buffer->bytes);
    return SXT_OK;
}

sxt_result sxt_tensor_broadcast(const sxt_device *device, const char *op, const char *field, const uint32_t shape[4],
                                uint32_t repeatable, const char *like, sxt_tensor *tensor) {
    for (int dim = 0; dim < 4; dim++) {
        uint32_t have = tensor->shape[dim];
        if (have == shape[dim]) continue;
        bool may_repeat = (repeatable >> dim & 1) != 0;
        if (have != 1 || !may_repeat)
            SXT_REJECT(&device->logger, "%s: %s.shape[%d] is %u, and must be %u%s, as in %s", op, field, dim, have,
                       shape[dim], may_repeat ? " or 1" : "", like);
        tensor->shape[dim] = shape[dim];
        tensor->strides[dim] = 0;
    }
    return SXT_OK;
}

sxt_result sxt_tensor_check_channels(const sxt_device *device, const char *op, const char *field,
                                     const sxt_tensor *tensor) {
    if (tensor->shape[SXT_CHANNEL] == 0)
        SXT_REJECT(&device->logger, "%s: %s.shape[3] is 0, and must be at least 1", op, field);
    return SXT_OK;
}

sxt_result sxt_tensor_check_output(const sxt_device *device, const char *op, const char *field,
                                   const sxt_tensor *tensor) {
    if (sxt_tensor_empty(tensor)) return SXT_OK;
    // Grow the span dim by dim, smallest stride first.
    uint64_t span = 1;
    bool done[4] = {false};
    for (int step = 0; step < 4; step++) {
        int least = -1;
        for (int dim = 0; dim < 4; dim++)
            if (!done[dim] && (least < 0 || tensor->strides[dim] < tensor->strides[least])) least = dim;
        done[least] = true;
        if (tensor->shape[least] == 1) continue;
        if (tensor->strides[least] < span)
            SXT_REJECT(&device->logger,
                       "%s: %s.strides[%d] is %llu, and must be at least %llu: elements of an output may not overlap",
                       op, field, least, (unsigned long long)tensor->strides[least], (unsigned long long)span);
        span += (tensor->shape[least] - 1) * tensor->strides[least];
    }
    return SXT_OK;
}

static bool same_view(const sxt_tensor *a, const sxt_tensor *b) {
    return a->buffer == b->buffer && a->offset_bytes == b->offset_bytes && a->type == b->type &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0 && memcmp(a->strides, b->strides, sizeof a->strides) == 0;
}

// The bytes of a view: elements of `size` bytes at offset + Σ i·stride, each i below its count.
typedef struct lattice {
    uint64_t offset, size;
    uint64_t counts[4], strides[4]; // strides in bytes
} lattice;

static lattice lattice_of(const sxt_tensor *tensor) {
    const sxt_tensor blocks = sxt_tensor_in_blocks(tensor);
    lattice l = {.offset = tensor->offset_bytes, .size = sxt_type_size(tensor->type)};
    for (int dim = 0; dim < 4; dim++) {
        l.counts[dim] = blocks.shape[dim];
        l.strides[dim] = blocks.strides[dim] * l.size;
    }
    return l;
}

static uint64_t span(const lattice *l) {
    uint64_t bytes = l->size;
    for (int dim = 0; dim < 4; dim++)
        bytes += (l->counts[dim] - 1) * l->strides[dim];
    return bytes;
}

static lattice without_multiples(lattice l, uint64_t period) {
    for (int dim = 0; dim < 4; dim++)
        if (l.strides[dim] % period == 0) l.counts[dim] = 1;
    return l;
}

// Whether two lattices share no byte. Sound; it may miss that views woven by several unrelated strides are apart.
// Beyond ranges that do not meet: wind memory around a circle of one period, a stride of either. Dims that are multiples
// of it fall onto themselves; if what is left is apart on the circle, the lattices are. Where neither crosses the seam,
// that is the same question with fewer dims.
static bool apart(const lattice *a, const lattice *b) {
    if (a->offset + span(a) <= b->offset || b->offset + span(b) <= a->offset) return true;
    for (int candidate = 0; candidate < 8; candidate++) {
        const lattice *from = candidate < 4 ? a : b;
        uint64_t period = from->strides[candidate % 4];
        if (period == 0 || from->counts[candidate % 4] == 1) continue;
        lattice wound_a = without_multiples(*a, period), wound_b = without_multiples(*b, period);
        uint64_t b_after_a = (b->offset % period + period - a->offset % period) % period;
        bool seam_at_a = span(&wound_a) <= period && span(&wound_b) <= period - b_after_a;
        bool seam_at_b = span(&wound_b) <= period && span(&wound_a) <= b_after_a;
        wound_a.offset = seam_at_a ? 0 : period - b_after_a;
        wound_b.offset = seam_at_a ? b_after_a : 0;
        if ((seam_at_a || seam_at_b) && apart(&wound_a, &wound_b)) return true;
    }
    return false;
}

static bool disjoint(const sxt_tensor *a, const sxt_tensor *b) {
    if (sxt_tensor_empty(a) || sxt_tensor_empty(b) || a->buffer != b->buffer) return true;
    const lattice of_a = lattice_of(a), of_b = lattice_of(b);
    return apart(&of_a, &of_b);
}

sxt_result sxt_tensor_check_alias(const sxt_device *device, const char *op, const char *out_field,
                                  const sxt_tensor *out, const char *in_field, const sxt_tensor *in, bool same_ok) {
    if ((same_ok && same_view(out, in)) || disjoint(out, in)) return SXT_OK;
    if (same_ok)
        SXT_REJECT(&device->logger,
                   "%s: %s overlaps %s in memory: it must be the very same view or share no byte with it", op,
                   out_field, in_field);
    SXT_REJECT(&device->logger, "%s: %s overlaps %s in memory: it must share no byte with it", op, out_field, in_field);
}

sxt_result sxt_tensors_resolve(const sxt_device *device, const char *op, const sxt_tensor_rule *rules, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const sxt_tensor_rule *rule = &rules[i];
        if (rule->optional && !sxt_tensor_present(rule->tensor)) continue;
        sxt_result result = sxt_tensor_resolve(device, op, rule->field, rule->types, rule->tensor);
        if (result != SXT_OK) return result;
    }
    return SXT_OK;
}

sxt_result sxt_tensors_check_overlap(const sxt_device *device, const char *op, const sxt_tensor_rule *rules,
                                     size_t count) {
    for (size_t i = 0; i < count; i++) {
        const sxt_tensor_rule *out = &rules[i];
        if (!out->output || !sxt_tensor_present(out->tensor)) continue;
        sxt_result result = sxt_tensor_check_output(device, op, out->field, out->tensor);
        for (size_t j = 0; j < count && result == SXT_OK; j++) {
            const sxt_tensor_rule *other = &rules[j];
            // Of two outputs, the pair is checked once.
            if (j == i || (other->output && j < i) || !sxt_tensor_present(other->tensor)) continue;
            bool same_ok = other->tensor == out->may_be[0] || other->tensor == out->may_be[1];
            result = sxt_tensor_check_alias(device, op, out->field, out->tensor, other->field, other->tensor, same_ok);
        }
        if (result != SXT_OK) return result;
    }
    return SXT_OK;
}
