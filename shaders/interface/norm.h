// norm: its specialisation constants and push constants.
#ifndef SXT_INTERFACE_NORM_H
#define SXT_INTERFACE_NORM_H

#include "interface/view.h"

// The values of sxt_norm_kind.
#define SXT_KIND_RMS 0
#define SXT_KIND_LAYER 1
#define SXT_KIND_L2 2
#define SXT_KIND_NONE 3

#define SXT_NORM_SPEC_GROUP 0    // invocations of a workgroup
#define SXT_NORM_SPEC_LANES 1    // invocations that share a row
#define SXT_NORM_SPEC_KIND 2
#define SXT_NORM_SPEC_ALIGNED 3  // every row starts at a multiple of four elements, and has a multiple of four channels
#define SXT_NORM_SPEC_X_TYPE 4   // types: SXT_STORE_*, NONE where there is no such tensor
#define SXT_NORM_SPEC_Y_TYPE 5
#define SXT_NORM_SPEC_WEIGHT_TYPE 6
#define SXT_NORM_SPEC_BIAS_TYPE 7
#define SXT_NORM_SPEC_RESIDUAL_TYPE 8
#define SXT_NORM_SPEC_RESIDUAL_OUT_TYPE 9
#define SXT_NORM_SPEC_WEIGHT_ONE 10 // one weight for all channels of a row
#define SXT_NORM_SPEC_BIAS_ONE 11
#define SXT_NORM_SPEC_HELD_QUADS 12 // of a row, at most, that an invocation keeps in registers: all it has; 0: none
#define SXT_NORM_SPEC_COUNT 13
// Only of norm_software, which has GROUP = LANES.
#define SXT_NORM_SPEC_ROWS 13   // rows taken together
#define SXT_NORM_SPEC_STEPS 14  // pieces of a row that a lane takes at a time
#define SXT_NORM_SPEC_HELD 15   // that is all pieces of a row
#define SXT_NORM_SPEC_FULL 16   // channels are a multiple of what a subgroup takes at a time
#define SXT_NORM_SPEC_SHARED 17 // all rows have the same weight and bias
#define SXT_NORM_SPEC_FLAT 18   // rows are a multiple of one stride apart: of heads
#define SXT_NORM_SPEC_SOFTWARE_COUNT 19

#define SXT_NORM_BINDING_X 0
#define SXT_NORM_BINDING_Y 1
#define SXT_NORM_BINDING_WEIGHT 2
#define SXT_NORM_BINDING_BIAS 3
#define SXT_NORM_BINDING_RESIDUAL 4
#define SXT_NORM_BINDING_RESIDUAL_OUT 5

struct sxt_norm_push {
    sxt_view x, y, weight, bias, residual, residual_out;
    SXT_U32 rows; // batch · tokens · heads
    SXT_U32 tokens, heads, channels;
    SXT_F32 eps, offset;
};
SXT_ASSERT_PUSH(sxt_norm_push, 120);

#endif
