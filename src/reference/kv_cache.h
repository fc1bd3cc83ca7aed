// Where the reference puts a token in a KV cache, and how it writes a row there.
#ifndef SXT_REFERENCE_KV_CACHE_H
#define SXT_REFERENCE_KV_CACHE_H

#include "reference/row.h"

// A row of a cache: its batch (or page), and its place there.
typedef struct sxt_cache_row {
    uint32_t batch, row;
} sxt_cache_row;

// The row that a token takes, or false where it is dropped.
bool sxt_kv_cache_find(const sxt_kv_cache *cache, uint32_t batch, uint32_t token, sxt_cache_row *out_row);

// Of an optional scale tensor, the value for a head; 1 without.
double sxt_scale_at(const sxt_tensor *scale, uint32_t head);

// Writes one head of a row as row/scale. Changes `row`.
void sxt_kv_cache_store(const sxt_tensor *cache, const sxt_tensor *scale, sxt_cache_row at, uint32_t head, double *row);

#endif
