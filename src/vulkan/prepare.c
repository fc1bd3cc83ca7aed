// Ahead of time: pipelines, table, and the driver's compiler.
//
// Some drivers compile at the first dispatch (lavapipe takes up to a second there). A dispatch of the plan itself would
// touch the caller's data, so a dry one is run instead: push constants and params that are all zero, nothing bound but
// dummies, one workgroup. Every kernel keeps this convention: all push constants zero = no work, no access to memory.
#include <string.h>

#include "vulkan/internal.h"

static void make_dry(const sxt_dispatch *dispatch, sxt_plan *out_plan) {
    *out_plan = (sxt_plan){.dispatch_count = 1, .dispatches = {*dispatch}};
    sxt_dispatch *dry = &out_plan->dispatches[0];
    for (uint32_t i = 0; i < dry->binding_count; i++)
        dry->bindings[i] = (sxt_binding){.kind = SXT_BINDING_NONE, .written = dispatch->bindings[i].written};
    memset(dry->push, 0, sizeof dry->push);
    memset(dry->params, 0, sizeof dry->params);
    dry->groups[0] = dry->groups[1] = dry->groups[2] = 1;
}

static sxt_result run_dry(sxt_device *device, const sxt_dispatch *dispatch) {
    sxt_plan plan;
    make_dry(dispatch, &plan);
    sxt_stream *stream;
    uint64_t ticket;
    sxt_result result = sxt_vulkan_stream_create(device, &stream);
    if (result != SXT_OK) return result;
    result = sxt_vulkan_stream_run(stream, &plan);
    if (result == SXT_OK) result = sxt_vulkan_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_vulkan_wait(device, ticket, UINT64_MAX);
    sxt_vulkan_stream_destroy(stream);
    return result;
}

sxt_result sxt_vulkan_prepare(sxt_device *base, const sxt_plan *plan) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    sxt_buffer *table;
    sxt_result result = sxt_vulkan_check(device);
    if (result == SXT_OK) result = sxt_vulkan_table_get(device, &plan->table, &table);
    if (result == SXT_OK) result = sxt_vulkan_scratch_reserve(device, plan->scratch_bytes);
    for (uint32_t i = 0; i < plan->dispatch_count && result == SXT_OK; i++) {
        const sxt_dispatch *dispatch = &plan->dispatches[i];
        sxt_vulkan_pipeline *pipeline;
        result = sxt_vulkan_pipeline_get(device, dispatch, &pipeline);
        if (result != SXT_OK || dispatch->push_bytes == 0 || atomic_load(&pipeline->ran)) continue;
        result = run_dry(base, dispatch);
        if (result == SXT_OK) atomic_store(&pipeline->ran, true);
    }
    return result;
}
