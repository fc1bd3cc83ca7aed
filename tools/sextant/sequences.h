// The sequences of an attention and who sees whom, worked out from sextant.h's words alone: neither the device nor the
// reference is asked.
#ifndef SXT_TOOL_SEQUENCES_H
#define SXT_TOOL_SEQUENCES_H

#include "work.h"

typedef struct sxt_sequences {
    const sxt_attention_desc *desc;
    const sxt_slot *q, *k, *lengths, *table, *q_offsets, *k_offsets, *mask; // NULL: absent
    uint32_t count;
    uint32_t max_q, max_k; // Tq and Tk of bias and mask
} sxt_sequences;

typedef struct sxt_sequence {
    uint32_t index;
    uint64_t first_q, first_k; // tokens of q and k, counted over their batch; first_k without pages
    uint32_t queries, keys;
} sxt_sequence;

// Of a stage of attention. Lengths, tables, offsets and masks are those that its slots start with.
sxt_sequences sxt_sequences_of(const sxt_work *work, const sxt_stage *stage);

sxt_sequence sxt_sequences_at(const sxt_sequences *all, uint32_t index);

// The keys [*out_first, *out_end) of a sequence that its query i may see by causal and window.
void sxt_sequence_range(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t i, uint32_t *out_first,
                        uint32_t *out_end);

// Where key j lies in k: its token, counted over batch or pages; −1: on a page that is not there.
int64_t sxt_sequence_row(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t j);

// Whether query i of a head sees key j of its range: the key's page is there, and the mask keeps it.
bool sxt_sequence_sees(const sxt_sequences *all, const sxt_sequence *sequence, uint32_t head, uint32_t i, uint32_t j);

// Whether a length, offset or page is none that there is (a page of −1 is none, and no mistake).
bool sxt_sequences_stray(const sxt_sequences *all);

// By token of k, counted over batch or pages, whether a sequence has it. To be freed; NULL without memory.
bool *sxt_sequences_used(const sxt_sequences *all);

// By token of q, counted over its batch, whether a sequence has it. To be freed; NULL without memory.
bool *sxt_sequences_claimed(const sxt_sequences *all);

#endif
