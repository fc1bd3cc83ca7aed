// What all rotations come down to: for each pair a frequency and an axis, and one magnitude.
#ifndef SXT_CORE_ROPE_H
#define SXT_CORE_ROPE_H

#include "core/device.h"

// Checks rotation parameters against a head of `channels` and `planes` of positions, in a tensor that messages call
// `field`, and fills the defaults. Pairing NONE is refused: who takes it looks for it first.
//
// With `multi`, sections must count rotary_dim/2 pairs or more; what is over is cut off. With imrope, axis n owns the
// pairs i with i mod 3 = n and i < 3·sections[n]; a pair that nobody owns follows axis 3 where there is a fourth plane
// (ggml's way), else axis 0 (transformers' way, in Qwen3-VL): after this call sections[3] counts the former.
sxt_result sxt_rope_params_resolve(const sxt_device *device, const char *op, const char *field, uint32_t channels,
                                   uint32_t planes, const sxt_rope_params *params, sxt_rope_params *out_params);

// Checks resolved `positions` against `x`, which messages call `like`, and makes its batch repeat where it is 1.
sxt_result sxt_positions_resolve(const sxt_device *device, const char *op, const char *field, const sxt_tensor *x,
                                 const char *like, sxt_tensor *positions);

// Radians per position of pair i, all scaling included, and the sign of `inverse`. Parameters must be resolved.
// vision: pair j of a section has base^(−2j/(rotary_dim/2)), since half of the pairs go to each axis of an image; YaRN
// then counts in rotary_dim/2 too, and its ramp, like freq_factors, runs over all pairs (ggml's way).
double sxt_rope_frequency(const sxt_rope_params *params, uint32_t pair);

// The position plane that pair i follows.
uint32_t sxt_rope_axis(const sxt_rope_params *params, uint32_t pair);

// m: the factor on the rotated channels.
double sxt_rope_magnitude(const sxt_rope_params *params);

#endif
