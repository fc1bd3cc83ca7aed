// y = norm(r) · (offset + weight) + bias, r = x + residual. The sum r is kept in double: only residual_out and y are
// rounded, each at its own store, so that y comes from the unrounded r.
#include <math.h>
#include <stdlib.h>

#include "reference/reference.h"
#include "reference/row.h"

static double sum_of_squares(const double *row, uint32_t channels) {
    double sum = 0.0;
    for (uint32_t c = 0; c < channels; c++)
        sum += row[c] * row[c];
    return sum;
}

void sxt_row_normalise(sxt_norm_kind kind, double eps, uint32_t channels, double *row) {
    double length = 1.0;
    if (kind == SXT_NORM_LAYER) {
        double mean = 0.0;
        for (uint32_t c = 0; c < channels; c++)
            mean += row[c];
        mean /= channels;
        for (uint32_t c = 0; c < channels; c++)
            row[c] -= mean;
    }
    if (kind == SXT_NORM_RMS || kind == SXT_NORM_LAYER)
        length = sqrt(sum_of_squares(row, channels) / channels + eps);
    else if (kind == SXT_NORM_L2)
        length = sqrt(sum_of_squares(row, channels));
    if (kind == SXT_NORM_L2 && length < eps) // not fmax, which would lose a NaN
        length = eps;
    for (uint32_t c = 0; c < channels && length != 0.0; c++)
        row[c] /= length;
}

void sxt_row_weigh(const sxt_tensor *weight, double offset, uint32_t batch, uint32_t token, uint32_t head,
                   uint32_t channels, double *row) {
    for (uint32_t c = 0; c < channels && sxt_tensor_present(weight); c++)
        row[c] *= offset + sxt_row_at(weight, batch, token, head, c);
}

static void norm_row(const sxt_norm_desc *desc, uint32_t b, uint32_t t, uint32_t h, double *row) {
    uint32_t channels = desc->x.shape[SXT_CHANNEL];
    sxt_row_load(&desc->x, b, t, h, row);
    for (uint32_t c = 0; c < channels && sxt_tensor_present(&desc->residual); c++)
        row[c] += sxt_row_at(&desc->residual, b, t, h, c);
    if (sxt_tensor_present(&desc->residual_out)) sxt_row_store(&desc->residual_out, b, t, h, row);
    sxt_row_normalise(desc->kind, desc->eps, channels, row);
    sxt_row_weigh(&desc->weight, desc->offset, b, t, h, channels, row);
    for (uint32_t c = 0; c < channels && sxt_tensor_present(&desc->bias); c++)
        row[c] += sxt_row_at(&desc->bias, b, t, h, c);
    sxt_row_store(&desc->y, b, t, h, row);
}

sxt_result sxt_norm_reference(const sxt_norm_desc *desc) {
    const uint32_t *shape = desc->x.shape;
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++)
            for (uint32_t h = 0; h < shape[SXT_HEAD]; h++)
                norm_row(desc, b, t, h, row);
    free(row);
    return SXT_OK;
}
