// The Vulkan runtime as kernels see it: device, buffers and streams that run plans. Knows no operation.
#ifndef SXT_VULKAN_VULKAN_H
#define SXT_VULKAN_VULKAN_H

#include "core/device.h"
#include "vulkan/plan.h"

// Appends every Vulkan device; with no loader or driver it logs what to install, and returns OK with none.
sxt_result sxt_vulkan_list(const sxt_device_params *params, sxt_device_info *infos, uint32_t capacity,
                           uint32_t *out_count);

// Opens the device with that index in sxt_vulkan_list's order. `backend` is the table to put in the base. A device that
// is opened with compile_only has nothing but its VkDevice: of the calls below it takes sxt_vulkan_close and
// sxt_vulkan_statistics.
sxt_result sxt_vulkan_open(const sxt_backend *backend, const sxt_device_params *params, uint32_t index,
                           sxt_device **out_device);
void sxt_vulkan_close(sxt_device *device);
sxt_result sxt_vulkan_memory(sxt_device *device, uint64_t *out_used, uint64_t *out_budget);
sxt_result sxt_vulkan_wait(sxt_device *device, uint64_t ticket, uint64_t timeout_ns);
sxt_result sxt_vulkan_faults(sxt_device *device, bool clear, uint32_t *out_faults);

sxt_result sxt_vulkan_buffer_create(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer);
void sxt_vulkan_buffer_destroy(sxt_buffer *buffer);
sxt_result sxt_vulkan_buffer_write(sxt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes);
sxt_result sxt_vulkan_buffer_read(sxt_buffer *buffer, uint64_t offset, void *out_data, uint64_t bytes);

sxt_result sxt_vulkan_stream_create(sxt_device *device, sxt_stream **out_stream);
void sxt_vulkan_stream_destroy(sxt_stream *stream);
sxt_result sxt_vulkan_stream_submit(sxt_stream *stream, uint64_t *out_ticket);
void sxt_vulkan_stream_reset(sxt_stream *stream);
sxt_result sxt_vulkan_stream_timestamp(sxt_stream *stream, uint32_t *out_index);
sxt_result sxt_vulkan_stream_elapsed(sxt_stream *stream, uint32_t from, uint32_t to, double *out_us);

// Records a plan: pipelines, table, descriptors, barriers, dispatches. All or nothing.
sxt_result sxt_vulkan_stream_run(sxt_stream *stream, const sxt_plan *plan);

// What was found to be best for calls that are alike by a key: kept with the device and in its cache file. `put` with no
// room left forgets the oldest. Thread-safe.
bool sxt_vulkan_choice_get(const sxt_device *device, uint64_t key, uint32_t *out_value);
void sxt_vulkan_choice_put(sxt_device *device, uint64_t key, uint32_t value);

// Creates the pipelines and the table of a plan, and makes the driver compile them for good.
sxt_result sxt_vulkan_prepare(sxt_device *device, const sxt_plan *plan);

// Compiles the pipelines of a plan for what the driver tells of them, and drops them. On a compile-only device.
sxt_result sxt_vulkan_statistics(sxt_device *device, const sxt_plan *plan, sxt_statistic *out_statistics,
                                 uint32_t capacity, uint32_t *out_count);

#endif
