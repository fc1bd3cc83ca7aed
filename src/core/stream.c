#include "core/caps.h"
#include "core/op.h"

#include <string.h>

sxt_result sxt_stream_create(sxt_device *device, sxt_stream **out_stream) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_stream == NULL) SXT_REJECT(&device->logger, "sxt_stream_create: out_stream is NULL");
    *out_stream = NULL;
    return device->backend->stream_create(device, out_stream);
}

void sxt_stream_destroy(sxt_stream **stream) {
    if (stream == NULL || *stream == NULL) return;
    (*stream)->device->backend->stream_destroy(*stream);
    *stream = NULL;
}

sxt_result sxt_stream_submit(sxt_stream *stream, uint64_t *out_ticket) {
    if (stream == NULL) return SXT_ERROR_INVALID;
    uint64_t unwanted;
    return stream->device->backend->stream_submit(stream, out_ticket != NULL ? out_ticket : &unwanted);
}

void sxt_stream_reset(sxt_stream *stream) {
    if (stream != NULL) stream->device->backend->stream_reset(stream);
}

sxt_result sxt_stream_timestamp(sxt_stream *stream, uint32_t *out_index) {
    if (stream == NULL) return SXT_ERROR_INVALID;
    if (out_index == NULL) SXT_REJECT(&stream->device->logger, "sxt_stream_timestamp: out_index is NULL");
    return stream->device->backend->stream_timestamp(stream, out_index);
}

sxt_result sxt_stream_elapsed(sxt_stream *stream, uint32_t from, uint32_t to, double *out_us) {
    if (stream == NULL) return SXT_ERROR_INVALID;
    if (out_us == NULL) SXT_REJECT(&stream->device->logger, "sxt_stream_elapsed: out_us is NULL");
    return stream->device->backend->stream_elapsed(stream, from, to, out_us);
}

sxt_result sxt_prepare(sxt_device *device, sxt_op op, const void *desc) {
    if (device == NULL) return SXT_ERROR_INVALID;
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(device, op, desc, &resolved);
    return result == SXT_OK ? device->backend->prepare(device, op, &resolved) : result;
}

sxt_result sxt_scratch_size(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_bytes == NULL) SXT_REJECT(&device->logger, "sxt_scratch_size: out_bytes is NULL");
    *out_bytes = 0;
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(device, op, desc, &resolved);
    return result == SXT_OK ? device->backend->scratch_size(device, op, &resolved, out_bytes) : result;
}

sxt_result sxt_describe(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_text == NULL || size == 0) SXT_REJECT(&device->logger, "sxt_describe: out_text has no room");
    out_text[0] = '\0';
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(device, op, desc, &resolved);
    return result == SXT_OK ? device->backend->describe(device, op, &resolved, out_text, size) : result;
}

sxt_result sxt_measure_fma(sxt_device *device, double *out_flops) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_flops == NULL) SXT_REJECT(&device->logger, "sxt_measure_fma: out_flops is NULL");
    if (device->backend->measure_fma == NULL) {
        sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_measure_fma: this device runs no kernels");
        return SXT_ERROR_UNSUPPORTED;
    }
    return device->backend->measure_fma(device, out_flops);
}

static bool same_shape(const sxt_matrix_shape *a, const sxt_matrix_shape *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->a_type == b->a_type && a->c_type == b->c_type &&
           a->scope == b->scope && a->threads == b->threads && a->flexible == b->flexible;
}

static bool is_measured(const sxt_caps *caps, const sxt_matrix_shape *shape) {
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++)
        if (same_shape(&caps->matrix_shapes[i], shape))
            return (shape->a_type == SXT_COMPONENT_F16 || shape->a_type == SXT_COMPONENT_BF16) &&
                   shape->c_type == SXT_COMPONENT_F32 && (shape->scope == SXT_SCOPE_SUBGROUP || shape->flexible);
    return false;
}

sxt_result sxt_measure_matrix(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (shape == NULL || out_flops == NULL) SXT_REJECT(&device->logger, "sxt_measure_matrix: a pointer is NULL");
    if (device->backend->measure_matrix == NULL || !is_measured(&device->info.caps, shape)) {
        sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_measure_matrix: this device runs no products of that shape");
        return SXT_ERROR_UNSUPPORTED;
    }
    return device->backend->measure_matrix(device, shape, out_flops);
}

sxt_result sxt_tune(sxt_device *device, sxt_op op, const void *desc, sxt_tuning *out_tuning) {
    if (device == NULL) return SXT_ERROR_INVALID;
    sxt_tuning unwanted;
    if (out_tuning == NULL) out_tuning = &unwanted;
    *out_tuning = (sxt_tuning){0};
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(device, op, desc, &resolved);
    if (result != SXT_OK) return result;
    if (device->backend->tune == NULL) {
        sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_tune: this device runs no kernels");
        return SXT_ERROR_UNSUPPORTED;
    }
    return device->backend->tune(device, op, &resolved, out_tuning);
}

sxt_result sxt_statistics(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                          uint32_t capacity, uint32_t *out_count) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_count == NULL) SXT_REJECT(&device->logger, "sxt_statistics: out_count is NULL");
    *out_count = 0;
    if (out_statistics == NULL && capacity > 0)
        SXT_REJECT(&device->logger, "sxt_statistics: out_statistics is NULL, and capacity is %u", capacity);
    sxt_any_desc resolved;
    sxt_result result = sxt_op_resolve(device, op, desc, &resolved);
    if (result != SXT_OK) return result;
    return device->backend->statistics(device, op, &resolved, out_statistics, capacity, out_count);
}
