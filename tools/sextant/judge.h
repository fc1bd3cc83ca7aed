// Judges one stage of what a rig computed: the part of a check that knows operations and elements.
#ifndef SXT_TOOL_JUDGE_H
#define SXT_TOOL_JUDGE_H

#include "check.h"

// Adds a line for each output of a stage. `data`: what the device has in all slots. `condition`: see bound.h.
sxt_result sxt_judge_stage(const sxt_session *reference, const sxt_work *work, int stage,
                           void *const data[SXT_MAX_SLOTS], double condition, sxt_check *check);

// ── What check.c lends ──

// Adds a line; counts it in the check's totals, once it is complete.
sxt_check_line *sxt_check_add(sxt_check *check, const char *slot, const char *against, double error, double limit);
void sxt_check_count(sxt_check *check, const sxt_check_line *line);

// Runs work on the reference and reads all of it.
sxt_result sxt_check_reference(const sxt_session *reference, const sxt_work *work, void *out_data[SXT_MAX_SLOTS]);

#endif
