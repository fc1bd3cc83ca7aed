// Attention on matrix units: what its kernel has beside interface/attention.h.
#ifndef SXT_INTERFACE_ATTENTION_MATRIX_H
#define SXT_INTERFACE_ATTENTION_MATRIX_H

#include "interface/attention.h"

// Specialisation constants after those of attention.
#define SXT_ATTENTION_SPEC_THREADS 13    // LANES · ROW_GROUPS · COLUMN_GROUPS
#define SXT_ATTENTION_SPEC_MATRIX_M 14   // the device's matrix product: M×K · K×N (unused by attention_matrix2.comp)
#define SXT_ATTENTION_SPEC_MATRIX_N 15
#define SXT_ATTENTION_SPEC_MATRIX_K 16
#define SXT_ATTENTION_SPEC_ROW_GROUPS 17 // subgroups that share a tile's rows …
#define SXT_ATTENTION_SPEC_COLUMN_GROUPS 18 // … and the keys and channels of each
#define SXT_ATTENTION_SPEC_HELD_Q 19     // queries stay in registers
#define SXT_ATTENTION_SPEC_TOGETHER 20   // all subgroups go the same way, whatever their rows want
#define SXT_ATTENTION_SPEC_TURNED_V 21   // values lie in shared memory with keys innermost
#define SXT_ATTENTION_SPEC_WIDE_K 22     // rows start at multiples of 8 elements of the products' type
#define SXT_ATTENTION_SPEC_WIDE_V 23
#define SXT_ATTENTION_SPEC_AHEAD 24      // keys and values are fetched while those before are multiplied
#define SXT_ATTENTION_SPEC_K_CHUNK 25    // channels of keys, and of values, that are staged at a time
#define SXT_ATTENTION_SPEC_V_CHUNK 26
#define SXT_ATTENTION_SPEC_ROLLED 27     // short code: loops stay loops
#define SXT_ATTENTION_SPEC_SECOND_LOOK 28 // bounded rows whose weights come out too small are gone through once more
#define SXT_ATTENTION_SPEC_MATRIX_COUNT 29

#endif
