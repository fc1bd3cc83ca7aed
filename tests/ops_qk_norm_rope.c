// sxt_qk_norm_rope on the device under test: random forms and shapes against the reference, and that the order is law.
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

TestSuite(qk_norm_rope, .init = setup, .fini = teardown);

// The bound of the norm, times the gain, carried through the rotation, and rounding to the output's type.
static double *bounds_of(const sxt_test_trial *trial, const sxt_qk_norm_rope_desc *d, const sxt_tensor *x,
                         const sxt_tensor *weight, const sxt_tensor *out) {
    const uint64_t count = sxt_test_count(x);
    const uint32_t channels = x->shape[3];
    double *bounds = calloc(count + 1, sizeof *bounds), *rows = calloc(3 * channels, sizeof *rows);
    cr_assert(bounds && rows);
    double *row = rows, *values = rows + channels, *normed = rows + 2 * channels;
    for (uint64_t n = 0; n < count; n += channels) {
        for (uint32_t c = 0; c < channels; c++)
            row[c] = sxt_test_get(trial, SXT_TEST_INITIAL, x, n + c);
        sxt_test_norm_row(d->norm, d->eps, channels, row, values, normed);
        for (uint32_t c = 0; c < channels && weight->buffer; c++) {
            const uint64_t head = weight->shape[2] > 1 ? n / channels % x->shape[2] * channels : 0;
            const double gain = fabs(d->offset) + fabs(sxt_test_get(trial, SXT_TEST_INITIAL, weight, head + c));
            values[c] *= gain;
            normed[c] = normed[c] * gain;
        }
        sxt_test_rope_row(&d->rope, channels, values, normed, bounds + n);
        for (uint32_t c = 0; c < channels; c++)
            bounds[n + c] += sxt_test_rounding(out->type, fabs(sxt_test_get(trial, SXT_TEST_REFERENCE, out, n + c)));
    }
    free(rows);
    return bounds;
}

static void check_half(sxt_test_trial *trial, const sxt_qk_norm_rope_desc *d, const sxt_tensor *x,
                       const sxt_tensor *weight, const sxt_tensor *out) {
    if (!x->buffer) return;
    double *bounds = bounds_of(trial, d, x, weight, out);
    // Few channels of layer norm cancel: the bound knows.
    const double figure = d->norm == SXT_NORM_LAYER && x->shape[3] < 8 ? 0 : sxt_test_figure(out->type, 2e-6);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, out, SXT_TEST_REFERENCE, out, bounds, figure));
    free(bounds);
}

static void check(sxt_test_trial *trial, const sxt_qk_norm_rope_desc *d) {
    static const char *const norms[] = {"rms", "layer", "l2", "none"};
    const sxt_tensor *any = d->q.buffer ? &d->q : &d->k;
    sxt_test_say(trial, "qk_norm_rope [%u, %u, %u|%u, %u] q %s -> %s, k %s -> %s, norm %s, eps %g, offset %g, ",
                 any->shape[0], any->shape[1], d->q.shape[2], d->k.shape[2], any->shape[3], sxt_type_name(d->q.type),
                 sxt_type_name(d->q_out.type), sxt_type_name(d->k.type), sxt_type_name(d->k_out.type), norms[d->norm],
                 d->eps, d->offset);
    sxt_test_say_rotation(trial, &d->rope);
    sxt_test_run_op(trial, SXT_OP_QK_NORM_ROPE, d);
    check_half(trial, d, &d->q, &d->q_weight, &d->q_out);
    check_half(trial, d, &d->k, &d->k_weight, &d->k_out);
}

typedef struct half {
    const char *names[3]; // input, output, weight
    sxt_type in, out;
    bool present, in_place, weighted;
} half;

static void make_half(sxt_test_trial *trial, const half *h, uint32_t batch, uint32_t tokens, uint32_t channels,
                      float offset, sxt_tensor *x, sxt_tensor *out, sxt_tensor *weight) {
    if (!h->present) return;
    const uint32_t heads = SXT_TEST_PICK(&trial->rng, uint32_t, 1, 2, 3, 5, 16);
    *x = sxt_test_place(trial, h->names[0], h->in, batch, tokens, heads, channels);
    sxt_test_fill_normal(trial, x, 0, exp(sxt_test_uniform(&trial->rng, -3, 3)));
    *out = h->in_place ? *x : sxt_test_place(trial, h->names[1], h->out, batch, tokens, heads, channels);
    if (!h->weighted) return;
    const uint32_t repeat = sxt_test_chance(&trial->rng, 20) ? heads : 1;
    *weight = sxt_test_place(trial, h->names[2], SXT_TYPE_F32, 1, 1, repeat, channels);
    sxt_test_fill_normal(trial, weight, 1 - (double)offset, 0.5);
}

Test(qk_norm_rope, random_shapes_match_the_reference) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(768);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        sxt_test_rng group = sxt_test_group_rng(first + i);
        trial.layout = SXT_TEST_PICK(&group, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
        half q = {
            {"q", "q_out", "q_weight"}, sxt_test_float_type(&group), sxt_test_float_type(&group), true, false, false};
        half k = {
            {"k", "k_out", "k_weight"}, sxt_test_float_type(&group), sxt_test_float_type(&group), true, false, false};
        sxt_qk_norm_rope_desc d = {.norm = SXT_TEST_PICK(&group, sxt_norm_kind, SXT_NORM_RMS, SXT_NORM_RMS,
                                                         SXT_NORM_LAYER, SXT_NORM_L2, SXT_NORM_NONE)};
        q.weighted = k.weighted = d.norm != SXT_NORM_NONE && sxt_test_chance(&group, 70);
        if (sxt_test_chance(&group, 20)) *(sxt_test_chance(rng, 50) ? &q.present : &k.present) = false;
        q.in_place = q.in == q.out && sxt_test_chance(rng, 50);
        k.in_place = k.in == k.out && sxt_test_chance(rng, 50);
        d.eps = SXT_TEST_PICK(rng, float, 1e-6f, 1e-5f);
        if (q.weighted) d.offset = SXT_TEST_PICK(rng, float, 0, 1);
        // A power of two, or a little less: the number of lanes a head depends on it.
        const uint32_t most = SXT_TEST_PICK(&group, uint32_t, 4, 8, 16, 32, 64, 128, 128, 256);
        const uint32_t channels = most - (sxt_test_chance(rng, 50) ? sxt_test_below(rng, most / 4) : 0);
        const uint32_t batch = sxt_test_between(rng, 1, 3), tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5, 13);
        sxt_test_random_rotation(rng, channels, &rotation);
        d.rope = rotation.params;
        d.rope.pairing = SXT_TEST_PICK(&group, sxt_rope_pairing, SXT_ROPE_HALF, SXT_ROPE_INTERLEAVED);
        make_half(&trial, &q, batch, tokens, channels, d.offset, &d.q, &d.q_out, &d.q_weight);
        make_half(&trial, &k, batch, tokens, channels, d.offset, &d.k, &d.k_out, &d.k_weight);
        d.positions = sxt_test_positions(&trial, rotation.planes, batch, tokens, 1 << 20);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// One dispatch gives what norm and rope give in two, up to the rounding of what lies between.
Test(qk_norm_rope, equals_norm_then_rope) {
    for (uint32_t i = 0; i < 2; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_qk_norm_rope_desc d = {.eps = 1e-6f, .rope = {.pairing = (sxt_rope_pairing)i, .base = 1e6f}};
        d.q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 1, 9, 4, 128);
        d.q_out = sxt_test_dense(&trial, "q_out", SXT_TYPE_F32, 1, 9, 4, 128);
        d.q_weight = sxt_test_dense(&trial, "q_weight", SXT_TYPE_F32, 1, 1, 1, 128);
        d.positions = sxt_test_positions(&trial, 1, 1, 9, 1000);
        sxt_test_fill_normal(&trial, &d.q, 0, 3);
        sxt_test_fill_normal(&trial, &d.q_weight, 1, 0.5);
        const sxt_tensor normed = sxt_test_dense(&trial, "normed", SXT_TYPE_F32, 1, 9, 4, 128);
        const sxt_norm_desc norm = {.x = d.q, .y = normed, .weight = d.q_weight, .eps = d.eps};
        const sxt_rope_desc rope = {.x = normed, .y = normed, .positions = d.positions, .rope = d.rope};
        const sxt_test_step steps[] = {{SXT_OP_QK_NORM_ROPE, &d}, {SXT_OP_NORM, &norm}, {SXT_OP_ROPE, &rope}};
        cr_assert(sxt_test_run(&trial, steps, 3) == SXT_OK);
        sxt_test_require(&trial, sxt_test_check_memory(&trial));
        double *bounds = bounds_of(&trial, &d, &d.q, &d.q_weight, &d.q_out);
        for (uint64_t n = 0; n < sxt_test_count(&d.q); n++)
            bounds[n] *= 2; // both sides err
        sxt_test_require(&trial,
                         sxt_test_compare(&trial, SXT_TEST_DEVICE, &normed, SXT_TEST_DEVICE, &d.q_out, bounds, 2e-6));
        free(bounds);
        sxt_test_trial_finish(&trial);
    }
}

// In place or not, alone or together: the same bits.
Test(qk_norm_rope, q_does_not_depend_on_k) {
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, 1);
    sxt_qk_norm_rope_desc both = {.eps = 1e-6f};
    both.q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 2, 5, 4, 96);
    both.q_out = sxt_test_dense(&trial, "q_out", SXT_TYPE_F32, 2, 5, 4, 96);
    both.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 2, 5, 2, 96);
    both.k_out = sxt_test_dense(&trial, "k_out", SXT_TYPE_F32, 2, 5, 2, 96);
    both.positions = sxt_test_positions(&trial, 1, 2, 5, 1000);
    sxt_test_fill_normal(&trial, &both.q, 0, 1);
    sxt_test_fill(&trial, &both.k, NAN);
    const sxt_tensor alone = sxt_test_dense(&trial, "alone", SXT_TYPE_F32, 2, 5, 4, 96);
    sxt_test_fill_from(&trial, &alone, &both.q);
    const sxt_qk_norm_rope_desc in_place = {.eps = 1e-6f, .q = alone, .q_out = alone, .positions = both.positions};
    const sxt_test_step steps[] = {{SXT_OP_QK_NORM_ROPE, &both}, {SXT_OP_QK_NORM_ROPE, &in_place}};
    cr_assert(sxt_test_run(&trial, steps, 2) == SXT_OK);
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &alone, SXT_TEST_DEVICE, &both.q_out));
    sxt_test_trial_finish(&trial);
}
