#include "support/cache.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 256, MAX_PAGES = 4, SPARE_PAGES = 2 };

static const sxt_type cache_types[] = {SXT_TYPE_F16,  SXT_TYPE_Q8_0, SXT_TYPE_FP8_E4M3,
                                       SXT_TYPE_Q4_0, SXT_TYPE_BF16, SXT_TYPE_F32};

void sxt_test_type_pair(uint64_t n, sxt_type *out_source, sxt_type *out_cache) {
    static const sxt_type sources[] = {SXT_TYPE_F32, SXT_TYPE_BF16, SXT_TYPE_F16};
    *out_source = sources[(n + n / 6) % 3];
    *out_cache = cache_types[n % 6];
}

sxt_type sxt_test_cache_type(sxt_test_rng *rng) {
    return cache_types[sxt_test_below(rng, 6)];
}

sxt_tensor sxt_test_make_scale(sxt_test_trial *trial, const char *name, uint32_t heads) {
    sxt_test_rng *rng = &trial->rng;
    const uint32_t count = sxt_test_chance(rng, 50) ? 1 : heads;
    const sxt_tensor scale = sxt_test_place(trial, name, SXT_TYPE_F32, 1, 1, count, 1);
    for (uint32_t h = 0; h < count; h++) {
        const double any = exp2(sxt_test_uniform(rng, -20, 20));
        sxt_test_set(trial, &scale, h, SXT_TEST_PICK(rng, double, 1, 3, 0.01, any, any, exp2(floor(log2(any)))));
    }
    return scale;
}

double sxt_test_scale(const sxt_test_trial *trial, const sxt_tensor *scale, uint32_t head) {
    return scale->buffer ? sxt_test_get(trial, SXT_TEST_INITIAL, scale, scale->shape[2] > 1 ? head : 0) : 1;
}

static const sxt_tensor *any_of(const sxt_kv_cache *cache) {
    return cache->k.buffer ? &cache->k : &cache->v;
}

int64_t sxt_test_cache_row(const sxt_test_trial *trial, const sxt_kv_cache *cache, uint32_t batch, uint32_t token) {
    const sxt_tensor *slots = &cache->slots, *table = &cache->block_table;
    const int64_t rows = any_of(cache)->shape[1], pages = any_of(cache)->shape[0];
    int64_t row = (int64_t)cache->first_row + token;
    if (slots->buffer) {
        const uint64_t at = sxt_test_at(slots, 0, slots->shape[1] > 1 ? batch : 0, 0, token);
        row = sxt_test_get_int(trial, SXT_TEST_INITIAL, slots, at);
    }
    if (row < 0) return -1;
    if (!table->buffer) return row < rows ? batch * rows + row : -1;
    if (row / rows >= table->shape[3]) return -1;
    const uint64_t at = sxt_test_at(table, 0, 0, table->shape[2] > 1 ? batch : 0, (uint32_t)(row / rows));
    const int32_t page = sxt_test_get_int(trial, SXT_TEST_INITIAL, table, at);
    return page >= 0 && page < pages ? page * rows + row % rows : -1;
}

// Slots from 0 to `rows` − 1 in any order, and some of every kind that is dropped.
static void fill_slots(sxt_test_trial *trial, const sxt_tensor *slots, uint32_t rows) {
    sxt_test_rng *rng = &trial->rng;
    for (uint64_t n = 0; n < sxt_test_count(slots); n++) {
        const int32_t outside = SXT_TEST_PICK(rng, int32_t, -1, -1, -2, INT32_MIN, INT32_MAX, 1 << 24, (int32_t)rows);
        const int32_t inside = (int32_t)sxt_test_below(rng, rows);
        sxt_test_set_int(trial, slots, n, sxt_test_chance(rng, 20) ? outside : inside);
    }
}

// Each page once, in any order; some are not there.
static void fill_table(sxt_test_trial *trial, const sxt_tensor *table, uint32_t pages) {
    sxt_test_rng *rng = &trial->rng;
    int32_t order[64];
    cr_assert(pages <= 64 && sxt_test_count(table) <= pages);
    for (uint32_t i = 0; i < pages; i++)
        order[i] = (int32_t)i;
    for (uint32_t n = 0; n < sxt_test_count(table); n++) {
        const uint32_t other = sxt_test_between(rng, n, pages - 1);
        const int32_t page = order[other];
        order[other] = order[n];
        const int32_t outside = SXT_TEST_PICK(rng, int32_t, -1, -1, INT32_MIN, INT32_MAX, (int32_t)pages);
        sxt_test_set_int(trial, table, n, sxt_test_chance(rng, 10) ? outside : page);
    }
}

// Drops all tokens of a row but the first, and fails if one cannot be.
static void drop_repeats(sxt_test_trial *trial, const sxt_kv_cache *cache, uint32_t batch, uint32_t tokens) {
    int64_t taken[MAX_TOKENS];
    for (uint32_t i = 0; i < batch * tokens; i++) {
        taken[i] = sxt_test_cache_row(trial, cache, i / tokens, i % tokens);
        for (uint32_t j = 0; j < i && taken[i] >= 0; j++) {
            if (taken[j] != taken[i]) continue;
            cr_assert(cache->slots.buffer && cache->slots.shape[1] == batch, "there is no slot to drop a token by");
            sxt_test_set_int(trial, &cache->slots, sxt_test_at(&cache->slots, 0, i / tokens, 0, i % tokens), -1);
            taken[i] = -1;
        }
    }
}

// Its tensors of keys and values: apart, or each row's values after its keys.
static void make_sides(sxt_test_trial *trial, const sxt_test_cache_form *form, uint32_t batch, uint32_t rows,
                       uint32_t heads, const uint32_t channels[2], sxt_kv_cache *cache) {
    const uint32_t k = channels[0], v = channels[1];
    if (form->has_k && form->has_v && form->k == form->v && sxt_test_chance(&trial->rng, 25)) {
        const sxt_tensor both = sxt_test_place(trial, "woven cache", form->k, batch, rows, heads, k + v);
        const uint32_t block = sxt_type_block(form->k);
        sxt_test_fill_bits(trial, &both);
        cache->k = cache->v = both;
        cache->k.shape[3] = k;
        cache->v.shape[3] = v;
        cache->v.offset_bytes += k / block * sxt_type_size(form->k);
        return;
    }
    if (form->has_k) {
        cache->k = sxt_test_place(trial, "k_cache", form->k, batch, rows, heads, k);
        sxt_test_fill_bits(trial, &cache->k);
    }
    if (form->has_v) {
        cache->v = sxt_test_place(trial, "v_cache", form->v, batch, rows, heads, v);
        sxt_test_fill_bits(trial, &cache->v);
    }
}

sxt_kv_cache sxt_test_make_cache(sxt_test_trial *trial, const sxt_test_cache_form *form, uint32_t batch,
                                 uint32_t tokens, uint32_t heads, uint32_t k_channels, uint32_t v_channels,
                                 bool repeats) {
    sxt_test_rng *rng = &trial->rng;
    sxt_kv_cache cache = {0};
    cr_assert(batch * tokens <= MAX_TOKENS);
    uint32_t rows = tokens + sxt_test_between(rng, 1, 20), pages = 1;
    if (form->paged) {
        const bool large = k_channels <= 64 && heads <= 2 && sxt_test_chance(rng, 5);
        rows = large ? SXT_TEST_PICK(rng, uint32_t, 128, 255, 256) : SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 8, 16, 17);
        const uint32_t needed = (tokens + rows - 1) / rows;
        pages = needed + sxt_test_below(rng, MAX_PAGES);
        if (pages == 0) pages = 1;
    }
    const bool shared_table = form->paged && (batch == 1 || (repeats && sxt_test_chance(rng, 50)));
    const uint32_t sequences = shared_table ? 1 : batch;
    const uint32_t all_pages = form->paged ? sequences * pages + sxt_test_below(rng, SPARE_PAGES + 1) : batch;
    make_sides(trial, form, all_pages, rows, heads, (const uint32_t[]){k_channels, v_channels}, &cache);
    if (form->paged) {
        cache.block_table = sxt_test_place(trial, "block_table", SXT_TYPE_I32, 1, 1, sequences, pages);
        fill_table(trial, &cache.block_table, all_pages);
    }
    if (form->slots) {
        const bool shared = repeats && sxt_test_chance(rng, 30);
        cache.slots = sxt_test_place(trial, "slots", SXT_TYPE_I32, 1, shared ? 1 : batch, 1, tokens);
        fill_slots(trial, &cache.slots, form->paged ? rows * pages : rows);
    } else {
        cache.first_row = sxt_test_below(rng, (form->paged ? rows * pages : rows) - tokens + 1);
    }
    if (!repeats) drop_repeats(trial, &cache, batch, tokens);
    if (form->k_scaled && form->has_k && form->k == SXT_TYPE_FP8_E4M3)
        cache.k_scale = sxt_test_make_scale(trial, "k_scale", heads);
    if (form->v_scaled && form->has_v && form->v == SXT_TYPE_FP8_E4M3)
        cache.v_scale = sxt_test_make_scale(trial, "v_scale", heads);
    return cache;
}

typedef struct cache_check {
    sxt_test_trial *trial;
    sxt_test_side side;
    uint32_t batch, tokens;
    const int64_t *rows; // of each token
    sxt_test_row_fits *fits;
    const void *context;
} cache_check;

// Whether head `head` of cache row `row` holds what its token leaves there, or else what it had.
static bool row_fits(const cache_check *c, bool is_v, const sxt_tensor *side, uint32_t row, uint32_t head) {
    const uint64_t n = sxt_test_at(side, row / side->shape[1], row % side->shape[1], head, 0);
    const uint8_t *data = sxt_test_bytes(c->trial, c->side, side, n);
    uint32_t takers = 0, taker = 0;
    for (uint32_t i = 0; i < c->batch * c->tokens; i++)
        if (c->rows[i] == row) {
            takers++;
            taker = i;
        }
    if (takers > 1) return true;
    if (takers == 1) return c->fits(c->trial, c->context, is_v, taker / c->tokens, taker % c->tokens, head, data);
    const size_t bytes = (size_t)side->shape[3] / sxt_type_block(side->type) * sxt_type_size(side->type);
    return memcmp(data, sxt_test_bytes(c->trial, SXT_TEST_INITIAL, side, n), bytes) == 0;
}

static const char *check_side(const cache_check *c, bool is_v, const sxt_tensor *side) {
    if (!side->buffer) return NULL;
    for (uint32_t row = 0; row < side->shape[0] * side->shape[1]; row++)
        for (uint32_t head = 0; head < side->shape[2]; head++) {
            if (row_fits(c, is_v, side, row, head)) continue;
            snprintf(c->trial->problem, sizeof c->trial->problem, "on the %s, row %u of cache.%c, head %u, is not %s",
                     c->side == SXT_TEST_DEVICE ? "device" : "reference", row, is_v ? 'v' : 'k', head,
                     "what a token leaves there, or not what it was if no token does");
            return c->trial->problem;
        }
    return NULL;
}

const char *sxt_test_check_cache(sxt_test_trial *trial, sxt_test_side side, const sxt_kv_cache *cache, uint32_t batch,
                                 uint32_t tokens, sxt_test_row_fits *fits, const void *context) {
    int64_t rows[MAX_TOKENS];
    for (uint32_t i = 0; i < batch * tokens; i++)
        rows[i] = sxt_test_cache_row(trial, cache, i / tokens, i % tokens);
    const cache_check check = {trial, side, batch, tokens, rows, fits, context};
    const char *problem = check_side(&check, false, &cache->k);
    return problem ? problem : check_side(&check, true, &cache->v);
}

void sxt_test_say_cache(sxt_test_trial *trial, const sxt_kv_cache *cache) {
    const sxt_tensor *any = any_of(cache);
    if (!any->buffer) return;
    sxt_test_say(trial, ", %u %s of %u rows%s", any->shape[0], cache->block_table.buffer ? "pages" : "batches",
                 any->shape[1], cache->slots.buffer ? ", slots" : "");
    if (cache->k.buffer) sxt_test_say(trial, ", cache.k %s", sxt_type_name(cache->k.type));
    if (cache->k_scale.buffer) sxt_test_say(trial, " scaled");
    if (cache->v.buffer) sxt_test_say(trial, ", cache.v %s", sxt_type_name(cache->v.type));
    if (cache->v_scale.buffer) sxt_test_say(trial, " scaled");
}
