// The step: what rope, qk_norm_rope, kv_write and kv_shift have in common. Each head of q and k of a token is
// normalised, rotated and written to where it goes: to an output, or to a row of a cache; v is written as it is.
//
// Channels of a head are dealt with in *units* of eight: first those of the rotary range, four pairs a unit, then the
// others. The heads of a token are numbered q first, then k, then v.
#ifndef SXT_INTERFACE_STEP_H
#define SXT_INTERFACE_STEP_H

#include "interface/norm.h"

#define SXT_UNIT_CHANNELS 8
#define SXT_UNIT_PAIRS 4

// ── The table: this header, then one sxt_step_unit for each unit of the rotary range ──

// The constants of a layer that have no room among the push constants. Strides as in sxt_view.
struct sxt_step_header {
    SXT_U32 channels, v_channels; // of a head
    SXT_U32 rotary_dim, rotary_offset;
    SXT_F32 magnitude;            // on rotated channels
    SXT_F32 eps, offset;          // of the norm
    SXT_U32 planes;               // of positions
    SXT_U32 q_weight[3], k_weight[3];
    SXT_U32 cache_rows;       // of a sequence, or of a page
    SXT_U32 cache_pages;      // that there are
    SXT_U32 k_scale, v_scale; // strides of heads
    SXT_U32 unused[2];        // units start at a multiple of 16 bytes
};

// For each of four pairs: turns per position without whole turns, in 64-bit fixed point, and the position plane.
// Pairs past the end have zeros.
struct sxt_step_unit {
    SXT_U32X4(lo);
    SXT_U32X4(hi);
    SXT_U32X4(axis);
};

// ── Push constants ──

// Which byte of push.bases has the first element (of a type with blocks: block) of a tensor in its bound range.
#define SXT_STEP_BASE_Q 0
#define SXT_STEP_BASE_K 1
#define SXT_STEP_BASE_V 2
#define SXT_STEP_BASE_Q_OUT 3
#define SXT_STEP_BASE_K_OUT 4
#define SXT_STEP_BASE_V_OUT 5
#define SXT_STEP_BASE_Q_WEIGHT 6
#define SXT_STEP_BASE_K_WEIGHT 7
#define SXT_STEP_BASE_POSITIONS 8
#define SXT_STEP_BASE_SLOTS 9
#define SXT_STEP_BASE_BLOCK_TABLE 10
#define SXT_STEP_BASE_K_SCALE 11
#define SXT_STEP_BASE_V_SCALE 12

// Strides: batch, token, head. k_out and v_out of a cache: page or batch, row, head. Zeroed: no rows, nothing is touched.
struct sxt_step_push {
    SXT_U32 bases[4];
    SXT_U32 q[3], k[3], v[3], q_out[3], k_out[3], v_out[3];
    SXT_U32 rows; // batch · tokens
    SXT_U32 tokens;
    SXT_U32 positions_plane, positions_batch;
    SXT_U32 slots_batch;
    SXT_U32 first_row;
    SXT_U32 table_pages; // of a sequence in the block table
    SXT_U32 table_batch; // stride of its sequences
    SXT_U32 q_heads, kv_heads;
};
SXT_ASSERT_PUSH(sxt_step_push, 128);

// ── Specialisation constants ──

#define SXT_STEP_SPEC_GROUP 0   // invocations of a workgroup
#define SXT_STEP_SPEC_LANES 1   // invocations that share a head
#define SXT_STEP_SPEC_UNITS 2   // units of channels a lane holds
#define SXT_STEP_SPEC_KIND 3    // of the norm: SXT_KIND_*
#define SXT_STEP_SPEC_NORM_V 4  // v is normalised too
#define SXT_STEP_SPEC_ALIGNED 5 // every quad of a unit starts at a multiple of four elements, and is whole
#define SXT_STEP_SPEC_ROTATION 6 // SXT_ROTATION_*
#define SXT_STEP_SPEC_WHOLE 7   // the rotary range is the whole head
#define SXT_STEP_SPEC_MULTI 8   // pairs may follow other planes of positions than the first
#define SXT_STEP_SPEC_MOVED 9   // rows whose positions are all 0 are left alone
#define SXT_STEP_SPEC_PLACE 10  // SXT_PLACE_*: where v goes, and k if K_PLACED
#define SXT_STEP_SPEC_SLOTS 11  // rows of the cache come from slots, not from first_row
#define SXT_STEP_SPEC_Q_TYPE 12 // types: SXT_STORE_*, NONE where there is no such tensor
#define SXT_STEP_SPEC_K_TYPE 13
#define SXT_STEP_SPEC_V_TYPE 14
#define SXT_STEP_SPEC_Q_OUT_TYPE 15
#define SXT_STEP_SPEC_K_OUT_TYPE 16
#define SXT_STEP_SPEC_V_OUT_TYPE 17
#define SXT_STEP_SPEC_Q_WEIGHT_TYPE 18
#define SXT_STEP_SPEC_K_WEIGHT_TYPE 19
#define SXT_STEP_SPEC_Q_WEIGHT_ONE 20 // one weight for all channels of a head
#define SXT_STEP_SPEC_K_WEIGHT_ONE 21
#define SXT_STEP_SPEC_SCALED 22 // bits: 1 k has a scale a head, 2 v
#define SXT_STEP_SPEC_STAGED 23 // channels of shared memory for each row of blocks that is put together, at least 1
#define SXT_STEP_SPEC_ROTARY_ONLY 24 // in place, and only the rotary range changes: the rest is left alone
#define SXT_STEP_SPEC_K_PLACED 25    // k goes by PLACE, as v does; else as its tokens come
// Of step_software alone:
#define SXT_STEP_SPEC_FULL 26       // units of every head are a multiple of the lanes', and whole
#define SXT_STEP_SPEC_GAINS_ONCE 27 // weights are the same for all heads and tokens
#define SXT_STEP_SPEC_COUNT 28

#define SXT_ROTATION_NONE 0
#define SXT_ROTATION_HALF 1
#define SXT_ROTATION_INTERLEAVED 2

#define SXT_PLACE_TOKEN 0 // batch and token, as they come
#define SXT_PLACE_ROW 1   // a row of the batch's cache
#define SXT_PLACE_PAGE 2  // a row of a page, by the block table

// ── Bindings ──

#define SXT_STEP_BINDING_Q 0
#define SXT_STEP_BINDING_K 1
#define SXT_STEP_BINDING_V 2
#define SXT_STEP_BINDING_Q_OUT 3
#define SXT_STEP_BINDING_K_OUT 4
#define SXT_STEP_BINDING_V_OUT 5
#define SXT_STEP_BINDING_Q_WEIGHT 6
#define SXT_STEP_BINDING_K_WEIGHT 7
#define SXT_STEP_BINDING_POSITIONS 8
#define SXT_STEP_BINDING_SLOTS 9
#define SXT_STEP_BINDING_BLOCK_TABLE 10
#define SXT_STEP_BINDING_K_SCALE 11
#define SXT_STEP_BINDING_V_SCALE 12
#define SXT_STEP_BINDING_TABLE 13
#define SXT_STEP_BINDING_FAULTS 14

#endif
