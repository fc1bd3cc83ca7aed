// Blocks of 32 values, q8_0 and q4_0, are made of f32 to the bit as sextant.h's formulas say, which are ggml's.
#include "core/number.h"
#include "support/device.h"
#include "support/random.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { MOST_BYTES = 34 };

// ── The formulas, as they stand in the header ──

static void put_scale(float d, bool finite, uint8_t *out_block) {
    uint16_t bits = !finite ? 0x7e00 : fabsf(d) < FLT_MIN ? 0 : sxt_f16_from_double(d);
    out_block[0] = bits & 0xff; // little-endian, as everything that Sextant runs on
    out_block[1] = (uint8_t)(bits >> 8);
}

static bool all_finite(const float x[32]) {
    bool finite = true;
    for (int i = 0; i < 32; i++)
        finite = finite && isfinite(x[i]);
    return finite;
}

static void q8_0_formula(const float x[32], uint8_t *out_block) {
    float largest = 0;
    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    const float d = largest / 127, inverse = 1 / d;
    put_scale(d, all_finite(x), out_block);
    memset(out_block + 2, 0, 32);
    for (int i = 0; i < 32 && all_finite(x) && d >= FLT_MIN; i++) {
        const float scaled = x[i] * inverse;
        // Half away from zero, by what is left of the magnitude.
        int q = (int)fabsf(scaled);
        if (fabsf(scaled) - (float)q >= 0.5f) q++;
        out_block[2 + i] = (uint8_t)(scaled < 0 ? -q : q);
    }
}

static void q4_0_formula(const float x[32], uint8_t *out_block) {
    float m = 0;
    for (int i = 31; i >= 0; i--)
        if (fabsf(x[i]) >= fabsf(m)) m = x[i];
    const float d = m / -8, inverse = 1 / d;
    const bool finite = all_finite(x);
    put_scale(d, finite, out_block);
    uint8_t q[32];
    for (int i = 0; i < 32; i++) {
        const float scaled = x[i] * inverse;
        const float shifted = scaled + 8.5f;
        q[i] = !finite || fabsf(d) < FLT_MIN ? 8 : shifted >= 15 ? 15 : (uint8_t)shifted;
    }
    for (int j = 0; j < 16; j++)
        out_block[2 + j] = (uint8_t)(q[j] | q[j + 16] << 4);
}

static void expect_formula(const float x[32], const char *what) {
    double values[32], back[32];
    for (int i = 0; i < 32; i++)
        values[i] = x[i];
    for (int k = 0; k < 2; k++) {
        const sxt_type type = k ? SXT_TYPE_Q4_0 : SXT_TYPE_Q8_0;
        uint8_t want[MOST_BYTES], got[MOST_BYTES + 1];
        (k ? q4_0_formula : q8_0_formula)(x, want);
        memset(got, 0xa5, sizeof got);
        sxt_encode(type, values, 32, got);
        for (uint32_t i = 0; i < sxt_type_size(type); i++)
            cr_assert_eq(got[i], want[i], "%s, %s: byte %u is %02x, and should be %02x", what, sxt_type_name(type), i,
                         got[i], want[i]);
        cr_assert_eq(got[sxt_type_size(type)], 0xa5, "%s", what);
        // And back: d·q, where q4_0's are less 8.
        sxt_decode(type, got, 32, back);
        const double d = sxt_f16_to_double((uint16_t)(got[0] | got[1] << 8));
        for (int i = 0; i < 32; i++) {
            const int q = k ? (got[2 + i % 16] >> (i < 16 ? 0 : 4) & 15) - 8 : (int8_t)got[2 + i];
            cr_assert(back[i] == d * q || (isnan(d * q) && isnan(back[i])), "%s: element %d", what, i);
            cr_assert(sxt_load(type, got, (uint64_t)i) == back[i] || isnan(back[i]), "%s: element %d", what, i);
        }
    }
}

Test(blocks, random_values_of_every_magnitude) {
    sxt_test_rng rng = sxt_test_rng_make(sxt_test_first_seed());
    for (uint32_t i = 0; i < sxt_test_cases(200000); i++) {
        float x[32];
        const double magnitude = ldexp(1, (int)sxt_test_below(&rng, 280) - 150);
        for (int j = 0; j < 32; j++) {
            x[j] = (float)(magnitude * sxt_test_normal(&rng));
            if (isinf(x[j])) x[j] = 3e38f;
            if (i % 3 == 0) x[j] = (float)(magnitude / 64 * (double)((int)sxt_test_below(&rng, 257) - 128)); // ties
        }
        expect_formula(x, "random");
    }
}

Test(blocks, hostile_ones) {
    static const float special[] = {
        0.0f,           -0.0f,          1e-45f,    -1e-45f,   FLT_MIN,       0.5f * FLT_MIN, 1.0f,
        FLT_MAX,        -FLT_MAX,       INFINITY,  NAN,       -1.0f,         65504.0f,       65504.0f * 127,
        65519.0f * 127, 65520.0f * 127, -INFINITY, 5e-8f * 8, 127 * FLT_MIN, 8 * FLT_MIN};
    enum { SPECIALS = sizeof special / sizeof special[0] };
    for (int i = 0; i < SPECIALS; i++)
        for (int k = 0; k < SPECIALS; k++)
            for (int place = 0; place < 32; place += 5) {
                float x[32];
                for (int j = 0; j < 32; j++)
                    x[j] = j == place ? special[i] : special[k];
                expect_formula(x, "special");
                for (int j = 0; j < 32; j++)
                    x[j] = j == place ? special[i] : j % 2 ? nextafterf(special[k], 0) : -special[k];
                expect_formula(x, "special, signs in turn");
            }
}

// ── By hand ──

static void encode(sxt_type type, double rest, const double *first, uint32_t count, uint8_t *out_block) {
    double values[32];
    for (uint32_t i = 0; i < 32; i++)
        values[i] = i < count ? first[i] : rest;
    sxt_encode(type, values, 32, out_block);
}

static uint32_t scale_bits(const uint8_t *block) {
    return (uint32_t)(block[0] | block[1] << 8);
}

Test(blocks, ties_go_away_from_zero_in_q8_0) {
    uint8_t block[MOST_BYTES];
    encode(SXT_TYPE_Q8_0, 0, (const double[]){127, 0.5, -0.5, 1.5, -2.5, 0.4999999, -126.5, 126.49}, 8, block);
    static const int8_t want[] = {127, 1, -1, 2, -3, 0, -127, 126, 0};
    cr_assert_eq(scale_bits(block), 0x3c00, "d = 1");
    cr_assert_eq(memcmp(block + 2, want, sizeof want), 0);
}

Test(blocks, q4_0_scales_by_the_first_of_its_largest_and_fills_low_halves_first) {
    uint8_t block[MOST_BYTES];
    encode(SXT_TYPE_Q4_0, 0, (const double[]){-8, 8, 0.5, -0.5, 7, -7.5, 0.49, 1.5}, 8, block);
    static const uint8_t want[] = {0, 15, 9, 8, 15, 1, 8, 10};
    cr_assert_eq(scale_bits(block), 0x3c00, "d = 1");
    for (int i = 0; i < 8; i++)
        cr_assert_eq(block[2 + i], want[i] | 8 << 4, "element %d", i);
    encode(SXT_TYPE_Q4_0, 0, (const double[]){8, -8}, 2, block);
    cr_assert_eq(scale_bits(block), 0xbc00, "the first largest is 8: d = -1");
    cr_assert_eq(block[2] & 15, 0);
    cr_assert_eq(block[3] & 15, 15);
}

Test(blocks, zeros_nans_and_what_f16_cannot_hold) {
    uint8_t block[MOST_BYTES], zeros[32] = {0}, eights[16];
    memset(eights, 0x88, sizeof eights);
    const double faults[] = {0, NAN, INFINITY, -INFINITY, 1e39, 126.9 * FLT_MIN};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const uint32_t d = i == 0 || i == 5 ? 0 : 0x7e00;
        encode(SXT_TYPE_Q8_0, 0, &faults[i], 1, block);
        cr_assert(scale_bits(block) == d && memcmp(block + 2, zeros, 32) == 0, "q8_0: %g", faults[i]);
        encode(SXT_TYPE_Q4_0, 0, &(double){i == 5 ? 7.9 * FLT_MIN : faults[i]}, 1, block);
        cr_assert(scale_bits(block) == d && memcmp(block + 2, eights, 16) == 0, "q4_0: %g", faults[i]);
    }
    encode(SXT_TYPE_Q8_0, 0, (const double[]){65504.0 * 127}, 1, block);
    cr_assert(scale_bits(block) == 0x7bff && block[2] == 127);
    encode(SXT_TYPE_Q8_0, 0, (const double[]){65520.0 * 127}, 1, block);
    cr_assert(scale_bits(block) == 0x7c00 && block[2] == 127, "an infinite d");
    encode(SXT_TYPE_Q4_0, 0, (const double[]){65520.0 * 8}, 1, block);
    cr_assert(scale_bits(block) == 0xfc00 && (block[2] & 15) == 0, "an infinite d");
    encode(SXT_TYPE_Q8_0, 0, (const double[]){127 * FLT_MIN}, 1, block);
    cr_assert(scale_bits(block) == 0 && block[2] == 127, "f16 loses d, and q stays");
}
