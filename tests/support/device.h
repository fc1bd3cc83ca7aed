// The device under test, as the environment names it, and how much of it to test.
//
//   SEXTANT_TEST_DEVICE   what to open, as in sxt_device_params.select: "reference", or part of a name. Unset: the best
//   SEXTANT_TEST_DISABLE  capabilities to do without, as in sxt_device_params.disable
//   SEXTANT_TEST_LIMITS   set to anything but "": act as if the device's numbers were no better than the baseline's,
//                         and as if it took but 13 workgroups along x
//   SEXTANT_TEST_SEED     the first seed of random cases; every failure prints the seed of its case
//   SEXTANT_TEST_CASES    how many random cases each test runs, instead of its own number
//   SEXTANT_TEST_PERCENT  or: that much of its own number
//   SEXTANT_TEST_QUICK    set to anything but "": a tenth, for sanitizers
#ifndef SXT_TESTS_SUPPORT_DEVICE_H
#define SXT_TESTS_SUPPORT_DEVICE_H

#include "sextant/sextant.h"

// Messages of a device, the last few kilobytes of them.
typedef struct sxt_test_log {
    char text[4096];
    size_t length;
    uint32_t errors;     // messages of level ERROR
    uint32_t validation; // messages of a validation layer, of any level
} sxt_test_log;

// A sxt_log_fn; `user` is a sxt_test_log, which no other thread uses.
void sxt_test_log_append(void *user, sxt_log_level level, const char *message);

// Opens the device under test. Fails the test if it is not there: that a driver is missing is known, and said, before
// a test starts (tests/on_driver.sh). `log` must outlive the device.
sxt_device *sxt_test_open(sxt_test_log *log);

// The kernel of attention that the device under test is asked for where it has it: $SEXTANT_TEST_KERNEL.
sxt_attention_kernel sxt_test_kernel(void);

// Opens the reference.
sxt_device *sxt_test_open_reference(sxt_test_log *log);

// Whether the device under test is the reference itself.
bool sxt_test_is_reference(const sxt_device *device);

uint64_t sxt_test_first_seed(void);

// How many random cases to run where a test by itself would run `count`. Never 0.
uint32_t sxt_test_cases(uint32_t count);

#endif
