// The only file that compiles volk. Of volk only the code that fills a device's table is used: its own loader and its
// instance functions are globals, which two users in one process would fight over, and which no lock guards.
#include <dlfcn.h>
#include <string.h>

#define VOLK_IMPLEMENTATION
#include "vulkan/internal.h"

PFN_vkGetInstanceProcAddr sxt_vulkan_loader_open(void **out_library) {
#ifdef __APPLE__
    static const char *const names[] = {"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"};
#else
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif
    *out_library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) continue;
        PFN_vkGetInstanceProcAddr get_proc = NULL;
        void *symbol = dlsym(library, "vkGetInstanceProcAddr");
        memcpy(&get_proc, &symbol, sizeof get_proc); // POSIX allows what ISO C has no cast for
        if (get_proc != NULL) {
            *out_library = library;
            return get_proc;
        }
        dlclose(library);
    }
    return NULL;
}

void sxt_vulkan_loader_close(void *library) {
    if (library != NULL) dlclose(library);
}

typedef struct source {
    PFN_vkGetDeviceProcAddr get_proc;
    VkDevice device;
} source;

static PFN_vkVoidFunction from_device(void *context, const char *name) {
    const source *from = context;
    return from->get_proc(from->device, name);
}

void sxt_vulkan_load_device(PFN_vkGetDeviceProcAddr get_proc, VkDevice handle, struct VolkDeviceTable *out_table) {
    memset(out_table, 0, sizeof *out_table);
    volkGenLoadDeviceTable(out_table, &(source){.get_proc = get_proc, .device = handle}, from_device);
}
