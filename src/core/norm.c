#include "core/op.h"
#include "core/tensor.h"

#include <math.h>

static const char op[] = "sxt_norm";

static sxt_result check_fields(const sxt_device *device, const sxt_norm_desc *d) {
    sxt_result result;
    if ((result = sxt_check_enum(device, op, "kind", (int)d->kind, SXT_NORM_NONE, "0 (rms), 1 (layer) or 2 (l2)")) ||
        (result = sxt_check_float(device, op, "eps", d->eps, 0.0f)))
        return result;
    return sxt_check_float(device, op, "offset", d->offset, -INFINITY);
}

static sxt_result check_shapes(const sxt_device *device, sxt_norm_desc *d) {
    if (sxt_tensor_present(&d->residual_out) && !sxt_tensor_present(&d->residual))
        SXT_REJECT(&device->logger, "%s: residual.buffer is NULL, and residual_out needs it", op);
    struct {
        const char *field;
        sxt_tensor *tensor;
        uint32_t repeatable;
    } const like_x[] = {
        {"y", &d->y, 0},
        {"weight", &d->weight, SXT_DIMS_ALL},
        {"bias", &d->bias, SXT_DIMS_ALL},
        {"residual", &d->residual, 0},
        {"residual_out", &d->residual_out, 0},
    };
    for (size_t i = 0; i < sizeof like_x / sizeof like_x[0]; i++) {
        if (!sxt_tensor_present(like_x[i].tensor)) continue;
        sxt_result result =
            sxt_tensor_broadcast(device, op, like_x[i].field, d->x.shape, like_x[i].repeatable, "x", like_x[i].tensor);
        if (result != SXT_OK) return result;
    }
    return SXT_OK;
}

sxt_result sxt_norm_resolve(const sxt_device *device, const sxt_norm_desc *desc, sxt_norm_desc *out_desc) {
    sxt_norm_desc *d = out_desc;
    *d = *desc;
    const sxt_tensor_rule rules[] = {
        {.field = "x", .tensor = &d->x, .types = SXT_TYPES_FLOAT},
        {.field = "y", .tensor = &d->y, .types = SXT_TYPES_FLOAT, .output = true, .may_be = {&d->x}},
        {.field = "weight", .tensor = &d->weight, .types = SXT_TYPES_FLOAT, .optional = true},
        {.field = "bias", .tensor = &d->bias, .types = SXT_TYPES_FLOAT, .optional = true},
        {.field = "residual", .tensor = &d->residual, .types = SXT_TYPES_FLOAT, .optional = true},
        {.field = "residual_out",
         .tensor = &d->residual_out,
         .types = SXT_TYPES_FLOAT,
         .optional = true,
         .output = true,
         .may_be = {&d->residual, &d->x}},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = check_fields(device, d)) || (result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = sxt_tensor_check_channels(device, op, "x", &d->x)) || (result = check_shapes(device, d)))
        return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_norm(sxt_stream *stream, const sxt_norm_desc *desc) {
    return sxt_op_record(stream, SXT_OP_NORM, desc);
}
