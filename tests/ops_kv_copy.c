// sxt_kv_copy on the device under test: the very bytes, and no others.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "support/cache.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(kv_copy, .init = setup, .fini = teardown);

// One of k and v.
typedef struct side {
    const char *name;
    const sxt_tensor *from, *to;
} side;

static size_t head_bytes(const sxt_tensor *cache) {
    return (size_t)cache->shape[3] / sxt_type_block(cache->type) * sxt_type_size(cache->type);
}

// Where a move's index is, in rows, or −1 where it is not there.
static int64_t first_row(const sxt_test_trial *trial, const sxt_kv_copy_desc *d, const sxt_tensor *list, uint32_t move,
                         const sxt_tensor *cache) {
    const int64_t index = sxt_test_get_int(trial, SXT_TEST_INITIAL, list, move);
    const int64_t count = (int64_t)cache->shape[0] * (d->pages ? 1 : cache->shape[1]);
    return index < 0 || index >= count ? -1 : d->pages ? index * cache->shape[1] : index;
}

static const uint8_t *head_of(const sxt_test_trial *trial, sxt_test_side at, const sxt_tensor *cache, uint64_t row,
                              uint32_t head) {
    return sxt_test_bytes(trial, at, cache, (row * cache->shape[2] + head) * cache->shape[3]);
}

// Whether a head of a row of `to` has the bytes of the row that is moved there, or, if none is, its own. (Of several
// moves to one row, each may leave a part.)
static bool head_fits(const sxt_test_trial *trial, sxt_test_side at, const sxt_kv_copy_desc *d, const side *s,
                      uint64_t row, uint32_t head) {
    const uint8_t *now = head_of(trial, at, s->to, row, head),
                  *want = head_of(trial, SXT_TEST_INITIAL, s->to, row, head);
    const uint64_t rows = d->pages ? s->from->shape[1] : 1;
    uint32_t moves = 0;
    for (uint32_t i = 0; i < d->from.shape[3]; i++) {
        const int64_t from = first_row(trial, d, &d->from, i, s->from), to = first_row(trial, d, &d->to, i, s->to);
        if (from < 0 || to < 0 || row < (uint64_t)to || row >= (uint64_t)to + rows) continue;
        want = head_of(trial, SXT_TEST_INITIAL, s->from, (uint64_t)from + row - (uint64_t)to, head);
        moves++;
    }
    return moves > 1 || memcmp(now, want, head_bytes(s->to)) == 0;
}

static void check_side(sxt_test_trial *trial, sxt_test_side at, const sxt_kv_copy_desc *d, const side *s) {
    if (!s->to->buffer) return;
    for (uint64_t row = 0; row < (uint64_t)s->to->shape[0] * s->to->shape[1]; row++)
        for (uint32_t head = 0; head < s->to->shape[2]; head++) {
            if (head_fits(trial, at, d, s, row, head)) continue;
            snprintf(trial->problem, sizeof trial->problem, "on the %s, row %llu of %s, head %u, has other bytes",
                     at == SXT_TEST_DEVICE ? "device" : "reference", (unsigned long long)row, s->name, head);
            sxt_test_require(trial, trial->problem);
        }
}

static void check(sxt_test_trial *trial, const sxt_kv_copy_desc *d) {
    sxt_test_say(trial, "kv_copy %u %s of %s [%u, %u, %u, %u] to [%u, %u]%s%s", d->from.shape[3],
                 d->pages ? "pages" : "rows", sxt_type_name(d->k_from.type), d->k_from.shape[0], d->k_from.shape[1],
                 d->k_from.shape[2], d->k_from.shape[3], d->k_to.shape[0], d->k_to.shape[1],
                 d->k_from.buffer == d->k_to.buffer ? ", in place" : "", d->v_from.buffer ? ", v " : "");
    if (d->v_from.buffer) sxt_test_say(trial, "%s of %u", sxt_type_name(d->v_from.type), d->v_from.shape[3]);
    sxt_test_run_op(trial, SXT_OP_KV_COPY, d);
    const side k = {"k_to", &d->k_from, &d->k_to}, v = {"v_to", &d->v_from, &d->v_to};
    for (int at = 0; at < 2; at++) {
        check_side(trial, (sxt_test_side)at, d, &k);
        check_side(trial, (sxt_test_side)at, d, &v);
    }
}

static sxt_tensor make(sxt_test_trial *trial, const char *name, sxt_type type, uint32_t batch, uint32_t rows,
                       uint32_t heads, uint32_t channels) {
    const sxt_tensor t = sxt_test_place(trial, name, type, batch, rows, heads, channels);
    sxt_test_fill_bits(trial, &t);
    return t;
}

static uint32_t units(const sxt_tensor *cache, bool pages) {
    return cache->shape[0] * (pages ? 1 : cache->shape[1]);
}

static int32_t outside(sxt_test_rng *rng, uint32_t count) {
    return SXT_TEST_PICK(rng, int32_t, -1, -1, INT32_MIN, INT32_MAX, (int32_t)count);
}

// Moves without an order: in place, what is read and what is written are apart, but for rows moved onto themselves.
static void fill_moves(sxt_test_trial *trial, const sxt_kv_copy_desc *d) {
    sxt_test_rng *rng = &trial->rng;
    const bool in_place = d->k_from.buffer == d->k_to.buffer;
    const uint32_t sources = units(&d->k_from, d->pages), targets = units(&d->k_to, d->pages);
    const uint32_t holes = in_place ? sources / 2 : 0; // units from here on are written
    for (uint32_t i = 0; i < d->from.shape[3]; i++) {
        const uint32_t readable = in_place ? holes : sources, writable = targets - holes;
        int32_t from = readable > 0 ? (int32_t)sxt_test_below(rng, readable) : -1;
        int32_t to = writable > 0 ? (int32_t)(holes + sxt_test_below(rng, writable)) : -1;
        if (in_place && holes > 0 && sxt_test_chance(rng, 10)) to = from;
        if (sxt_test_chance(rng, 10)) from = outside(rng, sources);
        if (sxt_test_chance(rng, 10)) to = outside(rng, targets);
        sxt_test_set_int(trial, &d->from, i, from);
        sxt_test_set_int(trial, &d->to, i, to);
    }
}

Test(kv_copy, every_byte_of_random_copies_is_right) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        const uint64_t g = sxt_test_group(first + i);
        sxt_type source, k_type, v_type = sxt_test_cache_type(rng);
        sxt_test_type_pair(g, &source, &k_type);
        // One pipeline a size of pieces: from single bytes to sixteen.
        trial.layout = (const sxt_test_layout[]){SXT_TEST_ODD, SXT_TEST_DENSE, SXT_TEST_QUADS}[(g + g / 6) % 3];
        const uint32_t heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 8), batch = sxt_test_between(rng, 1, 4);
        const uint32_t rows = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 16), any = sxt_test_between(rng, 1, 20);
        const uint32_t blocks = 32 * sxt_test_between(rng, 1, 4), odd = SXT_TEST_PICK(rng, uint32_t, 1, 3, 33, 64, 72);
        const uint32_t k_channels = sxt_type_block(k_type) > 1 ? blocks : odd;
        const uint32_t v_channels = sxt_type_block(v_type) > 1 ? blocks : sxt_test_between(rng, 1, 70);
        sxt_kv_copy_desc d = {.pages = sxt_test_chance(rng, 40)};
        const bool in_place = sxt_test_chance(rng, 40), with_v = sxt_test_chance(rng, 60);
        const uint32_t to_batch = sxt_test_between(rng, 1, 4), to_rows = d.pages ? rows : any;
        d.k_from = make(&trial, "k_from", k_type, batch, rows, heads, k_channels);
        d.k_to = in_place ? d.k_from : make(&trial, "k_to", k_type, to_batch, to_rows, heads, k_channels);
        if (with_v) {
            d.v_from = make(&trial, "v_from", v_type, batch, rows, heads, v_channels);
            d.v_to = in_place ? d.v_from : make(&trial, "v_to", v_type, to_batch, to_rows, heads, v_channels);
        }
        const uint32_t moves = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 12);
        d.from = sxt_test_place(&trial, "from", SXT_TYPE_I32, 1, 1, 1, moves);
        d.to = sxt_test_place(&trial, "to", SXT_TYPE_I32, 1, 1, 1, moves);
        fill_moves(&trial, &d);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// Many moves name one row: the row beside them, of whose bytes some share a word with theirs, is not touched.
Test(kv_copy, many_moves_to_a_row_spoil_no_other) {
    enum { ROWS = 64 };
    for (uint32_t i = 0; i < 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        trial.layout = SXT_TEST_ODD;
        const sxt_type type = (const sxt_type[]){SXT_TYPE_FP8_E4M3, SXT_TYPE_BF16, SXT_TYPE_Q8_0}[i];
        sxt_kv_copy_desc d = {0};
        d.k_from = make(&trial, "k_from", type, 1, ROWS, 1, i == 2 ? 64 : 61);
        d.k_to = make(&trial, "k_to", type, 1, 3, 1, i == 2 ? 64 : 61);
        d.from = sxt_test_dense(&trial, "from", SXT_TYPE_I32, 1, 1, 1, ROWS);
        d.to = sxt_test_dense(&trial, "to", SXT_TYPE_I32, 1, 1, 1, ROWS);
        for (uint32_t move = 0; move < ROWS; move++) {
            sxt_test_set_int(&trial, &d.from, move, (int32_t)move);
            sxt_test_set_int(&trial, &d.to, move, (int32_t)(move % 2));
        }
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}
