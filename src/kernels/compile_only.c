// The backend of devices that compile and do not run: buffers are a size and a handle, and whatever needs memory or a
// queue is refused. No stream can be made, so what takes one is never called.
#include "kernels/kernels.h"

#include "vulkan/vulkan.h"

#include <stdlib.h>

static sxt_result refuse(const sxt_device *device, const char *call) {
    sxt_log(&device->logger, SXT_LOG_ERROR, "%s: the device was opened with compile_only, which leaves it no memory %s",
            call, "and no queue");
    return SXT_ERROR_UNSUPPORTED;
}

static sxt_result device_memory(sxt_device *device, uint64_t *out_used, uint64_t *out_budget) {
    *out_used = *out_budget = 0;
    return refuse(device, "sxt_device_memory");
}

static sxt_result device_wait(sxt_device *device, uint64_t ticket, uint64_t timeout_ns) {
    (void)ticket, (void)timeout_ns;
    return refuse(device, "sxt_device_wait");
}

static sxt_result device_faults(sxt_device *device, bool clear, uint32_t *out_faults) {
    (void)clear, (void)out_faults;
    return refuse(device, "sxt_device_faults");
}

static sxt_result buffer_create(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer) {
    sxt_buffer *buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    *buffer = (sxt_buffer){.device = device, .bytes = desc->bytes};
    *out_buffer = buffer;
    return SXT_OK;
}

static void buffer_destroy(sxt_buffer *buffer) {
    free(buffer);
}

static sxt_result buffer_write(sxt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes) {
    (void)offset, (void)data, (void)bytes;
    return refuse(buffer->device, "sxt_buffer_write");
}

static sxt_result buffer_read(sxt_buffer *buffer, uint64_t offset, void *out_data, uint64_t bytes) {
    (void)offset, (void)out_data, (void)bytes;
    return refuse(buffer->device, "sxt_buffer_read");
}

static sxt_result stream_create(sxt_device *device, sxt_stream **out_stream) {
    *out_stream = NULL;
    return refuse(device, "sxt_stream_create");
}

static sxt_result prepare(sxt_device *device, sxt_op op, const void *desc) {
    (void)op, (void)desc;
    return refuse(device, "sxt_prepare");
}

static sxt_result statistics(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                             uint32_t capacity, uint32_t *out_count) {
    sxt_plan plan;
    const sxt_result result = sxt_plan_make(device, op, desc, &plan);
    if (result != SXT_OK) return result;
    return sxt_vulkan_statistics(device, &plan, out_statistics, capacity, out_count);
}

const sxt_backend sxt_vulkan_compile_backend = {
    .device_close = sxt_vulkan_close,
    .device_memory = device_memory,
    .device_wait = device_wait,
    .device_faults = device_faults,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .stream_create = stream_create,
    .prepare = prepare,
    .scratch_size = sxt_plan_scratch_size,
    .describe = sxt_plan_describe,
    .statistics = statistics,
};
