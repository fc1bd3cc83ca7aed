#include "support/fake_loader.h"

#include <criterion/criterion.h>
#include <string.h>

sxt_fake sxt_test_fake = {.fail_call = SXT_FAKE_COUNT};

void sxt_test_fake_reset(void) {
    sxt_test_fake = (sxt_fake){.fail_call = SXT_FAKE_COUNT};
}

static const char *const names[] = {
#define NAME(name) #name,
    SXT_FAKE_CALLS(NAME)
#undef NAME
};

const char *sxt_test_fake_name(sxt_fake_call call) {
    return names[call];
}

// One signature for all: arguments are handed on as words, which is what they are to callers on x86-64 and AArch64.
typedef uintptr_t word;
typedef VkResult (*any_call)(word, word, word, word, word, word, word, word);

static any_call real[SXT_FAKE_COUNT];
static PFN_vkGetInstanceProcAddr real_instance_proc;
static PFN_vkGetDeviceProcAddr real_device_proc;
static PFN_vkGetPhysicalDeviceProperties real_properties;

static bool fails(sxt_fake_call call) {
    sxt_fake *fake = &sxt_test_fake;
    const uint32_t count = ++fake->calls[call];
    if (call != fake->fail_call || count < fake->fail_at || (count > fake->fail_at && !fake->for_good)) return false;
    fake->fired = true;
    return true;
}

#define WRAP(name)                                                                                                     \
    static VkResult wrap_##name(word a, word b, word c, word d, word e, word f, word g, word h) {                      \
        if (fails(SXT_FAKE_##name)) return sxt_test_fake.fail_result;                                                  \
        return real[SXT_FAKE_##name](a, b, c, d, e, f, g, h);                                                          \
    }
SXT_FAKE_CALLS(WRAP)
#undef WRAP

static const any_call wrappers[] = {
#define WRAPPER(name) wrap_##name,
    SXT_FAKE_CALLS(WRAPPER)
#undef WRAPPER
};

static PFN_vkVoidFunction wrap(const char *name, PFN_vkVoidFunction function) {
    if (function == NULL || (sxt_test_fake.missing != NULL && strcmp(name, sxt_test_fake.missing) == 0)) return NULL;
    for (uint32_t i = 0; i < SXT_FAKE_COUNT; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        real[i] = (any_call)function;
        return (PFN_vkVoidFunction)wrappers[i];
    }
    return function;
}

static void VKAPI_CALL properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *out_properties) {
    real_properties(device, out_properties);
    if (sxt_test_fake.device_version != 0) out_properties->apiVersion = sxt_test_fake.device_version;
}

static PFN_vkVoidFunction VKAPI_CALL device_proc(VkDevice device, const char *name) {
    return wrap(name, real_device_proc(device, name));
}

static PFN_vkVoidFunction VKAPI_CALL instance_proc(VkInstance instance, const char *name) {
    const bool later = strchr(name, '2') != NULL || strcmp(name, "vkEnumerateInstanceVersion") == 0;
    if (sxt_test_fake.only_1_0 && later) return NULL;
    const PFN_vkVoidFunction function = real_instance_proc(instance, name);
    if (function != NULL && strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real_device_proc = (PFN_vkGetDeviceProcAddr)function;
        return (PFN_vkVoidFunction)device_proc;
    }
    if (function != NULL && strcmp(name, "vkGetPhysicalDeviceProperties") == 0) {
        real_properties = (PFN_vkGetPhysicalDeviceProperties)function;
        return (PFN_vkVoidFunction)properties;
    }
    return wrap(name, function);
}

PFN_vkGetInstanceProcAddr sxt_test_fake_loader(void) {
    void *library; // stays open: the process ends soon
    if (real_instance_proc == NULL) real_instance_proc = sxt_vulkan_loader_open(&library);
    cr_assert_not_null(real_instance_proc, "no Vulkan loader");
    return instance_proc;
}
