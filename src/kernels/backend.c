#include "kernels/kernels.h"
#include "kernels/tune.h"

#include "vulkan/vulkan.h"

#include <assert.h>
#include <stdio.h>

typedef sxt_result (*plan_fn)(const sxt_caps *caps, const void *desc, sxt_plan *out_plan);

#define PLAN(enumerator, name)                                                                                         \
    static sxt_result plan_##name(const sxt_caps *caps, const void *desc, sxt_plan *out_plan) {                        \
        return sxt_##name##_plan(caps, desc, out_plan);                                                                \
    }
SXT_OPS(PLAN)
#undef PLAN

static const plan_fn planners[SXT_OP_COUNT] = {
#define PLAN(enumerator, name) [enumerator] = plan_##name,
    SXT_OPS(PLAN)
#undef PLAN
};

sxt_result sxt_plan_make(const sxt_device *device, sxt_op op, const void *desc, sxt_plan *out_plan) {
    assert((unsigned)op < SXT_OP_COUNT);
    if (op == SXT_OP_ATTENTION && sxt_tune_plan(device, desc, out_plan)) return SXT_OK;
    sxt_result result = planners[op](&device->info.caps, desc, out_plan);
    if (result == SXT_ERROR_UNSUPPORTED)
        sxt_log(&device->logger, SXT_LOG_ERROR, "%s: %s", sxt_op_name(op), out_plan->variant);
    return result;
}

static sxt_result stream_record(sxt_stream *stream, sxt_op op, const void *desc) {
    sxt_plan plan;
    sxt_result result = sxt_plan_make(stream->device, op, desc, &plan);
    if (result != SXT_OK || plan.dispatch_count == 0) return result;
    return sxt_vulkan_stream_run(stream, &plan);
}

static sxt_result prepare(sxt_device *device, sxt_op op, const void *desc) {
    sxt_plan plan;
    sxt_result result = sxt_plan_make(device, op, desc, &plan);
    if (result != SXT_OK || plan.dispatch_count == 0) return result;
    return sxt_vulkan_prepare(device, &plan);
}

sxt_result sxt_plan_scratch_size(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes) {
    sxt_plan plan;
    sxt_result result = sxt_plan_make(device, op, desc, &plan);
    if (result == SXT_OK) *out_bytes = plan.scratch_bytes;
    return result;
}

sxt_result sxt_plan_describe(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size) {
    sxt_plan plan;
    sxt_result result = sxt_plan_make(device, op, desc, &plan);
    if (result == SXT_OK) snprintf(out_text, size, "%s", plan.variant);
    return result;
}

static sxt_result statistics(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                             uint32_t capacity, uint32_t *out_count) {
    (void)op, (void)desc, (void)out_statistics, (void)capacity, (void)out_count;
    sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_statistics: the device was not opened with compile_only");
    return SXT_ERROR_UNSUPPORTED;
}

const sxt_backend sxt_vulkan_backend = {
    .device_close = sxt_vulkan_close,
    .device_memory = sxt_vulkan_memory,
    .device_wait = sxt_vulkan_wait,
    .device_faults = sxt_vulkan_faults,
    .buffer_create = sxt_vulkan_buffer_create,
    .buffer_destroy = sxt_vulkan_buffer_destroy,
    .buffer_write = sxt_vulkan_buffer_write,
    .buffer_read = sxt_vulkan_buffer_read,
    .stream_create = sxt_vulkan_stream_create,
    .stream_destroy = sxt_vulkan_stream_destroy,
    .stream_record = stream_record,
    .stream_submit = sxt_vulkan_stream_submit,
    .stream_reset = sxt_vulkan_stream_reset,
    .stream_timestamp = sxt_vulkan_stream_timestamp,
    .stream_elapsed = sxt_vulkan_stream_elapsed,
    .prepare = prepare,
    .scratch_size = sxt_plan_scratch_size,
    .describe = sxt_plan_describe,
    .measure_fma = sxt_vulkan_measure_fma,
    .measure_matrix = sxt_vulkan_measure_matrix,
    .tune = sxt_plan_tune,
    .statistics = statistics,
};
