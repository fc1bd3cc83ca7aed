#include "support/bound.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

double sxt_test_rounding(sxt_type type, double magnitude) {
    switch (type) {
    case SXT_TYPE_F32:
        return fmax(magnitude * 0x1p-24, 0x1p-126);
    case SXT_TYPE_F16:
        return fmax(magnitude * 0x1p-11, 0x1p-25);
    case SXT_TYPE_BF16:
        return fmax(magnitude * 0x1p-8, 0x1p-126);
    default:
        return 0;
    }
}

double sxt_test_figure(sxt_type type, double f32) {
    return type == SXT_TYPE_F32 ? f32 : type == SXT_TYPE_F16 ? 1e-3 : 8e-3;
}

// Whether the two agree, which for what is not finite takes the very same.
static bool within(double got, double want, double allowed) {
    if (isnan(want)) return isnan(got);
    if (isinf(want)) return got == want;
    return fabs(got - want) <= allowed; // false for a NaN
}

const char *sxt_test_compare(sxt_test_trial *trial, sxt_test_side got_side, const sxt_tensor *got,
                             sxt_test_side want_side, const sxt_tensor *want, const double *bounds, double figure) {
    double error = 0, norm = 0;
    for (uint64_t n = 0; n < sxt_test_count(got); n++) {
        const double g = sxt_test_get(trial, got_side, got, n), w = sxt_test_get(trial, want_side, want, n);
        if (!within(g, w, 2 * bounds[n])) {
            snprintf(trial->problem, sizeof trial->problem,
                     "element %llu of %llu ([%u, %u, %u, %u]) is %.9g, not %.9g: off by %.3g, %.3g is allowed",
                     (unsigned long long)n, (unsigned long long)sxt_test_count(got), got->shape[0], got->shape[1],
                     got->shape[2], got->shape[3], g, w, fabs(g - w), 2 * bounds[n]);
            return trial->problem;
        }
        if (isfinite(w)) {
            error += (g - w) * (g - w);
            norm += w * w;
        }
    }
    if (figure > 0 && sqrt(error) > figure * sqrt(norm)) {
        snprintf(trial->problem, sizeof trial->problem, "‖y − ref‖/‖ref‖ is %.3g, %.3g is allowed", sqrt(error / norm),
                 figure);
        return trial->problem;
    }
    return NULL;
}

void sxt_test_norm_row(sxt_norm_kind kind, double eps, uint32_t count, const double *row, double *out_values,
                       double *out_bounds) {
    double mean = 0, magnitude = 0, squares = 0, divisor = 1;
    for (uint32_t c = 0; c < count; c++) {
        mean += row[c] / count;
        magnitude += fabs(row[c]) / count;
    }
    if (kind != SXT_NORM_LAYER) mean = 0;
    for (uint32_t c = 0; c < count; c++)
        squares += (row[c] - mean) * (row[c] - mean);
    if (kind == SXT_NORM_L2) divisor = sqrt(squares) < eps ? eps : sqrt(squares); // fmax would lose a NaN
    if (kind == SXT_NORM_RMS || kind == SXT_NORM_LAYER) divisor = sqrt(squares / count + eps);
    for (uint32_t c = 0; c < count; c++) {
        // A row of zeros gives zeros, whatever eps.
        out_values[c] = divisor == 0 ? 0 : (row[c] - mean) / divisor;
        out_bounds[c] = kind == SXT_NORM_NONE ? 0 : fabs(out_values[c]) * (0.5 * count + 8) * SXT_TEST_U;
        if (kind == SXT_NORM_LAYER && divisor > 0) out_bounds[c] += (count + 2) * SXT_TEST_U * magnitude / divisor;
    }
}

void sxt_test_rope_row(const sxt_rope_params *rope, uint32_t count, const double *values, const double *before,
                       double *out_bounds) {
    const double trig = 0.5e-6;
    const uint32_t dim = rope->rotary_dim ? rope->rotary_dim : count - rope->rotary_offset;
    double m = rope->attn_factor != 0 ? rope->attn_factor : 1;
    if (rope->ext_factor != 0) m *= 1 + 0.1 * log(1 / (rope->freq_scale != 0 ? rope->freq_scale : 1));
    memmove(out_bounds, before, count * sizeof *out_bounds);
    for (uint32_t i = 0; i < dim / 2; i++) {
        const bool half = rope->pairing == SXT_ROPE_HALF;
        const uint32_t a = rope->rotary_offset + (half ? i : 2 * i), b = half ? a + dim / 2 : a + 1;
        const double sum = fabs(values[a]) + fabs(values[b]);
        const double bound = fabs(m) * (sum * (trig + 2 * SXT_TEST_U) + before[a] + before[b]);
        out_bounds[a] = out_bounds[b] = bound + DBL_MIN;
    }
}
