#include "reference/row.h"

#include "core/number.h"

void *sxt_row_data(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head) {
    uint64_t first = sxt_tensor_row(tensor, batch, token, head);
    return (char *)tensor->buffer->mapped + tensor->offset_bytes +
           first / sxt_type_block(tensor->type) * sxt_type_size(tensor->type);
}

void sxt_row_load(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, double *out_row) {
    for (uint32_t c = 0; c < tensor->shape[SXT_CHANNEL]; c++)
        out_row[c] = sxt_row_at(tensor, batch, token, head, c);
}

void sxt_row_store(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, const double *row) {
    sxt_encode(tensor->type, row, tensor->shape[SXT_CHANNEL], sxt_row_data(tensor, batch, token, head));
}

double sxt_row_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    return sxt_load(tensor->type, sxt_row_data(tensor, batch, token, head), channel * tensor->strides[SXT_CHANNEL]);
}
