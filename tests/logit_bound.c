// sxt_qk_norm_logit_bound is a bound, and not a loose one: against the reference's own q and k, by a search that tries
// to break it.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/dense.h"
#include "support/random.h"
#include "support/rotation.h"

enum { ROWS = 40, ROUNDS = 8, MAX_D = 128 };

static double bound_of(const sxt_logit_bound_desc *desc) {
    float bound = -1;
    cr_assert_eq(sxt_qk_norm_logit_bound(desc, &bound), SXT_OK);
    return bound;
}

static void expect_close(const sxt_logit_bound_desc *desc, double exact) {
    const double bound = bound_of(desc);
    cr_expect(bound >= exact && bound <= exact * 1.0001, "%g, and should be %g", bound, exact);
}

Test(logit_bound, in_f32_is_what_the_formulas_say) {
    float g[64], h[64], t[64];
    for (uint32_t i = 0; i < 64; i++)
        g[i] = h[i] = 1.0f, t[i] = 10.0f;
    expect_close(&(sxt_logit_bound_desc){.channels = 64}, 8);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .norm = SXT_NORM_LAYER, .scale = -1}, 64);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .norm = SXT_NORM_L2, .scale = 1}, 1);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .norm = SXT_NORM_L2, .scale = 1, .q_weight = t}, 10);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .q_weight = g, .k_weight = h, .offset = 1}, 32);
    // Gains of one channel, and of its partner in the rotation.
    g[3] = -20, h[35] = 30;
    sxt_rope_params rope = {.pairing = SXT_ROPE_HALF};
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .q_weight = g, .k_weight = h}, 8 * 30);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .q_weight = g, .k_weight = h, .rope = &rope}, 8 * 600);
    rope.pairing = SXT_ROPE_INTERLEAVED;
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .q_weight = g, .k_weight = h, .rope = &rope}, 8 * 30);
    rope.pairing = SXT_ROPE_NONE;
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .q_weight = g, .k_weight = h, .rope = &rope}, 8 * 30);
    // Rotated channels are stretched by m, others are not.
    rope = (sxt_rope_params){.rotary_dim = 32, .attn_factor = 2};
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .rope = &rope}, 8 * 4);
    expect_close(&(sxt_logit_bound_desc){.channels = 64, .rope = &rope, .k_weight = h}, 8 * 30);
}

Test(logit_bound, arguments_out_of_range_are_refused) {
    const float nan[4] = {1, 1, NAN, 1}, huge[4] = {1, 1e30f, 1, 1};
    const sxt_rope_params odd = {.rotary_dim = 3}, wide = {.rotary_dim = 8};
    const sxt_logit_bound_desc wrong[] = {
        {.channels = 0},
        {.channels = 1u << 21},
        {.channels = 4, .norm = SXT_NORM_NONE},
        {.channels = 4, .norm = (sxt_norm_kind)-1},
        {.channels = 4, .q_weight = nan},
        {.channels = 4, .k_weight = nan},
        {.channels = 4, .offset = INFINITY},
        {.channels = 4, .scale = NAN},
        {.channels = 4, .k_scale = -1},
        {.channels = 4, .k_scale = NAN},
        {.channels = 4, .q_type = SXT_TYPE_Q8_0},
        {.channels = 4, .q_type = SXT_TYPE_FP8_E4M3},
        {.channels = 4, .k_type = SXT_TYPE_I32},
        {.channels = 4, .k_type = (sxt_type)77},
        {.channels = 4, .rope = &odd},
        {.channels = 4, .rope = &wide},
    };
    float bound = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_eq(sxt_qk_norm_logit_bound(&wrong[i], &bound), SXT_ERROR_INVALID, "row %zu", i);
    cr_expect_eq(sxt_qk_norm_logit_bound(NULL, &bound), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_qk_norm_logit_bound(&(sxt_logit_bound_desc){.channels = 4}, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(bound, 7.0f);
    // Infinite in f16, or as a logit: no bound.
    cr_expect_eq(bound_of(&(sxt_logit_bound_desc){.channels = 4, .q_weight = huge, .q_type = SXT_TYPE_F16}), 0);
    cr_expect_eq(bound_of(&(sxt_logit_bound_desc){.channels = 4, .k_weight = huge, .k_type = SXT_TYPE_F16}), 0);
    cr_expect_eq(bound_of(&(sxt_logit_bound_desc){.channels = 4, .q_weight = huge, .k_weight = huge}), 0);
}

// ── The search ──

// One setting: a bound, and rows of q and k that try to reach it.
typedef struct attack {
    sxt_test_rng rng;
    sxt_dense memory;
    sxt_logit_bound_desc desc;
    float g[MAX_D], h[MAX_D];
    sxt_test_rotation rotation;
    sxt_qk_norm_rope_desc step;
    double largest; // logit so far
} attack;

static void random_gains(attack *a, float *gains) {
    const uint32_t one = sxt_test_below(&a->rng, a->desc.channels);
    const double common = sxt_test_uniform(&a->rng, 0.1, 3);
    const bool same = sxt_test_chance(&a->rng, 40);
    for (uint32_t i = 0; i < a->desc.channels; i++)
        gains[i] = (float)(same ? common : common * sxt_test_normal(&a->rng));
    if (sxt_test_chance(&a->rng, 50)) gains[one] *= 40.0f;
}

static void setup(attack *a, uint64_t seed, sxt_type k_type) {
    *a = (attack){.rng = sxt_test_rng_make(seed)};
    sxt_dense_init(&a->memory, seed);
    sxt_test_rng *rng = &a->rng;
    const uint32_t d = sxt_type_block(k_type) > 1 ? SXT_TEST_PICK(rng, uint32_t, 32, 64, 128)
                                                  : SXT_TEST_PICK(rng, uint32_t, 2, 8, 20, 64, 128);
    a->desc = (sxt_logit_bound_desc){
        .norm = SXT_TEST_PICK(rng, sxt_norm_kind, SXT_NORM_RMS, SXT_NORM_RMS, SXT_NORM_LAYER, SXT_NORM_L2),
        .channels = d,
        .offset = (float)sxt_test_below(rng, 2),
        .q_type = sxt_test_float_type(rng),
        .k_type = k_type,
        .k_scale = k_type == SXT_TYPE_FP8_E4M3 ? SXT_TEST_PICK(rng, float, 0.003f, 0.02f, 1.0f) : 0.0f,
        .scale = sxt_test_chance(rng, 50) ? 0.0f : 0.3f,
    };
    random_gains(a, a->g);
    random_gains(a, a->h);
    const uint32_t present = sxt_test_below(rng, 4);
    if (present & 1) a->desc.q_weight = a->g;
    if (present & 2) a->desc.k_weight = a->h;
    sxt_dense *m = &a->memory;
    sxt_qk_norm_rope_desc *s = &a->step;
    *s = (sxt_qk_norm_rope_desc){
        .q = sxt_dense_make(m, SXT_TYPE_F32, 1, ROWS, 1, d),
        .k = sxt_dense_make(m, SXT_TYPE_F32, 1, ROWS, 1, d),
        .q_out = sxt_dense_make(m, a->desc.q_type, 1, ROWS, 1, d),
        .cache.k = sxt_dense_make(m, k_type, 1, ROWS, 1, d),
        .norm = a->desc.norm,
        .offset = a->desc.offset,
        .eps = sxt_test_chance(rng, 50) ? 0.0f : 1e-6f,
        .rope.pairing = SXT_ROPE_NONE,
    };
    if (a->desc.q_weight) s->q_weight = sxt_dense_make(m, SXT_TYPE_F32, 1, 1, 1, d);
    if (a->desc.k_weight) s->k_weight = sxt_dense_make(m, SXT_TYPE_F32, 1, 1, 1, d);
    if (a->desc.k_scale > 0) s->cache.k_scale = sxt_dense_make(m, SXT_TYPE_F32, 1, 1, 1, 1);
    if (a->desc.q_weight) memcpy(sxt_buffer_map(s->q_weight.buffer), a->g, d * sizeof(float));
    if (a->desc.k_weight) memcpy(sxt_buffer_map(s->k_weight.buffer), a->h, d * sizeof(float));
    if (a->desc.k_scale > 0) memcpy(sxt_buffer_map(s->cache.k_scale.buffer), &a->desc.k_scale, sizeof(float));
    if (!sxt_test_chance(rng, 60)) return;
    sxt_test_random_rotation(rng, d, &a->rotation);
    a->desc.rope = &a->rotation.params;
    s->rope = a->rotation.params;
    s->positions = sxt_dense_make(m, SXT_TYPE_I32, a->rotation.planes, 1, 1, ROWS);
}

static float *row_of(const sxt_tensor *x, uint32_t row) {
    return (float *)sxt_buffer_map(x->buffer) + (size_t)row * x->shape[3];
}

// All of a row in one or two channels, in all of them, or anything between.
static void fresh_row(attack *a, float *row) {
    const uint32_t d = a->desc.channels, kind = sxt_test_below(&a->rng, 4);
    const uint32_t one = sxt_test_below(&a->rng, d), two = sxt_test_below(&a->rng, d);
    const double level = kind == 0 ? 0 : kind == 1 ? sxt_test_uniform(&a->rng, 0, 0.3) : 1;
    for (uint32_t i = 0; i < d; i++)
        row[i] = (float)(level * (kind == 3 ? sxt_test_normal(&a->rng) : SXT_TEST_PICK(&a->rng, double, -1, 1)));
    if (kind < 3) row[one] = SXT_TEST_PICK(&a->rng, float, -1.0f, 1.0f);
    if (kind < 2 && sxt_test_chance(&a->rng, 50)) row[two] = (float)sxt_test_normal(&a->rng);
}

static void change_row(attack *a, const float *from, float *row) {
    const uint32_t d = a->desc.channels;
    const double step = pow(10, sxt_test_uniform(&a->rng, -4, 0));
    memmove(row, from, d * sizeof *row);
    for (uint32_t times = 1 + sxt_test_below(&a->rng, 4); times > 0; times--) {
        float *x = &row[sxt_test_below(&a->rng, d)];
        *x = sxt_test_chance(&a->rng, 20) ? 0.0f : (float)(*x * (1 + step * sxt_test_normal(&a->rng)));
    }
}

// Runs the step, and gives the rows of the largest logit.
static void run(attack *a, uint32_t *out_i, uint32_t *out_j) {
    const uint32_t d = a->desc.channels;
    static double q[ROWS][MAX_D], k[ROWS][MAX_D];
    const double scale = a->desc.scale == 0 ? 1 / sqrt(d) : a->desc.scale;
    cr_assert_eq(sxt_qk_norm_rope(a->memory.stream, &a->step), SXT_OK);
    for (uint32_t n = 0; n < ROWS * d; n++) {
        q[n / d][n % d] = sxt_dense_get(&a->step.q_out, n);
        k[n / d][n % d] = sxt_dense_get(&a->step.cache.k, n);
    }
    double best = -1;
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t j = 0; j < ROWS; j++) {
            double dot = 0;
            for (uint32_t c = 0; c < d; c++)
                dot += q[i][c] * k[j][c];
            const double logit = fabs(dot) * scale * (a->desc.k_scale > 0 ? a->desc.k_scale : 1);
            if (logit > best) best = logit, *out_i = i, *out_j = j;
        }
    a->largest = fmax(a->largest, best);
}

// Climbs: the best rows, other rows beside them, other places for them.
static void search(attack *a) {
    const sxt_tensor *q = &a->step.q, *k = &a->step.k, *at = &a->step.positions;
    for (uint32_t i = 0; i < ROWS; i++) {
        fresh_row(a, row_of(q, i));
        fresh_row(a, row_of(k, i));
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t i = 0, j = 0;
        int32_t *positions = at->buffer != NULL ? sxt_buffer_map(at->buffer) : NULL;
        if (round == 0)
            for (uint32_t n = 0; positions != NULL && n < ROWS * a->rotation.planes; n++)
                positions[n] = (int32_t)sxt_test_below(&a->rng, SXT_TEST_PICK(&a->rng, uint32_t, 2, 100, 1000000));
        run(a, &i, &j);
        if (round % 2 == 0) { // other rows at the same places
            float best_q[MAX_D], best_k[MAX_D];
            memcpy(best_q, row_of(q, i), a->desc.channels * sizeof(float));
            memcpy(best_k, row_of(k, j), a->desc.channels * sizeof(float));
            for (uint32_t n = 0; n < ROWS; n++) {
                if (n != i) change_row(a, best_q, row_of(q, n));
                if (n != j) change_row(a, best_k, row_of(k, n));
            }
        } else { // the same rows at other places
            for (uint32_t n = 0; n < ROWS; n++) {
                if (n != i) memcpy(row_of(q, n), row_of(q, i), a->desc.channels * sizeof(float));
                if (n != j) memcpy(row_of(k, n), row_of(k, j), a->desc.channels * sizeof(float));
            }
        }
    }
}

// How near the search comes. What a type loses in storing is known to a part of it alone: of blocks, the worst rows of
// queries and of noise cannot meet.
static void attack_type(sxt_type k_type, double least) {
    double nearest = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        attack a;
        setup(&a, seed, k_type);
        search(&a);
        const double bound = bound_of(&a.desc);
        cr_assert(a.largest <= bound, "seed %llu: a logit of %.9g, and the bound is %.9g", (unsigned long long)seed,
                  a.largest, bound);
        nearest = fmax(nearest, a.largest / bound);
        sxt_dense_finish(&a.memory);
    }
    fprintf(stderr, "%s: %.4f of the bound\n", sxt_type_name(k_type), nearest);
    cr_expect(nearest >= least, "%s: %.4f of the bound at most", sxt_type_name(k_type), nearest);
}

Test(logit_bound, holds_for_f32_and_is_reached) {
    attack_type(SXT_TYPE_F32, 0.999);
}

Test(logit_bound, holds_for_f16_and_is_nearly_reached) {
    attack_type(SXT_TYPE_F16, 0.999);
}

Test(logit_bound, holds_for_bf16_and_is_nearly_reached) {
    attack_type(SXT_TYPE_BF16, 0.99);
}

Test(logit_bound, holds_for_fp8) {
    attack_type(SXT_TYPE_FP8_E4M3, 0.9);
}

Test(logit_bound, holds_for_q8_0) {
    attack_type(SXT_TYPE_Q8_0, 0.9);
}

Test(logit_bound, holds_for_q4_0) {
    attack_type(SXT_TYPE_Q4_0, 0.6);
}
