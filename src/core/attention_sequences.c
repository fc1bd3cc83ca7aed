#include "core/attention.h"

static const char op[] = "sxt_attention";

static sxt_result check_max(const sxt_device *device, const char *field, uint32_t value, const char *offsets_field,
                            const sxt_tensor *offsets) {
    if (value == 0 || sxt_tensor_present(offsets)) return SXT_OK;
    SXT_REJECT(&device->logger, "%s: %s is %u, and must be 0 without %s", op, field, value, offsets_field);
}

sxt_result sxt_attention_check_forms(const sxt_device *device, const sxt_attention_desc *d) {
    const sxt_logger *log = &device->logger;
    bool lengths = sxt_tensor_present(&d->kv_lengths), table = sxt_tensor_present(&d->block_table);
    if (sxt_tensor_present(&d->cu_seqlens_k)) {
        if (!sxt_tensor_present(&d->cu_seqlens_q))
            SXT_REJECT(log, "%s: cu_seqlens_k is given, and cu_seqlens_q is not", op);
        if (table) SXT_REJECT(log, "%s: block_table is given, and cu_seqlens_k too: keys have pages or offsets", op);
        if (lengths)
            SXT_REJECT(log, "%s: kv_lengths is given, and cu_seqlens_k too, which has the lengths already", op);
    }
    if (table && !lengths) SXT_REJECT(log, "%s: block_table is given, and kv_lengths is not", op);
    sxt_result result = check_max(device, "max_q_tokens", d->max_q_tokens, "cu_seqlens_q", &d->cu_seqlens_q);
    return result != SXT_OK ? result
                            : check_max(device, "max_k_tokens", d->max_k_tokens, "cu_seqlens_k", &d->cu_seqlens_k);
}

// Tokens of all sequences in one row, split by offsets. Where there are none, any maximum will do.
static sxt_result check_ragged(const sxt_device *device, const char *field, const sxt_tensor *tensor,
                               const char *max_field, uint32_t max_tokens, const char *offsets_field) {
    if (tensor->shape[SXT_BATCH] != 1)
        SXT_REJECT(&device->logger, "%s: %s.shape[0] is %u, and must be 1 with %s", op, field, tensor->shape[SXT_BATCH],
                   offsets_field);
    uint32_t all = tensor->shape[SXT_TOKEN];
    if (all > 0 && (max_tokens == 0 || max_tokens > all))
        SXT_REJECT(&device->logger, "%s: %s is %u, and must be from 1 to %u, the tokens of %s", op, max_field,
                   max_tokens, all, field);
    return SXT_OK;
}

// Tk of pages is the product of two dims, and lengths are i32.
static sxt_result resolve_pages(const sxt_device *device, uint32_t sequences, sxt_attention_desc *d) {
    const uint32_t pages = d->block_table.shape[SXT_CHANNEL], rows = d->k.shape[SXT_TOKEN];
    const uint32_t table_shape[4] = {1, 1, sequences, pages};
    if ((uint64_t)pages * rows > INT32_MAX)
        SXT_REJECT(&device->logger, "%s: block_table.shape[3] is %u, and pages have %u rows: a sequence has at most %d",
                   op, pages, rows, INT32_MAX);
    d->max_k_tokens = pages * rows;
    return sxt_tensor_broadcast(device, op, "block_table", table_shape, 1 << SXT_HEAD, "the number of sequences",
                                &d->block_table);
}

sxt_result sxt_attention_resolve_sequences(const sxt_device *device, sxt_attention_desc *d) {
    const bool ragged_q = sxt_tensor_present(&d->cu_seqlens_q), ragged_k = sxt_tensor_present(&d->cu_seqlens_k);
    const bool paged = sxt_tensor_present(&d->block_table);
    const uint32_t offsets_shape[4] = {1, 1, 1, d->cu_seqlens_q.shape[SXT_CHANNEL]};
    sxt_result result;
    if (ragged_q && offsets_shape[SXT_CHANNEL] == 0)
        SXT_REJECT(&device->logger, "%s: cu_seqlens_q.shape[3] is 0, and must be one more than there are sequences",
                   op);
    if (ragged_q && ((result = sxt_tensor_broadcast(device, op, "cu_seqlens_q", offsets_shape, 0, "a list of offsets",
                                                    &d->cu_seqlens_q)) ||
                     (result = check_ragged(device, "q", &d->q, "max_q_tokens", d->max_q_tokens, "cu_seqlens_q"))))
        return result;
    if (ragged_k && ((result = sxt_tensor_broadcast(device, op, "cu_seqlens_k", offsets_shape, 0, "cu_seqlens_q",
                                                    &d->cu_seqlens_k)) ||
                     (result = check_ragged(device, "k", &d->k, "max_k_tokens", d->max_k_tokens, "cu_seqlens_k"))))
        return result;
    const uint32_t sequences = sxt_attention_sequences(d);
    const uint32_t lengths_shape[4] = {1, 1, 1, sequences};
    if (!ragged_k && !paged && d->k.shape[SXT_BATCH] != sequences)
        SXT_REJECT(&device->logger, "%s: k.shape[0] is %u, and must be %u, as in %s", op, d->k.shape[SXT_BATCH],
                   sequences, ragged_q ? "cu_seqlens_q" : "q");
    if (sxt_tensor_present(&d->kv_lengths) &&
        (result = sxt_tensor_broadcast(device, op, "kv_lengths", lengths_shape, 0, "the number of sequences",
                                       &d->kv_lengths)))
        return result;
    if (!ragged_q) d->max_q_tokens = d->q.shape[SXT_TOKEN];
    if (paged) return resolve_pages(device, sequences, d);
    if (!ragged_k) d->max_k_tokens = d->k.shape[SXT_TOKEN];
    return SXT_OK;
}
