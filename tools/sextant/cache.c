#include "cache.h"

#include <stdlib.h>

typedef struct addressing {
    const sxt_slot *cache, *slots, *table; // slots, table: NULL if absent
    const int32_t *slot_data, *table_data;
    uint32_t first_row;
} addressing;

static const sxt_slot *slot_of(const sxt_work *work, const sxt_stage *stage, const char *field) {
    int slot = sxt_stage_slot(stage, field);
    return slot == SXT_NO_SLOT ? NULL : &work->slots[slot];
}

// The row of token t of batch b, over all batches or pages; -1: none.
static int64_t find_row(const addressing *a, uint32_t b, uint32_t t) {
    int64_t row = (int64_t)a->first_row + t, rows = a->cache->shape[1];
    if (a->slots) row = a->slot_data[(uint64_t)(a->slots->shape[1] == 1 ? 0 : b) * a->slots->shape[3] + t];
    if (!a->table) return row < 0 || row >= rows ? -1 : b * rows + row;
    if (row < 0 || row / rows >= a->table->shape[3]) return -1;
    int64_t page = a->table_data[(int64_t)(a->table->shape[2] == 1 ? 0 : b) * a->table->shape[3] + row / rows];
    return page < 0 || page >= a->cache->shape[0] ? -1 : page * rows + row % rows;
}

bool sxt_cache_map_init(const sxt_work *work, const sxt_stage *stage, const char *field,
                        void *const data[SXT_MAX_SLOTS], sxt_cache_map *out_map) {
    sxt_work_desc desc = stage->desc;
    const sxt_slot *from = slot_of(work, stage, field[0] == 'k' ? "k" : "v");
    addressing a = {.cache = slot_of(work, stage, field),
                    .slots = slot_of(work, stage, "slots"),
                    .table = slot_of(work, stage, "block_table"),
                    .first_row = sxt_op_cache(stage->op, &desc)->first_row};
    if (a.slots) a.slot_data = data[sxt_stage_slot(stage, "slots")];
    if (a.table) a.table_data = data[sxt_stage_slot(stage, "block_table")];
    uint64_t tokens = (uint64_t)from->shape[0] * from->shape[1], rows = (uint64_t)a.cache->shape[0] * a.cache->shape[1];
    int64_t *rows_of = malloc(tokens * sizeof *rows_of + 1);
    uint64_t *twins = malloc(tokens * sizeof *twins + 1), *last = malloc(rows * sizeof *last + 1);
    bool *taken = calloc(rows + 1, sizeof *taken);
    *out_map = (sxt_cache_map){tokens, rows, rows_of, twins, taken};
    bool done = rows_of && twins && last && taken;
    for (uint64_t i = 0; done && i < tokens; i++) {
        int64_t row = find_row(&a, (uint32_t)(i / from->shape[1]), (uint32_t)(i % from->shape[1]));
        rows_of[i] = row;
        twins[i] = i;
        if (row < 0) continue;
        if (taken[row]) twins[i] = twins[last[row]], twins[last[row]] = i;
        taken[row] = true;
        last[row] = i;
    }
    free(last);
    if (!done) sxt_cache_map_finish(out_map);
    return done;
}

void sxt_cache_map_finish(sxt_cache_map *map) {
    free(map->rows);
    free(map->twins);
    free(map->taken);
    *map = (sxt_cache_map){0};
}
