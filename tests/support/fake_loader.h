// A Vulkan loader that stands between the library and the system's: it counts calls, makes chosen ones fail, and lets
// devices look older than they are.
#ifndef SXT_TESTS_SUPPORT_FAKE_LOADER_H
#define SXT_TESTS_SUPPORT_FAKE_LOADER_H

#include "vulkan/internal.h"

// Calls that return a VkResult.
#define SXT_FAKE_CALLS(X)                                                                                              \
    X(vkCreateInstance)                                                                                                \
    X(vkEnumerateInstanceVersion)                                                                                      \
    X(vkEnumerateInstanceExtensionProperties)                                                                          \
    X(vkEnumeratePhysicalDevices)                                                                                      \
    X(vkEnumerateDeviceExtensionProperties)                                                                            \
    X(vkCreateDevice)                                                                                                  \
    X(vkCreateDebugUtilsMessengerEXT)                                                                                  \
    X(vkSetDebugUtilsObjectNameEXT)                                                                                    \
    X(vkAllocateCommandBuffers)                                                                                        \
    X(vkAllocateDescriptorSets)                                                                                        \
    X(vkAllocateMemory)                                                                                                \
    X(vkBeginCommandBuffer)                                                                                            \
    X(vkBindBufferMemory)                                                                                              \
    X(vkBindBufferMemory2)                                                                                             \
    X(vkCreateBuffer)                                                                                                  \
    X(vkCreateCommandPool)                                                                                             \
    X(vkCreateComputePipelines)                                                                                        \
    X(vkCreateDescriptorPool)                                                                                          \
    X(vkCreateDescriptorSetLayout)                                                                                     \
    X(vkCreatePipelineCache)                                                                                           \
    X(vkCreatePipelineLayout)                                                                                          \
    X(vkCreateQueryPool)                                                                                               \
    X(vkCreateSemaphore)                                                                                               \
    X(vkCreateShaderModule)                                                                                            \
    X(vkDeviceWaitIdle)                                                                                                \
    X(vkEndCommandBuffer)                                                                                              \
    X(vkFlushMappedMemoryRanges)                                                                                       \
    X(vkGetPipelineCacheData)                                                                                          \
    X(vkGetPipelineExecutablePropertiesKHR)                                                                            \
    X(vkGetPipelineExecutableStatisticsKHR)                                                                            \
    X(vkGetQueryPoolResults)                                                                                           \
    X(vkGetSemaphoreCounterValue)                                                                                      \
    X(vkInvalidateMappedMemoryRanges)                                                                                  \
    X(vkMapMemory)                                                                                                     \
    X(vkQueueSubmit)                                                                                                   \
    X(vkResetCommandPool)                                                                                              \
    X(vkResetDescriptorPool)                                                                                           \
    X(vkWaitSemaphores)

typedef enum sxt_fake_call {
#define SXT_FAKE_ID(name) SXT_FAKE_##name,
    SXT_FAKE_CALLS(SXT_FAKE_ID)
#undef SXT_FAKE_ID
        SXT_FAKE_COUNT
} sxt_fake_call;

typedef struct sxt_fake {
    sxt_fake_call fail_call; // SXT_FAKE_COUNT: none
    uint32_t fail_at;        // from 1
    bool for_good;           // and every one after it
    VkResult fail_result;
    bool fired;
    uint32_t calls[SXT_FAKE_COUNT];
    uint32_t device_version; // what devices say of themselves; 0: the truth
    const char *missing;     // a function that is not there
    bool only_1_0;           // nothing that came after Vulkan 1.0 is there
} sxt_fake;

// One for the process: Vulkan's calls carry no pointer of ours. For one thread.
extern sxt_fake sxt_test_fake;

// All as it is in truth, and all counts zero.
void sxt_test_fake_reset(void);
const char *sxt_test_fake_name(sxt_fake_call call);

// For sxt_vulkan_list_through and sxt_vulkan_open_through.
PFN_vkGetInstanceProcAddr sxt_test_fake_loader(void);

#endif
