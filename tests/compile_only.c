// A device opened with compile_only: it describes and compiles, and refuses the rest in one line. On RADV's null device
// its figures are there; on lavapipe, which tells nothing of its kernels, there are none.
#include "interface/attention.h"
#include "kernels/kernels.h"
#include "support/device.h"
#include "support/fake_loader.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static sxt_result open_with(sxt_device_params params, sxt_test_log *log, sxt_device **out_device) {
    *log = (sxt_test_log){.length = 0};
    params.log = sxt_test_log_append;
    params.log_user = log;
    params.disable = getenv("SEXTANT_TEST_DISABLE");
    return sxt_device_open(&params, out_device);
}

static sxt_device *open_device(sxt_test_log *log) {
    sxt_device *device = NULL;
    if (open_with((sxt_device_params){.compile_only = true}, log, &device) == SXT_OK) return device;
    const char *driver = getenv("SEXTANT_TEST_DRIVER");
    if (driver == NULL || strncmp(driver, "radv", 4) != 0) cr_assert_fail("not opened: %s", log->text);
    cr_skip_test("this Mesa's RADV has no null device");
    return NULL;
}

// Larger than any memory.
static sxt_buffer *make_buffer(sxt_device *device) {
    sxt_buffer *buffer = NULL;
    const sxt_buffer_desc desc = {.bytes = UINT64_C(1) << 46, .name = "without memory"};
    cr_assert_eq(sxt_buffer_create(device, &desc, &buffer), SXT_OK);
    return buffer;
}

static sxt_norm_desc norm_in(sxt_buffer *buffer) {
    const sxt_tensor x = {.buffer = buffer, .shape = {1, 512, 1, 1024}};
    sxt_tensor y = x;
    y.offset_bytes = UINT64_C(1) << 32;
    return (sxt_norm_desc){.x = x, .y = y, .eps = 1e-6f};
}

static bool is_null_device(sxt_device *device) {
    return !sxt_device_get_info(device)->usable;
}

// One message, of level ERROR, that says why.
static void expect_refused(sxt_test_log *log, sxt_result result, const char *call) {
    cr_expect_eq(result, SXT_ERROR_UNSUPPORTED, "%s gave %s", call, sxt_result_name(result));
    cr_expect(log->errors == 1 && strstr(log->text, call) != NULL && strstr(log->text, "compile_only") != NULL,
              "%s: the log says %s", call, log->text);
    *log = (sxt_test_log){.length = 0};
}

Test(compile_only, whatever_needs_memory_or_a_queue_is_refused) {
    sxt_test_log log;
    sxt_device *device = open_device(&log);
    sxt_buffer *buffer = make_buffer(device);
    cr_assert_eq(sxt_buffer_size(buffer), UINT64_C(1) << 46);
    cr_assert_null(sxt_buffer_map(buffer));
    log = (sxt_test_log){.length = 0};

    char byte = 0;
    uint64_t used, budget;
    sxt_stream *stream = (sxt_stream *)&byte; // must be overwritten
    const sxt_norm_desc norm = norm_in(buffer);
    expect_refused(&log, sxt_buffer_write(buffer, 0, &byte, 1), "sxt_buffer_write");
    expect_refused(&log, sxt_buffer_read(buffer, 0, &byte, 1), "sxt_buffer_read");
    expect_refused(&log, sxt_stream_create(device, &stream), "sxt_stream_create");
    cr_assert_null(stream);
    expect_refused(&log, sxt_prepare(device, SXT_OP_NORM, &norm), "sxt_prepare");
    expect_refused(&log, sxt_device_memory(device, &used, &budget), "sxt_device_memory");
    expect_refused(&log, sxt_device_wait(device, 0, 0), "sxt_device_wait");
    uint32_t faults;
    expect_refused(&log, sxt_device_faults(device, true, &faults), "sxt_device_faults");
    sxt_buffer_destroy(&buffer);
    sxt_device_close(&device);
    cr_assert_eq(log.validation, 0);
}

Test(compile_only, a_device_that_only_compiles_says_so_and_opens_for_nothing_else) {
    sxt_test_log log;
    sxt_device *device = open_device(&log), *other = NULL;
    const sxt_device_info *info = sxt_device_get_info(device);
    cr_assert(info->compiles);
    if (!info->usable) {
        cr_assert_not_null(strstr(info->why_not, "only compiles"), "%s", info->why_not);
        cr_assert_eq(open_with((sxt_device_params){0}, &log, &other), SXT_ERROR_NO_DEVICE);
        cr_assert_null(other);
        cr_assert(log.errors == 1 && strstr(log.text, "only compiles"), "%s", log.text);
        cr_assert_eq(open_with((sxt_device_params){.select = "0"}, &log, &other), SXT_ERROR_NO_DEVICE);
    }
    sxt_device_close(&device);
    cr_assert_eq(open_with((sxt_device_params){.select = "0", .compile_only = true}, &log, &device), SXT_OK);
    sxt_device_close(&device);
}

Test(compile_only, the_reference_has_nothing_to_compile) {
    sxt_test_log log;
    sxt_device *device = NULL;
    const sxt_device_params ways[] = {{.kind = SXT_DEVICE_REFERENCE, .compile_only = true},
                                      {.select = "reference", .compile_only = true},
                                      {.select = "Sextant ref", .compile_only = true}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        cr_assert_eq(open_with(ways[i], &log, &device), SXT_ERROR_INVALID, "way %zu", i);
        cr_assert(device == NULL && strstr(log.text, "nothing to compile") != NULL, "way %zu: %s", i, log.text);
    }
}

Test(compile_only, statistics_are_for_devices_opened_for_them) {
    const sxt_device_params ways[] = {{.kind = SXT_DEVICE_REFERENCE}, {.kind = SXT_DEVICE_ANY}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        sxt_test_log log;
        sxt_device *device = NULL;
        if (open_with(ways[i], &log, &device) != SXT_OK) continue; // RADV's null device, rightly
        sxt_buffer *buffer = NULL;
        const sxt_buffer_desc desc = {.bytes = 4096};
        cr_assert_eq(sxt_buffer_create(device, &desc, &buffer), SXT_OK);
        const sxt_norm_desc norm = {.x = {.buffer = buffer, .shape = {1, 1, 1, 64}},
                                    .y = {.buffer = buffer, .shape = {1, 1, 1, 64}}};
        uint32_t count = 1;
        cr_expect_eq(sxt_statistics(device, SXT_OP_NORM, &norm, NULL, 0, &count), SXT_ERROR_UNSUPPORTED);
        cr_expect(count == 0 && log.errors == 1 && strstr(log.text, "sxt_statistics: ") != NULL, "%s", log.text);
        sxt_buffer_destroy(&buffer);
        sxt_device_close(&device);
    }
}

Test(compile_only, wrong_arguments_are_refused_with_one_line) {
    sxt_test_log log;
    sxt_device *device = open_device(&log);
    sxt_buffer *buffer = make_buffer(device);
    const sxt_norm_desc norm = norm_in(buffer), empty = {0};
    uint32_t count;
    cr_assert_eq(sxt_statistics(NULL, SXT_OP_NORM, &norm, NULL, 0, &count), SXT_ERROR_INVALID);
    const struct {
        sxt_op op;
        const void *desc;
        uint32_t capacity;
        uint32_t *count;
        const char *says;
    } rows[] = {
        {SXT_OP_NORM, &norm, 0, NULL, "sxt_statistics: out_count is NULL"},
        {SXT_OP_NORM, &norm, 3, &count, "sxt_statistics: out_statistics is NULL, and capacity is 3"},
        {SXT_OP_NORM, NULL, 0, &count, "sxt_norm: desc is NULL"},
        {SXT_OP_COUNT, &norm, 0, &count, "op is"},
        {SXT_OP_NORM, &empty, 0, &count, "sxt_norm: x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        log = (sxt_test_log){.length = 0};
        count = 7;
        cr_expect_eq(sxt_statistics(device, rows[i].op, rows[i].desc, NULL, rows[i].capacity, rows[i].count),
                     SXT_ERROR_INVALID, "%s", rows[i].says);
        cr_expect(log.errors == 1 && strstr(log.text, rows[i].says) != NULL, "%s: %s", rows[i].says, log.text);
        cr_expect(rows[i].count == NULL || count == 0, "%s", rows[i].says);
    }
    sxt_buffer_destroy(&buffer);
    sxt_device_close(&device);
}

static const sxt_statistic *find(const sxt_statistic *statistics, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(statistics[i].name, name) == 0) return &statistics[i];
    return NULL;
}

Test(compile_only, a_kernel_is_described_and_compiled) {
    enum { ROOM = 256 };
    static sxt_statistic found[ROOM], again[ROOM];
    sxt_test_log log;
    sxt_device *device = open_device(&log);
    sxt_buffer *buffer = make_buffer(device);
    sxt_norm_desc norm = norm_in(buffer);
    char text[128] = "";
    uint32_t count = 0, second = 0;
    cr_assert_eq(sxt_describe(device, SXT_OP_NORM, &norm, text, sizeof text), SXT_OK);
    cr_assert_eq(strncmp(text, "norm", 4), 0, "%s", text);
    uint64_t scratch_bytes = 7;
    cr_assert_eq(sxt_scratch_size(device, SXT_OP_NORM, &norm, &scratch_bytes), SXT_OK);
    cr_assert_eq(scratch_bytes, 0);
    cr_assert_eq(sxt_statistics(device, SXT_OP_NORM, &norm, found, ROOM, &count), SXT_OK, "%s", log.text);
    cr_assert_eq(sxt_statistics(device, SXT_OP_NORM, &norm, again, ROOM, &second), SXT_OK);
    cr_assert(count == second && memcmp(found, again, count * sizeof found[0]) == 0, "the same figures each time");
    if (is_null_device(device)) {
        const sxt_statistic *registers = find(found, count, "VGPRs"), *spills = find(found, count, "Spilled VGPRs");
        cr_assert(registers != NULL && registers->value > 0 && registers->value <= 256);
        cr_assert(spills != NULL && find(found, count, "Code size") != NULL);
        cr_assert(registers->dispatch == 0 && registers->executable == 0);
        cr_assert(registers->subgroup_size == 32 || registers->subgroup_size == 64);
        cr_assert_eq(strncmp(registers->shader, "norm", 4), 0, "%s", registers->shader);

        // With less room than there is: what fits, and the number there is.
        memset(again, 0x5a, sizeof again);
        cr_assert_eq(sxt_statistics(device, SXT_OP_NORM, &norm, again, 3, &second), SXT_OK);
        cr_assert(second == count && count > 3 && memcmp(found, again, 3 * sizeof found[0]) == 0);
        cr_assert_eq(((const unsigned char *)&again[3])[0], 0x5a, "nothing past the room");
    }
    norm.x.shape[1] = norm.y.shape[1] = 0;
    cr_assert_eq(sxt_statistics(device, SXT_OP_NORM, &norm, found, ROOM, &count), SXT_OK);
    cr_assert_eq(count, 0, "nothing to do, nothing to tell");
    cr_assert_eq(log.errors, 0, "%s", log.text);
    cr_assert_eq(log.validation, 0, "%s", log.text);
    sxt_buffer_destroy(&buffer);
    sxt_device_close(&device);
}

// The control of all that counts spills: more rows than the plan would ever choose, 32 vectors of output a thread, twice.
// (It is more shared memory than there is, too, which the compiler does not mind for this chip.)
Test(compile_only, a_kernel_that_does_not_fit_the_registers_is_seen_to_spill) {
    enum { ROOM = 256 };
    static sxt_statistic found[ROOM];
    sxt_test_log log;
    sxt_device *device = open_device(&log);
    sxt_buffer *buffer = make_buffer(device);
    sxt_tensor tensors[4];
    for (uint64_t i = 0; i < 4; i++)
        tensors[i] = (sxt_tensor){.buffer = buffer, .offset_bytes = i << 32, .shape = {1, 512, 8, 256}};
    const sxt_attention_desc desc = {
        .q = tensors[0], .k = tensors[1], .v = tensors[2], .o = tensors[3], .kernel = SXT_ATTENTION_TILE};
    sxt_any_desc resolved;
    sxt_plan plan;
    uint32_t count = 0;
    double spilled[2] = {0, 0};
    cr_assert_eq(sxt_op_resolve(device, SXT_OP_ATTENTION, &desc, &resolved), SXT_OK);
    cr_assert_eq(sxt_attention_plan(&sxt_device_get_info(device)->caps, &resolved.attention, &plan), SXT_OK);
    for (int large = 0; large < 2 && is_null_device(device); large++) {
        if (large) plan.dispatches[0].spec[SXT_ATTENTION_SPEC_ROWS] = 64;
        if (large) plan.dispatches[0].spec[SXT_ATTENTION_SPEC_OUT_ROWS] = 32;
        cr_assert_eq(sxt_vulkan_statistics(device, &plan, found, ROOM, &count), SXT_OK, "%s", log.text);
        spilled[large] = find(found, count, "Spilled VGPRs")->value + find(found, count, "Scratch size")->value;
    }
    cr_assert(spilled[0] == 0 && (spilled[1] > 0 || !is_null_device(device)), "%g and %g", spilled[0], spilled[1]);
    sxt_buffer_destroy(&buffer);
    sxt_device_close(&device);
}

static sxt_result open_faulty(sxt_test_log *log, sxt_device **out_device) {
    const sxt_device_params params = {.compile_only = true, .log = sxt_test_log_append, .log_user = log};
    *log = (sxt_test_log){.length = 0};
    return sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_compile_backend, &params, 0, out_device);
}

Test(compile_only, any_call_of_the_driver_may_fail) {
    static const VkResult results[] = {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_DEVICE_LOST, VK_ERROR_UNKNOWN};
    sxt_test_log log;
    sxt_device *device = open_device(&log);
    sxt_device_close(&device);
    sxt_test_fake_reset();
    cr_assert_eq(open_faulty(&log, &device), SXT_OK);
    // Lavapipe takes a tenth of a second for each compilation, and has fewer calls.
    const size_t kinds = is_null_device(device) ? sizeof results / sizeof results[0] : 1;
    sxt_buffer *buffer = make_buffer(device);
    sxt_norm_desc norm = norm_in(buffer);
    uint32_t count, fired = 0, calls[SXT_FAKE_COUNT];
    cr_assert_eq(sxt_statistics(device, SXT_OP_NORM, &norm, NULL, 0, &count), SXT_OK);
    sxt_buffer_destroy(&buffer);
    sxt_device_close(&device);
    memcpy(calls, sxt_test_fake.calls, sizeof calls);
    cr_assert_eq(calls[SXT_FAKE_vkCreateSemaphore] + calls[SXT_FAKE_vkAllocateMemory] + calls[SXT_FAKE_vkQueueSubmit],
                 0);

    for (sxt_fake_call call = 0; call < SXT_FAKE_COUNT; call++)
        for (uint32_t at = 1; at <= calls[call]; at++)
            for (size_t i = 0; i < kinds; i++) {
                sxt_test_fake_reset();
                sxt_test_fake.fail_call = call;
                sxt_test_fake.fail_at = at;
                sxt_test_fake.fail_result = results[i];
                device = NULL;
                if (open_faulty(&log, &device) == SXT_OK) {
                    buffer = make_buffer(device);
                    norm = norm_in(buffer);
                    const sxt_result first = sxt_statistics(device, SXT_OP_NORM, &norm, NULL, 0, &count);
                    const bool lost = results[i] == VK_ERROR_DEVICE_LOST && first == SXT_ERROR_DEVICE_LOST;
                    cr_expect(first == SXT_OK || (sxt_test_fake.fired && count == 0 && log.errors > 0), "%s %u",
                              sxt_test_fake_name(call), at);
                    cr_expect_eq(sxt_statistics(device, SXT_OP_NORM, &norm, NULL, 0, &count),
                                 lost ? SXT_ERROR_DEVICE_LOST : SXT_OK, "%s %u: not usable after it",
                                 sxt_test_fake_name(call), at);
                    sxt_buffer_destroy(&buffer);
                    sxt_device_close(&device);
                }
                cr_expect_null(device);
                fired += sxt_test_fake.fired;
            }
    cr_assert_geq(fired, 10 * kinds);
}
