// sxt_kv_shift on the device under test: keys that turn are within the bound, all others keep their bits.
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

TestSuite(kv_shift, .init = setup, .fini = teardown);

enum { MAX_CHANNELS = 576 };

static void deltas_of(const sxt_test_trial *trial, const sxt_kv_shift_desc *d, uint32_t batch, uint32_t row,
                      int32_t out_deltas[4]) {
    const sxt_tensor *deltas = &d->deltas;
    memset(out_deltas, 0, 4 * sizeof *out_deltas);
    for (uint32_t plane = 0; plane < deltas->shape[0]; plane++)
        out_deltas[plane] = sxt_test_get_int(trial, SXT_TEST_INITIAL, deltas,
                                             sxt_test_at(deltas, plane, deltas->shape[1] > 1 ? batch : 0, 0, row));
}

// The channels that turn, whole blocks; all others keep their bits.
static void turned_channels(const sxt_test_turns *turns, sxt_type type, uint32_t *out_first, uint32_t *out_end) {
    const uint32_t block = sxt_type_block(type), offset = turns->params.rotary_offset;
    *out_first = offset / block * block;
    *out_end = (offset + 2 * turns->pairs + block - 1) / block * block;
}

// Keys times their head's scale, turned, and encoded anew: (|a| + |b|)(ε_trig + 2u) as in sxt_test_rope_row, and one u
// more each for the product with the scale and the quotient by it.
static bool head_fits(const sxt_test_trial *trial, const sxt_kv_shift_desc *d, const sxt_test_turns *turns,
                      uint32_t head, const uint8_t *before, const uint8_t *after) {
    const uint32_t channels = d->k.shape[3], block = sxt_type_block(d->k.type), size = sxt_type_size(d->k.type);
    const double scale = sxt_test_scale(trial, &d->k_scale, head);
    double values[MAX_CHANNELS] = {0}, rounded[MAX_CHANNELS], bounds[MAX_CHANNELS];
    sxt_decode(d->k.type, before, channels, values);
    for (uint32_t c = 0; c < channels; c++) {
        values[c] *= scale;
        rounded[c] = 2 * SXT_TEST_U * fabs(values[c]);
    }
    sxt_rope_params plain = turns->params;
    plain.attn_factor = 1;
    plain.ext_factor = 0;
    sxt_test_rope_row(&plain, channels, values, rounded, bounds);
    sxt_test_turn(turns, values);
    uint32_t first, end;
    turned_channels(turns, d->k.type, &first, &end);
    return memcmp(before, after, (size_t)first / block * size) == 0 &&
           memcmp(before + end / block * size, after + end / block * size, (size_t)(channels - end) / block * size) ==
               0 &&
           sxt_test_encoded(d->k.type, end - first, values + first, bounds + first, scale,
                            after + first / block * size);
}

static void check_side(sxt_test_trial *trial, sxt_test_side side, const sxt_kv_shift_desc *d) {
    static sxt_test_turns turns;
    const uint32_t *shape = d->k.shape;
    sxt_test_turns_init(&turns, &d->rope, shape[3], d->deltas.shape[0]);
    for (uint64_t n = 0; n < sxt_test_count(&d->k); n += shape[3]) {
        const uint64_t row = n / shape[3] / shape[2];
        const uint32_t head = (uint32_t)(n / shape[3] % shape[2]), batch = (uint32_t)(row / shape[1]);
        int32_t deltas[4];
        deltas_of(trial, d, batch, (uint32_t)(row % shape[1]), deltas);
        sxt_test_turns_at(&turns, deltas, false);
        const uint8_t *before = sxt_test_bytes(trial, SXT_TEST_INITIAL, &d->k, n);
        const uint8_t *after = sxt_test_bytes(trial, side, &d->k, n);
        const bool moved = (deltas[0] | deltas[1] | deltas[2] | deltas[3]) != 0;
        const size_t bytes = (size_t)shape[3] / sxt_type_block(d->k.type) * sxt_type_size(d->k.type);
        if (moved ? head_fits(trial, d, &turns, head, before, after) : memcmp(before, after, bytes) == 0) continue;
        sxt_test_say(trial, "\nbatch %u, row %u, head %u, deltas %d %d %d %d", batch, (uint32_t)(row % shape[1]), head,
                     deltas[0], deltas[1], deltas[2], deltas[3]);
        sxt_test_require(trial,
                         side == SXT_TEST_DEVICE ? "a row of the device is off" : "a row of the reference is off");
    }
}

static void check(sxt_test_trial *trial, const sxt_kv_shift_desc *d) {
    sxt_test_say(trial, "kv_shift k [%u, %u, %u, %u] %s%s, ", d->k.shape[0], d->k.shape[1], d->k.shape[2],
                 d->k.shape[3], sxt_type_name(d->k.type), d->k_scale.buffer ? " scaled" : "");
    sxt_test_say_rotation(trial, &d->rope);
    sxt_test_run_op(trial, SXT_OP_KV_SHIFT, d);
    check_side(trial, SXT_TEST_DEVICE, d);
    check_side(trial, SXT_TEST_REFERENCE, d);
}

// ── Random cases ──

// Keys that there may be: numbers, and sometimes anything at all, NaN and infinities too, where deltas are 0.
static void fill(sxt_test_trial *trial, const sxt_kv_shift_desc *d, uint32_t zeros) {
    sxt_test_rng *rng = &trial->rng;
    if (zeros == 100)
        sxt_test_fill_bits(trial, &d->k);
    else if (d->k.type == SXT_TYPE_FP8_E4M3) // all codes but NaN
        for (uint64_t n = 0; n < sxt_test_count(&d->k); n++)
            sxt_test_set_bits(trial, &d->k, n, (sxt_test_below(rng, 2) << 7) | sxt_test_below(rng, 127));
    else
        sxt_test_fill_normal(trial, &d->k, 0, exp(sxt_test_uniform(rng, -3, 3)));
    for (uint64_t n = 0; n < sxt_test_count(&d->deltas); n++) {
        const int32_t small = (int32_t)sxt_test_below(rng, 4096) - 2048, any = (int32_t)sxt_test_bits(rng);
        const int32_t delta = sxt_test_chance(rng, 80) ? small : any;
        sxt_test_set_int(trial, &d->deltas, n, sxt_test_chance(rng, zeros) ? 0 : delta);
    }
}

Test(kv_shift, random_caches_turn_within_their_bounds) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        sxt_test_rng group = sxt_test_group_rng(first + i);
        const uint64_t g = sxt_test_group(first + i);
        sxt_type source, type; // each type of cache in each layout
        sxt_test_type_pair(g, &source, &type);
        trial.layout = (const sxt_test_layout[]){SXT_TEST_ODD, SXT_TEST_DENSE, SXT_TEST_QUADS}[(g + g / 6) % 3];
        const bool odd = trial.layout == SXT_TEST_ODD, blocks = sxt_type_block(type) > 1;
        const uint32_t channels = blocks ? SXT_TEST_PICK(&group, uint32_t, 32, 64, 96, 128, 128, 256, 576)
                                  : odd  ? SXT_TEST_PICK(&group, uint32_t, 2, 6, 34, 63, 80, 96, 127, 128)
                                         : SXT_TEST_PICK(&group, uint32_t, 8, 64, 72, 80, 112, 128, 256);
        const bool scaled = type == SXT_TYPE_FP8_E4M3 && sxt_test_chance(&group, 60);
        const uint32_t batch = sxt_test_between(rng, 1, 4), heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3);
        const uint32_t rows = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 7);
        sxt_test_group_rotation(&group, rng, channels, odd && !blocks ? 2 : 8, &rotation);
        sxt_kv_shift_desc d = {.rope = rotation.params};
        d.k = sxt_test_place(&trial, "k", type, batch, rows, heads, channels);
        d.deltas = sxt_test_place(&trial, "deltas", SXT_TYPE_I32, rotation.planes, sxt_test_chance(rng, 50) ? 1 : batch,
                                  1, rows);
        if (scaled) d.k_scale = sxt_test_make_scale(&trial, "k_scale", heads);
        fill(&trial, &d, SXT_TEST_PICK(rng, uint32_t, 0, 30, 30, 100));
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// A block in which no quant is the largest there may be would come out with another scale if it were made anew.
Test(kv_shift, blocks_outside_of_the_rotary_range_keep_their_bits) {
    static const uint32_t ranges[][2] = {{32, 32}, {64, 0}, {40, 48}, {8, 96}, {64, 32}}; // rotary_dim, offset
    for (uint32_t i = 0; i < 4 * 5; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_kv_shift_desc d = {.rope = {.pairing = (sxt_rope_pairing)(i / 2 % 2),
                                        .rotary_dim = ranges[i / 4][0],
                                        .rotary_offset = ranges[i / 4][1]}};
        d.k = sxt_test_dense(&trial, "k", i % 2 ? SXT_TYPE_Q8_0 : SXT_TYPE_Q4_0, 2, 5, 2, 128);
        d.deltas = sxt_test_dense(&trial, "deltas", SXT_TYPE_I32, 1, 2, 1, 5);
        fill(&trial, &d, 20);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// ── Together with other operations ──

static sxt_tensor constant(sxt_test_trial *trial, const char *name, uint32_t tokens, int32_t first, int32_t step) {
    const sxt_tensor t = sxt_test_dense(trial, name, SXT_TYPE_I32, 1, 1, 1, tokens);
    for (uint32_t i = 0; i < tokens; i++)
        sxt_test_set_int(trial, &t, i, first + step * (int32_t)i);
    return t;
}

// Forth and back by d: two rotations, each off by (|a| + |b|)(ε_trig + 2u) of what it starts from.
Test(kv_shift, shifting_back_gives_the_keys) {
    enum { ROWS = 9, CHANNELS = 64 };
    for (uint32_t i = 0; i < 2 * SXT_TEST_FORMS; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_test_rotation_of((sxt_test_form)(i / 2), CHANNELS, &rotation);
        if (rotation.planes > 1) { // the same deltas on all axes
            rotation.params.multi = SXT_ROPE_SINGLE;
            memset(rotation.params.sections, 0, sizeof rotation.params.sections);
        }
        rotation.params.pairing = (sxt_rope_pairing)(i % 2);
        const int32_t delta = (int32_t)sxt_test_below(&trial.rng, 200000) - 100000;
        sxt_kv_shift_desc forth = {.rope = rotation.params};
        forth.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, ROWS, 2, CHANNELS);
        sxt_test_fill_normal(&trial, &forth.k, 0, 1);
        forth.deltas = constant(&trial, "deltas", ROWS, delta, 0);
        sxt_kv_shift_desc back = forth;
        back.deltas = constant(&trial, "deltas back", ROWS, -delta, 0);
        sxt_test_say(&trial, "kv_shift by %d and back, %s", delta, sxt_test_form_name((sxt_test_form)(i / 2)));
        const sxt_test_step steps[] = {{SXT_OP_KV_SHIFT, &forth}, {SXT_OP_KV_SHIFT, &back}};
        cr_assert(sxt_test_run(&trial, steps, 2) == SXT_OK);
        for (uint64_t n = 0; n < sxt_test_count(&forth.k); n += CHANNELS) {
            double length = 0;
            for (uint32_t c = 0; c < CHANNELS; c++)
                length += pow(sxt_test_get(&trial, SXT_TEST_INITIAL, &forth.k, n + c), 2);
            for (uint32_t c = 0; c < CHANNELS; c++) {
                const double error = sxt_test_get(&trial, SXT_TEST_DEVICE, &forth.k, n + c) -
                                     sxt_test_get(&trial, SXT_TEST_INITIAL, &forth.k, n + c);
                cr_assert(fabs(error) <= 4e-6 * sqrt(2 * length), "%s: off by %g", trial.what, error);
            }
        }
        sxt_test_trial_finish(&trial);
    }
}

// Keys written at position p and shifted by d are those written at p + d, up to the rotation of each: YaRN's and
// longrope's m goes on once.
Test(kv_shift, a_shift_equals_writing_at_the_new_positions) {
    enum { ROWS = 7, CHANNELS = 64 };
    for (uint32_t i = 0; i < SXT_TEST_FORMS; i++) {
        static sxt_test_trial trial;
        static sxt_test_rotation rotation;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_test_rotation_of((sxt_test_form)i, CHANNELS, &rotation);
        sxt_qk_norm_rope_desc at_p = {.norm = SXT_NORM_NONE, .rope = rotation.params};
        at_p.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, ROWS, 2, CHANNELS);
        sxt_test_fill_normal(&trial, &at_p.k, 0, 1);
        at_p.positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, rotation.planes, 1, 1, ROWS);
        sxt_qk_norm_rope_desc at_p_d = at_p;
        at_p_d.positions = sxt_test_like(&trial, "new positions", &at_p.positions);
        sxt_kv_shift_desc shift = {.rope = rotation.params};
        shift.deltas = sxt_test_like(&trial, "deltas", &at_p.positions);
        for (uint64_t n = 0; n < sxt_test_count(&shift.deltas); n++) {
            const int32_t p = (int32_t)sxt_test_below(&trial.rng, 100000), delta = 5000 - (int32_t)(n % ROWS) * 1111;
            sxt_test_set_int(&trial, &at_p.positions, n, p);
            sxt_test_set_int(&trial, &shift.deltas, n, delta);
            sxt_test_set_int(&trial, &at_p_d.positions, n, p + delta);
        }
        at_p.cache.k = sxt_test_dense(&trial, "shifted", SXT_TYPE_F32, 1, ROWS, 2, CHANNELS);
        at_p_d.cache.k = sxt_test_dense(&trial, "rewritten", SXT_TYPE_F32, 1, ROWS, 2, CHANNELS);
        shift.k = at_p.cache.k;
        const sxt_test_step steps[] = {
            {SXT_OP_QK_NORM_ROPE, &at_p}, {SXT_OP_KV_SHIFT, &shift}, {SXT_OP_QK_NORM_ROPE, &at_p_d}};
        cr_assert(sxt_test_run(&trial, steps, 3) == SXT_OK);
        static sxt_test_turns turns;
        sxt_test_turns_init(&turns, &rotation.params, CHANNELS, rotation.planes);
        double *bounds = calloc(sxt_test_count(&shift.k), sizeof *bounds), values[CHANNELS];
        const double zeros[CHANNELS] = {0};
        cr_assert(bounds);
        for (uint64_t n = 0; n < sxt_test_count(&shift.k); n += CHANNELS) {
            for (uint32_t c = 0; c < CHANNELS; c++) // three rotations, of vectors as long as this one: √2·(|a| + |b|)
                values[c] = 3 * sqrt(2) * sxt_test_get(&trial, SXT_TEST_INITIAL, &at_p.k, n + c);
            sxt_test_rope_row(&rotation.params, CHANNELS, values, zeros, bounds + n);
        }
        sxt_test_say(&trial, "shift and rewrite, %s", sxt_test_form_name((sxt_test_form)i));
        sxt_test_require(&trial, sxt_test_compare(&trial, SXT_TEST_DEVICE, &at_p.cache.k, SXT_TEST_DEVICE,
                                                  &at_p_d.cache.k, bounds, 0));
        free(bounds);
        sxt_test_trial_finish(&trial);
    }
}
