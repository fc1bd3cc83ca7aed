// What the files that plan attention share.
//
// Each kernel's planner first frames the call, which does not depend on the kernel's shape, then chooses its shape, and
// then lays out the work: tiles, splits, parts, scratch memory and the merge of splits.
#ifndef SXT_KERNELS_ATTENTION_H
#define SXT_KERNELS_ATTENTION_H

#include "core/attention.h"
#include "interface/attention.h"
#include "kernels/kernels.h"

#include <string.h>

// Query heads of a KV head.
static inline uint32_t sxt_attention_group(const sxt_attention_desc *desc) {
    return desc->k.shape[SXT_HEAD] > 0 ? desc->q.shape[SXT_HEAD] / desc->k.shape[SXT_HEAD] : 0;
}

// Packed query rows of one KV head of the longest sequence.
static inline uint64_t sxt_attention_packed_rows(const sxt_attention_desc *desc) {
    return (uint64_t)desc->max_q_tokens * sxt_attention_group(desc);
}

// Multiplications and additions of all queries with all keys, as if none were masked.
static inline double sxt_attention_operations(const sxt_attention_desc *desc) {
    double channels = (double)desc->q.shape[SXT_CHANNEL] + desc->v.shape[SXT_CHANNEL];
    double rows = (double)desc->q.shape[SXT_BATCH] * desc->q.shape[SXT_TOKEN] * desc->q.shape[SXT_HEAD];
    return 2 * channels * rows * desc->max_k_tokens;
}

// So little to do that a driver on the CPU is done before it would have compiled a kernel of much code.
static inline bool sxt_attention_is_small(const sxt_attention_desc *desc) {
    return sxt_attention_operations(desc) < (1 << 24);
}

// K or V have 2^32 elements or more: only attention.comp, by address, finds their rows.
static inline bool sxt_attention_is_wide(const sxt_attention_desc *desc) {
    return sxt_tensor_extent(&desc->k) / sxt_type_size(desc->k.type) * sxt_type_block(desc->k.type) > UINT32_MAX ||
           sxt_tensor_extent(&desc->v) / sxt_type_size(desc->v.type) * sxt_type_block(desc->v.type) > UINT32_MAX;
}

// What a call hands to any of its kernels.
typedef struct sxt_attention_frame {
    struct sxt_attention_push push;     // but for part and tiles
    struct sxt_attention_params params; // but for part_tiles, splits and split_keys
} sxt_attention_frame;

// Binds the tensors to the plan's first dispatch (by address or not), fills the frame, and sets those specialisation
// constants that say what there is: types, alignment, features, forms and whether logits are bounded. UNSUPPORTED, with
// the reason in the plan, if a tensor is too large or a binding too many.
sxt_result sxt_attention_frame_call(const sxt_caps *caps, const sxt_attention_desc *desc, bool by_address,
                                    sxt_attention_frame *out_frame, sxt_plan *plan);

// The most keys that a tile of so many rows may have to go through.
uint32_t sxt_attention_tile_keys(const sxt_attention_desc *desc, uint32_t rows);

// How many tiles one dispatch may hold, by the device's limits and its budget of operations; at least 1.
uint64_t sxt_attention_dispatch_tiles(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows);

// Keys of a split for kernels that need none to keep the device busy: 0 (none), unless a single tile takes more than the
// device's budget of operations.
uint32_t sxt_attention_budget_split(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows);

typedef struct sxt_attention_tiling {
    uint32_t rows;       // of a tile
    uint32_t split_keys; // keys of a split; 0: not split
} sxt_attention_tiling;

// Cuts the call into tiles, splits and parts: fills grid, push constants, parameters, scratch memory and, with splits,
// adds the dispatch that merges them. The first dispatch has its shader and specialisation constants by then, but for
// ROWS and SPLIT. UNSUPPORTED, with the reason in the plan, if there are too many tiles.
sxt_result sxt_attention_lay_out(const sxt_caps *caps, const sxt_attention_desc *desc,
                                 const sxt_attention_tiling *tiling, const sxt_attention_frame *frame, sxt_plan *plan);

// Keys of a split, 0 for none: FlashAttention-3's rule on the tiles of a part.
uint32_t sxt_attention_choose_split(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows);

// Whether the device has matrix products for these types by VK_KHR_cooperative_matrix, and the call lets them be used.
bool sxt_attention_has_matrix(const sxt_caps *caps, const sxt_attention_desc *desc);

// Tiles that a kernel can be asked for by sxt_attention_desc.tile, from 1.
enum {
    SXT_ATTENTION_TILE_TILES = 6,
    SXT_ATTENTION_SOFTWARE_TILES = 3,
    SXT_ATTENTION_MATRIX_TILES = 16,
    SXT_ATTENTION_MATRIX2_TILES = 14
};
uint32_t sxt_attention_tiles(sxt_attention_kernel kernel);

// The kernels' planners: see their files. The first two are for drivers that run on the CPU; decode is for few queries
// over many keys, and says by false that another kernel would do better.
bool sxt_attention_plan_decode(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan);
sxt_result sxt_attention_plan_prefill(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan);
sxt_result sxt_attention_plan_matrix(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan);
sxt_result sxt_attention_plan_matrix2(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan);
sxt_result sxt_attention_plan_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan);

// Adds the dispatch that joins the partial results of the first one, which wrote o (f32, d_v channels) at the start of
// the scratch memory and lse at `lse_offset`, to the plan. `frame` has the call's own o, lse and sinks.
void sxt_attention_add_merge(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_attention_frame *frame,
                             sxt_plan *plan);

#endif
