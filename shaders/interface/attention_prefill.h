// Attention of many queries on drivers that run on the CPU: what its kernel has beside interface/attention.h.
//
// Workgroups are few and each goes through a run of tiles, so that scratch memory, a part for each workgroup, does not
// grow with the call.
#ifndef SXT_INTERFACE_ATTENTION_PREFILL_H
#define SXT_INTERFACE_ATTENTION_PREFILL_H

#include "interface/attention.h"

// Binding after those of attention: scratch memory.
#define SXT_ATTENTION_WORK SXT_ATTENTION_BINDINGS

// Specialisation constants after those of attention. K_TYPE and V_TYPE may be ANY_TYPE.
#define SXT_ATTENTION_SPEC_VALUES 13   // values taken at a time
#define SXT_ATTENTION_SPEC_PASSES 14   // the output is summed in so many passes, each for a part of the channels
#define SXT_ATTENTION_SPEC_Q_DIRECT 15 // q is f32
#define SXT_ATTENTION_SPEC_O_DIRECT 16 // o is f32
#define SXT_ATTENTION_SPEC_PREFILL_COUNT 17

// Keys whose scores are held at a time, counted from key 0 on.
#define SXT_ATTENTION_BLOCK 256u
// Keys, or values, that are staged as f32 at a time, of types that the kernel does not multiply as they are.
#define SXT_ATTENTION_STAGE 32u

// A workgroup's scratch memory, in bytes: scores, addresses of the block's keys and values, and a place where keys,
// values, queries and outputs are staged, of rows of at most `channels`, padded.
#define SXT_ATTENTION_SCORE_BYTES(rows) (SXT_ATTENTION_BLOCK * 4u * (rows))
#define SXT_ATTENTION_PLACE_BYTES (SXT_ATTENTION_BLOCK * 16u)
#define SXT_ATTENTION_STAGE_BYTES(rows, channels)                                                                      \
    (((rows) > SXT_ATTENTION_STAGE ? (rows) : SXT_ATTENTION_STAGE) * (channels) * 4u)
#define SXT_ATTENTION_WORK_BYTES(rows, channels)                                                                       \
    (SXT_ATTENTION_SCORE_BYTES(rows) + SXT_ATTENTION_PLACE_BYTES + SXT_ATTENTION_STAGE_BYTES(rows, channels))

#endif
