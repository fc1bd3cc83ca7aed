// Random cases of what fills, turns and moves a cache: kv_write, the fused qk_norm_rope, kv_shift, kv_copy.
#include "maker.h"

#include <string.h>

enum { BLOCK = 32 };

// ── Drawing a cache ──

// Rows for tokens: scrambled, some nowhere, and in a third of the cases some taken twice.
static void add_slots(sxt_maker *m, uint32_t batch, uint32_t tokens, uint32_t rows) {
    uint32_t shape[2] = {batch, tokens}, shared = batch == 1 || sxt_random_once_in(m->random, 2);
    bool repeats = sxt_random_once_in(m->random, 3);
    sxt_array *slots = sxt_make_tensor(m, "slots", SXT_DTYPE_I32, 2 - shared, shape + shared);
    sxt_scramble order = sxt_draw_scramble(m->random, rows);
    for (uint64_t i = 0; slots && i < slots->count; i++) {
        double row = sxt_scrambled(&order, i % tokens);
        if (repeats && sxt_random_once_in(m->random, 10))
            row = sxt_scrambled(&order, sxt_random_range(m->random, 0, tokens));
        sxt_make_element(slots, i, sxt_draw_or_nowhere(m->random, row, rows));
    }
}

// Pages in no order, some of them missing; of a batch each its own, or all the same.
static uint32_t add_pages(sxt_maker *m, uint32_t batch, uint32_t tokens, uint64_t row_elements) {
    static const uint32_t sizes[] = {1, 2, 3, 7, 16, 16, 31, 32, 64, 128, 255, 256};
    enum { MOST = 150000, MOST_PAGES = 1000 };
    uint32_t size = sxt_draw_one_of(m->random, sizes, 12);
    while (size > 1 && size * row_elements * batch > MOST)
        size /= 2;
    while (tokens / size > MOST_PAGES)
        size *= 2;
    uint32_t pages = (tokens + size - 1) / size + sxt_random_range(m->random, 0, 2);
    uint32_t shared = batch == 1 || sxt_random_once_in(m->random, 4), shape[2] = {batch, pages};
    uint32_t count = batch * pages + sxt_random_range(m->random, 0, 3);
    sxt_scramble order = sxt_draw_scramble(m->random, count);
    sxt_array *table = sxt_make_tensor(m, "block_table", SXT_DTYPE_I32, 2 - shared, shape + shared);
    for (uint64_t i = 0; table && i < table->count; i++)
        sxt_make_element(table, i, sxt_draw_or_nowhere(m->random, sxt_scrambled(&order, i), count));
    sxt_make_key(m, "page_size", "%u", size);
    sxt_make_key(m, "page_count", "%u", count);
    return pages * size;
}

static void add_type(sxt_maker *m, const char *key, const char *scale, uint32_t heads, uint32_t channels) {
    const char *type = sxt_draw_cache_type(m->form, channels);
    sxt_make_key(m, key, "%s", type);
    if (strcmp(type, "fp8_e4m3") == 0 && sxt_random_once_in(m->form, 2)) sxt_make_scale(m, scale, heads);
}

// The cache of keys of shape `k` and values of shape `v` (NULL: absent).
static void add_cache(sxt_maker *m, const uint32_t *k, const uint32_t *v) {
    const uint32_t *shape = k ? k : v;
    uint64_t row_elements = (uint64_t)shape[2] * (k && v && v[3] > k[3] ? v[3] : shape[3]);
    uint32_t rows = shape[1] + sxt_random_range(m->random, 0, 40);
    if (k) add_type(m, "k_type", "k_scale", k[2], k[3]);
    if (v) add_type(m, "v_type", "v_scale", v[2], v[3]);
    if (sxt_random_once_in(m->form, 2))
        rows = add_pages(m, shape[0], shape[1], row_elements);
    else
        sxt_make_key(m, "rows", "%u", rows);
    if (sxt_random_once_in(m->form, 2))
        add_slots(m, shape[0], shape[1], rows);
    else
        sxt_make_key(m, "first_row", "%u", sxt_random_range(m->random, 0, rows - shape[1]));
}

// ── Families ──

void sxt_family_kv_write(sxt_maker *m) {
    // From far below the smallest f16 to above its largest.
    static const double sizes[] = {1, 1, 1e-7, 1e5};
    sxt_random *form = m->form, *random = m->random;
    uint32_t k[4], v[4], skip = sxt_draw_batch(m, &k[0]), sides = sxt_random_range(form, 0, 3);
    k[3] = sxt_random_once_in(form, 2) ? sxt_draw_size(form, 257) : BLOCK * sxt_random_range(form, 1, 8);
    k[2] = sxt_draw_size(random, 17);
    k[1] = sxt_draw_tokens(random, (uint64_t)k[0] * k[2] * k[3], 40000);
    memcpy(v, k, sizeof v);
    if (sxt_random_once_in(form, 3)) v[3] = sxt_draw_size(form, 257);
    bool has_k = sides != 1, has_v = sides != 2; // half of the cases have both
    sxt_make_key(m, "op", "kv_write");
    if (has_k)
        sxt_make_normal(m, "k", sxt_draw_float(form), 4 - skip, k + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    if (has_v)
        sxt_make_normal(m, "v", sxt_draw_float(form), 4 - skip, v + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    sxt_make_spoilt(m, "k");
    sxt_make_spoilt(m, "v");
    add_cache(m, has_k ? k : NULL, has_v ? v : NULL);
    sxt_make_layout(m);
}

// Where the results of a fused norm and rotation go.
static void add_fused_outputs(sxt_maker *m, const uint32_t *q, const uint32_t *k, const uint32_t *v, bool cached) {
    if (cached) add_cache(m, k, v);
    if ((q || !cached) && sxt_random_once_in(m->form, 4))
        sxt_make_key(m, "out_type", "%s", sxt_draw_cache_type(m->form, (q ? q : k)[3]));
    else
        sxt_make_output(m, true);
}

void sxt_family_qk_norm_rope(sxt_maker *m) {
    sxt_random *form = m->form, *random = m->random;
    uint32_t q[4], k[4], v[4], skip = sxt_draw_batch(m, &q[0]);
    q[3] = sxt_random_once_in(form, 2) ? sxt_draw_rotary_head(form) : BLOCK * sxt_random_range(form, 1, 8);
    q[2] = sxt_draw_size(random, 33);
    q[1] = sxt_draw_tokens(random, (uint64_t)q[0] * q[2] * q[3], 30000);
    memcpy(k, q, sizeof k);
    k[2] = sxt_draw_size(random, 17);
    memcpy(v, k, sizeof v);
    if (sxt_random_once_in(form, 4)) v[3] = BLOCK * sxt_random_range(form, 1, 8);
    bool has_q = !sxt_random_once_in(form, 8), has_k = !has_q || !sxt_random_once_in(form, 8);
    bool cached = has_k && !sxt_random_once_in(form, 3), has_v = cached && !sxt_random_once_in(form, 4);
    bool norms = !sxt_random_once_in(form, 5);
    sxt_make_key(m, "op", "qk_norm_rope");
    if (norms)
        sxt_make_norm_keys(m, "norm", false);
    else
        sxt_make_key(m, "norm", "none");
    if (has_q) sxt_make_normal(m, "q", sxt_draw_float(form), 4 - skip, q + skip, 0, 2);
    if (has_k) sxt_make_normal(m, "k", sxt_draw_float(form), 4 - skip, k + skip, 0, 2);
    if (has_v) sxt_make_normal(m, "v", sxt_draw_float(form), 4 - skip, v + skip, 0, 2);
    sxt_make_spoilt(m, "q");
    sxt_make_spoilt(m, "k");
    sxt_make_spoilt(m, "v");
    if (has_v && norms && sxt_random_once_in(form, 4)) sxt_make_key(m, "normalise_v", "true");
    if (has_q && norms && sxt_random_once_in(form, 2)) sxt_make_repeated(m, "q_weight", 4 - skip, q + skip);
    if (has_k && norms && sxt_random_once_in(form, 2)) sxt_make_repeated(m, "k_weight", 4 - skip, k + skip);
    if (sxt_random_once_in(form, 8))
        sxt_make_key(m, "pairing", "none");
    else
        sxt_make_positions(m, "positions", sxt_make_rope(m, q[3]), !skip, q[0], q[1]);
    add_fused_outputs(m, has_q ? q : NULL, has_k ? k : NULL, has_v ? v : NULL, cached);
    sxt_make_layout(m);
}

void sxt_family_kv_shift(sxt_maker *m) {
    sxt_random *form = m->form, *random = m->random;
    uint32_t k[4], skip = sxt_draw_batch(m, &k[0]);
    k[3] = sxt_random_once_in(form, 2) ? sxt_draw_rotary_head(form) : BLOCK * sxt_random_range(form, 1, 8);
    k[2] = sxt_draw_size(random, 17);
    k[1] = sxt_draw_tokens(random, (uint64_t)k[0] * k[2] * k[3], 40000);
    sxt_make_key(m, "op", "kv_shift");
    sxt_make_normal(m, "k", SXT_DTYPE_F32, 4 - skip, k + skip, 0, 2);
    sxt_make_spoilt(m, "k");
    add_type(m, "k_type", "k_scale", k[2], k[3]);
    sxt_make_positions(m, "deltas", sxt_make_rope(m, k[3]), !skip, k[0], k[1]);
    sxt_make_layout(m);
}

// Content of a cache: numbers, or where the type is coded any bytes at all.
static void add_content(sxt_maker *m, const char *name, const char *type, const uint32_t shape[4]) {
    static const struct {
        const char *type;
        uint32_t block, bytes;
    } coded[] = {{"q8_0", 32, 34}, {"q4_0", 32, 18}, {"fp8_e4m3", 1, 1}};
    for (int i = 0; i < 3; i++) {
        if (strcmp(type, coded[i].type) != 0) continue;
        uint32_t bytes[4] = {shape[0], shape[1], shape[2], shape[3] / coded[i].block * coded[i].bytes};
        sxt_array *array = sxt_make_tensor(m, name, SXT_DTYPE_U8, 4, bytes);
        for (uint64_t b = 0; array && b < array->bytes; b++)
            ((uint8_t *)array->data)[b] = (uint8_t)sxt_random_bits(m->random);
        return;
    }
    sxt_make_normal(m, name, SXT_DTYPE_F32, 4, shape, 0, 1);
    sxt_make_spoilt(m, name);
}

// Moves from some rows (or pages) to others. Within one cache no row is both, and none is written twice.
static void add_moves(sxt_maker *m, uint32_t from_count, uint32_t to_count, bool within) {
    uint32_t most = within ? to_count / 2 : to_count, moves = most > 0 ? sxt_random_range(m->random, 1, most) : 0;
    sxt_scramble order = sxt_draw_scramble(m->random, to_count);
    sxt_array *from = sxt_make_tensor(m, "from", SXT_DTYPE_I32, 1, &moves);
    for (uint64_t i = 0; from && i < moves; i++) {
        uint32_t any = sxt_random_range(m->random, 0, (within ? to_count - moves : from_count) - 1);
        double row = within ? sxt_scrambled(&order, moves + (uint64_t)any) : any;
        if (within && sxt_random_once_in(m->random, 20)) row = sxt_scrambled(&order, i); // onto itself
        sxt_make_element(from, i, sxt_draw_or_nowhere(m->random, row, from_count));
    }
    sxt_array *to = sxt_make_tensor(m, "to", SXT_DTYPE_I32, 1, &moves);
    for (uint64_t i = 0; to && i < moves; i++)
        sxt_make_element(to, i, sxt_draw_or_nowhere(m->random, sxt_scrambled(&order, i), to_count));
}

void sxt_family_kv_copy(sxt_maker *m) {
    sxt_random *form = m->form, *random = m->random;
    uint32_t k[4], v[4], to[4];
    bool has_v = !sxt_random_once_in(form, 3), within = sxt_random_once_in(form, 2),
         pages = sxt_random_once_in(form, 3);
    k[3] = sxt_random_once_in(form, 2) ? sxt_draw_size(form, 257) : BLOCK * sxt_random_range(form, 1, 8);
    k[2] = sxt_draw_size(random, 9);
    k[0] = sxt_random_once_in(random, 3) && !pages ? 1 : sxt_random_range(random, 2, 9);
    k[1] = sxt_draw_tokens(random, (uint64_t)k[0] * k[2] * k[3], 30000);
    memcpy(v, k, sizeof v);
    if (sxt_random_once_in(form, 2)) v[3] = BLOCK * sxt_random_range(form, 1, 8);
    const char *k_type = sxt_draw_cache_type(form, k[3]), *v_type = sxt_draw_cache_type(form, v[3]);
    sxt_make_key(m, "op", "kv_copy");
    sxt_make_key(m, "k_type", "%s", k_type);
    add_content(m, "k", k_type, k);
    if (has_v) sxt_make_key(m, "v_type", "%s", v_type);
    if (has_v) add_content(m, "v", v_type, v);
    memcpy(to, k, sizeof to);
    if (!within) {
        to[0] = sxt_random_range(random, 1, 9);
        if (!pages) to[1] = sxt_draw_size(random, k[1] + 1);
        add_content(m, "k_to", k_type, to);
        to[3] = v[3];
        if (has_v) add_content(m, "v_to", v_type, to);
    }
    if (pages) sxt_make_key(m, "pages", "true");
    add_moves(m, pages ? k[0] : k[0] * k[1], pages ? to[0] : to[0] * to[1], within);
    sxt_make_layout(m);
}
