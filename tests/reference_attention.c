// Attention of the reference is right: closed forms, invariants, and a second program that computes it another way.
#include "support/dense.h"

#include <criterion/criterion.h>
#include <math.h>

// Element of a dense tensor.
static double at(const sxt_tensor *t, uint64_t i0, uint64_t i1, uint64_t i2, uint64_t i3) {
    return sxt_dense_get(t, ((i0 * t->shape[1] + i1) * t->shape[2] + i2) * t->shape[3] + i3);
}

static bool near(double value, double want, double relative) {
    return value == want || fabs(value - want) <= relative * fmax(1.0, fabs(want));
}

static sxt_attention_desc layer(sxt_dense *b, uint32_t queries, uint32_t keys, uint32_t q_heads, uint32_t kv_heads,
                                uint32_t dim, uint32_t v_dim) {
    return (sxt_attention_desc){
        .q = sxt_dense_make(b, SXT_TYPE_F32, 2, queries, q_heads, dim),
        .k = sxt_dense_make(b, SXT_TYPE_F32, 2, keys, kv_heads, dim),
        .v = sxt_dense_make(b, SXT_TYPE_F32, 2, keys, kv_heads, v_dim),
        .o = sxt_dense_make(b, SXT_TYPE_F32, 2, queries, q_heads, v_dim),
        .lse = sxt_dense_make(b, SXT_TYPE_F32, 2, queries, q_heads, 1),
    };
}

Test(reference_attention, values_of_one_give_one) {
    sxt_dense b;
    sxt_dense_init(&b, 1);
    sxt_attention_desc desc = layer(&b, 5, 9, 4, 2, 8, 12);
    sxt_dense_fill(&desc.v, 1.0);
    desc.causal = true;
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < 2 * 5 * 4 * 12; i++)
        cr_assert_eq(sxt_dense_get(&desc.o, i), 1.0);
    sxt_dense_finish(&b);
}

Test(reference_attention, one_key_gives_its_value_and_its_score) {
    sxt_dense b;
    sxt_dense_init(&b, 2);
    sxt_attention_desc desc = layer(&b, 3, 1, 2, 2, 4, 4);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < 3; i++) {
        double s = 0;
        for (uint64_t c = 0; c < 4; c++) {
            cr_assert_eq(at(&desc.o, 1, i, 1, c), at(&desc.v, 1, 0, 1, c));
            s += at(&desc.q, 1, i, 1, c) * at(&desc.k, 1, 0, 1, c);
        }
        cr_assert(near(at(&desc.lse, 1, i, 1, 0), s / 2, 1e-7)); // 1/sqrt(4)
    }
    sxt_dense_finish(&b);
}

// Three queries before the first of two keys see nothing.
Test(reference_attention, a_row_that_sees_no_key_gives_zero) {
    sxt_dense b;
    sxt_dense_init(&b, 3);
    sxt_attention_desc desc = layer(&b, 5, 2, 2, 1, 4, 4);
    desc.causal = true;
    sxt_dense_fill(&desc.o, NAN), sxt_dense_fill(&desc.lse, NAN);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < 5; i++) {
        cr_assert_eq(at(&desc.lse, 0, i, 1, 0) == -INFINITY, i < 3);
        for (uint64_t c = 0; c < 4; c++)
            cr_assert(i < 3 ? at(&desc.o, 0, i, 1, c) == 0.0 : isfinite(at(&desc.o, 0, i, 1, c)));
    }
    desc.sinks = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 2);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    cr_assert_eq(at(&desc.lse, 0, 0, 1, 0), sxt_dense_get(&desc.sinks, 1), "the sink alone");
    cr_assert_eq(at(&desc.o, 0, 0, 1, 0), 0.0);
    // A row whose every bias is −∞ sees nothing either.
    desc.sinks = (sxt_tensor){0}, desc.causal = false;
    desc.bias = sxt_dense_make(&b, SXT_TYPE_F16, 1, 1, 5, 2);
    sxt_dense_fill(&desc.bias, -INFINITY);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    cr_assert_eq(at(&desc.lse, 1, 4, 1, 0), -INFINITY);
    cr_assert_eq(at(&desc.o, 1, 4, 1, 3), 0.0);
    sxt_dense_finish(&b);
}

Test(reference_attention, no_keys_at_all) {
    sxt_dense b;
    sxt_dense_init(&b, 4);
    sxt_attention_desc desc = layer(&b, 2, 0, 2, 1, 4, 8);
    desc.bias = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 2, 0);
    sxt_dense_fill(&desc.o, NAN), sxt_dense_fill(&desc.lse, NAN);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < 2 * 2 * 2 * 8; i++)
        cr_assert_eq(sxt_dense_get(&desc.o, i), 0.0);
    for (uint64_t i = 0; i < 2 * 2 * 2; i++)
        cr_assert_eq(sxt_dense_get(&desc.lse, i), -INFINITY);
    sxt_dense_finish(&b);
}

Test(reference_attention, what_a_mask_hides_may_be_nan) {
    sxt_dense b;
    sxt_dense_init(&b, 5);
    enum { T = 6 };
    sxt_attention_desc desc = layer(&b, T, T, 1, 1, 4, 4);
    for (uint64_t i = (T - 1) * 4; i < T * 4; i++) {
        sxt_dense_set(&desc.k, i, NAN);
        sxt_dense_set(&desc.v, i, i % 2 ? NAN : INFINITY);
    }
    desc.causal = true;
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < (T - 1) * 4; i++)
        cr_assert(isfinite(sxt_dense_get(&desc.o, i)));
    cr_assert(isnan(sxt_dense_get(&desc.o, (T - 1) * 4)), "the row that does see it shows it");
    sxt_dense_finish(&b);
}

Test(reference_attention, query_heads_share_key_heads_in_runs) {
    sxt_dense b;
    sxt_dense_init(&b, 6);
    sxt_attention_desc desc = layer(&b, 3, 4, 6, 2, 4, 4), all = desc;
    all.k = sxt_dense_make(&b, SXT_TYPE_F32, 2, 4, 6, 4), all.v = sxt_dense_make(&b, SXT_TYPE_F32, 2, 4, 6, 4);
    all.o = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 6, 4);
    for (uint64_t i = 0; i < 2 * 4 * 6 * 4; i++) { // repeat each head three times
        uint64_t from = i / 24 * 8 + i / 4 % 6 / 3 * 4 + i % 4;
        sxt_dense_set(&all.k, i, sxt_dense_get(&desc.k, from));
        sxt_dense_set(&all.v, i, sxt_dense_get(&desc.v, from));
    }
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    cr_assert_eq(sxt_attention(b.stream, &all), SXT_OK);
    for (uint64_t i = 0; i < 2 * 3 * 6 * 4; i++)
        cr_assert_eq(sxt_dense_get(&desc.o, i), sxt_dense_get(&all.o, i));
    sxt_dense_finish(&b);
}

// ── A second program: weights are exp(s) as they are, without a maximum, summed by long double; no shared code ──

typedef struct plain_row {
    long double lse, o[16];
} plain_row;

static bool sees(const sxt_attention_desc *d, int64_t i, int64_t j) {
    int64_t ahead = j - (i + (int64_t)d->k.shape[1] - (int64_t)d->q.shape[1]); // of the query's own place
    bool past_left = d->windowed && d->window_left >= 0 && ahead < -(int64_t)d->window_left;
    bool past_right = d->windowed && d->window_right >= 0 && ahead > d->window_right;
    return !(d->causal && ahead > 0) && !past_left && !past_right;
}

static plain_row plain_attention(const sxt_attention_desc *d, uint64_t batch, uint64_t i, uint64_t h) {
    plain_row row = {0};
    uint64_t kv = h * d->k.shape[2] / d->q.shape[2];
    long double total = d->sinks.buffer != NULL ? expl(sxt_dense_get(&d->sinks, h)) : 0;
    for (uint64_t j = 0; j < d->k.shape[1]; j++) {
        if (!sees(d, (int64_t)i, (int64_t)j)) continue;
        long double s = 0;
        for (uint64_t c = 0; c < d->q.shape[3]; c++)
            s += (long double)at(&d->q, batch, i, h, c) * at(&d->k, batch, j, kv, c);
        s *= d->scale != 0 ? (long double)d->scale : 1 / sqrtl(d->q.shape[3]);
        if (d->softcap != 0) s = d->softcap * tanhl(s / d->softcap);
        if (d->bias.buffer != NULL)
            s += at(&d->bias, d->bias.shape[0] > 1 ? batch : 0, d->bias.shape[1] > 1 ? h : 0, i, j);
        if (d->alibi_slopes.buffer != NULL)
            s -= sxt_dense_get(&d->alibi_slopes, h) * fabsl((long double)i + d->k.shape[1] - d->q.shape[1] - j);
        total += expl(s);
        for (uint64_t c = 0; c < d->v.shape[3]; c++)
            row.o[c] += expl(s) * at(&d->v, batch, j, kv, c);
    }
    row.lse = logl(total); // −∞ for 0
    for (uint64_t c = 0; c < d->v.shape[3] && total > 0; c++)
        row.o[c] /= total;
    return row;
}

static void expect_plain(const sxt_attention_desc *d, uint64_t seed) {
    for (uint64_t batch = 0; batch < 2; batch++)
        for (uint64_t i = 0; i < d->q.shape[1]; i++)
            for (uint64_t h = 0; h < d->q.shape[2]; h++) {
                plain_row row = plain_attention(d, batch, i, h);
                cr_assert(near(at(&d->lse, batch, i, h, 0), (double)row.lse, 3e-7), "seed %llu: lse %.9g, %.9Lg",
                          (unsigned long long)seed, at(&d->lse, batch, i, h, 0), row.lse);
                for (uint64_t c = 0; c < d->v.shape[3]; c++)
                    cr_assert(near(at(&d->o, batch, i, h, c), (double)row.o[c], 3e-7), "seed %llu: o %.9g, %.9Lg",
                              (unsigned long long)seed, at(&d->o, batch, i, h, c), row.o[c]);
            }
}

Test(reference_attention, equals_the_plain_program_in_every_mix_of_options) {
    for (uint64_t seed = 1; seed <= sxt_test_cases(300); seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_test_rng *r = &b.rng;
        uint32_t kv_heads = sxt_test_between(r, 1, 2), q_heads = kv_heads * sxt_test_between(r, 1, 3);
        uint32_t queries = sxt_test_between(r, 1, 7), keys = sxt_test_between(r, 1, 9);
        sxt_attention_desc d =
            layer(&b, queries, keys, q_heads, kv_heads, 4 * sxt_test_between(r, 1, 3), 4 * sxt_test_between(r, 1, 4));
        d.causal = sxt_test_chance(r, 50);
        d.scale = sxt_test_chance(r, 50) ? 0 : (float)sxt_test_uniform(r, -1, 1);
        d.softcap = sxt_test_chance(r, 50) ? 0 : (float)sxt_test_uniform(r, 0.5, 5);
        if (sxt_test_chance(r, 50)) {
            d.windowed = true;
            d.window_left = (int32_t)sxt_test_between(r, 0, 4) - 1;
            d.window_right = (int32_t)sxt_test_between(r, 0, 4) - 1;
        }
        if (sxt_test_chance(r, 50))
            d.bias = sxt_dense_make(&b, sxt_test_chance(r, 50) ? SXT_TYPE_F16 : SXT_TYPE_F32, sxt_test_between(r, 1, 2),
                                    sxt_test_chance(r, 50) ? q_heads : 1, queries, keys);
        if (sxt_test_chance(r, 50)) d.sinks = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, q_heads);
        if (sxt_test_chance(r, 50)) d.alibi_slopes = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, q_heads);
        cr_assert_eq(sxt_attention(b.stream, &d), SXT_OK, "seed %llu: %s", (unsigned long long)seed, b.log.text);
        expect_plain(&d, seed);
        sxt_dense_finish(&b);
    }
}

// exp(800) is no double; the maximum taken off first keeps the sums in range.
Test(reference_attention, large_scores_do_not_overflow) {
    sxt_dense b;
    sxt_dense_init(&b, 8);
    sxt_attention_desc desc = layer(&b, 2, 3, 1, 1, 4, 4);
    sxt_dense_fill(&desc.q, 20.0), sxt_dense_fill(&desc.k, 20.0);
    cr_assert_eq(sxt_attention(b.stream, &desc), SXT_OK);
    cr_assert(near(sxt_dense_get(&desc.lse, 0), 800 + log(3), 1e-7));
    for (uint64_t c = 0; c < 4; c++)
        cr_assert(near(sxt_dense_get(&desc.o, c),
                       (sxt_dense_get(&desc.v, c) + sxt_dense_get(&desc.v, 4 + c) + sxt_dense_get(&desc.v, 8 + c)) / 3,
                       1e-7));
    sxt_dense_finish(&b);
}
