// Conversions between f32 and the 16-bit types by integer arithmetic, and f32's own: correctly rounded on every driver,
// with subnormals, infinities and NaN, and without any optional feature. (packHalf2x16 may round toward zero.)
#ifndef SXT_LIB_NUMBER_GLSL
#define SXT_LIB_NUMBER_GLSL

// m / 2^shift to the nearest, ties to even; shift from 1 to 31.
uint sxt_shifted(uint m, uint shift) {
    uint q = m >> shift, rest = m & ((1u << shift) - 1u), half_unit = 1u << (shift - 1u);
    return q + uint(rest > half_unit || (rest == half_unit && (q & 1u) != 0u));
}

// Without branches: on a GPU lanes would take all of them, and a driver on the CPU pays more for one than for all this.
// (float16_t() and packHalf2x16 round as the driver likes; lavapipe makes as much arithmetic of them.) A NaN keeps its
// payload, so that bits come back through f32.
uint sxt_f16_from_f32(float value) {
    uint bits = floatBitsToUint(value), a = bits & 0x7fffffffu;
    uint normal = (a - 0x37fff001u + ((a >> 13) & 1u)) >> 13;
    uint subnormal = floatBitsToUint(uintBitsToFloat(a) + 0.5) - 0x3f000000u; // the sum is in units of 2^-24
    uint rest = 0x7c00u | mix(0u, max((a >> 13) & 0x3ffu, 1u), a > 0x7f800000u);
    uint small = mix(normal, subnormal, a < 0x38800000u);
    return ((bits >> 16) & 0x8000u) | mix(small, rest, a >= 0x47800000u);
}

uint sxt_bf16_from_f32(float value) {
    uint bits = floatBitsToUint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (bits >> 16) | ((bits & 0x7f0000u) == 0u ? 0x40u : 0u);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

float sxt_f16_to_f32(uint bits) {
    uint sign = (bits & 0x8000u) << 16, e = (bits >> 10) & 31u, m = bits & 0x3ffu;
    if (e == 0u) // m · 2^-24 is a normal f32: no driver flushes it
        return uintBitsToFloat(floatBitsToUint(float(m) * 5.9604644775390625e-8) | sign);
    return uintBitsToFloat(sign | ((e == 31u ? 255u : e + 112u) << 23) | (m << 13));
}

float sxt_bf16_to_f32(uint bits) {
    return uintBitsToFloat(bits << 16);
}

#endif
