// sxt_norm on the device under test: random shapes against the reference, and the rows that other libraries get wrong.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "support/bound.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(norm, .init = setup, .fini = teardown);

static double *allocate(uint64_t count) {
    double *values = calloc(count + 1, sizeof *values);
    cr_assert(values);
    return values;
}

// Element n of x, of a tensor that repeats along the dims of 1.
static double repeated(const sxt_test_trial *trial, const sxt_tensor *t, const sxt_tensor *x, uint64_t n) {
    uint32_t at[4];
    for (int i = 3; i >= 0; i--) {
        at[i] = t->shape[i] == 1 ? 0 : (uint32_t)(n % x->shape[i]);
        n /= x->shape[i];
    }
    return sxt_test_get(trial, SXT_TEST_INITIAL, t, sxt_test_at(t, at[0], at[1], at[2], at[3]));
}

// |ŷ|·(|offset| + |weight|)·(L/2 + 8)u, (layer: and its own) + |bias|·u + rounding to the type of y.
static double *bounds_of(const sxt_test_trial *trial, const sxt_norm_desc *d) {
    const uint64_t count = sxt_test_count(&d->x);
    const uint32_t channels = d->x.shape[3];
    double *bounds = allocate(count), *row = allocate(channels), *values = allocate(channels);
    for (uint64_t n = 0; n < count; n += channels) {
        for (uint32_t c = 0; c < channels; c++) {
            row[c] = sxt_test_get(trial, SXT_TEST_INITIAL, &d->x, n + c);
            if (d->residual.buffer) row[c] += sxt_test_get(trial, SXT_TEST_INITIAL, &d->residual, n + c);
        }
        sxt_test_norm_row(d->kind, d->eps, channels, row, values, bounds + n);
        for (uint32_t c = 0; c < channels; c++) {
            const double weight = d->weight.buffer ? repeated(trial, &d->weight, &d->x, n + c) : 1;
            const double gain = d->weight.buffer ? fabs(d->offset) + fabs(weight) : 1;
            const double bias = d->bias.buffer ? fabs(repeated(trial, &d->bias, &d->x, n + c)) : 0;
            const double y = fabs(values[c]) * gain + bias;
            bounds[n + c] = bounds[n + c] * gain + bias * SXT_TEST_U + sxt_test_rounding(d->y.type, y);
        }
    }
    free(row);
    free(values);
    return bounds;
}

// r = x + residual is rounded once in f32 and once to its type.
static double *residual_bounds(const sxt_test_trial *trial, const sxt_norm_desc *d) {
    const uint64_t count = sxt_test_count(&d->x);
    double *bounds = allocate(count);
    for (uint64_t n = 0; n < count; n++) {
        const double r =
            sxt_test_get(trial, SXT_TEST_INITIAL, &d->x, n) + sxt_test_get(trial, SXT_TEST_INITIAL, &d->residual, n);
        bounds[n] = fabs(r) * SXT_TEST_U + sxt_test_rounding(d->residual_out.type, fabs(r));
    }
    return bounds;
}

static void check(sxt_test_trial *trial, const sxt_norm_desc *d, double f32_figure) {
    static const char *const kinds[] = {"rms", "layer", "l2"};
    sxt_test_say(trial, "norm %s, x [%u, %u, %u, %u] %s, y %s, eps %g, offset %g%s%s%s%s", kinds[d->kind],
                 d->x.shape[0], d->x.shape[1], d->x.shape[2], d->x.shape[3], sxt_type_name(d->x.type),
                 sxt_type_name(d->y.type), d->eps, d->offset, d->y.buffer == d->x.buffer ? ", in place" : "",
                 d->weight.buffer ? ", weight" : "", d->bias.buffer ? ", bias" : "",
                 d->residual.buffer ? ", residual" : "");
    sxt_test_run_op(trial, SXT_OP_NORM, d);
    double *bounds = bounds_of(trial, d);
    const double figure = f32_figure > 0 ? sxt_test_figure(d->y.type, f32_figure) : 0;
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->y, SXT_TEST_REFERENCE, &d->y, bounds, figure));
    free(bounds);
    if (!d->residual_out.buffer) return;
    bounds = residual_bounds(trial, d);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->residual_out, SXT_TEST_REFERENCE,
                                             &d->residual_out, bounds, 0));
    free(bounds);
}

// What decides which pipeline runs.
typedef struct variant {
    sxt_norm_kind kind;
    sxt_test_layout layout;
    uint32_t channels;
    sxt_type x, y, weight, bias, residual, residual_out;
    bool has_weight, has_bias, has_residual, has_residual_out;
} variant;

static variant random_variant(sxt_test_rng *rng) {
    variant v = {
        .kind = SXT_TEST_PICK(rng, sxt_norm_kind, SXT_NORM_RMS, SXT_NORM_LAYER, SXT_NORM_L2),
        .layout = SXT_TEST_PICK(rng, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD),
        .channels = SXT_TEST_PICK(rng, uint32_t, 1, 4, 8, 16, 32, 64, 128, 256, 512),
        .x = sxt_test_float_type(rng),
        .y = sxt_test_float_type(rng),
        .weight = sxt_test_float_type(rng),
        .bias = sxt_test_float_type(rng),
        .residual = sxt_test_float_type(rng),
        .residual_out = sxt_test_float_type(rng),
        .has_weight = sxt_test_chance(rng, 70),
        .has_bias = sxt_test_chance(rng, 30),
        .has_residual = sxt_test_chance(rng, 40),
    };
    v.has_residual_out = v.has_residual && sxt_test_chance(rng, 70);
    return v;
}

// A parameter of norm: each dim that of x or 1.
static sxt_tensor random_parameter(sxt_test_trial *trial, const char *name, sxt_type type, const uint32_t shape[4],
                                   double mean) {
    uint32_t dims[4] = {1, 1, 1, shape[3]};
    if (sxt_test_chance(&trial->rng, 30))
        for (int i = 0; i < 4; i++)
            dims[i] = sxt_test_chance(&trial->rng, 50) && shape[i] > 0 ? shape[i] : 1;
    sxt_tensor t = sxt_test_place(trial, name, type, dims[0], dims[1], dims[2], dims[3]);
    sxt_test_fill_normal(trial, &t, mean, 0.5);
    return t;
}

static void run_random(uint64_t seed, const variant *v, const uint32_t shape[4]) {
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, seed);
    trial.layout = v->layout;
    sxt_test_rng *rng = &trial.rng;
    sxt_norm_desc d = {.kind = v->kind, .eps = SXT_TEST_PICK(rng, float, 0, 1e-6f, 1e-5f, 0.5f)};
    const double deviation = exp(sxt_test_uniform(rng, -3, 3));
    // A mean far from zero makes layer norm cancel: the bound knows, the published figure is for what models do.
    const bool shifted = sxt_test_chance(rng, 20);
    d.x = sxt_test_place(&trial, "x", v->x, shape[0], shape[1], shape[2], shape[3]);
    sxt_test_fill_normal(&trial, &d.x, shifted ? 3 * deviation : 0, deviation);
    const bool in_place = v->x == v->y && sxt_test_chance(rng, 30);
    d.y = in_place ? d.x : sxt_test_place(&trial, "y", v->y, shape[0], shape[1], shape[2], shape[3]);
    if (v->has_weight) {
        d.offset = SXT_TEST_PICK(rng, float, 0, 1, -0.75f);
        d.weight = random_parameter(&trial, "weight", v->weight, d.x.shape, 1 - (double)d.offset);
    }
    if (v->has_bias) d.bias = random_parameter(&trial, "bias", v->bias, d.x.shape, 0);
    if (v->has_residual) {
        d.residual = sxt_test_place(&trial, "residual", v->residual, shape[0], shape[1], shape[2], shape[3]);
        sxt_test_fill_normal(&trial, &d.residual, 0, deviation);
    }
    if (v->has_residual_out) {
        const bool same = v->residual == v->residual_out && sxt_test_chance(rng, 50);
        d.residual_out =
            same ? d.residual
                 : sxt_test_place(&trial, "residual_out", v->residual_out, shape[0], shape[1], shape[2], shape[3]);
    }
    check(&trial, &d, shifted || shape[3] < 8 ? 0 : 2e-6);
    sxt_test_trial_finish(&trial);
}

Test(norm, random_shapes_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(2016);
    for (uint32_t i = 0; i < cases; i++) {
        sxt_test_rng of_group = sxt_test_group_rng(first + i), of_shape = sxt_test_rng_make(~(first + i));
        const variant v = random_variant(&of_group);
        // Around a power of two, which is where the number of lanes a row changes, or a prime or anything below.
        const uint32_t around = v.channels + sxt_test_below(&of_shape, 3) - (v.channels > 1);
        const uint32_t shape[4] = {(first + i) % 11 == 0 ? 0 : sxt_test_between(&of_shape, 1, 3),
                                   SXT_TEST_PICK(&of_shape, uint32_t, 0, 1, 2, 5, 17),
                                   SXT_TEST_PICK(&of_shape, uint32_t, 1, 2, 3, 7),
                                   SXT_TEST_PICK(&of_shape, uint32_t, v.channels, around, around - v.channels / 8)};
        run_random(first + i, &v, shape);
    }
}

Test(norm, long_rows_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t channels[] = {1023, 1024, 1025, 2047, 4096, 5120, 8191, 8193, 16384, 65536};
    const uint32_t cases = sxt_test_cases(20);
    for (uint32_t i = 0; i < cases; i++) {
        sxt_test_rng of_group = sxt_test_group_rng(first + i);
        const variant v = random_variant(&of_group);
        run_random(first + i, &v, (const uint32_t[]){1, 1 + (first + i) % 3, 1, channels[(first + i) % 10]});
    }
}

// y = x/‖x‖ and the like of a row all of whose values are ±magnitude: sums of squares leave the range of f32 first.
Test(norm, huge_and_tiny_values_stay_exact) {
    const double magnitudes[] = {1e30, 3e38, 1e19, 1e-19, 1e-30, 1e-37};
    for (uint32_t i = 0; i < 6 * 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_norm_desc d = {.kind = (sxt_norm_kind)(i / 6)};
        d.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, 3, 1, 128);
        d.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, 3, 1, 128);
        for (uint32_t n = 0; n < 3 * 128; n++)
            sxt_test_set(&trial, &d.x, n, magnitudes[i % 6] * (n % 2 ? -1 : 1) * (n < 128 ? 1 : 0.125 * (n % 7 + 1)));
        sxt_test_say(&trial, "magnitude %g: ", magnitudes[i % 6]);
        check(&trial, &d, 2e-6);
        sxt_test_trial_finish(&trial);
    }
}

// Rows that need scaling, rows that do not, and places of the workgroup that have no row take different ways through
// it.
Test(norm, huge_rows_do_not_disturb_their_neighbours) {
    static const uint32_t channels[] = {1, 2, 4, 24, 64, 128, 500};
    for (uint32_t i = 0; i < 7 * 2; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        const uint32_t c = channels[i / 2];
        sxt_norm_desc d = {.kind = i % 2 ? SXT_NORM_L2 : SXT_NORM_RMS};
        d.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, 37, 1, c);
        d.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, 37, 1, c);
        for (uint32_t n = 0; n < 37 * c; n++)
            sxt_test_set(&trial, &d.x, n, (n / c % 3 ? 1 : 1e30) * sxt_test_normal(&trial.rng));
        check(&trial, &d, 2e-6);
        sxt_test_trial_finish(&trial);
    }
}

Test(norm, zero_rows_give_the_bias) {
    for (uint32_t i = 0; i < 3 * 2 * 2; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_norm_desc d = {.kind = (sxt_norm_kind)(i / 4), .eps = i % 2 ? 1e-6f : 0, .offset = 1};
        d.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, 2, 1, 72);
        d.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, 2, 1, 72);
        d.weight = sxt_test_dense(&trial, "weight", SXT_TYPE_F32, 1, 1, 1, 72);
        sxt_test_fill_normal(&trial, &d.weight, 0, 1);
        sxt_test_fill(&trial, &d.x, 0);
        if (i / 2 % 2) {
            d.bias = sxt_test_dense(&trial, "bias", SXT_TYPE_F32, 1, 1, 1, 72);
            sxt_test_fill_normal(&trial, &d.bias, 0, 1);
        }
        sxt_test_say(&trial, "zeros: ");
        sxt_test_run_op(&trial, SXT_OP_NORM, &d);
        for (uint32_t n = 0; n < 2 * 72; n++) {
            const double want = d.bias.buffer ? sxt_test_get(&trial, SXT_TEST_INITIAL, &d.bias, n % 72) : 0;
            sxt_test_require(&trial, sxt_test_get(&trial, SXT_TEST_DEVICE, &d.y, n) == want ? NULL : "not the bias");
        }
        sxt_test_trial_finish(&trial);
    }
}

// Rows 1 and 3 hold a NaN and an Inf. What those rows become is free but must not be finite all over; the others must
// have the bits that they have without such neighbours.
Test(norm, nan_and_inf_stay_in_their_rows) {
    for (uint32_t i = 0; i < 3 * 3; i++) {
        static sxt_test_trial trial;
        const uint32_t channels = (const uint32_t[]){64, 128, 513}[i / 3];
        sxt_test_trial_init(&trial, &bench, i);
        sxt_norm_desc clean = {.kind = (sxt_norm_kind)(i % 3), .eps = 1e-6f};
        clean.x = sxt_test_dense(&trial, "x", SXT_TYPE_F32, 1, 6, 1, channels);
        clean.y = sxt_test_dense(&trial, "y", SXT_TYPE_F32, 1, 6, 1, channels);
        sxt_test_fill_normal(&trial, &clean.x, 0, 1);
        sxt_norm_desc dirty = clean;
        dirty.x = sxt_test_like(&trial, "dirty x", &clean.x);
        dirty.y = sxt_test_like(&trial, "dirty y", &clean.y);
        sxt_test_set(&trial, &dirty.x, channels + 5, NAN);
        sxt_test_set(&trial, &dirty.x, 3 * channels + 9, INFINITY);
        const sxt_test_step steps[] = {{SXT_OP_NORM, &clean}, {SXT_OP_NORM, &dirty}};
        cr_assert(sxt_test_run(&trial, steps, 2) == SXT_OK);
        bool spoiled[2] = {false, false};
        for (uint32_t n = 0; n < 6 * channels; n++) {
            const uint32_t row = n / channels;
            if (row == 1 || row == 3)
                spoiled[row / 2] |= !isfinite(sxt_test_get(&trial, SXT_TEST_DEVICE, &dirty.y, n));
            else
                cr_assert(sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &dirty.y, n) ==
                              sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &clean.y, n),
                          "kind %u: row %u changed", i % 3, row);
        }
        cr_assert(spoiled[0] && spoiled[1], "kind %u: a NaN or an Inf vanished", i % 3);
        sxt_test_trial_finish(&trial);
    }
}
