#include "support/barriers.h"

#include "vulkan/internal.h"

uint32_t sxt_test_barriers;
static PFN_vkCmdPipelineBarrier real_barrier;

static void VKAPI_CALL count_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to,
                                     VkDependencyFlags flags, uint32_t count, const VkMemoryBarrier *memory,
                                     uint32_t buffer_count, const VkBufferMemoryBarrier *buffers, uint32_t image_count,
                                     const VkImageMemoryBarrier *images) {
    sxt_test_barriers++;
    real_barrier(commands, from, to, flags, count, memory, buffer_count, buffers, image_count, images);
}

void sxt_test_count_barriers(sxt_device *device) {
    struct VolkDeviceTable *table = &sxt_vulkan_device_of(device)->vk;
    sxt_test_barriers = 0;
    real_barrier = table->vkCmdPipelineBarrier;
    table->vkCmdPipelineBarrier = count_barrier;
}
