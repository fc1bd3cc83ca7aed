// How large a logit of normalised queries and keys can be.
//
// Let x̂ and ŷ be the rows after the division, of D channels. Their lengths are at most r: sqrt(D) for rms and layer
// norm (x̂_i² add up to D·mean/(mean + eps)), 1 for l2. q = g ⊙ x̂ and k = h ⊙ ŷ are then rotated: each pair p of
// channels by an angle of its own, and stretched by m. With q_p, k_p the two channels of a pair, and Cauchy-Schwarz twice,
//   |q·k| ≤ Σ_p m²·|q_p|·|k_p| ≤ Σ_p m²·max|g_p|·max|h_p|·|x̂_p|·|ŷ_p| ≤ r²·P,   P = max_p m²·max|g_p|·max|h_p|
// where a channel that is not rotated counts as a pair by itself, without m. Rows of one pair alone reach it.
//
// Storing multiplies each channel by a number from 0 to 1 + relative, and then moves it by at most `absolute` (half of
// the smallest step there is) plus, of types with blocks, by e = step·max|block|. The first stretches |q_p| and |k_p|
// by no more than that. For the last, with blocks B of n channels:
//   Σ_B Σ_{i∈B} |q_i|·e_B ≤ step·sqrt(n)·Σ_B |q_B|·|k_B| ≤ step·sqrt(n)·|q|·|k|
// and |q| ≤ r·G, G = max of |g_i|, times m where rotated; likewise |k| ≤ r·H. `absolute` adds no more than sqrt(D)·|q|
// and sqrt(D)·|k| times it.
//
// What is left is the arithmetic in f32, u = 2⁻²⁴: norms are right to (D/2 + 8)·u, rotations stretch by less than 8·u,
// decoding rounds once, and a sum of D products adds (D + 2)·u.
#include <float.h>
#include <math.h>

#include "core/rope.h"
#include "sextant/sextant.h"

enum { MAX_CHANNELS = 1 << 20 };

// What storing does to a value. Block types: steps are a little longer, for the roundings that make a code.
typedef struct storage_error {
    double relative, absolute, step, largest; // beyond `largest`, values become infinite
} storage_error;

static bool error_of(sxt_type type, float scale, storage_error *out_error) {
    switch (type) {
    case SXT_TYPE_F32:
        *out_error = (storage_error){.largest = FLT_MAX};
        return true;
    case SXT_TYPE_F16:
        *out_error = (storage_error){.relative = 0x1p-11, .absolute = 0x1p-25, .largest = 65504};
        return true;
    case SXT_TYPE_BF16:
        *out_error = (storage_error){.relative = 0x1p-8, .absolute = 0x1p-134, .largest = 0x1.fep127};
        return true;
    case SXT_TYPE_FP8_E4M3: // saturates
        *out_error = (storage_error){.relative = 0x1p-4, .absolute = 0x1p-10 * scale, .largest = FLT_MAX};
        return true;
    case SXT_TYPE_Q8_0: // d = max/127 in f16, times a code up to 127
        *out_error = (storage_error){0x1p-11, 127 * 0x1p-25, 1.0 / 253.9, 127 * 65504.0};
        return true;
    case SXT_TYPE_Q4_0: // d = max/8; the code at the far end saturates
        *out_error = (storage_error){0x1p-11, 8 * 0x1p-25, 1.0 / 15.99, 8 * 65504.0};
        return true;
    case SXT_TYPE_I32:
        break;
    }
    return false;
}

// Gains with their defaults, and how the rotation groups channels.
typedef struct frame {
    const sxt_logit_bound_desc *desc;
    sxt_rope_params rope; // resolved; rotary_dim 0: nothing is rotated
    double magnitude;
} frame;

static double gain(const frame *f, const float *weights, uint32_t channel) {
    return weights != NULL ? fabs((double)f->desc->offset + weights[channel]) : 1.0;
}

static bool rotated(const frame *f, uint32_t channel) {
    return channel >= f->rope.rotary_offset && channel - f->rope.rotary_offset < f->rope.rotary_dim;
}

// The channel that one is rotated with; itself where it is not.
static uint32_t partner(const frame *f, uint32_t channel) {
    if (!rotated(f, channel)) return channel;
    const uint32_t at = channel - f->rope.rotary_offset, half = f->rope.rotary_dim / 2;
    if (f->rope.pairing == SXT_ROPE_INTERLEAVED) return f->rope.rotary_offset + (at ^ 1);
    return f->rope.rotary_offset + (at < half ? at + half : at - half);
}

// The largest P of any pair, and G or H.
static double largest_pair(const frame *f) {
    const sxt_logit_bound_desc *d = f->desc;
    double largest = 0;
    for (uint32_t c = 0; c < d->channels; c++) {
        const uint32_t other = partner(f, c);
        const double stretch = rotated(f, c) ? f->magnitude : 1.0;
        const double g = fmax(gain(f, d->q_weight, c), gain(f, d->q_weight, other));
        const double h = fmax(gain(f, d->k_weight, c), gain(f, d->k_weight, other));
        largest = fmax(largest, stretch * stretch * g * h);
    }
    return largest;
}

static double largest_gain(const frame *f, const float *weights) {
    double largest = 0;
    for (uint32_t c = 0; c < f->desc->channels; c++)
        largest = fmax(largest, (rotated(f, c) ? f->magnitude : 1.0) * gain(f, weights, c));
    return largest;
}

// The types of q that attention takes.
static bool is_float(sxt_type type) {
    return type == SXT_TYPE_F32 || type == SXT_TYPE_F16 || type == SXT_TYPE_BF16;
}

static bool all_finite(const float *weights, uint32_t count) {
    for (uint32_t i = 0; weights != NULL && i < count; i++)
        if (!isfinite(weights[i])) return false;
    return true;
}

static bool frame_init(const sxt_logit_bound_desc *desc, frame *out_frame) {
    static const sxt_device silent;
    *out_frame = (frame){.desc = desc, .magnitude = 1.0};
    if (desc->rope == NULL || desc->rope->pairing == SXT_ROPE_NONE) return true;
    const uint32_t planes = desc->rope->multi == SXT_ROPE_SINGLE ? 1 : 4;
    if (sxt_rope_params_resolve(&silent, "", "", desc->channels, planes, desc->rope, &out_frame->rope) != SXT_OK)
        return false;
    out_frame->magnitude = fabs(sxt_rope_magnitude(&out_frame->rope));
    return isfinite(out_frame->magnitude);
}

sxt_result sxt_qk_norm_logit_bound(const sxt_logit_bound_desc *desc, float *out_bound) {
    frame f;
    storage_error q, k;
    if (desc == NULL || out_bound == NULL || (int)desc->norm < 0 || desc->norm >= SXT_NORM_NONE ||
        desc->channels == 0 || desc->channels > MAX_CHANNELS || !isfinite(desc->offset) || !isfinite(desc->scale) ||
        !isfinite(desc->k_scale) || desc->k_scale < 0 || !all_finite(desc->q_weight, desc->channels) ||
        !all_finite(desc->k_weight, desc->channels) || !is_float(desc->q_type) || !error_of(desc->q_type, 1.0f, &q) ||
        !error_of(desc->k_type, desc->k_scale == 0 ? 1.0f : desc->k_scale, &k) || !frame_init(desc, &f))
        return SXT_ERROR_INVALID;
    const double channels = desc->channels, u = 0x1p-24, block = sqrt(sxt_type_block(desc->k_type));
    const double r = desc->norm == SXT_NORM_L2 ? 1.0 : sqrt(channels);
    const double arithmetic = 1.0 + (channels + 32) * u;
    const double q_length = r * largest_gain(&f, desc->q_weight), k_length = r * largest_gain(&f, desc->k_weight);
    double bound = r * r * largest_pair(&f) + k.step * block * q_length * k_length +
                   sqrt(channels) * (k.absolute * q_length + q.absolute * k_length) +
                   channels * q.absolute * k.absolute;
    bound *= (1.0 + q.relative) * (1.0 + k.relative) * arithmetic * arithmetic * arithmetic;
    bound *= desc->scale == 0 ? 1.0 / sqrt(channels) : fabs(desc->scale);
    bound *= 1.0 + 2 * u; // for the scale's own rounding, and for this conversion
    const bool overflows = q_length * arithmetic > q.largest || k_length * arithmetic > k.largest || bound > FLT_MAX;
    *out_bound = overflows ? 0.0f : (float)bound;
    return SXT_OK;
}
