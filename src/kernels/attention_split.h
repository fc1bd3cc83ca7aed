// Into how many parts to cut the keys of attention when there are too few queries to keep a device busy.
#ifndef SXT_KERNELS_ATTENTION_SPLIT_H
#define SXT_KERNELS_ATTENTION_SPLIT_H

#include "core/tensor.h"

typedef struct sxt_attention_work {
    uint64_t tiles;      // workgroups without a split: row tiles · KV heads · batch
    uint32_t keys;       // of the longest
    uint32_t block_keys; // a split has at least so many
} sxt_attention_work;

// The smallest number of splits whose last wave of workgroups is nearly as full as can be: within 85 % of the best
// (FlashAttention-3's rule). One where there are no more than four blocks of keys, or where tiles alone fill 80 % of
// the `slots`, the workgroups that a device runs at once. The same for the same shape and device.
uint32_t sxt_attention_splits(const sxt_attention_work *work, uint32_t slots);

// The keys of each of so many splits, in whole blocks; 0 where there is one split.
uint32_t sxt_attention_split_keys(const sxt_attention_work *work, uint32_t slots);

#endif
