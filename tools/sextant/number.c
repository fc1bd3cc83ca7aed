#include "number.h"

#include <math.h>
#include <string.h>

typedef struct layout {
    int exponent_bits, mantissa_bits;
} layout;

static const layout half = {5, 10}, brain = {8, 7};

static uint16_t encode(layout to, double x) {
    uint32_t sign = signbit(x) ? 0x8000 : 0;
    uint32_t infinity = ((1u << to.exponent_bits) - 1) << to.mantissa_bits;
    if (isnan(x)) return (uint16_t)(sign | infinity | 1u << (to.mantissa_bits - 1));
    if (x == 0) return (uint16_t)sign;
    if (isinf(x)) return (uint16_t)(sign | infinity);
    int lowest = 2 - (1 << (to.exponent_bits - 1)), exponent = ilogb(x);
    if (exponent < lowest) exponent = lowest;
    // A mantissa that rounds up to the next power of two carries into the exponent, as it should.
    double mantissa = nearbyint(ldexp(fabs(x), to.mantissa_bits - exponent));
    if (exponent - lowest >= 1 << to.exponent_bits) return (uint16_t)(sign | infinity);
    uint32_t bits = ((uint32_t)(exponent - lowest) << to.mantissa_bits) + (uint32_t)mantissa;
    return (uint16_t)(sign | (bits < infinity ? bits : infinity));
}

static double decode(layout from, uint16_t bits) {
    int lowest = 2 - (1 << (from.exponent_bits - 1));
    int exponent = (bits & 0x7fff) >> from.mantissa_bits, mantissa = bits & ((1 << from.mantissa_bits) - 1);
    double magnitude;
    if (exponent == (1 << from.exponent_bits) - 1) magnitude = mantissa ? NAN : INFINITY;
    else if (exponent == 0) magnitude = ldexp(mantissa, lowest - from.mantissa_bits);
    else magnitude = ldexp(mantissa + (1 << from.mantissa_bits), lowest + exponent - 1 - from.mantissa_bits);
    return bits & 0x8000 ? -magnitude : magnitude;
}

double sxt_number_get(sxt_type type, const void *data, uint64_t index) {
    switch (type) {
    case SXT_TYPE_F32:
        return ((const float *)data)[index];
    case SXT_TYPE_F16:
        return decode(half, ((const uint16_t *)data)[index]);
    case SXT_TYPE_BF16:
        return decode(brain, ((const uint16_t *)data)[index]);
    case SXT_TYPE_I32:
        return ((const int32_t *)data)[index];
    }
    return NAN;
}

void sxt_number_put(sxt_type type, void *data, uint64_t index, double value) {
    switch (type) {
    case SXT_TYPE_F32:
        ((float *)data)[index] = (float)value;
        break;
    case SXT_TYPE_F16:
        ((uint16_t *)data)[index] = encode(half, value);
        break;
    case SXT_TYPE_BF16:
        ((uint16_t *)data)[index] = encode(brain, value);
        break;
    case SXT_TYPE_I32:
        ((int32_t *)data)[index] = (int32_t)value;
        break;
    }
}

double sxt_number_roundoff(sxt_type type) {
    switch (type) {
    case SXT_TYPE_F32:
        return 0x1p-24;
    case SXT_TYPE_F16:
        return 0x1p-11;
    case SXT_TYPE_BF16:
        return 0x1p-8;
    case SXT_TYPE_I32:
        break;
    }
    return 0;
}

double sxt_number_tiny(sxt_type type) {
    return type == SXT_TYPE_F16 ? 0x1p-25 : 0x1p-126;
}
