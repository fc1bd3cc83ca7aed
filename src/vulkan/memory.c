// Buffers, by VulkanMemoryAllocator. One that is destroyed while the device may still use it waits in the graveyard.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

sxt_result sxt_vulkan_memory_init(sxt_vulkan_device *device) {
    const VmaVulkanFunctions functions = {
        .vkGetInstanceProcAddr = device->instance.vkGetInstanceProcAddr,
        .vkGetDeviceProcAddr = device->instance.vkGetDeviceProcAddr,
    };
    VmaAllocatorCreateFlags flags = 0;
    if (device->physical.extensions[SXT_VULKAN_EXT_MEMORY_BUDGET]) flags |= VMA_ALLOCATOR_CREATE_EXT_MEMORY_BUDGET_BIT;
    if (device->base.info.caps.buffer_address) flags |= VMA_ALLOCATOR_CREATE_BUFFER_DEVICE_ADDRESS_BIT;
    const VmaAllocatorCreateInfo info = {
        .flags = flags,
        .physicalDevice = device->physical.handle,
        .device = device->handle,
        .pVulkanFunctions = &functions,
        .instance = device->instance.handle,
        .vulkanApiVersion = VK_API_VERSION_1_2,
    };
    const VkResult vk = vmaCreateAllocator(&info, &device->allocator);
    return vk < 0 ? sxt_vulkan_device_fail(device, "vmaCreateAllocator", vk) : SXT_OK;
}

void sxt_vulkan_memory_finish(sxt_vulkan_device *device) {
    if (device->allocator == NULL) return;
    sxt_vulkan_memory_collect(device, true);
    const unsigned live = atomic_load(&device->live_buffers);
    if (live > 0) sxt_log(&device->base.logger, SXT_LOG_WARNING, "closing a device that still has %u buffers", live);
    vmaDestroyAllocator(device->allocator);
}

static void free_buffer(sxt_vulkan_device *device, sxt_vulkan_buffer *buffer) {
    vmaDestroyBuffer(device->allocator, buffer->handle, buffer->allocation);
    free(buffer);
}

void sxt_vulkan_memory_collect(sxt_vulkan_device *device, bool all) {
    sxt_vulkan_buffer *dead = NULL;
    pthread_mutex_lock(&device->graveyard_lock);
    for (sxt_vulkan_buffer **link = &device->graveyard; *link != NULL;) {
        sxt_vulkan_buffer *buffer = *link;
        if (!all && !sxt_vulkan_passed(device, buffer->ticket)) {
            link = &buffer->next;
            continue;
        }
        *link = buffer->next;
        buffer->next = dead;
        dead = buffer;
    }
    pthread_mutex_unlock(&device->graveyard_lock);
    while (dead != NULL) {
        sxt_vulkan_buffer *next = dead->next;
        free_buffer(device, dead);
        dead = next;
    }
}

sxt_result sxt_vulkan_memory(sxt_device *base, uint64_t *out_used, uint64_t *out_budget) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    const sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    const VkPhysicalDeviceMemoryProperties *memory;
    VmaBudget budgets[VK_MAX_MEMORY_HEAPS];
    vmaGetMemoryProperties(device->allocator, &memory);
    vmaGetHeapBudgets(device->allocator, budgets);
    *out_used = *out_budget = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++) {
        if (!(memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
        *out_used += budgets[i].usage;
        *out_budget += budgets[i].budget;
    }
    return SXT_OK;
}

// The host's pointer is promised to be coherent, so memory that needs flushing is never mapped for the user.
static VmaAllocationCreateInfo allocation_info(const sxt_caps *caps, sxt_memory memory) {
    VmaAllocationCreateInfo info = {.usage = VMA_MEMORY_USAGE_AUTO_PREFER_DEVICE};
    if (memory == SXT_MEMORY_HOST || caps->unified_memory) {
        info.flags = VMA_ALLOCATION_CREATE_HOST_ACCESS_RANDOM_BIT | VMA_ALLOCATION_CREATE_MAPPED_BIT;
        info.requiredFlags = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
        info.preferredFlags = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    }
    if (memory == SXT_MEMORY_HOST)
        info.usage = VMA_MEMORY_USAGE_AUTO_PREFER_HOST;
    else
        info.requiredFlags |= VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    return info;
}

static void set_name(sxt_vulkan_device *device, const sxt_vulkan_buffer *buffer, const char *name) {
    if (name == NULL) return;
    vmaSetAllocationName(device->allocator, buffer->allocation, name);
    if (!device->instance.debug_utils || device->instance.vkSetDebugUtilsObjectNameEXT == NULL) return;
    const VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = VK_OBJECT_TYPE_BUFFER,
        .objectHandle = (uint64_t)buffer->handle,
        .pObjectName = name,
    };
    device->instance.vkSetDebugUtilsObjectNameEXT(device->handle, &info); // a failure costs a name
}

// Waits for the work that keeps destroyed buffers alive. False if there was nothing to gain.
static bool empty_graveyard(sxt_vulkan_device *device) {
    pthread_mutex_lock(&device->graveyard_lock);
    const bool empty = device->graveyard == NULL;
    pthread_mutex_unlock(&device->graveyard_lock);
    return !empty && sxt_vulkan_wait(&device->base, atomic_load(&device->submitted), UINT64_MAX) == SXT_OK;
}

static sxt_result create_buffer(sxt_vulkan_device *device, const sxt_buffer_desc *desc,
                                const VmaAllocationCreateInfo *how, sxt_buffer **out_buffer) {
    sxt_device *base = &device->base;
    *out_buffer = NULL;
    const sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    sxt_vulkan_memory_collect(device, false);
    if (desc->bytes > device->physical.max_buffer_bytes || desc->bytes > UINT64_MAX - 15) {
        sxt_log(&base->logger, SXT_LOG_ERROR, "buffer \"%s\" of %llu bytes: the device has at most %llu",
                desc->name != NULL ? desc->name : "", (unsigned long long)desc->bytes,
                (unsigned long long)device->physical.max_buffer_bytes);
        return SXT_ERROR_OUT_OF_MEMORY;
    }
    sxt_vulkan_buffer *buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    buffer->base = (sxt_buffer){.device = base, .bytes = desc->bytes};
    buffer->padded_bytes = (desc->bytes + 15) & ~UINT64_C(15);

    VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                               VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT;
    if (base->info.caps.buffer_address) usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = buffer->padded_bytes,
        .usage = usage,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    VmaAllocationInfo made;
    VkResult vk = vmaCreateBuffer(device->allocator, &info, how, &buffer->handle, &buffer->allocation, &made);
    if (vk == VK_ERROR_OUT_OF_DEVICE_MEMORY && empty_graveyard(device))
        vk = vmaCreateBuffer(device->allocator, &info, how, &buffer->handle, &buffer->allocation, &made);
    if (vk < 0) {
        free(buffer);
        return sxt_vulkan_device_fail(device, "vmaCreateBuffer", vk);
    }
    buffer->base.mapped = made.pMappedData;
    if (base->info.caps.buffer_address) {
        const VkBufferDeviceAddressInfo where = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                                 .buffer = buffer->handle};
        buffer->address = device->vk.vkGetBufferDeviceAddress(device->handle, &where);
    }
    set_name(device, buffer, desc->name);
    atomic_fetch_add(&device->live_buffers, 1);
    *out_buffer = &buffer->base;
    return SXT_OK;
}

sxt_result sxt_vulkan_buffer_create(sxt_device *base, const sxt_buffer_desc *desc, sxt_buffer **out_buffer) {
    const VmaAllocationCreateInfo how = allocation_info(&base->info.caps, desc->memory);
    return create_buffer(sxt_vulkan_device_of(base), desc, &how, out_buffer);
}

// Device memory that the host can write through PCIe, where there is such: else each workgroup would read through it.
sxt_result sxt_vulkan_uniforms_create(sxt_vulkan_device *device, uint64_t bytes, sxt_buffer **out_buffer) {
    const sxt_buffer_desc desc = {.bytes = bytes, .name = "sextant uniforms"};
    const VmaAllocationCreateInfo how = {
        .flags = VMA_ALLOCATION_CREATE_HOST_ACCESS_SEQUENTIAL_WRITE_BIT | VMA_ALLOCATION_CREATE_MAPPED_BIT,
        .usage = VMA_MEMORY_USAGE_AUTO_PREFER_DEVICE,
        .requiredFlags = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
        .preferredFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    };
    return create_buffer(device, &desc, &how, out_buffer);
}

void sxt_vulkan_buffer_destroy(sxt_buffer *base) {
    if (base == NULL) return;
    sxt_vulkan_buffer *buffer = sxt_vulkan_buffer_of(base);
    sxt_vulkan_device *device = sxt_vulkan_device_of(base->device);
    if (sxt_vulkan_foreign(device)) {
        free(buffer);
        return;
    }
    atomic_fetch_sub(&device->live_buffers, 1);
    buffer->ticket = atomic_load(&device->submitted);
    if (sxt_vulkan_passed(device, buffer->ticket)) {
        free_buffer(device, buffer);
        return;
    }
    pthread_mutex_lock(&device->graveyard_lock);
    buffer->next = device->graveyard;
    device->graveyard = buffer;
    pthread_mutex_unlock(&device->graveyard_lock);
}

// ── Scratch ──

sxt_result sxt_vulkan_scratch_take(sxt_vulkan_device *device, uint64_t bytes, sxt_buffer **out_buffer) {
    sxt_buffer *spare = atomic_exchange(&device->spare_scratch, NULL);
    if (spare != NULL && spare->bytes >= bytes) {
        *out_buffer = spare;
        return SXT_OK;
    }
    sxt_vulkan_buffer_destroy(spare);
    const uint64_t step = UINT64_C(1) << 16; // so that caches which grow do not make a buffer each time
    const sxt_buffer_desc desc = {.bytes = (bytes + step - 1) / step * step, .name = "sextant scratch"};
    return sxt_vulkan_buffer_create(&device->base, &desc, out_buffer);
}

sxt_result sxt_vulkan_scratch_reserve(sxt_vulkan_device *device, uint64_t bytes) {
    if (bytes == 0) return SXT_OK;
    sxt_buffer *mine;
    const sxt_result result = sxt_vulkan_scratch_take(device, bytes, &mine);
    if (result == SXT_OK) sxt_vulkan_buffer_destroy(atomic_exchange(&device->spare_scratch, mine));
    return result;
}
