// Exponents and logarithms where drivers' own are not good enough.
#ifndef SXT_LIB_LOGARITHM_GLSL
#define SXT_LIB_LOGARITHM_GLSL

const float LOG2_E = 1.44269504088896341, LN_2 = 0.693147180559945309;

// ln x for x ≥ 0, to a few units in the last place of max(|ln x|, 1); drivers' own may be off by 1e-5.
// The series of atanh: ln m = 2·(t + t³/3 + …), t = (m − 1)/(m + 1), for m in [√½, √2).
float precise_log(float x) {
    if (isinf(x) || isnan(x))
        return x;
    uint bits = floatBitsToUint(x);
    int e = int((bits - 0x3f3504f3u) & 0xff800000u);
    float m = uintBitsToFloat(bits - uint(e));
    float t = (m - 1.0) / (m + 1.0), z = t * t;
    float series = t * (2.0 + z * (0.666666667 + z * (0.4 + z * (0.285714286 + z * 0.222222222))));
    return float(e >> 23) * LN_2 + series;
}

#endif
