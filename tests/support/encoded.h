// Whether bytes are what a row of numbers may become in a type, when each number is known up to a bound alone.
#ifndef SXT_TESTS_SUPPORT_ENCODED_H
#define SXT_TESTS_SUPPORT_ENCODED_H

#include "support/trial.h"

// Whether `data`, a row of `count` elements of `type` (whole blocks), may come from `values`, each of which the device
// had within twice `bounds`, divided by `scale` (1 but for fp8).
//
// f32, f16, bf16   off by 2·(bound + rounding) at most, as everywhere
// fp8_e4m3         rounding is monotone: the code is one of those between the codes of value ± 2·bound
// q8_0, q4_0       the stored scale lies between the codes of the least and the greatest d that the block's largest
//                  element may give; each quant between those of the least and the greatest quotient x/d, widened by
//                  6u for the f32 arithmetic of 1/d and the product, and of 8.5. So a quant may differ by a step where
//                  the quotient is that near to an edge, and nowhere else. q4_0: where several elements may be the
//                  largest, that holds for one of them.
// Where all bounds of a block are 0, or of an fp8 element its own, only the very bytes of sxt_encode will do. A NaN or
// an infinity among the values makes its block the NaN block, and its element NaN, or that infinity, or with fp8 ±448.
bool sxt_test_encoded(sxt_type type, uint32_t count, const double *values, const double *bounds, double scale,
                      const uint8_t *data);

#endif
