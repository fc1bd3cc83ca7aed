// sxt_qk_norm_rope on the device under test: random forms, types and places against exact rows, and that the order is
// law.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "support/bound.h"
#include "support/cache.h"
#include "support/encoded.h"
#include "support/rotation.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(qk_norm_rope, .init = setup, .fini = teardown);

enum { MAX_CHANNELS = 576 };

// A description, and the rotation of the token that was asked for last.
typedef struct expected {
    const sxt_qk_norm_rope_desc *d;
    sxt_test_turns turns;
    uint32_t batch, token;
} expected;

static void turn_to(const sxt_test_trial *trial, expected *e, uint32_t batch, uint32_t token) {
    if (e->turns.pairs == 0 || (e->batch == batch && e->token == token)) return;
    const sxt_tensor *positions = &e->d->positions;
    int32_t at[4] = {0};
    for (uint32_t plane = 0; plane < positions->shape[0]; plane++)
        at[plane] = sxt_test_get_int(trial, SXT_TEST_INITIAL, positions,
                                     sxt_test_at(positions, plane, positions->shape[1] > 1 ? batch : 0, 0, token));
    sxt_test_turns_at(&e->turns, at, true);
    e->batch = batch;
    e->token = token;
}

// The value and the bound of each channel: the bound of the norm, times the gain, carried through the rotation.
static void expect_row(const sxt_test_trial *trial, expected *e, const sxt_tensor *x, const sxt_tensor *weight,
                       bool is_v, uint32_t batch, uint32_t token, uint32_t head, double *out_values,
                       double *out_bounds) {
    const sxt_qk_norm_rope_desc *d = e->d;
    const uint32_t channels = x->shape[3];
    const sxt_norm_kind kind = is_v && !d->normalise_v ? SXT_NORM_NONE : d->norm;
    double row[MAX_CHANNELS] = {0}, normed[MAX_CHANNELS];
    sxt_decode(x->type, sxt_test_bytes(trial, SXT_TEST_INITIAL, x, sxt_test_at(x, batch, token, head, 0)), channels,
               row);
    sxt_test_norm_row(kind, d->eps, channels, row, out_values, normed);
    for (uint32_t c = 0; c < channels && !is_v && weight->buffer; c++) {
        const uint32_t *shape = weight->shape;
        const uint64_t n = sxt_test_at(weight, shape[0] > 1 ? batch : 0, shape[1] > 1 ? token : 0,
                                       shape[2] > 1 ? head : 0, shape[3] > 1 ? c : 0);
        const double w = sxt_test_get(trial, SXT_TEST_INITIAL, weight, n), gain = fabs((double)d->offset) + fabs(w);
        out_values[c] *= (double)d->offset + w;
        normed[c] *= gain;
    }
    memcpy(out_bounds, normed, channels * sizeof *normed);
    if (is_v || e->turns.pairs == 0) return;
    sxt_test_rope_row(&d->rope, channels, out_values, normed, out_bounds);
    turn_to(trial, e, batch, token);
    sxt_test_turn(&e->turns, out_values);
}

static bool cache_row_fits(const sxt_test_trial *trial, const void *context, bool is_v, uint32_t batch, uint32_t token,
                           uint32_t head, const uint8_t *data) {
    expected *e = (expected *)context;
    const sxt_qk_norm_rope_desc *d = e->d;
    const sxt_tensor *x = is_v ? &d->v : &d->k, *cache = is_v ? &d->cache.v : &d->cache.k;
    double values[MAX_CHANNELS], bounds[MAX_CHANNELS];
    expect_row(trial, e, x, &d->k_weight, is_v, batch, token, head, values, bounds);
    const double scale = sxt_test_scale(trial, is_v ? &d->cache.v_scale : &d->cache.k_scale, head);
    return sxt_test_encoded(cache->type, x->shape[3], values, bounds, scale, data);
}

static void check_out(sxt_test_trial *trial, sxt_test_side side, expected *e, const sxt_tensor *x,
                      const sxt_tensor *weight, const sxt_tensor *out) {
    for (uint64_t n = 0; out->buffer && n < sxt_test_count(out); n += out->shape[3]) {
        const uint64_t row = n / out->shape[3], token = row / out->shape[2];
        const uint32_t head = (uint32_t)(row % out->shape[2]), t = (uint32_t)(token % out->shape[1]);
        double values[MAX_CHANNELS], bounds[MAX_CHANNELS];
        expect_row(trial, e, x, weight, false, (uint32_t)(token / out->shape[1]), t, head, values, bounds);
        const uint8_t *data = sxt_test_bytes(trial, side, out, n);
        if (sxt_test_encoded(out->type, out->shape[3], values, bounds, 1, data)) continue;
        uint32_t c = 0;
        while (sxt_type_block(out->type) == 1 && c + 1 < out->shape[3] &&
               sxt_test_encoded(out->type, 1, values + c, bounds + c, 1, data + c * sxt_type_size(out->type)))
            c++;
        sxt_test_say(trial, "\ntoken %u, head %u, channel %u: %.9g, not %.9g, bound %.3g", t, head, c,
                     sxt_test_get(trial, side, out, n + c), values[c], bounds[c]);
        sxt_test_require(trial, side == SXT_TEST_DEVICE ? "an output of the device is off" : "the reference is off");
    }
}

static void say(sxt_test_trial *trial, const sxt_qk_norm_rope_desc *d) {
    static const char *const norms[] = {"rms", "layer", "l2", "none"}, *const names[] = {"q", "k", "v"};
    const sxt_tensor *const inputs[] = {&d->q, &d->k, &d->v}, *const outs[] = {&d->q_out, &d->k_out, &d->cache.v};
    sxt_test_say(trial, "qk_norm_rope");
    for (int i = 0; i < 3; i++)
        if (inputs[i]->buffer)
            sxt_test_say(trial, " %s [%u, %u, %u, %u] %s%s%s", names[i], inputs[i]->shape[0], inputs[i]->shape[1],
                         inputs[i]->shape[2], inputs[i]->shape[3], sxt_type_name(inputs[i]->type),
                         outs[i]->buffer ? " -> " : "", outs[i]->buffer ? sxt_type_name(outs[i]->type) : "");
    sxt_test_say(trial, ", norm %s%s, eps %g, offset %g, ", norms[d->norm], d->normalise_v ? " of v too" : "", d->eps,
                 d->offset);
    sxt_test_say_rotation(trial, &d->rope);
    sxt_test_say_cache(trial, &d->cache);
}

static void check(sxt_test_trial *trial, const sxt_qk_norm_rope_desc *d) {
    static expected e;
    const sxt_tensor *any = d->q.buffer ? &d->q : d->k.buffer ? &d->k : &d->v;
    say(trial, d);
    sxt_test_run_op(trial, SXT_OP_QK_NORM_ROPE, d);
    e.d = d;
    e.batch = UINT32_MAX;
    sxt_test_turns_init(&e.turns, &d->rope, any->shape[3], d->positions.shape[0]);
    for (int i = 0; i < 2; i++) {
        const sxt_test_side side = (sxt_test_side)i;
        check_out(trial, side, &e, &d->q, &d->q_weight, &d->q_out);
        check_out(trial, side, &e, &d->k, &d->k_weight, &d->k_out);
        sxt_test_require(
            trial, sxt_test_check_cache(trial, side, &d->cache, any->shape[0], any->shape[1], cache_row_fits, &e));
    }
}

// ── Random cases ──

// What a group of cases shares. Groups are counted through, so that 18 in a row take each pair of an input's and an
// output's type for q, k and v, in all places and layouts.
typedef struct form {
    sxt_test_layout layout;
    sxt_test_rng rng; // of the group, for what is drawn later
    sxt_norm_kind norm;
    sxt_type q, k, v, q_out, weight;
    bool has_q, has_k, has_v, k_cached, rotated, weighted, one_weight, normalise_v, in_place;
    sxt_test_cache_form cache; // its k is k_out's type, where k does not go to the cache
    uint32_t channels, v_channels;
} form;

static uint32_t channels_of(sxt_test_rng *rng, const form *f, bool blocks) {
    if (blocks) return SXT_TEST_PICK(rng, uint32_t, 32, 64, 64, 96, 128, 128, 256, 576);
    if (f->layout == SXT_TEST_ODD)
        return SXT_TEST_PICK(rng, uint32_t, 2, 6, 34, 63, 64, 72, 80, 96, 112, 127, 128, 256);
    return SXT_TEST_PICK(rng, uint32_t, 8, 64, 64, 72, 80, 96, 112, 128, 128, 256, 576);
}

static void sides_of(uint64_t g, form *f) {
    const uint64_t which = g % 9;
    f->has_q = which != 7 && !(which == 8 && g % 2);
    f->has_k = which != 8;
    f->has_v = which != 5 && !(which == 8 && f->has_q);
    f->k_cached = f->has_k && which != 5 && which != 6;
    f->rotated = (f->has_q || f->has_k) && g % 7 != 6;
}

static form form_of(uint64_t seed) {
    const uint64_t g = sxt_test_group(seed);
    sxt_test_rng rng = sxt_test_group_rng(seed);
    form f = {.layout = (const sxt_test_layout[]){SXT_TEST_ODD, SXT_TEST_DENSE, SXT_TEST_QUADS}[(g + g / 6) % 3]};
    f.norm = (const sxt_norm_kind[]){SXT_NORM_RMS, SXT_NORM_LAYER, SXT_NORM_L2, SXT_NORM_RMS, SXT_NORM_NONE}[g % 5];
    sides_of(g, &f);
    sxt_test_type_pair(5 * g, &f.q, &f.q_out);
    sxt_test_type_pair(7 * g + 3, &f.k, &f.cache.k);
    sxt_test_type_pair(11 * g + 8, &f.v, &f.cache.v);
    f.cache.has_k = f.k_cached;
    f.cache.has_v = f.has_v;
    f.cache.paged = (g + g / 6) % 4 / 2 != 0;
    f.cache.slots = (g + g / 6) % 2 != 0;
    f.cache.k_scaled = sxt_test_chance(&rng, 60);
    f.cache.v_scaled = sxt_test_chance(&rng, 60);
    f.weighted = f.norm != SXT_NORM_NONE && sxt_test_chance(&rng, 70);
    f.one_weight = f.weighted && sxt_test_chance(&rng, 20);
    f.weight = sxt_test_float_type(&rng);
    f.normalise_v = f.has_v && f.norm != SXT_NORM_NONE && sxt_test_chance(&rng, 50);
    f.in_place = sxt_test_chance(&rng, 50);
    const bool blocks = sxt_type_block(f.q_out) > 1 || sxt_type_block(f.cache.k) > 1;
    f.channels = channels_of(&rng, &f, blocks);
    f.v_channels = sxt_test_chance(&rng, 50) && (blocks || sxt_type_block(f.cache.v) == 1)
                       ? f.channels
                       : channels_of(&rng, &f, sxt_type_block(f.cache.v) > 1);
    f.rng = rng;
    return f;
}

// Sometimes a row with a NaN or an infinity: it must not be seen in any other.
static void fill(sxt_test_trial *trial, const sxt_tensor *x) {
    sxt_test_rng *rng = &trial->rng;
    sxt_test_fill_normal(trial, x, 0, exp(sxt_test_uniform(rng, -3, 3)));
    if (sxt_test_count(x) > 0 && sxt_test_chance(rng, 15))
        sxt_test_set(trial, x, sxt_test_below(rng, (uint32_t)sxt_test_count(x)),
                     SXT_TEST_PICK(rng, double, NAN, INFINITY, -INFINITY));
}

static sxt_tensor make_input(sxt_test_trial *trial, const char *name, sxt_type type, const uint32_t shape[4]) {
    const sxt_tensor x = sxt_test_place(trial, name, type, shape[0], shape[1], shape[2], shape[3]);
    fill(trial, &x);
    return x;
}

static sxt_tensor make_weight(sxt_test_trial *trial, const char *name, const form *f, float offset,
                              const uint32_t shape[4]) {
    sxt_test_rng *rng = &trial->rng;
    uint32_t dims[4] = {1, 1, 1, f->one_weight ? 1 : shape[3]};
    for (int i = 0; i < 3; i++)
        if (sxt_test_chance(rng, i == 2 ? 25 : 10) && shape[i] > 0) dims[i] = shape[i];
    const sxt_tensor weight = sxt_test_place(trial, name, f->weight, dims[0], dims[1], dims[2], dims[3]);
    sxt_test_fill_normal(trial, &weight, 1 - (double)offset, 0.5);
    return weight;
}

static sxt_tensor make_out(sxt_test_trial *trial, const char *name, const form *f, sxt_type type, const sxt_tensor *x) {
    if (type == x->type && f->in_place) return *x;
    return sxt_test_place(trial, name, type, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
}

static void make_sides(sxt_test_trial *trial, const form *f, uint32_t batch, uint32_t tokens,
                       sxt_qk_norm_rope_desc *d) {
    sxt_test_rng *rng = &trial->rng;
    const uint32_t heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3);
    const uint32_t q[4] = {batch, tokens, SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 8), f->channels};
    const uint32_t k[4] = {batch, tokens, heads, f->channels}, v[4] = {batch, tokens, heads, f->v_channels};
    if (f->has_q) {
        d->q = make_input(trial, "q", f->q, q);
        d->q_out = make_out(trial, "q_out", f, f->q_out, &d->q);
        if (f->weighted) d->q_weight = make_weight(trial, "q_weight", f, d->offset, q);
    }
    if (f->has_k) {
        d->k = make_input(trial, "k", f->k, k);
        if (!f->k_cached) d->k_out = make_out(trial, "k_out", f, f->cache.k, &d->k);
        if (f->weighted) d->k_weight = make_weight(trial, "k_weight", f, d->offset, k);
    }
    if (f->has_v) d->v = make_input(trial, "v", f->v, v);
    if (f->k_cached || f->has_v)
        d->cache = sxt_test_make_cache(trial, &f->cache, batch, tokens, heads, f->channels, f->v_channels,
                                       sxt_test_chance(rng, 25));
}

Test(qk_norm_rope, random_steps_are_within_their_bounds) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        form f = form_of(first + i);
        trial.layout = f.layout;
        sxt_qk_norm_rope_desc d = {.norm = f.norm, .normalise_v = f.normalise_v, .rope.pairing = SXT_ROPE_NONE};
        d.eps = SXT_TEST_PICK(rng, float, 1e-6f, 1e-5f);
        if (f.weighted) d.offset = SXT_TEST_PICK(rng, float, 0, 1);
        const uint32_t batch = sxt_test_between(rng, 1, 2), tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 5);
        make_sides(&trial, &f, batch, tokens, &d);
        if (f.rotated) {
            sxt_test_group_rotation(&f.rng, rng, f.channels, f.layout == SXT_TEST_ODD ? 2 : 8, &rotation);
            d.rope = rotation.params;
            d.positions = sxt_test_positions(&trial, rotation.planes, batch, tokens,
                                             sxt_test_chance(rng, 20) ? INT32_MAX : 1 << 20);
        }
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// Rows whose squares leave f32's range, or of which two elements do when they are added up.
Test(qk_norm_rope, huge_and_tiny_rows_are_normalised) {
    static const double magnitudes[] = {3e38, 1e19, 1e-19, 1e-30};
    for (uint32_t i = 0; i < 4 * 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_qk_norm_rope_desc d = {.norm = (sxt_norm_kind)(i / 4), .rope.pairing = SXT_ROPE_NONE};
        d.q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 1, 3, 2, 128);
        d.q_out = sxt_test_dense(&trial, "q_out", SXT_TYPE_F32, 1, 3, 2, 128);
        for (uint32_t n = 0; n < 3 * 2 * 128; n++)
            sxt_test_set(&trial, &d.q, n, magnitudes[i % 4] * (n % 2 ? -1 : 1) * (n < 128 ? 1 : 0.125 * (n % 7 + 1)));
        sxt_test_say(&trial, "magnitude %g: ", magnitudes[i % 4]);
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
        static expected e;
        e = (expected){.d = &d, .batch = UINT32_MAX};
        sxt_test_turns_init(&e.turns, &d.rope, 128, 1);
        double values[128], *bounds = calloc(sxt_test_count(&d.q), sizeof *bounds);
        cr_assert(bounds);
        for (uint32_t row = 0; row < 9 * 4; row++)
            expect_row(&trial, &e, &d.q, &d.q_weight, false, 0, row / 4, row % 4, values, bounds + row * 128);
        for (uint64_t n = 0; n < sxt_test_count(&d.q); n++) // both sides err
            bounds[n] = 2 * (bounds[n] +
                             sxt_test_rounding(SXT_TYPE_F32, fabs(sxt_test_get(&trial, SXT_TEST_DEVICE, &normed, n))));
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
