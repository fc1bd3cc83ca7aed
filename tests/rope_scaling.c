// The helpers that bring other models' RoPE scalings down to a base or to frequency factors. Figures without a formula
// beside them are transformers' own formulas (modeling_rope_utils.py), computed apart in Python's double precision.
#include "sextant/sextant.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

// Half an ulp of f32, as rounding at the end makes it, and what double adds.
static const double f32_relative = 0x1p-24 * 1.0001;

static void expect_near(double value, double want, const char *what) {
    cr_expect(fabs(value - want) <= f32_relative * fabs(want), "%s: %.10g, and should be %.10g", what, value, want);
}

Test(rope_scaling, ntk_stretches_the_base) {
    float base = 0;
    cr_assert_eq(sxt_rope_ntk_base(10000, 2, 128, &base), SXT_OK);
    expect_near(base, 20221.261689737912, "twice, 128");
    cr_assert_eq(sxt_rope_ntk_base(10000, 4, 64, &base), SXT_OK);
    expect_near(base, 41829.36592889948, "four times, 64");
    cr_assert_eq(sxt_rope_ntk_base(10000, 1, 64, &base), SXT_OK);
    cr_expect_eq(base, 10000.0f);
    // What it is for: the slowest pair turns `factor` times slower, the fastest as before.
    cr_assert_eq(sxt_rope_ntk_base(500000, 8, 96, &base), SXT_OK);
    expect_near(pow(base, 94.0 / 96) / pow(500000, 94.0 / 96), 8, "the slowest pair");
}

Test(rope_scaling, dynamic_ntk_begins_past_the_original_context) {
    float base = 0;
    for (uint32_t length = 0; length <= 2048; length += 1024) {
        cr_assert_eq(sxt_rope_dynamic_ntk_base(10000, 2, 128, length, 2048, &base), SXT_OK);
        cr_expect_eq(base, 10000.0f, "%u tokens", length);
    }
    cr_assert_eq(sxt_rope_dynamic_ntk_base(10000, 2, 128, 4096, 2048, &base), SXT_OK);
    expect_near(base, 30527.7367488067, "twice the context");
    cr_assert_eq(sxt_rope_dynamic_ntk_base(10000, 4, 64, 3000, 2048, &base), SXT_OK);
    expect_near(base, 29579.412156269467, "3000 tokens");
    cr_assert_eq(sxt_rope_dynamic_ntk_base(10000, 1, 64, 4096, 2048, &base), SXT_OK);
    float plain = 0;
    cr_assert_eq(sxt_rope_ntk_base(10000, 2, 64, &plain), SXT_OK);
    cr_expect_eq(base, plain, "factor 1 follows the length");
}

// Llama 3.1: heads of 128, base 500 000. The first 29 pairs stay, the last 29 turn 8 times slower.
Test(rope_scaling, llama_3_1) {
    static const double between[] = {1.207483871283662, 1.5534146285049255, 2.0263132059050557,
                                     2.694529687894733, 3.6842525277457185, 5.257326588708467};
    float factors[65];
    factors[64] = -7;
    cr_assert_eq(sxt_rope_llama3_factors(500000, 128, 8, 1, 4, 8192, factors), SXT_OK);
    for (int i = 0; i < 64; i++)
        expect_near(factors[i], i < 29 ? 1 : i >= 35 ? 8 : between[i - 29], "factor");
    cr_expect_eq(factors[64], -7.0f, "past the end");
}

// Llama 3.2 1B: heads of 64, factor 32.
Test(rope_scaling, llama_3_2) {
    static const double between[] = {1.6513292457638982, 3.2922621029408843, 9.666728978753293};
    float factors[32];
    cr_assert_eq(sxt_rope_llama3_factors(500000, 64, 32, 1, 4, 8192, factors), SXT_OK);
    for (int i = 0; i < 32; i++)
        expect_near(factors[i], i < 15 ? 1 : i >= 18 ? 32 : between[i - 15], "factor");
}

// Phi-3 mini 128k: 4096 stretched to 131 072, heads of 96.
Test(rope_scaling, longrope_takes_its_list_by_length) {
    enum { PAIRS = 48 };
    float shorter[PAIRS], longer[PAIRS], out[PAIRS + 1], attn = 0;
    for (int i = 0; i < PAIRS; i++)
        shorter[i] = 1.0f + 0.05f * (float)i, longer[i] = 1.0f + 1.3f * (float)i;
    static const uint32_t lengths[] = {0, 1, 4096, 4097, 131072};
    for (int i = 0; i < 5; i++) {
        out[PAIRS] = -7;
        cr_assert_eq(sxt_rope_longrope_factors(shorter, longer, 96, lengths[i], 4096, 131072, out, &attn), SXT_OK);
        cr_expect_eq(memcmp(out, i < 3 ? shorter : longer, sizeof shorter), 0, "%u tokens", lengths[i]);
        cr_expect_eq(out[PAIRS], -7.0f, "past the end");
        expect_near(attn, 1.1902380714238083, "magnitude");
    }
    cr_assert_eq(sxt_rope_longrope_factors(shorter, longer, 96, 1, 4096, 4096, out, &attn), SXT_OK);
    cr_expect_eq(attn, 1.0f, "nothing stretched");
    cr_assert_eq(sxt_rope_longrope_factors(shorter, longer, 96, 1, 4096, 2048, out, &attn), SXT_OK);
    cr_expect_eq(attn, 1.0f, "shrunk");
    cr_assert_eq(sxt_rope_longrope_factors(shorter, longer, 96, 5000, 4096, 8192, longer, &attn), SXT_OK);
    cr_expect_eq(longer[1], 2.3f, "in place");
}

Test(rope_scaling, arguments_out_of_range_leave_the_output_alone) {
    float out = -7, factors[4] = {-7, -7, -7, -7}, good[4] = {1, 1, 1, 1}, attn = -7;
    const float bad_bases[] = {0, 0.5f, -1, NAN, INFINITY}, bad_factors[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(sxt_rope_ntk_base(bad_bases[i], 2, 8, &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_dynamic_ntk_base(bad_bases[i], 2, 8, 9, 4, &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_llama3_factors(bad_bases[i], 8, 8, 1, 4, 64, factors), SXT_ERROR_INVALID);
    }
    for (int i = 0; i < 4; i++) {
        const float bad = bad_factors[i], some_bad[4] = {1, 1, 1, bad};
        cr_expect_eq(sxt_rope_ntk_base(10, bad, 8, &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_dynamic_ntk_base(10, bad, 8, 9, 4, &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_llama3_factors(10, 8, bad, 1, 4, 64, factors), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, bad, 4, 64, factors), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, 1, bad, 64, factors), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_longrope_factors(some_bad, good, 8, 9, 4, 8, factors, &attn), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_longrope_factors(good, some_bad, 8, 1, 4, 8, factors, &attn), SXT_ERROR_INVALID);
    }
    const uint32_t bad_dims[] = {0, 1, 3, 7};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(sxt_rope_ntk_base(10, 2, bad_dims[i], &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_dynamic_ntk_base(10, 2, bad_dims[i], 9, 4, &out), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_llama3_factors(10, bad_dims[i], 8, 1, 4, 64, factors), SXT_ERROR_INVALID);
        cr_expect_eq(sxt_rope_longrope_factors(good, good, bad_dims[i], 9, 4, 8, factors, &attn), SXT_ERROR_INVALID);
    }
    cr_expect_eq(sxt_rope_ntk_base(10, 2, 2, &out), SXT_ERROR_INVALID, "no exponent for 2 channels");
    cr_expect_eq(sxt_rope_dynamic_ntk_base(10, 2, 2, 9, 4, &out), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_ntk_base(1e38f, 1e30f, 4, &out), SXT_ERROR_INVALID, "past f32");
    cr_expect_eq(sxt_rope_ntk_base(2, 0.1f, 8, &out), SXT_ERROR_INVALID, "a base below 1");
    cr_expect_eq(sxt_rope_dynamic_ntk_base(10, 2, 8, 9, 0, &out), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, 4, 4, 64, factors), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, 5, 4, 64, factors), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, 1, 4, 0, factors), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(good, good, 8, 9, 1, 8, factors, &attn), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(good, good, 8, 9, 4, 0, factors, &attn), SXT_ERROR_INVALID);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(factors[i], -7.0f);
    cr_expect(out == -7.0f && attn == -7.0f);
}

Test(rope_scaling, null_is_invalid) {
    float good[4] = {1, 1, 1, 1}, out[4], attn;
    cr_expect_eq(sxt_rope_ntk_base(10, 2, 8, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_dynamic_ntk_base(10, 2, 8, 9, 4, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_llama3_factors(10, 8, 8, 1, 4, 64, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(NULL, good, 8, 9, 4, 8, out, &attn), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(good, NULL, 8, 9, 4, 8, out, &attn), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(good, good, 8, 9, 4, 8, NULL, &attn), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope_longrope_factors(good, good, 8, 9, 4, 8, out, NULL), SXT_ERROR_INVALID);
}
