// Devices, buffers and streams: what the public calls promise apart from operations, on the reference device.
#include "sextant/sextant.h"
#include "support/device.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sxt_result open_by(const sxt_device_params *params, sxt_test_log *log, sxt_device **out_device) {
    sxt_device_params with_log = *params;
    *log = (sxt_test_log){.length = 0};
    with_log.log = sxt_test_log_append;
    with_log.log_user = log;
    *out_device = (sxt_device *)log; // must be overwritten
    return sxt_device_open(&with_log, out_device);
}

Test(core, the_reference_ends_every_list) {
    uint32_t count = 0;
    cr_assert_eq(sxt_device_list(NULL, NULL, 0, &count), SXT_OK);
    cr_assert_geq(count, 1);
    sxt_device_info *infos = calloc(count, sizeof *infos);
    uint32_t again = 0;
    cr_assert_eq(sxt_device_list(NULL, infos, count, &again), SXT_OK);
    cr_assert_eq(again, count);
    const sxt_device_info *last = &infos[count - 1];
    cr_assert_eq(last->kind, SXT_DEVICE_REFERENCE);
    cr_assert(last->usable && strcmp(last->type, "CPU") == 0 && last->name[0] != '\0');
    for (uint32_t i = 0; i + 1 < count; i++)
        cr_assert_eq(infos[i].kind, SXT_DEVICE_VULKAN);
    free(infos);
    cr_assert_eq(sxt_device_list(NULL, NULL, 1, &count), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_device_list(NULL, NULL, 0, NULL), SXT_ERROR_INVALID);
}

Test(core, the_reference_is_found_by_kind_name_and_number) {
    uint32_t count = 0;
    cr_assert_eq(sxt_device_list(NULL, NULL, 0, &count), SXT_OK);
    char number[16];
    snprintf(number, sizeof number, "%u", count - 1);
    const sxt_device_params ways[] = {
        {.kind = SXT_DEVICE_REFERENCE},
        {.select = "reference"},
        {.kind = SXT_DEVICE_REFERENCE, .select = "reference"},
        {.select = number},
        {.select = "sextant REF"},
        {.kind = SXT_DEVICE_REFERENCE, .disable = "fp16, storage16"},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        sxt_test_log log;
        sxt_device *device;
        cr_assert_eq(open_by(&ways[i], &log, &device), SXT_OK, "way %zu: %s", i, log.text);
        cr_assert_eq(sxt_device_get_info(device)->kind, SXT_DEVICE_REFERENCE, "way %zu", i);
        sxt_device_close(&device);
        cr_assert_null(device);
    }
}

Test(core, wrong_selections_are_refused_with_one_line) {
    const struct {
        sxt_device_params params;
        sxt_result result;
        const char *expect;
    } rows[] = {
        {{.select = "no such device"}, SXT_ERROR_NO_DEVICE, "contains \"no such device\""},
        {{.select = "4000"}, SXT_ERROR_NO_DEVICE, "select is \"4000\""},
        {{.select = "99999999999999999999"}, SXT_ERROR_NO_DEVICE, "select is \"99999999999999999999\""},
        {{.kind = SXT_DEVICE_VULKAN, .select = "reference"}, SXT_ERROR_NO_DEVICE, "kind asks for a Vulkan device"},
        {{.kind = (sxt_device_kind)7}, SXT_ERROR_INVALID, "kind is 7"},
        {{.kind = (sxt_device_kind)-1}, SXT_ERROR_INVALID, "kind is -1"},
        {{.kind = SXT_DEVICE_REFERENCE, .disable = "fp17"}, SXT_ERROR_INVALID, "\"fp17\""},
        {{.select = "sextant", .disable = "fp17"}, SXT_ERROR_INVALID, "\"fp17\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_test_log log;
        sxt_device *device;
        cr_expect_eq(open_by(&rows[i].params, &log, &device), rows[i].result, "row %zu", i);
        cr_expect_null(device, "row %zu", i);
        cr_expect_eq(log.errors, 1, "row %zu: %s", i, log.text);
        // Where there is no Vulkan device, the one line says what to install.
        cr_expect(strstr(log.text, rows[i].expect) != NULL || strstr(log.text, "install") != NULL, "row %zu: %s", i,
                  log.text);
    }
    cr_expect_eq(sxt_device_open(NULL, NULL), SXT_ERROR_INVALID);
}

Test(core, null_is_no_crash) {
    sxt_device *device = NULL;
    sxt_buffer *buffer = NULL;
    sxt_stream *stream = NULL;
    sxt_device_close(NULL), sxt_device_close(&device);
    sxt_buffer_destroy(NULL), sxt_buffer_destroy(&buffer);
    sxt_stream_destroy(NULL), sxt_stream_destroy(&stream);
    sxt_stream_reset(NULL);
    const sxt_buffer_desc desc = {.bytes = 4};
    uint32_t index;
    double us;
    cr_expect_null(sxt_device_get_info(NULL));
    cr_expect_null(sxt_buffer_map(NULL));
    cr_expect_eq(sxt_buffer_size(NULL), 0);
    cr_expect_eq(sxt_device_memory(NULL, NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_device_wait(NULL, 0, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_device_faults(NULL, true, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_create(NULL, &desc, &buffer), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_write(NULL, 0, &index, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_read(NULL, 0, &index, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_stream_create(NULL, &stream), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_stream_submit(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_stream_timestamp(NULL, &index), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_stream_elapsed(NULL, 0, 0, &us), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_norm(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_qk_norm_rope(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_write(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_shift(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_copy(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_attention(NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_attention_merge(NULL, NULL), SXT_ERROR_INVALID);
}

Test(core, a_device_without_a_log_is_silent) {
    const sxt_device_params params = {.kind = SXT_DEVICE_REFERENCE};
    sxt_device *device = NULL;
    cr_assert_eq(sxt_device_open(&params, &device), SXT_OK);
    sxt_buffer *buffer = NULL;
    cr_assert_eq(sxt_buffer_create(device, NULL, &buffer), SXT_ERROR_INVALID);
    sxt_device_close(&device);
    sxt_device_close(&device); // the second time it is a pointer to NULL
}

Test(core, buffers_check_ranges_and_pointers) {
    sxt_test_log log = {.length = 0};
    sxt_device *device = sxt_test_open_reference(&log);
    sxt_buffer *buffer = NULL;
    const sxt_buffer_desc nothing = {.bytes = 0}, odd = {.bytes = 4, .memory = (sxt_memory)5};
    const sxt_buffer_desc absurd = {.bytes = UINT64_MAX}, good = {.bytes = 16, .name = "good"};
    cr_expect_eq(sxt_buffer_create(device, &nothing, &buffer), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_create(device, &odd, &buffer), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_create(device, &good, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_create(device, &absurd, &buffer), SXT_ERROR_OUT_OF_MEMORY);
    cr_expect_null(buffer);
    cr_expect_eq(log.errors, 4);
    cr_assert_eq(sxt_buffer_create(device, &good, &buffer), SXT_OK);
    cr_expect_eq(sxt_buffer_size(buffer), 16);
    cr_expect_not_null(sxt_buffer_map(buffer));

    const char text[16] = "0123456789abcde";
    char back[16] = "";
    cr_expect_eq(sxt_buffer_write(buffer, 0, text, 16), SXT_OK);
    cr_expect_eq(sxt_buffer_read(buffer, 10, back, 6), SXT_OK);
    cr_expect_str_eq(back, "abcde");
    cr_expect_eq(sxt_buffer_write(buffer, 16, NULL, 0), SXT_OK);
    const struct {
        uint64_t offset, bytes;
    } outside[] = {{0, 17}, {16, 1}, {17, 0}, {1, 16}, {UINT64_MAX, 1}, {1, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        cr_expect_eq(sxt_buffer_write(buffer, outside[i].offset, text, outside[i].bytes), SXT_ERROR_INVALID, "%zu", i);
        cr_expect_eq(sxt_buffer_read(buffer, outside[i].offset, back, outside[i].bytes), SXT_ERROR_INVALID, "%zu", i);
    }
    cr_expect_eq(sxt_buffer_write(buffer, 0, NULL, 4), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_buffer_read(buffer, 0, NULL, 4), SXT_ERROR_INVALID);
    cr_expect(strstr(log.text, "do not fit into a buffer of 16 bytes") != NULL);
    sxt_buffer_destroy(&buffer);
    cr_expect_null(buffer);
    sxt_device_close(&device);
}

Test(core, memory_in_use_is_counted) {
    sxt_test_log log = {.length = 0};
    sxt_device *device = sxt_test_open_reference(&log);
    uint64_t before, during, after, budget;
    sxt_buffer *buffer = NULL;
    const sxt_buffer_desc desc = {.bytes = 1 << 20};
    cr_assert_eq(sxt_device_memory(device, &before, &budget), SXT_OK);
    cr_assert_eq(sxt_buffer_create(device, &desc, &buffer), SXT_OK);
    cr_assert_eq(sxt_device_memory(device, &during, NULL), SXT_OK);
    sxt_buffer_destroy(&buffer);
    cr_assert_eq(sxt_device_memory(device, &after, NULL), SXT_OK);
    cr_assert_eq(during - before, 1 << 20);
    cr_assert_eq(after, before);
    cr_assert_gt(budget, 1 << 20);
    sxt_device_close(&device);
}

Test(core, tickets_and_timestamps) {
    sxt_test_log log = {.length = 0};
    sxt_device *device = sxt_test_open_reference(&log);
    sxt_stream *stream = NULL;
    uint32_t index = 99;
    uint64_t first = 0, second = 0;
    double us = -1;
    cr_assert_eq(sxt_stream_create(device, NULL), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    cr_assert_eq(sxt_stream_timestamp(stream, &index), SXT_OK);
    sxt_stream_reset(stream); // drops it
    cr_assert_eq(sxt_stream_timestamp(stream, NULL), SXT_ERROR_INVALID);
    for (uint32_t i = 0; i < SXT_MAX_TIMESTAMPS; i++) {
        cr_assert_eq(sxt_stream_timestamp(stream, &index), SXT_OK);
        cr_assert_eq(index, i);
    }
    cr_assert_eq(sxt_stream_timestamp(stream, &index), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_stream_elapsed(stream, 0, 1, &us), SXT_ERROR_INVALID, "nothing has been submitted");
    cr_assert_eq(sxt_stream_submit(stream, &first), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, first, UINT64_MAX), SXT_OK);
    cr_assert_eq(sxt_stream_elapsed(stream, 0, SXT_MAX_TIMESTAMPS - 1, &us), SXT_OK);
    cr_assert_geq(us, 0);
    cr_assert_eq(sxt_stream_elapsed(stream, 0, SXT_MAX_TIMESTAMPS, &us), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_stream_elapsed(stream, 0, 1, NULL), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_stream_submit(stream, NULL), SXT_OK);
    cr_assert_eq(sxt_stream_elapsed(stream, 0, 0, &us), SXT_ERROR_INVALID, "the latest submission has none");
    cr_assert_eq(sxt_stream_submit(stream, &second), SXT_OK);
    cr_assert_gt(second, first);
    cr_assert_eq(sxt_device_wait(device, 0, 0), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, second, 0), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, second + 1, 0), SXT_ERROR_INVALID);
    sxt_stream_destroy(&stream);
    cr_assert_null(stream);
    sxt_device_close(&device);
}
