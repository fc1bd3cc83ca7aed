// Compiles VulkanMemoryAllocator, which fetches its functions through the device's own loader.
#include <volk.h>

#define VMA_STATIC_VULKAN_FUNCTIONS  0
#define VMA_DYNAMIC_VULKAN_FUNCTIONS 1
// A buffer that outlives its device is the caller's mistake: closing logs it, and nothing aborts.
#define VMA_ASSERT_LEAK(expression)
#define VMA_IMPLEMENTATION
#include <vk_mem_alloc.h>
