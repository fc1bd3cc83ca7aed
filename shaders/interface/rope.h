// Rotation: the table that rope and qk_norm_rope share, and what rope's plan hands to its kernel.
//
// Channels of a head are dealt with in *units* of eight: first those of the rotary range, four pairs a unit, then the
// others.
#ifndef SXT_INTERFACE_ROPE_H
#define SXT_INTERFACE_ROPE_H

#include "interface/view.h"

#define SXT_UNIT_CHANNELS 8
#define SXT_UNIT_PAIRS 4

// The table: this header, then one sxt_rope_unit for each unit of the rotary range.
struct sxt_rope_header {
    SXT_U32 rotary_dim, rotary_offset;
    SXT_F32 magnitude;
    SXT_F32 eps, offset; // qk_norm_rope's norm: constants of a layer that have no room among the push constants
    SXT_U32 unused[3];   // units start at a multiple of 16 bytes
};

// For each of four pairs: turns per position without whole turns, in 64-bit fixed point, and the position plane.
// Pairs past the end have zeros.
struct sxt_rope_unit {
    SXT_U32X4(lo);
    SXT_U32X4(hi);
    SXT_U32X4(axis);
};

// Where the position of a token stands: base + axis·plane + b·batch + t.
struct sxt_positions {
    SXT_U32 base, plane, batch;
};
#ifndef VULKAN
typedef struct sxt_positions sxt_positions;
#endif

#define SXT_ROPE_SPEC_GROUP 0       // invocations of a workgroup
#define SXT_ROPE_SPEC_ALIGNED 1     // every quad of a unit starts at a multiple of four elements, and is whole
#define SXT_ROPE_SPEC_INTERLEAVED 2 // the values of sxt_rope_pairing
#define SXT_ROPE_SPEC_WHOLE 3       // the rotary range is the whole head
#define SXT_ROPE_SPEC_MULTI 4       // pairs may follow other planes of positions than the first
#define SXT_ROPE_SPEC_X_TYPE 5
#define SXT_ROPE_SPEC_Y_TYPE 6
#define SXT_ROPE_SPEC_COUNT 7

#define SXT_ROPE_BINDING_X 0
#define SXT_ROPE_BINDING_Y 1
#define SXT_ROPE_BINDING_POSITIONS 2
#define SXT_ROPE_BINDING_TABLE 3

struct sxt_rope_push {
    sxt_view x, y;
    sxt_positions positions;
    SXT_U32 rows; // batch · tokens
    SXT_U32 tokens, heads, channels;
    SXT_U32 units; // of a head; without those outside the rotary range if y is x
};
SXT_ASSERT_PUSH(sxt_rope_push, 64);

#endif
