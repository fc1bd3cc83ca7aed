// The runtime's scratch memory: what plans leave there for their next dispatch is right, ordered and alive, however it
// grows. (That no fault of its allocation lasts is told by tests/faults.c.)
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/kernels.h"
#include "support/barriers.h"
#include "support/copy_job.h"
#include "support/device.h"
#include "support/fake_loader.h"

enum { JOBS = 6 };

static sxt_test_log messages;
static sxt_device *device;
static sxt_stream *stream;
static sxt_copy_job jobs[JOBS];

static float value(uint32_t job, uint32_t i) {
    return (float)(job * 10000 + i) + 0.5f;
}

static void setup(void) {
    sxt_test_fake_reset();
    messages = (sxt_test_log){0};
    const sxt_device_params params = {.log = sxt_test_log_append, .log_user = &messages};
    cr_assert_eq(sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_backend, &params, 0, &device), SXT_OK,
                 "%s", messages.text);
    cr_assert_eq(sxt_stream_create(device, &stream), SXT_OK);
    float rows[SXT_JOB_TOKENS * SXT_JOB_CHANNELS];
    for (uint32_t n = 0; n < JOBS; n++) {
        cr_assert_eq(sxt_copy_job_create(device, SXT_JOB_TOKENS, &jobs[n]), SXT_OK);
        for (uint32_t i = 0; i < SXT_JOB_TOKENS * SXT_JOB_CHANNELS; i++)
            rows[i] = value(n, i);
        cr_assert_eq(sxt_buffer_write(jobs[n].buffers[0], 0, rows, sizeof rows), SXT_OK);
    }
}

static void teardown(void) {
    sxt_stream_destroy(&stream);
    for (uint32_t n = 0; n < JOBS; n++)
        sxt_copy_job_destroy(&jobs[n]);
    sxt_device_close(&device);
    cr_assert_null(strstr(messages.text, "still has"), "%s", messages.text); // no buffer outlives its stream
}

TestSuite(scratch, .init = setup, .fini = teardown);

static void run(uint32_t job, uint64_t scratch_bytes) {
    static sxt_plan plan;
    sxt_copy_job_plan(&jobs[job], scratch_bytes, &plan);
    cr_assert_eq(sxt_vulkan_stream_run(stream, &plan), SXT_OK, "%s", messages.text);
}

static void finish(void) {
    uint64_t ticket = 0;
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK);
    cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
}

static void expect_copied(uint32_t job) {
    float rows[SXT_JOB_TOKENS * SXT_JOB_CHANNELS];
    cr_assert_eq(sxt_buffer_read(jobs[job].buffers[2], 0, rows, sizeof rows), SXT_OK);
    for (uint32_t i = 0; i < SXT_JOB_TOKENS * SXT_JOB_CHANNELS; i++)
        cr_assert_eq(rows[i], value(job, i), "job %u, element %u", job, i);
}

// Sizes that grow, shrink and grow again within one recording, and over several.
Test(scratch, grows_within_a_recording_and_keeps_what_was_recorded) {
    static const uint64_t more[JOBS] = {0, 1 << 17, 100, 1 << 20, 1 << 17, 1 << 21};
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t n = 0; n < JOBS; n++)
            memset(jobs[n].buffers[2]->mapped, 0, jobs[n].bytes);
        for (uint32_t n = 0; n < JOBS; n++) {
            run(n, jobs[n].bytes + more[n]);
            if (round == 1) finish();
        }
        finish();
        for (uint32_t n = 0; n < JOBS; n++)
            expect_copied(n);
    }
}

// The second dispatch reads what the first wrote; the next plan writes what the second read.
Test(scratch, shared_by_plans_is_ordered_by_barriers) {
    sxt_test_count_barriers(device);
    run(0, jobs[0].bytes);
    cr_expect_eq(sxt_test_barriers, 2, "the one at the beginning, and one between the dispatches: %u",
                 sxt_test_barriers);
    run(1, jobs[1].bytes);
    cr_expect_eq(sxt_test_barriers, 4, "another plan uses the same memory: %u", sxt_test_barriers);
    run(2, jobs[2].bytes + (1 << 20));
    cr_expect_eq(sxt_test_barriers, 5, "new memory needs one between its dispatches alone: %u", sxt_test_barriers);
    finish();
    for (uint32_t n = 0; n < 3; n++)
        expect_copied(n);
}

Test(scratch, of_a_recording_given_up_is_not_lost) {
    run(0, jobs[0].bytes);
    run(1, jobs[1].bytes + (1 << 20));
    sxt_stream_reset(stream);
    run(2, jobs[2].bytes + (1 << 18));
    finish();
    expect_copied(2);
}

// With scratch memory prepared, the first recording allocates no buffer.
Test(scratch, is_taken_ahead_of_time_by_prepare) {
    static sxt_plan plan;
    sxt_copy_job_plan(&jobs[0], 1 << 20, &plan);
    cr_assert_eq(sxt_vulkan_prepare(device, &plan), SXT_OK);
    const unsigned before = atomic_load(&sxt_vulkan_device_of(device)->live_buffers);
    run(0, 1 << 20);
    run(1, jobs[1].bytes);
    const bool by_address = plan.dispatches[0].by_address; // whose addresses are a buffer of the recording's own
    cr_expect_eq(atomic_load(&sxt_vulkan_device_of(device)->live_buffers), before + by_address);
    finish();
    expect_copied(0);
    expect_copied(1);
}

// No memory for more: the call fails, and what was recorded before runs as if nothing had been.
Test(scratch, too_large_leaves_the_recording_as_it_was) {
    static sxt_plan plan;
    run(0, jobs[0].bytes);
    sxt_copy_job_plan(&jobs[1], jobs[1].bytes, &plan);
    plan.scratch_bytes = UINT64_C(1) << 60;
    cr_expect_eq(sxt_vulkan_stream_run(stream, &plan), SXT_ERROR_OUT_OF_MEMORY);
    run(2, jobs[2].bytes);
    finish();
    expect_copied(0);
    expect_copied(2);
}
