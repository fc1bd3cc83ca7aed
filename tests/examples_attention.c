// Two things that serving engines do with sxt_attention and sxt_attention_merge, step by step. Each ends in the same
// numbers as the plain way, which costs more.
//
//   shared prefix   many sequences begin with the same system prompt, whose keys are kept and read once for all
//                   ("cascade" attention: Juravsky et al. 2024, Ye et al. 2024)
//   tree of drafts  a draft model guesses several continuations at once, and one call checks them all (Miao et al. 2024)
#include <criterion/criterion.h>
#include <stdlib.h>

#include "support/attention_case.h"
#include "support/bound.h"

enum { HEADS = 8, KV_HEADS = 2, D = 64 };

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
    sxt_test_trial_init(&trial, &bench, 1);
    trial.device_only = true;
}

static void teardown(void) {
    sxt_test_trial_finish(&trial);
    sxt_test_bench_finish(&bench);
}

TestSuite(examples_attention, .init = setup, .fini = teardown);

// ── Helpers of this file ──

static sxt_tensor random_tensor(const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads) {
    const sxt_tensor t = sxt_test_dense(&trial, name, type, batch, tokens, heads, D);
    sxt_test_fill_normal(&trial, &t, 0, 1.2);
    return t;
}

static sxt_tensor output(const char *name, uint32_t batch, uint32_t tokens, uint32_t channels) {
    return sxt_test_dense(&trial, name, SXT_TYPE_F32, batch, tokens, HEADS, channels);
}

// Copies `count` rows of keys or values, all heads of each.
static void copy_rows(const sxt_tensor *to, uint32_t to_batch, uint32_t to_row, const sxt_tensor *from, uint32_t batch,
                      uint32_t row, uint32_t count) {
    for (uint32_t n = 0; n < count * KV_HEADS; n++)
        sxt_test_copy_row(&trial, to, sxt_test_at(to, to_batch, to_row + n / KV_HEADS, n % KV_HEADS, 0), from,
                          sxt_test_at(from, batch, row + n / KV_HEADS, n % KV_HEADS, 0));
}

// A dense tensor [a, b, …] seen as [b, a, …], where a or b is 1.
static sxt_tensor as_one_sequence(sxt_tensor t) {
    t.shape[1] *= t.shape[0];
    t.shape[0] = 1;
    return t;
}

static void submit_and_wait(sxt_stream *stream) {
    uint64_t ticket;
    cr_assert_eq(sxt_stream_submit(stream, &ticket), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_device_wait(bench.devices[SXT_TEST_DEVICE], ticket, UINT64_MAX), SXT_OK);
    sxt_test_download(&trial);
}

// Row `row` of o, all heads, against row `whole_row` of a plain call. Errors of two merged parts add up as those of the
// whole do; their lse shift the weights by no more than that again, and the merge's own are fewer: four times the bound.
static void expect_row(const sxt_tensor *o, uint32_t row, const sxt_attention_desc *whole, const double *bounds,
                       uint32_t whole_row) {
    for (uint32_t n = 0; n < HEADS * D; n++) {
        const uint64_t at = (uint64_t)row * HEADS * D + n, whole_at = (uint64_t)whole_row * HEADS * D + n;
        const double got = sxt_test_get(&trial, SXT_TEST_DEVICE, o, at);
        const double want = sxt_test_get(&trial, SXT_TEST_DEVICE, &whole->o, whole_at);
        cr_assert_float_eq(got, want, 2 * 4 * bounds[whole_at], "row %u, element %u: %.9g, not %.9g", row, n, got,
                           want);
    }
}

// ── A shared prefix ──

// One decoding step of four conversations that share a prompt of 700 tokens, and have said more or less since then.
Test(examples_attention, sequences_that_share_a_prefix_read_it_once) {
    enum { SEQUENCES = 4, PREFIX = 700, MOST = 90 };
    static const int32_t said[SEQUENCES] = {90, 1, 33, 64};
    sxt_stream *stream = bench.streams[SXT_TEST_DEVICE];

    // The cache: the prompt's keys and values once, and what each conversation has of its own.
    const sxt_tensor prefix_k = random_tensor("prefix k", SXT_TYPE_F16, 1, PREFIX, KV_HEADS);
    const sxt_tensor prefix_v = random_tensor("prefix v", SXT_TYPE_F16, 1, PREFIX, KV_HEADS);
    const sxt_tensor own_k = random_tensor("own k", SXT_TYPE_F16, SEQUENCES, MOST, KV_HEADS);
    const sxt_tensor own_v = random_tensor("own v", SXT_TYPE_F16, SEQUENCES, MOST, KV_HEADS);
    const sxt_tensor lengths = sxt_test_ints(&trial, "lengths", 1, SEQUENCES, said);

    // The newest token of each, whose key and value are in its cache already.
    const sxt_tensor q = random_tensor("q", SXT_TYPE_F32, SEQUENCES, 1, HEADS);

    // First, all queries on the prompt, as four queries of one sequence: its keys are read once for all of them. Every
    // token of the prompt comes before every query, so that there is nothing to mask.
    const sxt_tensor prefix_o = output("prefix o", SEQUENCES, 1, D), prefix_lse = output("prefix lse", SEQUENCES, 1, 1);
    const sxt_attention_desc on_prefix = {
        .q = as_one_sequence(q),
        .k = prefix_k,
        .v = prefix_v,
        .o = as_one_sequence(prefix_o),
        .lse = as_one_sequence(prefix_lse),
    };
    // Second, each query on its own conversation.
    const sxt_tensor own_o = output("own o", SEQUENCES, 1, D), own_lse = output("own lse", SEQUENCES, 1, 1);
    const sxt_attention_desc on_own = {
        .q = q, .k = own_k, .v = own_v, .kv_lengths = lengths, .o = own_o, .lse = own_lse, .causal = true};
    // Then join them, in place.
    const sxt_attention_merge_desc join = {
        .o_a = prefix_o, .lse_a = prefix_lse, .o_b = own_o, .lse_b = own_lse, .o = own_o, .lse = own_lse};

    // The plain way: every conversation with the prompt copied in front of it.
    sxt_attention_desc plain = {.q = q, .o = output("o", SEQUENCES, 1, D), .lse = output("lse", SEQUENCES, 1, 1)};
    plain.k = sxt_test_dense(&trial, "k", SXT_TYPE_F16, SEQUENCES, PREFIX + MOST, KV_HEADS, D);
    plain.v = sxt_test_dense(&trial, "v", SXT_TYPE_F16, SEQUENCES, PREFIX + MOST, KV_HEADS, D);
    int32_t all[SEQUENCES];
    for (uint32_t n = 0; n < SEQUENCES; n++) {
        copy_rows(&plain.k, n, 0, &prefix_k, 0, 0, PREFIX), copy_rows(&plain.k, n, PREFIX, &own_k, n, 0, MOST);
        copy_rows(&plain.v, n, 0, &prefix_v, 0, 0, PREFIX), copy_rows(&plain.v, n, PREFIX, &own_v, n, 0, MOST);
        all[n] = PREFIX + said[n];
    }
    plain.kv_lengths = sxt_test_ints(&trial, "all lengths", 1, SEQUENCES, all);

    sxt_test_upload(&trial);
    cr_assert_eq(sxt_attention(stream, &on_prefix), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_attention(stream, &on_own), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_attention_merge(stream, &join), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_attention(stream, &plain), SXT_OK, "%s", bench.log.text);
    submit_and_wait(stream);

    double *o, *lse;
    sxt_test_attention_bounds(&trial, &plain, &o, &lse);
    for (uint32_t n = 0; n < SEQUENCES; n++)
        expect_row(&join.o, n, &plain, o, n);
    free(o);
    free(lse);
}

// ── A tree of drafts ──

// Seven guesses after 300 tokens:   0 ─ 1 ─ 2          each branch is a possible text: 0 1 2, 0 1 3 4, 0 5 6
//                                   │   └─ 3 ─ 4
//                                   └─ 5 ─ 6
Test(examples_attention, a_tree_of_drafts_is_checked_in_one_call) {
    enum { DRAFTS = 7, COMMITTED = 300, BRANCHES = 3, LONGEST = 4 };
    static const int parents[DRAFTS] = {-1, 0, 1, 1, 3, 0, 5};
    static const int leaves[BRANCHES] = {2, 4, 6};
    sxt_stream *stream = bench.streams[SXT_TEST_DEVICE];

    const sxt_tensor past_k = random_tensor("past k", SXT_TYPE_F16, 1, COMMITTED, KV_HEADS);
    const sxt_tensor past_v = random_tensor("past v", SXT_TYPE_F16, 1, COMMITTED, KV_HEADS);
    const sxt_tensor tree_k = random_tensor("tree k", SXT_TYPE_F16, 1, DRAFTS, KV_HEADS);
    const sxt_tensor tree_v = random_tensor("tree v", SXT_TYPE_F16, 1, DRAFTS, KV_HEADS);
    const sxt_tensor q = random_tensor("q", SXT_TYPE_F32, 1, DRAFTS, HEADS);

    // Within the tree, a guess sees itself and those it follows from: a row of bits each, the parent's and its own.
    const sxt_tensor mask = sxt_test_dense(&trial, "mask", SXT_TYPE_I32, 1, 1, DRAFTS, 1);
    uint32_t sees[DRAFTS];
    for (uint32_t i = 0; i < DRAFTS; i++) {
        sees[i] = (parents[i] < 0 ? 0 : sees[parents[i]]) | 1u << i;
        sxt_test_set_bits(&trial, &mask, i, sees[i]);
    }

    // All guesses on the committed text, all guesses among themselves, and both joined: three calls, however many
    // branches there are.
    const sxt_tensor past_o = output("past o", 1, DRAFTS, D), past_lse = output("past lse", 1, DRAFTS, 1);
    const sxt_tensor tree_o = output("tree o", 1, DRAFTS, D), tree_lse = output("tree lse", 1, DRAFTS, 1);
    const sxt_attention_desc on_past = {.q = q, .k = past_k, .v = past_v, .o = past_o, .lse = past_lse};
    const sxt_attention_desc on_tree = {.q = q, .k = tree_k, .v = tree_v, .mask = mask, .o = tree_o, .lse = tree_lse};
    const sxt_attention_merge_desc join = {
        .o_a = past_o, .lse_a = past_lse, .o_b = tree_o, .lse_b = tree_lse, .o = tree_o, .lse = tree_lse};

    // The plain way: each branch as a text of its own, with the causal mask.
    sxt_attention_desc branches[BRANCHES];
    uint32_t paths[BRANCHES][LONGEST], lengths[BRANCHES];
    for (uint32_t b = 0; b < BRANCHES; b++) {
        lengths[b] = 0;
        for (uint32_t i = 0; i < DRAFTS; i++)
            if (sees[leaves[b]] >> i & 1) paths[b][lengths[b]++] = i;
        sxt_attention_desc *d = &branches[b];
        *d = (sxt_attention_desc){.causal = true};
        d->q = output("branch q", 1, lengths[b], D);
        d->o = output("branch o", 1, lengths[b], D), d->lse = output("branch lse", 1, lengths[b], 1);
        d->k = sxt_test_dense(&trial, "branch k", SXT_TYPE_F16, 1, COMMITTED + lengths[b], KV_HEADS, D);
        d->v = sxt_test_dense(&trial, "branch v", SXT_TYPE_F16, 1, COMMITTED + lengths[b], KV_HEADS, D);
        copy_rows(&d->k, 0, 0, &past_k, 0, 0, COMMITTED);
        copy_rows(&d->v, 0, 0, &past_v, 0, 0, COMMITTED);
        for (uint32_t i = 0; i < lengths[b]; i++) {
            copy_rows(&d->k, 0, COMMITTED + i, &tree_k, 0, paths[b][i], 1);
            copy_rows(&d->v, 0, COMMITTED + i, &tree_v, 0, paths[b][i], 1);
            for (uint32_t h = 0; h < HEADS; h++)
                sxt_test_copy_row(&trial, &d->q, sxt_test_at(&d->q, 0, i, h, 0), &q,
                                  sxt_test_at(&q, 0, paths[b][i], h, 0));
        }
    }

    sxt_test_upload(&trial);
    cr_assert_eq(sxt_attention(stream, &on_past), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_attention(stream, &on_tree), SXT_OK, "%s", bench.log.text);
    cr_assert_eq(sxt_attention_merge(stream, &join), SXT_OK, "%s", bench.log.text);
    for (uint32_t b = 0; b < BRANCHES; b++)
        cr_assert_eq(sxt_attention(stream, &branches[b]), SXT_OK, "%s", bench.log.text);
    submit_and_wait(stream);

    for (uint32_t b = 0; b < BRANCHES; b++) {
        double *o, *lse;
        sxt_test_attention_bounds(&trial, &branches[b], &o, &lse);
        for (uint32_t i = 0; i < lengths[b]; i++)
            expect_row(&join.o, paths[b][i], &branches[b], o, i);
        free(o);
        free(lse);
    }
}
