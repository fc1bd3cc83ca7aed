// Random KV caches of every type and place, and where tokens go in them: written from sextant.h, not taken from the
// library.
#ifndef SXT_TESTS_SUPPORT_CACHE_H
#define SXT_TESTS_SUPPORT_CACHE_H

#include "support/trial.h"

// What is compiled into a pipeline.
typedef struct sxt_test_cache_form {
    sxt_type k, v;
    bool has_k, has_v;
    bool paged, slots, k_scaled, v_scaled; // scales are left out but for fp8
} sxt_test_cache_form;

// Number n, of 0 to 17, of the pairs of a type that matmuls leave and a type of caches. Six in a row have all of the
// latter.
void sxt_test_type_pair(uint64_t n, sxt_type *out_source, sxt_type *out_cache);
sxt_type sxt_test_cache_type(sxt_test_rng *rng);

// A cache full of random bits for `tokens` tokens of each batch, of which some are dropped in every way that there is.
// Two tokens may take one row, if `repeats`. k and v may lie woven in one buffer.
sxt_kv_cache sxt_test_make_cache(sxt_test_trial *trial, const sxt_test_cache_form *form, uint32_t batch,
                                 uint32_t tokens, uint32_t heads, uint32_t k_channels, uint32_t v_channels,
                                 bool repeats);

// An fp8 cache's scales: one for all heads or one each, of every magnitude, some with few bits and some with all.
sxt_tensor sxt_test_make_scale(sxt_test_trial *trial, const char *name, uint32_t heads);

// Of an optional scale, the value for a head.
double sxt_test_scale(const sxt_test_trial *trial, const sxt_tensor *scale, uint32_t head);

// The row of a token, counted over the cache's batch or pages, or −1 if it is dropped.
int64_t sxt_test_cache_row(const sxt_test_trial *trial, const sxt_kv_cache *cache, uint32_t batch, uint32_t token);

// Whether `data` is a row that this token's head leaves in the cache. is_v: of v, else of k.
typedef bool sxt_test_row_fits(const sxt_test_trial *trial, const void *context, bool is_v, uint32_t batch,
                               uint32_t token, uint32_t head, const uint8_t *data);

// Problem: a row that no token takes has changed, or one that a single token takes does not fit it. (Of several tokens,
// each may leave a part.)
const char *sxt_test_check_cache(sxt_test_trial *trial, sxt_test_side side, const sxt_kv_cache *cache, uint32_t batch,
                                 uint32_t tokens, sxt_test_row_fits *fits, const void *context);

void sxt_test_say_cache(sxt_test_trial *trial, const sxt_kv_cache *cache);

#endif
