// sxt_attention with a promise about its logits (sxt_attention_desc.logit_bound), attacked: where sums of e^s without a
// maximum could overflow, vanish or be wrong, and where the promise is broken.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/number.h"
#include "support/attention_case.h"
#include "support/bound.h"

enum { HEADS = 2, D = 64 };

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention_bound, .init = setup, .fini = teardown);

static bool on_reference(void) {
    return sxt_test_is_reference(bench.devices[SXT_TEST_DEVICE]);
}

static bool is_bounded(const sxt_attention_desc *d) {
    char text[128];
    sxt_test_describe(&trial, d, text, sizeof text);
    return strstr(text, "bounded");
}

// The largest bound of which devices make use: where weights are f16, less.
static float largest_for(sxt_type k) {
    const bool matrix = sxt_test_kernel() >= SXT_ATTENTION_MATRIX && k != SXT_TYPE_F32 && k != SXT_TYPE_BF16;
    return matrix ? 16 : 40;
}

// Scores are set by the first channel alone: of queries it is `unit`, and of keys what set_key makes it.
static sxt_attention_desc make(sxt_type type, uint32_t queries, uint32_t keys, double unit) {
    trial.layout = SXT_TEST_DENSE;
    sxt_attention_desc d = {
        .q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 1, queries, HEADS, D),
        .k = sxt_test_dense(&trial, "k", type, 1, keys, 1, D),
        .v = sxt_test_dense(&trial, "v", type, 1, keys, 1, D),
        .o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, 1, queries, HEADS, D),
        .lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, 1, queries, HEADS, 1),
        .scale = 1,
    };
    sxt_test_fill(&trial, &d.q, 0);
    sxt_test_fill(&trial, &d.k, 0);
    sxt_test_fill_normal(&trial, &d.v, 0, 1);
    for (uint32_t n = 0; n < queries * HEADS; n++)
        sxt_test_set(&trial, &d.q, n * D, unit);
    return d;
}

static void set_key(const sxt_attention_desc *d, uint32_t j, double value) {
    const double block[32] = {value};
    sxt_encode(d->k.type, block, sxt_type_block(d->k.type),
               sxt_test_bytes(&trial, SXT_TEST_INITIAL, &d->k, (uint64_t)j * D));
}

static void check(const sxt_attention_desc *d) {
    sxt_test_attention_check(&trial, d, 0);
    cr_assert(on_reference() || is_bounded(d), "not bounded: %s", trial.what);
}

// Few queries, and as many as make a tile: devices have kernels for either.
static const uint32_t query_counts[] = {1, 40};

// ── Logits at the bound ──

typedef enum pattern { ALL_UP, ALL_DOWN, ONE_UP, ONE_DOWN, IN_TURN, PATTERNS } pattern;

// Each key's logit is the bound itself, or less it.
static void set_pattern(const sxt_attention_desc *d, pattern which, double key) {
    const uint32_t keys = d->k.shape[1], one = keys * 2 / 3;
    for (uint32_t j = 0; j < keys; j++) {
        const bool up = which == ALL_UP || (which == ONE_UP && j == one) || (which == ONE_DOWN && j != one) ||
                        (which == IN_TURN && j % 2);
        set_key(d, j, up ? key : -key);
    }
}

static void run_pattern(uint64_t seed, sxt_type type, uint32_t queries, uint32_t keys, pattern which, float bound) {
    sxt_test_trial_init(&trial, &bench, seed);
    // 127 is a q8_0 block of scale 1; its product with an f32 quotient may be above the bound, by one rounding.
    const double key = type == SXT_TYPE_Q8_0 ? 127 : 1;
    const float unit = (float)(type == SXT_TYPE_Q8_0 ? nextafterf(bound / 127, 0) : bound);
    sxt_attention_desc d = make(type, queries, keys, unit);
    d.logit_bound = bound;
    set_pattern(&d, which, key);
    check(&d);
    sxt_test_trial_finish(&trial);
}

Test(attention_bound, logits_at_the_bound_are_right) {
    static const sxt_type types[] = {SXT_TYPE_F16, SXT_TYPE_Q8_0, SXT_TYPE_F32};
    for (uint32_t i = 0; i < 3 * 2 * PATTERNS; i++) {
        const float largest = largest_for(types[i / 10]), bounds[] = {largest, 0.7f * largest, 0.3f * largest, 0.01f};
        run_pattern(i, types[i / 10], query_counts[i / 5 % 2], 300, (pattern)(i % PATTERNS), bounds[i % 4]);
    }
}

// What all others weigh together, 100 000·e^−80, is nothing beside the one. (With a bound of 16 it is a thousandth.)
Test(attention_bound, one_key_at_the_bound_among_many_below_is_found) {
    const float largest = largest_for(SXT_TYPE_F16);
    for (uint32_t i = 0; i < 2; i++)
        run_pattern(i, SXT_TYPE_F16, i ? 3 : 1, 100000, ONE_UP, largest);
    run_pattern(3, SXT_TYPE_F16, 1, 100000, ALL_DOWN, largest);
    run_pattern(4, SXT_TYPE_F16, 1, 100000, ALL_UP, largest);
}

// A promise is about exact products; that f32 products may come out a rounding above it breaks nothing.
Test(attention_bound, a_promise_may_be_the_largest_logit_itself) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sxt_test_trial_init(&trial, &bench, seed);
        sxt_attention_desc d = make(SXT_TYPE_F32, query_counts[seed % 2], 260, 1);
        sxt_test_fill_normal(&trial, &d.q, 0, 1);
        sxt_test_fill_normal(&trial, &d.k, 0, 1);
        d.scale = 0.125f;
        const double largest = sxt_test_largest_logit(&trial, &d);
        d.logit_bound = (float)largest;
        if (d.logit_bound < largest) d.logit_bound = nextafterf(d.logit_bound, INFINITY);
        check(&d);
        sxt_test_trial_finish(&trial);
    }
}

// ── Where it is used ──

Test(attention_bound, is_used_up_to_the_largest_and_nowhere_else) {
    const float largest = largest_for(SXT_TYPE_F16);
    sxt_test_trial_init(&trial, &bench, 1);
    for (uint32_t i = 0; i < 2 && !on_reference(); i++) {
        sxt_attention_desc d = make(SXT_TYPE_F16, query_counts[i], 300, 1), other = d;
        cr_expect(!is_bounded(&d), "nothing is known");
        d.logit_bound = largest;
        cr_expect(is_bounded(&d));
        d.logit_bound = nextafterf(largest, INFINITY);
        cr_expect(!is_bounded(&d), "e^-2B is below the weights' normal range");
        d.logit_bound = 5;
        cr_expect(is_bounded(&d));
        other = d;
        other.bias = sxt_test_dense(&trial, "bias", SXT_TYPE_F32, 1, 1, query_counts[i], 300);
        cr_expect(!is_bounded(&other), "a bias may be anything");
        other = d;
        other.alibi_slopes = sxt_test_dense(&trial, "slopes", SXT_TYPE_F32, 1, 1, 1, HEADS);
        cr_expect(!is_bounded(&other), "slopes may be anything");
    }
    sxt_test_trial_finish(&trial);
}

// Just beyond, the online kernel has the same attacks to stand.
Test(attention_bound, beyond_the_largest_results_are_right) {
    for (uint32_t i = 0; i < 2 * PATTERNS; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        const sxt_type type = i % 2 ? SXT_TYPE_F16 : SXT_TYPE_F32;
        const float bound = i % 3 ? nextafterf(largest_for(type), INFINITY) : 2000;
        sxt_attention_desc d = make(type, query_counts[i / PATTERNS], 300, bound);
        d.logit_bound = bound;
        set_pattern(&d, (pattern)(i % PATTERNS), 1);
        sxt_test_attention_check(&trial, &d, 0);
        cr_assert(!is_bounded(&d));
        sxt_test_trial_finish(&trial);
    }
}

// ── Sinks, masks, values ──

Test(attention_bound, sinks_may_be_anything) {
    const float largest = largest_for(SXT_TYPE_F16);
    const double sinks[] = {-1000, -largest, 0, largest, 87, 89, 1000, -INFINITY};
    for (uint32_t i = 0; i < 2 * sizeof sinks / sizeof sinks[0]; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        sxt_attention_desc d = make(SXT_TYPE_F16, query_counts[i % 2], 300, largest);
        d.logit_bound = largest;
        set_pattern(&d, i % 3 ? IN_TURN : ALL_DOWN, 1);
        d.sinks = sxt_test_dense(&trial, "sinks", SXT_TYPE_F32, 1, 1, 1, HEADS);
        sxt_test_set(&trial, &d.sinks, 0, sinks[i / 2]);
        sxt_test_set(&trial, &d.sinks, 1, 0.5);
        check(&d);
        sxt_test_trial_finish(&trial);
    }
}

// Rows that see nothing: before the first key, and of an empty sequence.
Test(attention_bound, rows_that_see_no_key_give_zero) {
    for (uint32_t i = 0; i < 8; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        const uint32_t queries = query_counts[i % 2];
        const int32_t length = i / 2 % 2 ? 0 : (int32_t)queries / 2;
        sxt_attention_desc d = make(SXT_TYPE_F16, queries, 300, 3);
        d.logit_bound = 3;
        d.causal = true;
        d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, 1, &length);
        set_pattern(&d, IN_TURN, 1);
        if (i >= 4) {
            d.sinks = sxt_test_dense(&trial, "sinks", SXT_TYPE_F32, 1, 1, 1, HEADS);
            sxt_test_fill(&trial, &d.sinks, -2);
        }
        sxt_test_poison_unseen(&trial, &d);
        check(&d);
        for (uint32_t c = 0; c < HEADS * D; c++)
            cr_assert_eq(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, c), 0);
        sxt_test_trial_finish(&trial);
    }
}

// As large as is promised, where every weight is e^40; and so small that e^−40 times as much is below f32's range.
Test(attention_bound, large_and_tiny_values_are_right) {
    static const double values[] = {1e12, 1e-18, 1e-25, 1e-37};
    for (uint32_t i = 0; i < 4 * 4; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        sxt_attention_desc d = make(SXT_TYPE_F32, query_counts[i % 2], 700, largest_for(SXT_TYPE_F32));
        d.logit_bound = largest_for(SXT_TYPE_F32);
        set_pattern(&d, i / 2 % 2 ? ALL_UP : ALL_DOWN, 1);
        for (uint64_t n = 0; n < sxt_test_count(&d.v); n++)
            sxt_test_set(&trial, &d.v, n, values[i / 4] * sxt_test_uniform(&trial.rng, n % 2 ? 0.5 : -0.9, 0.99));
        check(&d);
        sxt_test_trial_finish(&trial);
    }
}

// ── Broken promises ──

static const sxt_tensor *first_unusual(const sxt_attention_desc *d, uint64_t *out_n) {
    const sxt_tensor *outputs[] = {&d->o, &d->lse};
    for (uint32_t i = 0; i < 2; i++)
        for (*out_n = 0; *out_n < sxt_test_count(outputs[i]); ++*out_n)
            if (!isfinite(sxt_test_get(&trial, SXT_TEST_DEVICE, outputs[i], *out_n))) return outputs[i];
    return NULL;
}

static uint32_t run(const sxt_attention_desc *d) {
    trial.device_only = true;
    sxt_test_attention_say(&trial, d);
    sxt_test_run_op(&trial, SXT_OP_ATTENTION, d);
    return trial.faults[SXT_TEST_DEVICE];
}

// Logits are clamped to what was promised: no NaN and no infinity, and the others' weights are what they were.
Test(attention_bound, a_broken_promise_is_clamped_and_reported) {
    static const double logits[] = {5.1, -5.1, 100, -100, 1e4, 6e4, -6e4, 1e30, -1e30, 3e38, -3e38};
    for (uint32_t i = 0; i < 2 * sizeof logits / sizeof logits[0]; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        const sxt_type type = fabs(logits[i / 2]) < 65504 ? SXT_TYPE_F16 : SXT_TYPE_F32;
        sxt_attention_desc d = make(type, query_counts[i % 2], 300, 1);
        d.logit_bound = 5;
        for (uint32_t j = 0; j < 300; j++)
            set_key(&d, j, 0.01 * j - 1.5);
        cr_assert_eq(run(&d), 0);
        set_key(&d, 290, logits[i / 2]);
        cr_assert_eq(run(&d), SXT_FAULT_LOGIT, "logit %g: %s", logits[i / 2], trial.what);
        uint64_t n;
        const sxt_tensor *unusual = first_unusual(&d, &n);
        cr_assert_null(unusual, "logit %g: element %llu is not finite", logits[i / 2], (unsigned long long)n);
        // As if the key had kept it.
        set_key(&d, 290, logits[i / 2] > 0 ? 5 : -5);
        sxt_test_attention_require(&trial, SXT_TEST_DEVICE, &d, 0);
        cr_assert_eq(run(&d), 0, "the fault is gone");
        sxt_test_trial_finish(&trial);
    }
}

// All keys break it, by any amount.
Test(attention_bound, many_broken_promises_stay_finite) {
    for (uint32_t i = 0; i < 8; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        sxt_attention_desc d =
            make(i / 2 % 2 ? SXT_TYPE_F16 : SXT_TYPE_F32, query_counts[i % 2], 500, i < 4 ? 1e4 : -3);
        d.logit_bound = i % 3 ? largest_for(d.k.type) : 0.5f;
        for (uint32_t j = 0; j < 500; j++)
            set_key(&d, j, 6e4 * sxt_test_uniform(&trial.rng, -1, 1));
        cr_assert_eq(run(&d), SXT_FAULT_LOGIT);
        uint64_t n;
        cr_assert_null(first_unusual(&d, &n), "element %llu is not finite", (unsigned long long)n);
        sxt_test_trial_finish(&trial);
    }
}

// The promise is about keys that a query sees.
Test(attention_bound, hidden_keys_break_no_promise) {
    for (uint32_t i = 0; i < 6; i++) {
        sxt_test_trial_init(&trial, &bench, i);
        const uint32_t queries = query_counts[i % 2];
        const int32_t length = 400;
        sxt_attention_desc d = make(SXT_TYPE_F16, queries, i / 2 == 1 ? 500 : 400, 1);
        d.logit_bound = 2;
        for (uint32_t j = 0; j < d.k.shape[1]; j++)
            set_key(&d, j, j % 3 ? 1 : -2);
        if (i / 2 == 0) { // before a window
            d.windowed = true;
            d.window_left = 300, d.window_right = -1;
            for (uint32_t j = 0; j < 50; j++)
                set_key(&d, j, 1000);
        } else if (i / 2 == 1) { // after the length
            d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, 1, &length);
            for (uint32_t j = 400; j < 500; j++)
                set_key(&d, j, -1000);
        } else { // behind a mask
            d.mask = sxt_test_dense(&trial, "mask", SXT_TYPE_I32, 1, 1, queries, 13);
            for (uint64_t n = 0; n < sxt_test_count(&d.mask); n++)
                sxt_test_set_bits(&trial, &d.mask, n, n % 13 == 5 ? 0 : 0xfffffffd);
            for (uint32_t j = 0; j < 400; j++)
                if (j % 32 == 1 || j / 32 == 5) set_key(&d, j, 1000);
        }
        check(&d);
        sxt_test_trial_finish(&trial);
    }
}
