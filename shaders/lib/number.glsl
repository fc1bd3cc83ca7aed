// Conversions between f32 and the 16-bit types by integer arithmetic: correctly rounded on every driver, with
// subnormals, infinities and NaN, and without any optional feature. (packHalf2x16 may round toward zero.)
#ifndef SXT_LIB_NUMBER_GLSL
#define SXT_LIB_NUMBER_GLSL

// m / 2^shift to the nearest, ties to even; shift from 1 to 31.
uint sxt_shifted(uint m, uint shift) {
    uint q = m >> shift, rest = m & ((1u << shift) - 1u), half_unit = 1u << (shift - 1u);
    return q + uint(rest > half_unit || (rest == half_unit && (q & 1u) != 0u));
}

uint sxt_f16_from_f32(float value) {
    uint bits = floatBitsToUint(value);
    uint sign = (bits >> 16) & 0x8000u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u) // a NaN keeps its payload, so that bits come back through f32
        return sign | 0x7c00u | max((a >> 13) & 0x3ffu, 1u);
    if (a >= 0x477ff000u) // 65520 and above round to infinity
        return sign | 0x7c00u;
    if (a < 0x38800000u) { // below 2^-14: subnormal, in units of 2^-24
        if (a <= 0x33000000u)
            return sign;
        return sign | sxt_shifted((a & 0x7fffffu) | 0x800000u, 126u - (a >> 23));
    }
    return sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13);
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
