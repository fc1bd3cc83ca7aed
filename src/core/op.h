// The registry of operations. Adding one is a row in SXT_OPS, its desc in sextant.h, and its own files: core/<op>.c
// (front door), reference/<op>.c, kernels/<op>.c and shaders. Everything else derives from the list.
#ifndef SXT_CORE_OP_H
#define SXT_CORE_OP_H

#include "core/device.h"

// X(enumerator, name): desc type is sxt_<name>_desc.
#define SXT_OPS(X)                                                                                                     \
    X(SXT_OP_NORM, norm)                                                                                               \
    X(SXT_OP_ROPE, rope)                                                                                               \
    X(SXT_OP_QK_NORM_ROPE, qk_norm_rope)                                                                               \
    X(SXT_OP_KV_WRITE, kv_write)                                                                                       \
    X(SXT_OP_KV_SHIFT, kv_shift)                                                                                       \
    X(SXT_OP_KV_COPY, kv_copy)                                                                                         \
    X(SXT_OP_ATTENTION, attention)                                                                                     \
    X(SXT_OP_ATTENTION_MERGE, attention_merge)

// Room for any op's description, for code that resolves one of an op known only at run time.
typedef union sxt_any_desc {
#define SXT_OP_MEMBER(enumerator, name) sxt_##name##_desc name;
    SXT_OPS(SXT_OP_MEMBER)
#undef SXT_OP_MEMBER
} sxt_any_desc;

// Checks `desc` in full and writes it with all defaults filled in: strides, rotary_dim, base, scale, … Optional tensors
// that broadcast get stride 0 in the repeated dims and the full shape; windows without `windowed` become −1.
// Pure but for the log. Logs and returns INVALID at the first fault.
#define SXT_OP_RESOLVE(enumerator, name)                                                                               \
    sxt_result sxt_##name##_resolve(const sxt_device *device, const sxt_##name##_desc *desc,                           \
                                    sxt_##name##_desc *out_desc);
SXT_OPS(SXT_OP_RESOLVE)
#undef SXT_OP_RESOLVE

// "norm", … or "unknown op".
const char *sxt_op_name(sxt_op op);

// Resolves a description of any op. INVALID for an unknown op or a NULL description.
sxt_result sxt_op_resolve(const sxt_device *device, sxt_op op, const void *desc, sxt_any_desc *out_desc);

// What every public sxt_<op> does: resolve, then record.
sxt_result sxt_op_record(sxt_stream *stream, sxt_op op, const void *desc);

// ── Checks of plain fields, for front doors ──

// Finite and at least `least`.
sxt_result sxt_check_float(const sxt_device *device, const char *op, const char *field, float value, float least);

// One of 0 … count − 1; `names` lists them for the message: "0 (rms), 1 (layer)".
sxt_result sxt_check_enum(const sxt_device *device, const char *op, const char *field, int value, int count,
                          const char *names);

#endif
