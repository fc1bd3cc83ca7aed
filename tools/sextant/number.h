// The storage types of tensors on the host, each conversion correctly rounded (nearest even).
#ifndef SXT_TOOL_NUMBER_H
#define SXT_TOOL_NUMBER_H

#include "sextant/sextant.h"

double sxt_number_get(sxt_type type, const void *data, uint64_t index);

// Not for q8_0 and q4_0, whose elements share a scale.
void sxt_number_put(sxt_type type, void *data, uint64_t index, double value);

// The nearest number that the type has; past ±448 fp8 saturates. Not for q8_0 and q4_0.
double sxt_number_round(sxt_type type, double value);

// Converts `count` values, a multiple of the type's block, to dense elements; blocks by ggml's arithmetic in f32.
void sxt_number_convert(sxt_type type, void *data, uint64_t count, const float *values);

// Bytes of `count` dense elements.
uint64_t sxt_number_bytes(sxt_type type, uint64_t count);

// Unit roundoff: half the distance from 1 to the next number. 0 for integers and blocks.
double sxt_number_roundoff(sxt_type type);

// The largest error of rounding a number too small to be normal, or of flushing it to zero where the device may.
double sxt_number_tiny(sxt_type type);

#endif
