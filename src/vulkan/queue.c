// The one queue of a device, its tickets, and the ways in which a device is no longer usable.
//
// Each submission begins with a barrier against all that came before on the queue, so that the order of submission is
// the order of effect; a ticket is the value that its submission gives to the device's one timeline semaphore.
#include <unistd.h>

#include "vulkan/internal.h"

bool sxt_vulkan_foreign(const sxt_vulkan_device *device) {
    return device->process != getpid();
}

sxt_result sxt_vulkan_check(sxt_vulkan_device *device) {
    if (sxt_vulkan_foreign(device)) {
        sxt_log(&device->base.logger, SXT_LOG_ERROR,
                "this process is a fork of the one that opened the device: open a device of its own");
        return SXT_ERROR_DEVICE_LOST;
    }
    return atomic_load(&device->lost) ? SXT_ERROR_DEVICE_LOST : SXT_OK;
}

sxt_result sxt_vulkan_submit(sxt_vulkan_device *device, VkCommandBuffer commands, uint64_t *out_ticket) {
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    pthread_mutex_lock(&device->queue_lock);
    const uint64_t ticket = atomic_load(&device->submitted) + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &ticket,
    };
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &device->timeline,
    };
    SXT_VK(device, vkQueueSubmit(device->queue, 1, &submit, VK_NULL_HANDLE));
    atomic_store(&device->submitted, ticket);
    *out_ticket = ticket;
error:
    pthread_mutex_unlock(&device->queue_lock);
    return result;
}

static void note_completed(sxt_vulkan_device *device, uint64_t value) {
    uint64_t known = atomic_load(&device->completed);
    while (known < value && !atomic_compare_exchange_weak(&device->completed, &known, value)) {
    }
}

bool sxt_vulkan_passed(sxt_vulkan_device *device, uint64_t ticket) {
    if (ticket <= atomic_load(&device->completed)) return true;
    if (sxt_vulkan_foreign(device) || atomic_load(&device->lost)) return false;
    uint64_t value = 0;
    const VkResult vk = device->vk.vkGetSemaphoreCounterValue(device->handle, device->timeline, &value);
    if (vk < 0) {
        sxt_vulkan_device_fail(device, "vkGetSemaphoreCounterValue", vk);
        return false;
    }
    // A driver that loses its device may put any value here.
    if (value > atomic_load(&device->submitted)) return false;
    note_completed(device, value);
    return ticket <= value;
}

sxt_result sxt_vulkan_wait(sxt_device *base, uint64_t ticket, uint64_t timeout_ns) {
    sxt_vulkan_device *device = sxt_vulkan_device_of(base);
    sxt_result result = sxt_vulkan_check(device);
    if (result != SXT_OK) return result;
    if (ticket > atomic_load(&device->submitted))
        SXT_REJECT(&base->logger, "wait: ticket %llu was never given; the last one is %llu", (unsigned long long)ticket,
                   (unsigned long long)atomic_load(&device->submitted));
    if (ticket > atomic_load(&device->completed)) {
        const VkSemaphoreWaitInfo wait = {
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
            .semaphoreCount = 1,
            .pSemaphores = &device->timeline,
            .pValues = &ticket,
        };
        const VkResult vk = device->vk.vkWaitSemaphores(device->handle, &wait, timeout_ns);
        if (vk == VK_TIMEOUT) return SXT_TIMEOUT;
        if (vk < 0) return sxt_vulkan_device_fail(device, "vkWaitSemaphores", vk);
        note_completed(device, ticket);
    }
    sxt_vulkan_memory_collect(device, false);
    return SXT_OK;
}

void sxt_vulkan_drain(sxt_vulkan_device *device, uint64_t ticket) {
    if (sxt_vulkan_foreign(device) || sxt_vulkan_passed(device, ticket)) return;
    if (!atomic_load(&device->lost) && sxt_vulkan_wait(&device->base, ticket, UINT64_MAX) == SXT_OK) return;
    // Vulkan promises that this returns in finite time on a lost device too; only then is its work out of the way.
    pthread_mutex_lock(&device->queue_lock); // waiting for the device uses its queues
    const VkResult vk = device->vk.vkDeviceWaitIdle(device->handle);
    pthread_mutex_unlock(&device->queue_lock);
    if (vk < 0) sxt_vulkan_device_fail(device, "vkDeviceWaitIdle", vk);
}

static void full_barrier(sxt_vulkan_device *device, VkCommandBuffer commands, VkPipelineStageFlags to,
                         VkAccessFlags accesses) {
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
        .dstAccessMask = accesses,
    };
    device->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

void sxt_vulkan_begin_barrier(sxt_vulkan_device *device, VkCommandBuffer commands) {
    full_barrier(device, commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                 VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
}

void sxt_vulkan_end_barrier(sxt_vulkan_device *device, VkCommandBuffer commands) {
    full_barrier(device, commands, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
}
