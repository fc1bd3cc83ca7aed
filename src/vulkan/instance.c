#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

// Only messages about how Vulkan is used: a loader also reports each manifest that it reads.
static VKAPI_ATTR VkBool32 VKAPI_CALL forward_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                      VkDebugUtilsMessageTypeFlagsEXT types,
                                                      const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)types;
    const bool error = (severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT) != 0;
    sxt_log(user, error ? SXT_LOG_ERROR : SXT_LOG_WARNING, "Vulkan validation: %s",
            data != NULL && data->pMessage != NULL ? data->pMessage : "(no text)");
    return VK_FALSE;
}

static sxt_result load_global(sxt_vulkan_instance *instance, PFN_vkCreateInstance *out_create) {
    const PFN_vkGetInstanceProcAddr get = instance->vkGetInstanceProcAddr;
    *out_create = (PFN_vkCreateInstance)get(NULL, "vkCreateInstance");
    if (*out_create == NULL) {
        sxt_log(&instance->logger, SXT_LOG_ERROR, "the Vulkan loader has no vkCreateInstance: reinstall libvulkan1");
        return SXT_ERROR_NO_DEVICE;
    }
    // A loader of Vulkan 1.0 has no such function.
    instance->api_version = VK_API_VERSION_1_0;
    const PFN_vkEnumerateInstanceVersion version =
        (PFN_vkEnumerateInstanceVersion)get(NULL, "vkEnumerateInstanceVersion");
    if (version != NULL && version(&instance->api_version) != VK_SUCCESS) instance->api_version = VK_API_VERSION_1_0;
    return SXT_OK;
}

static bool has_extension(const VkExtensionProperties *extensions, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strncmp(extensions[i].extensionName, name, VK_MAX_EXTENSION_NAME_SIZE) == 0) return true;
    return false;
}

// Debug names and messages where there are any, and drivers that are "portable" only (Vulkan over Metal).
static void choose_extensions(sxt_vulkan_instance *instance, bool *out_portability) {
    const PFN_vkEnumerateInstanceExtensionProperties enumerate =
        (PFN_vkEnumerateInstanceExtensionProperties)instance->vkGetInstanceProcAddr(
            NULL, "vkEnumerateInstanceExtensionProperties");
    uint32_t count = 0;
    *out_portability = false;
    if (enumerate == NULL || enumerate(NULL, &count, NULL) != VK_SUCCESS || count == 0) return;
    VkExtensionProperties *extensions = calloc(count, sizeof *extensions);
    if (extensions != NULL && enumerate(NULL, &count, extensions) >= 0) {
        instance->debug_utils = has_extension(extensions, count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
        *out_portability = has_extension(extensions, count, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    }
    free(extensions);
}

static void load_functions(sxt_vulkan_instance *instance) {
#define LOAD(name) instance->name = (PFN_##name)instance->vkGetInstanceProcAddr(instance->handle, #name);
    SXT_VULKAN_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
}

static sxt_result create_instance(sxt_vulkan_instance *instance, PFN_vkCreateInstance create) {
    bool portability;
    choose_extensions(instance, &portability);
    const char *names[2];
    uint32_t name_count = 0;
    if (instance->debug_utils) names[name_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (portability) names[name_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;

    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = forward_message,
        .pUserData = &instance->logger,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pEngineName = "Sextant",
        // A loader of 1.0 refuses a higher number; later ones take any.
        .apiVersion = instance->api_version < VK_API_VERSION_1_1 ? VK_API_VERSION_1_0 : VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = instance->debug_utils ? &messenger : NULL,
        .flags = portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
    };
    const VkResult vk = create(&info, NULL, &instance->handle);
    if (vk < 0) {
        instance->handle = VK_NULL_HANDLE;
        if (vk != VK_ERROR_INCOMPATIBLE_DRIVER) return sxt_vulkan_fail(&instance->logger, "vkCreateInstance", vk);
        sxt_log(&instance->logger, SXT_LOG_ERROR,
                "there is a Vulkan loader but no driver: install mesa-vulkan-drivers or your GPU vendor's driver");
        return SXT_ERROR_NO_DEVICE;
    }

    load_functions(instance);
    if (instance->debug_utils && instance->vkCreateDebugUtilsMessengerEXT != NULL &&
        instance->vkCreateDebugUtilsMessengerEXT(instance->handle, &messenger, NULL, &instance->messenger) < 0)
        instance->messenger = VK_NULL_HANDLE;
    return SXT_OK;
}

sxt_result sxt_vulkan_instance_init(const sxt_logger *logger, PFN_vkGetInstanceProcAddr get_proc,
                                    sxt_vulkan_instance *out_instance) {
    *out_instance = (sxt_vulkan_instance){.logger = *logger, .vkGetInstanceProcAddr = get_proc};
    if (get_proc == NULL) out_instance->vkGetInstanceProcAddr = sxt_vulkan_loader_open(&out_instance->library);
    if (out_instance->vkGetInstanceProcAddr == NULL) {
        sxt_log(
            logger, SXT_LOG_ERROR,
            "no Vulkan loader on this machine: install libvulkan1 and mesa-vulkan-drivers or your GPU vendor's driver");
        return SXT_ERROR_NO_DEVICE;
    }
    PFN_vkCreateInstance create;
    sxt_result result = load_global(out_instance, &create);
    if (result == SXT_OK) result = create_instance(out_instance, create);
    if (result == SXT_OK &&
        (out_instance->vkEnumeratePhysicalDevices == NULL || out_instance->vkGetPhysicalDeviceProperties == NULL ||
         out_instance->vkDestroyInstance == NULL)) {
        sxt_log(logger, SXT_LOG_ERROR, "the Vulkan loader lacks functions of Vulkan 1.0: reinstall libvulkan1");
        result = SXT_ERROR_NO_DEVICE;
    }
    if (result != SXT_OK) sxt_vulkan_instance_finish(out_instance);
    return result;
}

void sxt_vulkan_instance_finish(sxt_vulkan_instance *instance) {
    if (instance->messenger != VK_NULL_HANDLE && instance->vkDestroyDebugUtilsMessengerEXT != NULL)
        instance->vkDestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->handle != VK_NULL_HANDLE && instance->vkDestroyInstance != NULL)
        instance->vkDestroyInstance(instance->handle, NULL);
    sxt_vulkan_loader_close(instance->library);
    *instance = (sxt_vulkan_instance){0};
}

sxt_result sxt_vulkan_instance_devices(const sxt_vulkan_instance *instance, VkPhysicalDevice **out_devices,
                                       uint32_t *out_count) {
    *out_devices = NULL;
    *out_count = 0;
    uint32_t count = 0;
    VkPhysicalDevice *devices = NULL;
    VkResult vk = instance->vkEnumeratePhysicalDevices(instance->handle, &count, NULL);
    if (vk >= 0 && count > 0) {
        devices = calloc(count, sizeof(VkPhysicalDevice));
        if (devices == NULL) return SXT_ERROR_OUT_OF_MEMORY;
        vk = instance->vkEnumeratePhysicalDevices(instance->handle, &count, devices);
    }
    // That is how old loaders say, here and not at creation, that no driver works.
    if (vk < 0 && vk != VK_ERROR_INITIALIZATION_FAILED) {
        free(devices);
        return sxt_vulkan_fail(&instance->logger, "vkEnumeratePhysicalDevices", vk);
    }
    if (vk < 0 || count == 0) {
        free(devices);
        sxt_log(&instance->logger, SXT_LOG_ERROR,
                "the Vulkan drivers here show no device: install mesa-vulkan-drivers or your GPU vendor's driver");
        return SXT_OK;
    }
    *out_devices = devices;
    *out_count = count;
    return SXT_OK;
}
