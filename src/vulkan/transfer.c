// Host to device and back: at once where memory is mapped, else in pieces through staging memory. And the fault word.
#include <string.h>

#include "vulkan/internal.h"

// Large enough to hide the cost of a submission, small enough to be nobody's worry.
enum { STAGING_BYTES = 16 << 20 };

static sxt_result create_commands(sxt_vulkan_device *device) {
    sxt_vulkan_transfer *transfer = &device->transfer;
    sxt_result result = SXT_OK;
    if (transfer->pool == VK_NULL_HANDLE) {
        const VkCommandPoolCreateInfo pool = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
            .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
            .queueFamilyIndex = device->physical.queue_family,
        };
        SXT_VK(device, vkCreateCommandPool(device->handle, &pool, NULL, &transfer->pool));
    }
    if (transfer->commands == VK_NULL_HANDLE) {
        const VkCommandBufferAllocateInfo commands = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = transfer->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        SXT_VK(device, vkAllocateCommandBuffers(device->handle, &commands, &transfer->commands));
    }
error:
    return result;
}

static sxt_result create_staging(sxt_vulkan_device *device) {
    sxt_vulkan_transfer *transfer = &device->transfer;
    if (transfer->staging != VK_NULL_HANDLE) return SXT_OK;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = STAGING_BYTES,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    const VmaAllocationCreateInfo how = {
        .flags = VMA_ALLOCATION_CREATE_HOST_ACCESS_RANDOM_BIT | VMA_ALLOCATION_CREATE_MAPPED_BIT,
        .usage = VMA_MEMORY_USAGE_AUTO_PREFER_HOST,
    };
    VmaAllocationInfo made;
    const VkResult vk =
        vmaCreateBuffer(device->allocator, &info, &how, &transfer->staging, &transfer->allocation, &made);
    if (vk < 0) return sxt_vulkan_device_fail(device, "vmaCreateBuffer", vk);
    transfer->mapped = made.pMappedData;
    return SXT_OK;
}

void sxt_vulkan_transfer_finish(sxt_vulkan_device *device) {
    sxt_vulkan_transfer *transfer = &device->transfer;
    if (transfer->pool != VK_NULL_HANDLE) device->vk.vkDestroyCommandPool(device->handle, transfer->pool, NULL);
    if (transfer->staging != VK_NULL_HANDLE)
        vmaDestroyBuffer(device->allocator, transfer->staging, transfer->allocation);
}

static sxt_result begin(sxt_vulkan_device *device) {
    sxt_vulkan_transfer *transfer = &device->transfer;
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    // Where the last wait failed, commands and staging may still be in use.
    sxt_result result = sxt_vulkan_wait(&device->base, transfer->ticket, UINT64_MAX);
    if (result == SXT_OK) result = create_commands(device);
    if (result != SXT_OK) return result;
    SXT_VK(device, vkResetCommandPool(device->handle, transfer->pool, 0));
    SXT_VK(device, vkBeginCommandBuffer(transfer->commands, &info));
    sxt_vulkan_begin_barrier(device, transfer->commands);
error:
    return result;
}

// Submits, and waits until it is done.
static sxt_result finish(sxt_vulkan_device *device) {
    sxt_vulkan_transfer *transfer = &device->transfer;
    sxt_result result = SXT_OK;
    sxt_vulkan_end_barrier(device, transfer->commands);
    SXT_VK(device, vkEndCommandBuffer(transfer->commands));
    result = sxt_vulkan_submit(device, transfer->commands, &transfer->ticket);
    if (result == SXT_OK) result = sxt_vulkan_wait(&device->base, transfer->ticket, UINT64_MAX);
error:
    return result;
}

static sxt_result copy(sxt_vulkan_device *device, VkBuffer from, VkBuffer to, const VkBufferCopy *region) {
    const sxt_result result = begin(device);
    if (result != SXT_OK) return result;
    device->vk.vkCmdCopyBuffer(device->transfer.commands, from, to, 1, region);
    return finish(device);
}

static sxt_result sync_staging(sxt_vulkan_device *device, bool flush, uint64_t bytes) {
    const VmaAllocation allocation = device->transfer.allocation;
    const VkResult vk = flush ? vmaFlushAllocation(device->allocator, allocation, 0, bytes)
                              : vmaInvalidateAllocation(device->allocator, allocation, 0, bytes);
    return vk < 0 ? sxt_vulkan_device_fail(device, flush ? "vmaFlushAllocation" : "vmaInvalidateAllocation", vk)
                  : SXT_OK;
}

// Exactly one of `source` and `target` is there.
static sxt_result stage(sxt_vulkan_buffer *buffer, uint64_t offset, const uint8_t *source, uint8_t *target,
                        uint64_t bytes) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(buffer->base.device);
    sxt_vulkan_transfer *transfer = &device->transfer;
    const sxt_result usable = sxt_vulkan_check(device); // before the lock, which a fork may have copied taken
    if (usable != SXT_OK || bytes == 0) return usable;
    pthread_mutex_lock(&transfer->lock);
    sxt_result result = sxt_vulkan_wait(&device->base, transfer->ticket, UINT64_MAX);
    if (result == SXT_OK) result = create_staging(device);
    for (uint64_t done = 0; done < bytes && result == SXT_OK;) {
        const uint64_t piece = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
        if (source != NULL) {
            const VkBufferCopy region = {.dstOffset = offset + done, .size = piece};
            memcpy(transfer->mapped, source + done, piece);
            result = sync_staging(device, true, piece);
            if (result == SXT_OK) result = copy(device, transfer->staging, buffer->handle, &region);
        } else {
            const VkBufferCopy region = {.srcOffset = offset + done, .size = piece};
            result = copy(device, buffer->handle, transfer->staging, &region);
            if (result == SXT_OK) result = sync_staging(device, false, piece);
            if (result == SXT_OK) memcpy(target + done, transfer->mapped, piece);
        }
        done += piece;
    }
    pthread_mutex_unlock(&transfer->lock);
    return result;
}

// Where the host sees the memory, it must wait for all that may use it; a staged copy is ordered by the queue.
static sxt_result begin_mapped(sxt_device *device) {
    return sxt_vulkan_wait(device, atomic_load(&sxt_vulkan_device_of(device)->submitted), UINT64_MAX);
}

sxt_result sxt_vulkan_buffer_write(sxt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes) {
    if (buffer->mapped == NULL) return stage(sxt_vulkan_buffer_of(buffer), offset, data, NULL, bytes);
    const sxt_result result = begin_mapped(buffer->device);
    if (result == SXT_OK && bytes > 0) memcpy((uint8_t *)buffer->mapped + offset, data, bytes);
    return result;
}

sxt_result sxt_vulkan_buffer_read(sxt_buffer *buffer, uint64_t offset, void *out_data, uint64_t bytes) {
    if (buffer->mapped == NULL) return stage(sxt_vulkan_buffer_of(buffer), offset, NULL, out_data, bytes);
    const sxt_result result = begin_mapped(buffer->device);
    if (result == SXT_OK && bytes > 0) memcpy(out_data, (const uint8_t *)buffer->mapped + offset, bytes);
    return result;
}

// In one submission, so that no fault of work submitted meanwhile is lost between the copy and the clearing.
sxt_result sxt_vulkan_faults(sxt_device *base, bool clear, uint32_t *out_faults) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    const VkBufferCopy word = {.size = sizeof *out_faults};
    const VkBuffer faults = sxt_vulkan_buffer_of(device->faults)->handle;
    const VkBuffer seen = sxt_vulkan_buffer_of(device->faults_seen)->handle;
    pthread_mutex_lock(&device->transfer.lock);
    result = begin(device);
    if (result == SXT_OK) {
        device->vk.vkCmdCopyBuffer(device->transfer.commands, faults, seen, 1, &word);
        if (clear) {
            sxt_vulkan_begin_barrier(device, device->transfer.commands);
            device->vk.vkCmdFillBuffer(device->transfer.commands, faults, 0, word.size, 0);
        }
        result = finish(device);
    }
    if (result == SXT_OK) memcpy(out_faults, device->faults_seen->mapped, sizeof *out_faults);
    pthread_mutex_unlock(&device->transfer.lock);
    return result;
}
