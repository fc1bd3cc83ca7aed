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

sxt_device *sxt_test_open(sxt_test_log *log) {
    return open_device((sxt_device_params){.select = environment("SEXTANT_TEST_DEVICE"),
                                           .disable = environment("SEXTANT_TEST_DISABLE")},
                       log);
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
