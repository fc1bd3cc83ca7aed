// attention_merge: its specialisation constants and push constants.
#ifndef SXT_INTERFACE_ATTENTION_MERGE_H
#define SXT_INTERFACE_ATTENTION_MERGE_H

#include "interface/view.h"

#define SXT_MERGE_SPEC_GROUP 0 // invocations of a workgroup
#define SXT_MERGE_SPEC_LANES 1 // of them, those that share a row
#define SXT_MERGE_SPEC_ROWS 2  // rows of a workgroup
#define SXT_MERGE_SPEC_ALIGNED 3 // rows of o_a, o_b and o start at, and have, multiples of four elements
#define SXT_MERGE_SPEC_A_TYPE 4
#define SXT_MERGE_SPEC_B_TYPE 5
#define SXT_MERGE_SPEC_O_TYPE 6
#define SXT_MERGE_SPEC_LSE_TYPE 7 // f32 or NONE
#define SXT_MERGE_SPEC_COUNT 8

#define SXT_MERGE_BINDING_O_A 0
#define SXT_MERGE_BINDING_LSE_A 1
#define SXT_MERGE_BINDING_O_B 2
#define SXT_MERGE_BINDING_LSE_B 3
#define SXT_MERGE_BINDING_O 4
#define SXT_MERGE_BINDING_LSE 5

// Zeroed: no rows, nothing is read or written.
struct sxt_merge_push {
    sxt_view o_a, lse_a, o_b, lse_b, o, lse;
    SXT_U32 rows; // batch · tokens · heads
    SXT_U32 tokens, heads, channels;
};
SXT_ASSERT_PUSH(sxt_merge_push, 112);

#endif
