#include "core/op.h"

#include <math.h>

const char *sxt_op_name(sxt_op op) {
    switch (op) {
#define OP_NAME(enumerator, name)                                                                                      \
    case enumerator:                                                                                                   \
        return #name;
        SXT_OPS(OP_NAME)
#undef OP_NAME
    case SXT_OP_COUNT:
        break;
    }
    return "unknown op";
}

sxt_result sxt_op_resolve(const sxt_device *device, sxt_op op, const void *desc, sxt_any_desc *out_desc) {
    if (desc == NULL) SXT_REJECT(&device->logger, "sxt_%s: desc is NULL", sxt_op_name(op));
    switch (op) {
#define OP_RESOLVE(enumerator, name)                                                                                   \
    case enumerator:                                                                                                   \
        return sxt_##name##_resolve(device, desc, &out_desc->name);
        SXT_OPS(OP_RESOLVE)
#undef OP_RESOLVE
    case SXT_OP_COUNT:
        break;
    }
    SXT_REJECT(&device->logger, "op is %d, and must be from 0 to %d", (int)op, SXT_OP_COUNT - 1);
}

sxt_result sxt_op_record(sxt_stream *stream, sxt_op op, const void *desc) {
    if (stream == NULL) return SXT_ERROR_INVALID;
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(stream->device, op, desc, &resolved);
    if (result != SXT_OK) return result;
    return stream->device->backend->stream_record(stream, op, &resolved);
}

sxt_result sxt_check_float(const sxt_device *device, const char *op, const char *field, float value, float least) {
    if (isfinite(value) && value >= least) return SXT_OK;
    if (isinf(least)) SXT_REJECT(&device->logger, "%s: %s is %g, and must be finite", op, field, (double)value);
    SXT_REJECT(&device->logger, "%s: %s is %g, and must be finite and at least %g", op, field, (double)value,
               (double)least);
}

sxt_result sxt_check_enum(const sxt_device *device, const char *op, const char *field, int value, int count,
                          const char *names) {
    if (value >= 0 && value < count) return SXT_OK;
    SXT_REJECT(&device->logger, "%s: %s is %d, and must be %s", op, field, value, names);
}
