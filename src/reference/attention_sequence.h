// One sequence of an sxt_attention_desc: how long it is, where its queries and keys lie, and who sees whom.
//
// Lengths, offsets and page numbers come from device memory and may be anything: what is here lies inside the tensors.
#ifndef SXT_REFERENCE_ATTENTION_SEQUENCE_H
#define SXT_REFERENCE_ATTENTION_SEQUENCE_H

#include "reference/kv_cache.h"

// Tokens first … first + tokens − 1 of a batch.
typedef struct sxt_token_span {
    uint32_t batch, first, tokens;
} sxt_token_span;

typedef struct sxt_sequence {
    const sxt_attention_desc *desc;
    uint32_t index;
    sxt_token_span queries;
    sxt_token_span keys; // with a block_table, `tokens` alone counts
} sxt_sequence;

sxt_sequence sxt_sequence_at(const sxt_attention_desc *desc, uint32_t index);

// Where key j is in k and v, or false if its page is not there.
bool sxt_sequence_find_key(const sxt_sequence *sequence, uint32_t j, sxt_cache_row *out_row);

// The key at which query i stands. It may be negative.
int64_t sxt_sequence_position(const sxt_sequence *sequence, uint32_t i);

// Whether query i of a head sees key j by all masks.
bool sxt_sequence_visible(const sxt_sequence *sequence, uint32_t head, uint32_t i, uint32_t j);

#endif
