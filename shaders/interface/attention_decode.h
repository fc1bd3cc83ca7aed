// Attention of few queries, its keys cut into splits: what its two kernels have beside interface/attention.h.
//
// Both get the push constants of sxt_attention_push, whose `tiles` is the number of splits here. The keys that some
// query sees are cut into contiguous shares, equal but for the last. Partial result n of a row, of its split n, is row
// ((batch · kv_heads + kv_head) · splits + n) · packed rows + packed row of two arrays in scratch memory.
#ifndef SXT_INTERFACE_ATTENTION_DECODE_H
#define SXT_INTERFACE_ATTENTION_DECODE_H

#include "interface/attention.h"

// Bindings after those of attention.
#define SXT_ATTENTION_PARTIAL_O 8     // f32, d_v channels a row: Σ e^(s − maximum)·v
#define SXT_ATTENTION_PARTIAL_STATS 9 // f32: maximum, Σ e^(s − maximum), two words of no meaning
#define SXT_ATTENTION_STATS_BYTES 16

// Specialisation constants after those of attention.
#define SXT_ATTENTION_SPEC_FULL 9    // K and V have as many channels as HEAD
#define SXT_ATTENTION_SPEC_TOKENS 10 // rows of several query tokens, which may see different keys
#define SXT_ATTENTION_SPEC_DECODE_COUNT 11

#endif
