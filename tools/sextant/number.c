#include "number.h"

#include <math.h>
#include <string.h>

typedef struct layout {
    int exponent_bits, mantissa_bits;
} layout;

enum { BLOCK = 32, Q8_0_BYTES = 34, Q4_0_BYTES = 18, SCALE_BYTES = 2 }; // a block is an f16 scale, then numbers

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

// 448 is the largest; the one code above it is NaN, and there are no infinities.
static uint8_t encode_fp8(double x) {
    enum { LOWEST = -6, MANTISSA = 3, LARGEST = 0x7e, NOT_A_NUMBER = 0x7f };
    uint8_t sign = signbit(x) ? 0x80 : 0;
    double size = fabs(x);
    if (isnan(x)) return sign | NOT_A_NUMBER;
    if (size > 448) return sign | LARGEST;
    if (size == 0) return sign;
    int exponent = ilogb(size) < LOWEST ? LOWEST : ilogb(size);
    return (uint8_t)(sign | (((exponent - LOWEST) << MANTISSA) + (int)nearbyint(ldexp(size, MANTISSA - exponent))));
}

static double decode_fp8(uint8_t bits) {
    int exponent = (bits & 0x7f) >> 3, mantissa = bits & 7;
    double magnitude = exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
    if ((bits & 0x7f) == 0x7f) magnitude = NAN;
    return bits & 0x80 ? -magnitude : magnitude;
}

uint64_t sxt_number_bytes(sxt_type type, uint64_t count) {
    return count / sxt_type_block(type) * sxt_type_size(type);
}

static double get_scale(const uint8_t *block) {
    uint16_t scale;
    memcpy(&scale, block, sizeof scale);
    return decode(half, scale);
}

static double get_q8_0(const uint8_t *block, uint64_t index) {
    return get_scale(block) * (int8_t)block[SCALE_BYTES + index];
}

// The low four bits of byte j are element j, the high ones element j + 16.
static double get_q4_0(const uint8_t *block, uint64_t index) {
    uint8_t pair = block[SCALE_BYTES + index % (BLOCK / 2)];
    return get_scale(block) * ((index < BLOCK / 2 ? pair & 15 : pair >> 4) - 8);
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
        return get_q8_0((const uint8_t *)data + index / BLOCK * Q8_0_BYTES, index % BLOCK);
    case SXT_TYPE_Q4_0:
        return get_q4_0((const uint8_t *)data + index / BLOCK * Q4_0_BYTES, index % BLOCK);
    case SXT_TYPE_FP8_E4M3:
        return decode_fp8(((const uint8_t *)data)[index]);
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
    case SXT_TYPE_FP8_E4M3:
        ((uint8_t *)data)[index] = encode_fp8(value);
        break;
    case SXT_TYPE_Q8_0:
    case SXT_TYPE_Q4_0:
        break;
    }
}

double sxt_number_round(sxt_type type, double value) {
    float place = 0;
    sxt_number_put(type, &place, 0, value);
    return sxt_number_get(type, &place, 0);
}

// ── Blocks ──

// The value of the largest magnitude, the first of several; NaN if one is not finite.
static float find_extreme(const float *values) {
    float extreme = 0;
    for (int i = 0; i < BLOCK; i++) {
        if (!isfinite(values[i])) return NAN;
        if (fabsf(values[i]) > fabsf(extreme)) extreme = values[i];
    }
    return extreme;
}

static void put_q8_0(uint8_t *block, const float *values) {
    float d = fabsf(find_extreme(values)) / 127;
    bool zero = !(d >= 0x1p-126f); // or NaN
    uint16_t scale = encode(half, d < 0x1p-126f ? 0 : d);
    memcpy(block, &scale, sizeof scale);
    for (int i = 0; i < BLOCK; i++)
        block[SCALE_BYTES + i] = (uint8_t)(int8_t)(zero ? 0 : roundf(values[i] * (1 / d)));
}

static int to_q4_0(float value, float inverse) {
    return (int)fminf(15, truncf(value * inverse + 8.5f));
}

static void put_q4_0(uint8_t *block, const float *values) {
    enum { NOTHING = 0x88 }; // 8 stands for 0, twice
    float d = find_extreme(values) / -8;
    bool zero = !(fabsf(d) >= 0x1p-126f);
    uint16_t scale = encode(half, fabsf(d) < 0x1p-126f ? 0 : d);
    memcpy(block, &scale, sizeof scale);
    for (int i = 0; i < BLOCK / 2; i++) {
        int low = zero ? 8 : to_q4_0(values[i], 1 / d), high = zero ? 8 : to_q4_0(values[i + BLOCK / 2], 1 / d);
        block[SCALE_BYTES + i] = zero ? NOTHING : (uint8_t)(low | high << 4);
    }
}

void sxt_number_convert(sxt_type type, void *data, uint64_t count, const float *values) {
    uint32_t block = sxt_type_block(type), size = sxt_type_size(type);
    for (uint64_t i = 0; i < count; i += block) {
        uint8_t *at = (uint8_t *)data + i / block * size;
        if (type == SXT_TYPE_Q8_0)
            put_q8_0(at, values + i);
        else if (type == SXT_TYPE_Q4_0)
            put_q4_0(at, values + i);
        else
            sxt_number_put(type, at, 0, values[i]);
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
    case SXT_TYPE_FP8_E4M3:
        return 0x1p-4;
    case SXT_TYPE_I32:
    case SXT_TYPE_Q8_0:
    case SXT_TYPE_Q4_0:
        break;
    }
    return 0;
}

double sxt_number_tiny(sxt_type type) {
    return type == SXT_TYPE_FP8_E4M3 ? 0x1p-10 : type == SXT_TYPE_F16 ? 0x1p-25 : 0x1p-126;
}
