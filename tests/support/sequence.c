#include "support/sequence.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

uint32_t sxt_test_sequences(const sxt_attention_desc *d) {
    return d->cu_seqlens_q.buffer ? d->cu_seqlens_q.shape[3] - 1 : d->q.shape[0];
}

uint32_t sxt_test_max_queries(const sxt_attention_desc *d) {
    return d->cu_seqlens_q.buffer ? d->max_q_tokens : d->q.shape[1];
}

uint32_t sxt_test_max_keys(const sxt_attention_desc *d) {
    if (d->cu_seqlens_k.buffer) return d->max_k_tokens;
    return d->block_table.buffer ? d->block_table.shape[3] * d->k.shape[1] : d->k.shape[1];
}

static int64_t int_at(const sxt_test_trial *trial, const sxt_tensor *list, uint64_t n) {
    return sxt_test_get_int(trial, SXT_TEST_INITIAL, list, n);
}

static uint32_t clamp(int64_t value, uint32_t most) {
    return value < 0 ? 0 : value > most ? most : (uint32_t)value;
}

// What offsets `index` and `index` + 1 enclose of `all` tokens.
static void span(const sxt_test_trial *trial, const sxt_tensor *offsets, uint32_t index, uint32_t all, uint32_t most,
                 uint32_t *out_first, uint32_t *out_count) {
    const uint32_t first = clamp(int_at(trial, offsets, index), all);
    const uint32_t end = clamp(int_at(trial, offsets, index + 1), all);
    const uint32_t count = end > first ? end - first : 0;
    *out_first = first;
    *out_count = count < most ? count : most;
}

sxt_test_sequence sxt_test_sequence_at(const sxt_test_trial *trial, const sxt_attention_desc *d, uint32_t index) {
    sxt_test_sequence s = {.index = index,
                           .q_batch = index,
                           .k_batch = index,
                           .queries = sxt_test_max_queries(d),
                           .keys = sxt_test_max_keys(d)};
    if (d->cu_seqlens_q.buffer) {
        s.q_batch = 0;
        span(trial, &d->cu_seqlens_q, index, d->q.shape[1], d->max_q_tokens, &s.q_first, &s.queries);
    }
    if (d->cu_seqlens_k.buffer) {
        s.k_batch = 0;
        span(trial, &d->cu_seqlens_k, index, d->k.shape[1], d->max_k_tokens, &s.k_first, &s.keys);
    }
    if (d->kv_lengths.buffer) s.keys = clamp(int_at(trial, &d->kv_lengths, index), s.keys);
    return s;
}

static int64_t page_of(const sxt_test_trial *trial, const sxt_attention_desc *d, uint32_t index, uint32_t key) {
    const uint32_t list = d->block_table.shape[2] > 1 ? index : 0;
    return int_at(trial, &d->block_table, (uint64_t)list * d->block_table.shape[3] + key / d->k.shape[1]);
}

bool sxt_test_key_at(const sxt_test_trial *trial, const sxt_attention_desc *d, const sxt_test_sequence *s, uint32_t key,
                     uint32_t *out_batch, uint32_t *out_row) {
    *out_batch = s->k_batch;
    *out_row = s->k_first + key;
    if (!d->block_table.buffer) return true;
    const int64_t page = page_of(trial, d, s->index, key);
    if (page < 0 || page >= d->k.shape[0]) return false;
    *out_batch = (uint32_t)page;
    *out_row = key % d->k.shape[1];
    return true;
}

static bool bit_keeps(const sxt_test_trial *trial, const sxt_tensor *mask, uint32_t batch, uint32_t head,
                      uint32_t query, uint32_t key) {
    const uint64_t word =
        sxt_test_at(mask, mask->shape[0] > 1 ? batch : 0, mask->shape[1] > 1 ? head : 0, query, key / 32);
    return sxt_test_get_bits(trial, SXT_TEST_INITIAL, mask, word) >> key % 32 & 1;
}

bool sxt_test_visible(const sxt_test_trial *trial, const sxt_attention_desc *d, const sxt_test_sequence *s,
                      uint32_t head, uint32_t query, uint32_t key) {
    const int64_t at = (int64_t)query + s->keys - s->queries, ahead = (int64_t)key - at;
    uint32_t batch, row;
    if (d->causal && ahead > 0) return false;
    if (d->windowed && d->window_right >= 0 && ahead > d->window_right) return false;
    if (d->windowed && d->window_left >= 0 && -ahead > d->window_left) return false;
    if (d->mask.buffer && !bit_keeps(trial, &d->mask, s->index, head, query, key)) return false;
    return sxt_test_key_at(trial, d, s, key, &batch, &row);
}

// ── Faults ──

static sxt_test_answer worse(sxt_test_answer a, sxt_test_answer b) {
    return a > b ? a : b;
}

static sxt_test_answer offsets_fault(const sxt_test_trial *trial, const sxt_tensor *offsets, uint32_t all,
                                     uint32_t most) {
    sxt_test_answer answer = SXT_TEST_NO;
    for (uint32_t i = 0; i < offsets->shape[3]; i++) {
        const int64_t at = int_at(trial, offsets, i),
                      next = int_at(trial, offsets, i + 1 < offsets->shape[3] ? i + 1 : i);
        if (at < 0 || at > all) answer = SXT_TEST_YES;
        if (next < at || next - at > most) answer = worse(answer, SXT_TEST_MAYBE);
    }
    return answer;
}

static bool any_query_sees(const sxt_test_trial *trial, const sxt_attention_desc *desc, const sxt_test_sequence *s,
                           uint32_t key) {
    sxt_attention_desc d = *desc;
    d.block_table.buffer = NULL;
    for (uint32_t h = 0; h < d.q.shape[2]; h++)
        for (uint32_t i = 0; i < s->queries; i++)
            if (sxt_test_visible(trial, &d, s, h, i, key)) return true;
    return false;
}

static sxt_test_answer pages_fault(const sxt_test_trial *trial, const sxt_attention_desc *d,
                                   const sxt_test_sequence *s) {
    sxt_test_answer answer = SXT_TEST_NO;
    for (uint32_t j = 0; j < sxt_test_max_keys(d); j++) {
        const int64_t page = page_of(trial, d, s->index, j);
        if (page >= -1 && page < d->k.shape[0]) continue;
        answer = worse(answer, j < s->keys && any_query_sees(trial, d, s, j) ? SXT_TEST_YES : SXT_TEST_MAYBE);
    }
    return answer;
}

sxt_test_answer sxt_test_index_fault(const sxt_test_trial *trial, const sxt_attention_desc *d) {
    sxt_test_answer answer = SXT_TEST_NO;
    if (sxt_test_count(&d->o) == 0) return SXT_TEST_MAYBE;
    if (d->cu_seqlens_q.buffer)
        answer = worse(answer, offsets_fault(trial, &d->cu_seqlens_q, d->q.shape[1], d->max_q_tokens));
    if (d->cu_seqlens_k.buffer && offsets_fault(trial, &d->cu_seqlens_k, d->k.shape[1], d->max_k_tokens) != SXT_TEST_NO)
        answer = worse(answer, SXT_TEST_MAYBE);
    for (uint32_t n = 0; n < sxt_test_sequences(d); n++) {
        const sxt_test_sequence s = sxt_test_sequence_at(trial, d, n);
        const sxt_test_answer looked = s.queries > 0 ? SXT_TEST_YES : SXT_TEST_MAYBE;
        for (uint32_t i = n; d->cu_seqlens_k.buffer && i <= n + 1; i++) {
            const int64_t at = int_at(trial, &d->cu_seqlens_k, i);
            if (at < 0 || at > d->k.shape[1]) answer = worse(answer, looked);
        }
        if (d->kv_lengths.buffer) {
            const int64_t length = int_at(trial, &d->kv_lengths, n);
            if (length < 0 || length > sxt_test_max_keys(d)) answer = worse(answer, looked);
        }
        if (d->block_table.buffer) answer = worse(answer, pages_fault(trial, d, &s));
    }
    return answer;
}

// ── What nobody sees ──

static void poison_row(sxt_test_trial *trial, const sxt_tensor *t, uint64_t n) {
    uint8_t *bytes = sxt_test_bytes(trial, SXT_TEST_INITIAL, t, n);
    const size_t count = t->shape[3] / sxt_type_block(t->type) * sxt_type_size(t->type);
    const uint16_t pattern = SXT_TEST_POISON;
    for (size_t i = 0; i < count; i++)
        bytes[i] = t->type == SXT_TYPE_FP8_E4M3 ? 0x7f : ((const uint8_t *)&pattern)[i % 2];
}

// Which rows of q and of k (and v), and which elements of bias, some query that sees a key needs.
typedef struct needed {
    bool *q, *k, *bias;
} needed;

static void look(const sxt_test_trial *trial, const sxt_attention_desc *d, const sxt_test_sequence *s, uint32_t head,
                 const needed *seen) {
    const uint32_t kv_head = head / (d->q.shape[2] / d->k.shape[2]);
    for (uint32_t i = 0; i < s->queries; i++)
        for (uint32_t j = 0; j < s->keys; j++) {
            uint32_t batch = 0, row = 0;
            if (!sxt_test_visible(trial, d, s, head, i, j) || !sxt_test_key_at(trial, d, s, j, &batch, &row)) continue;
            seen->k[((size_t)batch * d->k.shape[1] + row) * d->k.shape[2] + kv_head] = true;
            seen->q[((size_t)s->q_batch * d->q.shape[1] + s->q_first + i) * d->q.shape[2] + head] = true;
            if (d->bias.buffer)
                seen->bias[sxt_test_at(&d->bias, d->bias.shape[0] > 1 ? s->index : 0, d->bias.shape[1] > 1 ? head : 0,
                                       i, j)] = true;
        }
}

void sxt_test_poison_unseen(sxt_test_trial *trial, const sxt_attention_desc *d) {
    const uint64_t queries = sxt_test_count(&d->q) / d->q.shape[3], keys = sxt_test_count(&d->k) / d->k.shape[3];
    const uint64_t biases = d->bias.buffer ? sxt_test_count(&d->bias) : 0;
    bool *all = calloc(queries + keys + biases + 1, sizeof *all);
    const needed seen = {.q = all, .k = all + queries, .bias = all + queries + keys};
    cr_assert(all);
    for (uint32_t n = 0; n < sxt_test_sequences(d); n++) {
        const sxt_test_sequence s = sxt_test_sequence_at(trial, d, n);
        for (uint32_t h = 0; h < d->q.shape[2]; h++)
            look(trial, d, &s, h, &seen);
    }
    for (uint64_t n = 0; n < queries; n++)
        if (!seen.q[n]) poison_row(trial, &d->q, n * d->q.shape[3]);
    for (uint64_t n = 0; n < keys; n++) {
        if (seen.k[n]) continue;
        poison_row(trial, &d->k, n * d->k.shape[3]);
        poison_row(trial, &d->v, n * d->v.shape[3]);
    }
    for (uint64_t n = 0; n < biases; n++)
        if (!seen.bias[n]) sxt_test_set(trial, &d->bias, n, NAN);
    free(all);
}
