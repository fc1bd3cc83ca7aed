// Counts the barriers that a device records from now on, by its table of functions. For one device and one thread.
#ifndef SXT_TESTS_SUPPORT_BARRIERS_H
#define SXT_TESTS_SUPPORT_BARRIERS_H

#include "sextant/sextant.h"

extern uint32_t sxt_test_barriers;

void sxt_test_count_barriers(sxt_device *device);

#endif
