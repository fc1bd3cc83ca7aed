// How other models' RoPE scalings come down to a base or to frequency factors: in double, rounded at the end.
#include <math.h>
#include <string.h>

#include "sextant/sextant.h"

static const double two_pi = 6.283185307179586476925287;

static bool positive(float value) {
    return isfinite(value) && value > 0.0f;
}

static bool all_positive(const float *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!positive(values[i])) return false;
    return true;
}

static bool base_fits(float base) {
    return isfinite(base) && base >= 1.0f;
}

static bool dim_fits(uint32_t rotary_dim) {
    return rotary_dim >= 2 && rotary_dim % 2 == 0;
}

// bloc97, "NTK-Aware Scaled RoPE allows LLaMA models to have extended (8k+) context size", r/LocalLLaMA, June 2023.
static sxt_result ntk_base(double base, double factor, uint32_t rotary_dim, float *out_base) {
    double scaled = base * pow(factor, rotary_dim / (rotary_dim - 2.0));
    if (!base_fits((float)scaled)) return SXT_ERROR_INVALID;
    *out_base = (float)scaled;
    return SXT_OK;
}

sxt_result sxt_rope_ntk_base(float base, float factor, uint32_t rotary_dim, float *out_base) {
    if (out_base == NULL || !base_fits(base) || !positive(factor) || !dim_fits(rotary_dim) || rotary_dim == 2)
        return SXT_ERROR_INVALID;
    return ntk_base(base, factor, rotary_dim, out_base);
}

// _compute_dynamic_ntk_parameters in transformers' modeling_rope_utils.py.
sxt_result sxt_rope_dynamic_ntk_base(float base, float factor, uint32_t rotary_dim, uint32_t length,
                                     uint32_t original_context, float *out_base) {
    if (out_base == NULL || !base_fits(base) || !positive(factor) || !dim_fits(rotary_dim) || rotary_dim == 2 ||
        original_context == 0)
        return SXT_ERROR_INVALID;
    double stretch = length > original_context ? (double)length / original_context : 1.0;
    return ntk_base(base, factor * stretch - (factor - 1.0), rotary_dim, out_base);
}

// _compute_llama3_parameters in transformers' modeling_rope_utils.py, and apply_scaling in Meta's llama-models.
sxt_result sxt_rope_llama3_factors(float base, uint32_t rotary_dim, float factor, float low_freq_factor,
                                   float high_freq_factor, uint32_t original_context, float *out_freq_factors) {
    if (out_freq_factors == NULL || !base_fits(base) || !dim_fits(rotary_dim) || !positive(factor) ||
        !positive(low_freq_factor) || !positive(high_freq_factor) || low_freq_factor >= high_freq_factor ||
        original_context == 0)
        return SXT_ERROR_INVALID;
    double low = low_freq_factor, high = high_freq_factor, context = original_context;
    for (uint32_t i = 0; i < rotary_dim / 2; i++) {
        double wavelength = two_pi * pow(base, 2.0 * i / rotary_dim);
        double smooth = (context / wavelength - low) / (high - low);
        smooth = fmin(1.0, fmax(0.0, smooth));
        out_freq_factors[i] = (float)(1.0 / ((1.0 - smooth) / factor + smooth));
    }
    return SXT_OK;
}

// Ding et al. 2024, "LongRoPE"; the magnitude as in Phi-3: _compute_longrope_parameters in transformers'
// modeling_rope_utils.py.
sxt_result sxt_rope_longrope_factors(const float *short_factors, const float *long_factors, uint32_t rotary_dim,
                                     uint32_t length, uint32_t original_context, uint32_t max_context,
                                     float *out_freq_factors, float *out_attn_factor) {
    uint32_t pairs = rotary_dim / 2;
    if (short_factors == NULL || long_factors == NULL || out_freq_factors == NULL || out_attn_factor == NULL ||
        !dim_fits(rotary_dim) || original_context < 2 || max_context == 0 || !all_positive(short_factors, pairs) ||
        !all_positive(long_factors, pairs))
        return SXT_ERROR_INVALID;
    memmove(out_freq_factors, length > original_context ? long_factors : short_factors, pairs * sizeof(float));
    double stretch = (double)max_context / original_context;
    *out_attn_factor = (float)(stretch > 1.0 ? sqrt(1.0 + log(stretch) / log(original_context)) : 1.0);
    return SXT_OK;
}
