#include <stdlib.h>
#include <unistd.h>

#include "core/caps.h"
#include "vulkan/internal.h"

// No shader touches them: any size does.
enum { DUMMY_BYTES = 256 };

// What is left of a device's capabilities by the caller's wish.
static sxt_result apply_params(const sxt_device_params *params, const sxt_vulkan_physical *physical, sxt_caps *caps) {
    const sxt_logger logger = {params->log, params->log_user};
    caps->dispatch_flops = sxt_vulkan_dispatch_flops(physical->type, params->budget_us);
    return sxt_caps_disable(&logger, params->disable, caps);
}

sxt_result sxt_vulkan_list_through(PFN_vkGetInstanceProcAddr get_proc, const sxt_device_params *params,
                                   sxt_device_info *infos, uint32_t capacity, uint32_t *out_count) {
    const sxt_logger logger = {params->log, params->log_user};
    sxt_vulkan_instance instance;
    VkPhysicalDevice *devices = NULL;
    *out_count = 0;
    sxt_caps scratch = {0};
    sxt_result result =
        sxt_caps_disable(&logger, params->disable, &scratch); // also where there is no device to try it on
    if (result != SXT_OK) return result;
    result = sxt_vulkan_instance_init(&logger, get_proc, &instance);
    if (result == SXT_ERROR_NO_DEVICE) return SXT_OK;
    if (result != SXT_OK) return result;
    result = sxt_vulkan_instance_devices(&instance, &devices, out_count);
    for (uint32_t i = 0; i < *out_count && i < capacity && result == SXT_OK; i++) {
        sxt_vulkan_physical physical;
        sxt_vulkan_physical_query(&instance, devices[i], &physical);
        infos[i] = physical.info;
        result = apply_params(params, &physical, &infos[i].caps);
    }
    free(devices);
    sxt_vulkan_instance_finish(&instance);
    return result;
}

sxt_result sxt_vulkan_list(const sxt_device_params *params, sxt_device_info *infos, uint32_t capacity,
                           uint32_t *out_count) {
    return sxt_vulkan_list_through(NULL, params, infos, capacity, out_count);
}

static sxt_result find_physical(sxt_vulkan_device *device, uint32_t index) {
    VkPhysicalDevice *devices;
    uint32_t count;
    const sxt_logger *logger = &device->base.logger;
    const sxt_result result = sxt_vulkan_instance_devices(&device->instance, &devices, &count);
    if (result != SXT_OK) return result;
    if (index < count) sxt_vulkan_physical_query(&device->instance, devices[index], &device->physical);
    free(devices);
    if (index >= count) {
        sxt_log(logger, SXT_LOG_ERROR, "there is no Vulkan device %u; there are %u", index, count);
        return SXT_ERROR_NO_DEVICE;
    }
    if (!(device->compile_only ? device->physical.info.compiles : device->physical.info.usable)) {
        sxt_log(logger, SXT_LOG_ERROR, "%s", device->physical.info.why_not);
        return SXT_ERROR_NO_DEVICE;
    }
    return SXT_OK;
}

static sxt_result load_functions(sxt_vulkan_device *device) {
    sxt_vulkan_load_device(device->instance.vkGetDeviceProcAddr, device->handle, &device->vk);
    const char *missing = NULL;
#define CHECK(name)                                                                                                    \
    if (device->vk.name == NULL) missing = #name;
    SXT_VULKAN_DEVICE_FUNCTIONS(CHECK)
#undef CHECK
    device->statistics = device->compile_only &&
                         device->physical.extensions[SXT_VULKAN_EXT_PIPELINE_EXECUTABLE_PROPERTIES] &&
                         device->vk.vkGetPipelineExecutablePropertiesKHR != NULL &&
                         device->vk.vkGetPipelineExecutableStatisticsKHR != NULL;
    if (missing == NULL) return SXT_OK;
    sxt_log(&device->base.logger, SXT_LOG_ERROR, "the driver of %s has no %s", device->physical.info.name, missing);
    return SXT_ERROR_DRIVER;
}

static sxt_result create_device(sxt_vulkan_device *device) {
    sxt_vulkan_features features;
    const char *names[SXT_VULKAN_EXT_COUNT];
    const uint32_t name_count =
        sxt_vulkan_features_enable(&device->physical, &device->base.info.caps, device->compile_only, &features, names);
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->physical.queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features.core,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
    };
    const VkResult vk = device->instance.vkCreateDevice(device->physical.handle, &info, NULL, &device->handle);
    if (vk < 0) {
        device->handle = VK_NULL_HANDLE;
        return sxt_vulkan_device_fail(device, "vkCreateDevice", vk);
    }
    return load_functions(device);
}

static sxt_result create_queue(sxt_vulkan_device *device) {
    sxt_result result = SXT_OK;
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    SXT_VK(device, vkCreateSemaphore(device->handle, &info, NULL, &device->timeline));
    device->vk.vkGetDeviceQueue(device->handle, device->physical.queue_family, 0, &device->queue);
error:
    return result;
}

static sxt_result create_for_running(sxt_vulkan_device *device, const char *cache_path) {
    const sxt_buffer_desc dummy = {.bytes = DUMMY_BYTES, .name = "sextant dummy"};
    const sxt_buffer_desc faults = {.bytes = sizeof(uint32_t), .name = "sextant faults"};
    const sxt_buffer_desc seen = {.bytes = sizeof(uint32_t), .memory = SXT_MEMORY_HOST, .name = "sextant faults seen"};
    sxt_result result = create_queue(device);
    if (result == SXT_OK) result = sxt_vulkan_memory_init(device);
    if (result == SXT_OK) result = sxt_vulkan_pipelines_init(device, cache_path);
    if (result == SXT_OK) result = sxt_vulkan_buffer_create(&device->base, &dummy, &device->dummy_read);
    if (result == SXT_OK) result = sxt_vulkan_buffer_create(&device->base, &dummy, &device->dummy_written);
    if (result == SXT_OK) result = sxt_vulkan_buffer_create(&device->base, &faults, &device->faults);
    if (result == SXT_OK) result = sxt_vulkan_buffer_create(&device->base, &seen, &device->faults_seen);
    uint32_t unwritten;
    if (result == SXT_OK) result = sxt_vulkan_faults(&device->base, true, &unwritten);
    return result;
}

sxt_result sxt_vulkan_open_through(PFN_vkGetInstanceProcAddr get_proc, const sxt_backend *backend,
                                   const sxt_device_params *params, uint32_t index, sxt_device **out_device) {
    *out_device = NULL;
    sxt_vulkan_device *device = calloc(1, sizeof *device);
    if (device == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    device->base.backend = backend;
    device->base.logger = (sxt_logger){params->log, params->log_user};
    device->compile_only = params->compile_only;
    device->process = getpid();
    pthread_mutex_init(&device->queue_lock, NULL);
    pthread_mutex_init(&device->graveyard_lock, NULL);
    pthread_mutex_init(&device->choices.lock, NULL);
    pthread_mutex_init(&device->tables_lock, NULL);
    pthread_mutex_init(&device->transfer.lock, NULL);
    pthread_mutex_init(&device->pipelines.lock, NULL);
    pthread_mutex_init(&device->pipelines.compile, NULL);

    sxt_result result = sxt_vulkan_instance_init(&device->base.logger, get_proc, &device->instance);
    if (result == SXT_OK) result = find_physical(device, index);
    device->base.info = device->physical.info;
    if (result == SXT_OK) result = apply_params(params, &device->physical, &device->base.info.caps);
    if (result == SXT_OK) result = create_device(device);
    if (result == SXT_OK && !params->compile_only) result = create_for_running(device, params->cache_path);
    if (result != SXT_OK) {
        sxt_vulkan_close(&device->base);
        return result;
    }
    sxt_log(&device->base.logger, SXT_LOG_DEBUG, "opened %s, %s", device->base.info.name, device->base.info.driver);
    *out_device = &device->base;
    return SXT_OK;
}

sxt_result sxt_vulkan_open(const sxt_backend *backend, const sxt_device_params *params, uint32_t index,
                           sxt_device **out_device) {
    return sxt_vulkan_open_through(NULL, backend, params, index, out_device);
}

// In reverse order of making, each part if it was made.
static void free_driver_objects(sxt_vulkan_device *device) {
    if (device->handle != VK_NULL_HANDLE && device->vk.vkDestroyDevice != NULL) {
        if (device->timeline != VK_NULL_HANDLE) {
            sxt_vulkan_drain(device, atomic_load(&device->submitted));
            sxt_vulkan_tables_finish(device);
            sxt_vulkan_buffer_destroy(atomic_exchange(&device->spare_scratch, NULL));
            sxt_vulkan_buffer_destroy(device->faults_seen);
            sxt_vulkan_buffer_destroy(device->faults);
            sxt_vulkan_buffer_destroy(device->dummy_written);
            sxt_vulkan_buffer_destroy(device->dummy_read);
            if (device->allocator != NULL) sxt_vulkan_pipelines_finish(device);
            sxt_vulkan_transfer_finish(device);
            sxt_vulkan_memory_finish(device);
            device->vk.vkDestroySemaphore(device->handle, device->timeline, NULL);
        }
        if (device->compile_only) sxt_vulkan_pipelines_finish(device);
        device->vk.vkDestroyDevice(device->handle, NULL);
    }
    sxt_vulkan_instance_finish(&device->instance);
}

void sxt_vulkan_close(sxt_device *base) {
    if (base == NULL) return;
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    if (!sxt_vulkan_foreign(device)) free_driver_objects(device);
    pthread_mutex_destroy(&device->pipelines.compile);
    pthread_mutex_destroy(&device->pipelines.lock);
    pthread_mutex_destroy(&device->transfer.lock);
    pthread_mutex_destroy(&device->tables_lock);
    pthread_mutex_destroy(&device->choices.lock);
    pthread_mutex_destroy(&device->graveyard_lock);
    pthread_mutex_destroy(&device->queue_lock);
    free(device);
}
