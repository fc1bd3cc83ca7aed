// Lengths, offsets and pages lie in device memory and may be anything: sxt_attention stays inside its tensors, gives what
// its comment says it does, and reports SXT_FAULT_INDEX when, and only when, something was outside.
#include <criterion/criterion.h>
#include <math.h>

#include "support/attention_case.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention_hostile, .init = setup, .fini = teardown);

// Every list of a form has entries of all kinds; rows that no query should see by the clamped lists are NaN.
Test(attention_hostile, any_numbers_in_device_memory_are_safe) {
    enum { GROUP = 40 };
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(10 * GROUP);
    for (uint64_t seed = first; seed < first + cases; seed++) {
        sxt_test_trial_init(&trial, &bench, seed);
        const uint64_t group = seed / GROUP;
        const sxt_test_form form = {
            .kind = (sxt_test_kind)(SXT_TEST_LENGTHS + group % (SXT_TEST_KINDS - 1)),
            .k = group % 2 ? SXT_TYPE_Q8_0 : SXT_TYPE_F16,
            .v = group % 2 ? SXT_TYPE_Q8_0 : SXT_TYPE_F16,
            .dim = 64,
            .v_dim = 64,
            .split_keys = group % 3 == 2 ? 256 : 0,
            .mask = group % 4 == 3,
            .layout = SXT_TEST_DENSE,
            .hostile = true,
        };
        const sxt_attention_desc d = sxt_test_attention_case(&trial, &form, (sxt_test_lengths){0});
        sxt_test_attention_check(&trial, &d, 0);
        sxt_test_trial_finish(&trial);
    }
}

enum { HEADS = 4, KV_HEADS = 2, D = 64, SEQUENCES = 3 };

static sxt_attention_desc make(uint32_t batch, uint32_t queries, uint32_t k_batch, uint32_t keys) {
    sxt_attention_desc d = {
        .q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, batch, queries, HEADS, D),
        .k = sxt_test_dense(&trial, "k", SXT_TYPE_F16, k_batch, keys, KV_HEADS, D),
        .v = sxt_test_dense(&trial, "v", SXT_TYPE_F16, k_batch, keys, KV_HEADS, D),
        .o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, batch, queries, HEADS, D),
        .lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, batch, queries, HEADS, 1),
    };
    sxt_test_fill_normal(&trial, &d.q, 0, 1);
    sxt_test_fill_normal(&trial, &d.k, 0, 1);
    sxt_test_fill_normal(&trial, &d.v, 0, 1);
    return d;
}

static void begin(uint64_t seed) {
    sxt_test_trial_init(&trial, &bench, seed);
    trial.layout = SXT_TEST_DENSE;
}

// ── Pools: what a neighbour has is not what a sequence gets ──

enum { ROWS = 16, EACH = 4 };

// Two queries a sequence, three sequences of four pages.
static sxt_attention_desc make_paged(const int32_t lengths[SEQUENCES], const int32_t table[SEQUENCES * EACH]) {
    sxt_attention_desc d = make(SEQUENCES, 2, SEQUENCES * EACH, ROWS);
    d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, SEQUENCES, lengths);
    d.block_table = sxt_test_ints(&trial, "block_table", SEQUENCES, EACH, table);
    return d;
}

// A table with one entry replaced, and whether that is a fault.
Test(attention_hostile, a_page_that_is_not_there_is_seen_by_nobody) {
    static const struct {
        int32_t page;
        bool fault;
    } rows[] = {
        {0, false},        {SEQUENCES * EACH - 1, false},
        {-1, false},       {SEQUENCES * EACH, true},
        {INT32_MAX, true}, {INT32_MIN, true},
        {-2, true},        {1 << 28, true},
    };
    static const int32_t lengths[SEQUENCES] = {4 * ROWS, 2 * ROWS + 3, ROWS};
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t table[SEQUENCES * EACH] = {3, 9, 0, 11, 5, 2, 7, -1, 8, -1, -1, -1};
        begin(i);
        table[5] = rows[i].page; // keys 16 … 31 of the second sequence
        const sxt_attention_desc d = make_paged(lengths, table);
        sxt_test_poison_unseen(&trial, &d);
        cr_assert_eq(sxt_test_index_fault(&trial, &d), rows[i].fault ? SXT_TEST_YES : SXT_TEST_NO);
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

// A sequence none of whose pages is there.
Test(attention_hostile, a_sequence_without_pages_gives_zero) {
    static const int32_t lengths[SEQUENCES] = {4 * ROWS, 2 * ROWS + 3, ROWS};
    static const int32_t table[SEQUENCES * EACH] = {3, 9, 0, 11, -1, -1, -1, -1, 8, -1, -1, -1};
    begin(1);
    const sxt_attention_desc d = make_paged(lengths, table);
    sxt_test_attention_check(&trial, &d, 5e-6);
    for (uint32_t n = 2 * HEADS; n < 4 * HEADS; n++)
        cr_assert_eq(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.lse, n), -INFINITY);
    sxt_test_trial_finish(&trial);
}

// What a table and its length leave out is not read: entries there may be anything, and are no fault if the length is
// none.
Test(attention_hostile, entries_past_the_length_do_not_count) {
    static const int32_t lengths[SEQUENCES] = {ROWS + 1, 0, ROWS};
    static const int32_t first[SEQUENCES * EACH] = {3, 9, 6, 10, 2, 1, 6, 10, 8, 6, 10, 10};
    static const int32_t other[SEQUENCES * EACH] = {3, 9, -1, -1, -1, -1, -1, -1, 8, -1, -1, -1};
    begin(1);
    const sxt_attention_desc d = make_paged(lengths, first);
    sxt_attention_desc e = d;
    e.o = sxt_test_like(&trial, "other o", &d.o), e.lse = sxt_test_like(&trial, "other lse", &d.lse);
    e.block_table = sxt_test_ints(&trial, "other table", SEQUENCES, EACH, other);
    sxt_test_poison_unseen(&trial, &d);
    cr_assert_eq(sxt_test_run(&trial, (sxt_test_step[]){{SXT_OP_ATTENTION, &d}, {SXT_OP_ATTENTION, &e}}, 2), SXT_OK);
    sxt_test_attention_require(&trial, SXT_TEST_DEVICE, &d, 5e-6);
    sxt_test_attention_require_same(&trial, &d, &e);
    cr_assert_eq(trial.faults[SXT_TEST_DEVICE], 0);
    sxt_test_trial_finish(&trial);
}

// ── Lengths and offsets ──

Test(attention_hostile, lengths_are_clamped) {
    enum { KEYS = 300 }; // enough for devices that cut keys into splits
    static const struct {
        int32_t lengths[SEQUENCES];
        bool fault;
    } rows[] = {
        {{0, KEYS, 1}, false},
        {{-1, 17, 200}, true},
        {{5, KEYS + 1, 6}, true},
        {{INT32_MAX, INT32_MIN, 33}, true},
        {{0, 0, 0}, false},
        {{KEYS, KEYS, 0x7fffff00}, true},
        {{INT32_MIN, -7, -KEYS}, true},
    };
    for (uint32_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        begin(i);
        sxt_attention_desc d = make(SEQUENCES, i % 2 ? 1 : 9, SEQUENCES, KEYS);
        d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, SEQUENCES, rows[i / 2].lengths);
        d.causal = true;
        sxt_test_poison_unseen(&trial, &d);
        cr_assert_eq(sxt_test_index_fault(&trial, &d), rows[i / 2].fault ? SXT_TEST_YES : SXT_TEST_NO);
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

// Offsets that fall give empty sequences, and rows that two sequences claim have the result of either.
Test(attention_hostile, offsets_are_clamped) {
    enum { TOKENS = 40, MOST = 30 };
    static const int32_t rows[][SEQUENCES + 1] = {
        {0, 10, 40, 40},                // as they should be
        {INT32_MIN, 10, 20, INT32_MAX}, // from what there is, to what there is
        {40, 13, 13, 13},               // falling
        {-5, -4, -3, 25},               // before the first token
        {100, 200, 300, 400},           // after the last
        {0, 40, 40, 40},                // more than the most: the first 30
        {0, 20, 5, 30},                 // tokens 5 to 19 are of two
        {INT32_MAX, INT32_MIN, INT32_MAX, 0},
    };
    for (uint32_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        begin(i);
        sxt_attention_desc d = make(1, TOKENS, 1, TOKENS);
        d.cu_seqlens_q = sxt_test_ints(&trial, "cu_seqlens_q", 1, SEQUENCES + 1, rows[i / 2]);
        d.cu_seqlens_k = sxt_test_ints(&trial, "cu_seqlens_k", 1, SEQUENCES + 1, rows[i % 2 ? 0 : i / 2]);
        d.max_q_tokens = d.max_k_tokens = MOST;
        d.causal = i % 4 < 2;
        sxt_test_poison_unseen(&trial, &d);
        sxt_test_attention_check(&trial, &d, 0);
        sxt_test_trial_finish(&trial);
    }
}

// ── The fault word ──

static uint32_t faults(bool clear) {
    uint32_t bits = 77;
    cr_assert_eq(sxt_device_faults(bench.devices[SXT_TEST_DEVICE], clear, &bits), SXT_OK, "%s", bench.log.text);
    return bits;
}

static void run(const sxt_attention_desc *d) {
    cr_assert_eq(sxt_test_run(&trial, &(sxt_test_step){SXT_OP_ATTENTION, d}, 1), SXT_OK);
}

Test(attention_hostile, a_fault_stays_until_it_is_cleared) {
    static const int32_t right[SEQUENCES] = {3, 2, 1}, wrong[SEQUENCES] = {3, -2, 1};
    begin(1);
    sxt_attention_desc d = make(SEQUENCES, 1, SEQUENCES, 8), bad = d;
    d.kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, SEQUENCES, right);
    bad.kv_lengths = sxt_test_ints(&trial, "wrong kv_lengths", 1, SEQUENCES, wrong);
    run(&d);
    cr_assert_eq(faults(false), 0);
    const sxt_test_step both[] = {{SXT_OP_ATTENTION, &bad}, {SXT_OP_ATTENTION, &d}};
    cr_assert_eq(sxt_test_run(&trial, both, 2), SXT_OK);
    cr_assert_eq(faults(false), SXT_FAULT_INDEX);
    cr_assert_eq(faults(false), SXT_FAULT_INDEX, "looking changes nothing");
    cr_assert_eq(faults(true), SXT_FAULT_INDEX);
    cr_assert_eq(faults(true), 0);
    run(&bad);
    cr_assert_eq(sxt_device_faults(bench.devices[SXT_TEST_DEVICE], true, NULL), SXT_OK);
    cr_assert_eq(faults(false), 0);
    sxt_test_trial_finish(&trial);
}
