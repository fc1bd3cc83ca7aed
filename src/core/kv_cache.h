// Front doors' checks of an sxt_kv_cache, which kv_write and qk_norm_rope share, and of the scales of its types, which
// stand elsewhere too.
//
// After them, scales, block_table and slots repeat where they are 1, and every row that `first_row` names is there.
// What only the device sees is not checked: slots and block_table drop what they misname, and scales must be positive
// and finite by the caller's word.
#ifndef SXT_CORE_KV_CACHE_H
#define SXT_CORE_KV_CACHE_H

#include "core/tensor.h"

// Checks that fp8_e4m3 is the type of `of`, if it has a `scale`: an optional one for each head, or one for all.
sxt_result sxt_scale_check(const sxt_device *device, const char *op, const char *field, const sxt_tensor *scale,
                           const char *of_field, const sxt_tensor *of);

// The same, and makes a resolved scale repeat where it is 1.
sxt_result sxt_scale_resolve(const sxt_device *device, const char *op, const char *field, const char *of_field,
                             const sxt_tensor *of, sxt_tensor *scale);

// The rules of a cache's tensors, for a front door's table. All are optional there.
enum { SXT_KV_CACHE_RULES = 6 };
void sxt_kv_cache_rules(sxt_kv_cache *cache, sxt_tensor_rule out_rules[SXT_KV_CACHE_RULES]);

// Checks which fields are given beside which. Whether k and v need their caches is for the caller to say.
sxt_result sxt_kv_cache_check_fields(const sxt_device *device, const char *op, const sxt_kv_cache *cache);

// Checks and broadcasts the cache's resolved tensors for resolved sources k and v, as shaped as each other. A source
// counts if its cache is given.
sxt_result sxt_kv_cache_resolve(const sxt_device *device, const char *op, const sxt_tensor *k, const sxt_tensor *v,
                                sxt_kv_cache *cache);

static inline bool sxt_kv_cache_present(const sxt_kv_cache *cache) {
    return sxt_tensor_present(&cache->k) || sxt_tensor_present(&cache->v);
}

#endif
