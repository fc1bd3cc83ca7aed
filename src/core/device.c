#include "core/device.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/caps.h"
#include "kernels/kernels.h"
#include "reference/reference.h"
#include "vulkan/vulkan.h"

enum { MAX_DEVICES = 64 };

static const sxt_device_params default_params;

static sxt_logger logger_of(const sxt_device_params *params) {
    return (sxt_logger){params->log, params->log_user};
}

static bool is_empty(const char *text) {
    return text == NULL || text[0] == '\0';
}

// Vulkan devices in the driver's order, then the reference.
static sxt_result list(const sxt_device_params *params, sxt_device_info *infos, uint32_t capacity,
                       uint32_t *out_count) {
    const sxt_logger logger = logger_of(params);
    sxt_device_info reference;
    sxt_reference_info(&reference);
    sxt_result result = sxt_caps_disable(&logger, params->disable, &reference.caps);
    if (result == SXT_OK) result = sxt_vulkan_list(params, infos, capacity, out_count);
    if (result != SXT_OK) return result;
    if (*out_count < capacity) infos[*out_count] = reference;
    ++*out_count;
    return SXT_OK;
}

sxt_result sxt_device_list(const sxt_device_params *params, sxt_device_info *infos, uint32_t capacity,
                           uint32_t *out_count) {
    if (params == NULL) params = &default_params;
    const sxt_logger logger = logger_of(params);
    if (out_count == NULL) SXT_REJECT(&logger, "sxt_device_list: out_count is NULL");
    *out_count = 0;
    if (infos == NULL && capacity > 0)
        SXT_REJECT(&logger, "sxt_device_list: infos is NULL, and capacity is %u", capacity);
    return list(params, infos, capacity, out_count);
}

static bool contains(const char *text, const char *part) {
    size_t length = strlen(part);
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == length) return true;
    }
    return false;
}

// Whether `select` is a decimal number, and which; a number too large for any list becomes UINT32_MAX.
static bool parse_index(const char *select, uint32_t *out_index) {
    uint64_t value = 0;
    for (const char *digit = select; *digit != '\0'; digit++) {
        if (!isdigit((unsigned char)*digit)) return false;
        value = value * 10 + (uint64_t)(*digit - '0');
        if (value > UINT32_MAX) value = UINT32_MAX;
    }
    *out_index = (uint32_t)value;
    return true;
}

// The best device to run on; to compile for, also one that cannot run, if none can.
static uint32_t find_best(const sxt_device_params *params, const sxt_device_info *infos, uint32_t count) {
    uint32_t best = sxt_device_best(infos, count);
    for (uint32_t i = 0; i < count && best == UINT32_MAX && params->compile_only; i++)
        if (infos[i].compiles) best = i;
    return best;
}

// Index of the device that `select` means, or UINT32_MAX. Without a Vulkan device the list has said already what is
// missing, in one line, and nothing is added.
static uint32_t find(const sxt_device_params *params, const sxt_device_info *infos, uint32_t count) {
    const sxt_logger logger = logger_of(params);
    const sxt_logger silent = {0}, *log = count > 1 ? &logger : &silent;
    uint32_t found;
    if (is_empty(params->select)) {
        found = find_best(params, infos, count - 1); // the reference, last in the list, is taken only if asked for
        if (found == UINT32_MAX)
            sxt_log(log, SXT_LOG_ERROR, "none of the %u Vulkan devices can be used: %s: %s", count - 1, infos[0].name,
                    infos[0].why_not);
        return found;
    }
    if (parse_index(params->select, &found)) {
        if (found < count) return found;
        sxt_log(log, SXT_LOG_ERROR, "select is \"%s\", and the devices are numbered 0 to %u", params->select,
                count - 1);
        return UINT32_MAX;
    }
    for (found = 0; found < count; found++)
        if (contains(infos[found].name, params->select) || contains(infos[found].driver, params->select)) return found;
    sxt_log(log, SXT_LOG_ERROR, "no device's name or driver contains \"%s\" (there are %u devices)", params->select,
            count);
    return UINT32_MAX;
}

// The same, or UINT32_MAX if that device is not of the kind asked for or cannot be used.
static uint32_t choose(const sxt_device_params *params, const sxt_device_info *infos, uint32_t count) {
    const sxt_logger logger = logger_of(params);
    uint32_t found = find(params, infos, count);
    if (found == UINT32_MAX) return UINT32_MAX;
    const sxt_device_info *info = &infos[found];
    if (params->kind != SXT_DEVICE_ANY && params->kind != info->kind)
        sxt_log(&logger, SXT_LOG_ERROR, "select \"%s\" means %s, which is not of the kind asked for", params->select,
                info->name);
    else if (!info->usable && !(params->compile_only && info->compiles))
        sxt_log(&logger, SXT_LOG_ERROR, "%s cannot be used: %s", info->name, info->why_not);
    else
        return found;
    return UINT32_MAX;
}

static sxt_result open_reference(const sxt_device_params *params, sxt_device **out_device) {
    const sxt_logger logger = logger_of(params);
    if (params->compile_only)
        SXT_REJECT(&logger, "sxt_device_open: compile_only is set, and the reference has nothing to compile");
    return sxt_reference_open(params, out_device);
}

static sxt_result open_chosen(const sxt_device_params *params, sxt_device **out_device) {
    const sxt_logger logger = logger_of(params);
    sxt_device_info *infos = malloc(MAX_DEVICES * sizeof *infos);
    if (infos == NULL) {
        sxt_log(&logger, SXT_LOG_ERROR, "sxt_device_open: no host memory for the list of devices");
        return SXT_ERROR_OUT_OF_MEMORY;
    }
    uint32_t count = 0;
    sxt_result result = list(params, infos, MAX_DEVICES, &count);
    if (result == SXT_OK) {
        if (count > MAX_DEVICES) count = MAX_DEVICES;
        uint32_t chosen = choose(params, infos, count);
        if (chosen == UINT32_MAX)
            result = SXT_ERROR_NO_DEVICE;
        else if (infos[chosen].kind == SXT_DEVICE_REFERENCE)
            result = open_reference(params, out_device);
        else
            result = sxt_vulkan_open(params->compile_only ? &sxt_vulkan_compile_backend : &sxt_vulkan_backend, params,
                                     chosen, out_device);
    }
    free(infos);
    return result;
}

sxt_result sxt_device_open(const sxt_device_params *params, sxt_device **out_device) {
    if (params == NULL) params = &default_params;
    const sxt_logger logger = logger_of(params);
    if (out_device == NULL) SXT_REJECT(&logger, "sxt_device_open: out_device is NULL");
    *out_device = NULL;
    if ((int)params->kind < SXT_DEVICE_ANY || (int)params->kind > SXT_DEVICE_REFERENCE)
        SXT_REJECT(&logger, "sxt_device_open: kind is %d, and must be 0 (any), 1 (Vulkan) or 2 (reference)",
                   (int)params->kind);
    // The reference must open without touching any driver.
    bool named = !is_empty(params->select) && strcmp(params->select, "reference") == 0;
    bool unnamed = is_empty(params->select) && params->kind == SXT_DEVICE_REFERENCE;
    if (named && params->kind == SXT_DEVICE_VULKAN) {
        sxt_log(&logger, SXT_LOG_ERROR, "select is \"reference\", and kind asks for a Vulkan device");
        return SXT_ERROR_NO_DEVICE;
    }
    if (named || unnamed) return open_reference(params, out_device);
    return open_chosen(params, out_device);
}

void sxt_device_close(sxt_device **device) {
    if (device == NULL || *device == NULL) return;
    (*device)->backend->device_close(*device);
    *device = NULL;
}

const sxt_device_info *sxt_device_get_info(const sxt_device *device) {
    return device != NULL ? &device->info : NULL;
}

sxt_result sxt_device_memory(sxt_device *device, uint64_t *out_used_bytes, uint64_t *out_budget_bytes) {
    if (device == NULL) return SXT_ERROR_INVALID;
    uint64_t unwanted_used, unwanted_budget;
    return device->backend->device_memory(device, out_used_bytes != NULL ? out_used_bytes : &unwanted_used,
                                          out_budget_bytes != NULL ? out_budget_bytes : &unwanted_budget);
}

sxt_result sxt_device_wait(sxt_device *device, uint64_t ticket, uint64_t timeout_ns) {
    if (device == NULL) return SXT_ERROR_INVALID;
    return device->backend->device_wait(device, ticket, timeout_ns);
}

sxt_result sxt_device_faults(sxt_device *device, bool clear, uint32_t *out_faults) {
    if (device == NULL) return SXT_ERROR_INVALID;
    uint32_t unwanted;
    if (out_faults == NULL) out_faults = &unwanted;
    *out_faults = 0;
    return device->backend->device_faults(device, clear, out_faults);
}
