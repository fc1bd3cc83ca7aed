// sxt_rope on the device under test: random forms and shapes against the reference, and positions that other
// libraries get wrong.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "support/bound.h"
#include "support/rotation.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(rope, .init = setup, .fini = teardown);

// The bound of sxt_test_rope_row, and rounding to the type of y. Channels that are copied are rounded only.
static double *bounds_of(const sxt_test_trial *trial, const sxt_rope_desc *d) {
    const uint64_t count = sxt_test_count(&d->x);
    const uint32_t channels = d->x.shape[3];
    double *bounds = calloc(count + 1, sizeof *bounds), *row = calloc(channels, sizeof *row);
    double *zeros = calloc(channels, sizeof *zeros);
    cr_assert(bounds && row && zeros);
    for (uint64_t n = 0; n < count; n += channels) {
        for (uint32_t c = 0; c < channels; c++)
            row[c] = sxt_test_get(trial, SXT_TEST_INITIAL, &d->x, n + c);
        sxt_test_rope_row(&d->rope, channels, row, zeros, bounds + n);
        for (uint32_t c = 0; c < channels; c++)
            bounds[n + c] += sxt_test_rounding(d->y.type, fabs(sxt_test_get(trial, SXT_TEST_REFERENCE, &d->y, n + c)));
    }
    free(zeros);
    free(row);
    return bounds;
}

static void check(sxt_test_trial *trial, const sxt_rope_desc *d) {
    sxt_test_say(trial, "rope x [%u, %u, %u, %u] %s, y %s%s, ", d->x.shape[0], d->x.shape[1], d->x.shape[2],
                 d->x.shape[3], sxt_type_name(d->x.type), sxt_type_name(d->y.type),
                 d->y.buffer == d->x.buffer ? ", in place" : "");
    sxt_test_say_rotation(trial, &d->rope);
    sxt_test_run_op(trial, SXT_OP_ROPE, d);
    double *bounds = bounds_of(trial, d);
    const double figure = sxt_test_figure(d->y.type, 2e-6);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->y, SXT_TEST_REFERENCE, &d->y, bounds, figure));
    free(bounds);
}

Test(rope, random_shapes_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(1920);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        sxt_test_rng of_group = sxt_test_group_rng(first + i);
        trial.layout = SXT_TEST_PICK(&of_group, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
        const sxt_type x_type = sxt_test_float_type(&of_group), y_type = sxt_test_float_type(&of_group);
        const uint32_t channels =
            SXT_TEST_PICK(rng, uint32_t, 2, 3, 4, 6, 8, 10, 31, 48, 64, 72, 80, 96, 127, 128, 129, 256, 512);
        const uint32_t batch = sxt_test_between(rng, 1, 3), heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 7, 16);
        const uint32_t tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 13, 17);
        sxt_test_random_rotation(rng, channels, &rotation);
        sxt_rope_desc d = {.rope = rotation.params};
        d.x = sxt_test_place(&trial, "x", x_type, batch, tokens, heads, channels);
        sxt_test_fill_normal(&trial, &d.x, 0, 1);
        const bool in_place = x_type == y_type && sxt_test_chance(rng, 40);
        d.y = in_place ? d.x : sxt_test_place(&trial, "y", y_type, batch, tokens, heads, channels);
        d.positions = sxt_test_positions(&trial, rotation.planes, batch, tokens, 1 << 20);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// Every magnitude and both signs. A device that computes position · frequency in f32 is off by a radian at 2³¹.
Test(rope, angles_are_right_at_every_position) {
    static const int32_t positions[] = {0,        1,         -1,        2,          1023,        1024,     1025,
                                        -1024,    65535,     65537,     1000000,    -1000000,    1000003,  16777215,
                                        16777217, -16777217, 123456789, 2147483647, -2147483647, INT32_MIN};
    enum { TOKENS = sizeof positions / sizeof positions[0] };
    static const float scales[] = {1, 0.25f, 0.3f, 1.7f};
    for (uint32_t i = 0; i < 2 * 4 * 2; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_rope_desc d = {.rope = {.pairing = (sxt_rope_pairing)(i % 2), .freq_scale = scales[i / 2 % 4]}};
        if (i / 8) {
            d.rope.ext_factor = 1;
            d.rope.original_context = 4096;
        }
        d.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, TOKENS, 2, 128);
        d.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, TOKENS, 2, 128);
        d.positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, 1, 1, 1, TOKENS);
        sxt_test_fill_normal(&trial, &d.x, 0, 1);
        for (uint32_t t = 0; t < TOKENS; t++)
            sxt_test_set_int(&trial, &d.positions, t, positions[t]);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

Test(rope, position_zero_copies_the_bits) {
    static const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16};
    for (uint32_t i = 0; i < 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_rope_desc d = {.rope = {.rotary_dim = 32, .rotary_offset = 4}};
        d.x = sxt_test_dense(&trial, "x", types[i], 1, 3, 2, 64);
        d.y = sxt_test_dense(&trial, "y", types[i], 1, 3, 2, 64);
        d.positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, 1, 1, 1, 3);
        sxt_test_fill_normal(&trial, &d.x, 0, 1);
        for (uint32_t t = 0; t < 3; t++)
            sxt_test_set_int(&trial, &d.positions, t, 0);
        sxt_test_run_op(&trial, SXT_OP_ROPE, &d);
        sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d.y, SXT_TEST_INITIAL, &d.x));
        sxt_test_trial_finish(&trial);
    }
}

// A NaN spoils its own pair, an Inf too; every other channel keeps the bits that it has without them.
Test(rope, nan_and_inf_stay_in_their_pairs) {
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_rope_desc clean = {.rope = {.pairing = (sxt_rope_pairing)i}};
        clean.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, 4, 2, 64);
        clean.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, 4, 2, 64);
        clean.positions = sxt_test_positions(&trial, 1, 1, 4, 100);
        sxt_test_fill_normal(&trial, &clean.x, 0, 1);
        sxt_rope_desc dirty = clean;
        dirty.x = sxt_test_like(&trial, "dirty x", &clean.x);
        dirty.y = sxt_test_like(&trial, "dirty y", &clean.y);
        const uint32_t row = 3 * 64, channels[2] = {6, 40};
        sxt_test_set(&trial, &dirty.x, row + channels[0], NAN);
        sxt_test_set(&trial, &dirty.x, row + channels[1], INFINITY);
        const sxt_test_step steps[] = {{SXT_OP_ROPE, &clean}, {SXT_OP_ROPE, &dirty}};
        cr_assert(sxt_test_run(&trial, steps, 2) == SXT_OK);
        for (uint32_t n = 0; n < 8 * 64; n++) {
            const uint32_t pair = i == 0 ? n % 32 : n % 64 / 2;
            const bool hit = n / 64 == 3 && (pair == (i == 0 ? 6u : 3u) || pair == (i == 0 ? 8u : 20u));
            if (hit)
                cr_assert(!isfinite(sxt_test_get(&trial, SXT_TEST_DEVICE, &dirty.y, n)), "element %u is finite", n);
            else
                cr_assert(sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &dirty.y, n) ==
                              sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &clean.y, n),
                          "element %u changed", n);
        }
        sxt_test_trial_finish(&trial);
    }
}
