// Conversions between double or float and the storage types, each correctly rounded (nearest even) in one step.
// f16 and bf16 overflow to ±Inf, fp8 saturates; subnormals are kept; a NaN stays one, and between f32, f16 and bf16
// keeps what its payload has room for: f16 → f32 → f16 gives the same bits for every NaN, signalling ones too.
#ifndef SXT_CORE_NUMBER_H
#define SXT_CORE_NUMBER_H

#include "sextant/sextant.h"

// Of the types with blocks, q8_0 and q4_0: elements of a block.
enum { SXT_BLOCK = 32 };

uint32_t sxt_f32_from_double(double x);
double sxt_f32_to_double(uint32_t bits);
uint16_t sxt_f16_from_double(double x);
double sxt_f16_to_double(uint16_t bits);
uint16_t sxt_bf16_from_double(double x);
double sxt_bf16_to_double(uint16_t bits);
uint8_t sxt_fp8_from_double(double x);
double sxt_fp8_to_double(uint8_t bits);

// Element `index` of an array of `type`. Types with blocks are stored by rows only.
double sxt_load(sxt_type type, const void *data, uint64_t index);
void sxt_store(sxt_type type, void *data, uint64_t index, double value);

// A row of `count` elements of any type, whole blocks. Blocks are made of the values rounded to f32, in f32, as
// sextant.h says; everything else is rounded once.
void sxt_encode(sxt_type type, const double *values, uint32_t count, void *out_data);
void sxt_decode(sxt_type type, const void *data, uint32_t count, double *out_values);

#endif
