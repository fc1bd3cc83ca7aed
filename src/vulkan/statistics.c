// What a driver's compiler tells of the pipelines that it made (VK_KHR_pipeline_executable_properties). They are
// compiled for that alone, on a compile-only device, and dropped.
#include <stdio.h>
#include <stdlib.h>

#include "vulkan/internal.h"

// Where figures go; `count` runs on past the end of the room.
typedef struct list {
    sxt_statistic *rows;
    uint32_t capacity, count;
} list;

static double value_of(const VkPipelineExecutableStatisticKHR *statistic) {
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return statistic->value.b32 ? 1 : 0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)statistic->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)statistic->value.u64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        return statistic->value.f64;
    default:
        return 0;
    }
}

// `row` is what all figures of the executable have in common.
static sxt_result read_executable(sxt_vulkan_device *device, VkPipeline pipeline, const sxt_statistic *row,
                                  list *statistics) {
    sxt_result result = SXT_OK;
    VkPipelineExecutableStatisticKHR *found = NULL;
    uint32_t count = 0;
    const VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
        .executableIndex = row->executable,
    };
    SXT_VK(device, vkGetPipelineExecutableStatisticsKHR(device->handle, &info, &count, NULL));
    if (count == 0) return SXT_OK;
    found = calloc(count, sizeof *found);
    if (found == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        found[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    SXT_VK(device, vkGetPipelineExecutableStatisticsKHR(device->handle, &info, &count, found));
    for (uint32_t i = 0; i < count; i++) {
        if (statistics->count++ >= statistics->capacity) continue;
        sxt_statistic *out = &statistics->rows[statistics->count - 1];
        *out = *row;
        snprintf(out->name, sizeof out->name, "%.*s", SXT_MAX_NAME - 1, found[i].name);
        out->value = value_of(&found[i]);
    }
error:
    free(found);
    return result;
}

static sxt_result read_pipeline(sxt_vulkan_device *device, VkPipeline pipeline, sxt_statistic row, list *statistics) {
    sxt_result result = SXT_OK;
    VkPipelineExecutablePropertiesKHR *found = NULL;
    uint32_t count = 0;
    const VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    SXT_VK(device, vkGetPipelineExecutablePropertiesKHR(device->handle, &info, &count, NULL));
    if (count == 0) return SXT_OK;
    found = calloc(count, sizeof *found);
    if (found == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        found[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    SXT_VK(device, vkGetPipelineExecutablePropertiesKHR(device->handle, &info, &count, found));
    for (uint32_t i = 0; i < count && result == SXT_OK; i++) {
        row.executable = i;
        row.subgroup_size = found[i].subgroupSize;
        result = read_executable(device, pipeline, &row, statistics);
    }
error:
    free(found);
    return result;
}

sxt_result sxt_vulkan_statistics(sxt_device *base, const sxt_plan *plan, sxt_statistic *out_statistics,
                                 uint32_t capacity, uint32_t *out_count) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    list statistics = {out_statistics, capacity, 0};
    sxt_result result = sxt_vulkan_check(device);
    for (uint32_t i = 0; i < plan->dispatch_count && result == SXT_OK; i++) {
        const sxt_dispatch *dispatch = &plan->dispatches[i];
        const sxt_statistic row = {.dispatch = i, .shader = sxt_shaders[dispatch->shader].name};
        VkPipeline pipeline = VK_NULL_HANDLE;
        pthread_mutex_lock(&device->pipelines.compile);
        result = sxt_vulkan_pipeline_compile(device, dispatch, &pipeline);
        pthread_mutex_unlock(&device->pipelines.compile);
        if (result != SXT_OK) break;
        if (device->statistics) result = read_pipeline(device, pipeline, row, &statistics);
        device->vk.vkDestroyPipeline(device->handle, pipeline, NULL);
    }
    *out_count = result == SXT_OK ? statistics.count : 0;
    return result;
}
