// The table that rope and qk_norm_rope bind: a frequency for each pair, and the constants of
// shaders/interface/rope.h's header.
#ifndef SXT_KERNELS_ROPE_TABLE_H
#define SXT_KERNELS_ROPE_TABLE_H

#include "interface/rope.h"
#include "kernels/kernels.h"

// Sets the table's size and key. The caller sets `fill` and `context`. eps and offset are 0 for rope alone.
void sxt_rope_table_plan(const sxt_rope_params *rope, float eps, float offset, sxt_table *out_table);

void sxt_rope_table_fill(const sxt_rope_params *rope, float eps, float offset, void *out_data);

// Units of eight channels in the rotary range, and in the rest of a head.
uint32_t sxt_rope_rotary_units(const sxt_rope_params *rope);
uint32_t sxt_rope_other_units(const sxt_rope_params *rope, uint32_t channels);

// Every unit of an aligned row consists of whole, aligned quads.
bool sxt_rope_quads(const sxt_rope_params *rope, uint32_t channels);

// Binds positions.
sxt_result sxt_rope_bind_positions(const sxt_caps *caps, const sxt_tensor *positions, sxt_dispatch *dispatch,
                                   sxt_positions *out_positions);

#endif
