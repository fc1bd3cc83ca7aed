// Forms of the reference's attention are the plain one said otherwise: sequences one by one, pages in a row, masks as a
// bias, scales multiplied in, halves of a context merged. And whatever lies in device memory, it stays inside.
#include "core/number.h"
#include "support/dense.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { HEADS = 4, KV_HEADS = 2, D = 8, V = 12, SEQUENCES = 4 };

static void ok(sxt_dense *b, const sxt_attention_desc *desc) {
    cr_assert_eq(sxt_attention(b->stream, desc), SXT_OK, "%s", b->log.text);
}

static sxt_attention_desc make(sxt_dense *b, uint32_t batch, uint32_t queries, uint32_t keys) {
    return (sxt_attention_desc){
        .q = sxt_dense_make(b, SXT_TYPE_F32, batch, queries, HEADS, D),
        .k = sxt_dense_make(b, SXT_TYPE_F32, batch, keys, KV_HEADS, D),
        .v = sxt_dense_make(b, SXT_TYPE_F32, batch, keys, KV_HEADS, V),
        .o = sxt_dense_make(b, SXT_TYPE_F32, batch, queries, HEADS, V),
        .lse = sxt_dense_make(b, SXT_TYPE_F32, batch, queries, HEADS, 1),
    };
}

static sxt_tensor ints(sxt_dense *b, uint32_t head, uint32_t channel, const int32_t *values) {
    sxt_tensor tensor = sxt_dense_make(b, SXT_TYPE_I32, 1, 1, head, channel);
    memcpy(sxt_buffer_map(tensor.buffer), values, sxt_dense_bytes(&tensor));
    return tensor;
}

static sxt_tensor random_bits(sxt_dense *b, uint32_t batch, uint32_t queries, uint32_t keys) {
    sxt_tensor mask = sxt_dense_make(b, SXT_TYPE_I32, batch, HEADS, queries, (keys + 31) / 32);
    uint8_t *bytes = sxt_buffer_map(mask.buffer);
    for (uint64_t i = 0; i < sxt_dense_bytes(&mask); i++)
        bytes[i] = (uint8_t)(sxt_test_bits(&b->rng) | sxt_test_bits(&b->rng));
    return mask;
}

// Elements first … first + count − 1 of a dim of a dense tensor.
static sxt_tensor part(const sxt_tensor *of, int dim, uint64_t first, uint32_t count) {
    sxt_tensor view = *of;
    uint64_t stride = 1;
    for (int i = 3; i >= 0; i--) {
        if (of->strides[3] == 0) view.strides[i] = stride;
        stride *= of->shape[i];
    }
    view.shape[dim] = count;
    view.offset_bytes += first * view.strides[dim] * sxt_type_size(of->type);
    return view;
}

// The same description with results elsewhere.
static sxt_attention_desc again(sxt_dense *b, const sxt_attention_desc *desc) {
    sxt_attention_desc other = *desc;
    other.o = sxt_dense_copy(b, &desc->o), other.lse = sxt_dense_copy(b, &desc->lse);
    sxt_dense_fill(&other.o, -7), sxt_dense_fill(&other.lse, -7);
    return other;
}

static bool same(const sxt_tensor *a, const sxt_tensor *b) {
    return memcmp(sxt_buffer_map(a->buffer), sxt_buffer_map(b->buffer), sxt_dense_bytes(a)) == 0;
}

static void expect_same(const sxt_attention_desc *a, const sxt_attention_desc *b) {
    cr_expect(same(&a->o, &b->o), "o differs");
    cr_expect(same(&a->lse, &b->lse), "lse differs");
}

// ── Sequences ──

static void add_options(sxt_dense *b, sxt_attention_desc *d, uint32_t queries, uint32_t keys) {
    d->causal = sxt_test_chance(&b->rng, 60);
    d->windowed = sxt_test_chance(&b->rng, 50);
    d->window_left = 2, d->window_right = 1;
    d->bias = sxt_dense_make(b, SXT_TYPE_F32, SEQUENCES, HEADS, queries, keys);
    d->mask = random_bits(b, SEQUENCES, queries, keys);
    d->alibi_slopes = sxt_dense_make(b, SXT_TYPE_F32, 1, 1, 1, HEADS);
    if (sxt_test_chance(&b->rng, 50)) d->sinks = sxt_dense_make(b, SXT_TYPE_F32, 1, 1, 1, HEADS);
}

// Sequence n by itself, of those bias and mask.
static sxt_attention_desc alone(const sxt_attention_desc *all, uint32_t n, uint32_t queries, uint32_t keys) {
    sxt_attention_desc one = *all;
    one.cu_seqlens_q = one.cu_seqlens_k = one.kv_lengths = one.block_table = (sxt_tensor){0};
    one.max_q_tokens = one.max_k_tokens = 0;
    const sxt_tensor bias = part(&all->bias, 0, n, 1), mask = part(&all->mask, 0, n, 1);
    const sxt_tensor bias_rows = part(&bias, 2, 0, queries), mask_rows = part(&mask, 2, 0, queries);
    one.bias = part(&bias_rows, 3, 0, keys);
    one.mask = part(&mask_rows, 3, 0, (keys + 31) / 32);
    return one;
}

Test(reference_attention_forms, ragged_sequences_are_separate_calls) {
    static const int32_t q_starts[] = {0, 3, 3, 8, 9}, k_starts[] = {0, 40, 42, 42, 49};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc all = make(&b, 1, 9, 49), single = again(&b, &all);
        add_options(&b, &all, 5, 40);
        all.cu_seqlens_q = ints(&b, 1, SEQUENCES + 1, q_starts);
        all.cu_seqlens_k = ints(&b, 1, SEQUENCES + 1, k_starts);
        all.max_q_tokens = 5, all.max_k_tokens = 40;
        ok(&b, &all);
        for (uint32_t n = 0; n < SEQUENCES; n++) {
            const uint32_t q = (uint32_t)q_starts[n], k = (uint32_t)k_starts[n];
            const uint32_t queries = (uint32_t)q_starts[n + 1] - q, keys = (uint32_t)k_starts[n + 1] - k;
            sxt_attention_desc one = alone(&all, n, queries, keys);
            one.q = part(&all.q, 1, q, queries), one.o = part(&single.o, 1, q, queries);
            one.lse = part(&single.lse, 1, q, queries);
            one.k = part(&all.k, 1, k, keys), one.v = part(&all.v, 1, k, keys);
            ok(&b, &one);
        }
        expect_same(&all, &single);
        sxt_dense_finish(&b);
    }
}

Test(reference_attention_forms, lengths_are_shorter_tensors) {
    static const int32_t lengths[SEQUENCES] = {40, 0, 1, 33};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc all = make(&b, SEQUENCES, 3, 40), single = again(&b, &all);
        add_options(&b, &all, 3, 40);
        all.kv_lengths = ints(&b, 1, SEQUENCES, lengths);
        ok(&b, &all);
        for (uint32_t n = 0; n < SEQUENCES; n++) {
            sxt_attention_desc one = alone(&all, n, 3, (uint32_t)lengths[n]);
            const sxt_tensor k = part(&all.k, 0, n, 1), v = part(&all.v, 0, n, 1);
            one.k = part(&k, 1, 0, (uint32_t)lengths[n]), one.v = part(&v, 1, 0, (uint32_t)lengths[n]);
            one.q = part(&all.q, 0, n, 1), one.o = part(&single.o, 0, n, 1), one.lse = part(&single.lse, 0, n, 1);
            ok(&b, &one);
        }
        expect_same(&all, &single);
        sxt_dense_finish(&b);
    }
}

// ── Pages ──

enum { ROWS = 5, PAGES = 8, KEYS = ROWS * PAGES };

// Dense rows of all sequences on pages in any order.
static sxt_tensor paged(sxt_dense *b, const sxt_tensor *from, const int32_t *table) {
    sxt_tensor pages = sxt_dense_make(b, from->type, SEQUENCES * PAGES, ROWS, KV_HEADS, from->shape[3]);
    const size_t bytes = sxt_dense_bytes(from) / (SEQUENCES * PAGES);
    for (uint32_t n = 0; n < SEQUENCES * PAGES; n++)
        memcpy((char *)sxt_buffer_map(pages.buffer) + (size_t)table[n] * bytes,
               (char *)sxt_buffer_map(from->buffer) + n * bytes, bytes);
    return pages;
}

static void shuffled(sxt_dense *b, int32_t *out_table) {
    for (int32_t n = 0; n < SEQUENCES * PAGES; n++) {
        const uint32_t other = sxt_test_below(&b->rng, (uint32_t)n + 1);
        out_table[n] = out_table[other];
        out_table[other] = n;
    }
}

Test(reference_attention_forms, pages_are_rows_one_after_the_other) {
    static const int32_t lengths[SEQUENCES] = {KEYS, 0, 6, KEYS - 1};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc rows = make(&b, SEQUENCES, 3, KEYS);
        add_options(&b, &rows, 3, KEYS);
        rows.kv_lengths = ints(&b, 1, SEQUENCES, lengths);
        sxt_attention_desc pages = again(&b, &rows);
        int32_t table[SEQUENCES * PAGES];
        shuffled(&b, table);
        pages.block_table = ints(&b, SEQUENCES, PAGES, table);
        pages.k = paged(&b, &rows.k, table), pages.v = paged(&b, &rows.v, table);
        ok(&b, &rows), ok(&b, &pages);
        expect_same(&rows, &pages);
        // Queries of all sequences in one row, against the same pages.
        static const int32_t starts[] = {0, 3, 6, 9, 12};
        sxt_attention_desc ragged = again(&b, &pages);
        ragged.cu_seqlens_q = ints(&b, 1, SEQUENCES + 1, starts);
        ragged.max_q_tokens = 3;
        ragged.q.shape[0] = ragged.o.shape[0] = ragged.lse.shape[0] = 1;
        ragged.q.shape[1] = ragged.o.shape[1] = ragged.lse.shape[1] = 12;
        ok(&b, &ragged);
        expect_same(&rows, &ragged);
        sxt_dense_finish(&b);
    }
}

// ── Masks, types ──

Test(reference_attention_forms, a_mask_is_a_bias_of_minus_infinity) {
    enum { QUERIES = 5, MASKED = 70 };
    for (uint64_t seed = 1; seed <= 10; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc bits = make(&b, 2, QUERIES, MASKED), bias = again(&b, &bits);
        const uint32_t batch = sxt_test_between(&b.rng, 1, 2);
        bits.mask = random_bits(&b, batch, QUERIES, MASKED);
        bias.bias = sxt_dense_make(&b, SXT_TYPE_F16, batch, HEADS, QUERIES, MASKED);
        const uint8_t *bytes = sxt_buffer_map(bits.mask.buffer);
        for (uint64_t n = 0; n < sxt_dense_count(&bias.bias); n++) {
            const uint64_t j = n % MASKED, word = n / MASKED * ((MASKED + 31) / 32) + j / 32;
            uint32_t value;
            memcpy(&value, bytes + 4 * word, sizeof value);
            sxt_dense_set(&bias.bias, n, value >> j % 32 & 1 ? 0 : (double)-INFINITY);
        }
        ok(&b, &bits), ok(&b, &bias);
        expect_same(&bits, &bias);
        sxt_dense_finish(&b);
    }
}

// Keys and values of any type are their decoded numbers, times the scale of the head.
Test(reference_attention_forms, types_and_scales_are_decoded_numbers) {
    static const sxt_type types[] = {SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3, SXT_TYPE_Q8_0};
    enum { WIDE = 576, ALL = 6 * KV_HEADS * WIDE };
    static double values[ALL];
    for (uint32_t i = 0; i < 3; i++) {
        sxt_dense b;
        sxt_dense_init(&b, i);
        const bool scaled = types[i] == SXT_TYPE_FP8_E4M3;
        sxt_attention_desc codes = {.q = sxt_dense_make(&b, SXT_TYPE_F32, 1, 2, HEADS, WIDE),
                                    .k = sxt_dense_make(&b, types[i], 1, 6, KV_HEADS, WIDE),
                                    .v = sxt_dense_make(&b, types[i], 1, 6, KV_HEADS, WIDE),
                                    .o = sxt_dense_make(&b, SXT_TYPE_F32, 1, 2, HEADS, WIDE),
                                    .lse = sxt_dense_make(&b, SXT_TYPE_F32, 1, 2, HEADS, 1)};
        sxt_attention_desc plain = again(&b, &codes);
        if (scaled) codes.k_scale = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, KV_HEADS, 1);
        if (scaled) codes.v_scale = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 1);
        if (scaled) sxt_dense_set(&codes.k_scale, 0, 0.25), sxt_dense_set(&codes.k_scale, 1, 3);
        if (scaled) sxt_dense_set(&codes.v_scale, 0, 1.5);
        for (int side = 0; side < 2; side++) {
            const sxt_tensor *from = side ? &codes.v : &codes.k;
            sxt_tensor *to = side ? &plain.v : &plain.k;
            *to = sxt_dense_make(&b, SXT_TYPE_F32, 1, 6, KV_HEADS, WIDE);
            sxt_decode(types[i], sxt_buffer_map(from->buffer), ALL, values);
            for (uint32_t n = 0; n < ALL; n++)
                sxt_dense_set(to, n, values[n] * (!scaled ? 1 : side ? 1.5 : n / WIDE % 2 ? 3 : 0.25));
        }
        ok(&b, &codes), ok(&b, &plain);
        expect_same(&codes, &plain);
        sxt_dense_finish(&b);
    }
}

// ── Merge ──

Test(reference_attention_forms, halves_merge_into_the_whole) {
    enum { FIRST = 11, LAST = 8, QUERIES = 5 };
    for (uint64_t seed = 1; seed <= 10; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc whole = make(&b, 1, QUERIES, FIRST + LAST), a = again(&b, &whole), c = again(&b, &whole);
        whole.causal = c.causal = true;
        if (seed % 2) whole.sinks = a.sinks = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, HEADS);
        a.k = part(&whole.k, 1, 0, FIRST), a.v = part(&whole.v, 1, 0, FIRST);
        c.k = part(&whole.k, 1, FIRST, LAST), c.v = part(&whole.v, 1, FIRST, LAST);
        ok(&b, &whole), ok(&b, &a), ok(&b, &c);
        const sxt_attention_merge_desc merge = {
            .o_a = a.o, .lse_a = a.lse, .o_b = c.o, .lse_b = c.lse, .o = a.o, .lse = c.lse};
        cr_assert_eq(sxt_attention_merge(b.stream, &merge), SXT_OK, "%s", b.log.text);
        for (uint64_t n = 0; n < sxt_dense_count(&whole.o); n++)
            cr_assert_float_eq(sxt_dense_get(&a.o, n), sxt_dense_get(&whole.o, n), 1e-6);
        for (uint64_t n = 0; n < sxt_dense_count(&whole.lse); n++)
            cr_assert_float_eq(sxt_dense_get(&c.lse, n), sxt_dense_get(&whole.lse, n), 1e-6);
        sxt_dense_finish(&b);
    }
}

Test(reference_attention_forms, merging_nothing_changes_nothing) {
    sxt_dense b;
    sxt_dense_init(&b, 3);
    sxt_attention_desc some = make(&b, 1, 6, 9), none = again(&b, &some);
    none.k.shape[1] = none.v.shape[1] = 0;
    ok(&b, &some), ok(&b, &none);
    sxt_attention_desc out = again(&b, &some);
    sxt_attention_merge_desc merge = {.o_a = some.o, .lse_a = some.lse, .o_b = none.o, .lse_b = none.lse, .o = out.o};
    merge.lse = out.lse;
    cr_assert_eq(sxt_attention_merge(b.stream, &merge), SXT_OK);
    expect_same(&some, &out);
    merge.o_a = none.o, merge.lse_a = none.lse, merge.o_b = some.o, merge.lse_b = some.lse;
    cr_assert_eq(sxt_attention_merge(b.stream, &merge), SXT_OK);
    expect_same(&some, &out);
    merge.o_b = none.o, merge.lse_b = none.lse;
    cr_assert_eq(sxt_attention_merge(b.stream, &merge), SXT_OK);
    expect_same(&none, &out);
    sxt_dense_finish(&b);
}

// ── Anything in device memory ──

// Each list is as good as the one beside it.
Test(reference_attention_forms, hostile_lengths_and_offsets_are_clamped) {
    static const int32_t lengths[][2][SEQUENCES] = {
        {{-1, INT32_MIN, 41, INT32_MAX}, {0, 0, 40, 40}},
        {{0, 7, 0x7fffff00, -40}, {0, 7, 40, 0}},
    };
    static const int32_t offsets[][2][SEQUENCES + 1] = {
        {{INT32_MIN, 3, 4, 9, INT32_MAX}, {0, 3, 4, 9, 9}},
        {{9, 3, 3, 3, 3}, {9, 9, 3, 3, 3}}, // falling: empty
        {{-5, -4, -3, -2, 5}, {0, 0, 0, 0, 5}},
        {{0, 9, 9, 9, 9}, {0, 5, 5, 5, 5}}, // more than max_q_tokens: the first
        {{100, 200, 300, -1, 2}, {9, 9, 9, 0, 2}},
    };
    sxt_dense b;
    for (uint32_t i = 0; i < 2; i++) {
        sxt_dense_init(&b, i);
        sxt_attention_desc hostile = make(&b, SEQUENCES, 2, 40), tame = again(&b, &hostile);
        hostile.kv_lengths = ints(&b, 1, SEQUENCES, lengths[i][0]);
        tame.kv_lengths = ints(&b, 1, SEQUENCES, lengths[i][1]);
        hostile.causal = tame.causal = true;
        ok(&b, &hostile), ok(&b, &tame);
        expect_same(&hostile, &tame);
        sxt_dense_finish(&b);
    }
    for (uint32_t i = 0; i < 5; i++) {
        sxt_dense_init(&b, i);
        const sxt_attention_desc base = make(&b, 1, 9, 9);
        sxt_attention_desc runs[2];
        for (int j = 0; j < 2; j++) {
            runs[j] = again(&b, &base);
            runs[j].cu_seqlens_q = runs[j].cu_seqlens_k = ints(&b, 1, SEQUENCES + 1, offsets[i][j]);
            runs[j].max_q_tokens = runs[j].max_k_tokens = 5;
            ok(&b, &runs[j]);
        }
        expect_same(&runs[0], &runs[1]); // queries of no sequence keep their −7
        sxt_dense_finish(&b);
    }
}

// Keys on pages that are not there are seen by nobody, as if a mask hid them.
Test(reference_attention_forms, pages_that_are_not_there_hide_their_keys) {
    static const int32_t wrong[] = {-1, SEQUENCES * PAGES, INT32_MIN, INT32_MAX};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        sxt_dense b;
        sxt_dense_init(&b, seed);
        sxt_attention_desc rows = make(&b, SEQUENCES, 2, KEYS);
        static const int32_t lengths[SEQUENCES] = {KEYS, KEYS, 12, KEYS};
        rows.kv_lengths = ints(&b, 1, SEQUENCES, lengths);
        sxt_attention_desc pages = again(&b, &rows);
        int32_t table[SEQUENCES * PAGES];
        shuffled(&b, table);
        pages.k = paged(&b, &rows.k, table), pages.v = paged(&b, &rows.v, table);
        rows.bias = sxt_dense_make(&b, SXT_TYPE_F32, SEQUENCES, 1, 2, KEYS);
        sxt_dense_fill(&rows.bias, 0);
        for (uint32_t n = 0; n < SEQUENCES * PAGES; n++) {
            if (n / PAGES != 1 && sxt_test_chance(&b.rng, 60)) continue; // the second sequence has no page at all
            table[n] = wrong[sxt_test_below(&b.rng, 4)];
            for (uint32_t i = 0; i < 2 * ROWS; i++)
                sxt_dense_set(&rows.bias, (n / PAGES * 2 + i / ROWS) * KEYS + n % PAGES * ROWS + i % ROWS, -INFINITY);
        }
        pages.block_table = ints(&b, SEQUENCES, PAGES, table);
        ok(&b, &rows), ok(&b, &pages);
        expect_same(&rows, &pages);
        cr_expect_eq(sxt_dense_get(&pages.lse, 2 * HEADS), -INFINITY);
        sxt_dense_finish(&b);
    }
}
