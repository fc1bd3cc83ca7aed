// Every Vulkan call that the runtime makes, each time it makes it, may fail in every way it may: nothing crashes, nothing
// leaks (under a sanitizer), and the device is usable again after a fault that passes.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "support/copy_job.h"
#include "support/fake_loader.h"

static const VkResult results[] = {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST,
                                   VK_ERROR_UNKNOWN};

typedef struct tally {
    uint32_t cases, opened, lost;
} tally;

static sxt_result open_device(sxt_device **out_device) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/sextant-faults-%d", (int)getpid());
    const sxt_device_params params = {.cache_path = path}; // so that the cache's calls are among those that fail
    const sxt_result result =
        sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_backend, &params, 0, out_device);
    remove(path);
    return result;
}

static void run_case(sxt_fake_call call, uint32_t at, VkResult fault, bool for_good, bool staged, tally *count) {
    char text[128];
    snprintf(text, sizeof text, "%s, call %u, %s%s", sxt_test_fake_name(call), at, sxt_vulkan_result_name(fault),
             for_good ? ", for good" : "");
    sxt_test_fake_reset();
    sxt_test_fake.fail_call = call;
    sxt_test_fake.fail_at = at;
    sxt_test_fake.fail_result = fault;
    sxt_test_fake.for_good = for_good;
    sxt_device *device = NULL;
    count->cases++;
    if (open_device(&device) != SXT_OK) {
        cr_assert_null(device, "%s", text);
        return;
    }
    count->opened++;
    const sxt_result first = sxt_copy_job_use_device(device, staged);
    if (first != SXT_OK) cr_assert(sxt_test_fake.fired, "%s: an error without a fault", text);
    // Work that is done before it is waited for saves a call, so that a fault may be left for the next time.
    if (!sxt_test_fake.fired) sxt_copy_job_use_device(device, staged);
    const bool lost = atomic_load(&sxt_vulkan_device_of(device)->lost);
    const sxt_result second = sxt_copy_job_use_device(device, staged);
    count->lost += lost;
    if (lost)
        cr_assert_eq(second, SXT_ERROR_DEVICE_LOST, "%s: the loss is not sticky", text);
    else if (!for_good)
        cr_assert_eq(second, SXT_OK, "%s: not usable after it: %s", text, sxt_result_name(second));
    sxt_device_close(&device);
}

static void run_all(bool staged) {
    sxt_device *device;
    sxt_test_fake_reset();
    cr_assert_eq(open_device(&device), SXT_OK);
    cr_assert_eq(sxt_copy_job_use_device(device, staged), SXT_OK);
    sxt_device_close(&device);
    uint32_t calls[SXT_FAKE_COUNT];
    memcpy(calls, sxt_test_fake.calls, sizeof calls);

    // In quick runs some of the cases, others for each call.
    const char *quick = getenv("SEXTANT_TEST_QUICK");
    const uint32_t step = quick != NULL && quick[0] != '\0' ? 7 : 1;
    uint32_t number = 0;
    tally count = {0};
    for (sxt_fake_call call = 0; call < SXT_FAKE_COUNT; call++)
        for (uint32_t at = 1; at <= calls[call]; at++)
            for (uint32_t i = 0; i < sizeof results / sizeof results[0]; i++)
                for (int for_good = 0; for_good < 2; for_good++)
                    if (number++ % step == 0) run_case(call, at, results[i], for_good, staged, &count);
    fprintf(stderr, "%u faults%s: the device opened in %u, and was lost in %u\n", count.cases,
            staged ? ", staged copies" : "", count.opened, count.lost);
    cr_assert_gt(count.opened, count.cases / 2);
    cr_assert_gt(count.lost, count.cases / 20);
}

Test(faults, no_fault_of_any_call_crashes_or_lasts) {
    run_all(false);
}

Test(faults, nor_with_copies_through_staging_memory) {
    run_all(true);
}
