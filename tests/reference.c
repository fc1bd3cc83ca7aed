// The reference is right: against closed forms, invariants, and small programs that compute the same in another way.
#include "core/number.h"
#include "support/dense.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static void expect_equal(const sxt_tensor *a, const sxt_tensor *b, double tolerance, const char *what) {
    for (uint64_t i = 0; i < sxt_dense_count(a); i++)
        cr_assert(fabs(sxt_dense_get(a, i) - sxt_dense_get(b, i)) <= tolerance, "%s: element %llu is %.9g and %.9g",
                  what, (unsigned long long)i, sxt_dense_get(a, i), sxt_dense_get(b, i));
}

static void expect_near(double value, double want, double relative, const char *what) {
    cr_assert(fabs(value - want) <= relative * fmax(1.0, fabs(want)), "%s: %.12g, and should be %.12g", what, value,
              want);
}

// Half an ulp of f32 on numbers below 4, as rounding at the store makes it, and what a handful of operations in double add.
static const double f32_store = 4 * 0x1p-25 + 1e-12;

// ── Norm ──

Test(reference, norms_of_three_and_four) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 2), y = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 2);
    sxt_tensor weight = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 2),
               bias = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 1);
    sxt_dense_set(&x, 0, 3), sxt_dense_set(&x, 1, 4);
    sxt_dense_set(&weight, 0, 2), sxt_dense_set(&weight, 1, -1), sxt_dense_set(&bias, 0, 0.5);
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .eps = 0.5f}), SXT_OK);
    expect_near(sxt_dense_get(&y, 0), 3 / sqrt(13), 1e-7, "rms");
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .kind = SXT_NORM_LAYER}), SXT_OK);
    expect_near(sxt_dense_get(&y, 0), -1, 1e-7, "layer");
    expect_near(sxt_dense_get(&y, 1), 1, 1e-7, "layer");
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .kind = SXT_NORM_L2}), SXT_OK);
    expect_near(sxt_dense_get(&y, 1), 0.8, 1e-7, "l2");
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .kind = SXT_NORM_L2, .eps = 10.0f}), SXT_OK);
    expect_near(sxt_dense_get(&y, 1), 0.4, 1e-7, "l2, shorter than eps");
    const sxt_norm_desc full = {.x = x, .y = y, .weight = weight, .bias = bias, .kind = SXT_NORM_L2, .offset = 1.0f};
    cr_assert_eq(sxt_norm(b.stream, &full), SXT_OK);
    expect_near(sxt_dense_get(&y, 0), 0.6 * 3 + 0.5, 1e-7, "gain 1 + 2, bias");
    expect_near(sxt_dense_get(&y, 1), 0.5, 1e-7, "gain 1 - 1, bias");
    sxt_dense_finish(&b);
}

Test(reference, a_row_of_zeros_gives_the_bias) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, 2, 1, 5), y = sxt_dense_make(&b, SXT_TYPE_F32, 1, 2, 1, 5);
    sxt_tensor bias = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 5);
    sxt_dense_fill(&x, 0.0);
    for (int kind = SXT_NORM_RMS; kind <= SXT_NORM_L2; kind++) {
        sxt_dense_fill(&y, NAN);
        cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .bias = bias, .kind = (sxt_norm_kind)kind}),
                     SXT_OK);
        for (uint64_t i = 0; i < 10; i++)
            cr_assert_eq(sxt_dense_get(&y, i), sxt_dense_get(&bias, i % 5), "kind %d", kind);
    }
    sxt_dense_finish(&b);
}

// By E[x²] − mean² in f32 nothing would be left of the variance here.
Test(reference, layer_norm_does_not_see_a_shift) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, 3, 2, 33), y = sxt_dense_make(&b, SXT_TYPE_F32, 1, 3, 2, 33);
    sxt_tensor shifted = sxt_dense_copy(&b, &x), y_shifted = sxt_dense_copy(&b, &y);
    for (uint64_t i = 0; i < sxt_dense_count(&x); i++) {
        sxt_dense_set(&x, i, round(sxt_dense_get(&x, i) * 64) / 64); // so that the sum is exact in f32
        sxt_dense_set(&shifted, i, sxt_dense_get(&x, i) + 65536);
    }
    sxt_norm_desc desc = {.x = x, .y = y, .kind = SXT_NORM_LAYER, .eps = 1e-5f};
    cr_assert_eq(sxt_norm(b.stream, &desc), SXT_OK);
    desc.x = shifted, desc.y = y_shifted;
    cr_assert_eq(sxt_norm(b.stream, &desc), SXT_OK);
    expect_equal(&y, &y_shifted, 1e-6, "shifted by 65536");
    sxt_dense_finish(&b);
}

// residual_out is rounded, y comes from the sum before that; in place or not makes no difference.
Test(reference, residual_is_rounded_at_its_store_only) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 2, 7),
               residual = sxt_dense_make(&b, SXT_TYPE_BF16, 2, 3, 2, 7);
    sxt_tensor y = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 2, 7), sum = sxt_dense_make(&b, SXT_TYPE_BF16, 2, 3, 2, 7);
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .residual = residual, .residual_out = sum}),
                 SXT_OK);
    for (uint64_t row = 0; row < 12; row++) {
        double squares = 0;
        for (uint64_t c = 0; c < 7; c++)
            squares += pow(sxt_dense_get(&x, row * 7 + c) + sxt_dense_get(&residual, row * 7 + c), 2);
        for (uint64_t i = row * 7; i < row * 7 + 7; i++) {
            double r = sxt_dense_get(&x, i) + sxt_dense_get(&residual, i);
            cr_assert_eq(sxt_dense_get(&sum, i), sxt_bf16_to_double(sxt_bf16_from_double(r)));
            expect_near(sxt_dense_get(&y, i), r / sqrt(squares / 7), f32_store, "y");
        }
    }
    const sxt_norm_desc in_place = {.x = x, .y = x, .residual = residual, .residual_out = residual};
    cr_assert_eq(sxt_norm(b.stream, &in_place), SXT_OK);
    expect_equal(&x, &y, 0, "y in place");
    expect_equal(&residual, &sum, 0, "residual in place");
    sxt_dense_finish(&b);
}

Test(reference, weights_repeat_over_their_dims_of_one) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { T = 3, H = 2, C = 4 };
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, C), y = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, C);
    sxt_tensor plain = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, C);
    sxt_tensor per_token = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, 1, C),
               per_head = sxt_dense_make(&b, SXT_TYPE_F16, 1, 1, H, 1);
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = plain}), SXT_OK);
    cr_assert_eq(sxt_norm(b.stream, &(sxt_norm_desc){.x = x, .y = y, .weight = per_token, .bias = per_head}), SXT_OK);
    for (uint64_t i = 0; i < T * H * C; i++) {
        double gain = sxt_dense_get(&per_token, i / (H * C) * C + i % C), shift = sxt_dense_get(&per_head, i / C % H);
        expect_near(sxt_dense_get(&y, i), sxt_dense_get(&plain, i) * gain + shift, 4e-7, "adaLN and a bias per head");
    }
    sxt_dense_finish(&b);
}

// ── RoPE ──

static double length_of(const sxt_tensor *t, uint64_t first, uint64_t count) {
    double squares = 0;
    for (uint64_t i = first; i < first + count; i++)
        squares += sxt_dense_get(t, i) * sxt_dense_get(t, i);
    return sqrt(squares);
}

Test(reference, rotation_keeps_length_and_the_rest_of_the_head) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { T = 5, D = 20, ROT = 12, OFFSET = 4 };
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, 2, D), y = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, 2, D);
    sxt_tensor positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T);
    for (int pairing = 0; pairing < 2; pairing++) {
        sxt_rope_desc desc = {
            .x = x,
            .y = y,
            .positions = positions,
            .rope = {.pairing = (sxt_rope_pairing)pairing, .rotary_dim = ROT, .rotary_offset = OFFSET}};
        cr_assert_eq(sxt_rope(b.stream, &desc), SXT_OK);
        for (uint64_t row = 0; row < T * 2; row++) {
            expect_near(length_of(&y, row * D + OFFSET, ROT), length_of(&x, row * D + OFFSET, ROT), 1e-6, "length");
            for (uint64_t c = 0; c < D; c++)
                if (row < 2 || c < OFFSET || c >= OFFSET + ROT) // at position 0 nothing turns
                    cr_assert_eq(sxt_dense_get(&y, row * D + c), sxt_dense_get(&x, row * D + c));
        }
        desc.x = desc.y, desc.rope.inverse = true;
        cr_assert_eq(sxt_rope(b.stream, &desc), SXT_OK);
        expect_equal(&y, &x, 1e-6, "there and back");
    }
    sxt_dense_finish(&b);
}

Test(reference, pairings_are_one_rotation_of_permuted_channels) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { T = 4, D = 10 };
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, 1, D),
               positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T);
    sxt_tensor permuted = sxt_dense_copy(&b, &x), half = sxt_dense_copy(&b, &x), interleaved = sxt_dense_copy(&b, &x);
    for (uint64_t i = 0; i < T * D; i++)
        sxt_dense_set(&permuted, i / D * D + (i % D % (D / 2)) * 2 + i % D / (D / 2), sxt_dense_get(&x, i));
    sxt_rope_desc desc = {.x = x, .y = half, .positions = positions};
    cr_assert_eq(sxt_rope(b.stream, &desc), SXT_OK);
    desc =
        (sxt_rope_desc){.x = permuted, .y = interleaved, .positions = positions, .rope.pairing = SXT_ROPE_INTERLEAVED};
    cr_assert_eq(sxt_rope(b.stream, &desc), SXT_OK);
    for (uint64_t i = 0; i < T * D; i++)
        cr_assert_eq(sxt_dense_get(&interleaved, i / D * D + (i % D % (D / 2)) * 2 + i % D / (D / 2)),
                     sxt_dense_get(&half, i));
    sxt_dense_finish(&b);
}

// The rotation of (1, 0) shows the angle itself. long double has 11 bits more than what is under test.
static void expect_angles(sxt_dense *b, const sxt_rope_params *rope, const long double *frequencies, double magnitude) {
    static const int32_t places[] = {0, 1, -1, 511, 1000000, -1000000, INT32_MAX, INT32_MIN};
    enum { P = sizeof places / sizeof places[0] };
    uint32_t pairs = rope->rotary_dim / 2;
    sxt_tensor x = sxt_dense_make(b, SXT_TYPE_F32, 1, P, 1, 2 * pairs), y = sxt_dense_copy(b, &x);
    sxt_tensor positions = sxt_dense_make(b, SXT_TYPE_I32, 1, 1, 1, P);
    for (uint64_t i = 0; i < sxt_dense_count(&x); i++)
        sxt_dense_set(&x, i, i % (2 * pairs) < pairs);
    for (uint64_t i = 0; i < P; i++)
        sxt_dense_set(&positions, i, places[i]);
    cr_assert_eq(sxt_rope(b->stream, &(sxt_rope_desc){.x = x, .y = y, .positions = positions, .rope = *rope}), SXT_OK);
    for (uint64_t t = 0; t < P; t++)
        for (uint32_t i = 0; i < pairs; i++) {
            long double angle = (rope->inverse ? -1.0L : 1.0L) * places[t] * frequencies[i];
            double c = sxt_dense_get(&y, t * 2 * pairs + i) / magnitude,
                   s = sxt_dense_get(&y, t * 2 * pairs + pairs + i) / magnitude;
            cr_assert(fabsl(c - cosl(angle)) < 1e-6L && fabsl(s - sinl(angle)) < 1e-6L,
                      "position %d, pair %u: (%.9g, %.9g), and should be (%.9Lg, %.9Lg)", places[t], i, c, s,
                      cosl(angle), sinl(angle));
        }
}

Test(reference, angles_are_right_at_every_position) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { ROT = 16, PAIRS = ROT / 2, CONTEXT = 4096 };
    static const float factors[PAIRS] = {1, 1, 1.5f, 2, 4, 8, 8, 32};
    long double plain[PAIRS], linear[PAIRS], divided[PAIRS], yarn[PAIRS];
    // YaRN's wavelengths, written by the paper's own variable: rotations of the pair within the trained context.
    const long double turns = 6.283185307179586476925287L, base = 500000.0L, s = 0.25L;
    long double low = ROT * logl(CONTEXT / (32 * turns)) / (2 * logl(base));
    long double high = ROT * logl(CONTEXT / turns) / (2 * logl(base));
    low = fmaxl(0, floorl(low)), high = fminl(ROT - 1, ceill(high));
    for (int i = 0; i < PAIRS; i++) {
        plain[i] = powl(base, -2.0L * i / ROT);
        linear[i] = plain[i] * s;
        divided[i] = plain[i] / (long double)factors[i];
        long double kept = 1 - fminl(1, fmaxl(0, (i - low) / fmaxl(0.001L, high - low)));
        yarn[i] = plain[i] * (s * (1 - kept) + kept);
    }
    cr_assert(low < high && low > 0, "the ramp must be seen");
    const sxt_rope_params form = {.rotary_dim = ROT, .base = 500000.0f};
    sxt_rope_params p = form;
    expect_angles(&b, &p, plain, 1.0);
    p.inverse = true;
    expect_angles(&b, &p, plain, 1.0);
    p = form, p.freq_scale = 0.25f;
    expect_angles(&b, &p, linear, 1.0);
    p = form, p.freq_factors = factors, p.attn_factor = 2.0f;
    expect_angles(&b, &p, divided, 2.0);
    p = form, p.freq_scale = 0.25f, p.ext_factor = 1.0f, p.original_context = CONTEXT;
    expect_angles(&b, &p, yarn, 1 + 0.1 * log(4));
    sxt_dense_finish(&b);
}

// Angle of each pair with unit frequencies (base 1): which plane a pair follows.
static void expect_axes(sxt_dense *b, const sxt_rope_params *rope, uint32_t planes, const char *axes) {
    uint32_t pairs = (uint32_t)strlen(axes);
    sxt_tensor x = sxt_dense_make(b, SXT_TYPE_F32, 1, 1, 1, 2 * pairs), y = sxt_dense_copy(b, &x);
    sxt_tensor positions = sxt_dense_make(b, SXT_TYPE_I32, planes, 1, 1, 1);
    for (uint32_t i = 0; i < 2 * pairs; i++)
        sxt_dense_set(&x, i, i < pairs);
    for (uint32_t i = 0; i < planes; i++)
        sxt_dense_set(&positions, i, i + 1);
    cr_assert_eq(sxt_rope(b->stream, &(sxt_rope_desc){.x = x, .y = y, .positions = positions, .rope = *rope}), SXT_OK);
    for (uint32_t i = 0; i < pairs; i++) // up to 4 rad: compare both coordinates
        cr_assert(fabs(sxt_dense_get(&y, i) - cos(axes[i] - '0' + 1)) < 1e-6 &&
                      fabs(sxt_dense_get(&y, pairs + i) - sin(axes[i] - '0' + 1)) < 1e-6,
                  "multi %d, pair %u should follow axis %c", (int)rope->multi, i, axes[i]);
}

Test(reference, pairs_follow_the_axes_of_their_sections) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_rope_params p = {.base = 1.0f, .multi = SXT_ROPE_MROPE, .sections = {4, 2, 2}};
    expect_axes(&b, &p, 3, "00001122");
    p.sections[1] = 9; // more than there are pairs
    expect_axes(&b, &p, 4, "00001111");
    p = (sxt_rope_params){.base = 1.0f, .multi = SXT_ROPE_VISION, .sections = {5, 3}};
    expect_axes(&b, &p, 2, "00000111");
    p = (sxt_rope_params){.base = 1.0f, .multi = SXT_ROPE_IMROPE, .sections = {4, 3, 3}};
    expect_axes(&b, &p, 3, "0120120120");
    p = (sxt_rope_params){.base = 1.0f, .multi = SXT_ROPE_IMROPE, .sections = {6, 2, 2}};
    expect_axes(&b, &p, 3, "0120120000");
    expect_axes(&b, &p, 4, "0120120330");
    sxt_dense_finish(&b);
}

// A head of an image model: half of the pairs turn by x, half by y, each half with the frequencies of a head half as wide.
Test(reference, vision_restarts_the_frequencies) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { D = 16 };
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, D), y = sxt_dense_copy(&b, &x),
               planes = sxt_dense_make(&b, SXT_TYPE_I32, 2, 1, 1, 1);
    sxt_dense_set(&planes, 0, 3), sxt_dense_set(&planes, 1, 7);
    sxt_rope_desc desc = {.x = x,
                          .y = y,
                          .positions = planes,
                          .rope = {.base = 100.0f, .multi = SXT_ROPE_VISION, .sections = {D / 4, D / 4}}};
    cr_assert_eq(sxt_rope(b.stream, &desc), SXT_OK);
    for (int i = 0; i < D / 2; i++) {
        double angle = (i < D / 4 ? 3 : 7) * pow(100.0, -2.0 * (i % (D / 4)) / (D / 2));
        double a = sxt_dense_get(&x, (uint64_t)i), c = sxt_dense_get(&x, (uint64_t)i + D / 2);
        expect_near(sxt_dense_get(&y, (uint64_t)i), a * cos(angle) - c * sin(angle), 3e-7, "vision");
    }
    sxt_dense_finish(&b);
}

// ── QK-norm and RoPE ──

// Largest change of any logit q·k when all positions move by `shift`.
static double logits_move(sxt_dense *b, bool rotate_first, bool gains) {
    enum { T = 6, D = 16, SHIFT = 37 };
    b->rng = sxt_test_rng_make(11);
    sxt_tensor q = sxt_dense_make(b, SXT_TYPE_F32, 1, T, 1, D), k = sxt_dense_make(b, SXT_TYPE_F32, 1, T, 1, D);
    sxt_tensor q_weight = sxt_dense_make(b, SXT_TYPE_F32, 1, 1, 1, D),
               k_weight = sxt_dense_make(b, SXT_TYPE_F32, 1, 1, 1, D);
    sxt_tensor positions = sxt_dense_make(b, SXT_TYPE_I32, 1, 1, 1, T);
    if (!gains) sxt_dense_fill(&q_weight, 1), sxt_dense_fill(&k_weight, 1);
    double logits[2][T][T], most = 0;
    for (int run = 0; run < 2; run++) {
        sxt_tensor q_out = sxt_dense_make(b, SXT_TYPE_F32, 1, T, 1, D),
                   k_out = sxt_dense_make(b, SXT_TYPE_F32, 1, T, 1, D);
        sxt_qk_norm_rope_desc desc = {.q = q, .q_out = q_out, .k = k, .k_out = k_out, .positions = positions};
        if (rotate_first) {
            desc.norm = SXT_NORM_NONE;
            cr_assert_eq(sxt_qk_norm_rope(b->stream, &desc), SXT_OK);
            cr_assert_eq(sxt_norm(b->stream, &(sxt_norm_desc){.x = q_out, .y = q_out, .weight = q_weight}), SXT_OK);
            cr_assert_eq(sxt_norm(b->stream, &(sxt_norm_desc){.x = k_out, .y = k_out, .weight = k_weight}), SXT_OK);
        } else {
            desc.q_weight = q_weight, desc.k_weight = k_weight;
            cr_assert_eq(sxt_qk_norm_rope(b->stream, &desc), SXT_OK);
        }
        for (uint64_t i = 0; i < T; i++)
            for (uint64_t j = 0; j < T; j++) {
                logits[run][i][j] = 0;
                for (uint64_t c = 0; c < D; c++)
                    logits[run][i][j] += sxt_dense_get(&q_out, i * D + c) * sxt_dense_get(&k_out, j * D + c);
                most = run == 0 ? 0 : fmax(most, fabs(logits[1][i][j] - logits[0][i][j]));
            }
        for (uint64_t i = 0; i < T; i++)
            sxt_dense_set(&positions, i, sxt_dense_get(&positions, i) + SHIFT);
    }
    return most;
}

Test(reference, logits_depend_on_distance_only_if_the_norm_comes_first) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    cr_assert_lt(logits_move(&b, false, true), 1e-5, "norm, gain, rotation");
    sxt_dense_finish(&b);
    sxt_dense_init(&b, 7);
    cr_assert_lt(logits_move(&b, true, false), 1e-5, "without gains the order makes no difference");
    sxt_dense_finish(&b);
    sxt_dense_init(&b, 7);
    cr_assert_gt(logits_move(&b, true, true), 0.1, "rotation, norm, gain: the logits move");
    sxt_dense_finish(&b);
}

Test(reference, the_fused_operation_is_norm_then_rope) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor q = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 4, 8), k = sxt_dense_make(&b, SXT_TYPE_BF16, 2, 3, 2, 8);
    sxt_tensor weight = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 8),
               positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 2, 1, 3);
    sxt_tensor q_two = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 4, 8),
               k_two = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 2, 8);
    for (int kind = SXT_NORM_RMS; kind <= SXT_NORM_L2; kind++) {
        sxt_tensor q_one = sxt_dense_copy(&b, &q), k_one = sxt_dense_copy(&b, &k_two);
        const sxt_qk_norm_rope_desc fused = {.q = q_one,
                                             .q_out = q_one,
                                             .k = k,
                                             .k_out = k_one,
                                             .q_weight = weight,
                                             .positions = positions,
                                             .norm = (sxt_norm_kind)kind,
                                             .offset = 1.0f};
        const sxt_norm_desc q_norm = {
            .x = q, .y = q_two, .weight = weight, .offset = 1.0f, .kind = (sxt_norm_kind)kind};
        const sxt_norm_desc k_norm = {.x = k, .y = k_two, .kind = (sxt_norm_kind)kind};
        cr_assert_eq(sxt_qk_norm_rope(b.stream, &fused), SXT_OK);
        cr_assert_eq(sxt_norm(b.stream, &q_norm), SXT_OK);
        cr_assert_eq(sxt_norm(b.stream, &k_norm), SXT_OK);
        cr_assert_eq(sxt_rope(b.stream, &(sxt_rope_desc){.x = q_two, .y = q_two, .positions = positions}), SXT_OK);
        cr_assert_eq(sxt_rope(b.stream, &(sxt_rope_desc){.x = k_two, .y = k_two, .positions = positions}), SXT_OK);
        expect_equal(&q_one, &q_two, 2e-6, "q, in place");
        expect_equal(&k_one, &k_two, 2e-6, "k");
    }
    sxt_dense_finish(&b);
}
