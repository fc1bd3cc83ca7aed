// The Vulkan runtime's promises about devices, buffers and streams, on a real driver.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "support/barriers.h"
#include "support/copy_job.h"
#include "support/device.h"
#include "support/fake_loader.h"

static sxt_test_log messages;

static sxt_device *open_with(const char *cache_path) {
    sxt_test_fake_reset();
    messages = (sxt_test_log){0};
    const sxt_device_params params = {.cache_path = cache_path, .log = sxt_test_log_append, .log_user = &messages};
    sxt_device *device = NULL;
    const sxt_result result = sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_backend, &params, 0, &device);
    cr_assert_eq(result, SXT_OK, "%s", messages.text);
    return device;
}

static void expect_message(const char *part) {
    cr_expect(strstr(messages.text, part) != NULL, "no \"%s\" in:\n%s", part, messages.text);
}

// ── Drivers that will not do ──

static void expect_unusable(const char *why_not, const char *message) {
    const sxt_device_params params = {.log = sxt_test_log_append, .log_user = &messages};
    messages = (sxt_test_log){0};
    sxt_device_info info;
    uint32_t count;
    cr_expect_eq(sxt_vulkan_list_through(sxt_test_fake_loader(), &params, &info, 1, &count), SXT_OK);
    if (why_not != NULL) {
        cr_assert_geq(count, 1);
        cr_expect_not(info.usable);
        cr_expect(strstr(info.why_not, why_not) != NULL, "why not: %s", info.why_not);
    } else {
        cr_expect_eq(count, 0);
    }
    sxt_device *device = (sxt_device *)1;
    cr_expect_eq(sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_backend, &params, 0, &device),
                 SXT_ERROR_NO_DEVICE);
    cr_expect_null(device);
    expect_message(message);
}

Test(runtime, devices_older_than_1_2_are_listed_and_refused) {
    sxt_test_fake_reset();
    sxt_test_fake.device_version = VK_MAKE_API_VERSION(0, 1, 1, 300);
    expect_unusable("supports Vulkan 1.1; Sextant needs 1.2", "supports Vulkan 1.1; Sextant needs 1.2");
    sxt_test_fake.device_version = VK_API_VERSION_1_0;
    sxt_test_fake.only_1_0 = true; // and nothing newer may be called
    expect_unusable("supports Vulkan 1.0; Sextant needs 1.2", "supports Vulkan 1.0; Sextant needs 1.2");
}

Test(runtime, loaders_that_lack_functions_are_refused) {
    static const char *const missing[] = {"vkCreateInstance", "vkEnumeratePhysicalDevices", "vkDestroyInstance",
                                          "vkGetPhysicalDeviceFeatures2", "vkCreateDevice"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        sxt_test_fake_reset();
        sxt_test_fake.missing = missing[i];
        expect_unusable(i < 3 ? NULL : "the Vulkan loader lacks", "libvulkan1");
    }
}

Test(runtime, without_a_driver_the_log_says_what_to_install) {
    sxt_test_fake_reset();
    sxt_test_fake.fail_call = SXT_FAKE_vkCreateInstance;
    sxt_test_fake.fail_at = 1;
    sxt_test_fake.for_good = true;
    sxt_test_fake.fail_result = VK_ERROR_INCOMPATIBLE_DRIVER;
    expect_unusable(NULL, "install mesa-vulkan-drivers");
}

// ── The budget of a dispatch ──

// A GPU has one by itself, a CPU if asked; the faster the device may be, the more fits.
Test(runtime, dispatches_have_a_budget) {
    const uint64_t discrete = sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, 0);
    const uint64_t integrated = sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, 0);
    const uint64_t virtual = sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU, 0);
    const uint64_t cpu = sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_CPU, 100000);
    cr_expect(discrete > integrated && integrated >= virtual && virtual > cpu && cpu > 0);
    cr_expect_eq(sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_CPU, 0), 0);
    cr_expect_eq(sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, 50000), discrete / 2);
    cr_expect_gt(sxt_vulkan_dispatch_flops(VK_PHYSICAL_DEVICE_TYPE_CPU, 1), 0, "0 would be any number");
    for (uint32_t budget_us = 0; budget_us <= 200; budget_us += 200) {
        const sxt_device_params params = {.budget_us = budget_us};
        sxt_device_info listed;
        uint32_t count;
        sxt_device *device;
        cr_assert_eq(sxt_vulkan_list(&params, &listed, 1, &count), SXT_OK);
        cr_assert_eq(sxt_vulkan_open(&sxt_vulkan_backend, &params, 0, &device), SXT_OK);
        const sxt_caps *caps = &sxt_device_get_info(device)->caps;
        const VkPhysicalDeviceType type = sxt_vulkan_device_of(device)->physical.type;
        cr_expect_eq(caps->dispatch_flops, sxt_vulkan_dispatch_flops(type, budget_us));
        cr_expect_eq(caps->dispatch_flops, listed.caps.dispatch_flops);
        sxt_device_close(&device);
    }
}

// ── Loss, forks ──

Test(runtime, loss_is_sticky_and_a_new_device_works) {
    sxt_device *device = open_with(NULL);
    sxt_copy_job job;
    sxt_stream *stream;
    uint64_t ticket;
    cr_assert_eq(sxt_copy_job_create(device, SXT_JOB_TOKENS, &job), SXT_OK);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    cr_assert_eq(sxt_kv_copy(stream, &job.first), SXT_OK);
    sxt_test_fake.fail_call = SXT_FAKE_vkQueueSubmit;
    sxt_test_fake.fail_at = sxt_test_fake.calls[SXT_FAKE_vkQueueSubmit] + 1;
    sxt_test_fake.fail_result = VK_ERROR_DEVICE_LOST;
    cr_expect_eq(sxt_stream_submit(stream, &ticket), SXT_ERROR_DEVICE_LOST);
    expect_message("VK_ERROR_DEVICE_LOST");
    const uint32_t submissions = sxt_test_fake.calls[SXT_FAKE_vkQueueSubmit];

    float value = 0;
    sxt_buffer *buffer;
    const sxt_buffer_desc desc = {.bytes = 16};
    cr_expect_eq(sxt_kv_copy(stream, &job.first), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_stream_submit(stream, &ticket), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_device_wait(device, 0, UINT64_MAX), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_device_faults(device, true, NULL), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_buffer_write(job.buffers[0], 0, &value, sizeof value), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_buffer_read(job.buffers[0], 0, &value, sizeof value), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_buffer_create(device, &desc, &buffer), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_prepare(device, SXT_OP_KV_COPY, &job.first), SXT_ERROR_DEVICE_LOST);
    cr_expect_eq(sxt_test_fake.calls[SXT_FAKE_vkQueueSubmit], submissions, "a lost device is left alone");
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(&job);
    sxt_device_close(&device);

    device = open_with(NULL);
    cr_expect_eq(sxt_copy_job_use_device(device, false), SXT_OK);
    sxt_device_close(&device);
}

// What a child does with its parent's device; the exit status counts what went wrong.
static int use_in_child(sxt_device *device, sxt_stream *stream, sxt_copy_job *job) {
    float value = 0;
    uint64_t ticket;
    int wrong = 0;
    alarm(10); // a driver that is touched here may hang
    wrong += sxt_buffer_read(job->buffers[0], 0, &value, sizeof value) != SXT_ERROR_DEVICE_LOST;
    wrong += sxt_buffer_write(job->buffers[0], 0, &value, sizeof value) != SXT_ERROR_DEVICE_LOST;
    wrong += sxt_kv_copy(stream, &job->first) != SXT_ERROR_DEVICE_LOST;
    wrong += sxt_stream_submit(stream, &ticket) != SXT_ERROR_DEVICE_LOST;
    wrong += sxt_device_wait(device, 0, UINT64_MAX) != SXT_ERROR_DEVICE_LOST;
    wrong += sxt_device_faults(device, true, NULL) != SXT_ERROR_DEVICE_LOST;
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(job);
    sxt_device_close(&device);
    return wrong;
}

Test(runtime, a_forked_child_gets_errors_and_the_parent_goes_on) {
    sxt_device *device = open_with(NULL);
    sxt_copy_job job;
    sxt_stream *stream;
    cr_assert_eq(sxt_copy_job_create(device, SXT_JOB_TOKENS, &job), SXT_OK);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    cr_assert_eq(sxt_kv_copy(stream, &job.first), SXT_OK);
    const pid_t child = fork();
    if (child == 0) _exit(use_in_child(device, stream, &job));
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", (unsigned)status);
    cr_expect_eq(sxt_copy_job_use_device(device, false), SXT_OK);
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(&job);
    sxt_device_close(&device);
}

// ── Buffers ──

Test(runtime, copies_through_staging_memory_are_exact_at_any_size) {
    static const uint64_t sizes[] = {1, 3, 4097, 16 << 20, (16 << 20) + 1, (40 << 20) + 7};
    sxt_device *device = open_with(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const sxt_buffer_desc desc = {.bytes = sizes[i] + 5};
        sxt_buffer *buffer;
        cr_assert_eq(sxt_buffer_create(device, &desc, &buffer), SXT_OK);
        uint8_t *in = malloc(sizes[i]), *out = calloc(1, sizes[i]);
        for (uint64_t k = 0; k < sizes[i]; k++)
            in[k] = (uint8_t)(k * 2654435761u >> 11);
        buffer->mapped = NULL;
        cr_expect_eq(sxt_buffer_write(buffer, 5, in, sizes[i]), SXT_OK);
        cr_expect_eq(sxt_buffer_read(buffer, 5, out, sizes[i]), SXT_OK);
        cr_expect_eq(memcmp(in, out, sizes[i]), 0, "%llu bytes", (unsigned long long)sizes[i]);
        free(in);
        free(out);
        sxt_buffer_destroy(&buffer);
    }
    sxt_device_close(&device);
}

Test(runtime, is_usable_after_a_buffer_that_is_too_large) {
    static const uint64_t sizes[] = {UINT64_C(1) << 46, UINT64_MAX - 3, UINT64_MAX};
    sxt_device *device = open_with(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const sxt_buffer_desc desc = {.bytes = sizes[i], .name = "giant"};
        sxt_buffer *buffer = (sxt_buffer *)1;
        cr_expect_eq(sxt_buffer_create(device, &desc, &buffer), SXT_ERROR_OUT_OF_MEMORY);
        cr_expect_null(buffer);
    }
    expect_message("giant");
    cr_expect_eq(sxt_copy_job_use_device(device, false), SXT_OK);
    sxt_device_close(&device);
}

Test(runtime, buffers_destroyed_under_way_live_until_the_work_is_done) {
    sxt_device *device = open_with(NULL);
    sxt_stream *stream;
    sxt_copy_job job;
    uint64_t ticket = 0;
    cr_assert_eq(sxt_copy_job_create(device, 200000, &job), SXT_OK);
    memset(job.buffers[2]->mapped, 0, job.bytes);
    float *in = malloc(job.bytes), *out = malloc(job.bytes);
    for (uint64_t i = 0; i < job.bytes / sizeof(float); i++)
        in[i] = (float)i;
    cr_assert_eq(sxt_buffer_write(job.buffers[0], 0, in, job.bytes), SXT_OK);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(sxt_kv_copy(stream, &job.first), SXT_OK);
        cr_assert_eq(sxt_kv_copy(stream, &job.second), SXT_OK);
    }
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    cr_expect_eq(sxt_device_wait(device, ticket, 0), SXT_TIMEOUT, "16 MB were copied ten times in no time");
    sxt_buffer_destroy(&job.buffers[0]);
    sxt_buffer_destroy(&job.buffers[1]);
    cr_expect_not_null(sxt_vulkan_device_of(device)->graveyard);
    cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
    cr_expect_null(sxt_vulkan_device_of(device)->graveyard);
    cr_assert_eq(sxt_buffer_read(job.buffers[2], 0, out, job.bytes), SXT_OK);
    cr_expect_eq(memcmp(in, out, job.bytes), 0);
    free(in);
    free(out);
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(&job);
    sxt_device_close(&device);
}

// ── Streams ──

Test(runtime, barriers_stand_where_data_needs_them_and_nowhere_else) {
    sxt_device *device = open_with(NULL);
    sxt_stream *stream;
    sxt_copy_job a, b;
    uint64_t ticket;
    cr_assert_eq(sxt_copy_job_create(device, SXT_JOB_TOKENS, &a), SXT_OK);
    cr_assert_eq(sxt_copy_job_create(device, SXT_JOB_TOKENS, &b), SXT_OK);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    sxt_test_count_barriers(device);
    const struct {
        const sxt_kv_copy_desc *desc;
        uint32_t expected;
    } steps[] = {
        {&a.first, 1},  // the one at the beginning
        {&b.first, 1},  // other buffers
        {&a.second, 2}, // reads what a.first wrote
        {&b.second, 2}, // so does this, but the same barrier covers it
        {&a.second, 3}, // writes what was written
        {&b.first, 3},  // writes what b.second read, but that was before the last barrier
        {&b.second, 4},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        cr_assert_eq(sxt_kv_copy(stream, steps[i].desc), SXT_OK);
        cr_expect_eq(sxt_test_barriers, steps[i].expected, "step %zu: %u barriers", i, sxt_test_barriers);
    }
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
    sxt_stream_destroy(&stream);
    sxt_copy_job_destroy(&a);
    sxt_copy_job_destroy(&b);
    sxt_device_close(&device);
}

Test(runtime, misuse_of_tickets_and_timestamps_is_rejected) {
    sxt_device *device = open_with(NULL);
    sxt_stream *stream;
    uint32_t index;
    uint64_t ticket;
    double elapsed_us;
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    cr_expect_eq(sxt_device_wait(device, 7, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_stream_elapsed(stream, 0, 0, &elapsed_us), SXT_ERROR_INVALID);
    for (uint32_t i = 0; i < SXT_MAX_TIMESTAMPS; i++) {
        cr_assert_eq(sxt_stream_timestamp(stream, &index), SXT_OK);
        cr_assert_eq(index, i);
    }
    cr_expect_eq(sxt_stream_timestamp(stream, &index), SXT_ERROR_INVALID);
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
    cr_expect_eq(sxt_stream_elapsed(stream, 0, SXT_MAX_TIMESTAMPS - 1, &elapsed_us), SXT_OK);
    cr_expect_geq(elapsed_us, 0);
    double back_us = 0;
    cr_expect_eq(sxt_stream_elapsed(stream, SXT_MAX_TIMESTAMPS - 1, 0, &back_us), SXT_OK);
    cr_expect_eq(back_us, -elapsed_us);
    cr_expect_eq(sxt_stream_elapsed(stream, 0, SXT_MAX_TIMESTAMPS, &elapsed_us), SXT_ERROR_INVALID);
    sxt_stream_destroy(&stream);
    sxt_device_close(&device);
}

static void *use_many_times(void *device) {
    for (uint32_t i = 0; i < 25; i++)
        if (sxt_copy_job_use_device(device, i % 2) != SXT_OK) return device;
    return NULL; // all went well
}

Test(runtime, one_device_serves_many_threads) {
    enum { THREADS = 8 };
    const sxt_device_params params = {0};
    sxt_device *device;
    cr_assert_eq(sxt_vulkan_open(&sxt_vulkan_backend, &params, 0, &device), SXT_OK); // the fake counts without locks
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_many_times, device), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        cr_expect_null(failed);
    }
    sxt_device_close(&device);
}

// ── The cache file ──

Test(runtime, cache_file_is_written_used_and_rebuilt_when_damaged) {
    char path[] = "/tmp/sextant-runtime-XXXXXX";
    const int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
    static const bool damaged[] = {true, false, true, false}; // at first it is empty
    for (size_t i = 0; i < 4; i++) {
        if (i == 2) cr_assert_eq(truncate(path, 50), 0);
        sxt_device *device = open_with(path);
        cr_expect_eq(strstr(messages.text, "ignored") != NULL, damaged[i], "time %zu: %s", i, messages.text);
        cr_expect_eq(sxt_copy_job_use_device(device, false), SXT_OK);
        sxt_device_close(&device);
    }
    cr_expect_eq(messages.errors, 0);
    remove(path);
}
