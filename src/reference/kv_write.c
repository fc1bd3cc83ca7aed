#include <string.h>

#include "core/number.h"
#include "reference/reference.h"
#include "reference/row.h"

// The cache row of a token, or −1 where it is dropped.
static int64_t row_of(const sxt_kv_write_desc *desc, uint32_t batch, uint32_t token) {
    if (!sxt_tensor_present(&desc->slots)) return (int64_t)desc->first_row + token;
    int64_t slot = (int64_t)sxt_row_at(&desc->slots, 0, batch, 0, token);
    return slot < desc->k_cache.shape[SXT_TOKEN] ? slot : -1;
}

// Of one type, bits are copied as they are, whatever a NaN carries; between types values are rounded once.
static void write_row(const sxt_tensor *source, const void *from, const sxt_tensor *cache, void *to) {
    uint32_t channels = source->shape[SXT_CHANNEL];
    if (source->type == cache->type) {
        memcpy(to, from, (size_t)channels * sxt_type_size(source->type));
        return;
    }
    for (uint32_t c = 0; c < channels; c++)
        sxt_store(cache->type, to, c, sxt_load(source->type, from, c));
}

static void write_side(const sxt_kv_write_desc *desc, const sxt_tensor *source, const sxt_tensor *cache) {
    if (!sxt_tensor_present(source)) return;
    for (uint32_t b = 0; b < source->shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < source->shape[SXT_TOKEN]; t++) {
            int64_t row = row_of(desc, b, t);
            for (uint32_t h = 0; h < source->shape[SXT_HEAD] && row >= 0; h++)
                write_row(source, sxt_row_data(source, b, t, h), cache, sxt_row_data(cache, b, (uint32_t)row, h));
        }
}

sxt_result sxt_kv_write_reference(const sxt_kv_write_desc *desc) {
    write_side(desc, &desc->k, &desc->k_cache);
    write_side(desc, &desc->v, &desc->v_cache);
    return SXT_OK;
}
