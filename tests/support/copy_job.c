#include "support/copy_job.h"

#include <criterion/criterion.h>

#include "kernels/kernels.h"

static sxt_tensor rows_of(sxt_buffer *buffer, uint32_t tokens) {
    return (sxt_tensor){.buffer = buffer, .type = SXT_TYPE_F32, .shape = {1, tokens, 1, SXT_JOB_CHANNELS}};
}

sxt_result sxt_copy_job_create(sxt_device *device, uint32_t tokens, sxt_copy_job *out_job) {
    *out_job = (sxt_copy_job){.bytes = (uint64_t)tokens * SXT_JOB_CHANNELS * sizeof(float)};
    sxt_result result = SXT_OK;
    for (uint32_t i = 0; i < 3 && result == SXT_OK; i++) {
        const sxt_buffer_desc desc = {
            .bytes = out_job->bytes, .memory = i == 2 ? SXT_MEMORY_HOST : SXT_MEMORY_DEVICE, .name = "copy job"};
        result = sxt_buffer_create(device, &desc, &out_job->buffers[i]);
    }
    const int32_t first_page = 0;
    const sxt_buffer_desc index = {.bytes = sizeof first_page, .memory = SXT_MEMORY_HOST};
    if (result == SXT_OK) result = sxt_buffer_create(device, &index, &out_job->index);
    if (result == SXT_OK) result = sxt_buffer_write(out_job->index, 0, &first_page, sizeof first_page);
    const sxt_tensor t[3] = {
        rows_of(out_job->buffers[0], tokens),
        rows_of(out_job->buffers[1], tokens),
        rows_of(out_job->buffers[2], tokens),
    };
    const sxt_tensor page = {.buffer = out_job->index, .type = SXT_TYPE_I32, .shape = {1, 1, 1, 1}};
    out_job->first = (sxt_kv_copy_desc){.k_from = t[0], .k_to = t[1], .from = page, .to = page, .pages = true};
    out_job->second = (sxt_kv_copy_desc){.k_from = t[1], .k_to = t[2], .from = page, .to = page, .pages = true};
    return result;
}

void sxt_copy_job_destroy(sxt_copy_job *job) {
    for (uint32_t i = 0; i < 3; i++)
        sxt_buffer_destroy(&job->buffers[i]);
    sxt_buffer_destroy(&job->index);
}

static void use_scratch(const sxt_copy_job *job, uint64_t offset, sxt_dispatch *dispatch) {
    for (uint32_t i = 0; i < dispatch->binding_count; i++) {
        sxt_binding *binding = &dispatch->bindings[i];
        if (binding->kind != SXT_BINDING_BUFFER || binding->buffer != job->buffers[1]) continue;
        *binding = (sxt_binding){
            .kind = SXT_BINDING_SCRATCH,
            .written = binding->written,
            .offset = offset,
            .bytes = job->bytes,
            .hazard_offset = offset,
            .hazard_bytes = job->bytes,
        };
    }
}

void sxt_copy_job_plan(sxt_copy_job *job, uint64_t scratch_bytes, sxt_plan *out_plan) {
    const sxt_caps *caps = &job->buffers[0]->device->info.caps;
    const uint64_t offset = (scratch_bytes - job->bytes) / 256 * 256; // whatever the driver's alignment is
    sxt_any_desc second;
    sxt_plan from;
    sxt_device *device = job->buffers[0]->device;
    cr_assert_eq(sxt_op_resolve(device, SXT_OP_KV_COPY, &job->first, &job->resolved), SXT_OK);
    cr_assert_eq(sxt_op_resolve(device, SXT_OP_KV_COPY, &job->second, &second), SXT_OK);
    cr_assert_eq(sxt_kv_copy_plan(caps, &job->resolved.kv_copy, out_plan), SXT_OK);
    cr_assert_eq(sxt_kv_copy_plan(caps, &second.kv_copy, &from), SXT_OK);
    cr_assert(out_plan->dispatch_count == 1 && from.dispatch_count == 1);
    out_plan->dispatches[1] = from.dispatches[0];
    out_plan->dispatch_count = 2;
    out_plan->scratch_bytes = scratch_bytes;
    use_scratch(job, offset, &out_plan->dispatches[0]);
    use_scratch(job, offset, &out_plan->dispatches[1]);
}

// Once with little scratch memory and once with more, in one recording.
static sxt_result run_in_scratch(sxt_device *device, sxt_stream *stream, sxt_copy_job *job) {
    sxt_plan plan;
    uint64_t ticket = 0;
    sxt_result result = SXT_OK;
    for (uint32_t i = 0; i < 2 && result == SXT_OK; i++) {
        sxt_copy_job_plan(job, job->bytes + i * 100000, &plan);
        if (i == 0) result = sxt_vulkan_prepare(device, &plan);
        if (result == SXT_OK) result = sxt_vulkan_stream_run(stream, &plan);
    }
    if (result == SXT_OK) result = sxt_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(device, ticket, UINT64_MAX);
    return result;
}

static sxt_result submit_and_time(sxt_device *device, sxt_stream *stream, const sxt_copy_job *job) {
    uint32_t from = 0, to = 0;
    uint64_t ticket = 0;
    double elapsed_us = 0;
    sxt_result result = sxt_stream_timestamp(stream, &from);
    if (result == SXT_OK) result = sxt_kv_copy(stream, &job->first);
    if (result == SXT_OK) result = sxt_kv_copy(stream, &job->second);
    if (result == SXT_OK) result = sxt_stream_timestamp(stream, &to);
    if (result == SXT_OK) result = sxt_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(device, ticket, UINT64_MAX);
    if (result == SXT_OK) result = sxt_stream_elapsed(stream, from, to, &elapsed_us);
    return result;
}

sxt_result sxt_copy_job_use_device(sxt_device *device, bool staged) {
    float in[SXT_JOB_TOKENS * SXT_JOB_CHANNELS], out[SXT_JOB_TOKENS * SXT_JOB_CHANNELS];
    for (uint32_t i = 0; i < SXT_JOB_TOKENS * SXT_JOB_CHANNELS; i++)
        in[i] = (float)i + 0.25f;
    sxt_copy_job job;
    sxt_stream *stream = NULL;
    uint64_t used = 0, budget = 0;
    sxt_result result = sxt_copy_job_create(device, SXT_JOB_TOKENS, &job);
    for (uint32_t i = 0; i < 3 && staged; i++)
        if (job.buffers[i] != NULL) job.buffers[i]->mapped = NULL;
    if (result == SXT_OK) result = sxt_buffer_write(job.buffers[0], 0, in, sizeof in);
    if (result == SXT_OK) result = sxt_prepare(device, SXT_OP_KV_COPY, &job.first);
    if (result == SXT_OK) result = sxt_stream_create(device, &stream);
    // The third time, the first recording's memory is used again.
    for (uint32_t i = 0; i < 3 && result == SXT_OK; i++)
        result = submit_and_time(device, stream, &job);
    if (result == SXT_OK) result = run_in_scratch(device, stream, &job);
    if (result == SXT_OK) result = sxt_device_memory(device, &used, &budget);
    if (result == SXT_OK) result = sxt_buffer_read(job.buffers[2], 0, out, sizeof out);
    if (result == SXT_OK) cr_assert_arr_eq(out, in, sizeof in, "the copy differs");
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(&job);
    return result;
}
