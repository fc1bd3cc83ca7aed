// What the tests of attention share: the error bounds, and a check of one description.
#ifndef SXT_TESTS_SUPPORT_ATTENTION_H
#define SXT_TESTS_SUPPORT_ATTENTION_H

#include "support/trial.h"

// Whether query i sees key j by the description's masks: written from CONVENTIONS, not taken from the library.
bool sxt_test_visible(const sxt_attention_desc *desc, uint32_t query, uint32_t key);

// Bounds for o and lse, to be freed: one an element, in f32 arithmetic, with u = 2⁻²⁴:
//   δ     = (d + 2)u·|scale|·max_j Σ|q·k|, + 16u·softcap, + 3u·(|bias| + slope·|distance|)    the scores
//   ε_exp = 2u·(3 + 2·ln(Tk + 1))   exp is within 3 + 2|x| ULP (Vulkan); weighted by p, |x| is at most ln Tk, an entropy
//   |Δo|  ≤ (2δ + (Tk + 6)u + ε_exp)·Σp|v| + rounding(|o|)
//   |Δlse| ≤ δ + (Tk + 6)u + ε_exp + rounding(|lse|)
void sxt_test_attention_bounds(const sxt_test_trial *trial, const sxt_attention_desc *desc, double **out_o,
                               double **out_lse);

// Runs the description on both sides and requires o and lse within the bounds, and ‖o − ref‖/‖ref‖ within the figure of
// o's type, if `f32_figure`, that of f32, is not 0.
void sxt_test_attention_check(sxt_test_trial *trial, const sxt_attention_desc *desc, double f32_figure);

// Adds the description to what a failure prints.
void sxt_test_attention_say(sxt_test_trial *trial, const sxt_attention_desc *desc);

#endif
