// sxt_kv_write on the device under test: every byte of every cache is known in advance.
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "support/cache.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(kv_write, .init = setup, .fini = teardown);

enum { MAX_CHANNELS = 256 };

static bool is_nan_bits(sxt_type type, uint32_t bits) {
    switch (type) {
    case SXT_TYPE_F32:
        return (bits & 0x7fffffff) > 0x7f800000;
    case SXT_TYPE_F16:
        return (bits & 0x7fff) > 0x7c00;
    case SXT_TYPE_BF16:
        return (bits & 0x7fff) > 0x7f80;
    default:
        return false;
    }
}

// Bits of any number that there is, or, of f32, at or next to the middle of two values of a narrower type, where
// rounding is decided.
static uint32_t any_bits(sxt_test_rng *rng, sxt_type type) {
    const uint32_t bits = (uint32_t)sxt_test_bits(rng);
    if (type != SXT_TYPE_F32) return bits & 0xffff;
    if (sxt_test_chance(rng, 30)) return bits;
    const uint32_t dropped = SXT_TEST_PICK(rng, uint32_t, 13, 16, 20), middle = 1u << (dropped - 1);
    const uint32_t exact = sxt_f32_from_double(exp2(sxt_test_uniform(rng, -27, 17))) >> dropped << dropped;
    return (bits & 0x80000000) | (exact + middle + sxt_test_below(rng, 3) - 1);
}

// A row of numbers that are hard to convert, in one of several ways. Of blocks: quotients by the scale at the edges of
// quants, many largest elements of either sign, scales that are subnormal, zero, past f16 or no number.
static void fill_row(sxt_test_trial *trial, const sxt_tensor *t, uint64_t first, uint32_t count) {
    sxt_test_rng *rng = &trial->rng;
    const uint32_t way = sxt_test_below(rng, 8);
    const double unit = exp2((double)sxt_test_below(rng, 24) - 16);
    for (uint64_t n = first; n < first + count; n++) {
        const double whole = (double)sxt_test_below(rng, 256) - 128, sign = sxt_test_chance(rng, 50) ? 1 : -1;
        double value = unit * sxt_test_normal(rng);
        if (way == 1) value = unit * (whole + SXT_TEST_PICK(rng, double, 0, 0.5, 0.5, 0x1p-18));
        if (way == 2) value = sign * unit;
        if (way == 3) value = sign * sxt_test_uniform(rng, 0, 1) * 0x1p-119; // d about f32's smallest normal number
        if (way == 4) value = sign * 65504 * 127 * sxt_test_uniform(rng, 0.5, 1.01);
        if (way == 5) value = sign * 0.0;
        sxt_test_set(trial, t, n, value);
        if (way == 6 || (way == 7 && sxt_test_chance(rng, 3))) sxt_test_set_bits(trial, t, n, any_bits(rng, t->type));
    }
}

static void fill(sxt_test_trial *trial, const sxt_tensor *t) {
    for (uint64_t n = 0; n < sxt_test_count(t); n += t->shape[3])
        fill_row(trial, t, n, t->shape[3]);
}

// A conversion may make a signalling NaN quiet, as IEEE 754 has it; sign and payload below that bit stay.
static bool same_number(sxt_type type, const uint8_t *want, const uint8_t *got) {
    const uint32_t size = sxt_type_size(type), quiet = type == SXT_TYPE_F32   ? 1u << 22
                                                       : type == SXT_TYPE_F16 ? 512
                                                                              : 64;
    uint32_t want_bits = 0, got_bits = 0;
    memcpy(&want_bits, want, size);
    memcpy(&got_bits, got, size);
    return want_bits == got_bits || (is_nan_bits(type, want_bits) && (want_bits | quiet) == got_bits);
}

static bool same_row(sxt_type type, uint32_t channels, const uint8_t *want, const uint8_t *got) {
    const uint32_t size = sxt_type_size(type), count = channels / sxt_type_block(type);
    if (type != SXT_TYPE_F32 && type != SXT_TYPE_F16 && type != SXT_TYPE_BF16)
        return memcmp(want, got, (size_t)count * size) == 0;
    for (uint32_t i = 0; i < count; i++)
        if (!same_number(type, want + i * size, got + i * size)) return false;
    return true;
}

// The same after all subnormals became 0, as a device may have it before it computes: only a block's quotients are.
static bool flushed_row(sxt_type type, uint32_t channels, double *values, const uint8_t *got) {
    uint8_t bytes[MAX_CHANNELS * 4];
    for (uint32_t c = 0; c < channels; c++)
        if (fabs(values[c]) < FLT_MIN) values[c] = 0;
    sxt_encode(type, values, channels, bytes);
    return sxt_type_block(type) > 1 && same_row(type, channels, bytes, got);
}

// The very bytes: bits as they are where the type stays, else each value over its head's scale, rounded once. (Rounding
// the quotient to a double first changes no fp8 code.)
static bool row_fits(const sxt_test_trial *trial, const void *context, bool is_v, uint32_t batch, uint32_t token,
                     uint32_t head, const uint8_t *data) {
    const sxt_kv_write_desc *d = context;
    const sxt_tensor *source = is_v ? &d->v : &d->k, *cache = is_v ? &d->cache.v : &d->cache.k;
    const uint32_t channels = source->shape[3];
    const uint8_t *from = sxt_test_bytes(trial, SXT_TEST_INITIAL, source, sxt_test_at(source, batch, token, head, 0));
    if (source->type == cache->type) return memcmp(from, data, (size_t)channels * sxt_type_size(cache->type)) == 0;
    const double scale = sxt_test_scale(trial, is_v ? &d->cache.v_scale : &d->cache.k_scale, head);
    double values[MAX_CHANNELS];
    uint8_t bytes[MAX_CHANNELS * 4];
    sxt_decode(source->type, from, channels, values);
    for (uint32_t c = 0; c < channels && scale != 1; c++)
        values[c] /= scale;
    sxt_encode(cache->type, values, channels, bytes);
    return same_row(cache->type, channels, bytes, data) || flushed_row(cache->type, channels, values, data);
}

static void say(sxt_test_trial *trial, const sxt_kv_write_desc *d) {
    const sxt_tensor *any = d->k.buffer ? &d->k : &d->v;
    sxt_test_say(trial, "kv_write [%u, %u, %u]", any->shape[0], any->shape[1], any->shape[2]);
    if (d->k.buffer) sxt_test_say(trial, ", k %s of %u", sxt_type_name(d->k.type), d->k.shape[3]);
    if (d->v.buffer) sxt_test_say(trial, ", v %s of %u", sxt_type_name(d->v.type), d->v.shape[3]);
    sxt_test_say_cache(trial, &d->cache);
}

static void check(sxt_test_trial *trial, const sxt_kv_write_desc *d) {
    const sxt_tensor *any = d->k.buffer ? &d->k : &d->v;
    say(trial, d);
    sxt_test_run_op(trial, SXT_OP_KV_WRITE, d);
    for (int side = 0; side < 2; side++)
        sxt_test_require(trial, sxt_test_check_cache(trial, (sxt_test_side)side, &d->cache, any->shape[0],
                                                     any->shape[1], row_fits, d));
}

// What a group of cases shares. Groups are counted through, so that 18 in a row take each pair of a source's and a
// cache's type for k and for v, in all places and layouts.
typedef struct form {
    sxt_test_layout layout;
    sxt_type k, v; // of the sources
    sxt_test_cache_form cache;
    uint32_t k_channels, v_channels; // at most
} form;

static uint32_t most_channels(sxt_test_rng *rng, sxt_type cache, sxt_test_layout layout) {
    if (sxt_type_block(cache) > 1) return SXT_TEST_PICK(rng, uint32_t, 32, 64, 64, 96, 128, 128, 256);
    const uint32_t most = SXT_TEST_PICK(rng, uint32_t, 8, 16, 40, 64, 72, 128, 136, 256);
    return layout != SXT_TEST_ODD && sxt_test_chance(rng, 25) ? most - 4 : most;
}

static form form_of(uint64_t seed) {
    const uint64_t g = sxt_test_group(seed);
    sxt_test_rng rng = sxt_test_group_rng(seed);
    form f = {.layout = (const sxt_test_layout[]){SXT_TEST_ODD, SXT_TEST_DENSE, SXT_TEST_QUADS}[(g + g / 6) % 3]};
    f.cache = (sxt_test_cache_form){.has_k = g % 8 != 6,
                                    .has_v = g % 8 != 7,
                                    .paged = (g + g / 6) % 4 / 2 != 0,
                                    .slots = (g + g / 6) % 2 != 0,
                                    .k_scaled = sxt_test_chance(&rng, 60),
                                    .v_scaled = sxt_test_chance(&rng, 60)};
    sxt_test_type_pair(5 * g, &f.k, &f.cache.k);
    sxt_test_type_pair(7 * g + 3, &f.v, &f.cache.v);
    f.k_channels = most_channels(&rng, f.cache.k, f.layout);
    f.v_channels = most_channels(&rng, f.cache.v, f.layout);
    return f;
}

// A few channels less, where the pipeline stays the same.
static uint32_t vary(sxt_test_rng *rng, const form *f, uint32_t most, sxt_type cache) {
    return f->layout == SXT_TEST_ODD && sxt_type_block(cache) == 1 ? most - sxt_test_below(rng, 8) : most;
}

Test(kv_write, every_byte_of_random_caches_is_right) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(18 * SXT_TEST_GROUP);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        const form f = form_of(first + i);
        trial.layout = f.layout;
        const uint32_t batch = sxt_test_between(rng, 1, 3), heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 5);
        const uint32_t tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 1, 2, 5, 11);
        const uint32_t k_channels = vary(rng, &f, f.k_channels, f.cache.k);
        const uint32_t v_channels = vary(rng, &f, f.v_channels, f.cache.v);
        const bool repeats = sxt_test_chance(rng, 25);
        sxt_kv_write_desc d = {
            .cache = sxt_test_make_cache(&trial, &f.cache, batch, tokens, heads, k_channels, v_channels, repeats)};
        if (f.cache.has_k) {
            d.k = sxt_test_place(&trial, "k", f.k, batch, tokens, heads, k_channels);
            fill(&trial, &d.k);
        }
        if (f.cache.has_v) {
            d.v = sxt_test_place(&trial, "v", f.v, batch, tokens, heads, v_channels);
            fill(&trial, &d.v);
        }
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// Keys in blocks that end long before the values of their token do, and the other way round.
Test(kv_write, blocks_beside_larger_heads) {
    static const uint32_t channels[] = {32, 96, 160};
    for (uint32_t i = 0; i < 6; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_kv_write_desc d = {0};
        const sxt_type blocks = i / 3 ? SXT_TYPE_Q4_0 : SXT_TYPE_Q8_0,
                       other = i / 3 ? SXT_TYPE_BF16 : SXT_TYPE_FP8_E4M3;
        sxt_tensor *const small[] = {i % 2 ? &d.v : &d.k, i % 2 ? &d.cache.v : &d.cache.k};
        sxt_tensor *const large[] = {i % 2 ? &d.k : &d.v, i % 2 ? &d.cache.k : &d.cache.v};
        *small[0] = sxt_test_dense(&trial, "small", SXT_TYPE_F32, 2, 3, 2, channels[i % 3]);
        *small[1] = sxt_test_dense(&trial, "small cache", blocks, 2, 4, 2, channels[i % 3]);
        *large[0] = sxt_test_dense(&trial, "large", SXT_TYPE_F32, 2, 3, 2, 256);
        *large[1] = sxt_test_dense(&trial, "large cache", other, 2, 4, 2, 256);
        fill(&trial, &d.k);
        fill(&trial, &d.v);
        check(&trial, &d);
        sxt_test_trial_finish(&trial);
    }
}

// From a value of each type the bits of the nearest, ties to even; written out, so that reference and device cannot
// agree on an error.
Test(kv_write, conversions_round_to_nearest_even) {
    static const struct {
        float value;
        uint16_t f16, bf16;
    } rows[] = {
        {0.0f, 0x0000, 0x0000},
        {-0.0f, 0x8000, 0x8000},
        {1.0f, 0x3c00, 0x3f80},
        {0x1.002p0f, 0x3c00, 0x3f80},
        {0x1.006p0f, 0x3c02, 0x3f80},
        {0x1.002002p0f, 0x3c01, 0x3f80},
        {0x1.01p0f, 0x3c04, 0x3f80},
        {0x1.03p0f, 0x3c0c, 0x3f82},
        {0x1.010002p0f, 0x3c04, 0x3f81},
        {65504.0f, 0x7bff, 0x4780},
        {65519.99f, 0x7bff, 0x4780},
        {65520.0f, 0x7c00, 0x4780},
        {-65520.0f, 0xfc00, 0xc780},
        {0x1p-14f, 0x0400, 0x3880},
        {0x1p-24f, 0x0001, 0x3380},
        {0x1p-25f, 0x0000, 0x3300},
        {0x1.000002p-25f, 0x0001, 0x3300},
        {0x1.8p-24f, 0x0002, 0x33c0},
        {0x1.ff8p-15f, 0x03ff, 0x3880},
        {0x1.ffcp-15f, 0x0400, 0x3880},
        {0x1p-126f, 0x0000, 0x0080},
        {0x1p-133f, 0x0000, 0x0001},
        {0x1p-134f, 0x0000, 0x0000},
        {0x1.8p-133f, 0x0000, 0x0002},
        {0x1.fffffep127f, 0x7c00, 0x7f80},
        {0x1.fep127f, 0x7c00, 0x7f7f},
        {INFINITY, 0x7c00, 0x7f80},
        {-INFINITY, 0xfc00, 0xff80},
    };
    enum { COUNT = sizeof rows / sizeof rows[0] };
    static sxt_test_trial trial;
    sxt_test_trial_init(&trial, &bench, 1);
    sxt_kv_write_desc d = {0};
    d.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, 1, 1, COUNT);
    d.v = sxt_test_dense(&trial, "v", SXT_TYPE_F32, 1, 1, 1, COUNT);
    d.cache.k = sxt_test_dense(&trial, "k_cache", SXT_TYPE_F16, 1, 1, 1, COUNT);
    d.cache.v = sxt_test_dense(&trial, "v_cache", SXT_TYPE_BF16, 1, 1, 1, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        sxt_test_set(&trial, &d.k, i, (double)rows[i].value);
        sxt_test_set(&trial, &d.v, i, (double)rows[i].value);
    }
    check(&trial, &d);
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t f16 = sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &d.cache.k, i);
        const uint32_t bf16 = sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &d.cache.v, i);
        cr_expect(f16 == rows[i].f16, "%a is 0x%04x as f16, not 0x%04x", (double)rows[i].value, f16, rows[i].f16);
        cr_expect(bf16 == rows[i].bf16, "%a is 0x%04x as bf16, not 0x%04x", (double)rows[i].value, bf16, rows[i].bf16);
    }
    sxt_test_trial_finish(&trial);
}

// Every 16-bit pattern, NaN and its payloads too, goes from cache type to cache type unchanged.
Test(kv_write, same_type_copies_every_bit) {
    static const sxt_type types[] = {SXT_TYPE_F16, SXT_TYPE_BF16, SXT_TYPE_F32};
    for (uint32_t i = 0; i < 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_kv_write_desc d = {0};
        d.k = sxt_test_dense(&trial, "k", types[i], 1, 512, 1, 128);
        d.cache.k = sxt_test_dense(&trial, "k_cache", types[i], 1, 512, 1, 128);
        for (uint32_t n = 0; n < 65536; n++)
            sxt_test_set_bits(&trial, &d.k, n, types[i] == SXT_TYPE_F32 ? n << 16 | (n * 7919 & 0xffff) : n);
        sxt_test_say(&trial, "copy of %s", sxt_type_name(types[i]));
        const sxt_test_step step = {SXT_OP_KV_WRITE, &d};
        cr_assert(sxt_test_run(&trial, &step, 1) == SXT_OK);
        sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d.cache.k, SXT_TEST_INITIAL, &d.k));
        sxt_test_trial_finish(&trial);
    }
}

Test(kv_write, nan_stays_nan) {
    static const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16};
    static const uint32_t patterns[3][4] = {{0x7fc00000, 0x7f800001, 0xffffffff, 0x7f801000},
                                            {0x7e00, 0x7c01, 0xffff, 0xfc01},
                                            {0x7fc0, 0x7f81, 0xffff, 0xff81}};
    for (uint32_t i = 0; i < 9; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        sxt_kv_write_desc d = {0};
        d.k = sxt_test_dense(&trial, "k", types[i % 3], 1, 1, 1, 4);
        d.cache.k = sxt_test_dense(&trial, "k_cache", types[i / 3], 1, 1, 1, 4);
        for (uint32_t n = 0; n < 4; n++)
            sxt_test_set_bits(&trial, &d.k, n, patterns[i % 3][n]);
        sxt_test_say(&trial, "NaN from %s to %s", sxt_type_name(types[i % 3]), sxt_type_name(types[i / 3]));
        const sxt_test_step step = {SXT_OP_KV_WRITE, &d};
        cr_assert(sxt_test_run(&trial, &step, 1) == SXT_OK);
        for (uint32_t n = 0; n < 4; n++)
            for (int side = 0; side < 2; side++) {
                const uint32_t bits = sxt_test_get_bits(&trial, (sxt_test_side)side, &d.cache.k, n);
                cr_expect(is_nan_bits(types[i / 3], bits), "%s: 0x%x became 0x%x", trial.what, patterns[i % 3][n],
                          bits);
            }
        sxt_test_trial_finish(&trial);
    }
}

// Which token wins is free, but no other row is touched, whatever the type. Odd strides, so that neighbours share words.
// Of f32, whose elements are written whole, each is of one of the tokens.
Test(kv_write, repeated_slots_spoil_no_other_row) {
    enum { TOKENS = 64, HEADS = 2, ROWS = 4, TAKEN = 3 };
    for (uint32_t i = 0; i < 6; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        trial.layout = SXT_TEST_ODD;
        sxt_kv_write_desc d = {0};
        sxt_type source, cache;
        sxt_test_type_pair(i, &source, &cache);
        const uint32_t channels = sxt_type_block(cache) > 1 ? 64 : 61;
        d.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, TOKENS, HEADS, channels);
        d.cache.k = sxt_test_place(&trial, "k_cache", cache, 1, ROWS, HEADS, channels);
        sxt_test_fill_bits(&trial, &d.cache.k);
        d.cache.slots = sxt_test_dense(&trial, "slots", SXT_TYPE_I32, 1, 1, 1, TOKENS);
        for (uint32_t t = 0; t < TOKENS; t++) {
            sxt_test_set_int(&trial, &d.cache.slots, t, (int32_t)(t % TAKEN));
            for (uint32_t n = 0; n < HEADS * channels; n++)
                sxt_test_set(&trial, &d.k, t * HEADS * channels + n, t + 1);
        }
        check(&trial, &d);
        for (uint32_t n = 0; cache == SXT_TYPE_F32 && n < TAKEN * HEADS * channels; n++) {
            const double got = sxt_test_get(&trial, SXT_TEST_DEVICE, &d.cache.k, n);
            const uint32_t row = n / (HEADS * channels);
            cr_assert(got >= 1 && got <= TOKENS && fmod(got - 1, TAKEN) == row, "row %u has %g", row, got);
        }
        sxt_test_trial_finish(&trial);
    }
}
