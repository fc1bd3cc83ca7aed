// Which tokens each sequence of an attention description has, and which query sees which key: written from sextant.h
// and CONVENTIONS, not taken from the library.
#ifndef SXT_TESTS_SUPPORT_SEQUENCE_H
#define SXT_TESTS_SUPPORT_SEQUENCE_H

#include "support/trial.h"

// Tokens q_first … q_first + queries − 1 of batch q_batch of q and o, and likewise of k and v. With a block_table,
// `keys` alone says something of keys.
typedef struct sxt_test_sequence {
    uint32_t index; // of bias, mask, lengths and tables
    uint32_t q_batch, q_first, queries;
    uint32_t k_batch, k_first, keys;
} sxt_test_sequence;

uint32_t sxt_test_sequences(const sxt_attention_desc *desc);
sxt_test_sequence sxt_test_sequence_at(const sxt_test_trial *trial, const sxt_attention_desc *desc, uint32_t index);

// The most queries and keys that a sequence may have.
uint32_t sxt_test_max_queries(const sxt_attention_desc *desc);
uint32_t sxt_test_max_keys(const sxt_attention_desc *desc);

// Where key `key` is in k and v, or false if its page is not there.
bool sxt_test_key_at(const sxt_test_trial *trial, const sxt_attention_desc *desc, const sxt_test_sequence *sequence,
                     uint32_t key, uint32_t *out_batch, uint32_t *out_row);

// Whether query `query` of head `head` sees the key by all masks.
bool sxt_test_visible(const sxt_test_trial *trial, const sxt_attention_desc *desc, const sxt_test_sequence *sequence,
                      uint32_t head, uint32_t query, uint32_t key);

// Whether the device has to report SXT_FAULT_INDEX. It may do as it likes about what it need not look at, and about
// offsets that fall or give more tokens than their maximum, but lie inside.
typedef enum sxt_test_answer { SXT_TEST_NO, SXT_TEST_MAYBE, SXT_TEST_YES } sxt_test_answer;
sxt_test_answer sxt_test_index_fault(const sxt_test_trial *trial, const sxt_attention_desc *desc);

// Poisons all rows of keys and values that no query sees, of queries that see none, and the elements of bias between
// such: content of padding, of unused slots and pages, and of what masks hide is free. A bias of −∞ hides nothing.
void sxt_test_poison_unseen(sxt_test_trial *trial, const sxt_attention_desc *desc);

#endif
