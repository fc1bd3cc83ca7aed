#include "support/device.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

void sxt_test_log_append(void *user, sxt_log_level level, const char *message) {
    sxt_test_log *log = user;
    const size_t length = strlen(message) + 1;
    static const char from_layer[] = "Vulkan validation: "; // as src/vulkan/instance.c passes them on
    if (level == SXT_LOG_ERROR) log->errors++;
    if (strncmp(message, from_layer, sizeof from_layer - 1) == 0) log->validation++;
    if (length >= sizeof log->text) return;
    if (log->length + length >= sizeof log->text) log->length = 0;
    memcpy(log->text + log->length, message, length - 1);
    log->length += length;
    log->text[log->length - 1] = '\n';
    log->text[log->length] = 0;
}

static sxt_device *open_device(sxt_device_params params, sxt_test_log *log) {
    sxt_device *device = NULL;
    params.log = sxt_test_log_append;
    params.log_user = log;
    const sxt_result result = sxt_device_open(&params, &device);
    cr_assert(result == SXT_OK, "opening the device gave %s\n%s", sxt_result_name(result), log->text);
    return device;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

// Plans are functions of the capabilities that a device says it has: make it say less.
static void lower_limits(sxt_caps *caps) {
    sxt_caps baseline;
    sxt_caps_baseline(&baseline);
    caps->max_invocations = least(caps->max_invocations, baseline.max_invocations);
    caps->max_group_size_x = least(caps->max_group_size_x, baseline.max_group_size_x);
    caps->max_group_count[0] = 13;
    caps->shared_bytes = least(caps->shared_bytes, baseline.shared_bytes);
    caps->push_bytes = least(caps->push_bytes, baseline.push_bytes);
    caps->storage_align = 256; // the coarsest that there may be
    caps->storage_buffers = least(caps->storage_buffers, baseline.storage_buffers);
    if (caps->storage_range > baseline.storage_range) caps->storage_range = baseline.storage_range;
}

// Plans for a GPU: other kernels than those for drivers that run on the CPU.
static void pose_as_gpu(sxt_caps *caps) {
    caps->software = false;
    caps->driver_id = 0;
}

sxt_device *sxt_test_open(sxt_test_log *log) {
    const sxt_device_params params = {.select = environment("SEXTANT_TEST_DEVICE"),
                                      .disable = environment("SEXTANT_TEST_DISABLE")};
    sxt_device *device = open_device(params, log);
    if (environment("SEXTANT_TEST_LIMITS")) lower_limits((sxt_caps *)&sxt_device_get_info(device)->caps);
    if (environment("SEXTANT_TEST_AS_GPU")) pose_as_gpu((sxt_caps *)&sxt_device_get_info(device)->caps);
    return device;
}

sxt_attention_kernel sxt_test_kernel(void) {
    const char *name = environment("SEXTANT_TEST_KERNEL");
    if (name && strcmp(name, "matrix") == 0) return SXT_ATTENTION_MATRIX;
    if (name && strcmp(name, "matrix2") == 0) return SXT_ATTENTION_MATRIX2;
    return SXT_ATTENTION_AUTO;
}

sxt_device *sxt_test_open_reference(sxt_test_log *log) {
    return open_device((sxt_device_params){.kind = SXT_DEVICE_REFERENCE}, log);
}

bool sxt_test_is_reference(const sxt_device *device) {
    return sxt_device_get_info(device)->kind == SXT_DEVICE_REFERENCE;
}

uint64_t sxt_test_first_seed(void) {
    const char *seed = environment("SEXTANT_TEST_SEED");
    return seed ? strtoull(seed, NULL, 0) : 1;
}

uint32_t sxt_test_cases(uint32_t count) {
    const char *cases = environment("SEXTANT_TEST_CASES"), *percent = environment("SEXTANT_TEST_PERCENT");
    if (cases) return (uint32_t)strtoul(cases, NULL, 10);
    if (percent) count = (uint32_t)(count * strtoul(percent, NULL, 10) / 100);
    if (environment("SEXTANT_TEST_QUICK")) count /= 10;
    return count > 0 ? count : 1;
}
