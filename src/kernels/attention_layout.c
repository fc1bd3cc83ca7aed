// Attention: tiles, splits, parts and scratch memory, and the grid that they make.
#include "kernels/attention.h"

// Partial results of a part take no more than this, or no more than a storage buffer's range.
static const uint64_t most_scratch = UINT64_C(256) << 20;

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint32_t sxt_attention_tile_keys(const sxt_attention_desc *desc, uint32_t rows) {
    uint64_t keys = desc->max_k_tokens, group = sxt_attention_group(desc);
    if (!desc->windowed || desc->window_left < 0) return (uint32_t)keys;
    bool open = desc->window_right < 0 && !desc->causal;
    if (open) return (uint32_t)keys;
    uint64_t right = desc->causal ? 0 : (uint64_t)desc->window_right;
    uint64_t tokens = smaller((rows + group - 2) / group + 1, desc->max_q_tokens);
    return (uint32_t)smaller(keys, (uint64_t)desc->window_left + right + tokens);
}

static void bind_scratch(sxt_binding *binding, uint64_t offset, uint64_t bytes) {
    *binding = (sxt_binding){.kind = SXT_BINDING_SCRATCH,
                             .written = true,
                             .offset = offset,
                             .bytes = bytes,
                             .hazard_offset = offset,
                             .hazard_bytes = bytes};
}

// Partial results in place of o and lse.
static void write_partials(const sxt_caps *caps, const sxt_attention_desc *desc, uint64_t rows, sxt_plan *plan,
                           struct sxt_attention_push *push) {
    uint64_t align = caps->storage_align > 16 ? caps->storage_align : 16;
    uint64_t o_bytes = rows * desc->v.shape[SXT_CHANNEL] * sizeof(float), lse_bytes = rows * sizeof(float);
    uint64_t lse_offset = (o_bytes + align - 1) / align * align;
    sxt_dispatch *dispatch = &plan->dispatches[0];
    bind_scratch(&dispatch->bindings[SXT_ATTENTION_O], 0, o_bytes);
    bind_scratch(&dispatch->bindings[SXT_ATTENTION_LSE], lse_offset, lse_bytes);
    dispatch->bindings[SXT_ATTENTION_SINKS] = (sxt_binding){.kind = SXT_BINDING_NONE};
    push->dims &= ~(3u << SXT_ATTENTION_O_TYPE_SHIFT); // f32
    push->flags |= SXT_ATTENTION_O_ALIGNED;
    plan->scratch_bytes = lse_offset + lse_bytes;
}

// Splits meet at multiples of `size`: keys from anywhere on may reach into one more than they would fill.
static uint64_t most_splits(const sxt_attention_desc *desc, uint32_t rows, uint64_t size) {
    uint64_t keys = sxt_attention_tile_keys(desc, rows);
    uint64_t all = (desc->max_k_tokens + size - 1) / size, touched = (keys + size - 2) / size + 1;
    uint64_t splits = smaller(all, touched);
    return splits > 0 ? splits : 1;
}

static uint64_t tile_flops(const sxt_attention_desc *desc, uint32_t rows) {
    uint64_t channels = (uint64_t)desc->q.shape[SXT_CHANNEL] + desc->v.shape[SXT_CHANNEL];
    return 2 * channels * rows * sxt_attention_tile_keys(desc, rows);
}

uint64_t sxt_attention_dispatch_tiles(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows) {
    uint64_t most = (uint64_t)caps->max_group_count[0] * caps->max_group_count[1], flops = tile_flops(desc, rows);
    if (caps->dispatch_flops > 0 && flops > 0) most = smaller(most, caps->dispatch_flops / flops);
    return most > 0 ? most : 1;
}

uint32_t sxt_attention_budget_split(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows) {
    enum { BLOCK_KEYS = 256 };
    uint64_t flops = tile_flops(desc, rows);
    if (desc->split_keys > 0) return desc->split_keys;
    if (caps->dispatch_flops == 0 || flops <= caps->dispatch_flops) return 0;
    double share = (double)caps->dispatch_flops / (double)flops;
    uint32_t blocks = (uint32_t)(share * sxt_attention_tile_keys(desc, rows)) / BLOCK_KEYS;
    return (blocks > 0 ? blocks : 1) * BLOCK_KEYS;
}

// Splits of each tile of a part: of a tile that is too much for a part, as many as are not.
static uint64_t splits_of_part(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows, uint64_t splits) {
    uint64_t flops = tile_flops(desc, rows);
    if (caps->dispatch_flops == 0 || flops <= caps->dispatch_flops) return splits;
    uint64_t most = (uint64_t)((double)splits * (double)caps->dispatch_flops / (double)flops);
    return most > 0 ? most : 1;
}

sxt_result sxt_attention_lay_out(const sxt_caps *caps, const sxt_attention_desc *desc,
                                 const sxt_attention_tiling *tiling, const sxt_attention_frame *frame, sxt_plan *plan) {
    uint64_t packed = sxt_attention_packed_rows(desc), row_tiles = (packed + tiling->rows - 1) / tiling->rows;
    uint64_t tiles = row_tiles * desc->k.shape[SXT_HEAD] * frame->params.sequences;
    uint64_t part_tiles = smaller(tiles, sxt_attention_dispatch_tiles(caps, desc, tiling->rows));
    // A split of all keys that there may be leaves sums of indices within 32 bits.
    const bool split = tiling->split_keys > 0;
    uint64_t split_keys = smaller(tiling->split_keys, SXT_ATTENTION_MAX_TOKENS + 1);
    uint64_t splits = split ? most_splits(desc, tiling->rows, split_keys) : 1;
    if (desc->max_q_tokens > SXT_ATTENTION_MAX_TOKENS || desc->max_k_tokens > SXT_ATTENTION_MAX_TOKENS ||
        packed > INT32_MAX || tiles > UINT32_MAX || splits > caps->max_group_count[2])
        return sxt_plan_unsupported(plan, "attention: too many tokens or heads for one call");

    if (split) {
        uint64_t tile_bytes = splits * tiling->rows * (desc->v.shape[SXT_CHANNEL] + 1) * sizeof(float);
        part_tiles = smaller(part_tiles, smaller(most_scratch, caps->storage_range) / tile_bytes);
        if (part_tiles == 0)
            return sxt_plan_unsupported(plan, "attention: split_keys is so small that partial results do not fit");
    }
    sxt_dispatch *dispatch = &plan->dispatches[0];
    struct sxt_attention_push push = frame->push;
    struct sxt_attention_params params = frame->params;
    push.tiles = (uint32_t)tiles;
    params.part_tiles = (uint32_t)part_tiles;
    uint64_t part_splits = splits_of_part(caps, desc, tiling->rows, splits);
    params.part_splits = (uint32_t)part_splits;
    params.splits = (uint32_t)splits;
    params.split_keys = (uint32_t)split_keys;
    uint64_t parts = (tiles + part_tiles - 1) / part_tiles * ((splits + part_splits - 1) / part_splits);
    if (parts > UINT32_MAX) return sxt_plan_unsupported(plan, "attention: too many tokens or heads for one call");
    plan->parts = (uint32_t)parts;
    plan->dispatch_count = 1;
    dispatch->spec[SXT_ATTENTION_SPEC_ROWS] = tiling->rows;
    dispatch->spec[SXT_ATTENTION_SPEC_SPLIT] = split;
    sxt_plan_grid(caps, part_tiles, dispatch->groups);
    dispatch->groups[2] = (uint32_t)part_splits;
    if (split) write_partials(caps, desc, part_tiles * splits * tiling->rows, plan, &push);
    sxt_plan_push(dispatch, &push, sizeof push);
    memcpy(dispatch->params, &params, sizeof params);
    dispatch->param_bytes = sizeof params;
    if (split) sxt_attention_add_merge(caps, desc, frame, plan);
    return SXT_OK;
}
