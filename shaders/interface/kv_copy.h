// kv_copy: its specialisation constants and push constants.
#ifndef SXT_INTERFACE_KV_COPY_H
#define SXT_INTERFACE_KV_COPY_H

#include "interface/view.h"

#define SXT_COPY_SPEC_GROUP 0 // invocations of a workgroup
#define SXT_COPY_SPEC_SHIFT 1 // what is moved at a time: 2^shift bytes, 0 to 4
#define SXT_COPY_SPEC_FLAT 2  // a row's heads are one run of pieces: heads is 1
#define SXT_COPY_SPEC_COUNT 3

#define SXT_COPY_BINDING_K_FROM 0
#define SXT_COPY_BINDING_K_TO 1
#define SXT_COPY_BINDING_V_FROM 2
#define SXT_COPY_BINDING_V_TO 3
#define SXT_COPY_BINDING_FROM 4
#define SXT_COPY_BINDING_TO 5
#define SXT_COPY_BINDING_FAULTS 6

// Bases, strides (batch, row, head) and pieces count 2^shift bytes. A workgroup copies one row, k or v, of one move.
struct sxt_kv_copy_push {
    sxt_view k_from, k_to, v_from, v_to;
    SXT_U32 from_base, to_base;
    SXT_U32 groups;              // moves · rows of a move · (2 with v)
    SXT_U32 k_groups;            // of them, those of k
    SXT_U32 move_rows;           // of a move: 1, or those of a page
    SXT_U32 from_rows, to_rows;  // of a batch or page
    SXT_U32 from_count, to_count; // rows, or pages, that there are
    SXT_U32 heads;
    SXT_U32 k_pieces, v_pieces;  // of a head
};
SXT_ASSERT_PUSH(sxt_kv_copy_push, 112);

#endif
