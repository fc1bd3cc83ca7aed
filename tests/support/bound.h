// A-priori error bounds: how far a kernel that computes in f32 may be from the exact result, derived from the types and
// the number of roundings alone, and comparisons that accept twice that.
//
// u = 2⁻²⁴ is the relative error of one f32 operation. A sum of n terms by any order of additions is off by at most n·u
// times the sum of magnitudes (Higham 2002, ch. 4); kernels that add in parallel do better, and none may do worse.
#ifndef SXT_TESTS_SUPPORT_BOUND_H
#define SXT_TESTS_SUPPORT_BOUND_H

#include "support/trial.h"

#define SXT_TEST_U 0x1p-24

// The error of rounding a value of magnitude `magnitude` to a type: relative, or half the gap between subnormals (a
// device may flush f32 and bf16 subnormals to zero: then the smallest normal number).
double sxt_test_rounding(sxt_type type, double magnitude);

// The figure that ‖y − ref‖/‖ref‖ must reach with outputs of this type: 1e-3 for f16, 8e-3 for bf16, `f32` for f32.
double sxt_test_figure(sxt_type type, double f32);

// Problem: an element of `got` is off by more than twice its bound (NaN must meet NaN, Inf the same Inf), or ‖got −
// want‖/‖want‖ is more than `figure`, if that is not 0. Elements for which `want` is not finite do not count in the
// figure. `bounds` has one entry an element.
const char *sxt_test_compare(sxt_test_trial *trial, sxt_test_side got_side, const sxt_tensor *got,
                             sxt_test_side want_side, const sxt_tensor *want, const double *bounds, double figure);

// Normalises one row in double, without gain: writes the values and the bounds of their errors in f32 arithmetic.
//   rms, l2   |y|·(L/2 + 8)u         L = count: the sum under the root, halved by the root
//   layer     the same, and (L + 2)u·mean|x|/σ: from the mean, which cancels
void sxt_test_norm_row(sxt_norm_kind kind, double eps, uint32_t count, const double *row, double *out_values,
                       double *out_bounds);

// The bounds of a rotated row from its values before and their bounds: (|a| + |b|)·m·(ε_trig + 2u), where 2·ε_trig is
// the promised 1e-6 rad, and what a and b bring along. Rounding to the output's type is not in it. DBL_MIN more, so that
// a zero has either sign: of a sum of two zeros it hangs on the sine's, and an inverse at angle 0 has one of −0.
void sxt_test_rope_row(const sxt_rope_params *rope, uint32_t count, const double *values, const double *before,
                       double *out_bounds);

#endif
