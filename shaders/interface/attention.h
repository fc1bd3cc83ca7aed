// Attention: what the plan hands to its kernels.
//
// Query rows are packed: row r of a KV head is query token r / group of query head kv_head·group + r mod group, so that
// the heads which share keys and values share the work of reading them.
#ifndef SXT_INTERFACE_ATTENTION_H
#define SXT_INTERFACE_ATTENTION_H

#include "interface/common.h"

// All indices, strides and bases count elements of the tensor's type. Zeroed: no tiles, nothing is read or written.
struct sxt_attention_push {
    SXT_U32 q_tokens, k_tokens;
    SXT_U32 kv_heads, group; // group: query heads per KV head
    SXT_U32 tiles;           // workgroups with work: row tiles · kv_heads · batch
    SXT_U32 flags;           // SXT_ATTENTION_HAS_* and so on
    SXT_U32 dims;            // d/4 | d_v/4 << 8 | types
    SXT_U32 bases_main;      // first element (q8_0: block) in the bound range: q | k << 8 | v << 16 | o << 24
    SXT_U32 bases_extra;     // lse | bias << 8 | sinks << 16 | alibi << 24
    SXT_U32 q_stride[3];     // batch, token, head
    SXT_U32 k_stride[3];
    SXT_U32 v_stride[3];
    SXT_U32 o_stride[3];
    SXT_U32 lse_stride[3];
    SXT_U32 bias_stride[3];    // batch, query head, query token
    SXT_I32 window_left;       // query i sees keys i + Tk − Tq − left … i + Tk − Tq + right; open: SXT_ATTENTION_OPEN
    SXT_I32 window_right;      // causal: 0
    SXT_F32 q_scale;           // q is multiplied by this: scale, or with softcap scale/cap
    SXT_F32 softcap;
};
SXT_ASSERT_PUSH(sxt_attention_push, 124);

// A window as wide as any context; the sum with a token index stays inside 32 bits.
#define SXT_ATTENTION_OPEN 0x3fffffff
#define SXT_ATTENTION_MAX_TOKENS 0x3fffffff

// Types (SXT_STORE_*) in push.dims, 2 bits each.
#define SXT_ATTENTION_Q_TYPE_SHIFT 16
#define SXT_ATTENTION_K_TYPE_SHIFT 18
#define SXT_ATTENTION_V_TYPE_SHIFT 20
#define SXT_ATTENTION_O_TYPE_SHIFT 22
#define SXT_ATTENTION_BIAS_TYPE_SHIFT 24

#define SXT_ATTENTION_HAS_LSE 0x01
#define SXT_ATTENTION_HAS_BIAS 0x02
#define SXT_ATTENTION_HAS_SINKS 0x04
#define SXT_ATTENTION_HAS_ALIBI 0x08
#define SXT_ATTENTION_HAS_SOFTCAP 0x10
#define SXT_ATTENTION_Q_ALIGNED 0x20 // rows start at multiples of 4 elements
#define SXT_ATTENTION_O_ALIGNED 0x40

// Bindings.
#define SXT_ATTENTION_Q 0
#define SXT_ATTENTION_K 1
#define SXT_ATTENTION_V 2
#define SXT_ATTENTION_O 3
#define SXT_ATTENTION_LSE 4
#define SXT_ATTENTION_BIAS 5
#define SXT_ATTENTION_SINKS 6
#define SXT_ATTENTION_ALIBI 7
#define SXT_ATTENTION_BINDINGS 8

// Specialisation constants.
#define SXT_ATTENTION_SPEC_K_TYPE 0 // SXT_STORE_*, or ANY_TYPE: push.dims tells, and nothing is aligned
#define SXT_ATTENTION_SPEC_V_TYPE 1
#define SXT_ATTENTION_SPEC_K_ALIGNED 2
#define SXT_ATTENTION_SPEC_V_ALIGNED 3
#define SXT_ATTENTION_SPEC_FEATURES 4 // bias, ALiBi or softcap may be there
#define SXT_ATTENTION_SPEC_HEAD 5     // channels of a head, padded: 32, 64, 128 or 256
#define SXT_ATTENTION_SPEC_ROWS 6
#define SXT_ATTENTION_SPEC_KEYS 7
#define SXT_ATTENTION_SPEC_LANES 8 // attention_software alone: the subgroup's size
#define SXT_ATTENTION_SPEC_COUNT 9

#define SXT_ATTENTION_ANY_TYPE 8

// The tile kernel's workgroup: 8 groups of 16 threads for the scores.
#define SXT_ATTENTION_THREADS 128
#define SXT_ATTENTION_LANES 16
#define SXT_ATTENTION_ROW_GROUPS 8
#define SXT_ATTENTION_CHUNK 8 // channels/4 of K that are staged at a time

#endif
