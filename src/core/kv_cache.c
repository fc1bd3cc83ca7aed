#include "core/kv_cache.h"

void sxt_kv_cache_rules(sxt_kv_cache *cache, sxt_tensor_rule out_rules[SXT_KV_CACHE_RULES]) {
    const sxt_tensor_rule rules[SXT_KV_CACHE_RULES] = {
        {.field = "cache.k", .tensor = &cache->k, .types = SXT_TYPES_CACHE, .optional = true, .output = true},
        {.field = "cache.v", .tensor = &cache->v, .types = SXT_TYPES_CACHE, .optional = true, .output = true},
        {.field = "cache.k_scale", .tensor = &cache->k_scale, .types = SXT_TYPES_F32, .optional = true},
        {.field = "cache.v_scale", .tensor = &cache->v_scale, .types = SXT_TYPES_F32, .optional = true},
        {.field = "cache.block_table", .tensor = &cache->block_table, .types = SXT_TYPES_I32, .optional = true},
        {.field = "cache.slots", .tensor = &cache->slots, .types = SXT_TYPES_I32, .optional = true},
    };
    for (int i = 0; i < SXT_KV_CACHE_RULES; i++)
        out_rules[i] = rules[i];
}

sxt_result sxt_scale_check(const sxt_device *device, const char *op, const char *field, const sxt_tensor *scale,
                           const char *of_field, const sxt_tensor *of) {
    if (sxt_tensor_present(scale) && of->type != SXT_TYPE_FP8_E4M3)
        SXT_REJECT(&device->logger, "%s: %s is given, and %s.type is %s: only fp8_e4m3 has scales", op, field, of_field,
                   sxt_type_name(of->type));
    return SXT_OK;
}

sxt_result sxt_scale_resolve(const sxt_device *device, const char *op, const char *field, const char *of_field,
                             const sxt_tensor *of, sxt_tensor *scale) {
    const uint32_t shape[4] = {1, 1, of->shape[SXT_HEAD], 1};
    sxt_result result = sxt_scale_check(device, op, field, scale, of_field, of);
    if (result != SXT_OK || !sxt_tensor_present(scale)) return result;
    return sxt_tensor_broadcast(device, op, field, shape, 1 << SXT_HEAD, of_field, scale);
}

static sxt_result check_scale_field(const sxt_device *device, const char *op, const char *field,
                                    const sxt_tensor *scale, const char *cache_field, const sxt_tensor *cache) {
    if (sxt_tensor_present(scale) && !sxt_tensor_present(cache))
        SXT_REJECT(&device->logger, "%s: %s is given, and %s is not", op, field, cache_field);
    return sxt_scale_check(device, op, field, scale, cache_field, cache);
}

sxt_result sxt_kv_cache_check_fields(const sxt_device *device, const char *op, const sxt_kv_cache *cache) {
    const sxt_logger *log = &device->logger;
    sxt_result result;
    if ((result = check_scale_field(device, op, "cache.k_scale", &cache->k_scale, "cache.k", &cache->k)) ||
        (result = check_scale_field(device, op, "cache.v_scale", &cache->v_scale, "cache.v", &cache->v)))
        return result;
    bool slots = sxt_tensor_present(&cache->slots);
    if (!sxt_kv_cache_present(cache) && sxt_tensor_present(&cache->block_table))
        SXT_REJECT(log, "%s: cache.block_table is given, and neither cache.k nor cache.v is", op);
    if (!sxt_kv_cache_present(cache) && slots)
        SXT_REJECT(log, "%s: cache.slots is given, and neither cache.k nor cache.v is", op);
    if (!sxt_kv_cache_present(cache) && cache->first_row != 0)
        SXT_REJECT(log, "%s: cache.first_row is %u, and neither cache.k nor cache.v is given", op, cache->first_row);
    if (slots && cache->first_row != 0)
        SXT_REJECT(log, "%s: cache.first_row is %u, and must be 0 with cache.slots, which name the rows", op,
                   cache->first_row);
    return SXT_OK;
}

// One of k and v: the cache has its source's heads and channels, and the source's batch unless that is the pages. Its
// rows are free, but for those of `other`, the cache checked before.
static sxt_result check_side(const sxt_device *device, const char *op, const char *const fields[3],
                             const sxt_tensor *source, const sxt_tensor *other, bool paged, sxt_tensor *cache,
                             sxt_tensor *scale) {
    if (!sxt_tensor_present(cache)) return SXT_OK;
    bool alone = !sxt_tensor_present(other);
    const uint32_t shape[4] = {
        alone && paged ? cache->shape[SXT_BATCH]
        : paged        ? other->shape[SXT_BATCH]
                       : source->shape[SXT_BATCH],
        alone ? cache->shape[SXT_TOKEN] : other->shape[SXT_TOKEN],
        source->shape[SXT_HEAD],
        source->shape[SXT_CHANNEL],
    };
    sxt_result result = sxt_tensor_broadcast(device, op, fields[0], shape, 0, fields[2], cache);
    return result == SXT_OK ? sxt_scale_resolve(device, op, fields[1], fields[0], cache, scale) : result;
}

// Without slots the tokens take consecutive rows, which must be there.
static sxt_result check_first_row(const sxt_device *device, const char *op, uint32_t tokens,
                                  const sxt_kv_cache *cache) {
    const sxt_tensor *any = sxt_tensor_present(&cache->k) ? &cache->k : &cache->v;
    bool paged = sxt_tensor_present(&cache->block_table);
    uint64_t rows = any->shape[SXT_TOKEN] * (paged ? (uint64_t)cache->block_table.shape[3] : 1);
    if ((uint64_t)cache->first_row + tokens <= rows) return SXT_OK;
    SXT_REJECT(&device->logger, "%s: cache.first_row is %u, and %u tokens from there do not fit into %llu rows of %s",
               op, cache->first_row, tokens, (unsigned long long)rows,
               paged                           ? "a sequence's pages"
               : sxt_tensor_present(&cache->k) ? "cache.k"
                                               : "cache.v");
}

sxt_result sxt_kv_cache_resolve(const sxt_device *device, const char *op, const sxt_tensor *k, const sxt_tensor *v,
                                sxt_kv_cache *cache) {
    if (!sxt_kv_cache_present(cache)) return SXT_OK;
    bool has_k = sxt_tensor_present(&cache->k), paged = sxt_tensor_present(&cache->block_table);
    static const char *const k_fields[] = {"cache.k", "cache.k_scale", "k"};
    const char *const v_fields[] = {"cache.v", "cache.v_scale", has_k ? "v and cache.k" : "v"};
    static const sxt_tensor none;
    const sxt_tensor *any = has_k ? k : v;
    const char *like = has_k ? "k" : "v";
    sxt_result result;
    if ((result = check_side(device, op, k_fields, k, &none, paged, &cache->k, &cache->k_scale)) ||
        (result = check_side(device, op, v_fields, v, &cache->k, paged, &cache->v, &cache->v_scale)))
        return result;
    if (paged) {
        const uint32_t shape[4] = {1, 1, any->shape[SXT_BATCH], cache->block_table.shape[3]};
        result = sxt_tensor_broadcast(device, op, "cache.block_table", shape, 1 << 2, like, &cache->block_table);
        if (result != SXT_OK) return result;
    }
    if (!sxt_tensor_present(&cache->slots)) return check_first_row(device, op, any->shape[SXT_TOKEN], cache);
    const uint32_t shape[4] = {1, any->shape[SXT_BATCH], 1, any->shape[SXT_TOKEN]};
    return sxt_tensor_broadcast(device, op, "cache.slots", shape, 1 << 1, like, &cache->slots);
}
