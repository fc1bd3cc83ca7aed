// The types that only caches have: fp8 e4m3, and blocks of 32 channels, q8_0 and q4_0 (see sxt_type in sextant.h). All
// by integer arithmetic where a driver's division could be off by a bit, so that every device writes the same bytes.
#ifndef SXT_LIB_CODEC_GLSL
#define SXT_LIB_CODEC_GLSL

#include "interface/common.h"
#include "lib/number.glsl"

const uint SXT_BLOCK_CHANNELS = 32u;

uint sxt_block_bytes(uint type) {
    return type == SXT_STORE_Q8_0 ? 34u : 18u;
}

bool sxt_is_blocks(uint type) {
    return type == SXT_STORE_Q8_0 || type == SXT_STORE_Q4_0;
}

float sxt_e4m3_to_f32(uint bits) {
    uint sign = (bits & 0x80u) << 24, e = (bits >> 3) & 15u, m = bits & 7u;
    if ((bits & 0x7fu) == 0x7fu)
        return uintBitsToFloat(sign | 0x7fc00000u);
    if (e == 0u)
        return uintBitsToFloat(floatBitsToUint(float(m) * 0.001953125) | sign);
    return uintBitsToFloat(sign | (e + 120u) << 23 | m << 20);
}

uint sxt_e4m3_from_f32(float value) {
    uint bits = floatBitsToUint(value);
    uint sign = (bits >> 24) & 0x80u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u)
        return sign | 0x7fu;
    if (a >= 0x43e00000u) // 448: what is above saturates
        return sign | 0x7eu;
    if (a < 0x3c800000u) { // below 2^-6: subnormal, in units of 2^-9
        if (a <= 0x3a800000u)
            return sign;
        return sign | sxt_shifted((a & 0x7fffffu) | 0x800000u, 141u - (a >> 23));
    }
    return sign | ((a - 0x3c000000u + 0x7ffffu + ((a >> 20) & 1u)) >> 20);
}

// A finite number's significand, from 2^23 to 2^24, and the exponent of its last bit, plus 150.
uint sxt_significand(uint a, out int exponent) {
    exponent = int(a >> 23);
    if (exponent > 0)
        return (a & 0x7fffffu) | 0x800000u;
    int shift = 23 - findMSB(a);
    exponent = 1 - shift;
    return a << shift;
}

// value / scale with its last bits rounded to odd: rounding it to e4m3 gives what rounding the quotient would. scale is
// finite and above 0.
float sxt_e4m3_quotient(float value, float scale) {
    uint bits = floatBitsToUint(value), a = bits & 0x7fffffffu;
    if (a == 0u || a >= 0x7f800000u)
        return value;
    int value_exponent, scale_exponent;
    uint v = sxt_significand(a, value_exponent) << 7, s = sxt_significand(floatBitsToUint(scale), scale_exponent);
    uint quotient = v / s;
    quotient = quotient << 1 | uint(quotient * s != v); // 7 to 9 bits, of which e4m3 keeps 4
    int exponent = clamp(value_exponent - scale_exponent - 8, -60, 60);
    return uintBitsToFloat((bits & 0x80000000u) | (floatBitsToUint(float(quotient)) + uint(exponent << 23)));
}

// a / 127 correctly rounded, for the bits of an a ≥ 0; 0 where that is below f32's normal range.
uint sxt_over_127(uint a) {
    int exponent;
    if (a == 0u)
        return 0u;
    uint m = sxt_significand(a, exponent) << 8, q = m / 127u; // 25 or 26 bits
    uint drop = q >= 0x2000000u ? 2u : 1u, sticky = uint(q * 127u != m);
    exponent += int(drop) - 8;
    if (exponent < 1)
        return 0u;
    return (uint(exponent) << 23) + sxt_shifted(q << 1 | sticky, drop + 1u) - 0x800000u;
}

// 1 / d correctly rounded, for a normal d whose reciprocal is normal: the driver's division, which may be off by a few
// units in the last place, and then its exact remainder.
float sxt_reciprocal(float d) {
    uint bits = floatBitsToUint(d), m = (bits & 0x7fffffu) | 0x800000u, exponent = (bits >> 23) & 255u;
    if (m == 0x800000u)
        return uintBitsToFloat((bits & 0x80000000u) | (254u - exponent) << 23);
    uint base = (253u - exponent) << 23, guess = floatBitsToUint(1.0 / d) & 0x7fffffffu;
    uint q = guess < base ? 0x800000u : min(guess - base, 0x7fffffu) | 0x800000u; // 2^47 / m, about
    int rest = int(0u - m * q);                                                   // 2^47 − m·q: a few m
    precise float ratio = float(rest) / float(m) + 12582912.0; // a whole number, in its lower bits: see sxt_block_code
    int off = int(floatBitsToUint(ratio) - 0x4b400000u);
    rest -= off * int(m);
    q += uint(off + (2 * rest > int(m) ? 1 : 2 * rest < -int(m) ? -1 : 0));
    return uintBitsToFloat((bits & 0x80000000u) | base + (q - 0x800000u));
}

// The scale d of a block, by the bits of its largest magnitude (and, of q4_0, of the first value that has it), and 1/d.
struct sxt_block_scale {
    uint half_bits;
    float inverse; // 0: the block is all zeros
};

sxt_block_scale sxt_block_solve(uint type, uint largest) {
    uint a = largest & 0x7fffffffu;
    if (a >= 0x7f800000u)
        return sxt_block_scale(0x7e00u, 0.0);
    uint d = type == SXT_STORE_Q8_0 ? sxt_over_127(a) : a >= 0x02000000u ? (largest ^ 0x80000000u) - 0x01800000u : 0u;
    if ((d & 0x7fffffffu) < 0x00800000u)
        return sxt_block_scale(0u, 0.0);
    return sxt_block_scale(sxt_f16_from_f32(uintBitsToFloat(d)), sxt_reciprocal(uintBitsToFloat(d)));
}

// A value's 8 or 4 bits. Whole numbers become bits by a sum whose last bit is 1: drivers on the CPU convert floats to
// integers lane by lane.
uint sxt_block_code(uint type, float value, float inverse) {
    const float whole_bits = 12582912.0; // 1.5 · 2^23
    precise float scaled = value * inverse;
    if (type == SXT_STORE_Q8_0) {
        precise float whole = trunc(scaled);
        precise float rest = abs(scaled - whole);
        precise float code = whole + (rest >= 0.5 ? sign(scaled) : 0.0) + whole_bits;
        return inverse == 0.0 ? 0u : floatBitsToUint(code) & 0xffu;
    }
    precise float shifted = scaled + 8.5;
    precise float code = min(trunc(shifted), 15.0) + whole_bits;
    return inverse == 0.0 ? 8u : floatBitsToUint(code) & 0xfu;
}

#endif
