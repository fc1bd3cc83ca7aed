#include "core/op.h"
#include "core/rope.h"
#include "core/tensor.h"

#include <math.h>

static const char op[] = "sxt_qk_norm_rope";

static sxt_result check_fields(const sxt_device *device, const sxt_qk_norm_rope_desc *d) {
    const sxt_logger *log = &device->logger;
    sxt_result result;
    if ((result = sxt_check_enum(device, op, "norm", (int)d->norm, SXT_NORM_NONE + 1,
                                 "0 (rms), 1 (layer), 2 (l2) or 3 (none)")) ||
        (result = sxt_check_float(device, op, "eps", d->eps, 0.0f)) ||
        (result = sxt_check_float(device, op, "offset", d->offset, -INFINITY)))
        return result;
    bool q = sxt_tensor_present(&d->q), k = sxt_tensor_present(&d->k);
    if (!q && !k) SXT_REJECT(log, "%s: q.buffer and k.buffer are NULL, and one of the two is required", op);
    if (q != sxt_tensor_present(&d->q_out))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, q ? "q_out" : "q",
                   q ? "q" : "q_out");
    if (k != sxt_tensor_present(&d->k_out))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, k ? "k_out" : "k",
                   k ? "k" : "k_out");
    bool q_weight = sxt_tensor_present(&d->q_weight), k_weight = sxt_tensor_present(&d->k_weight);
    if ((q_weight && !q) || (k_weight && !k))
        SXT_REJECT(log, "%s: %s is given, and %s is not", op, q_weight && !q ? "q_weight" : "k_weight",
                   q_weight && !q ? "q" : "k");
    if ((q_weight || k_weight) && d->norm == SXT_NORM_NONE)
        SXT_REJECT(log, "%s: %s is given, and norm is none: there is nothing to weigh", op,
                   q_weight ? "q_weight" : "k_weight");
    return SXT_OK;
}

// One of q and k: its output has its shape, its weight broadcasts to it.
static sxt_result check_side(const sxt_device *device, const char *const fields[3], const sxt_tensor *x,
                             sxt_tensor *out, sxt_tensor *weight) {
    if (!sxt_tensor_present(x)) return SXT_OK;
    sxt_result result;
    if ((result = sxt_tensor_check_channels(device, op, fields[0], x)) ||
        (result = sxt_tensor_broadcast(device, op, fields[1], x->shape, 0, fields[0], out)) ||
        !sxt_tensor_present(weight))
        return result;
    return sxt_tensor_broadcast(device, op, fields[2], x->shape, SXT_DIMS_ALL, fields[0], weight);
}

static sxt_result check_shapes(const sxt_device *device, sxt_qk_norm_rope_desc *d) {
    bool q = sxt_tensor_present(&d->q), k = sxt_tensor_present(&d->k);
    if (q && k) { // k as q in all but heads
        const uint32_t shape[4] = {d->q.shape[0], d->q.shape[1], d->k.shape[2], d->q.shape[3]};
        sxt_result result = sxt_tensor_broadcast(device, op, "k", shape, 0, "q", &d->k);
        if (result != SXT_OK) return result;
    }
    static const char *const q_fields[] = {"q", "q_out", "q_weight"};
    static const char *const k_fields[] = {"k", "k_out", "k_weight"};
    sxt_result result;
    if ((result = check_side(device, q_fields, &d->q, &d->q_out, &d->q_weight)) ||
        (result = check_side(device, k_fields, &d->k, &d->k_out, &d->k_weight)))
        return result;
    return sxt_positions_resolve(device, op, q ? &d->q : &d->k, q ? "q" : "k", &d->positions);
}

sxt_result sxt_qk_norm_rope_resolve(const sxt_device *device, const sxt_qk_norm_rope_desc *desc,
                                    sxt_qk_norm_rope_desc *out_desc) {
    sxt_qk_norm_rope_desc *d = out_desc;
    *d = *desc;
    const uint32_t types = SXT_TYPES_FLOAT;
    const sxt_tensor_rule rules[] = {
        {.field = "q", .tensor = &d->q, .types = types, .optional = true},
        {.field = "q_out", .tensor = &d->q_out, .types = types, .optional = true, .output = true, .may_be = {&d->q}},
        {.field = "k", .tensor = &d->k, .types = types, .optional = true},
        {.field = "k_out", .tensor = &d->k_out, .types = types, .optional = true, .output = true, .may_be = {&d->k}},
        {.field = "q_weight", .tensor = &d->q_weight, .types = types, .optional = true},
        {.field = "k_weight", .tensor = &d->k_weight, .types = types, .optional = true},
        {.field = "positions", .tensor = &d->positions, .types = SXT_TYPES_I32},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = check_fields(device, d)) || (result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = check_shapes(device, d)))
        return result;
    uint32_t channels = sxt_tensor_present(&d->q) ? d->q.shape[SXT_CHANNEL] : d->k.shape[SXT_CHANNEL];
    result = sxt_rope_params_resolve(device, op, channels, d->positions.shape[0], &desc->rope, &d->rope);
    return result == SXT_OK ? sxt_tensors_check_overlap(device, op, rules, RULES) : result;
}

sxt_result sxt_qk_norm_rope(sxt_stream *stream, const sxt_qk_norm_rope_desc *desc) {
    return sxt_op_record(stream, SXT_OP_QK_NORM_ROPE, desc);
}
