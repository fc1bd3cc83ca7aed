// The storage types of tensors on the host, each conversion correctly rounded (nearest even).
#ifndef SXT_TOOL_NUMBER_H
#define SXT_TOOL_NUMBER_H

#include "sextant/sextant.h"

double sxt_number_get(sxt_type type, const void *data, uint64_t index);

// Not for q8_0, whose elements share a scale.
void sxt_number_put(sxt_type type, void *data, uint64_t index, double value);

// Quantises blocks of 32 values as ggml does: scale max|x|/127, halves rounded away from zero.
void sxt_number_put_q8_0(void *data, uint64_t first_block, uint64_t block_count, const float *values);

// Bytes of `count` dense elements.
uint64_t sxt_number_bytes(sxt_type type, uint64_t count);

// Unit roundoff: half the distance from 1 to the next number. 0 for integers.
double sxt_number_roundoff(sxt_type type);

// The largest error of rounding a number too small to be normal, or of flushing it to zero where the device may.
double sxt_number_tiny(sxt_type type);

#endif
