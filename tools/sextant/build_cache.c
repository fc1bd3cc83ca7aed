// The caches of a case: those that tokens are written to, and those that the case brings.
#include "build.h"

#include "number.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CACHE_ELEMS = 1 << 28 };

int sxt_build_cache_type(const sxt_builder *b, const char *side) {
    int own = side[0] == 'k' ? b->params.k_type : b->params.v_type;
    return own != SXT_TYPE_ABSENT ? own : b->params.kv_type;
}

bool sxt_build_check_blocks(const sxt_builder *b, const char *side, const char *name, sxt_type type,
                            uint32_t channels) {
    int own = side[0] == 'k' ? b->params.k_type : b->params.v_type;
    if (channels % sxt_type_block(type) == 0) return true;
    return sxt_build_fail(b, "key '%s': %s has blocks of %u channels, and %s has %u",
                          own == SXT_TYPE_ABSENT ? "kv_type"
                          : side[0] == 'k'       ? "k_type"
                                                 : "v_type",
                          sxt_type_name(type), sxt_type_block(type), name, channels);
}

bool sxt_build_scale(const sxt_builder *b, const char *name, sxt_type type, uint32_t heads, int *out_slot) {
    const sxt_array *array = sxt_build_find(b, name);
    *out_slot = SXT_NO_SLOT;
    if (!array) return true;
    if (type != SXT_TYPE_FP8_E4M3) return sxt_build_fail(b, "tensor '%s': only a cache of fp8_e4m3 has a scale", name);
    if (array->rank != 1 || (array->shape[0] != 1 && array->shape[0] != heads))
        return sxt_build_wrong_shape(b, array, "[H] or [1]");
    *out_slot = sxt_build_slot(b, array, (uint32_t[4]){1, 1, (uint32_t)array->shape[0], 1});
    return true;
}

// ── Written by tokens ──

static bool bind_slots(const sxt_builder *b, sxt_stage *stage, uint32_t batch, uint32_t tokens) {
    static const int places[2][4] = {{3}, {1, 3}};
    const sxt_array *slots = sxt_build_find(b, "slots");
    uint32_t dims[4];
    if (!slots) return true;
    if (slots->rank < 1 || slots->rank > 2) return sxt_build_wrong_shape(b, slots, "[T]");
    if (!sxt_build_spread(b, slots, places[slots->rank - 1], dims)) return false;
    if (dims[3] != tokens || (dims[1] != 1 && dims[1] != batch)) return sxt_build_wrong_shape(b, slots, "[T]");
    sxt_stage_bind(stage, "slots", sxt_build_slot(b, slots, dims));
    return true;
}

static bool bind_block_table(const sxt_builder *b, sxt_stage *stage, uint32_t batch) {
    static const int places[2][4] = {{3}, {2, 3}};
    const sxt_array *table = sxt_build_find(b, "block_table");
    uint32_t dims[4];
    if (!table && (b->params.page_size || b->params.page_count))
        return sxt_build_fail(b, "tensor 'block_table' is missing: pages need I32 [pages of a sequence]");
    if (!table) return true;
    if (table->rank < 1 || table->rank > 2) return sxt_build_wrong_shape(b, table, "[P] or [B, P]");
    if (!sxt_build_spread(b, table, places[table->rank - 1], dims)) return false;
    if (dims[2] != 1 && dims[2] != batch) return sxt_build_wrong_shape(b, table, "[P] or [B, P]");
    if (b->params.page_size == 0) return sxt_build_fail(b, "key 'page_size' is missing: a block_table needs it");
    if (b->params.rows) return sxt_build_fail(b, "key 'rows': pages have page_size rows each");
    sxt_stage_bind(stage, "block_table", sxt_build_slot(b, table, dims));
    return true;
}

// One more than the largest index, at least `least`.
static uint64_t count_indices(const sxt_array *indices, uint64_t least) {
    for (uint64_t i = 0; indices && i < indices->count; i++) {
        int64_t index = ((const int32_t *)indices->data)[i];
        if (index >= (int64_t)least) least = (uint64_t)index + 1;
    }
    return least;
}

// Batches (or pages) and rows of the cache for `tokens` in each of `batch`.
static bool find_extent(const sxt_builder *b, uint32_t batch, uint32_t tokens, uint64_t row_elems,
                        uint64_t out_extent[2]) {
    const sxt_case_params *p = &b->params;
    const sxt_array *table = sxt_build_find(b, "block_table"), *slots = sxt_build_find(b, "slots");
    out_extent[0] = batch;
    out_extent[1] = p->rows ? p->rows : count_indices(slots, slots ? 1 : (uint64_t)p->first_row + tokens);
    if (table) {
        out_extent[0] = p->page_count ? p->page_count : count_indices(table, 1);
        out_extent[1] = p->page_size;
    }
    // A few bytes of a file must not ask for all memory.
    uint64_t most = row_elems ? MAX_CACHE_ELEMS / row_elems : UINT32_MAX;
    if (out_extent[0] == 0 || out_extent[1] <= most / out_extent[0]) return true;
    return sxt_build_fail(b, "the cache would have %llu rows: too large for a case",
                          (unsigned long long)(out_extent[0] * out_extent[1]));
}

static bool add_side(const sxt_builder *b, sxt_stage *stage, const char *side, int from) {
    static const struct { const char *cache, *scale; } names[2] = {{"k_cache", "k_scale"}, {"v_cache", "v_scale"}};
    int n = side[0] == 'v', cache, scale, given = sxt_build_cache_type(b, side);
    const sxt_slot *like = &b->work->slots[from];
    const uint32_t *shape = like->shape;
    sxt_type type = given == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)given;
    bool paged = sxt_stage_slot(stage, "block_table") != SXT_NO_SLOT;
    uint64_t extent[2], dims[4];
    if (!sxt_build_check_blocks(b, side, like->name, type, shape[3]) ||
        !sxt_build_scale(b, names[n].scale, type, shape[2], &scale) ||
        !find_extent(b, shape[0], shape[1], (uint64_t)shape[2] * shape[3], extent)) {
        return false;
    }
    uint32_t rank = sxt_build_file_dims(like, extent[1], shape[2], shape[3], dims);
    if (paged) {
        memcpy(dims, (uint64_t[4]){extent[0], extent[1], shape[2], shape[3]}, sizeof dims);
        rank = 4;
    }
    uint32_t full[4] = {(uint32_t)extent[0], (uint32_t)extent[1], shape[2], shape[3]};
    if (!sxt_build_result(b, names[n].cache, type, full, rank, dims, &cache)) return false;
    b->work->slots[cache].scale = scale;
    sxt_stage_bind(stage, side, from);
    sxt_stage_bind(stage, names[n].scale, scale);
    sxt_stage_bind(stage, names[n].cache, cache);
    return true;
}

bool sxt_build_cache(const sxt_builder *b, sxt_stage *stage, int k, int v) {
    const uint32_t *shape = b->work->slots[k != SXT_NO_SLOT ? k : v].shape;
    if (k != SXT_NO_SLOT && v != SXT_NO_SLOT && memcmp(shape, b->work->slots[v].shape, 3 * sizeof *shape) != 0)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "v"), "[T, H, Dv] with the T and H of k");
    if (!bind_slots(b, stage, shape[0], shape[1]) || !bind_block_table(b, stage, shape[0])) return false;
    sxt_op_cache(stage->op, &stage->desc)->first_row = b->params.first_row;
    if (k != SXT_NO_SLOT && !add_side(b, stage, "k", k)) return false;
    return v == SXT_NO_SLOT || add_side(b, stage, "v", v);
}

// ── Brought along ──

// Bytes of a cache as they are.
static bool take_bytes(const sxt_builder *b, const sxt_array *array, sxt_type type, uint32_t shape[4], int *out_slot) {
    uint32_t size = sxt_type_size(type), block = sxt_type_block(type);
    if (shape[3] % size != 0 || shape[3] / size > UINT32_MAX / block)
        return sxt_build_fail(b, "tensor '%s': rows of %u bytes, where %s has %u for %u channels", array->name,
                              shape[3], sxt_type_name(type), size, block);
    shape[3] = shape[3] / size * block;
    *out_slot = sxt_build_slot(b, array, shape);
    sxt_slot *slot = &b->work->slots[*out_slot];
    slot->type = type;
    slot->file_shape[slot->rank - 1] = shape[3];
    return true;
}

// Numbers, converted to the cache's type.
static bool convert_numbers(const sxt_builder *b, sxt_type type, int scale, int slot) {
    sxt_slot *at = &b->work->slots[slot];
    uint64_t count = sxt_slot_count(at);
    float *values = malloc(count * sizeof *values + 1);
    void *blocks = malloc(sxt_number_bytes(type, count) + 1);
    const float *scales = scale == SXT_NO_SLOT ? NULL : b->work->slots[scale].initial;
    for (uint64_t i = 0; values && i < count; i++) {
        uint64_t head = scales && b->work->slots[scale].shape[2] > 1 ? i / at->shape[3] % at->shape[2] : 0;
        values[i] = (float)(sxt_number_get(at->type, at->initial, i) / (scales ? scales[head] : 1));
    }
    bool done = values && blocks;
    if (done) sxt_number_convert(type, blocks, count, values);
    free(values);
    at->owned = blocks;
    at->initial = blocks;
    at->type = type;
    return done || sxt_build_fail(b, "out of memory");
}

bool sxt_build_stored(const sxt_builder *b, const char *name, const char *side, int scale, int *out_slot) {
    static const int places[2][4] = {{1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = sxt_build_find(b, name);
    int type = sxt_build_cache_type(b, side);
    uint32_t shape[4];
    *out_slot = SXT_NO_SLOT;
    if (!array) return true;
    if (array->rank != 3 && array->rank != 4) return sxt_build_wrong_shape(b, array, "[rows, H, D]");
    if (!sxt_build_spread(b, array, places[array->rank - 3], shape)) return false;
    if (array->dtype == SXT_DTYPE_U8) {
        if (type == SXT_TYPE_ABSENT)
            return sxt_build_fail(b, "key '%s_type' is missing: tensor '%s' is the bytes of a cache", side, name);
        if (!take_bytes(b, array, (sxt_type)type, shape, out_slot)) return false;
    } else {
        *out_slot = sxt_build_slot(b, array, shape);
        sxt_type from = b->work->slots[*out_slot].type;
        if (type == SXT_TYPE_ABSENT) type = (int)from;
        if (!sxt_build_check_blocks(b, side, name, (sxt_type)type, shape[3])) return false;
        if (type != (int)from && !convert_numbers(b, (sxt_type)type, scale, *out_slot)) return false;
    }
    b->work->slots[*out_slot].scale = scale;
    return true;
}
