#include "support/attention_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { MAX_SEQUENCES = 8 };

// Channels of a head of at most `most`, half the time less.
static uint32_t draw_channels(sxt_test_rng *rng, uint32_t most, sxt_type type) {
    const uint32_t step = sxt_type_block(type) > 1 ? 32 : 4;
    const uint32_t down = sxt_test_chance(rng, 50) ? sxt_test_below(rng, most / 2) : 0;
    return (most - down + step - 1) / step * step;
}

sxt_test_form sxt_test_form_of(uint64_t n) {
    static const sxt_type types[] = {SXT_TYPE_F16,  SXT_TYPE_Q8_0,     SXT_TYPE_BF16,
                                     SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3, SXT_TYPE_F32};
    sxt_test_rng rng = sxt_test_rng_make(~n);
    sxt_test_form f = {
        .kind = (sxt_test_kind)(n % SXT_TEST_KINDS),
        .k = types[(n + n / 6) % 6],
        .q = sxt_test_float_type(&rng),
        .o = sxt_test_float_type(&rng),
        .latent = sxt_test_chance(&rng, 20),
        .mask = sxt_test_chance(&rng, 40),
        .bias = sxt_test_chance(&rng, 15),
        .alibi = sxt_test_chance(&rng, 15),
        .softcap = sxt_test_chance(&rng, 15),
        .bounded = sxt_test_chance(&rng, 30),
        .layout = SXT_TEST_PICK(&rng, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD),
        .split_keys = SXT_TEST_PICK(&rng, uint32_t, 0, 0, 0, 256, 512),
    };
    const uint32_t most = SXT_TEST_PICK(&rng, uint32_t, 32, 64, 64, 128, 128, 256, 576);
    f.v = f.latent || sxt_test_chance(&rng, 60) ? f.k : types[sxt_test_below(&rng, 6)];
    f.dim = f.v_dim = draw_channels(&rng, most, sxt_type_block(f.k) > 1 ? f.k : f.v);
    if (sxt_test_chance(&rng, 40)) f.v_dim = draw_channels(&rng, f.latent ? f.dim : most, f.v);
    return f;
}

sxt_tensor sxt_test_ints(sxt_test_trial *trial, const char *name, uint32_t rows, uint32_t count,
                         const int32_t *values) {
    const sxt_tensor t = sxt_test_place(trial, name, SXT_TYPE_I32, 1, 1, rows, count);
    for (uint32_t n = 0; n < rows * count; n++)
        sxt_test_set_int(trial, &t, n, values[n]);
    return t;
}

void sxt_test_copy_row(sxt_test_trial *trial, const sxt_tensor *to, uint64_t n, const sxt_tensor *from,
                       uint64_t from_n) {
    memcpy(sxt_test_bytes(trial, SXT_TEST_INITIAL, to, n), sxt_test_bytes(trial, SXT_TEST_INITIAL, from, from_n),
           from->shape[3] / sxt_type_block(from->type) * sxt_type_size(from->type));
}

// ── Lengths ──

// A case being made.
typedef struct making {
    sxt_test_trial *trial;
    const sxt_test_form *form;
    sxt_attention_desc d;
    uint32_t sequences, q_heads, kv_heads;
    uint32_t queries[MAX_SEQUENCES], keys[MAX_SEQUENCES], most_queries, most_keys;
} making;

static bool is_ragged(const sxt_test_form *f) {
    return f->kind >= SXT_TEST_RAGGED;
}

static bool is_paged(const sxt_test_form *f) {
    return f->kind == SXT_TEST_PAGES || f->kind == SXT_TEST_RAGGED_PAGES;
}

static bool is_large(const sxt_test_form *f) {
    return f->dim > 128 || f->v_dim > 128;
}

static uint32_t greater(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static uint32_t draw_queries(sxt_test_rng *rng, uint32_t most) {
    if (most > 0) return sxt_test_between(rng, 1, most);
    return SXT_TEST_PICK(rng, uint32_t, 0, 1, 1, 1, 2, 3, 7, 16, 17, 33);
}

static uint32_t draw_keys(sxt_test_rng *rng, uint32_t most) {
    if (most > 0) return sxt_test_between(rng, most / 2, most);
    return SXT_TEST_PICK(rng, uint32_t, 0, 1, 2, 15, 17, 31, 32, 33, 63, 64, 65, 97, 130);
}

static void draw_lengths(making *m, sxt_test_lengths most) {
    sxt_test_rng *rng = &m->trial->rng;
    m->sequences = most.sequences > 0 ? most.sequences : sxt_test_between(rng, 1, is_large(m->form) ? 2 : 4);
    for (uint32_t n = 0; n < m->sequences; n++) {
        const bool same = n > 0 && !is_ragged(m->form);
        m->queries[n] = same ? m->queries[0] : draw_queries(rng, most.queries);
        m->keys[n] = n > 0 && m->form->kind == SXT_TEST_EQUAL ? m->keys[0] : draw_keys(rng, most.keys);
        m->most_queries = greater(m->most_queries, m->queries[n]);
        m->most_keys = greater(m->most_keys, m->keys[n]);
    }
    // Few queries on a long cache, which devices cut into splits.
    if (most.keys == 0 && m->most_queries <= 2 && !is_large(m->form) && sxt_test_chance(rng, 25))
        m->keys[0] = m->most_keys = sxt_test_between(rng, 256, 700);
    for (uint32_t n = 1; n < m->sequences && m->form->kind == SXT_TEST_EQUAL; n++)
        m->keys[n] = m->keys[0];
}

static void draw_heads(making *m) {
    sxt_test_rng *rng = &m->trial->rng;
    m->kv_heads = m->form->latent ? 1 : sxt_test_between(rng, 1, is_large(m->form) ? 2 : 3);
    m->q_heads = m->kv_heads * SXT_TEST_PICK(rng, uint32_t, 1, 1, 2, 3, 4, 8);
}

// Offsets of all lengths, some tokens in from either end.
static sxt_tensor make_offsets(making *m, const char *name, const uint32_t *lengths, uint32_t longest,
                               uint32_t *out_all, uint32_t *out_most) {
    sxt_test_rng *rng = &m->trial->rng;
    int32_t offsets[MAX_SEQUENCES + 1] = {(int32_t)sxt_test_below(rng, 3)};
    for (uint32_t n = 0; n < m->sequences; n++)
        offsets[n + 1] = offsets[n] + (int32_t)lengths[n];
    *out_all = (uint32_t)offsets[m->sequences] + sxt_test_below(rng, 3);
    if (*out_all == 0) *out_all = 1;
    // Sequences may be longer than what they are said to be at most: their first tokens then count.
    *out_most = longest > 1 && sxt_test_chance(rng, 15) ? longest - 1 : greater(longest, 1);
    if (*out_most < *out_all && sxt_test_chance(rng, 20)) ++*out_most;
    return sxt_test_ints(m->trial, name, 1, m->sequences + 1, offsets);
}

// Pages in any order; some are not there.
static void make_table(making *m, uint32_t rows, uint32_t *out_pages) {
    sxt_test_rng *rng = &m->trial->rng;
    enum { MOST = 4 * 720 };
    static int32_t table[MOST];
    const uint32_t each = greater((m->most_keys + rows - 1) / rows, 1) + sxt_test_below(rng, 2);
    const uint32_t lists = sxt_test_chance(rng, 15) ? 1 : m->sequences, all = lists * each;
    const bool holes = sxt_test_chance(rng, 25);
    *out_pages = all + sxt_test_below(rng, 3);
    cr_assert_leq(*out_pages, MOST);
    for (uint32_t n = 0; n < *out_pages; n++) { // a shuffle from the inside out
        const uint32_t other = sxt_test_below(rng, n + 1);
        table[n] = table[other];
        table[other] = (int32_t)n;
    }
    for (uint32_t n = 0; n < all && holes; n++)
        if (sxt_test_chance(rng, 20)) table[n] = -1;
    m->d.block_table = sxt_test_ints(m->trial, "block_table", lists, each, table);
}

// ── Tensors ──

static void make_keys(making *m, uint32_t batch, uint32_t tokens) {
    const sxt_test_form *f = m->form;
    m->d.k = sxt_test_place(m->trial, "k", f->k, batch, tokens, m->kv_heads, f->dim);
    sxt_test_fill_normal(m->trial, &m->d.k, 0, 1);
    if (f->latent) {
        m->d.v = m->d.k;
        m->d.v.shape[3] = f->v_dim;
        return;
    }
    m->d.v = sxt_test_place(m->trial, "v", f->v, batch, tokens, m->kv_heads, f->v_dim);
    sxt_test_fill_normal(m->trial, &m->d.v, 0, 1);
}

static void make_sequences(making *m) {
    const sxt_test_form *f = m->form;
    sxt_test_rng *rng = &m->trial->rng;
    uint32_t batch = m->sequences, queries = m->most_queries, keys = m->most_keys, pages = m->sequences;
    int32_t lengths[MAX_SEQUENCES];
    for (uint32_t n = 0; n < m->sequences; n++)
        lengths[n] = (int32_t)m->keys[n];
    if (is_ragged(f)) {
        m->d.cu_seqlens_q = make_offsets(m, "cu_seqlens_q", m->queries, queries, &queries, &m->d.max_q_tokens);
        batch = 1;
    }
    if (f->kind == SXT_TEST_RAGGED) {
        m->d.cu_seqlens_k = make_offsets(m, "cu_seqlens_k", m->keys, keys, &keys, &m->d.max_k_tokens);
        pages = 1;
    } else if (f->kind != SXT_TEST_EQUAL) {
        m->d.kv_lengths = sxt_test_ints(m->trial, "kv_lengths", 1, m->sequences, lengths);
        keys += sxt_test_below(rng, 20);
    }
    if (is_paged(f)) {
        keys = SXT_TEST_PICK(rng, uint32_t, 1, 2, 3, 8, 16, 16, 17, 32, 64);
        if (f->dim <= 64 && sxt_test_chance(rng, 10)) keys = SXT_TEST_PICK(rng, uint32_t, 128, 255, 256);
        make_table(m, keys, &pages);
    }
    m->d.q = sxt_test_place(m->trial, "q", f->q, batch, queries, m->q_heads, f->dim);
    m->d.o = sxt_test_place(m->trial, "o", f->o, batch, queries, m->q_heads, f->v_dim);
    sxt_test_fill_normal(m->trial, &m->d.q, 0, 1.5);
    if (sxt_test_chance(rng, 70))
        m->d.lse = sxt_test_place(m->trial, "lse", SXT_TYPE_F32, batch, queries, m->q_heads, 1);
    make_keys(m, pages, keys);
}

static sxt_tensor make_scale(making *m, const char *name) {
    sxt_test_rng *rng = &m->trial->rng;
    const sxt_tensor t =
        sxt_test_place(m->trial, name, SXT_TYPE_F32, 1, 1, sxt_test_chance(rng, 50) ? 1 : m->kv_heads, 1);
    for (uint32_t h = 0; h < t.shape[2]; h++)
        sxt_test_set(m->trial, &t, h, sxt_test_uniform(rng, 0.25, 2));
    return t;
}

// Whole words of nothing and of all, as masks of documents have, beside any bits.
static void fill_mask(sxt_test_trial *trial, const sxt_tensor *mask) {
    for (uint64_t n = 0; n < sxt_test_count(mask); n++) {
        const uint32_t bits = (uint32_t)sxt_test_bits(&trial->rng);
        sxt_test_set_bits(trial, mask, n, SXT_TEST_PICK(&trial->rng, uint32_t, 0, 0, UINT32_MAX, bits));
    }
}

static void make_masks(making *m) {
    const sxt_test_form *f = m->form;
    sxt_test_rng *rng = &m->trial->rng;
    sxt_attention_desc *d = &m->d;
    const uint32_t queries = sxt_test_max_queries(d), keys = sxt_test_max_keys(d);
    const uint32_t batch = sxt_test_chance(rng, 50) ? 1 : m->sequences;
    const uint32_t heads = sxt_test_chance(rng, 50) ? 1 : m->q_heads;
    d->causal = sxt_test_chance(rng, 50);
    if (sxt_test_chance(rng, 30)) {
        d->windowed = true;
        d->window_left = (int32_t)sxt_test_below(rng, m->most_keys + 2) - 1;
        d->window_right = (int32_t)sxt_test_below(rng, m->most_keys + 2) - 1;
    }
    if (f->mask && keys > 0) {
        d->mask = sxt_test_place(m->trial, "mask", SXT_TYPE_I32, batch, heads, queries, (keys + 31) / 32);
        fill_mask(m->trial, &d->mask);
    }
    if (f->bias && keys > 0) {
        d->bias = sxt_test_place(m->trial, "bias", sxt_test_chance(rng, 50) ? SXT_TYPE_F32 : SXT_TYPE_F16, batch, heads,
                                 queries, keys);
        sxt_test_fill_normal(m->trial, &d->bias, 0, 2);
    }
}

static void make_features(making *m) {
    const sxt_test_form *f = m->form;
    sxt_test_trial *trial = m->trial;
    sxt_attention_desc *d = &m->d;
    if (f->k == SXT_TYPE_FP8_E4M3 && sxt_test_chance(&trial->rng, 70)) d->k_scale = make_scale(m, "k_scale");
    if (f->v == SXT_TYPE_FP8_E4M3 && sxt_test_chance(&trial->rng, 70)) d->v_scale = make_scale(m, "v_scale");
    if (f->softcap) d->softcap = SXT_TEST_PICK(&trial->rng, float, 1, 20, 50);
    if (sxt_test_chance(&trial->rng, 20)) d->scale = SXT_TEST_PICK(&trial->rng, float, 0.3f, 0.05f, -0.1f);
    d->split_keys = f->split_keys;
    if (f->alibi) {
        d->alibi_slopes = sxt_test_dense(trial, "alibi_slopes", SXT_TYPE_F32, 1, 1, 1, m->q_heads);
        for (uint32_t h = 0; h < m->q_heads; h++)
            sxt_test_set(trial, &d->alibi_slopes, h, exp2(-8.0 * (h + 1) / m->q_heads));
    }
    if (sxt_test_chance(&trial->rng, 30)) {
        d->sinks = sxt_test_dense(trial, "sinks", SXT_TYPE_F32, 1, 1, 1, m->q_heads);
        sxt_test_fill_normal(trial, &d->sinks, 0, 2);
    }
}

static void corrupt(sxt_test_trial *trial, const sxt_tensor *list, uint32_t limit) {
    sxt_test_rng *rng = &trial->rng;
    const int32_t near = (int32_t)limit + (int32_t)sxt_test_below(rng, 3) - 1;
    for (uint64_t n = 0; list->buffer && n < sxt_test_count(list); n++) {
        const int32_t inside = (int32_t)sxt_test_below(rng, limit + 1), any = (int32_t)sxt_test_bits(rng);
        const int32_t value = SXT_TEST_PICK(rng, int32_t, -1, -2, INT32_MIN, INT32_MAX, 1 << 24, near, inside, any);
        if (sxt_test_chance(rng, 35)) sxt_test_set_int(trial, list, n, value);
    }
}

sxt_attention_desc sxt_test_attention_case(sxt_test_trial *trial, const sxt_test_form *form, sxt_test_lengths most) {
    making m = {.trial = trial, .form = form};
    trial->layout = form->layout;
    draw_lengths(&m, most);
    draw_heads(&m);
    make_sequences(&m);
    make_masks(&m);
    make_features(&m);
    if (form->hostile) {
        corrupt(trial, &m.d.kv_lengths, sxt_test_max_keys(&m.d));
        corrupt(trial, &m.d.block_table, m.d.k.shape[0]);
        corrupt(trial, &m.d.cu_seqlens_q, m.d.q.shape[1]);
        corrupt(trial, &m.d.cu_seqlens_k, m.d.k.shape[1]);
    }
    sxt_test_poison_unseen(trial, &m.d);
    if (form->bounded) m.d.logit_bound = (float)(1.01 * sxt_test_largest_logit(trial, &m.d) + 0.01);
    return m.d;
}
