// The reference as a device: buffers are host memory, and an operation is done when its record call returns. So a
// submission only counts a ticket up, and nothing is ever waited for.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/caps.h"
#include "reference/reference.h"

typedef struct reference_device {
    sxt_device base;
    atomic_uint_least64_t ticket; // of the latest submission
    atomic_uint_least64_t used_bytes;
    atomic_uint_least32_t faults;
} reference_device;

typedef struct timestamps {
    uint32_t count;
    double us[SXT_MAX_TIMESTAMPS];
} timestamps;

typedef struct reference_stream {
    sxt_stream base;
    timestamps recording, submitted;
} reference_stream;

static uint64_t host_memory(void) {
#ifdef _SC_PHYS_PAGES
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page_bytes > 0) return (uint64_t)pages * (uint64_t)page_bytes;
#endif
    return UINT64_C(1) << 32;
}

static void device_close(sxt_device *device) {
    free(device);
}

static sxt_result device_memory(sxt_device *device, uint64_t *out_used, uint64_t *out_budget) {
    *out_used = atomic_load(&((reference_device *)device)->used_bytes);
    *out_budget = device->info.caps.memory_bytes;
    return SXT_OK;
}

static sxt_result device_wait(sxt_device *device, uint64_t ticket, uint64_t timeout_ns) {
    (void)timeout_ns;
    uint64_t latest = atomic_load(&((reference_device *)device)->ticket);
    if (ticket > latest)
        SXT_REJECT(&device->logger, "sxt_device_wait: ticket is %llu, and the latest submission's is %llu",
                   (unsigned long long)ticket, (unsigned long long)latest);
    return SXT_OK;
}

static sxt_result device_faults(sxt_device *device, bool clear, uint32_t *out_faults) {
    atomic_uint_least32_t *faults = &((reference_device *)device)->faults;
    *out_faults = clear ? atomic_exchange(faults, 0) : atomic_load(faults);
    return SXT_OK;
}

void sxt_reference_fault(const sxt_buffer *buffer, sxt_fault fault) {
    atomic_fetch_or(&((reference_device *)buffer->device)->faults, (uint_least32_t)fault);
}

static sxt_result out_of_memory(const sxt_device *device, const char *what) {
    sxt_log(&device->logger, SXT_LOG_ERROR, "no host memory for %s", what);
    return SXT_ERROR_OUT_OF_MEMORY;
}

static sxt_result buffer_create(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer) {
    sxt_buffer *buffer = calloc(1, sizeof *buffer);
    void *memory = desc->bytes <= PTRDIFF_MAX ? malloc((size_t)desc->bytes) : NULL;
    if (buffer == NULL || memory == NULL) {
        free(buffer);
        free(memory);
        return out_of_memory(device, desc->name != NULL ? desc->name : "a buffer");
    }
    *buffer = (sxt_buffer){.device = device, .bytes = desc->bytes, .mapped = memory};
    atomic_fetch_add(&((reference_device *)device)->used_bytes, desc->bytes);
    *out_buffer = buffer;
    return SXT_OK;
}

static void buffer_destroy(sxt_buffer *buffer) {
    atomic_fetch_sub(&((reference_device *)buffer->device)->used_bytes, buffer->bytes);
    free(buffer->mapped);
    free(buffer);
}

static sxt_result buffer_write(sxt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes) {
    memmove((char *)buffer->mapped + offset, data, bytes);
    return SXT_OK;
}

static sxt_result buffer_read(sxt_buffer *buffer, uint64_t offset, void *out_data, uint64_t bytes) {
    memmove(out_data, (const char *)buffer->mapped + offset, bytes);
    return SXT_OK;
}

static sxt_result stream_create(sxt_device *device, sxt_stream **out_stream) {
    reference_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return out_of_memory(device, "a stream");
    stream->base.device = device;
    *out_stream = &stream->base;
    return SXT_OK;
}

static void stream_destroy(sxt_stream *stream) {
    free(stream);
}

static sxt_result run(sxt_op op, const void *desc) {
    switch (op) {
#define RUN(enumerator, name)                                                                                          \
    case enumerator:                                                                                                   \
        return sxt_##name##_reference(desc);
        SXT_OPS(RUN)
#undef RUN
    case SXT_OP_COUNT:
        break;
    }
    return SXT_ERROR_UNSUPPORTED;
}

static sxt_result stream_record(sxt_stream *stream, sxt_op op, const void *desc) {
    sxt_result result = run(op, desc);
    return result == SXT_ERROR_OUT_OF_MEMORY ? out_of_memory(stream->device, sxt_op_name(op)) : result;
}

static sxt_result stream_submit(sxt_stream *stream, uint64_t *out_ticket) {
    reference_stream *self = (reference_stream *)stream;
    *out_ticket = atomic_fetch_add(&((reference_device *)stream->device)->ticket, 1) + 1;
    self->submitted = self->recording;
    self->recording.count = 0;
    return SXT_OK;
}

static void stream_reset(sxt_stream *stream) {
    ((reference_stream *)stream)->recording.count = 0;
}

static sxt_result stream_timestamp(sxt_stream *stream, uint32_t *out_index) {
    timestamps *stamps = &((reference_stream *)stream)->recording;
    if (stamps->count == SXT_MAX_TIMESTAMPS)
        SXT_REJECT(&stream->device->logger, "sxt_stream_timestamp: a submission has at most %d of them",
                   SXT_MAX_TIMESTAMPS);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    stamps->us[stamps->count] = (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
    *out_index = stamps->count++;
    return SXT_OK;
}

static sxt_result stream_elapsed(sxt_stream *stream, uint32_t from, uint32_t to, double *out_us) {
    const timestamps *stamps = &((reference_stream *)stream)->submitted;
    if (from >= stamps->count || to >= stamps->count)
        SXT_REJECT(&stream->device->logger,
                   "sxt_stream_elapsed: from is %u and to is %u, and the latest submission has %u timestamps", from, to,
                   stamps->count);
    *out_us = stamps->us[to] - stamps->us[from];
    return SXT_OK;
}

static sxt_result prepare(sxt_device *device, sxt_op op, const void *desc) {
    (void)device, (void)op, (void)desc;
    return SXT_OK;
}

static sxt_result scratch_size(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes) {
    (void)device, (void)op, (void)desc;
    *out_bytes = 0;
    return SXT_OK;
}

static sxt_result describe(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size) {
    (void)device, (void)desc;
    snprintf(out_text, size, "%s.reference", sxt_op_name(op));
    return SXT_OK;
}

static sxt_result statistics(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                             uint32_t capacity, uint32_t *out_count) {
    (void)op, (void)desc, (void)out_statistics, (void)capacity, (void)out_count;
    sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_statistics: the reference has nothing to compile");
    return SXT_ERROR_UNSUPPORTED;
}

static const sxt_backend backend = {
    .device_close = device_close,
    .device_memory = device_memory,
    .device_wait = device_wait,
    .device_faults = device_faults,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_record = stream_record,
    .stream_submit = stream_submit,
    .stream_reset = stream_reset,
    .stream_timestamp = stream_timestamp,
    .stream_elapsed = stream_elapsed,
    .prepare = prepare,
    .scratch_size = scratch_size,
    .describe = describe,
    .statistics = statistics,
};

void sxt_reference_info(sxt_device_info *out_info) {
    *out_info = (sxt_device_info){
        .name = "Sextant reference",
        .driver = "double precision on the CPU",
        .kind = SXT_DEVICE_REFERENCE,
        .type = "CPU",
        .usable = true,
    };
    sxt_caps *caps = &out_info->caps;
    sxt_caps_baseline(caps);
    caps->software = true;
    caps->unified_memory = true;
    caps->storage_range = UINT64_MAX;
    caps->memory_bytes = host_memory();
    caps->timestamp_ns = 1.0f;
}

sxt_result sxt_reference_open(const sxt_device_params *params, sxt_device **out_device) {
    const sxt_logger logger = {params->log, params->log_user};
    sxt_device_info info;
    sxt_reference_info(&info);
    sxt_result result = sxt_caps_disable(&logger, params->disable, &info.caps);
    if (result != SXT_OK) return result;
    reference_device *device = calloc(1, sizeof *device);
    if (device == NULL) {
        sxt_log(&logger, SXT_LOG_ERROR, "no host memory for the reference device");
        return SXT_ERROR_OUT_OF_MEMORY;
    }
    device->base = (sxt_device){.backend = &backend, .logger = logger, .info = info};
    *out_device = &device->base;
    return SXT_OK;
}
