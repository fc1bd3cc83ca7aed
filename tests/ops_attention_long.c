// sxt_attention where it is long or wide: 100 000 keys at the bound of f32, a million in parts of bounded time, more
// workgroups than fit on one axis, buffers larger than a binding may be.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "support/attention_case.h"
#include "support/bound.h"
#include "vulkan/internal.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention_long, .init = setup, .fini = teardown);

static void begin(uint64_t seed) {
    sxt_test_trial_init(&trial, &bench, seed);
    trial.device_only = true;
    trial.layout = SXT_TEST_DENSE;
}

typedef struct shape {
    uint32_t batch, queries, keys, q_heads, kv_heads, dim;
    sxt_type cache;
} shape;

static sxt_attention_desc make(const shape *s) {
    sxt_attention_desc d = {
        .q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, s->batch, s->queries, s->q_heads, s->dim),
        .k = sxt_test_dense(&trial, "k", s->cache, s->batch, s->keys, s->kv_heads, s->dim),
        .v = sxt_test_dense(&trial, "v", s->cache, s->batch, s->keys, s->kv_heads, s->dim),
        .o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, s->batch, s->queries, s->q_heads, s->dim),
        .lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, s->batch, s->queries, s->q_heads, 1),
    };
    sxt_test_fill_normal(&trial, &d.q, 0, 1);
    return d;
}

// Numbers of either sign from 1/2 to 1, quicker than normal ones: large tensors have tens of millions.
static void fill_f16(const sxt_tensor *t) {
    uint8_t *data = sxt_test_bytes(&trial, SXT_TEST_INITIAL, t, 0);
    for (uint64_t n = 0; n < sxt_test_count(t); n++) {
        const uint16_t bits = 0x3800 | ((uint16_t)(sxt_test_bits(&trial.rng) >> 48) & 0x83ff);
        memcpy(data + n * sizeof bits, &bits, sizeof bits);
    }
}

// ── 100 000 keys, and what an accumulator in f16 would do to them ──

enum { MANY = 100000, DIM = 32 };

static sxt_attention_desc make_many(double mean) {
    const shape s = {1, 3, MANY, 2, 1, DIM, SXT_TYPE_F32};
    const sxt_attention_desc d = make(&s);
    sxt_test_fill_normal(&trial, &d.k, 0, 1);
    sxt_test_fill_normal(&trial, &d.v, mean, 1);
    return d;
}

Test(attention_long, a_hundred_thousand_keys_are_within_the_bound_of_f32) {
    for (uint32_t i = 0; i < 4; i++) {
        begin(i + 1);
        sxt_attention_desc d = make_many(i % 2);
        d.causal = i < 2;
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

typedef struct first_row {
    double o[DIM], bounds[DIM], lse;
} first_row;

static void keep_first(void *context, const sxt_test_attention_row *row) {
    first_row *first = context;
    if (row->n > 0) return;
    memcpy(first->o, row->o, sizeof first->o);
    memcpy(first->bounds, row->o_bounds, sizeof first->bounds);
    first->lse = row->lse;
}

// The control: one row, exact but for sums of weights times values that are rounded to `type` after each addition.
Test(attention_long, an_f16_accumulator_would_not_be) {
    begin(1);
    const sxt_attention_desc d = make_many(1);
    first_row first;
    sxt_test_attention_rows(&trial, &d, keep_first, &first);
    double *q = sxt_test_values(&trial, SXT_TEST_INITIAL, &d.q), *k = sxt_test_values(&trial, SXT_TEST_INITIAL, &d.k);
    double *v = sxt_test_values(&trial, SXT_TEST_INITIAL, &d.v);
    static const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16};
    for (uint32_t i = 0; i < 2; i++) {
        double sums[DIM] = {0}, worst = 0;
        for (uint32_t j = 0; j < MANY; j++) {
            double s = 0;
            for (uint32_t c = 0; c < DIM; c++)
                s += q[c] * k[j * DIM + c] / sqrt(DIM);
            // Weights as an online softmax has them: of one to the largest, which may be e^5 times the mean.
            for (uint32_t c = 0; c < DIM; c++) {
                const double sum = sums[c] + exp(s - 5) * v[j * DIM + c];
                sums[c] = types[i] == SXT_TYPE_F16 ? sxt_f16_to_double(sxt_f16_from_double(sum))
                                                   : sxt_f32_to_double(sxt_f32_from_double(sum));
            }
        }
        for (uint32_t c = 0; c < DIM; c++)
            worst = fmax(worst, fabs(sums[c] * exp(5 - first.lse) - first.o[c]) / (2 * first.bounds[c]));
        if (types[i] == SXT_TYPE_F16) cr_assert_gt(worst, 1, "the bound lets an f16 accumulator pass: %g", worst);
        if (types[i] == SXT_TYPE_F32) cr_assert_lt(worst, 1, "the bound lets no f32 accumulator pass: %g", worst);
    }
    free(q), free(k), free(v);
    sxt_test_trial_finish(&trial);
}

// ── Dispatches of bounded time ──

static uint32_t dispatches;
static PFN_vkCmdDispatch real_dispatch;

static void VKAPI_CALL count_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    dispatches++;
    real_dispatch(commands, x, y, z);
}

// How many dispatches the description takes. 0 on the reference.
static uint32_t count(const sxt_attention_desc *d) {
    sxt_device *device = bench.devices[SXT_TEST_DEVICE];
    if (sxt_test_is_reference(device)) return 0;
    PFN_vkCmdDispatch *entry = &sxt_vulkan_device_of(device)->vk.vkCmdDispatch;
    real_dispatch = *entry;
    dispatches = 0;
    *entry = count_dispatch;
    cr_assert_eq(sxt_attention(bench.streams[SXT_TEST_DEVICE], d), SXT_OK, "%s", bench.log.text);
    *entry = real_dispatch;
    sxt_stream_reset(bench.streams[SXT_TEST_DEVICE]);
    return dispatches;
}

// Plans are functions of the device's capabilities: as if a time budget had given it so many operations a dispatch.
static void set_budget(uint64_t flops) {
    ((sxt_caps *)&sxt_device_get_info(bench.devices[SXT_TEST_DEVICE])->caps)->dispatch_flops = flops;
}

// Runs it whole, then cut into dispatches of an eighth of the work at most.
static void check_parts(const sxt_attention_desc *d) {
    const double queries = sxt_test_max_queries(d), seen = sxt_test_max_keys(d) - (d->causal ? queries / 2 : 0);
    const double pairs = queries * seen * sxt_test_sequences(d);
    const double flops = 2 * pairs * d->q.shape[2] * (d->q.shape[3] + d->v.shape[3]);
    set_budget(0);
    sxt_test_attention_check(&trial, d, 5e-6);
    const uint32_t whole = count(d);
    set_budget((uint64_t)(flops / 8));
    trial.what[0] = 0;
    sxt_test_attention_check(&trial, d, 5e-6);
    const uint32_t parts = count(d);
    cr_assert(sxt_test_is_reference(bench.devices[SXT_TEST_DEVICE]) || parts >= 8,
              "%u dispatches for eight times the budget (and %u without one): %s", parts, whole, trial.what);
    set_budget(0);
}

Test(attention_long, a_million_keys_are_cut_into_parts) {
    const shape s = {1, 1, 1000000, 1, 1, 16, SXT_TYPE_F16};
    begin(1);
    const sxt_attention_desc d = make(&s);
    fill_f16(&d.k);
    fill_f16(&d.v);
    check_parts(&d);
    sxt_test_trial_finish(&trial);
}

Test(attention_long, prefill_is_cut_into_parts) {
    static const shape shapes[] = {
        {1, 300, 900, 4, 2, 64, SXT_TYPE_F16}, // many rows
        {1, 40, 9000, 2, 1, 64, SXT_TYPE_F16}, // many keys
    };
    for (uint32_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0]; i++) {
        begin(i);
        sxt_attention_desc d = make(&shapes[i / 2]);
        d.causal = i % 2;
        fill_f16(&d.k);
        fill_f16(&d.v);
        check_parts(&d);
        sxt_test_trial_finish(&trial);
    }
}

// Batches of unequal sequences, most of them shorter than what the longest makes the plan expect.
Test(attention_long, ragged_sequences_are_cut_into_parts) {
    static const int32_t lengths[] = {3000, 1, 0, 700};
    for (uint32_t i = 0; i < 2; i++) {
        const shape s = {4, i ? 33 : 1, 3000, 4, 2, 64, SXT_TYPE_F16};
        begin(i);
        sxt_attention_desc d = make(&s);
        fill_f16(&d.k);
        fill_f16(&d.v);
        d.causal = true;
        d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, 4, lengths);
        sxt_test_poison_unseen(&trial, &d);
        check_parts(&d);
        sxt_test_trial_finish(&trial);
    }
}

// ── More than 65 535 of anything ──

Test(attention_long, dims_past_65535_are_right) {
    static const shape shapes[] = {
        {1, 1, 3, 70000, 70000, 4, SXT_TYPE_F16}, // heads
        {70000, 1, 2, 1, 1, 4, SXT_TYPE_F16},     // sequences
        {1, 1100000, 5, 1, 1, 4, SXT_TYPE_F16},   // tiles of queries
        {1, 1, 300, 70000, 1, 4, SXT_TYPE_F16},   // heads on one
    };
    for (uint32_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        begin(i);
        const sxt_attention_desc d = make(&shapes[i]);
        fill_f16(&d.k);
        fill_f16(&d.v);
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

Test(attention_long, ragged_sequences_past_65535_are_right) {
    enum { SEQUENCES = 70000 };
    const shape s = {1, SEQUENCES + 5, 3 * SEQUENCES, 1, 1, 4, SXT_TYPE_F16};
    begin(1);
    sxt_attention_desc d = make(&s);
    fill_f16(&d.k);
    fill_f16(&d.v);
    d.cu_seqlens_q = sxt_test_dense(&trial, "cu_seqlens_q", SXT_TYPE_I32, 1, 1, 1, SEQUENCES + 1);
    d.cu_seqlens_k = sxt_test_dense(&trial, "cu_seqlens_k", SXT_TYPE_I32, 1, 1, 1, SEQUENCES + 1);
    d.max_q_tokens = 2;
    d.max_k_tokens = 3;
    int32_t q = 0, k = 0;
    for (uint32_t n = 0; n <= SEQUENCES; n++) {
        sxt_test_set_int(&trial, &d.cu_seqlens_q, n, q);
        sxt_test_set_int(&trial, &d.cu_seqlens_k, n, k);
        q += 1 + (n % 20000 == 7); // one row each, but for a few
        k += (int32_t)sxt_test_below(&trial.rng, 4);
    }
    cr_assert_leq(q - 1, SEQUENCES + 5);
    sxt_test_attention_check(&trial, &d, 0);
    sxt_test_trial_finish(&trial);
}

// ── Pools past the range of a binding, and past 4 GiB ──

// A pool of `bytes` that holds the three pages of `small` at its beginning, beyond its middle and at its end.
static sxt_tensor make_pool(const sxt_tensor *small, uint64_t bytes, const int32_t pages[3]) {
    const uint64_t page_bytes = sxt_test_count(small) / 3 * sxt_type_size(small->type);
    sxt_tensor pool = *small;
    pool.shape[0] = (uint32_t)(bytes / page_bytes);
    pool.offset_bytes = 0;
    const sxt_buffer_desc desc = {.bytes = bytes, .name = "pool"};
    pool.buffer = NULL;
    if (sxt_buffer_create(bench.devices[SXT_TEST_DEVICE], &desc, &pool.buffer) != SXT_OK) return (sxt_tensor){0};
    for (uint32_t n = 0; n < 3; n++)
        cr_assert_eq(sxt_buffer_write(pool.buffer, (uint64_t)pages[n] * page_bytes,
                                      sxt_test_bytes(&trial, SXT_TEST_INITIAL, small, n * sxt_test_count(small) / 3),
                                      page_bytes),
                     SXT_OK, "%s", bench.log.text);
    return pool;
}

// Three pages of a large pool against the same three alone. Whether a device takes as much as 4 GiB is its own affair,
// and whether one without addresses takes more than a binding holds.
static void check_pool(uint64_t bytes, bool may_fail) {
    enum { ROWS = 16, LENGTH = 2 * ROWS + 5 };
    static const int32_t few[3] = {0, 1, 2}, length = LENGTH;
    const shape s = {1, 1, 1, 4, 2, 64, SXT_TYPE_F16};
    const uint32_t pages = (uint32_t)(bytes / (ROWS * 2 * 64 * 2));
    const int32_t far[3] = {0, (int32_t)(pages / 2 + 7), (int32_t)pages - 1};
    sxt_device *device = bench.devices[SXT_TEST_DEVICE];
    begin(1);
    sxt_attention_desc small = make(&s);
    small.k = sxt_test_dense(&trial, "pages of k", SXT_TYPE_F16, 3, ROWS, 2, 64);
    small.v = sxt_test_dense(&trial, "pages of v", SXT_TYPE_F16, 3, ROWS, 2, 64);
    fill_f16(&small.k);
    fill_f16(&small.v);
    small.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, 1, &length);
    small.block_table = sxt_test_ints(&trial, "block_table", 1, 3, few);
    sxt_attention_desc large = small;
    large.o = sxt_test_like(&trial, "other o", &small.o), large.lse = sxt_test_like(&trial, "other lse", &small.lse);
    large.block_table = sxt_test_ints(&trial, "far pages", 1, 3, far);
    large.k = make_pool(&small.k, bytes, far), large.v = make_pool(&small.v, bytes, far);
    if (large.k.buffer && large.v.buffer) {
        sxt_test_upload(&trial);
        cr_assert_eq(sxt_attention(bench.streams[0], &small), SXT_OK, "%s", bench.log.text);
        const sxt_result result = sxt_attention(bench.streams[0], &large);
        uint64_t ticket;
        cr_assert_eq(sxt_stream_submit(bench.streams[0], &ticket), SXT_OK);
        cr_assert_eq(sxt_device_wait(device, ticket, UINT64_MAX), SXT_OK);
        sxt_test_download(&trial);
        const bool addresses = sxt_device_get_info(device)->caps.buffer_address || sxt_test_is_reference(device);
        cr_assert(result == SXT_OK || (result == SXT_ERROR_UNSUPPORTED && !addresses), "%s", bench.log.text);
        sxt_test_attention_require(&trial, SXT_TEST_DEVICE, &small, 5e-6);
        if (result == SXT_OK) sxt_test_attention_require_same(&trial, &small, &large);
    } else {
        cr_assert(may_fail, "no pool of %llu bytes", (unsigned long long)bytes);
    }
    sxt_buffer_destroy(&large.k.buffer);
    sxt_buffer_destroy(&large.v.buffer);
    sxt_test_trial_finish(&trial);
}

Test(attention_long, pools_larger_than_a_binding_are_right) {
    check_pool(UINT64_C(200) << 20, false);
    check_pool(UINT64_C(4700) << 20, true);
}
