#include "reference/kv_cache.h"

#include <string.h>

#include "reference/reference.h"

static int32_t int_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    int32_t value;
    memcpy(&value, (char *)sxt_row_data(tensor, batch, token, head) + sizeof value * channel * tensor->strides[3],
           sizeof value);
    return value;
}

// An index that is not there: a fault, unless it is −1.
static bool absent(const sxt_tensor *cache, int64_t index) {
    if (index != -1) sxt_reference_fault(cache->buffer, SXT_FAULT_INDEX);
    return false;
}

bool sxt_kv_cache_find(const sxt_kv_cache *cache, uint32_t batch, uint32_t token, sxt_cache_row *out_row) {
    const sxt_tensor *any = sxt_tensor_present(&cache->k) ? &cache->k : &cache->v;
    uint64_t rows = any->shape[SXT_TOKEN], row = (uint64_t)cache->first_row + token;
    if (sxt_tensor_empty(any)) return false;
    if (sxt_tensor_present(&cache->slots)) {
        int32_t slot = int_at(&cache->slots, 0, batch, 0, token);
        if (slot < 0) return absent(any, slot);
        row = (uint64_t)slot;
    }
    if (!sxt_tensor_present(&cache->block_table)) {
        *out_row = (sxt_cache_row){batch, (uint32_t)row};
        return row < rows || absent(any, (int64_t)row);
    }
    if (row / rows >= cache->block_table.shape[3]) return absent(any, (int64_t)row);
    int32_t page = int_at(&cache->block_table, 0, 0, batch, (uint32_t)(row / rows));
    *out_row = (sxt_cache_row){(uint32_t)page, (uint32_t)(row % rows)};
    return (page >= 0 && (uint32_t)page < any->shape[SXT_BATCH]) || absent(any, page);
}

double sxt_scale_at(const sxt_tensor *scale, uint32_t head) {
    return sxt_tensor_present(scale) ? sxt_row_at(scale, 0, 0, head, 0) : 1.0;
}

// A quotient that is not halfway between two fp8 values is at least 2^-53 of itself away from there, so that rounding
// it to a double first changes nothing.
void sxt_kv_cache_store(const sxt_tensor *cache, const sxt_tensor *scale, sxt_cache_row at, uint32_t head,
                        double *row) {
    double divisor = sxt_scale_at(scale, head);
    for (uint32_t c = 0; c < cache->shape[SXT_CHANNEL] && sxt_tensor_present(scale); c++)
        row[c] /= divisor;
    sxt_row_store(cache, at.batch, at.row, head, row);
}
