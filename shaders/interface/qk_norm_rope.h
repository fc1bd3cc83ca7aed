// qk_norm_rope: its specialisation constants and push constants. The heads of a token are numbered q first, then k.
#ifndef SXT_INTERFACE_QK_NORM_ROPE_H
#define SXT_INTERFACE_QK_NORM_ROPE_H

#include "interface/norm.h"
#include "interface/rope.h"

#define SXT_QK_SPEC_GROUP 0   // invocations of a workgroup
#define SXT_QK_SPEC_LANES 1   // invocations that share a head
#define SXT_QK_SPEC_UNITS 2   // units of channels a lane holds
#define SXT_QK_SPEC_KIND 3
#define SXT_QK_SPEC_ALIGNED 4 // every quad of a unit starts at a multiple of four elements, and is whole
#define SXT_QK_SPEC_INTERLEAVED 5
#define SXT_QK_SPEC_WHOLE 6 // the rotary range is the whole head
#define SXT_QK_SPEC_MULTI 7 // pairs may follow other planes of positions than the first
#define SXT_QK_SPEC_Q_TYPE 8 // types: SXT_STORE_*, NONE where there is no such tensor
#define SXT_QK_SPEC_Q_OUT_TYPE 9
#define SXT_QK_SPEC_K_TYPE 10
#define SXT_QK_SPEC_K_OUT_TYPE 11
#define SXT_QK_SPEC_Q_WEIGHT_TYPE 12
#define SXT_QK_SPEC_K_WEIGHT_TYPE 13
#define SXT_QK_SPEC_Q_WEIGHT_ONE 14 // one weight for all channels of a head
#define SXT_QK_SPEC_K_WEIGHT_ONE 15
#define SXT_QK_SPEC_COUNT 16

#define SXT_QK_BINDING_Q 0
#define SXT_QK_BINDING_Q_OUT 1
#define SXT_QK_BINDING_K 2
#define SXT_QK_BINDING_K_OUT 3
#define SXT_QK_BINDING_Q_WEIGHT 4
#define SXT_QK_BINDING_K_WEIGHT 5
#define SXT_QK_BINDING_POSITIONS 6
#define SXT_QK_BINDING_TABLE 7

struct sxt_qk_norm_rope_push {
    sxt_view q, q_out, k, k_out, q_weight, k_weight;
    sxt_positions positions;
    SXT_U32 rows; // batch · tokens
    SXT_U32 tokens;
    SXT_U32 q_heads, heads; // heads: of q and k together
    SXT_U32 channels;
};
SXT_ASSERT_PUSH(sxt_qk_norm_rope_push, 128);

#endif
