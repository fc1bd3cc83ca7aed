// A Vulkan driver for tests that stands before a real one and tells lies about it.
//
//   SEXTANT_FAKE_REAL   the real driver's library
//   SEXTANT_FAKE_MODE   old: devices are of Vulkan 1.0.  lost: every submission loses the device.
//                       broken: devices cannot be enumerated.  none: there are no devices.  memory: no memory is left.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

// What the loader asks a driver for: its side of the loader's interface, version 5 and before.
EXPORT VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version);
EXPORT PFN_vkVoidFunction vk_icdGetInstanceProcAddr(VkInstance instance, const char *name);
EXPORT PFN_vkVoidFunction vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name);

static PFN_vkGetInstanceProcAddr real_instance_proc, real_physical_proc;
static PFN_vkGetDeviceProcAddr real_device_proc;
static PFN_vkGetPhysicalDeviceProperties real_properties;
static PFN_vkGetPhysicalDeviceProperties2 real_properties2;

static int mode_is(const char *name) {
    const char *mode = getenv("SEXTANT_FAKE_MODE");
    return mode && strcmp(mode, name) == 0;
}

static PFN_vkVoidFunction real_symbol(const char *name) {
    static void *library;
    const char *path = getenv("SEXTANT_FAKE_REAL");
    PFN_vkVoidFunction function = NULL;
    if (!library && path) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    // POSIX's way from an object pointer to a function pointer, which C has none for.
    if (library) *(void **)&function = dlsym(library, name);
    return function;
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *properties) {
    real_properties(device, properties);
    if (mode_is("old")) properties->apiVersion = VK_API_VERSION_1_0;
}

static VKAPI_ATTR void VKAPI_CALL get_properties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *properties) {
    real_properties2(device, properties);
    if (mode_is("old")) properties->properties.apiVersion = VK_API_VERSION_1_0;
}

static VKAPI_ATTR VkResult VKAPI_CALL cannot_enumerate(VkInstance instance, uint32_t *count,
                                                       VkPhysicalDevice *devices) {
    (void)instance, (void)count, (void)devices;
    return VK_ERROR_INITIALIZATION_FAILED;
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate_none(VkInstance instance, uint32_t *count, VkPhysicalDevice *devices) {
    (void)instance, (void)devices;
    *count = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL lose_device(VkQueue queue, uint32_t count, const VkSubmitInfo *submits,
                                                  VkFence fence) {
    (void)queue, (void)count, (void)submits, (void)fence;
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL no_memory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                const VkAllocationCallbacks *callbacks, VkDeviceMemory *out_memory) {
    (void)device, (void)info, (void)callbacks, (void)out_memory;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char *name) {
    if (mode_is("lost") && strcmp(name, "vkQueueSubmit") == 0) return (PFN_vkVoidFunction)lose_device;
    if (mode_is("memory") && strcmp(name, "vkAllocateMemory") == 0) return (PFN_vkVoidFunction)no_memory;
    return real_device_proc(device, name);
}

// The lie that takes the place of a function of the real driver, or NULL.
static PFN_vkVoidFunction lie(const char *name, PFN_vkVoidFunction truth) {
    if (!truth) return NULL;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real_device_proc = (PFN_vkGetDeviceProcAddr)truth;
        return (PFN_vkVoidFunction)get_device_proc;
    }
    if (strcmp(name, "vkGetPhysicalDeviceProperties") == 0) {
        real_properties = (PFN_vkGetPhysicalDeviceProperties)truth;
        return (PFN_vkVoidFunction)get_properties;
    }
    if (strcmp(name, "vkGetPhysicalDeviceProperties2") == 0 || strcmp(name, "vkGetPhysicalDeviceProperties2KHR") == 0) {
        real_properties2 = (PFN_vkGetPhysicalDeviceProperties2)truth;
        return (PFN_vkVoidFunction)get_properties2;
    }
    if (strcmp(name, "vkEnumeratePhysicalDevices") != 0) return NULL;
    if (mode_is("broken")) return (PFN_vkVoidFunction)cannot_enumerate;
    return mode_is("none") ? (PFN_vkVoidFunction)enumerate_none : NULL;
}

VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    const PFN_vkVoidFunction real = real_symbol("vk_icdNegotiateLoaderICDInterfaceVersion");
    if (!real) return VK_ERROR_INCOMPATIBLE_DRIVER;
    if (*version > 5) *version = 5; // from 6 on a driver may leave out the functions below
    return ((VkResult(*)(uint32_t *))real)(version);
}

PFN_vkVoidFunction vk_icdGetInstanceProcAddr(VkInstance instance, const char *name) {
    if (!real_instance_proc) real_instance_proc = (PFN_vkGetInstanceProcAddr)real_symbol("vk_icdGetInstanceProcAddr");
    if (!real_instance_proc) return NULL;
    const PFN_vkVoidFunction truth = real_instance_proc(instance, name), instead = lie(name, truth);
    return instead ? instead : truth;
}

PFN_vkVoidFunction vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name) {
    if (!real_physical_proc)
        real_physical_proc = (PFN_vkGetInstanceProcAddr)real_symbol("vk_icdGetPhysicalDeviceProcAddr");
    if (!real_physical_proc) return NULL;
    const PFN_vkVoidFunction truth = real_physical_proc(instance, name), instead = lie(name, truth);
    return instead ? instead : truth;
}
