// What the tests of attention share: results and error bounds of every form, computed here in double precision and not
// by the library, and a check of one description.
#ifndef SXT_TESTS_SUPPORT_ATTENTION_H
#define SXT_TESTS_SUPPORT_ATTENTION_H

#include "support/sequence.h"

// One row of o with its bounds, d_v numbers each, and of lse. `n` counts rows of o in dense order: it is the number of
// the row's element of lse.
typedef struct sxt_test_attention_row {
    uint64_t n;
    double *o, *o_bounds;
    double lse, lse_bound;
} sxt_test_attention_row;

// Calls `visit` for every row of every sequence: with hostile offsets, a row may come more than once, or never.
// Bounds are those of f32 arithmetic, with u = 2⁻²⁴, d channels, Tk keys of the sequence, p the weights:
//   δ     = (d + 2)u·|scale|·max_j Σ|q·k|, + 16u·softcap, + 3u·(|bias| + slope·|distance|)    the scores; with k_scale
//           one more u in the first, which multiplies
//   ε_exp = 2u·(3 + 2·ln(Tk + 1))   exp is within 3 + 2|x| ULP (Vulkan); weighted by p, |x| is at most ln Tk, an entropy
//   |Δo|  ≤ (2δ + (Tk + 6)u + ε_exp)·Σp|v| + rounding(|o|)                                    with v_scale, Tk + 7
//   |Δlse| ≤ δ + (Tk + 6)u + ε_exp + rounding(|lse|)
// Where the device rounds to a narrower type for its products, of roundoff w (see sxt_test_products):
//   δ      has w·|scale|·max_j Σ|q·k| more for q of another type, and once more for k in blocks;
//   |Δo|   has w·Σp|v| more for the weights, and once more for v in blocks; and 2⁻³³·Σ|v|, since weights are in units
//          of which the largest has 2⁸ or more, and of which f16's subnormal numbers may be off by 2⁻²⁵;
//   ε_exp  has 60u more, since what is taken off scores is not the largest, but within 2¹⁵ of it;
//   |Δlse| has 5u·(|lse| + 12) more, of the logarithms of what was taken off and of the sum.
// Where |s| ≤ B is known, by a softcap or a promise, and no bias or ALiBi follows, devices may sum e^s as it is. Then
//   ε_exp  takes Σp|s| for ln(Tk + 1): the arguments of exp are no longer differences from the largest;
//   |Δlse| has 5u·|lse| more, of the logarithm;
//   |Δo|   has 2⁻¹²⁶·e^B more: e^s·v ≥ e^−B·v may fall below f32's normal range, for |v| below 3e-21 at B = 40.
typedef void sxt_test_attention_visit(void *context, const sxt_test_attention_row *row);
void sxt_test_attention_rows(const sxt_test_trial *trial, const sxt_attention_desc *desc,
                             sxt_test_attention_visit *visit, void *context);

// The bounds alone, of all elements of o and lse in dense order, to be freed. 0 for rows of no sequence.
void sxt_test_attention_bounds(const sxt_test_trial *trial, const sxt_attention_desc *desc, double **out_o,
                               double **out_lse);

// Requires of a run description that o and lse on `side` are right: each element within twice its bound (on the
// reference: within its rounding, and a millionth of its bound); of one sequence's result, where several claim the row;
// and bit by bit as they were, where none does. ‖o − right‖/‖right‖ is within the figure of o's type, if `f32_figure`,
// that of f32, is not 0.
void sxt_test_attention_require(sxt_test_trial *trial, sxt_test_side side, const sxt_attention_desc *desc,
                                double f32_figure);

// Runs the description on both sides and requires all this of both, and SXT_FAULT_INDEX where it has to be.
void sxt_test_attention_check(sxt_test_trial *trial, const sxt_attention_desc *desc, double f32_figure);

// Requires that two runs over the same inputs agree: each may be off by its bound.
void sxt_test_attention_require_close(sxt_test_trial *trial, const sxt_attention_desc *a, const sxt_attention_desc *b);

// The same, bit by bit.
void sxt_test_attention_require_same(sxt_test_trial *trial, const sxt_attention_desc *a, const sxt_attention_desc *b);

// The greatest |scale·(q·k)| that a query sees: the least promise that can be kept.
double sxt_test_largest_logit(const sxt_test_trial *trial, const sxt_attention_desc *desc);

// Adds the description to what a failure prints.
void sxt_test_attention_say(sxt_test_trial *trial, const sxt_attention_desc *desc);

#endif
