// sxt_kv_write on the device under test: every cache is compared with the reference's bit by bit.
#include <criterion/criterion.h>
#include <math.h>

#include "support/trial.h"

static sxt_test_bench bench;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(kv_write, .init = setup, .fini = teardown);

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

// Any number that there is but NaN: all exponents, subnormals, both zeros, both infinities. Half of them sit at or
// next to the middle of two values of a 16-bit type, where rounding is decided.
static void fill_bits(sxt_test_trial *trial, const sxt_tensor *t) {
    for (uint64_t n = 0; n < sxt_test_count(t); n++) {
        uint32_t bits;
        do {
            bits = (uint32_t)sxt_test_bits(&trial->rng);
            if (t->type == SXT_TYPE_F32 && sxt_test_chance(&trial->rng, 70)) {
                const double magnitude = exp2(sxt_test_uniform(&trial->rng, -27, 17)); // the range of f16
                sxt_test_set(trial, t, n, magnitude);
                const uint32_t dropped = sxt_test_chance(&trial->rng, 50) ? 13 : 16, middle = 1u << (dropped - 1);
                const uint32_t exact = sxt_test_get_bits(trial, SXT_TEST_INITIAL, t, n) >> dropped << dropped;
                bits = (bits & 0x80000000) | (exact + middle + sxt_test_below(&trial->rng, 3) - 1);
            }
            if (t->type != SXT_TYPE_F32) bits &= 0xffff;
        } while (is_nan_bits(t->type, bits));
        sxt_test_set_bits(trial, t, n, bits);
    }
}

// A different row for each token, some of them dropped: −1, or outside the cache in one of the ways there are.
static void fill_slots(sxt_test_trial *trial, const sxt_tensor *slots, uint32_t rows) {
    static const int32_t outside[] = {-1, -1, -2, INT32_MIN, INT32_MAX, 1 << 24};
    static uint32_t order[1024];
    sxt_test_rng *rng = &trial->rng;
    for (uint32_t batch = 0; batch < slots->shape[1]; batch++) {
        for (uint32_t r = 0; r < rows; r++)
            order[r] = r;
        for (uint32_t t = 0; t < slots->shape[3]; t++) {
            int32_t slot = sxt_test_chance(rng, 20) ? (int32_t)rows : outside[sxt_test_below(rng, 6)];
            if (t < rows && sxt_test_chance(rng, 75)) {
                const uint32_t swapped = sxt_test_between(rng, t, rows - 1), row = order[swapped];
                order[swapped] = order[t];
                slot = (int32_t)row;
            }
            sxt_test_set_int(trial, slots, sxt_test_at(slots, 0, batch, 0, t), slot);
        }
    }
}

static void check(sxt_test_trial *trial, const sxt_kv_write_desc *d) {
    sxt_test_say(trial, "kv_write k [%u, %u, %u, %u] %s -> %s, %u rows", d->k.shape[0], d->k.shape[1], d->k.shape[2],
                 d->k.shape[3], sxt_type_name(d->k.type), sxt_type_name(d->k_cache.type), d->k_cache.shape[1]);
    if (d->v.buffer)
        sxt_test_say(trial, ", v %u channels %s -> %s", d->v.shape[3], sxt_type_name(d->v.type),
                     sxt_type_name(d->v_cache.type));
    sxt_test_say(trial, "%s", d->slots.buffer ? ", slots" : "");
    sxt_test_run_op(trial, SXT_OP_KV_WRITE, d);
    sxt_test_require(trial, sxt_test_check_bits(trial, SXT_TEST_DEVICE, &d->k_cache, SXT_TEST_REFERENCE, &d->k_cache));
    if (d->v.buffer)
        sxt_test_require(trial,
                         sxt_test_check_bits(trial, SXT_TEST_DEVICE, &d->v_cache, SXT_TEST_REFERENCE, &d->v_cache));
}

Test(kv_write, random_shapes_match_the_reference_bit_by_bit) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(1920);
    for (uint32_t i = 0; i < cases; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_test_rng *rng = &trial.rng;
        sxt_test_rng of_group = sxt_test_group_rng(first + i);
        trial.layout = SXT_TEST_PICK(&of_group, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
        sxt_type types[4];
        for (uint32_t j = 0; j < 4; j++)
            types[j] = sxt_test_float_type(&of_group);
        const bool with_v = sxt_test_chance(&of_group, 70);
        const uint32_t batch = sxt_test_between(rng, 1, 3), heads = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 8);
        const uint32_t tokens = SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 7, 19),
                       rows = tokens + sxt_test_between(rng, 1, 30);
        const uint32_t channels = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 5, 8, 31, 64, 72, 127, 128);
        const uint32_t v_channels = SXT_TEST_PICK(rng, uint32_t, 1, 4, 7, 64, 129);
        sxt_kv_write_desc d = {.first_row = sxt_test_below(rng, rows - tokens + 1)};
        d.k = sxt_test_place(&trial, "k", types[0], batch, tokens, heads, channels);
        d.k_cache = sxt_test_place(&trial, "k_cache", types[1], batch, rows, heads, channels);
        fill_bits(&trial, &d.k);
        fill_bits(&trial, &d.k_cache);
        if (with_v) {
            d.v = sxt_test_place(&trial, "v", types[2], batch, tokens, heads, v_channels);
            d.v_cache = sxt_test_place(&trial, "v_cache", types[3], batch, rows, heads, v_channels);
            fill_bits(&trial, &d.v);
            fill_bits(&trial, &d.v_cache);
        }
        if (sxt_test_chance(rng, 60)) {
            d.first_row = 0;
            d.slots = sxt_test_place(&trial, "slots", SXT_TYPE_I32, 1, sxt_test_chance(rng, 50) ? 1 : batch, 1, tokens);
            fill_slots(&trial, &d.slots, rows);
        }
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
    d.k_cache = sxt_test_dense(&trial, "k_cache", SXT_TYPE_F16, 1, 1, 1, COUNT);
    d.v_cache = sxt_test_dense(&trial, "v_cache", SXT_TYPE_BF16, 1, 1, 1, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        sxt_test_set(&trial, &d.k, i, (double)rows[i].value);
        sxt_test_set(&trial, &d.v, i, (double)rows[i].value);
    }
    check(&trial, &d);
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t f16 = sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &d.k_cache, i);
        const uint32_t bf16 = sxt_test_get_bits(&trial, SXT_TEST_DEVICE, &d.v_cache, i);
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
        d.k_cache = sxt_test_dense(&trial, "k_cache", types[i], 1, 512, 1, 128);
        for (uint32_t n = 0; n < 65536; n++)
            sxt_test_set_bits(&trial, &d.k, n, types[i] == SXT_TYPE_F32 ? n << 16 | (n * 7919 & 0xffff) : n);
        sxt_test_say(&trial, "copy of %s", sxt_type_name(types[i]));
        const sxt_test_step step = {SXT_OP_KV_WRITE, &d};
        cr_assert(sxt_test_run(&trial, &step, 1) == SXT_OK);
        sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d.k_cache, SXT_TEST_INITIAL, &d.k));
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
        d.k_cache = sxt_test_dense(&trial, "k_cache", types[i / 3], 1, 1, 1, 4);
        for (uint32_t n = 0; n < 4; n++)
            sxt_test_set_bits(&trial, &d.k, n, patterns[i % 3][n]);
        sxt_test_say(&trial, "NaN from %s to %s", sxt_type_name(types[i % 3]), sxt_type_name(types[i / 3]));
        const sxt_test_step step = {SXT_OP_KV_WRITE, &d};
        cr_assert(sxt_test_run(&trial, &step, 1) == SXT_OK);
        for (uint32_t n = 0; n < 4; n++)
            for (int side = 0; side < 2; side++) {
                const uint32_t bits = sxt_test_get_bits(&trial, (sxt_test_side)side, &d.k_cache, n);
                cr_expect(is_nan_bits(types[i / 3], bits), "%s: 0x%x became 0x%x", trial.what, patterns[i % 3][n],
                          bits);
            }
        sxt_test_trial_finish(&trial);
    }
}

// Which token wins is free, but it is one of them in full, head by head, and no other row is touched.
Test(kv_write, duplicate_slots_keep_one_of_the_tokens) {
    enum { TOKENS = 12, HEADS = 2, CHANNELS = 64, ROWS = 4 };
    for (uint32_t i = 0; i < 3; i++) {
        static sxt_test_trial trial;
        sxt_test_trial_init(&trial, &bench, i);
        const sxt_type type = (const sxt_type[]){SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16}[i];
        sxt_kv_write_desc d = {0};
        d.k = sxt_test_dense(&trial, "k", SXT_TYPE_F32, 1, TOKENS, HEADS, CHANNELS);
        d.k_cache = sxt_test_dense(&trial, "k_cache", type, 1, ROWS, HEADS, CHANNELS);
        d.slots = sxt_test_dense(&trial, "slots", SXT_TYPE_I32, 1, 1, 1, TOKENS);
        for (uint32_t t = 0; t < TOKENS; t++) {
            sxt_test_set_int(&trial, &d.slots, t, (int32_t)(t % 3));
            for (uint32_t n = 0; n < HEADS * CHANNELS; n++)
                sxt_test_set(&trial, &d.k, t * HEADS * CHANNELS + n, t + 1);
        }
        sxt_test_fill(&trial, &d.k_cache, -1);
        sxt_test_say(&trial, "duplicates");
        sxt_test_run_op(&trial, SXT_OP_KV_WRITE, &d);
        for (uint64_t n = 0; n < sxt_test_count(&d.k_cache); n++) {
            const uint32_t row = (uint32_t)(n / (HEADS * CHANNELS));
            const double got = sxt_test_get(&trial, SXT_TEST_DEVICE, &d.k_cache, n);
            const bool right = row == 3 ? got == -1 : got >= 1 && got <= TOKENS && fmod(got - 1, 3) == row;
            cr_assert(right, "row %u has %g", row, got);
        }
        sxt_test_trial_finish(&trial);
    }
}
