#include "kernels/attention_split.h"

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
