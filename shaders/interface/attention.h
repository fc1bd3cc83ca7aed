// Attention: what the plan hands to its kernels.
//
// Query rows are packed: row r of a KV head is query token r / group of query head kv_head·group + r mod group, so that
// the heads which share keys and values share the work of reading them. A tile is ROWS packed rows of one KV head of
// one sequence; tiles are numbered (row tile, sequence, KV head), each kernel in its own order, by the longest
// sequence.
#ifndef SXT_INTERFACE_ATTENTION_H
#define SXT_INTERFACE_ATTENTION_H

#include "interface/common.h"

// All indices, strides and bases count elements of the tensor's type. Zeroed: no tiles, nothing is read or written.
struct sxt_attention_push {
    SXT_U32 part;               // see part_tile in lib/attention_place.glsl
    SXT_U32 q_tokens, k_tokens; // of the longest sequence that there may be
    SXT_U32 kv_heads, group;    // group: query heads per KV head
    SXT_U32 tiles;              // of all parts: row tiles · kv_heads · sequences
    SXT_U32 flags;              // SXT_ATTENTION_HAS_* and so on
    SXT_U32 dims;               // d/4 | d_v/4 << 8 | types
    SXT_U32 bases_main;         // first element (of blocks: block) in the bound range: q | k << 8 | v << 16 | o << 24
    SXT_U32 bases_extra;        // lse | bias << 8 | sinks << 16 | alibi << 24
    SXT_U32 q_stride[3];        // batch, token, head
    SXT_U32 k_stride[3];        // of pages: page, row, head
    SXT_U32 v_stride[3];
    SXT_U32 o_stride[3];
    SXT_U32 lse_stride[3];
    SXT_U32 bias_stride[3];    // sequence, query head, query token
    SXT_I32 window_left;       // query i sees keys i + Tk − Tq − left … i + Tk − Tq + right; open: SXT_ATTENTION_OPEN
    SXT_I32 window_right;      // causal: 0
    SXT_F32 q_scale;           // q is multiplied by this: scale, or with softcap scale/cap
    SXT_F32 softcap;
};
SXT_ASSERT_PUSH(sxt_attention_push, 128);

// What push constants have no room for, and does not change from call to call of a layer. Scalars alone (std140).
struct sxt_attention_params {
    SXT_U32 part_tiles;         // tiles of a part
    SXT_U32 part_splits;        // and splits of each: all, but where those of one tile alone are too much for a part
    SXT_U32 splits, split_keys; // at most so many splits of a tile's keys, each of so many keys; 1 and 0: not split
    SXT_F32 bound;              // BOUNDED: no logit is larger
    SXT_U32 sequences;
    SXT_U32 q_all, k_all;       // tokens of the tensors, which cu_seqlens must not leave
    SXT_U32 page_rows, pages, table_stride;           // block_table: rows of a page, pages, stride of sequences
    SXT_U32 mask_batch, mask_head, mask_token;        // strides, in words
    SXT_U32 k_scale_head, v_scale_head;               // strides, 0 or 1 (or as the view has it)
    SXT_U32 bases_forms;                              // mask | cu_q << 8 | k_lengths << 16 | block_table << 24
    SXT_U32 bases_scales;                             // k_scale | v_scale << 8
};

// A window as wide as any context; the sum with a token index stays inside 32 bits.
#define SXT_ATTENTION_OPEN 0x3fffffff
#define SXT_ATTENTION_MAX_TOKENS 0x3fffffff

// Types (SXT_STORE_*) in push.dims.
#define SXT_ATTENTION_Q_TYPE_SHIFT 16 // 2 bits
#define SXT_ATTENTION_K_TYPE_SHIFT 18 // 3
#define SXT_ATTENTION_V_TYPE_SHIFT 21 // 3
#define SXT_ATTENTION_O_TYPE_SHIFT 24 // 2
#define SXT_ATTENTION_BIAS_TYPE_SHIFT 26 // 2

#define SXT_ATTENTION_HAS_LSE 0x01
#define SXT_ATTENTION_HAS_BIAS 0x02
#define SXT_ATTENTION_HAS_SINKS 0x04
#define SXT_ATTENTION_HAS_ALIBI 0x08
#define SXT_ATTENTION_HAS_SOFTCAP 0x10
#define SXT_ATTENTION_Q_ALIGNED 0x20 // rows start at multiples of 4 elements
#define SXT_ATTENTION_O_ALIGNED 0x40
#define SXT_ATTENTION_HAS_CU_Q 0x80
#define SXT_ATTENTION_HAS_CU_K 0x100       // K_LENGTHS is cu_seqlens_k
#define SXT_ATTENTION_HAS_KV_LENGTHS 0x200 // K_LENGTHS is kv_lengths
#define SXT_ATTENTION_HAS_K_SCALE 0x400
#define SXT_ATTENTION_HAS_V_SCALE 0x800
#define SXT_ATTENTION_ROWS_OUTER 0x1000 // the order of tiles: see tile_at in lib/attention_place.glsl

// Bindings. Where keys are split, O and LSE are the partial results in scratch memory.
#define SXT_ATTENTION_Q 0
#define SXT_ATTENTION_K 1
#define SXT_ATTENTION_V 2
#define SXT_ATTENTION_O 3
#define SXT_ATTENTION_LSE 4
#define SXT_ATTENTION_BIAS 5
#define SXT_ATTENTION_SINKS 6
#define SXT_ATTENTION_ALIBI 7
#define SXT_ATTENTION_MASK 8
#define SXT_ATTENTION_CU_Q 9
#define SXT_ATTENTION_K_LENGTHS 10
#define SXT_ATTENTION_TABLE 11
#define SXT_ATTENTION_K_SCALE 12
#define SXT_ATTENTION_V_SCALE 13
#define SXT_ATTENTION_FAULTS 14
#define SXT_ATTENTION_BINDINGS 15

// Specialisation constants that all kernels have.
#define SXT_ATTENTION_SPEC_K_TYPE 0 // SXT_STORE_*, or ANY_TYPE: push.dims tells, and nothing is aligned
#define SXT_ATTENTION_SPEC_V_TYPE 1
#define SXT_ATTENTION_SPEC_K_ALIGNED 2
#define SXT_ATTENTION_SPEC_V_ALIGNED 3
#define SXT_ATTENTION_SPEC_FEATURES 4 // bias, ALiBi or softcap may be there
#define SXT_ATTENTION_SPEC_HEAD 5     // channels of K, padded
#define SXT_ATTENTION_SPEC_ROWS 6     // of a tile
#define SXT_ATTENTION_SPEC_KEYS 7     // taken at a time
#define SXT_ATTENTION_SPEC_LANES 8    // kernels of one subgroup: its size
#define SXT_ATTENTION_SPEC_FORMS 9    // SXT_ATTENTION_FORM_*
#define SXT_ATTENTION_SPEC_SPLIT 10   // keys are split, and results are partial
#define SXT_ATTENTION_SPEC_BOUNDED 11 // logits are within params.bound: no running maximum
#define SXT_ATTENTION_SPEC_V_HEAD 12  // channels of V, padded
#define SXT_ATTENTION_SPEC_COUNT 13   // a kernel's own come after

#define SXT_ATTENTION_ANY_TYPE 8

#define SXT_ATTENTION_FORM_SEQUENCES 1 // kv_lengths or cu_seqlens
#define SXT_ATTENTION_FORM_PAGES 2     // block_table
#define SXT_ATTENTION_FORM_MASK 4      // of bits

// The tile kernel's own specialisation constants.
#define SXT_ATTENTION_SPEC_OUT_ROWS 13  // rows of the output that a thread has
#define SXT_ATTENTION_SPEC_OUT_QUADS 14 // of each of them, quads
#define SXT_ATTENTION_SPEC_WHOLE_Q 15   // Q is staged as a whole, not with each chunk of K
#define SXT_ATTENTION_SPEC_TILE_VALUES 16 // keys whose values are on their way at once: a multiple of 4
#define SXT_ATTENTION_TILE_SPEC_COUNT 17

// Its workgroup: 8 groups of 16 threads for the scores.
#define SXT_ATTENTION_THREADS 128
#define SXT_ATTENTION_LANES 16
#define SXT_ATTENTION_ROW_GROUPS 8
#define SXT_ATTENTION_CHUNK 8 // channels/4 of K that are staged at a time

// A partial result is a row of d_v f32 of O, normalised, and an f32 of LSE: row ((tile − first of the part) · splits +
// split) · ROWS + row of the tile. Splits meet at multiples of split_keys; a tile's are counted from the one that has
// the first key that its first row sees, and those past the last key that its last row sees do not exist, and are not
// written.

#endif
