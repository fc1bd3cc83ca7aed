// Streams: recordings of plans, handed to the queue one after the other.
//
// A recording lies in a slot: a command buffer with its own pools. Once the device has passed its ticket the slot is
// used again; that of the latest submission is kept aside, because its timestamps may still be asked for.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

enum { LARGEST_QUEUE = 64 };

typedef struct slot {
    struct slot *next;
    VkCommandPool pool;
    VkCommandBuffer commands;
    sxt_vulkan_sets *sets;
    VkQueryPool queries;
    uint32_t timestamps;
    uint64_t ticket; // 0: never submitted
} slot;

typedef struct sxt_vulkan_stream {
    sxt_stream base;
    slot *current; // begun, or NULL
    slot *others;
    uint32_t other_count;
    const slot *latest; // one of the others: the last submission, if it was not empty
    sxt_hazards hazards;
    sxt_buffer *scratch;         // for plans that want it, one after the other; NULL until the first
    sxt_vulkan_buffer *outgrown; // scratch that the current recording may use still
} sxt_vulkan_stream;

static sxt_vulkan_stream *stream_of(sxt_stream *stream) {
    return (sxt_vulkan_stream *)stream;
}

sxt_result sxt_vulkan_stream_create(sxt_device *device, sxt_stream **out_stream) {
    *out_stream = NULL;
    const sxt_result result = sxt_vulkan_check(sxt_vulkan_device_of(device));
    if (result != SXT_OK) return result;
    sxt_vulkan_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    stream->base.device = device;
    *out_stream = &stream->base;
    return SXT_OK;
}

// ── Recordings ──

static void recording_destroy(sxt_vulkan_device *device, slot *recording) {
    if (recording == NULL) return;
    const bool foreign = sxt_vulkan_foreign(device);
    sxt_vulkan_sets_destroy(device, recording->sets);
    if (!foreign && recording->queries != VK_NULL_HANDLE)
        device->vk.vkDestroyQueryPool(device->handle, recording->queries, NULL);
    if (!foreign && recording->pool != VK_NULL_HANDLE)
        device->vk.vkDestroyCommandPool(device->handle, recording->pool, NULL);
    free(recording);
}

static sxt_result recording_create(sxt_vulkan_device *device, slot **out_recording) {
    sxt_result result = SXT_OK;
    slot *recording = calloc(1, sizeof *recording);
    if (recording == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = device->physical.queue_family,
    };
    SXT_VK(device, vkCreateCommandPool(device->handle, &pool, NULL, &recording->pool));
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = recording->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    SXT_VK(device, vkAllocateCommandBuffers(device->handle, &commands, &recording->commands));
    *out_recording = recording;
    return SXT_OK;
error:
    recording_destroy(device, recording);
    return result;
}

// Makes a recording that the device is done with as good as new.
static sxt_result recording_reset(sxt_vulkan_device *device, slot *recording) {
    sxt_result result = SXT_OK;
    SXT_VK(device, vkResetCommandPool(device->handle, recording->pool, 0));
    result = sxt_vulkan_sets_reset(device, recording->sets);
    if (result != SXT_OK) goto error;
    recording->timestamps = 0;
    recording->ticket = 0;
error:
    return result;
}

static void keep(sxt_vulkan_stream *stream, slot *recording) {
    recording->next = stream->others;
    stream->others = recording;
    stream->other_count++;
}

// Takes the oldest of the others if the device has passed it. With many under way, waits for it.
static sxt_result reuse(sxt_vulkan_device *device, sxt_vulkan_stream *stream, slot **out_recording) {
    slot **oldest = NULL;
    for (slot **link = &stream->others; *link != NULL; link = &(*link)->next)
        if (*link != stream->latest && (oldest == NULL || (*link)->ticket < (*oldest)->ticket)) oldest = link;
    if (oldest == NULL) return SXT_OK;
    slot *found = *oldest;
    sxt_result result = SXT_OK;
    if (!sxt_vulkan_passed(device, found->ticket)) {
        if (stream->other_count < LARGEST_QUEUE) return SXT_OK;
        result = sxt_vulkan_wait(&device->base, found->ticket, UINT64_MAX);
    }
    if (result == SXT_OK) result = recording_reset(device, found);
    if (result != SXT_OK) return result;
    *oldest = found->next;
    stream->other_count--;
    *out_recording = found;
    return SXT_OK;
}

static sxt_result begin(sxt_vulkan_device *device, sxt_vulkan_stream *stream) {
    if (stream->current != NULL) return SXT_OK;
    slot *recording = NULL;
    sxt_result result = reuse(device, stream, &recording);
    if (result == SXT_OK && recording == NULL) result = recording_create(device, &recording);
    if (result != SXT_OK) return result;
    assert(recording != NULL);
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    SXT_VK(device, vkBeginCommandBuffer(recording->commands, &info));
    sxt_vulkan_begin_barrier(device, recording->commands);
    sxt_hazards_clear(&stream->hazards);
    stream->current = recording;
    return SXT_OK;
error:
    keep(stream, recording);
    return result;
}

// Once the recording is submitted, or given up.
static void drop_outgrown(sxt_vulkan_stream *stream) {
    while (stream->outgrown != NULL) {
        sxt_vulkan_buffer *next = stream->outgrown->next;
        sxt_vulkan_buffer_destroy(&stream->outgrown->base);
        stream->outgrown = next;
    }
}

void sxt_vulkan_stream_reset(sxt_stream *base) {
    sxt_vulkan_stream *stream = stream_of(base);
    if (stream->current == NULL) return;
    drop_outgrown(stream);
    stream->current->ticket = 0;
    keep(stream, stream->current);
    stream->current = NULL;
}

void sxt_vulkan_stream_destroy(sxt_stream *base) {
    if (base == NULL) return;
    sxt_vulkan_stream *stream = stream_of(base);
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    sxt_vulkan_stream_reset(base);
    uint64_t last = 0;
    for (const slot *r = stream->others; r != NULL; r = r->next)
        if (r->ticket > last) last = r->ticket;
    sxt_vulkan_drain(device, last);
    while (stream->others != NULL) {
        slot *next = stream->others->next;
        recording_destroy(device, stream->others);
        stream->others = next;
    }
    sxt_vulkan_buffer_destroy(stream->scratch);
    free(stream);
}

sxt_result sxt_vulkan_stream_submit(sxt_stream *base, uint64_t *out_ticket) {
    sxt_vulkan_stream *stream = stream_of(base);
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) goto error;
    slot *recording = stream->current;
    if (recording == NULL) { // all that was submitted before is all there is to wait for
        stream->latest = NULL;
        *out_ticket = atomic_load(&device->submitted);
        return SXT_OK;
    }
    sxt_vulkan_end_barrier(device, recording->commands);
    SXT_VK(device, vkEndCommandBuffer(recording->commands));
    result = sxt_vulkan_submit(device, recording->commands, &recording->ticket);
    if (result != SXT_OK) goto error;
    *out_ticket = recording->ticket;
    drop_outgrown(stream);
    keep(stream, recording);
    stream->latest = recording;
    stream->current = NULL;
    return SXT_OK;
error:
    sxt_vulkan_stream_reset(base);
    return result;
}

// ── Plans ──

typedef struct prepared {
    sxt_vulkan_pipeline *pipeline;
    sxt_vulkan_set set;
} prepared;

static bool needs_barrier(sxt_vulkan_stream *stream, const sxt_dispatch *dispatch) {
    sxt_hazard_range ranges[SXT_MAX_BINDINGS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < dispatch->binding_count; i++) {
        const sxt_binding *binding = &dispatch->bindings[i];
        const bool scratch = binding->kind == SXT_BINDING_SCRATCH;
        // No shader writes a table, and none does but atomics on faults.
        if (binding->kind != SXT_BINDING_BUFFER && !scratch) continue;
        ranges[count++] = (sxt_hazard_range){
            .buffer = scratch ? stream->scratch : binding->buffer,
            .begin = binding->hazard_offset,
            .end = binding->hazard_offset + binding->hazard_bytes,
            .written = binding->written,
        };
    }
    return sxt_hazards_next(&stream->hazards, ranges, count);
}

static bool is_empty(const sxt_dispatch *dispatch) {
    return dispatch->groups[0] == 0 || dispatch->groups[1] == 0 || dispatch->groups[2] == 0;
}

static void record_dispatch(sxt_vulkan_device *device, sxt_vulkan_stream *stream, const sxt_dispatch *dispatch,
                            const prepared *with, uint32_t part, uint32_t parts) {
    const VkCommandBuffer commands = stream->current->commands;
    const VkPipelineLayout layout = device->pipelines.layouts[sxt_vulkan_layout(dispatch)];
    if (needs_barrier(stream, dispatch)) {
        const VkMemoryBarrier barrier = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
        };
        device->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    }
    device->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, with->pipeline->handle);
    device->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &with->set.handle, 0,
                                       NULL);
    uint8_t push[SXT_MAX_PUSH];
    memcpy(push, dispatch->push, dispatch->push_bytes);
    if (parts > 1) memcpy(push, &part, sizeof part);
    if (dispatch->push_bytes > 0)
        device->vk.vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, dispatch->push_bytes, push);
    device->vk.vkCmdDispatch(commands, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
}

// Makes the scratch memory at least so large. What was recorded before keeps the one that it was recorded with.
static sxt_result grow_scratch(sxt_vulkan_device *device, sxt_vulkan_stream *stream, uint64_t bytes) {
    if (bytes == 0 || (stream->scratch != NULL && stream->scratch->bytes >= bytes)) return SXT_OK;
    sxt_buffer *larger;
    const sxt_result result = sxt_vulkan_scratch_take(device, bytes, &larger);
    if (result != SXT_OK) return result;
    if (stream->scratch != NULL) {
        sxt_vulkan_buffer *old = sxt_vulkan_buffer_of(stream->scratch);
        old->next = stream->outgrown;
        stream->outgrown = old;
    }
    stream->scratch = larger;
    return SXT_OK;
}

sxt_result sxt_vulkan_stream_run(sxt_stream *base, const sxt_plan *plan) {
    sxt_vulkan_stream *stream = stream_of(base);
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    prepared with[SXT_MAX_DISPATCHES];
    sxt_vulkan_own_buffers own = {0};
    assert(plan->dispatch_count <= SXT_MAX_DISPATCHES);
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK || plan->dispatch_count == 0) return result;

    // All that can fail comes first.
    result = sxt_vulkan_table_get(device, &plan->table, &own.table);
    if (result == SXT_OK) result = begin(device, stream);
    if (result == SXT_OK) result = grow_scratch(device, stream, plan->scratch_bytes);
    for (uint32_t i = 0; i < plan->dispatch_count && result == SXT_OK; i++) {
        const sxt_dispatch *dispatch = &plan->dispatches[i];
        result = sxt_vulkan_pipeline_get(device, dispatch, &with[i].pipeline);
        if (result == SXT_OK) result = sxt_vulkan_set_allocate(device, &stream->current->sets, dispatch, &with[i].set);
    }
    if (result != SXT_OK) return result;
    own.scratch = stream->scratch;
    for (uint32_t i = 0; i < plan->dispatch_count; i++)
        if (!is_empty(&plan->dispatches[i])) sxt_vulkan_set_write(device, &plan->dispatches[i], &own, &with[i].set);
    for (uint32_t part = 0; part == 0 || part < plan->parts; part++)
        for (uint32_t i = 0; i < plan->dispatch_count; i++)
            if (!is_empty(&plan->dispatches[i]))
                record_dispatch(device, stream, &plan->dispatches[i], &with[i], part, plan->parts);
    return SXT_OK;
}

// ── Timestamps ──

sxt_result sxt_vulkan_stream_timestamp(sxt_stream *base, uint32_t *out_index) {
    sxt_vulkan_stream *stream = stream_of(base);
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    if (base->device->info.caps.timestamp_ns <= 0) {
        sxt_log(&base->device->logger, SXT_LOG_ERROR, "timestamp: this device has none");
        return SXT_ERROR_UNSUPPORTED;
    }
    result = begin(device, stream);
    if (result != SXT_OK) return result;
    slot *recording = stream->current;
    if (recording->timestamps == SXT_MAX_TIMESTAMPS)
        SXT_REJECT(&base->device->logger, "timestamp: a submission has at most %d", SXT_MAX_TIMESTAMPS);
    if (recording->queries == VK_NULL_HANDLE) {
        const VkQueryPoolCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
            .queryType = VK_QUERY_TYPE_TIMESTAMP,
            .queryCount = SXT_MAX_TIMESTAMPS,
        };
        SXT_VK(device, vkCreateQueryPool(device->handle, &info, NULL, &recording->queries));
    }
    if (recording->timestamps == 0)
        device->vk.vkCmdResetQueryPool(recording->commands, recording->queries, 0, SXT_MAX_TIMESTAMPS);
    device->vk.vkCmdWriteTimestamp(recording->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, recording->queries,
                                   recording->timestamps);
    *out_index = recording->timestamps++;
error:
    return result;
}

sxt_result sxt_vulkan_stream_elapsed(sxt_stream *base, uint32_t from, uint32_t to, double *out_us) {
    const slot *latest = stream_of(base)->latest;
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    const sxt_logger *logger = &base->device->logger;
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    const uint32_t count = latest != NULL ? latest->timestamps : 0;
    if (from >= count || to >= count)
        SXT_REJECT(logger, "elapsed: timestamps %u and %u, and the latest submission has %u", from, to, count);
    if (!sxt_vulkan_passed(device, latest->ticket))
        SXT_REJECT(logger, "elapsed: the latest submission is not done: wait for its ticket first");
    uint64_t first, second;
    SXT_VK(device, vkGetQueryPoolResults(device->handle, latest->queries, from, 1, sizeof first, &first, sizeof first,
                                         VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    SXT_VK(device, vkGetQueryPoolResults(device->handle, latest->queries, to, 1, sizeof second, &second, sizeof second,
                                         VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    // Counters have fewer bits than the variable, and start over: the difference is taken in as many bits, signed.
    const uint32_t spare = 64 - device->physical.timestamp_bits;
    const int64_t ticks = (int64_t)((second - first) << spare) / (int64_t)(UINT64_C(1) << spare);
    *out_us = (double)ticks * base->device->info.caps.timestamp_ns / 1000;
error:
    return result;
}
