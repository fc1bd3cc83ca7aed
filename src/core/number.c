#include "core/number.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { DOUBLE_FRACTION = 52, DOUBLE_BIAS = 1023 };

static uint64_t double_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// Code of a non-negative finite or infinite double in a format of `fraction` mantissa bits and exponent bias `bias`.
// Codes of such a format count its values upwards, so that a carry out of the mantissa is right in the exponent too.
// Integer arithmetic alone: the result does not hang on the thread's rounding mode.
static uint32_t encode(uint64_t magnitude, int fraction, int bias) {
    const uint64_t implicit = UINT64_C(1) << DOUBLE_FRACTION;
    const uint64_t infinity = (uint64_t)(2 * bias + 1) << fraction;
    uint64_t mantissa = magnitude & (implicit - 1);
    int exponent = (int)(magnitude >> DOUBLE_FRACTION) - DOUBLE_BIAS + bias;
    int shift = DOUBLE_FRACTION - fraction;
    if (exponent > 0) {
        mantissa |= (uint64_t)exponent << DOUBLE_FRACTION;
    } else { // subnormal in the target: steps of fixed size
        mantissa |= implicit;
        shift += 1 - exponent;
        if (shift > DOUBLE_FRACTION + 2) return 0; // below half the smallest step
    }
    uint64_t code = mantissa >> shift;
    uint64_t rest = mantissa & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
    code += rest > half || (rest == half && (code & 1) != 0);
    return (uint32_t)(code < infinity ? code : infinity);
}

uint16_t sxt_f16_from_double(double x) {
    uint64_t bits = double_bits(x);
    uint32_t sign = (uint32_t)(bits >> 48) & 0x8000u;
    if (isnan(x)) return (uint16_t)(sign | 0x7e00u);
    return (uint16_t)(sign | encode(bits & INT64_MAX, 10, 15));
}

double sxt_f16_to_double(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    int mantissa = bits & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = mantissa != 0 ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(mantissa, -24);
    else
        magnitude = ldexp(1024 + mantissa, exponent - 25);
    return copysign(magnitude, (bits & 0x8000) != 0 ? -1.0 : 1.0);
}

uint16_t sxt_bf16_from_double(double x) {
    uint64_t bits = double_bits(x);
    uint32_t sign = (uint32_t)(bits >> 48) & 0x8000u;
    if (isnan(x)) // the upper part of the payload stays, and the quiet bit keeps it a NaN
        return (uint16_t)(sign | 0x7fc0u | ((uint32_t)(bits >> (DOUBLE_FRACTION - 7)) & 0x7fu));
    return (uint16_t)(sign | encode(bits & INT64_MAX, 7, 127));
}

double sxt_bf16_to_double(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

double sxt_load(sxt_type type, const void *data, uint64_t index) {
    switch (type) {
    case SXT_TYPE_F32:
        return ((const float *)data)[index];
    case SXT_TYPE_F16:
        return sxt_f16_to_double(((const uint16_t *)data)[index]);
    case SXT_TYPE_BF16:
        return sxt_bf16_to_double(((const uint16_t *)data)[index]);
    case SXT_TYPE_I32:
        return ((const int32_t *)data)[index];
    case SXT_TYPE_Q8_0: {
        const unsigned char *block = (const unsigned char *)data + index / 32 * 34;
        uint16_t scale;
        memcpy(&scale, block, sizeof scale);
        return sxt_f16_to_double(scale) * (int8_t)block[2 + index % 32];
    }
    }
    return NAN;
}

void sxt_store(sxt_type type, void *data, uint64_t index, double value) {
    switch (type) {
    case SXT_TYPE_F32:
        ((float *)data)[index] = (float)value;
        break;
    case SXT_TYPE_F16:
        ((uint16_t *)data)[index] = sxt_f16_from_double(value);
        break;
    case SXT_TYPE_BF16:
        ((uint16_t *)data)[index] = sxt_bf16_from_double(value);
        break;
    case SXT_TYPE_I32:
        ((int32_t *)data)[index] = (int32_t)value;
        break;
    case SXT_TYPE_Q8_0:
        assert(!"blocks are not stored by element");
        break;
    }
}
