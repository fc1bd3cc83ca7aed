#include "core/op.h"
#include "core/tensor.h"

static const char op[] = "sxt_attention_merge";

static sxt_result check_shapes(const sxt_device *device, sxt_attention_merge_desc *d) {
    const uint32_t *shape = d->o_a.shape;
    const uint32_t lse_shape[4] = {shape[SXT_BATCH], shape[SXT_TOKEN], shape[SXT_HEAD], 1};
    sxt_result result;
    if ((result = sxt_tensor_check_channels(device, op, "o_a", &d->o_a)) ||
        (result = sxt_tensor_broadcast(device, op, "lse_a", lse_shape, 0, "o_a", &d->lse_a)) ||
        (result = sxt_tensor_broadcast(device, op, "o_b", shape, 0, "o_a", &d->o_b)) ||
        (result = sxt_tensor_broadcast(device, op, "lse_b", lse_shape, 0, "o_a", &d->lse_b)) ||
        (result = sxt_tensor_broadcast(device, op, "o", shape, 0, "o_a", &d->o)))
        return result;
    return sxt_tensor_present(&d->lse) ? sxt_tensor_broadcast(device, op, "lse", lse_shape, 0, "o_a", &d->lse) : SXT_OK;
}

sxt_result sxt_attention_merge_resolve(const sxt_device *device, const sxt_attention_merge_desc *desc,
                                       sxt_attention_merge_desc *out_desc) {
    sxt_attention_merge_desc *d = out_desc;
    *d = *desc;
    const sxt_tensor_rule rules[] = {
        {.field = "o_a", .tensor = &d->o_a, .types = SXT_TYPES_FLOAT},
        {.field = "lse_a", .tensor = &d->lse_a, .types = SXT_TYPES_F32},
        {.field = "o_b", .tensor = &d->o_b, .types = SXT_TYPES_FLOAT},
        {.field = "lse_b", .tensor = &d->lse_b, .types = SXT_TYPES_F32},
        {.field = "o", .tensor = &d->o, .types = SXT_TYPES_FLOAT, .output = true, .may_be = {&d->o_a, &d->o_b}},
        {.field = "lse",
         .tensor = &d->lse,
         .types = SXT_TYPES_F32,
         .optional = true,
         .output = true,
         .may_be = {&d->lse_a, &d->lse_b}},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = sxt_tensors_resolve(device, op, rules, RULES)) || (result = check_shapes(device, d))) return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_attention_merge(sxt_stream *stream, const sxt_attention_merge_desc *desc) {
    return sxt_op_record(stream, SXT_OP_ATTENTION_MERGE, desc);
}
