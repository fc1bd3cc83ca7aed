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

// Fills in kernel and tile that were found for such a call, if they were, and nothing speaks against it.
void sxt_tune_apply(const sxt_device *device, sxt_attention_desc *desc);

#endif
