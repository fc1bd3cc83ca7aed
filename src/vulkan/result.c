// Results of Vulkan calls: their names, what they mean to the user, and the device that is lost.
#include "vulkan/internal.h"

const char *sxt_vulkan_result_name(VkResult result) {
    switch (result) {
#define NAME(name)                                                                                                     \
    case name:                                                                                                         \
        return #name
        NAME(VK_SUCCESS);
        NAME(VK_NOT_READY);
        NAME(VK_TIMEOUT);
        NAME(VK_INCOMPLETE);
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY);
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY);
        NAME(VK_ERROR_INITIALIZATION_FAILED);
        NAME(VK_ERROR_DEVICE_LOST);
        NAME(VK_ERROR_MEMORY_MAP_FAILED);
        NAME(VK_ERROR_LAYER_NOT_PRESENT);
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT);
        NAME(VK_ERROR_FEATURE_NOT_PRESENT);
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER);
        NAME(VK_ERROR_TOO_MANY_OBJECTS);
        NAME(VK_ERROR_FORMAT_NOT_SUPPORTED);
        NAME(VK_ERROR_FRAGMENTED_POOL);
        NAME(VK_ERROR_UNKNOWN);
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY);
        NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE);
        NAME(VK_ERROR_FRAGMENTATION);
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
        NAME(VK_PIPELINE_COMPILE_REQUIRED);
        NAME(VK_ERROR_NOT_PERMITTED_KHR);
        NAME(VK_ERROR_INVALID_SHADER_NV);
        NAME(VK_ERROR_VALIDATION_FAILED_EXT);
#undef NAME
    default:
        return result < 0 ? "an unknown VkResult that is an error" : "an unknown VkResult";
    }
}

static sxt_result translate(VkResult vk) {
    switch (vk) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_MEMORY_MAP_FAILED:
        return SXT_ERROR_OUT_OF_MEMORY;
    case VK_ERROR_DEVICE_LOST:
        return SXT_ERROR_DEVICE_LOST;
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return SXT_ERROR_NO_DEVICE;
    default:
        return SXT_ERROR_DRIVER;
    }
}

sxt_result sxt_vulkan_fail(const sxt_logger *logger, const char *call, VkResult vk) {
    sxt_log(logger, SXT_LOG_ERROR, "Vulkan: %s (%d) from %s", sxt_vulkan_result_name(vk), (int)vk, call);
    return translate(vk);
}

sxt_result sxt_vulkan_device_fail(sxt_vulkan_device *device, const char *call, VkResult vk) {
    if (vk == VK_ERROR_DEVICE_LOST) atomic_store(&device->lost, true);
    return sxt_vulkan_fail(&device->base.logger, call, vk);
}
