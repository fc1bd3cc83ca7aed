#include "reference/attention_sequence.h"

#include "core/attention.h"
#include "reference/reference.h"

static int64_t int_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    return (int64_t)sxt_row_at(tensor, batch, token, head, channel);
}

// An element of a tensor of lengths or offsets, brought into what there is.
static uint32_t clamped_at(const sxt_tensor *tensor, uint32_t index, uint32_t low, uint32_t high) {
    const int64_t value = int_at(tensor, 0, 0, 0, index);
    if (value < low || value > high) sxt_reference_fault(tensor->buffer, SXT_FAULT_INDEX);
    return (uint32_t)(value < low ? low : value > high ? high : value);
}

// What two neighbouring offsets enclose of `all` tokens, at most `most` of it. Offsets that fall enclose nothing.
static sxt_token_span span_between(const sxt_tensor *offsets, uint32_t index, uint32_t all, uint32_t most) {
    const uint32_t first = clamped_at(offsets, index, 0, all), end = clamped_at(offsets, index + 1, first, all);
    if (end - first > most) sxt_reference_fault(offsets->buffer, SXT_FAULT_INDEX);
    return (sxt_token_span){0, first, end - first < most ? end - first : most};
}

sxt_sequence sxt_sequence_at(const sxt_attention_desc *desc, uint32_t index) {
    sxt_sequence sequence = {
        .desc = desc,
        .index = index,
        .queries = {index, 0, desc->max_q_tokens},
        .keys = {index, 0, desc->max_k_tokens},
    };
    if (sxt_tensor_present(&desc->cu_seqlens_q))
        sequence.queries = span_between(&desc->cu_seqlens_q, index, desc->q.shape[SXT_TOKEN], desc->max_q_tokens);
    if (sxt_tensor_present(&desc->cu_seqlens_k))
        sequence.keys = span_between(&desc->cu_seqlens_k, index, desc->k.shape[SXT_TOKEN], desc->max_k_tokens);
    if (sxt_tensor_present(&desc->kv_lengths))
        sequence.keys.tokens = clamped_at(&desc->kv_lengths, index, 0, desc->max_k_tokens);
    return sequence;
}

bool sxt_sequence_find_key(const sxt_sequence *sequence, uint32_t j, sxt_cache_row *out_row) {
    const sxt_attention_desc *desc = sequence->desc;
    *out_row = (sxt_cache_row){sequence->keys.batch, sequence->keys.first + j};
    if (!sxt_tensor_present(&desc->block_table)) return true;
    uint32_t rows = desc->k.shape[SXT_TOKEN];
    int64_t page = int_at(&desc->block_table, 0, 0, sequence->index, j / rows);
    *out_row = (sxt_cache_row){(uint32_t)page, j % rows};
    return page >= 0 && page < desc->k.shape[SXT_BATCH];
}

int64_t sxt_sequence_position(const sxt_sequence *sequence, uint32_t i) {
    return (int64_t)i + sequence->keys.tokens - sequence->queries.tokens;
}

bool sxt_sequence_visible(const sxt_sequence *sequence, uint32_t head, uint32_t i, uint32_t j) {
    const sxt_attention_desc *desc = sequence->desc;
    const int64_t own = sxt_sequence_position(sequence, i);
    sxt_cache_row row;
    if (desc->causal && j > own) return false;
    if (desc->window_left >= 0 && j < own - desc->window_left) return false;
    if (desc->window_right >= 0 && j > own + desc->window_right) return false;
    if (!sxt_sequence_find_key(sequence, j, &row)) {
        if (row.batch != (uint32_t)-1) sxt_reference_fault(desc->block_table.buffer, SXT_FAULT_INDEX);
        return false;
    }
    return !sxt_tensor_present(&desc->mask) || int_at(&desc->mask, sequence->index, head, i, j / 32) >> j % 32 & 1;
}
