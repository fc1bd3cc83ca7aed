// What the runtime hands to a dispatch beside its buffers: params, the device's fault word, the number of a part. Told
// by a kernel of the tests' own, which takes the place of another as its shader module is made.
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "kernels/kernels.h"
#include "probe.h"
#include "probe_address.h"
#include "support/barriers.h"
#include "support/device.h"
#include "support/fake_loader.h"

enum { PARAMS = SXT_MAX_PARAMS / 4, MOST_PARTS = 7, WORDS = PARAMS * MOST_PARTS };

static sxt_test_log messages;
static sxt_device *device;
static sxt_stream *stream;
static sxt_buffer *from, *to;
static bool by_address;
static PFN_vkCreateShaderModule real_create;

static VkResult VKAPI_CALL create_probe(VkDevice handle, const VkShaderModuleCreateInfo *info,
                                        const VkAllocationCallbacks *allocator, VkShaderModule *out_module) {
    VkShaderModuleCreateInfo probe = *info;
    probe.pCode = by_address ? probe_address_words : probe_words;
    probe.codeSize = by_address ? sizeof probe_address_words : sizeof probe_words;
    return real_create(handle, &probe, allocator, out_module);
}

static sxt_buffer *create_words(uint32_t first) {
    const sxt_buffer_desc desc = {.bytes = WORDS * sizeof(uint32_t)};
    sxt_buffer *buffer = NULL;
    uint32_t words[WORDS];
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = first == 0 ? 0 : first + i;
    cr_assert_eq(sxt_buffer_create(device, &desc, &buffer), SXT_OK);
    cr_assert_eq(sxt_buffer_write(buffer, 0, words, sizeof words), SXT_OK);
    return buffer;
}

// `loader` NULL: the system's.
static void open_with(PFN_vkGetInstanceProcAddr loader, const char *disable) {
    sxt_test_fake_reset();
    messages = (sxt_test_log){0};
    const sxt_device_params params = {.disable = disable, .log = sxt_test_log_append, .log_user = &messages};
    cr_assert_eq(sxt_vulkan_open_through(loader, &sxt_vulkan_backend, &params, 0, &device), SXT_OK, "%s",
                 messages.text);
    by_address = device->info.caps.buffer_address;
    real_create = sxt_vulkan_device_of(device)->vk.vkCreateShaderModule;
    sxt_vulkan_device_of(device)->vk.vkCreateShaderModule = create_probe;
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    from = create_words(1000000);
    to = create_words(0);
}

static void setup(void) {
    open_with(sxt_test_fake_loader(), NULL);
}

static void teardown(void) {
    sxt_stream_destroy(&stream);
    sxt_buffer_destroy(&from);
    sxt_buffer_destroy(&to);
    sxt_device_close(&device);
    cr_assert_eq(messages.errors, 0, "%s", messages.text);
}

TestSuite(dispatches, .init = setup, .fini = teardown);
TestSuite(dispatches_unfaked, .fini = teardown); // each opens its own device: criterion runs a suite's init in any case

static sxt_binding whole(sxt_buffer *buffer, bool written) {
    return (sxt_binding){.kind = SXT_BINDING_BUFFER,
                         .written = written,
                         .buffer = buffer,
                         .bytes = buffer->bytes,
                         .hazard_bytes = buffer->bytes};
}

// Params are 7·i, plus `first`.
static sxt_plan plan_probe(uint32_t first, uint32_t parts) {
    sxt_plan plan = {.dispatch_count = 1, .parts = parts};
    sxt_dispatch *dispatch = &plan.dispatches[0];
    uint32_t params[PARAMS];
    for (uint32_t i = 0; i < PARAMS; i++)
        params[i] = first + 7 * i;
    const uint32_t push[2] = {0, PARAMS};
    dispatch->shader = SXT_SHADER_KV_COPY; // any
    dispatch->by_address = by_address;
    dispatch->bindings[0] = whole(from, false);
    dispatch->bindings[1] = whole(to, true);
    dispatch->binding_count = 2;
    cr_assert_eq(sxt_plan_bind_faults(&device->info.caps, dispatch), SXT_OK);
    sxt_plan_push(dispatch, push, sizeof push);
    sxt_plan_params(dispatch, params, sizeof params);
    dispatch->groups[0] = dispatch->groups[1] = dispatch->groups[2] = 1;
    return plan;
}

static void finish(void) {
    uint64_t ticket = 0;
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
}

static void expect_words(uint32_t first, uint32_t parts) {
    uint32_t words[WORDS];
    cr_assert_eq(sxt_buffer_read(to, 0, words, sizeof words), SXT_OK);
    for (uint32_t i = 0; i < WORDS; i++) {
        const uint32_t expected = i < parts * PARAMS ? 1000000 + i + first + 7 * (i % PARAMS) : 0;
        cr_assert_eq(words[i], expected, "word %u is %u, not %u", i, words[i], expected);
    }
}

static void expect_faults(bool clear, uint32_t expected) {
    uint32_t faults = UINT32_MAX;
    cr_assert_eq(sxt_device_faults(device, clear, &faults), SXT_OK);
    cr_assert_eq(faults, expected, "%#x, not %#x", faults, expected);
}

// More sets than a pool has, each with params of its own: the last one recorded counts.
static void run_params(void) {
    for (uint32_t first = 1; first <= 150; first++) {
        const sxt_plan plan = plan_probe(first, first % 2);
        cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK, "%s", messages.text);
    }
    finish();
    expect_words(150, 1);
}

Test(dispatches, params_reach_the_kernel) {
    run_params();
}

Test(dispatches_unfaked, params_reach_a_kernel_that_has_descriptors) {
    open_with(NULL, "buffer_address");
    run_params();
}

Test(dispatches, parts_are_recorded_in_order_each_with_its_number) {
    const sxt_plan plan = plan_probe(3, MOST_PARTS);
    sxt_test_count_barriers(device);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK, "%s", messages.text);
    // All may write all of `to`, for what the runtime knows.
    cr_expect_eq(sxt_test_barriers, MOST_PARTS, "the one at the beginning, and one between parts: %u",
                 sxt_test_barriers);
    finish();
    expect_words(3, MOST_PARTS);
    expect_faults(false, (1u << MOST_PARTS) - 1);
}

// Two dispatches a part, the second of what the first left in scratch memory. Where there is no memory for it, nothing
// is left behind.
Test(dispatches, parts_go_through_one_scratch_memory) {
    sxt_plan plan = plan_probe(3, MOST_PARTS);
    const sxt_binding scratch = {.kind = SXT_BINDING_SCRATCH, .bytes = to->bytes, .hazard_bytes = to->bytes};
    plan.dispatches[1] = plan.dispatches[0];
    plan.dispatches[1].bindings[0] = plan.dispatches[0].bindings[1] = scratch;
    plan.dispatches[0].bindings[1].written = true;
    plan.dispatch_count = 2;
    plan.scratch_bytes = UINT64_C(1) << 60;
    cr_expect_eq(sxt_vulkan_stream_run(stream, &plan), SXT_ERROR_OUT_OF_MEMORY);
    messages.errors = 0;
    finish();
    expect_words(0, 0);
    expect_faults(false, 0);
    plan.scratch_bytes = to->bytes;
    sxt_test_count_barriers(device);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK, "%s", messages.text);
    cr_expect_eq(sxt_test_barriers, 2 * MOST_PARTS, "one before each dispatch: %u", sxt_test_barriers);
    finish();
    uint32_t words[WORDS];
    cr_assert_eq(sxt_buffer_read(to, 0, words, sizeof words), SXT_OK);
    for (uint32_t i = 0; i < WORDS; i++)
        cr_assert_eq(words[i], 1000000 + i + 2 * (3 + 7 * (i % PARAMS)), "word %u is %u", i, words[i]);
}

Test(dispatches, faults_stay_until_they_are_cleared) {
    expect_faults(false, 0);
    sxt_plan plan = plan_probe(0, 3);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    expect_faults(false, 0); // nothing was submitted yet
    uint64_t ticket;
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    expect_faults(false, 7); // which waits
    expect_faults(true, 7);
    expect_faults(true, 0);
    plan = plan_probe(0, 1);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    finish();
    expect_faults(false, 1);
    cr_assert_eq(sxt_device_faults(device, true, NULL), SXT_OK);
    expect_faults(false, 0);
}

// The fault word is touched by atomics alone: dispatches that have nothing else in common overlap.
Test(dispatches_unfaked, faults_put_no_barrier) {
    open_with(NULL, "buffer_address"); // by descriptors: validation layers see nothing else
    sxt_plan plan = plan_probe(1, 1);
    sxt_buffer *other = create_words(0);
    sxt_test_count_barriers(device);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    plan.dispatches[0].bindings[1] = whole(other, true);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    cr_expect_eq(sxt_test_barriers, 1, "the one at the beginning: %u", sxt_test_barriers);
    finish();
    expect_words(1, 1);
    expect_faults(true, 1);
    cr_expect_eq(messages.validation, 0, "%s", messages.text);
    sxt_buffer_destroy(&other);
}

Test(dispatches, prepare_runs_nothing_of_the_plan) {
    const sxt_plan plan = plan_probe(5, 4);
    cr_assert_eq(sxt_vulkan_prepare(device, &plan), SXT_OK, "%s", messages.text);
    expect_words(0, 0);
    expect_faults(false, 0);
}

// A fault of the calls that reading the word makes is an error, and the word is as it was.
Test(dispatches, faults_survive_errors_of_reading_them) {
    const sxt_plan plan = plan_probe(0, 2);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    finish();
    static const sxt_fake_call calls[] = {SXT_FAKE_vkResetCommandPool, SXT_FAKE_vkBeginCommandBuffer,
                                          SXT_FAKE_vkEndCommandBuffer, SXT_FAKE_vkQueueSubmit};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        sxt_test_fake.fail_call = calls[i];
        sxt_test_fake.fail_at = sxt_test_fake.calls[calls[i]] + 1;
        sxt_test_fake.fail_result = VK_ERROR_OUT_OF_HOST_MEMORY;
        uint32_t faults = 0;
        cr_expect_eq(sxt_device_faults(device, true, &faults), SXT_ERROR_OUT_OF_MEMORY, "call %zu", i);
        cr_expect(sxt_test_fake.fired);
        expect_faults(false, 3);
    }
    messages.errors = 0;
}

static void *read_faults(void *out_seen) {
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t faults = 0;
        if (sxt_device_faults(device, true, &faults) != SXT_OK) return out_seen;
        *(uint32_t *)out_seen |= faults;
    }
    return NULL;
}

// What one thread clears, no other sees; none is lost.
Test(dispatches_unfaked, faults_are_read_by_many_threads) {
    enum { THREADS = 4 };
    open_with(NULL, NULL); // the fake counts without locks
    pthread_t threads[THREADS];
    uint32_t seen[THREADS] = {0}, all = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, read_faults, &seen[i]), 0);
    const sxt_plan plan = plan_probe(0, MOST_PARTS);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK);
    finish();
    for (uint32_t i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        cr_expect_null(failed);
        all |= seen[i];
    }
    uint32_t rest = 0;
    cr_assert_eq(sxt_device_faults(device, true, &rest), SXT_OK);
    cr_expect_eq(all | rest, (1u << MOST_PARTS) - 1);
}
