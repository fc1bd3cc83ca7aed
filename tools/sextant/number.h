// The storage types of tensors on the host, each conversion correctly rounded (nearest even).
#ifndef SXT_TOOL_NUMBER_H
#define SXT_TOOL_NUMBER_H

#include "sextant/sextant.h"

double sxt_number_get(sxt_type type, const void *data, uint64_t index);
void sxt_number_put(sxt_type type, void *data, uint64_t index, double value);

// Unit roundoff: half the distance from 1 to the next number. 0 for integers.
double sxt_number_roundoff(sxt_type type);

// The largest error of rounding a number too small to be normal, or of flushing it to zero where the device may.
double sxt_number_tiny(sxt_type type);

#endif
