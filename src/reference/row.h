// What the reference's operations share: rows of channels as doubles, and the two maps that one row goes through.
#ifndef SXT_REFERENCE_ROW_H
#define SXT_REFERENCE_ROW_H

#include "core/op.h"
#include "core/tensor.h"

// Channels of one row, as doubles, and back, rounded to the tensor's type (an output's, contiguous).
void sxt_row_load(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, double *out_row);
void sxt_row_store(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, const double *row);

// Where a row begins.
void *sxt_row_data(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head);

// One element.
double sxt_row_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel);

// Normalises a row in place, without weight and bias. A row whose length is 0 stays 0. Kind none changes nothing.
void sxt_row_normalise(sxt_norm_kind kind, double eps, uint32_t channels, double *row);

// Multiplies the row by (offset + weight), if there is one.
void sxt_row_weigh(const sxt_tensor *weight, double offset, uint32_t batch, uint32_t token, uint32_t head,
                   uint32_t channels, double *row);

// Rotates a row in place, by the positions of its token, and multiplies what turned by `magnitude`.
void sxt_row_rotate(const sxt_rope_params *params, const sxt_tensor *positions, uint32_t batch, uint32_t token,
                    double magnitude, double *row);

#endif
