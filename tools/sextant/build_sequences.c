// What attention has of sequences of different lengths, and what is indexed by query and key: bias and mask.
#include "build.h"
#include "sequences.h"

#include <stdlib.h>

// ── Sequences ──

static bool add_numbers(const sxt_builder *b, sxt_stage *stage, const char *name, uint64_t count, const char *wanted) {
    static const int last[1] = {3};
    const sxt_array *array = sxt_build_find(b, name);
    uint32_t shape[4];
    if (!array) return true;
    if (array->rank != 1 || (count && array->shape[0] != count)) return sxt_build_wrong_shape(b, array, wanted);
    if (!sxt_build_spread(b, array, last, shape)) return false;
    sxt_stage_bind(stage, name, sxt_build_slot(b, array, shape));
    return true;
}

static bool add_table(const sxt_builder *b, sxt_stage *stage, uint32_t sequences) {
    static const int places[2][4] = {{3}, {2, 3}};
    const sxt_array *table = sxt_build_find(b, "block_table");
    uint32_t shape[4];
    if (!table) return true;
    if (sxt_build_find(b, "k")->rank != 4)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "k"), "[pages, rows, Hk, D] (with block_table)");
    if (table->rank < 1 || table->rank > 2) return sxt_build_wrong_shape(b, table, "[P] or [B, P]");
    if (!sxt_build_spread(b, table, places[table->rank - 1], shape)) return false;
    if (shape[2] != 1 && shape[2] != sequences) return sxt_build_wrong_shape(b, table, "[P] or [B, P]");
    sxt_stage_bind(stage, "block_table", sxt_build_slot(b, table, shape));
    return true;
}

// The longest sequence of `all` tokens by offsets; what `given` says where it says anything.
static uint32_t find_longest(const sxt_array *offsets, uint32_t all, uint32_t given) {
    const int32_t *at = offsets->data;
    int64_t longest = all > 0;
    for (uint64_t n = 0; n + 1 < offsets->count; n++) {
        int64_t first = at[n] < 0 ? 0 : at[n], end = at[n + 1] > (int64_t)all ? (int64_t)all : at[n + 1];
        if (end - first > longest) longest = end - first;
    }
    return given ? given : (uint32_t)longest;
}

static bool check_together(const sxt_builder *b) {
    const sxt_array *q_offsets = sxt_build_find(b, "cu_seqlens_q"), *k_offsets = sxt_build_find(b, "cu_seqlens_k");
    if (!q_offsets && b->params.max_q_tokens)
        return sxt_build_fail(b, "key 'max_q_tokens': there is no tensor 'cu_seqlens_q'");
    if (!k_offsets && b->params.max_k_tokens)
        return sxt_build_fail(b, "key 'max_k_tokens': there is no tensor 'cu_seqlens_k'");
    if (k_offsets && !q_offsets) return sxt_build_fail(b, "tensor 'cu_seqlens_q' is missing: there is a cu_seqlens_k");
    if (sxt_build_find(b, "block_table") && !sxt_build_find(b, "kv_lengths"))
        return sxt_build_fail(b, "tensor 'kv_lengths' is missing: there is a block_table");
    return true;
}

bool sxt_build_sequences(const sxt_builder *b, sxt_stage *stage, int q, int k) {
    const sxt_array *q_offsets = sxt_build_find(b, "cu_seqlens_q"), *k_offsets = sxt_build_find(b, "cu_seqlens_k");
    sxt_attention_desc *desc = &stage->desc.attention;
    uint32_t sequences = b->work->slots[q].shape[0];
    if (!check_together(b)) return false;
    if (q_offsets && (q_offsets->rank != 1 || q_offsets->count < 1))
        return sxt_build_wrong_shape(b, q_offsets, "[B + 1]");
    if (q_offsets) sequences = (uint32_t)(q_offsets->count - 1);
    if (!add_numbers(b, stage, "cu_seqlens_q", 0, "[B + 1]") ||
        !add_numbers(b, stage, "cu_seqlens_k", (uint64_t)sequences + 1, "[B + 1], as of cu_seqlens_q,") ||
        !add_numbers(b, stage, "kv_lengths", sequences, "[B]") || !add_table(b, stage, sequences)) {
        return false;
    }
    if (q_offsets) desc->max_q_tokens = find_longest(q_offsets, b->work->slots[q].shape[1], b->params.max_q_tokens);
    if (k_offsets) desc->max_k_tokens = find_longest(k_offsets, b->work->slots[k].shape[1], b->params.max_k_tokens);
    return true;
}

// ── By query and key ──

// The dims of a tensor [batch|1, Hq|1, Tq, `last`], of which the first may lack.
static bool find_shape(const sxt_builder *b, const sxt_sequences *s, const sxt_array *array, uint32_t last,
                       const char *wanted, uint32_t out_shape[4]) {
    static const int places[3][4] = {{2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    if (array->rank < 2 || array->rank > 4) return sxt_build_wrong_shape(b, array, wanted);
    if (!sxt_build_spread(b, array, places[array->rank - 2], out_shape)) return false;
    bool fits = (out_shape[0] == 1 || out_shape[0] == s->count) &&
                (out_shape[1] == 1 || out_shape[1] == s->q->shape[2]) && out_shape[2] == s->max_q &&
                out_shape[3] == last;
    return fits || sxt_build_wrong_shape(b, array, wanted);
}

bool sxt_build_bias(const sxt_builder *b, sxt_stage *stage) {
    const sxt_array *array = sxt_build_find(b, "bias");
    sxt_sequences s = sxt_sequences_of(b->work, stage);
    uint32_t shape[4];
    if (!array) return true;
    if (!find_shape(b, &s, array, s.max_k, "[Tq, Tk], [Hq, Tq, Tk] or [B, Hq, Tq, Tk]", shape)) return false;
    sxt_stage_bind(stage, "bias", sxt_build_slot(b, array, shape));
    return true;
}

// Byte by byte 0 = drops the key; into words of 32 keys.
static uint32_t *pack(const uint8_t *keep, uint64_t rows, uint32_t keys) {
    uint32_t words = (keys + 31) / 32, *packed = calloc(rows * words + 1, sizeof *packed);
    for (uint64_t row = 0; packed && row < rows; row++) {
        for (uint32_t j = 0; j < keys; j++)
            packed[row * words + j / 32] |= (uint32_t)(keep[row * keys + j] != 0) << j % 32;
    }
    return packed;
}

bool sxt_build_mask(const sxt_builder *b, sxt_stage *stage) {
    const sxt_array *array = sxt_build_find(b, "mask");
    sxt_sequences s = sxt_sequences_of(b->work, stage);
    uint32_t shape[4], words = s.max_k / 32 + (s.max_k % 32 != 0);
    if (!array) return true;
    bool bytes = array->dtype == SXT_DTYPE_U8;
    if (!find_shape(b, &s, array, bytes ? s.max_k : words,
                    bytes ? "[.., Tq, Tk]" : "[.., Tq, (Tk + 31)/32] (32 keys to a word)", shape)) {
        return false;
    }
    shape[3] = words;
    int index = sxt_build_slot(b, array, shape);
    sxt_slot *slot = &b->work->slots[index];
    if (bytes) {
        slot->owned = pack(array->data, (uint64_t)shape[0] * shape[1] * shape[2], s.max_k);
        slot->initial = slot->owned;
        slot->type = SXT_TYPE_I32;
        if (!slot->owned) return sxt_build_fail(b, "out of memory");
    }
    sxt_stage_bind(stage, "mask", index);
    return true;
}
