// What the reference finds wrong in lengths, offsets, pages and logits it tells by sxt_device_faults; what is right it
// does not.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support/dense.h"

static sxt_dense bench;

static void setup(void) {
    sxt_dense_init(&bench, 1);
}

static void teardown(void) {
    sxt_dense_finish(&bench);
}

TestSuite(reference_faults, .init = setup, .fini = teardown);

static sxt_tensor ints(uint32_t rows, uint32_t count, const int32_t *values) {
    sxt_tensor tensor = sxt_dense_make(&bench, SXT_TYPE_I32, 1, 1, rows, count);
    memcpy(sxt_buffer_map(tensor.buffer), values, sizeof *values * rows * count);
    return tensor;
}

static sxt_tensor floats(uint32_t batch, uint32_t token, uint32_t channel) {
    return sxt_dense_make(&bench, SXT_TYPE_F32, batch, token, 1, channel);
}

static void expect_faults(const sxt_attention_desc *desc, uint32_t expected, const char *what) {
    uint32_t faults = 77;
    cr_assert_eq(sxt_attention(bench.stream, desc), SXT_OK);
    cr_assert_eq(sxt_device_faults(bench.device, false, &faults), SXT_OK);
    cr_expect_eq(faults, expected, "%s: %u", what, faults);
    cr_assert_eq(sxt_device_faults(bench.device, true, &faults), SXT_OK);
    cr_expect_eq(faults, expected, "%s: %u while clearing", what, faults);
    cr_assert_eq(sxt_device_faults(bench.device, false, &faults), SXT_OK);
    cr_expect_eq(faults, 0, "%s: %u after clearing", what, faults);
}

Test(reference_faults, lengths) {
    static const struct {
        int32_t lengths[2];
        uint32_t faults;
    } rows[] = {{{0, 5}, 0}, {{5, 3}, 0}, {{6, 5}, 1}, {{5, -1}, 1}, {{INT32_MIN, INT32_MAX}, 1}};
    sxt_attention_desc desc = {.q = floats(2, 3, 8), .k = floats(2, 5, 8), .v = floats(2, 5, 8), .o = floats(2, 3, 8)};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc.kv_lengths = ints(1, 2, rows[i].lengths);
        expect_faults(&desc, rows[i].faults, "lengths");
    }
}

Test(reference_faults, offsets) {
    static const struct {
        int32_t q[3], k[3];
        uint32_t faults;
    } rows[] = {
        {{0, 3, 6}, {0, 4, 9}, 0}, {{1, 1, 4}, {9, 9, 9}, 0}, // empty sequences, and tokens of none
        {{0, 4, 6}, {0, 4, 9}, 0}, {{0, 5, 6}, {0, 4, 9}, 1}, // longer than max_q_tokens
        {{0, 3, 6}, {0, 2, 9}, 1},                            // and than max_k_tokens
        {{0, 3, 7}, {0, 4, 9}, 1}, {{-1, 3, 6}, {0, 4, 9}, 1}, {{0, 3, 6}, {0, 4, 3}, 1},
    };
    sxt_attention_desc desc = {.q = floats(1, 6, 8),
                               .k = floats(1, 9, 8),
                               .v = floats(1, 9, 8),
                               .o = floats(1, 6, 8),
                               .max_q_tokens = 4,
                               .max_k_tokens = 6};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc.cu_seqlens_q = ints(1, 3, rows[i].q);
        desc.cu_seqlens_k = ints(1, 3, rows[i].k);
        expect_faults(&desc, rows[i].faults, "offsets");
        bench.count -= 2; // their room is used again
        sxt_buffer_destroy(&bench.buffers[bench.count]);
        sxt_buffer_destroy(&bench.buffers[bench.count + 1]);
    }
}

// Five pages of two rows; a sequence has four of them.
Test(reference_faults, pages) {
    static const struct {
        int32_t pages[4], length;
        bool causal;
        uint32_t faults;
    } rows[] = {
        {{0, 4, 2, 1}, 8, false, 0},         {{0, -1, 2, -1}, 8, false, 0}, // none there
        {{0, 4, 2, 5}, 6, false, 0},                                        // past the length
        {{0, 4, 2, 5}, 7, false, 1},         {{0, -2, 2, 1}, 8, false, 1},
        {{INT32_MIN, 4, 2, 1}, 2, false, 1}, {{0, 4, 2, INT32_MAX}, 8, true, 1}, // the last query sees it
    };
    sxt_attention_desc desc = {.q = floats(1, 3, 8), .k = floats(5, 2, 8), .v = floats(5, 2, 8), .o = floats(1, 3, 8)};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc.block_table = ints(1, 4, rows[i].pages);
        desc.kv_lengths = ints(1, 1, &rows[i].length);
        desc.causal = rows[i].causal;
        expect_faults(&desc, rows[i].faults, "pages");
    }
}

// Two keys, whose logits are 6 and −9: the weights are those of the clamped ones.
Test(reference_faults, logits_above_the_promised_bound_are_clamped) {
    sxt_attention_desc desc = {.q = floats(1, 1, 4),
                               .k = floats(1, 2, 4),
                               .v = floats(1, 2, 4),
                               .o = floats(1, 1, 4),
                               .lse = floats(1, 1, 1),
                               .scale = 3};
    sxt_dense_fill(&desc.q, 0);
    sxt_dense_set(&desc.q, 0, 1);
    sxt_dense_set(&desc.k, 0, 2);
    sxt_dense_set(&desc.k, 4, -3);
    static const struct {
        float bound;
        uint32_t faults;
        double lse;
    } rows[] = {{0, 0, 6.000000305902227},
                {9, 0, 6.000000305902227},
                {8, SXT_FAULT_LOGIT, 6.000000831528372},
                {0.5f, SXT_FAULT_LOGIT, 0.8132616875182228}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc.logit_bound = rows[i].bound;
        expect_faults(&desc, rows[i].faults, "logits");
        const double lse = sxt_dense_get(&desc.lse, 0);
        cr_expect(fabs(lse - rows[i].lse) < 1e-6, "bound %g: lse is %.9g", (double)rows[i].bound, lse);
    }
}

Test(reference_faults, masked_logits_and_other_devices_do_not_count) {
    static const int32_t keep = 2;
    sxt_attention_desc desc = {.q = floats(1, 1, 4),
                               .k = floats(1, 2, 4),
                               .v = floats(1, 2, 4),
                               .o = floats(1, 1, 4),
                               .mask = ints(1, 1, &keep),
                               .logit_bound = 1};
    sxt_dense_fill(&desc.q, 1);
    sxt_dense_fill(&desc.k, 0);
    for (uint32_t c = 0; c < 4; c++)
        sxt_dense_set(&desc.k, c, NAN);
    expect_faults(&desc, 0, "a NaN behind the mask");
    sxt_dense_set(&desc.k, 4, 100);
    sxt_device *other = sxt_test_open_reference(&bench.log);
    uint32_t faults = 77;
    cr_assert_eq(sxt_attention(bench.stream, &desc), SXT_OK);
    cr_assert_eq(sxt_device_faults(other, false, &faults), SXT_OK);
    cr_expect_eq(faults, 0);
    cr_assert_eq(sxt_device_faults(bench.device, false, &faults), SXT_OK);
    cr_expect_eq(faults, SXT_FAULT_LOGIT);
    sxt_device_close(&other);
}
