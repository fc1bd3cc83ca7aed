// Random descriptions of attention in every form there is, with everything free poisoned: see sxt_test_poison_unseen.
#ifndef SXT_TESTS_SUPPORT_ATTENTION_CASE_H
#define SXT_TESTS_SUPPORT_ATTENTION_CASE_H

#include "support/attention.h"

// How long sequences are, and where they lie.
typedef enum sxt_test_kind {
    SXT_TEST_EQUAL = 0,      // all the same
    SXT_TEST_LENGTHS,        // kv_lengths
    SXT_TEST_PAGES,          // and a block_table
    SXT_TEST_RAGGED,         // cu_seqlens_q and cu_seqlens_k
    SXT_TEST_RAGGED_LENGTHS, // cu_seqlens_q, and kv_lengths
    SXT_TEST_RAGGED_PAGES,   // and a block_table
    SXT_TEST_KINDS,
} sxt_test_kind;

// What may be compiled into a pipeline.
typedef struct sxt_test_form {
    sxt_test_kind kind;
    sxt_type q, k, v, o;
    uint32_t dim, v_dim; // channels of a head
    uint32_t split_keys;
    bool latent; // v is the first channels of k, as in MLA
    bool mask, bias, alibi, softcap, bounded;
    sxt_test_layout layout;
    bool hostile; // lengths, offsets and pages may be anything
} sxt_test_form;

// Form n. Any 36 in a row have each kind with each type of k; the rest is drawn.
sxt_test_form sxt_test_form_of(uint64_t n);

// Lengths of a form's sequences. 0 for what is to be drawn.
typedef struct sxt_test_lengths {
    uint32_t sequences, queries, keys; // of the longest
} sxt_test_lengths;

sxt_attention_desc sxt_test_attention_case(sxt_test_trial *trial, const sxt_test_form *form, sxt_test_lengths most);

// A list of numbers, [1, 1, rows, count].
sxt_tensor sxt_test_ints(sxt_test_trial *trial, const char *name, uint32_t rows, uint32_t count, const int32_t *values);

// Copies rows of channels, bits as they are; `n` and `from_n` are the numbers of their first elements.
void sxt_test_copy_row(sxt_test_trial *trial, const sxt_tensor *to, uint64_t n, const sxt_tensor *from,
                       uint64_t from_n);

#endif
