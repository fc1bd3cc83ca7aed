// The statistics of one row, for every kernel that normalises. See sxt_norm in sextant.h for the formulas.
#ifndef SXT_LIB_NORM_GLSL
#define SXT_LIB_NORM_GLSL

#include "interface/norm.h"
#include "lib/reduce.glsl"

// The including file defines these over the elements r of the row that this lane holds; 0 where it holds none.
float sxt_lane_sum(float scale);                   // Σ r·scale
float sxt_lane_squares(float scale, float centre); // Σ (r·scale − centre)²
float sxt_lane_largest();                          // max |r|

// A normalised element is (r·scale − centre)·factor, before gain and bias. scale is a power of two.
struct sxt_row_norm {
    float scale, centre, factor;
};

// What the root is taken of: of values, and eps, that have been multiplied by `scale`.
float sxt_power(uint kind, float squares, float count, float eps, float scale) {
    float least = eps * scale;
    if (kind == SXT_KIND_L2)
        return squares < least * least ? least * least : squares; // max would lose a NaN
    return squares / count + least * scale;
}

// Squares leave f32's range long before the values do: below 2^-80 (0x17800000), from 2^128 on, or where it is NaN.
bool sxt_extreme(float power) {
    return floatBitsToUint(power) - 0x17800000u >= 0x7f800000u - 0x17800000u;
}

float sxt_factor(float power) {
    return power == 0.0 ? 0.0 : 1.0 / sqrt(power);
}

// Brings what dominates an extreme row near 1.
float sxt_scale(uint kind, float largest, float eps) {
    uint exponent = floatBitsToUint(max(largest, kind == SXT_KIND_L2 ? eps : sqrt(eps))) >> 23;
    return uintBitsToFloat((254u - clamp(exponent, 1u, 253u)) << 23);
}

// All invocations of the workgroup call this together.
sxt_row_norm sxt_row_solve(uint kind, uint channels, float eps) {
    float count = float(channels), scale = 1.0;
    for (bool again = false;; again = true) {
        float centre = kind == SXT_KIND_LAYER ? sxt_row_add(sxt_lane_sum(scale)) / count : 0.0;
        float power = sxt_power(kind, sxt_row_add(sxt_lane_squares(scale, centre)), count, eps, scale);

        bool extreme = sxt_extreme(power);
        if (!sxt_row_branch(extreme && !again))
            return sxt_row_norm(scale, centre, sxt_factor(power));
        float largest = sxt_row_max(sxt_lane_largest());
        if (extreme)
            scale = sxt_scale(kind, largest, eps);
    }
}

#endif
