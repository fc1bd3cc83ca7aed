// The checks of tests/support find what they are there to find: each fault is planted here, and must be reported.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/attention.h"
#include "support/bound.h"

static sxt_test_bench bench;
static sxt_test_trial trial;
static sxt_norm_desc desc;
static double bounds[2 * 3 * 2 * 24];

enum { COUNT = sizeof bounds / sizeof bounds[0] };

// A trial of which all is well: strides with gaps, and a device that is its own reference.
static void setup(void) {
    sxt_test_bench_init(&bench);
    sxt_test_trial_init(&trial, &bench, 7);
    trial.layout = SXT_TEST_ODD;
    desc = (sxt_norm_desc){.eps = 1e-6f};
    desc.x = sxt_test_place(&trial, "x", SXT_TYPE_F32, 2, 3, 2, 24);
    desc.y = sxt_test_place(&trial, "y", SXT_TYPE_F32, 2, 3, 2, 24);
    sxt_test_fill_normal(&trial, &desc.x, 0, 1);
    sxt_test_run_op(&trial, SXT_OP_NORM, &desc);
    for (uint32_t n = 0; n < COUNT; n++)
        bounds[n] = 1e-6;
    cr_assert_null(sxt_test_check_memory(&trial));
}

static void teardown(void) {
    sxt_test_trial_finish(&trial);
    sxt_test_bench_finish(&bench);
}

TestSuite(detectors, .init = setup, .fini = teardown);

static void expect_problem(const char *problem, const char *part) {
    cr_assert_not_null(problem, "a planted fault was not seen");
    cr_expect(strstr(problem, part) != NULL, "\"%s\" does not speak of \"%s\"", problem, part);
}

static uint8_t *byte_of(uint32_t block, sxt_test_side side, uint64_t offset) {
    return &trial.blocks[block].images[side][offset];
}

Test(detectors, bytes_before_and_after_a_tensor_are_watched) {
    const uint64_t last = trial.blocks[1].bytes - 1;
    const uint64_t offsets[] = {0, last, desc.y.offset_bytes - 1};
    for (uint32_t i = 0; i < 3 * 2; i++) {
        uint8_t *byte = byte_of(1, (sxt_test_side)(i % 2), offsets[i / 2]);
        *byte ^= 1;
        expect_problem(sxt_test_check_memory(&trial),
                       i % 2 ? "the reference wrote into the buffer of y" : "the device wrote");
        *byte ^= 1;
    }
    cr_assert_null(sxt_test_check_memory(&trial));
}

Test(detectors, gaps_between_rows_are_watched) {
    // Channels are contiguous and rows are not: some element after a row's last one is a gap.
    uint32_t gaps = 0;
    const sxt_test_block *block = &trial.blocks[1];
    const uint64_t last = desc.y.offset_bytes + 4 * (sxt_test_element(&desc.y, 0) + 1);
    for (uint64_t i = last; i < block->bytes - SXT_TEST_CANARY_BYTES - 4; i += 4) {
        if (block->outputs[i]) continue;
        uint8_t *byte = byte_of(1, SXT_TEST_DEVICE, i);
        *byte ^= 0x80;
        expect_problem(sxt_test_check_memory(&trial), "no element of an output");
        *byte ^= 0x80;
        gaps++;
    }
    cr_assert_gt(gaps, 0, "the layout has no gaps");
}

Test(detectors, changed_inputs_are_seen) {
    *byte_of(0, SXT_TEST_DEVICE, desc.x.offset_bytes) ^= 1;
    expect_problem(sxt_test_check_memory(&trial), "buffer of x");
}

Test(detectors, unwritten_elements_are_seen) {
    const uint64_t n = COUNT - 1, at = desc.y.offset_bytes + 4 * sxt_test_element(&desc.y, n);
    memcpy(byte_of(1, SXT_TEST_DEVICE, at), byte_of(1, SXT_TEST_INITIAL, at), 4);
    expect_problem(sxt_test_check_memory(&trial), "unwritten");
}

static void set_output(uint64_t n, float value) {
    memcpy(byte_of(1, SXT_TEST_DEVICE, desc.y.offset_bytes + 4 * sxt_test_element(&desc.y, n)), &value, 4);
}

static const char *compare(double figure) {
    return sxt_test_compare(&trial, SXT_TEST_DEVICE, &desc.y, SXT_TEST_REFERENCE, &desc.y, bounds, figure);
}

Test(detectors, wrong_values_are_seen) {
    const float right = (float)sxt_test_get(&trial, SXT_TEST_REFERENCE, &desc.y, 5);
    cr_assert_null(compare(2e-6));
    set_output(5, right + 1.5e-6f);
    cr_assert_null(compare(0), "what is allowed was reported");
    const float wrong[] = {right + 3e-6f, right - 3e-6f, NAN, INFINITY, -INFINITY, 0};
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        set_output(5, wrong[i]);
        expect_problem(compare(0), "element 5");
    }
}

Test(detectors, a_number_where_nan_belongs_is_seen) {
    const float nan = NAN;
    memcpy(byte_of(1, SXT_TEST_REFERENCE, desc.y.offset_bytes + 4 * sxt_test_element(&desc.y, 9)), &nan, 4);
    expect_problem(compare(0), "element 9");
    set_output(9, NAN);
    cr_assert_null(compare(0));
}

Test(detectors, small_errors_everywhere_exceed_the_figure) {
    for (uint32_t n = 0; n < COUNT; n++)
        set_output(n, (float)sxt_test_get(&trial, SXT_TEST_REFERENCE, &desc.y, n) * (1 + 1e-5f));
    for (uint32_t n = 0; n < COUNT; n++)
        bounds[n] = 1;
    cr_assert_null(compare(0));
    expect_problem(compare(2e-6), "‖y − ref‖/‖ref‖");
}

Test(detectors, one_bit_makes_a_difference) {
    cr_assert_null(sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &desc.y, SXT_TEST_REFERENCE, &desc.y));
    *byte_of(1, SXT_TEST_DEVICE, desc.y.offset_bytes + 4 * sxt_test_element(&desc.y, 3)) ^= 1;
    expect_problem(sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &desc.y, SXT_TEST_REFERENCE, &desc.y), "element 3");
}

// What an accumulator in f16 would give is far outside of the bounds of attention; so is one key too many.
Test(detectors, attention_bounds_tell_half_precision_from_single) {
    enum { KEYS = 64, DIM = 32 };
    sxt_attention_desc d = {.causal = true};
    d.q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 1, 1, 1, DIM);
    d.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, KEYS, 1, DIM);
    d.v = sxt_test_dense(&trial, "v", SXT_TYPE_F32, 1, KEYS, 1, DIM);
    d.o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, 1, 1, 1, DIM);
    sxt_test_fill_normal(&trial, &d.q, 0, 1);
    sxt_test_fill_normal(&trial, &d.k, 0, 1);
    sxt_test_fill_normal(&trial, &d.v, 0, 1);
    const sxt_tensor half = sxt_test_dense(&trial, "half", SXT_TYPE_F16, 1, 1, 1, DIM);
    const sxt_tensor fewer = sxt_test_dense(&trial, "fewer", SXT_TYPE_F32, 1, 1, 1, DIM);
    sxt_attention_desc rounded = d, one_less = d;
    rounded.o = half;
    one_less.k.shape[1] = one_less.v.shape[1] = KEYS - 1;
    one_less.o = fewer;
    const sxt_test_step steps[] = {{SXT_OP_ATTENTION, &d}, {SXT_OP_ATTENTION, &rounded}, {SXT_OP_ATTENTION, &one_less}};
    cr_assert_eq(sxt_test_run(&trial, steps, 3), SXT_OK);
    double *o, *lse;
    sxt_test_attention_bounds(&trial, &d, &o, &lse);
    cr_assert_null(sxt_test_compare(&trial, SXT_TEST_DEVICE, &d.o, SXT_TEST_REFERENCE, &d.o, o, 5e-6));
    expect_problem(sxt_test_compare(&trial, SXT_TEST_DEVICE, &half, SXT_TEST_REFERENCE, &d.o, o, 0), "element");
    expect_problem(sxt_test_compare(&trial, SXT_TEST_DEVICE, &fewer, SXT_TEST_REFERENCE, &d.o, o, 0), "element");
    free(o);
    free(lse);
}
