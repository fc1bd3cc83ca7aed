// Conversions between double or float and the storage types, each correctly rounded (nearest even) in one step.
// f16 overflows to ±Inf, keeps subnormals; NaN stays NaN.
#ifndef SXT_CORE_NUMBER_H
#define SXT_CORE_NUMBER_H

#include "sextant/sextant.h"

uint16_t sxt_f16_from_double(double x);
double sxt_f16_to_double(uint16_t bits);
uint16_t sxt_bf16_from_double(double x);
double sxt_bf16_to_double(uint16_t bits);

// Element `index` of an array of `type`. q8_0 is only loaded.
double sxt_load(sxt_type type, const void *data, uint64_t index);
void sxt_store(sxt_type type, void *data, uint64_t index, double value);

#endif
