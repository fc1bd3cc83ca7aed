// sxt_attention_merge on the device under test: random rows against the reference, rows that saw no key, and halves of
// a context against the whole.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/attention.h"
#include "support/bound.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention_merge, .init = setup, .fini = teardown);

typedef struct shape {
    uint32_t batch, tokens, heads, channels;
    sxt_type a, b, o;
} shape;

static sxt_attention_merge_desc make(sxt_test_trial *trial, const shape *s, double spread) {
    sxt_attention_merge_desc d = {0};
    d.o_a = sxt_test_place(trial, "o_a", s->a, s->batch, s->tokens, s->heads, s->channels);
    d.o_b = sxt_test_place(trial, "o_b", s->b, s->batch, s->tokens, s->heads, s->channels);
    d.lse_a = sxt_test_place(trial, "lse_a", SXT_TYPE_F32, s->batch, s->tokens, s->heads, 1);
    d.lse_b = sxt_test_place(trial, "lse_b", SXT_TYPE_F32, s->batch, s->tokens, s->heads, 1);
    d.o = sxt_test_place(trial, "o", s->o, s->batch, s->tokens, s->heads, s->channels);
    d.lse = sxt_test_place(trial, "lse", SXT_TYPE_F32, s->batch, s->tokens, s->heads, 1);
    sxt_test_fill_normal(trial, &d.o_a, 0, 1);
    sxt_test_fill_normal(trial, &d.o_b, 0, 1);
    sxt_test_fill_normal(trial, &d.lse_a, 3, spread);
    sxt_test_fill_normal(trial, &d.lse_b, 3, spread);
    return d;
}

// A row of a side that saw no key: its o is free.
static void hide_row(sxt_test_trial *trial, const sxt_tensor *o, const sxt_tensor *lse, uint64_t row) {
    const double garbage = SXT_TEST_PICK(&trial->rng, double, 0, NAN, INFINITY, -1e30);
    sxt_test_set(trial, lse, row, -INFINITY);
    for (uint32_t c = 0; c < o->shape[3]; c++)
        sxt_test_set(trial, o, row * o->shape[3] + c, garbage);
}

// With t = |lse_a − lse_b|, e = e^−t, weights w and u = 2⁻²⁴:
//   ε      = (6 + 8.8·t)u   of e: exp2(x) is within 3 + 2|x| ULP (Vulkan) of 2u each, x = t·log2(e) = 1.443·t; the
//            difference, log2(e) and the product are off by u each, which e has t times
//   |Δw|   ≤ w·(6u + w'·ε)  w' is the other side's: d ln w = w'·d ln e; the sum is off by u, the quotient by 2.5 ULP
//   |Δo|   ≤ Σ|Δw·o| + 2u·Σw|o| + 2⁻¹²⁵·Σ|o| + rounding(|o|)          a device may flush what is below 2⁻¹²⁶
//   |Δlse| ≤ min(w, w')·ε + 6u + rounding(|lse|)                      precise_log is within 5u, its argument u
static void bounds_of(const sxt_test_trial *trial, const sxt_attention_merge_desc *d, double *out_o, double *out_lse) {
    const uint32_t channels = d->o_a.shape[3];
    for (uint64_t row = 0; row < sxt_test_count(&d->lse_a); row++) {
        const double a = sxt_test_get(trial, SXT_TEST_INITIAL, &d->lse_a, row);
        const double b = sxt_test_get(trial, SXT_TEST_INITIAL, &d->lse_b, row);
        const bool one_side = isinf(a) || isinf(b);
        const double t = one_side ? 0 : fabs(a - b), epsilon = one_side ? 0 : (6 + 8.8 * t) * SXT_TEST_U;
        const double w_a = one_side ? isfinite(a) : 1 / (1 + exp(b - a)), w_b = one_side ? isfinite(b) : 1 - w_a;
        const double lse = isinf(b) ? a : isinf(a) ? b : fmax(a, b) + log1p(exp(-t));
        out_lse[row] = fmin(w_a, w_b) * epsilon + 6 * SXT_TEST_U + sxt_test_rounding(SXT_TYPE_F32, fabs(lse));
        for (uint64_t n = row * channels; n < (row + 1) * channels; n++) {
            const double o_a = isfinite(a) ? sxt_test_get(trial, SXT_TEST_INITIAL, &d->o_a, n) : 0;
            const double o_b = isfinite(b) ? sxt_test_get(trial, SXT_TEST_INITIAL, &d->o_b, n) : 0;
            out_o[n] = w_a * fabs(o_a) * (8 * SXT_TEST_U + w_b * epsilon) +
                       w_b * fabs(o_b) * (8 * SXT_TEST_U + w_a * epsilon) + 0x1p-125 * (fabs(o_a) + fabs(o_b)) +
                       sxt_test_rounding(d->o.type, fabs(w_a * o_a + w_b * o_b));
        }
    }
}

static double *doubles(uint64_t count) {
    double *values = calloc(count + 1, sizeof *values);
    cr_assert(values);
    return values;
}

static void check(sxt_test_trial *trial, const sxt_attention_merge_desc *d) {
    const uint32_t *s = d->o.shape;
    sxt_test_say(trial, "attention_merge [%u, %u, %u, %u] %s, %s -> %s%s%s%s", s[0], s[1], s[2], s[3],
                 sxt_type_name(d->o_a.type), sxt_type_name(d->o_b.type), sxt_type_name(d->o.type),
                 d->lse.buffer ? ", lse" : "", d->o.buffer == d->o_a.buffer ? ", in place of a" : "",
                 d->o.buffer == d->o_b.buffer ? ", in place of b" : "");
    double *o = doubles(sxt_test_count(&d->o)), *lse = doubles(sxt_test_count(&d->lse_a));
    bounds_of(trial, d, o, lse);
    sxt_test_run_op(trial, SXT_OP_ATTENTION_MERGE, d);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->o, SXT_TEST_REFERENCE, &d->o, o,
                                             sxt_test_figure(d->o.type, 2e-6)));
    if (d->lse.buffer)
        sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->lse, SXT_TEST_REFERENCE, &d->lse, lse, 0));
    free(o);
    free(lse);
}

static void run_random(uint64_t seed) {
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, seed);
    sxt_test_rng group = sxt_test_group_rng(seed), *rng = &trial.rng;
    trial.layout = SXT_TEST_PICK(&group, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
    const uint32_t place = sxt_test_below(&group, 3); // o is a tensor of its own, o_a or o_b
    const bool has_lse = sxt_test_chance(&group, 80);
    const uint32_t most = SXT_TEST_PICK(&group, uint32_t, 4, 12, 64, 128, 128, 576); // one number of lanes
    shape s = {
        .batch = sxt_test_between(rng, 1, 3),
        .tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 1, 2, 5, 11),
        .heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 5, 8),
        .channels = trial.layout == SXT_TEST_ODD ? most - sxt_test_below(rng, 4) : most,
        .a = sxt_test_float_type(&group),
        .b = sxt_test_float_type(&group),
        .o = sxt_test_float_type(&group),
    };
    sxt_attention_merge_desc d = make(&trial, &s, SXT_TEST_PICK(rng, double, 0, 0.01, 1, 10, 60));
    for (uint64_t row = 0; row < sxt_test_count(&d.lse_a); row++) {
        if (sxt_test_chance(rng, 10)) hide_row(&trial, &d.o_a, &d.lse_a, row);
        if (sxt_test_chance(rng, 10)) hide_row(&trial, &d.o_b, &d.lse_b, row);
    }
    if (place > 0) d.o = place == 1 ? d.o_a : d.o_b;
    if (!has_lse) d.lse = (sxt_tensor){0};
    if (has_lse && sxt_test_chance(rng, 60)) d.lse = sxt_test_chance(rng, 50) ? d.lse_a : d.lse_b;
    check(&trial, &d);
    sxt_test_trial_finish(&trial);
}

Test(attention_merge, random_rows_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++)
        run_random(first + i);
}

static sxt_attention_merge_desc begin(sxt_test_trial *trial, uint32_t rows) {
    sxt_test_trial_init(trial, &bench, 1);
    trial->layout = SXT_TEST_DENSE;
    const shape s = {1, rows, 1, 8, SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32};
    return make(trial, &s, 1);
}

// To the bit: the other side as it is.
Test(attention_merge, a_side_that_saw_no_key_does_not_count) {
    static sxt_test_trial trial;
    sxt_attention_merge_desc d = begin(&trial, 33);
    for (uint64_t row = 0; row < 33; row++) {
        if (row % 3 != 1) hide_row(&trial, &d.o_a, &d.lse_a, row);
        if (row % 3 != 0) hide_row(&trial, &d.o_b, &d.lse_b, row);
    }
    check(&trial, &d);
    for (uint64_t n = 0; n < 33 * 8; n++) {
        const uint64_t row = n / 8, which = row % 3;
        const double o = sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, n);
        const double lse = sxt_test_get(&trial, SXT_TEST_DEVICE, &d.lse, row);
        cr_assert(o == (which == 2 ? 0 : sxt_test_get(&trial, SXT_TEST_INITIAL, which ? &d.o_a : &d.o_b, n)));
        cr_assert(lse == (which == 2 ? (double)-INFINITY
                                     : sxt_test_get(&trial, SXT_TEST_INITIAL, which ? &d.lse_a : &d.lse_b, row)));
    }
    sxt_test_trial_finish(&trial);
}

// What is wrong stays seen: a NaN in either lse, or in an o that counts, even with a weight of next to nothing.
Test(attention_merge, nan_stays_nan) {
    static sxt_test_trial trial;
    sxt_attention_merge_desc d = begin(&trial, 4);
    sxt_test_set(&trial, &d.lse_a, 0, NAN);
    sxt_test_set(&trial, &d.lse_b, 1, NAN);
    sxt_test_set(&trial, &d.o_b, 2 * 8, NAN);
    sxt_test_set(&trial, &d.lse_b, 2, -1000);
    sxt_test_run_op(&trial, SXT_OP_ATTENTION_MERGE, &d);
    for (uint64_t n = 0; n < 4 * 8; n++)
        cr_assert_eq(isnan(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, n)) != 0, n < 2 * 8 || n == 2 * 8, "%llu",
                     (unsigned long long)n);
    for (uint64_t row = 0; row < 4; row++)
        cr_assert_eq(isnan(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.lse, row)) != 0, row < 2);
    sxt_test_trial_finish(&trial);
}

// Neither call touches anything: what recording takes is known, and pipelines are there, before there is work.
Test(attention_merge, preparing_it_changes_no_memory) {
    static sxt_test_trial trial;
    sxt_attention_merge_desc d = begin(&trial, 5);
    sxt_device *device = bench.devices[SXT_TEST_DEVICE];
    uint64_t bytes = 1;
    sxt_test_upload(&trial);
    cr_assert_eq(sxt_prepare(device, SXT_OP_ATTENTION_MERGE, &d), SXT_OK);
    cr_assert_eq(sxt_scratch_size(device, SXT_OP_ATTENTION_MERGE, &d, &bytes), SXT_OK);
    cr_assert_eq(bytes, 0u);
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d.o, SXT_TEST_INITIAL, &d.o));
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d.lse, SXT_TEST_INITIAL, &d.lse));
    check(&trial, &d);
    sxt_test_trial_finish(&trial);
}

// The first keys, which every query sees, and the last, with the causal mask, against all of them at once. Errors of
// the halves add up as those of the whole do; the two lse shift the weights by no more than that again; and the merge's
// own are fewer than those of so many keys: four times the bound of the whole.
Test(attention_merge, halves_of_a_context_are_the_whole) {
    enum { HEADS = 4, KV_HEADS = 2, D = 64 };
    const uint32_t cases = sxt_test_cases(6);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i + 1);
        trial.layout = SXT_TEST_DENSE;
        const uint32_t queries = sxt_test_between(&trial.rng, 1, 20), last = queries + sxt_test_below(&trial.rng, 60);
        const uint32_t first = sxt_test_between(&trial.rng, 16, 90), keys = first + last;
        sxt_attention_desc whole = {.causal = true};
        whole.q = sxt_test_place(&trial, "q", SXT_TYPE_F32, 1, queries, HEADS, D);
        whole.k = sxt_test_place(&trial, "k", SXT_TYPE_F32, 1, keys, KV_HEADS, D);
        whole.v = sxt_test_place(&trial, "v", SXT_TYPE_F32, 1, keys, KV_HEADS, D);
        whole.o = sxt_test_place(&trial, "o", SXT_TYPE_F32, 1, queries, HEADS, D);
        whole.lse = sxt_test_place(&trial, "lse", SXT_TYPE_F32, 1, queries, HEADS, 1);
        sxt_test_fill_normal(&trial, &whole.q, 0, 1.5);
        sxt_test_fill_normal(&trial, &whole.k, 0, 1);
        sxt_test_fill_normal(&trial, &whole.v, 0, 1);
        sxt_attention_desc a = whole, b = whole;
        a.causal = false;
        a.k.shape[1] = a.v.shape[1] = first;
        b.k.shape[1] = b.v.shape[1] = last;
        b.k.offset_bytes += (uint64_t)first * KV_HEADS * D * 4;
        b.v.offset_bytes += (uint64_t)first * KV_HEADS * D * 4;
        a.o = sxt_test_like(&trial, "o_a", &whole.o), b.o = sxt_test_like(&trial, "o_b", &whole.o);
        a.lse = sxt_test_like(&trial, "lse_a", &whole.lse), b.lse = sxt_test_like(&trial, "lse_b", &whole.lse);
        const sxt_attention_merge_desc merge = {
            .o_a = a.o, .lse_a = a.lse, .o_b = b.o, .lse_b = b.lse, .o = b.o, .lse = a.lse};
        const sxt_test_step steps[] = {{SXT_OP_ATTENTION, &whole},
                                       {SXT_OP_ATTENTION, &a},
                                       {SXT_OP_ATTENTION, &b},
                                       {SXT_OP_ATTENTION_MERGE, &merge}};
        sxt_test_say(&trial, "%u queries, %u + %u keys", queries, first, last);
        sxt_test_require(&trial, sxt_test_run(&trial, steps, 4) == SXT_OK ? NULL : "UNSUPPORTED");
        double *o, *lse;
        sxt_test_attention_bounds(&trial, &whole, &o, &lse);
        for (uint64_t n = 0; n < sxt_test_count(&whole.o); n++)
            o[n] *= 4;
        for (uint64_t n = 0; n < sxt_test_count(&whole.lse); n++)
            lse[n] *= 4;
        sxt_test_require(&trial,
                         sxt_test_compare(&trial, SXT_TEST_DEVICE, &b.o, SXT_TEST_REFERENCE, &whole.o, o, 1e-5));
        sxt_test_require(&trial,
                         sxt_test_compare(&trial, SXT_TEST_DEVICE, &a.lse, SXT_TEST_REFERENCE, &whole.lse, lse, 0));
        free(o);
        free(lse);
        sxt_test_trial_finish(&trial);
    }
}
