#include "core/kv_cache.h"
#include "core/op.h"
#include "core/rope.h"
#include "core/tensor.h"

static const char op[] = "sxt_kv_shift";

sxt_result sxt_kv_shift_resolve(const sxt_device *device, const sxt_kv_shift_desc *desc, sxt_kv_shift_desc *out_desc) {
    sxt_kv_shift_desc *d = out_desc;
    *d = *desc;
    const sxt_tensor_rule rules[] = {
        {.field = "k", .tensor = &d->k, .types = SXT_TYPES_CACHE, .output = true},
        {.field = "k_scale", .tensor = &d->k_scale, .types = SXT_TYPES_F32, .optional = true},
        {.field = "deltas", .tensor = &d->deltas, .types = SXT_TYPES_I32},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = sxt_tensor_check_channels(device, op, "k", &d->k)) ||
        (result = sxt_scale_resolve(device, op, "k_scale", "k", &d->k, &d->k_scale)) ||
        (result = sxt_positions_resolve(device, op, "deltas", &d->k, "k", &d->deltas)) ||
        (result = sxt_rope_params_resolve(device, op, "deltas", d->k.shape[SXT_CHANNEL], d->deltas.shape[0],
                                          &desc->rope, &d->rope)))
        return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_kv_shift(sxt_stream *stream, const sxt_kv_shift_desc *desc) {
    return sxt_op_record(stream, SXT_OP_KV_SHIFT, desc);
}
