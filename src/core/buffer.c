#include "core/device.h"

sxt_result sxt_buffer_create(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer) {
    if (device == NULL) return SXT_ERROR_INVALID;
    if (out_buffer == NULL) SXT_REJECT(&device->logger, "sxt_buffer_create: out_buffer is NULL");
    *out_buffer = NULL;
    if (desc == NULL) SXT_REJECT(&device->logger, "sxt_buffer_create: desc is NULL");
    if (desc->bytes == 0) SXT_REJECT(&device->logger, "sxt_buffer_create: bytes is 0, and must be at least 1");
    if (desc->memory != SXT_MEMORY_DEVICE && desc->memory != SXT_MEMORY_HOST)
        SXT_REJECT(&device->logger, "sxt_buffer_create: memory is %d, and must be 0 (device) or 1 (host)",
                   (int)desc->memory);
    return device->backend->buffer_create(device, desc, out_buffer);
}

void sxt_buffer_destroy(sxt_buffer **buffer) {
    if (buffer == NULL || *buffer == NULL) return;
    (*buffer)->device->backend->buffer_destroy(*buffer);
    *buffer = NULL;
}

uint64_t sxt_buffer_size(const sxt_buffer *buffer) {
    return buffer != NULL ? buffer->bytes : 0;
}

void *sxt_buffer_map(sxt_buffer *buffer) {
    return buffer != NULL ? buffer->mapped : NULL;
}

static sxt_result check_range(const sxt_buffer *buffer, const char *call, uint64_t offset, const void *data,
                              uint64_t bytes) {
    if (buffer == NULL) return SXT_ERROR_INVALID;
    const sxt_logger *logger = &buffer->device->logger;
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        SXT_REJECT(logger, "%s: %llu bytes from offset_bytes %llu on do not fit into a buffer of %llu bytes", call,
                   (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)buffer->bytes);
    if (data == NULL && bytes > 0)
        SXT_REJECT(logger, "%s: the host memory is NULL, and bytes is %llu", call, (unsigned long long)bytes);
    return SXT_OK;
}

sxt_result sxt_buffer_write(sxt_buffer *buffer, uint64_t offset_bytes, const void *data, uint64_t bytes) {
    sxt_result result = check_range(buffer, "sxt_buffer_write", offset_bytes, data, bytes);
    if (result != SXT_OK || bytes == 0) return result;
    return buffer->device->backend->buffer_write(buffer, offset_bytes, data, bytes);
}

sxt_result sxt_buffer_read(sxt_buffer *buffer, uint64_t offset_bytes, void *out_data, uint64_t bytes) {
    sxt_result result = check_range(buffer, "sxt_buffer_read", offset_bytes, out_data, bytes);
    if (result != SXT_OK || bytes == 0) return result;
    return buffer->device->backend->buffer_read(buffer, offset_bytes, out_data, bytes);
}
