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
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        sxt_test_rng group = sxt_test_group_rng(first + i);
        // All nine pairs of types, each in place or not, dense or odd.
        const uint64_t g = sxt_test_group(first + i);
        const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16}, x_type = types[g % 3];
        const sxt_type y_type = types[(g + g / 3) % 3];
        trial.layout = (const sxt_test_layout[]){SXT_TEST_DENSE, SXT_TEST_ODD, SXT_TEST_QUADS}[(g + g / 6) % 3];
        const bool odd = trial.layout == SXT_TEST_ODD;
        const uint32_t channels =
            odd ? SXT_TEST_PICK(&group, uint32_t, 2, 3, 4, 6, 10, 31, 34, 72, 96, 127, 129, 256, 512)
                : SXT_TEST_PICK(&group, uint32_t, 8, 32, 48, 64, 64, 72, 80, 96, 112, 128, 128, 256, 512);
        const uint32_t batch = sxt_test_between(rng, 1, 3), heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 7);
        const uint32_t tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 13);
        sxt_test_group_rotation(&group, rng, channels, odd ? 2 : 8, &rotation);
        sxt_rope_desc d = {.rope = rotation.params};
        d.x = sxt_test_place(&trial, "x", x_type, batch, tokens, heads, channels);
        sxt_test_fill_normal(&trial, &d.x, 0, 1);
        const bool in_place = x_type == y_type && sxt_test_chance(&group, 50);
        d.y = in_place ? d.x : sxt_test_place(&trial, "y", y_type, batch, tokens, heads, channels);
        d.positions =
            sxt_test_positions(&trial, rotation.planes, batch, tokens, sxt_test_chance(rng, 20) ? INT32_MAX : 1 << 20);
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

// Turned vectors, in every form and at positions up to a million, are off by 1e-6 of their length at most, all rounding
// included, by a rotation in extended precision that is not the reference's.
Test(rope, every_form_is_right_to_1e_6_at_a_million) {
    enum { TOKENS = 24, CHANNELS = 64 };
    for (uint32_t i = 0; i < 2 * SXT_TEST_FORMS; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        static sxt_test_turns turns;
        const sxt_test_form form = (sxt_test_form)(i / 2);
        sxt_test_trial_init(&trial, &bench, i);
        sxt_test_rotation_of(form, CHANNELS, &rotation);
        sxt_rope_desc d = {.rope = rotation.params};
        d.rope.pairing = (sxt_rope_pairing)(i % 2);
        d.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, TOKENS, 1, CHANNELS);
        d.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, TOKENS, 1, CHANNELS);
        d.positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, rotation.planes, 1, 1, TOKENS);
        sxt_test_fill(&trial, &d.x, 1);
        for (uint64_t n = 0; n < sxt_test_count(&d.positions); n++) {
            const int32_t near = 1000000 - (int32_t)(n % TOKENS), any = (int32_t)sxt_test_below(&trial.rng, 1000000);
            sxt_test_set_int(&trial, &d.positions, n, (n % 3 == 0 ? -1 : 1) * (n % 2 ? any : near));
        }
        sxt_test_say(&trial, "%s, ", sxt_test_form_name(form));
        sxt_test_say_rotation(&trial, &d.rope);
        sxt_test_run_op(&trial, SXT_OP_ROPE, &d);
        sxt_test_turns_init(&turns, &d.rope, CHANNELS, rotation.planes);
        double most = 0;
        for (uint32_t t = 0; t < TOKENS; t++) {
            int32_t at[4] = {0};
            for (uint32_t plane = 0; plane < rotation.planes; plane++)
                at[plane] = sxt_test_get_int(&trial, SXT_TEST_INITIAL, &d.positions, plane * TOKENS + t);
            double row[CHANNELS];
            for (uint32_t c = 0; c < CHANNELS; c++)
                row[c] = 1;
            sxt_test_turns_at(&turns, at, true);
            sxt_test_turn(&turns, row);
            for (uint32_t c = 0; c < CHANNELS; c++)
                most = fmax(most, fabs(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.y, t * CHANNELS + c) - row[c]));
        }
        // (1, 1) is √2 long, and m times that when turned.
        cr_assert(most <= sqrt(2) * fmax(1, (double)turns.m) * 1e-6, "%s: off by %g", trial.what, most);
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
