// The control of sxt_test_encoded: it takes what an error within the bounds can make of a row, and nothing else.
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/number.h"
#include "support/encoded.h"

enum { COUNT = 64, CASES = 2000 };

typedef struct row {
    double values[COUNT], bounds[COUNT];
    uint8_t data[COUNT * 4];
} row;

static const sxt_type types[] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                 SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};

// A row that was computed with errors up to `share` of twice the bounds, and encoded.
static row random_row(sxt_test_rng *rng, sxt_type type, double share) {
    row r;
    double computed[COUNT];
    for (uint32_t c = 0; c < COUNT; c++) {
        r.values[c] = sxt_test_normal(rng);
        r.bounds[c] = 1e-4 * fabs(r.values[c]);
        computed[c] = r.values[c] + 2 * share * sxt_test_uniform(rng, -1, 1) * r.bounds[c];
    }
    sxt_encode(type, computed, COUNT, r.data);
    return r;
}

Test(encoded, errors_within_the_bounds_are_taken) {
    for (uint32_t i = 0; i < CASES; i++) {
        sxt_test_rng rng = sxt_test_rng_make(i);
        const sxt_type type = types[i % 6];
        const row r = random_row(&rng, type, 1);
        cr_assert(sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data), "%s, case %u", sxt_type_name(type), i);
    }
}

Test(encoded, the_smallest_bound_frees_a_zero_s_sign_alone) {
    const double values[2] = {-0.0, 1.0}, none[2] = {0}, smallest[2] = {DBL_MIN, DBL_MIN};
    const uint8_t same[2] = {0x80, 0x38}, other_zero[2] = {0x00, 0x38}, other_one[2] = {0x80, 0x39};
    cr_assert(sxt_test_encoded(SXT_TYPE_FP8_E4M3, 2, values, none, 1, same));
    cr_assert_not(sxt_test_encoded(SXT_TYPE_FP8_E4M3, 2, values, none, 1, other_zero));
    cr_assert(sxt_test_encoded(SXT_TYPE_FP8_E4M3, 2, values, smallest, 1, other_zero));
    cr_assert_not(sxt_test_encoded(SXT_TYPE_FP8_E4M3, 2, values, smallest, 1, other_one));
}

// Two steps of a quant or of an fp8 code are never within a bound of 1e-4, nor is a scale that is off by 1/512; one step
// is where the value is near to an edge: in less than one of 25 cases.
Test(encoded, larger_errors_are_refused) {
    uint32_t steps_taken = 0, steps = 0;
    for (uint32_t i = 0; i < CASES; i++) {
        sxt_test_rng rng = sxt_test_rng_make(i);
        const sxt_type type = types[3 + i % 3];
        row r = random_row(&rng, type, 0);
        const uint32_t byte = type == SXT_TYPE_FP8_E4M3 ? sxt_test_below(&rng, COUNT) : 2 + sxt_test_below(&rng, 16);
        r.data[byte] ^= 1;
        steps++;
        steps_taken += sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data);
        r.data[byte] ^= 3;
        cr_assert_not(sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data), "%s, case %u", sxt_type_name(type),
                      i);
        r = random_row(&rng, type, 0);
        if (type != SXT_TYPE_FP8_E4M3) r.data[0] ^= 4; // a 256th of the scale, or less
        if (type != SXT_TYPE_FP8_E4M3) cr_assert_not(sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data));
    }
    cr_assert(steps_taken * 25 < steps, "%u of %u", steps_taken, steps);
}

Test(encoded, exact_rows_are_taken_to_the_bit) {
    for (uint32_t i = 0; i < CASES; i++) {
        sxt_test_rng rng = sxt_test_rng_make(i);
        const sxt_type type = types[3 + i % 3];
        row r = random_row(&rng, type, 0);
        memset(r.bounds, 0, sizeof r.bounds);
        cr_assert(sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data));
        r.data[sxt_test_below(&rng, COUNT / sxt_type_block(type) * sxt_type_size(type))] ^= 1u
                                                                                            << sxt_test_below(&rng, 8);
        cr_assert_not(sxt_test_encoded(type, COUNT, r.values, r.bounds, 1, r.data), "%s, case %u", sxt_type_name(type),
                      i);
    }
}

Test(encoded, a_nan_must_be_seen) {
    for (uint32_t i = 0; i < 6; i++) {
        sxt_test_rng rng = sxt_test_rng_make(i);
        row r = random_row(&rng, types[i], 0);
        r.values[7] = NAN;
        cr_assert_not(sxt_test_encoded(types[i], COUNT, r.values, r.bounds, 1, r.data));
        sxt_encode(types[i], r.values, COUNT, r.data);
        cr_assert(sxt_test_encoded(types[i], COUNT, r.values, r.bounds, 1, r.data));
    }
}
