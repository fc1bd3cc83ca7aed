// A-priori error bounds: from the types, the shapes and the length of sums alone, never from what a device returned.
#ifndef SXT_TOOL_BOUND_H
#define SXT_TOOL_BOUND_H

#include "work.h"

// A measured error is accepted up to this many times its bound.
#define SXT_BOUND_SLACK 2.0

// What a stage read and what the reference made of it: dense data by slot.
typedef struct sxt_evidence {
    const sxt_work *work;
    const sxt_stage *stage;
    void *const *before;     // as the stage found it
    void *const *reference;  // as the reference left it; outputs are not yet rounded to the device's type
    const double *magnitude; // attention: Σ p·|v| for each element of o
} sxt_evidence;

// Writes the bound of each element of what the stage writes to `field`, which the device holds in `type`. With
// u = 2^-24 and u_out that of `type`, L the length of the longest sum, tiny for numbers that may be flushed:
//   rms, l2    |y − bias|·(L/2 + 8)u + 2u|bias| + u_out|y|
//   layer      the same, and ((L + 2)u·mean|x| + u|x|)/σ·|gain|
//   rope       (|a| + |b|)(ε_trig + 4u) + u_out|y|, where |a| + |b| ≤ √2·(length of the rotated pair)
//   fused      the norm's relative error joins the rotation's
//   kv_write   0: every bit
//   attention  with δ = (d + 4)u·scale·max_j Σ|q·k| + what bias, slopes and softcap add:
//              o (2δ + (L + 6)u + ε_exp)·Σp|v| + u_out|o|;  lse δ + (L + 6)u + ε_exp + 2u|lse|
void sxt_bound(const sxt_evidence *evidence, const char *field, sxt_type type, double *out_bound);

// How much worse than its rows a layer norm's result is conditioned: the largest mean|x|/σ, at least 1. 1 for all else.
double sxt_bound_condition(const sxt_evidence *evidence);

// The relative error ‖y − ref‖/‖ref‖ allowed for a slot: 2e-6 for norm and rope, 5e-6 for attention (1e-5 on a q8_0
// cache, against the dequantised values), 1e-3 as soon as f16 and 8e-3 as soon as bf16 stands between input and output
// or holds the output.
double sxt_bound_relative(const sxt_work *work, int slot);
double sxt_bound_relative_type(sxt_type type);

#endif
