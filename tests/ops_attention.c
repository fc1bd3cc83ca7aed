// sxt_attention on the device under test: random forms and shapes against the reference, and the rows that other
// libraries get wrong.
#include <criterion/criterion.h>
#include <math.h>

#include "support/attention.h"
#include "support/bound.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention, .init = setup, .fini = teardown);

typedef struct shape {
    uint32_t batch, queries, keys, q_heads, kv_heads, dim, v_dim;
    sxt_type q, k, v, o;
    bool lse;
} shape;

// Tensors of a description, filled: queries and keys so that scores spread over a few units, as in models.
static sxt_attention_desc make(sxt_test_trial *trial, const shape *s) {
    sxt_attention_desc d = {0};
    d.q = sxt_test_place(trial, "q", s->q, s->batch, s->queries, s->q_heads, s->dim);
    d.k = sxt_test_place(trial, "k", s->k, s->batch, s->keys, s->kv_heads, s->dim);
    d.v = sxt_test_place(trial, "v", s->v, s->batch, s->keys, s->kv_heads, s->v_dim);
    d.o = sxt_test_place(trial, "o", s->o, s->batch, s->queries, s->q_heads, s->v_dim);
    if (s->lse) d.lse = sxt_test_place(trial, "lse", SXT_TYPE_F32, s->batch, s->queries, s->q_heads, 1);
    sxt_test_fill_normal(trial, &d.q, 0, 1.5);
    sxt_test_fill_normal(trial, &d.k, 0, 1);
    sxt_test_fill_normal(trial, &d.v, 0, 1);
    return d;
}

static shape random_shape(sxt_test_rng *rng, sxt_test_rng *group) {
    // Kernels take heads of up to so many channels; any multiple of four below is a case of the same pipeline.
    const uint32_t most = SXT_TEST_PICK(group, uint32_t, 32, 64, 128, 128, 256);
    shape s = {
        .dim = most - 4 * (sxt_test_chance(rng, 50) ? sxt_test_below(rng, most / 8) : 0),
        .q = sxt_test_float_type(group),
        .k = sxt_test_float_type(group),
        .v = sxt_test_float_type(group),
        .o = sxt_test_float_type(group),
        .batch = sxt_test_between(rng, 1, 3),
        .queries = SXT_TEST_PICK(rng, uint32_t, 0, 1, 1, 2, 3, 7, 15, 16, 17, 31, 33, 47),
        .keys = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 130),
        .kv_heads = sxt_test_between(rng, 1, 3),
        .lse = sxt_test_chance(rng, 60),
    };
    s.v_dim = sxt_test_chance(rng, 60) ? s.dim : 4 * sxt_test_between(rng, 1, most / 4);
    if (most > 128) { // where each is a pipeline of its own, and so is every mix of types
        s.k = s.v = SXT_TEST_PICK(group, sxt_type, SXT_TYPE_F16, SXT_TYPE_F32);
        s.dim = most - 4 * sxt_test_below(group, most / 8);
        s.v_dim = sxt_test_chance(group, 60) ? s.dim : 4 * sxt_test_between(group, 1, most / 4);
    }
    s.q_heads = s.kv_heads * SXT_TEST_PICK(rng, uint32_t, 1, 1, 2, 3, 4, 7);
    // Time goes with the product: large heads get few of them.
    if (s.dim > 96) s.batch = 1;
    return s;
}

// Devices may have a kernel of its own for every head dim and mix of types where there is much to do: few of these,
// since compiling takes longer than computing.
static void narrow_if_large(sxt_test_rng *group, shape *s) {
    const uint64_t large = 1 << 24;
    const uint32_t most = SXT_TEST_PICK(group, uint32_t, 64, 96, 128);
    if (2ull * (s->dim + s->v_dim) * s->batch * s->queries * s->q_heads * s->keys < large) return;
    s->dim = s->v_dim = most;
    s->v = s->k;
    s->q = s->o = SXT_TYPE_F32;
}

static void add_masks(sxt_test_rng *rng, const shape *s, sxt_attention_desc *d) {
    d->causal = sxt_test_chance(rng, 50);
    if (sxt_test_chance(rng, 30)) {
        d->windowed = true;
        d->window_left = (int32_t)sxt_test_below(rng, s->keys + 2) - 1;
        d->window_right = (int32_t)sxt_test_below(rng, s->keys + 2) - 1;
    }
    if (sxt_test_chance(rng, 30)) d->scale = SXT_TEST_PICK(rng, float, 1, 0.05f, -0.1f);
}

static void add_features(sxt_test_trial *trial, const shape *s, sxt_attention_desc *d) {
    sxt_test_rng *rng = &trial->rng;
    if (sxt_test_chance(rng, 40)) d->softcap = SXT_TEST_PICK(rng, float, 1, 20, 50);
    if (sxt_test_chance(rng, 40)) {
        const sxt_type type = sxt_test_chance(rng, 50) ? SXT_TYPE_F32 : SXT_TYPE_F16;
        d->bias = sxt_test_place(trial, "bias", type, sxt_test_chance(rng, 50) ? 1 : s->batch,
                                 sxt_test_chance(rng, 50) ? 1 : s->q_heads, s->queries, s->keys > 0 ? s->keys : 1);
        sxt_test_fill_normal(trial, &d->bias, 0, 2);
    }
    if (sxt_test_chance(rng, 40)) {
        d->alibi_slopes = sxt_test_dense(trial, "alibi_slopes", SXT_TYPE_F32, 1, 1, 1, s->q_heads);
        for (uint32_t h = 0; h < s->q_heads; h++)
            sxt_test_set(trial, &d->alibi_slopes, h, exp2(-8.0 * (h + 1) / s->q_heads));
    }
}

typedef enum form { PLAIN, FEATURES, BLOCKS } form;

static void run_random(uint64_t seed, form what) {
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, seed);
    sxt_test_rng group = sxt_test_group_rng(seed);
    trial.layout = SXT_TEST_PICK(&group, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
    shape s = random_shape(&trial.rng, &group);
    narrow_if_large(&group, &s);
    if (what == FEATURES && s.keys == 0) s.keys = 3;
    if (what == BLOCKS) {
        const uint32_t which = sxt_test_below(&group, 3); // K and V, K, V
        if (which != 2) s.k = SXT_TYPE_Q8_0;
        if (which != 1) s.v = SXT_TYPE_Q8_0;
        s.dim = (s.dim + 31) / 32 * 32;
        s.v_dim = (s.v_dim + 31) / 32 * 32;
    }
    sxt_attention_desc d = make(&trial, &s);
    add_masks(&trial.rng, &s, &d);
    if (what == FEATURES) add_features(&trial, &s, &d);
    if (what == FEATURES || sxt_test_chance(&trial.rng, 20)) {
        d.sinks = sxt_test_dense(&trial, "sinks", SXT_TYPE_F32, 1, 1, 1, s.q_heads);
        sxt_test_fill_normal(&trial, &d.sinks, 0, 2);
    }
    sxt_test_attention_check(&trial, &d, 5e-6);
    sxt_test_trial_finish(&trial);
}

Test(attention, random_shapes_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(768);
    for (uint32_t i = 0; i < cases; i++)
        run_random(first + i, PLAIN);
}

Test(attention, random_softcap_bias_alibi_and_sinks_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(128);
    for (uint32_t i = 0; i < cases; i++)
        run_random(first + i, FEATURES);
}

// The reference runs on the dequantised values, so the bounds are those of f32 arithmetic as for any type.
Test(attention, random_q8_0_keys_and_values_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(128);
    for (uint32_t i = 0; i < cases; i++)
        run_random(first + i, BLOCKS);
}

// Few queries over many keys, which some devices cut into splits. Few groups of types: kernels for these are large.
static void run_decode(uint64_t seed) {
    const uint32_t n = (uint32_t)(seed % 60);
    static const sxt_type types[] = {SXT_TYPE_F16, SXT_TYPE_Q8_0, SXT_TYPE_BF16, SXT_TYPE_F32};
    static const struct {
        uint32_t dim, v_dim, group;
    } heads[] = {{128, 128, 4}, {64, 64, 8}, {96, 32, 3}, {256, 256, 2}, {32, 32, 1}};
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, seed);
    trial.layout = n % 3 == 0 ? SXT_TEST_DENSE : SXT_TEST_QUADS;
    sxt_test_rng *rng = &trial.rng;
    const uint32_t h = n / 4 % 5;
    shape s = {
        .dim = heads[h].dim,
        .v_dim = heads[h].v_dim,
        .q = n % 5 == 4 ? SXT_TYPE_F16 : SXT_TYPE_F32,
        .k = types[n % 4],
        .v = types[n % 4],
        .o = n % 5 == 4 ? SXT_TYPE_F16 : SXT_TYPE_F32,
        .batch = sxt_test_between(rng, 1, 2),
        .queries = n % 2 ? 1 : SXT_TEST_PICK(rng, uint32_t, 1, 2, 4),
        .keys = sxt_test_between(rng, 256, 1300),
        .kv_heads = sxt_test_between(rng, 1, 3),
        .lse = sxt_test_chance(rng, 60),
    };
    s.q_heads = s.kv_heads * heads[h].group;
    sxt_attention_desc d = make(&trial, &s);
    d.causal = sxt_test_chance(rng, 70);
    if (sxt_test_chance(rng, 30)) {
        d.windowed = true;
        d.window_left = (int32_t)sxt_test_between(rng, 250, 700);
        d.window_right = (int32_t)sxt_test_below(rng, 3) - 1;
    }
    if (h == 1 || h == 2) add_features(&trial, &s, &d);
    if (sxt_test_chance(rng, 40)) {
        d.sinks = sxt_test_dense(&trial, "sinks", SXT_TYPE_F32, 1, 1, 1, s.q_heads);
        sxt_test_fill_normal(&trial, &d.sinks, 0, 2);
    }
    sxt_test_attention_check(&trial, &d, 5e-6);
    sxt_test_trial_finish(&trial);
}

Test(attention, random_decode_over_long_caches_matches_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(24);
    for (uint32_t i = 0; i < cases; i++)
        run_decode(first + i);
}

// The forms that models run in, once each, with more keys than one tile.
// The rest has one layout, and few types: each further one costs every driver the time of a compiler.
static void begin(sxt_test_trial *trial, uint64_t seed) {
    sxt_test_trial_init(trial, &bench, seed);
    trial->layout = SXT_TEST_DENSE;
}

Test(attention, shapes_of_models_match_the_reference) {
    static const struct {
        shape shape;
        bool causal;
    } rows[] = {
        {{1, 130, 130, 4, 2, 128, 128, SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F32, true}, true},
        {{1, 1, 1023, 8, 2, 128, 128, SXT_TYPE_F32, SXT_TYPE_BF16, SXT_TYPE_BF16, SXT_TYPE_F32, true}, true},
        {{1, 77, 300, 2, 2, 64, 64, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, false}, false},
        {{2, 5, 257, 8, 1, 64, 64, SXT_TYPE_BF16, SXT_TYPE_BF16, SXT_TYPE_BF16, SXT_TYPE_BF16, true}, true},
        {{1, 40, 40, 4, 2, 256, 256, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F16, false}, true},
        {{1, 3, 4099, 2, 1, 32, 32, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, true}, true},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        sxt_attention_desc d = make(&trial, &rows[i].shape);
        d.causal = rows[i].causal;
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

static void require_empty_row(sxt_test_trial *trial, const sxt_attention_desc *d, uint64_t row, double lse) {
    for (uint32_t c = 0; c < d->v.shape[3]; c++)
        sxt_test_require(trial, sxt_test_get(trial, SXT_TEST_DEVICE, &d->o, row * d->v.shape[3] + c) == 0
                                    ? NULL
                                    : "o of a row that sees no key is not 0");
    if (d->lse.buffer)
        sxt_test_require(trial, sxt_test_get(trial, SXT_TEST_DEVICE, &d->lse, row) == lse
                                    ? NULL
                                    : "lse of a row that sees no key is not -inf");
}

// Causal with more queries than keys: the first Tq − Tk rows see nothing.
Test(attention, fully_masked_row_gives_zero) {
    static const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16};
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        const shape s = {1, 40, 3, 4, 2, 64, 64, SXT_TYPE_F32, types[i], types[i], types[i], true};
        sxt_attention_desc d = make(&trial, &s);
        d.causal = true;
        sxt_test_attention_check(&trial, &d, 5e-6);
        for (uint32_t row = 0; row < 37 * 4; row++)
            require_empty_row(&trial, &d, row, -INFINITY);
        sxt_test_trial_finish(&trial);
    }
}

Test(attention, no_keys_give_zero) {
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        const shape s = {2, 5, 0, 4, 2, 64, 32, SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F32, true};
        sxt_attention_desc d = make(&trial, &s);
        d.causal = i == 1;
        sxt_test_attention_check(&trial, &d, 5e-6);
        for (uint32_t row = 0; row < 2 * 5 * 4; row++)
            require_empty_row(&trial, &d, row, -INFINITY);
        sxt_test_trial_finish(&trial);
    }
}

Test(attention, masked_row_with_a_sink_has_its_lse) {
    static sxt_test_trial trial;
    begin(&trial, 1);
    const shape s = {1, 9, 2, 2, 1, 64, 64, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, true};
    sxt_attention_desc d = make(&trial, &s);
    d.causal = true;
    d.sinks = sxt_test_dense(&trial, "sinks", SXT_TYPE_F32, 1, 1, 1, 2);
    sxt_test_set(&trial, &d.sinks, 0, 0.75);
    sxt_test_set(&trial, &d.sinks, 1, -90);
    sxt_test_attention_check(&trial, &d, 5e-6);
    for (uint32_t row = 0; row < 7 * 2; row++) {
        const double lse = sxt_test_get(&trial, SXT_TEST_DEVICE, &d.lse, row), sink = row % 2 ? -90 : 0.75;
        for (uint32_t c = 0; c < 64; c++)
            cr_assert(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, row * 64 + c) == 0, "o is not 0");
        cr_assert(fabs(lse - sink) <= 4 * SXT_TEST_U * fabs(sink), "lse is %.9g, not %g", lse, sink);
    }
    sxt_test_trial_finish(&trial);
}

// Content of keys and values that no query sees is free: NaN, Inf, anything. Rows must have the bits that zeros there
// give.
Test(attention, nan_in_masked_keys_never_reaches_a_result) {
    static const double garbage[] = {NAN, INFINITY, -INFINITY, 3e38};
    static const struct {
        uint32_t queries, keys, first, last; // keys first … last are hidden from every query
        bool causal;
        int32_t left;
    } rows[] = {
        {1, 70, 0, 48, true, 20},    // decode with a window: the oldest keys
        {16, 80, 0, 43, true, 20},   // a chunk with a window
        {33, 90, 0, 36, false, 20},  // not causal
        {1, 700, 0, 398, true, 300}, // in splits
        {3, 701, 0, 396, true, 301}, // in splits, and rows see different keys
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    for (uint32_t i = 0; i < ROWS * 4 * 2; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        const uint32_t n = i % ROWS;
        const sxt_type type = i / (4 * ROWS) ? SXT_TYPE_F32 : SXT_TYPE_F16; // where 3e38 is Inf
        const shape s = {1, rows[n].queries, rows[n].keys, 4, 2, 64, 64, SXT_TYPE_F32, type, type, SXT_TYPE_F32, true};
        sxt_attention_desc clean = make(&trial, &s);
        clean.causal = rows[n].causal;
        clean.windowed = true;
        clean.window_left = rows[n].left;
        clean.window_right = -1;
        sxt_attention_desc dirty = clean;
        dirty.k = sxt_test_like(&trial, "dirty k", &clean.k);
        dirty.v = sxt_test_like(&trial, "dirty v", &clean.v);
        dirty.o = sxt_test_like(&trial, "dirty o", &clean.o);
        dirty.lse = sxt_test_like(&trial, "dirty lse", &clean.lse);
        for (uint32_t j = rows[n].first; j <= rows[n].last; j++) {
            const sxt_test_sequence sequence = sxt_test_sequence_at(&trial, &clean, 0);
            cr_assert(!sxt_test_visible(&trial, &clean, &sequence, 0, 0, j), "the test hides too much");
            for (uint32_t c = 0; c < 2 * 64; c++) {
                sxt_test_set(&trial, &dirty.k, j * 2 * 64 + c, garbage[i / ROWS % 4]);
                sxt_test_set(&trial, &dirty.v, j * 2 * 64 + c, garbage[i / ROWS % 4]);
            }
        }
        const sxt_test_step steps[] = {{SXT_OP_ATTENTION, &clean}, {SXT_OP_ATTENTION, &dirty}};
        cr_assert(sxt_test_run(&trial, steps, 2) == SXT_OK);
        sxt_test_attention_say(&trial, &dirty);
        sxt_test_require(&trial, sxt_test_check_memory(&trial));
        sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &dirty.o, SXT_TEST_DEVICE, &clean.o));
        sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &dirty.lse, SXT_TEST_DEVICE, &clean.lse));
        sxt_test_trial_finish(&trial);
    }
}

// Keys after a causal query's own are hidden from it, not from later queries: row i must not see what row i + 1 does.
Test(attention, nan_in_later_keys_stays_out_of_earlier_rows) {
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        const sxt_type type = i ? SXT_TYPE_F16 : SXT_TYPE_F32;
        const shape s = {1, 40, 40, 2, 1, 64, 64, SXT_TYPE_F32, type, type, SXT_TYPE_F32, true};
        sxt_attention_desc d = make(&trial, &s);
        d.causal = true;
        for (uint32_t c = 0; c < 64; c++) {
            sxt_test_set(&trial, &d.k, 21 * 64 + c, NAN);
            sxt_test_set(&trial, &d.v, 21 * 64 + c, NAN);
        }
        sxt_test_attention_say(&trial, &d);
        sxt_test_run_op(&trial, SXT_OP_ATTENTION, &d);
        for (uint32_t n = 0; n < 40 * 2 * 64; n++) {
            const bool nan = isnan(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, n)), late = n / 128 >= 21;
            cr_assert(nan == late, "row %u: %s", n / 128,
                      nan ? "NaN from a key that it does not see" : "a NaN vanished");
        }
        sxt_test_trial_finish(&trial);
    }
}

// Scores of ±2000 leave the range of exp in any type; only their differences count. The bound grows with the scores, so
// the figure for scores of models does not hold here.
Test(attention, large_scores_do_not_overflow) {
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        begin(&trial, i);
        const shape s = {1, 17, 50, 2, 1, 64, 64, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, true};
        sxt_attention_desc d = make(&trial, &s);
        d.scale = 1;
        for (uint32_t n = 0; n < 17 * 2 * 64; n++)
            sxt_test_set(&trial, &d.q, n, 4);
        // Key j scores ±(2000 + j/8) by its first channel alone.
        sxt_test_fill(&trial, &d.k, 0);
        for (uint32_t j = 0; j < 50; j++)
            sxt_test_set(&trial, &d.k, j * 64, (i ? -1 : 1) * (500 + j / 32.0));
        sxt_test_attention_check(&trial, &d, 0);
        sxt_test_trial_finish(&trial);
    }
}
