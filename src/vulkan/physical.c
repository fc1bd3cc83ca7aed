#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

static void unusable(sxt_device_info *info, const char *why_not) {
    info->usable = false;
    snprintf(info->why_not, sizeof info->why_not, "%.127s %.127s", info->name, why_not);
}

static const char *type_name(VkPhysicalDeviceType type) {
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "CPU";
    default:
        return "other";
    }
}

// What attention in plain f32 is taken to reach, in operations a second. Estimated too low, work is cut more finely
// than need be, which costs some microseconds a cut; too high, a dispatch takes longer than its budget. So it is a
// fifth of the peak of about the slowest device of its kind that people still use: a GTX 1050 (1.8e12) of the discrete
// ones, an Adreno 610 (2.7e11) of the integrated ones. What is behind a virtual GPU nobody tells. A CPU: what kernels
// meant for GPUs reach on llvmpipe with two cores.
static double assumed_flops(VkPhysicalDeviceType type) {
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 3e11;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 5e9;
    default:
        return 5e10;
    }
}

uint64_t sxt_vulkan_dispatch_flops(VkPhysicalDeviceType type, uint32_t budget_us) {
    if (budget_us == 0 && type == VK_PHYSICAL_DEVICE_TYPE_CPU) return 0;
    return (uint64_t)(assumed_flops(type) * 1e-6 * (budget_us == 0 ? 100000 : budget_us));
}

// Where the driver says nothing of its version, the number, in the encoding that most use.
static void name_driver(const char *name, const char *version, sxt_vulkan_physical *physical) {
    char *out = physical->info.driver;
    const uint32_t number = physical->driver_version;
    if (version[0] != '\0')
        snprintf(out, SXT_MAX_NAME, "%.127s %.127s", name, version);
    else
        snprintf(out, SXT_MAX_NAME, "%.127s %u.%u.%u", name, VK_API_VERSION_MAJOR(number), VK_API_VERSION_MINOR(number),
                 VK_API_VERSION_PATCH(number));
}

static void query_extensions(const sxt_vulkan_instance *instance, sxt_vulkan_physical *physical) {
    uint32_t count = 0;
    if (instance->vkEnumerateDeviceExtensionProperties(physical->handle, NULL, &count, NULL) < 0 || count == 0) return;
    VkExtensionProperties *found = calloc(count, sizeof *found);
    if (found == NULL) return;
    if (instance->vkEnumerateDeviceExtensionProperties(physical->handle, NULL, &count, found) >= 0)
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t e = 0; e < SXT_VULKAN_EXT_COUNT; e++)
                if (strncmp(found[i].extensionName, sxt_vulkan_extension_names[e], VK_MAX_EXTENSION_NAME_SIZE) == 0)
                    physical->extensions[e] = true;
    free(found);
}

// A family that computes but does not draw, if there is one: work there does not queue behind the desktop's frames, and
// a hang there is reset alone. Else the first that computes.
static bool query_queues(const sxt_vulkan_instance *instance, sxt_vulkan_physical *physical) {
    uint32_t count = 0;
    instance->vkGetPhysicalDeviceQueueFamilyProperties(physical->handle, &count, NULL);
    VkQueueFamilyProperties *families = count == 0 ? NULL : calloc(count, sizeof *families);
    if (families == NULL) return false;
    instance->vkGetPhysicalDeviceQueueFamilyProperties(physical->handle, &count, families);
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0) continue;
        const bool draws = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        const bool best_draws = best != UINT32_MAX && families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        if (best == UINT32_MAX || (best_draws && !draws)) best = i;
    }
    if (best != UINT32_MAX) {
        physical->queue_family = best;
        physical->timestamp_bits = families[best].timestampValidBits;
    }
    free(families);
    return best != UINT32_MAX;
}

// Unified: one memory for both sides, which the host can use without flushing. A discrete device whose whole memory is
// visible through PCIe is not: the host reads there at a hundredth of the speed.
static void query_memory(const sxt_vulkan_instance *instance, VkPhysicalDeviceType type,
                         sxt_vulkan_physical *physical) {
    VkPhysicalDeviceMemoryProperties memory = {0};
    instance->vkGetPhysicalDeviceMemoryProperties(physical->handle, &memory);
    sxt_caps *caps = &physical->info.caps;
    uint32_t heap = 0;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < memory.memoryHeapCount && i < VK_MAX_MEMORY_HEAPS; i++) {
        const uint64_t bytes = memory.memoryHeaps[i].size;
        if (bytes > largest) largest = bytes;
        if (!(memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || bytes <= caps->memory_bytes) continue;
        caps->memory_bytes = bytes;
        heap = i;
    }
    if (physical->max_buffer_bytes > largest && largest > 0) physical->max_buffer_bytes = largest;

    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (type != VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU && type != VK_PHYSICAL_DEVICE_TYPE_CPU) return;
    for (uint32_t i = 0; i < memory.memoryTypeCount && i < VK_MAX_MEMORY_TYPES; i++)
        if (memory.memoryTypes[i].heapIndex == heap && (memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            caps->unified_memory = true;
}

typedef struct properties {
    VkPhysicalDeviceProperties2 core;
    VkPhysicalDeviceVulkan11Properties v11;
    VkPhysicalDeviceVulkan12Properties v12;
    VkPhysicalDeviceVulkan13Properties v13;
    VkPhysicalDeviceSubgroupSizeControlProperties size_control;
} properties;

static void query_properties(const sxt_vulkan_instance *instance, const sxt_vulkan_physical *physical,
                             properties *out) {
    *out = (properties){
        .core = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &out->v11, {0}},
        .v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, .pNext = &out->v12},
        .v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES},
        .v13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES},
        .size_control = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES},
    };
    if (physical->api_version >= VK_API_VERSION_1_3)
        out->v12.pNext = &out->v13;
    else if (physical->extensions[SXT_VULKAN_EXT_SUBGROUP_SIZE_CONTROL])
        out->v12.pNext = &out->size_control;
    instance->vkGetPhysicalDeviceProperties2(physical->handle, &out->core);
}

static void fill_limits(const properties *p, sxt_vulkan_physical *physical) {
    sxt_device_info *info = &physical->info;
    sxt_caps *caps = &info->caps;
    const VkPhysicalDeviceLimits *limits = &p->core.properties.limits;
    name_driver(p->v12.driverName, p->v12.driverInfo, physical);
    caps->driver_id = p->v12.driverID;
    caps->max_invocations = limits->maxComputeWorkGroupInvocations;
    caps->max_group_size_x = limits->maxComputeWorkGroupSize[0];
    memcpy(caps->max_group_count, limits->maxComputeWorkGroupCount, sizeof caps->max_group_count);
    caps->shared_bytes = limits->maxComputeSharedMemorySize;
    caps->push_bytes = limits->maxPushConstantsSize;
    caps->storage_align = (uint32_t)limits->minStorageBufferOffsetAlignment;
    caps->storage_buffers = limits->maxPerStageDescriptorStorageBuffers;
    if (caps->storage_buffers > limits->maxDescriptorSetStorageBuffers)
        caps->storage_buffers = limits->maxDescriptorSetStorageBuffers;
    caps->storage_range = limits->maxStorageBufferRange;
    const bool timestamps =
        physical->timestamp_bits > 0 && limits->timestampPeriod > 0 && isfinite(limits->timestampPeriod);
    caps->timestamp_ns = timestamps ? limits->timestampPeriod : 0;

    physical->max_buffer_bytes = p->v11.maxMemoryAllocationSize;
    if (p->v13.maxBufferSize > 0 && p->v13.maxBufferSize < physical->max_buffer_bytes)
        physical->max_buffer_bytes = p->v13.maxBufferSize;
}

// After the features are known: sizes can be asked for only where they can be controlled.
static void fill_subgroups(const properties *p, sxt_caps *caps) {
    const bool compute = p->v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    const VkSubgroupFeatureFlags operations = compute ? p->v11.subgroupSupportedOperations : 0;
    // Shuffles come with broadcasts here, which SPIR-V counts among the ballots.
    const VkSubgroupFeatureFlags shuffles =
        VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT;
    caps->subgroup_arithmetic = operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    caps->subgroup_shuffle = (operations & shuffles) == shuffles;
    caps->subgroup_size = p->v11.subgroupSize > 0 ? p->v11.subgroupSize : 1;
    caps->subgroup_min = caps->subgroup_max = caps->subgroup_size;

    const bool v13 = p->v13.maxSubgroupSize > 0;
    const VkShaderStageFlags stages =
        v13 ? p->v13.requiredSubgroupSizeStages : p->size_control.requiredSubgroupSizeStages;
    caps->subgroup_size_control &= (stages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
    if (!caps->subgroup_size_control) return;
    caps->subgroup_min = v13 ? p->v13.minSubgroupSize : p->size_control.minSubgroupSize;
    caps->subgroup_max = v13 ? p->v13.maxSubgroupSize : p->size_control.maxSubgroupSize;
}

// Vector registers of this CPU, which is that of a software device.
static uint32_t cpu_registers(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx512vl") ? 32 : 16;
#elif defined(__aarch64__)
    return 32;
#else
    return 0;
#endif
}

void sxt_vulkan_physical_query(const sxt_vulkan_instance *instance, VkPhysicalDevice handle,
                               sxt_vulkan_physical *out_physical) {
    VkPhysicalDeviceProperties first = {0};
    instance->vkGetPhysicalDeviceProperties(handle, &first);
    *out_physical = (sxt_vulkan_physical){
        .handle = handle,
        .type = first.deviceType,
        .api_version = first.apiVersion < instance->api_version ? first.apiVersion : instance->api_version,
        .driver_version = first.driverVersion,
        .info = {.kind = SXT_DEVICE_VULKAN,
                 .type = type_name(first.deviceType),
                 .api_version = first.apiVersion,
                 .usable = true,
                 .caps = {.vendor_id = first.vendorID,
                          .device_id = first.deviceID,
                          .software = first.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
                          .cpu_registers = first.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ? cpu_registers() : 0}},
    };
    sxt_device_info *info = &out_physical->info;
    memcpy(out_physical->cache_uuid, first.pipelineCacheUUID, VK_UUID_SIZE);
    snprintf(info->name, sizeof info->name, "%.255s", first.deviceName);
    name_driver("driver", "", out_physical);

    // Nothing newer than Vulkan 1.0 is asked of a device that has no more.
    const uint32_t major = VK_API_VERSION_MAJOR(first.apiVersion), minor = VK_API_VERSION_MINOR(first.apiVersion);
    if (first.apiVersion < VK_API_VERSION_1_2) {
        char why_not[64];
        snprintf(why_not, sizeof why_not, "supports Vulkan %u.%u; Sextant needs 1.2", major, minor);
        unusable(info, why_not);
        return;
    }
    if (instance->api_version < VK_API_VERSION_1_1 || instance->vkGetPhysicalDeviceProperties2 == NULL ||
        instance->vkGetPhysicalDeviceFeatures2 == NULL || instance->vkEnumerateDeviceExtensionProperties == NULL ||
        instance->vkGetPhysicalDeviceQueueFamilyProperties == NULL ||
        instance->vkGetPhysicalDeviceMemoryProperties == NULL || instance->vkCreateDevice == NULL ||
        instance->vkGetDeviceProcAddr == NULL) {
        unusable(info, "cannot be used: the Vulkan loader lacks functions of Vulkan 1.1 (update libvulkan1)");
        return;
    }
    out_physical->api_version = first.apiVersion; // a loader of 1.1 passes all later functions of devices through
    query_extensions(instance, out_physical);
    if (!query_queues(instance, out_physical)) {
        unusable(info, "has no queue that computes");
        return;
    }

    properties p;
    query_properties(instance, out_physical, &p);
    fill_limits(&p, out_physical);
    query_memory(instance, first.deviceType, out_physical);
    sxt_vulkan_features features;
    sxt_vulkan_features_query(instance, out_physical, &features, &info->caps);
    fill_subgroups(&p, &info->caps);
    const sxt_vulkan_facts facts = {
        .type = first.deviceType,
        .driver_version = first.driverVersion,
        .mixed_dot_accelerated = p.v13.integerDotProduct4x8BitPackedMixedSignednessAccelerated,
    };
    sxt_vulkan_quirks_apply(&instance->logger, &facts, &info->caps);
    if (info->caps.matrix)
        sxt_vulkan_matrix_shapes_query(instance, handle, features.matrix2.cooperativeMatrixWorkgroupScope, &info->caps);

    info->compiles = true;
    if (info->caps.memory_bytes == 0) unusable(info, "has no memory: it only compiles");
    if (!features.v12.timelineSemaphore) unusable(info, "has no timeline semaphores");
    // A driver that claims 1.2 and offers less than 1.0 asks for is broken; plans rest on these.
    const sxt_caps *caps = &info->caps;
    if (caps->max_invocations < 128 || caps->max_group_size_x < 128 || caps->shared_bytes < 16384 ||
        caps->max_group_count[0] < 65535 || caps->max_group_count[1] < 65535 || caps->max_group_count[2] < 65535 ||
        caps->push_bytes < SXT_MAX_PUSH || caps->storage_range < UINT64_C(128) << 20 || caps->storage_align == 0 ||
        caps->storage_align > 256) {
        info->compiles = false;
        unusable(info, "offers less than Vulkan 1.0 requires");
    }
}
