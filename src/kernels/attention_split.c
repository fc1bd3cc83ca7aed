#include "kernels/attention_split.h"

#include "kernels/attention.h"

// How much of the waves that so many workgroups take is work.
static double efficiency(uint64_t workgroups, uint32_t slots) {
    uint64_t waves = (workgroups + slots - 1) / slots;
    return (double)workgroups / (double)(waves * slots);
}

uint32_t sxt_attention_splits(const sxt_attention_work *work, uint32_t slots) {
    enum { FEW_BLOCKS = 4, MOST_SPLITS = 128 };
    uint32_t blocks = work->keys / work->block_keys;
    if (blocks <= FEW_BLOCKS || work->tiles * 10 >= (uint64_t)slots * 8) return 1;
    uint32_t most = blocks < MOST_SPLITS ? blocks : MOST_SPLITS;
    if (most > slots) most = slots;
    double best = 0;
    for (uint32_t n = 1; n <= most; n++)
        if (efficiency(work->tiles * n, slots) > best) best = efficiency(work->tiles * n, slots);
    uint32_t splits = 1;
    while (efficiency(work->tiles * splits, slots) < 0.85 * best)
        splits++;
    return splits;
}

uint32_t sxt_attention_split_keys(const sxt_attention_work *work, uint32_t slots) {
    uint32_t splits = sxt_attention_splits(work, slots);
    uint32_t blocks = work->keys / work->block_keys + (work->keys % work->block_keys != 0);
    return splits > 1 ? (blocks + splits - 1) / splits * work->block_keys : 0;
}

// About how many workgroups a device runs at once, which Vulkan does not tell: a big GPU has some hundred compute units
// with eight each, one that shares the CPU's memory a tenth of that. Too many cost little: partial results are 1/50 of
// the keys and values that a split of 256 keys reads.
static uint32_t slots_of(const sxt_caps *caps) {
    return caps->software ? 8 : caps->unified_memory ? 256 : 1024;
}

// Of sequences whose lengths only the
// device knows, splits are short, so that a long one does not keep it waiting.
uint32_t sxt_attention_choose_split(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows) {
    enum { BLOCK_KEYS = 128, MOST_RAGGED = 1024, MOST_RAGGED_SPLITS = 64 };
    if (desc->split_keys > 0) return desc->split_keys;
    uint64_t tiles =
        (sxt_attention_packed_rows(desc) + rows - 1) / rows * desc->k.shape[SXT_HEAD] * sxt_attention_sequences(desc);
    uint64_t part = sxt_attention_dispatch_tiles(caps, desc, rows);
    const sxt_attention_work work = {
        .tiles = tiles < part ? tiles : part, .keys = sxt_attention_tile_keys(desc, rows), .block_keys = BLOCK_KEYS};
    uint32_t keys = sxt_attention_split_keys(&work, slots_of(caps));
    bool ragged = sxt_tensor_present(&desc->kv_lengths) || sxt_tensor_present(&desc->cu_seqlens_k);
    if (keys == 0 || !ragged) return keys;
    uint32_t short_keys = (work.keys / MOST_RAGGED_SPLITS / BLOCK_KEYS + 1) * BLOCK_KEYS;
    if (short_keys < MOST_RAGGED) short_keys = MOST_RAGGED;
    return keys < short_keys ? keys : short_keys;
}
