// Useful arithmetic and least traffic of a stage, for figures of GFLOP/s and GB/s.
#include "work.h"

#include "number.h"
#include "sequences.h"

#include <stdlib.h>
#include <string.h>

static double elements(const sxt_work *work, const sxt_stage *stage, const char *field) {
    int slot = sxt_stage_slot(stage, field);
    return slot == SXT_NO_SLOT ? 0 : (double)sxt_slot_count(&work->slots[slot]);
}

// Pairs of a query and a key that it sees, over all heads.
static double visible_pairs(const sxt_sequences *all) {
    double pairs = 0;
    uint32_t heads = all->q->shape[2], alike = all->mask && all->mask->shape[1] > 1 ? 1 : heads;
    for (uint32_t n = 0; n < all->count; n++) {
        sxt_sequence one = sxt_sequences_at(all, n);
        for (uint32_t i = 0; i < one.queries; i++) {
            uint32_t first, end;
            sxt_sequence_range(all, &one, i, &first, &end);
            if (!all->mask && !all->table) pairs += (double)(end - first) * heads;
            for (uint32_t h = 0; (all->mask || all->table) && h < heads; h += alike) {
                for (uint32_t j = first; j < end; j++)
                    pairs += sxt_sequence_sees(all, &one, h, i, j) ? alike : 0;
            }
        }
    }
    return pairs;
}

static double attention_flops(const sxt_work *work, const sxt_stage *stage) {
    sxt_sequences all = sxt_sequences_of(work, stage);
    const sxt_slot *v = &work->slots[sxt_stage_slot(stage, "v")];
    return 2 * visible_pairs(&all) * ((double)all.q->shape[3] + v->shape[3]);
}

double sxt_stage_flops(const sxt_work *work, const sxt_stage *stage) {
    enum { NORM = 4, ROTATION = 3 }; // an element: square, add, two products; two products, one sum
    switch (stage->op) {
    case SXT_OP_NORM:
        return NORM * elements(work, stage, "x");
    case SXT_OP_ROPE:
        return ROTATION * elements(work, stage, "x");
    case SXT_OP_QK_NORM_ROPE:
        return (NORM + ROTATION) * (elements(work, stage, "q") + elements(work, stage, "k"));
    case SXT_OP_KV_SHIFT:
        return ROTATION * elements(work, stage, "k");
    case SXT_OP_ATTENTION:
        return attention_flops(work, stage);
    case SXT_OP_ATTENTION_MERGE:
        return 3 * elements(work, stage, "o"); // two products, one sum
    case SXT_OP_KV_WRITE:
    case SXT_OP_KV_COPY:
    case SXT_OP_COUNT:
        break;
    }
    return 0;
}

// Of keys and values those that a sequence has count; of values that are a part of keys none.
static double kv_bytes(const sxt_work *work, const sxt_stage *stage, const sxt_slot *slot) {
    sxt_sequences all = sxt_sequences_of(work, stage);
    bool *used = sxt_sequences_used(&all);
    uint64_t rows = (uint64_t)slot->shape[0] * slot->shape[1], count = 0;
    for (uint64_t row = 0; used && row < rows; row++)
        count += used[row];
    free(used);
    if (slot->part_of != SXT_NO_SLOT) return 0;
    return (double)sxt_number_bytes(slot->type, count * slot->shape[2] * slot->shape[3]);
}

// Of a cache only the rows that are moved count, however many it has.
static double field_bytes(const sxt_work *work, const sxt_stage *stage, const char *field, bool written) {
    const sxt_slot *slot = &work->slots[sxt_stage_slot(stage, field)];
    double bytes = (double)sxt_slot_bytes(slot);
    bool is_kv = strcmp(field, "k") == 0 || strcmp(field, "v") == 0;
    if (stage->op == SXT_OP_ATTENTION && is_kv) return kv_bytes(work, stage, slot);
    if (strcmp(field, "k_cache") == 0 || strcmp(field, "v_cache") == 0) {
        const sxt_slot *from = &work->slots[sxt_stage_slot(stage, field[0] == 'k' ? "k" : "v")];
        return (double)sxt_number_bytes(slot->type, sxt_slot_count(from));
    }
    if (stage->op == SXT_OP_KV_COPY && slot->type != SXT_TYPE_I32) {
        double rows = (double)slot->shape[0] * (stage->desc.kv_copy.pages ? 1 : slot->shape[1]);
        return rows > 0 ? bytes / rows * elements(work, stage, "from") : 0;
    }
    return stage->op == SXT_OP_KV_SHIFT && written ? 2 * bytes : bytes; // in place: read, and written
}

double sxt_stage_bytes(const sxt_work *work, const sxt_stage *stage) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    double bytes = 0;
    for (int i = 0; fields[i].name; i++) {
        if (stage->slots[i] != SXT_NO_SLOT) bytes += field_bytes(work, stage, fields[i].name, fields[i].written);
    }
    return bytes;
}
