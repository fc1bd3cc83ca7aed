// What drivers say of themselves that is not so. A row needs a reason: a link, or a measurement.
#include "vulkan/internal.h"

typedef struct quirk {
    const char *reason;
    bool (*applies)(const sxt_caps *caps, const sxt_vulkan_facts *facts);
    void (*correct)(sxt_caps *caps);
} quirk;

static bool amd_own_driver(const sxt_caps *caps) {
    return caps->driver_id == VK_DRIVER_ID_AMD_PROPRIETARY || caps->driver_id == VK_DRIVER_ID_AMD_OPEN_SOURCE;
}

static bool amd_integrated_matrix(const sxt_caps *caps, const sxt_vulkan_facts *facts) {
    return caps->matrix && amd_own_driver(caps) && facts->type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
}

// The units came with RDNA 3, as did accelerated dot products of mixed signedness.
static bool amd_matrix_without_units(const sxt_caps *caps, const sxt_vulkan_facts *facts) {
    return caps->matrix && amd_own_driver(caps) && !facts->mixed_dot_accelerated;
}

static void no_matrix(sxt_caps *caps) {
    caps->matrix = caps->matrix2 = false;
}

static const quirk quirks[] = {
    {"cooperative matrices off: asking for their shapes crashes (github.com/GPUOpen-Drivers/AMDVLK/issues/422)",
     amd_integrated_matrix, no_matrix},
    {"cooperative matrices off: offered on GPUs without matrix units (github.com/ggml-org/llama.cpp/pull/11074)",
     amd_matrix_without_units, no_matrix},
};

void sxt_vulkan_quirks_apply(const sxt_logger *logger, const sxt_vulkan_facts *facts, sxt_caps *caps) {
    for (size_t i = 0; i < sizeof quirks / sizeof quirks[0]; i++) {
        if (!quirks[i].applies(caps, facts)) continue;
        quirks[i].correct(caps);
        sxt_log(logger, SXT_LOG_INFO, "driver quirk: %s", quirks[i].reason);
    }
}
