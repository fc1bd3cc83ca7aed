// Where the tokens of a stage go in its cache, worked out from sextant.h's words alone: neither the device's nor the
// reference's way of finding rows is asked.
#ifndef SXT_TOOL_CACHE_H
#define SXT_TOOL_CACHE_H

#include "work.h"

typedef struct sxt_cache_map {
    uint64_t token_count; // over the batch
    uint64_t row_count;   // of the cache, over its batch or pages
    int64_t *rows;        // by token: its row, counted over batch or pages; -1: dropped
    uint64_t *twins;      // by token: the next one that takes the same row, in a circle; itself where it is alone
    bool *taken;          // by row
} sxt_cache_map;

// `field` is "k_cache" or "v_cache"; `data` has the data of all slots. False without memory.
bool sxt_cache_map_init(const sxt_work *work, const sxt_stage *stage, const char *field,
                        void *const data[SXT_MAX_SLOTS], sxt_cache_map *out_map);
void sxt_cache_map_finish(sxt_cache_map *map);

#endif
