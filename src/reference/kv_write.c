#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "reference/kv_cache.h"
#include "reference/reference.h"

static void write_head(const sxt_tensor *source, const sxt_tensor *cache, const sxt_tensor *scale, uint32_t b,
                       uint32_t t, uint32_t h, sxt_cache_row at, double *row) {
    if (source->type == cache->type) { // bits as they are, whatever a NaN carries
        memcpy(sxt_row_data(cache, at.batch, at.row, h), sxt_row_data(source, b, t, h),
               (size_t)source->shape[SXT_CHANNEL] * sxt_type_size(source->type));
        return;
    }
    sxt_row_load(source, b, t, h, row);
    sxt_kv_cache_store(cache, scale, at, h, row);
}

static sxt_result write_side(const sxt_kv_cache *caches, const sxt_tensor *source, const sxt_tensor *cache,
                             const sxt_tensor *scale) {
    if (!sxt_tensor_present(source) || sxt_tensor_empty(source)) return SXT_OK;
    const uint32_t *shape = source->shape;
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++) {
            sxt_cache_row at;
            if (!sxt_kv_cache_find(caches, b, t, &at)) continue;
            for (uint32_t h = 0; h < shape[SXT_HEAD]; h++)
                write_head(source, cache, scale, b, t, h, at, row);
        }
    free(row);
    return SXT_OK;
}

sxt_result sxt_kv_write_reference(const sxt_kv_write_desc *desc) {
    const sxt_kv_cache *cache = &desc->cache;
    sxt_result result = write_side(cache, &desc->k, &cache->k, &cache->k_scale);
    return result == SXT_OK ? write_side(cache, &desc->v, &cache->v, &cache->v_scale) : result;
}
