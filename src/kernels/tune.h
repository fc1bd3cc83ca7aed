// sxt_tune on a device that runs; and with a hand in the plans, for tests of what it must reject.
#ifndef SXT_KERNELS_TUNE_H
#define SXT_KERNELS_TUNE_H

#include "kernels/kernels.h"

// Changes the plan of candidate `number`, from 0; NULL: none.
typedef void (*sxt_tune_alter_fn)(void *user, uint32_t number, sxt_plan *plan);

sxt_result sxt_tune_through(sxt_device *device, const sxt_attention_desc *desc, sxt_tune_alter_fn alter, void *user,
                            sxt_tuning *out_tuning);

// What calls must have in common for a choice to hold for all of them, as a number.
uint64_t sxt_tune_key(const sxt_attention_desc *desc);

// The backend's `tune`; `desc` is resolved.
sxt_result sxt_plan_tune(sxt_device *device, sxt_op op, const void *desc, sxt_tuning *out_tuning);

// Makes the plan by the kernel and tile that were found for such a call; false if none were, or the call does not let them.
bool sxt_tune_plan(const sxt_device *device, const sxt_attention_desc *desc, sxt_plan *out_plan);

#endif
