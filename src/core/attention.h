// Front door of sxt_attention, in two files: which tensors have which shapes (attention.c), and how long sequences are
// (attention_sequences.c). Resolved, max_q_tokens and max_k_tokens are always the Tq and Tk of the longest sequence.
#ifndef SXT_CORE_ATTENTION_H
#define SXT_CORE_ATTENTION_H

#include "core/op.h"
#include "core/tensor.h"

// Checks which of the fields that give lengths are there beside which.
sxt_result sxt_attention_check_forms(const sxt_device *device, const sxt_attention_desc *desc);

// Checks and broadcasts the resolved tensors of lengths, offsets and pages, and the batches of q and k; fills
// max_q_tokens and max_k_tokens.
sxt_result sxt_attention_resolve_sequences(const sxt_device *device, sxt_attention_desc *desc);

// How many sequences there are.
static inline uint32_t sxt_attention_sequences(const sxt_attention_desc *desc) {
    return sxt_tensor_present(&desc->cu_seqlens_q) ? desc->cu_seqlens_q.shape[SXT_CHANNEL] - 1
                                                   : desc->q.shape[SXT_BATCH];
}

#endif
