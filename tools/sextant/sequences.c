#include "sequences.h"

#include <stdlib.h>

static const sxt_slot *slot_of(const sxt_work *work, const sxt_stage *stage, const char *field) {
    int slot = sxt_stage_slot(stage, field);
    return slot == SXT_NO_SLOT ? NULL : &work->slots[slot];
}

sxt_sequences sxt_sequences_of(const sxt_work *work, const sxt_stage *stage) {
    sxt_sequences s = {
        .desc = &stage->desc.attention,
        .q = slot_of(work, stage, "q"),
        .k = slot_of(work, stage, "k"),
        .lengths = slot_of(work, stage, "kv_lengths"),
        .table = slot_of(work, stage, "block_table"),
        .q_offsets = slot_of(work, stage, "cu_seqlens_q"),
        .k_offsets = slot_of(work, stage, "cu_seqlens_k"),
        .mask = slot_of(work, stage, "mask"),
    };
    s.count = s.q_offsets ? s.q_offsets->shape[3] - 1 : s.q->shape[0];
    s.max_q = s.q_offsets ? s.desc->max_q_tokens : s.q->shape[1];
    s.max_k = s.table ? s.table->shape[3] * s.k->shape[1] : s.k_offsets ? s.desc->max_k_tokens : s.k->shape[1];
    return s;
}

static uint32_t clamp(int64_t value, uint32_t low, uint32_t high) {
    return value < low ? low : value > high ? high : (uint32_t)value;
}

static int32_t number(const sxt_slot *slot, uint64_t index) {
    return ((const int32_t *)slot->initial)[index];
}

// What two neighbouring offsets enclose of `all` tokens, at most `most` of it.
static void find_span(const sxt_slot *offsets, uint32_t index, uint32_t all, uint32_t most, uint64_t *out_first,
                      uint32_t *out_count) {
    uint32_t first = clamp(number(offsets, index), 0, all), end = clamp(number(offsets, index + 1), first, all);
    *out_first = first;
    *out_count = end - first < most ? end - first : most;
}

sxt_sequence sxt_sequences_at(const sxt_sequences *all, uint32_t index) {
    sxt_sequence one = {index, (uint64_t)index * all->max_q, (uint64_t)index * all->max_k, all->max_q, all->max_k};
    if (all->q_offsets) find_span(all->q_offsets, index, all->q->shape[1], all->max_q, &one.first_q, &one.queries);
    if (all->k_offsets) find_span(all->k_offsets, index, all->k->shape[1], all->max_k, &one.first_k, &one.keys);
    if (all->lengths) one.keys = clamp(number(all->lengths, index), 0, all->max_k);
    return one;
}

void sxt_sequence_range(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t i, uint32_t *out_first,
                        uint32_t *out_end) {
    const sxt_attention_desc *desc = all->desc;
    int64_t own = (int64_t)i + sequence->keys - sequence->queries; // masks are aligned bottom-right
    int64_t first = 0, last = (int64_t)sequence->keys - 1;
    if (desc->causal && own < last) last = own;
    if (desc->windowed && desc->window_left >= 0 && own - desc->window_left > first) first = own - desc->window_left;
    if (desc->windowed && desc->window_right >= 0 && own + desc->window_right < last) last = own + desc->window_right;
    if (last < first) first = 0, last = -1;
    *out_first = (uint32_t)first;
    *out_end = (uint32_t)(last + 1);
}

int64_t sxt_sequence_row(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t j) {
    if (!all->table) return (int64_t)sequence->first_k + j;
    uint32_t rows = all->k->shape[1], pages = all->table->shape[3];
    uint64_t of_sequence = all->table->shape[2] == 1 ? 0 : (uint64_t)sequence->index * pages;
    int64_t page = number(all->table, of_sequence + j / rows);
    return page < 0 || page >= all->k->shape[0] ? -1 : page * rows + j % rows;
}

bool sxt_sequence_sees(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t head, uint32_t i, uint32_t j) {
    if (all->table && sxt_sequence_row(all, sequence, j) < 0) return false;
    if (!all->mask) return true;
    const uint32_t *shape = all->mask->shape;
    uint64_t b = shape[0] == 1 ? 0 : sequence->index, h = shape[1] == 1 ? 0 : head;
    uint64_t word = ((b * shape[1] + h) * shape[2] + i) * shape[3] + j / 32;
    return (uint32_t)number(all->mask, word) >> j % 32 & 1;
}

static bool offsets_stray(const sxt_slot *offsets, uint32_t all, uint32_t most) {
    for (uint32_t n = 0; offsets && n < offsets->shape[3]; n++) {
        int64_t at = number(offsets, n), before = n ? number(offsets, n - 1) : 0;
        if (at < before || at > (int64_t)all || (n && at - before > (int64_t)most)) return true;
    }
    return false;
}

bool sxt_sequences_stray(const sxt_sequences *all) {
    for (uint64_t n = 0; all->lengths && n < sxt_slot_count(all->lengths); n++) {
        if (number(all->lengths, n) < 0 || number(all->lengths, n) > (int64_t)all->max_k) return true;
    }
    for (uint64_t n = 0; all->table && n < sxt_slot_count(all->table); n++) {
        if (number(all->table, n) < -1 || number(all->table, n) >= (int64_t)all->k->shape[0]) return true;
    }
    return offsets_stray(all->q_offsets, all->q->shape[1], all->max_q) ||
           offsets_stray(all->k_offsets, all->k->shape[1], all->max_k);
}

bool *sxt_sequences_used(const sxt_sequences *all) {
    bool *used = calloc((uint64_t)all->k->shape[0] * all->k->shape[1] + 1, sizeof *used);
    for (uint32_t n = 0; used && n < all->count; n++) {
        sxt_sequence one = sxt_sequences_at(all, n);
        for (uint32_t j = 0; j < one.keys; j++) {
            int64_t row = sxt_sequence_row(all, &one, j);
            if (row >= 0) used[row] = true;
        }
    }
    return used;
}

bool *sxt_sequences_claimed(const sxt_sequences *all) {
    bool *claimed = calloc((uint64_t)all->q->shape[0] * all->q->shape[1] + 1, sizeof *claimed);
    for (uint32_t n = 0; claimed && n < all->count; n++) {
        sxt_sequence one = sxt_sequences_at(all, n);
        for (uint32_t i = 0; i < one.queries; i++)
            claimed[one.first_q + i] = true;
    }
    return claimed;
}
