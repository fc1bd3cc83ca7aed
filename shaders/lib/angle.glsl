// Cosine and sine of position · frequency, right to 8e-8 for every position that an int32 can hold.
//
// A frequency comes as turns per position in 64-bit fixed point, its whole turns dropped. Then the low 64 bits of the
// product are the angle's fraction of a turn, exactly: the rounded frequency is off by 2^-65, hence 2^31 positions by
// 2^-34 turns. Sine and cosine follow from the upper 32 bits by integer quadrants and minimax polynomials on ±π/4.
#ifndef SXT_LIB_ANGLE_GLSL
#define SXT_LIB_ANGLE_GLSL

// Upper half of the low 64 bits of position · (hi·2^32 + lo): turns · 2^32.
uvec4 sxt_phase(ivec4 position, uvec4 hi, uvec4 lo) {
    uvec4 carry, low, p = uvec4(position);
    umulExtended(p, lo, carry, low);
    return carry + p * hi - mix(uvec4(0), lo, lessThan(position, ivec4(0))); // the last term extends the sign
}

// Coefficients by Remez' exchange in 50 digits, then rounded to f32: approximation errors 4e-9 (sine, relative) and
// 1e-10. Over all 2^32 phases (every 37th was tried) the largest error with rounding is 7.9e-8.
void sxt_cos_sin(uvec4 phase, out vec4 cosine, out vec4 sine) {
    uvec4 quadrant = (phase + 0x20000000u) >> 30;
    ivec4 rest = ivec4(phase - (quadrant << 30)); // ±2^29: ±π/4
    // In two parts, the upper one exact: 14 bits by the 10 bits of 2π/2^16's head.
    vec4 upper = vec4(rest >> 16), lower = vec4(rest & 0xffff);
    vec4 x = upper * 9.58442688e-5 + (upper * 2.95304439e-8 + lower * 1.46291812e-9);
    vec4 z = x * x;
    vec4 s = x + x * z * (-0.166666552 + z * (0.0083321603 + z * -0.000195152825));
    vec4 c = 1.0 - (0.5 * z - z * z * (0.0416666456 + z * (-0.00138873677 + z * 2.44384519e-5)));
    bvec4 swapped = notEqual(quadrant & 1u, uvec4(0));
    cosine = mix(c, s, swapped) * (1.0 - 2.0 * vec4(((quadrant + 1u) >> 1) & 1u));
    sine = mix(s, c, swapped) * (1.0 - 2.0 * vec4((quadrant >> 1) & 1u));
}

#endif
