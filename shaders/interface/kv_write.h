// kv_write: its specialisation constants and push constants.
#ifndef SXT_INTERFACE_KV_WRITE_H
#define SXT_INTERFACE_KV_WRITE_H

#include "interface/view.h"

#define SXT_KV_SPEC_GROUP 0   // invocations of a workgroup
#define SXT_KV_SPEC_ALIGNED 1 // every row starts at a multiple of four elements, and has a multiple of four channels
#define SXT_KV_SPEC_K_TYPE 2  // types: SXT_STORE_*, NONE where there is no such tensor
#define SXT_KV_SPEC_K_CACHE_TYPE 3
#define SXT_KV_SPEC_V_TYPE 4
#define SXT_KV_SPEC_V_CACHE_TYPE 5
#define SXT_KV_SPEC_SLOTS 6   // rows come from slots, not from first_row
#define SXT_KV_SPEC_COUNT 7

#define SXT_KV_BINDING_K 0
#define SXT_KV_BINDING_K_CACHE 1
#define SXT_KV_BINDING_V 2
#define SXT_KV_BINDING_V_CACHE 3
#define SXT_KV_BINDING_SLOTS 4

// Workgroups below k_groups write keys, those from there on values.
struct sxt_kv_write_push {
    sxt_view k, k_cache, v, v_cache;
    SXT_U32 slots_base, slots_batch;
    SXT_U32 first_row;
    SXT_U32 k_cache_rows, v_cache_rows; // rows from here on are dropped
    SXT_U32 rows;                       // batch · tokens · heads
    SXT_U32 tokens, heads;
    SXT_U32 k_quads, v_quads; // fours of channels in a row, the last one perhaps not full
    SXT_U32 k_channels, v_channels;
    SXT_U32 k_groups;
};
SXT_ASSERT_PUSH(sxt_kv_write_push, 116);

#endif
