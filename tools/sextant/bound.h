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

// What the device holds a field in.
typedef struct sxt_target {
    sxt_type type;
    const float *scale; // of an fp8 cache; NULL: none
    uint32_t scales;    // 1, or one a head
} sxt_target;

// Writes for each element of what the stage writes to `field` what is right, decoded, and how far off it may be. With
// u = 2^-24 and u_out that of the target's type, L the length of the longest sum, tiny for numbers that may be flushed:
//   rms, l2    |y − bias|·(L/2 + 8)u + 2u|bias| + u_out|y|
//   layer      the same, and ((L + 2)u·mean|x| + u|x|)/σ·|gain|
//   rope       (|a| + |b|)(ε_trig + 4u) + u_out|y|, where |a| + |b| ≤ √2·(length of the rotated pair)
//   fused      the norm's relative error joins the rotation's; values that only pass through to their cache: 0
//   kv_shift   as rope; 0 for rows that stay where they are
//   attention  with δ = (d + 4)u·scale·max_j Σ|q·k| + what bias, slopes, softcap and a scale of k add:
//              o (2δ + (L + 6)u + ε_exp)·Σp|v| + u_out|o|;  lse δ + (L + 6)u + ε_exp + 2u|lse|
//              Products of a narrower type, of roundoff w: queries (of another type) and keys in blocks add w each to
//              the (d + 4)u of δ, weights and values in blocks w each to what is before Σp|v|; and see narrow_rest.
//   merge      see bound_attention.c
// In blocks and fp8, one code off is much, so what is right is a range: see store.h. Not for kv_write and kv_copy, which
// have every bit right.
void sxt_bound(const sxt_evidence *evidence, const char *field, const sxt_target *target, double *out_right,
               double *out_bound);

// How much worse than its rows a layer norm's result is conditioned: the largest mean|x|/σ, at least 1. 1 for all else.
double sxt_bound_condition(const sxt_evidence *evidence);

// The relative error ‖y − ref‖/‖ref‖ allowed for a slot: 2e-6 for norm and rope, 5e-6 for attention (1e-5 on a quantised
// cache, against the decoded values), and more as soon as a narrower type stands between input and output or holds the
// output: 1e-3 for f16, 8e-3 for bf16, 1e-2 for q8_0, 6e-2 for fp8 and 0.15 for q4_0.
double sxt_bound_relative(const sxt_work *work, int slot);
double sxt_bound_relative_type(sxt_type type);

// ── Parts: the error of f32 arithmetic alone, before the store. bound_rows.c, bound_attention.c ──

#define SXT_BOUND_KEPT (-1.0) // of what is not stored anew, but keeps its bits

void sxt_bound_norm(const sxt_evidence *evidence, const char *field, double *out_bound);
void sxt_bound_rotation(const sxt_evidence *evidence, const char *field, double *out_bound);
void sxt_bound_attention(const sxt_evidence *evidence, const char *field, double *out_bound);
void sxt_bound_merge(const sxt_evidence *evidence, const char *field, double *out_bound);

// The slot and the input data of a field; NULL if the stage has none.
const sxt_slot *sxt_evidence_slot(const sxt_evidence *evidence, const char *field);
const void *sxt_evidence_before(const sxt_evidence *evidence, const char *field);

// What the reference has for a field, its slot being that of sxt_evidence_slot.
const void *sxt_evidence_result(const sxt_evidence *evidence, const char *field);

#endif
