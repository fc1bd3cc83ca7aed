// What a store into a cache may leave, when the value to be stored is known only up to an error.
#ifndef SXT_TOOL_STORE_H
#define SXT_TOOL_STORE_H

#include "sextant/sextant.h"

// Writes the range, decoded, of what a device may store for `count` values (a block, or one of a type without blocks):
// it has computed values[i] with an error of at most errors[i] in f32, and converts to `type` as sextant.h says.
// `scale`: that of an fp8 cache, else 1. Where no error moves a value over an edge between two codes, low = high.
// NaN for a block that has a NaN or an infinity.
void sxt_store_range(sxt_type type, const double *values, const double *errors, uint32_t count, double scale,
                     double *out_low, double *out_high);

#endif
