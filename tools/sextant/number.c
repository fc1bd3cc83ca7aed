#include "number.h"

#include <math.h>
#include <string.h>

typedef struct layout {
    int exponent_bits, mantissa_bits;
} layout;

enum { Q8_0_COUNT = 32, Q8_0_BYTES = 34 }; // an f16 scale, then int8

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
    if (exponent == (1 << from.exponent_bits) - 1)
        magnitude = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(mantissa, lowest - from.mantissa_bits);
    else
        magnitude = ldexp(mantissa + (1 << from.mantissa_bits), lowest + exponent - 1 - from.mantissa_bits);
    return bits & 0x8000 ? -magnitude : magnitude;
}

uint64_t sxt_number_bytes(sxt_type type, uint64_t count) {
    return count / sxt_type_block(type) * sxt_type_size(type);
}

static double get_q8_0(const uint8_t *block, uint64_t index) {
    uint16_t scale;
    memcpy(&scale, block, sizeof scale);
    return decode(half, scale) * (int8_t)block[sizeof scale + index];
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
    case SXT_TYPE_Q8_0:
        return get_q8_0((const uint8_t *)data + index / Q8_0_COUNT * Q8_0_BYTES, index % Q8_0_COUNT);
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
    case SXT_TYPE_Q8_0:
        break;
    }
}

void sxt_number_put_q8_0(void *data, uint64_t first_block, uint64_t block_count, const float *values) {
    for (uint64_t b = 0; b < block_count; b++) {
        uint8_t *block = (uint8_t *)data + (first_block + b) * Q8_0_BYTES;
        const float *from = values + b * Q8_0_COUNT;
        float largest = 0;
        for (int i = 0; i < Q8_0_COUNT; i++)
            largest = fmaxf(largest, fabsf(from[i]));
        uint16_t scale = encode(half, largest / 127);
        memcpy(block, &scale, sizeof scale);
        for (int i = 0; i < Q8_0_COUNT; i++) {
            block[sizeof scale + i] = (uint8_t)(int8_t)(largest > 0 ? roundf(from[i] * (127 / largest)) : 0);
        }
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
    case SXT_TYPE_Q8_0: // read only, and then exact
        break;
    }
    return 0;
}

double sxt_number_tiny(sxt_type type) {
    return type == SXT_TYPE_F16 ? 0x1p-25 : 0x1p-126;
}
