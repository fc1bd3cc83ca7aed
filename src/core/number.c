#include "core/number.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { DOUBLE_FRACTION = 52, DOUBLE_BIAS = 1023 };
enum { F16_NAN = 0x7e00, FP8_NAN = 0x7f, FP8_MOST = 0x7e };

// A binary format by its bits of mantissa and the bias of its exponent. One with infinities has them, and NaNs, where
// the exponent is all ones.
typedef struct format {
    int fraction, bias;
} format;

static const format f32 = {23, 127}, f16 = {10, 15}, bf16 = {7, 127}, fp8 = {3, 7};

static uint64_t double_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t infinity_of(format f) {
    return (uint32_t)(2 * f.bias + 1) << f.fraction;
}

// Code of a non-negative finite or infinite double, given by its bits, and at most `most`.
// Codes of such a format count its values upwards, so that a carry out of the mantissa is right in the exponent too.
// Integer arithmetic alone: the result does not hang on the thread's rounding mode.
static uint32_t encode(uint64_t magnitude, format f, uint32_t most) {
    const uint64_t implicit = UINT64_C(1) << DOUBLE_FRACTION;
    uint64_t mantissa = magnitude & (implicit - 1);
    int exponent = (int)(magnitude >> DOUBLE_FRACTION) - DOUBLE_BIAS + f.bias;
    int shift = DOUBLE_FRACTION - f.fraction;
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
    return (uint32_t)(code < most ? code : most);
}

// Code of a double without its sign, in a format with infinities. A NaN with nothing in its upper payload gets `least`.
static uint32_t encode_any(double x, format f, uint32_t least) {
    uint64_t magnitude = double_bits(x) & INT64_MAX;
    if (!isnan(x)) return encode(magnitude, f, infinity_of(f));
    uint64_t payload = (magnitude & ((UINT64_C(1) << DOUBLE_FRACTION) - 1)) >> (DOUBLE_FRACTION - f.fraction);
    return infinity_of(f) | (payload != 0 ? (uint32_t)payload : least);
}

// Value of a code without its sign. Exact, and bit by bit for a NaN: arithmetic would make a signalling one quiet.
static double decode(uint32_t code, format f, bool negative) {
    uint64_t exponent = code >> f.fraction, mantissa = code & ((1u << f.fraction) - 1);
    if (exponent == 0) {
        double magnitude = ldexp((double)mantissa, 1 - f.bias - f.fraction);
        return negative ? -magnitude : magnitude;
    }
    exponent = code >= infinity_of(f) ? 2 * DOUBLE_BIAS + 1 : exponent + (uint64_t)(DOUBLE_BIAS - f.bias);
    return double_of((uint64_t)negative << 63 | exponent << DOUBLE_FRACTION |
                     mantissa << (DOUBLE_FRACTION - f.fraction));
}

uint32_t sxt_f32_from_double(double x) {
    return (signbit(x) ? 0x80000000u : 0) | encode_any(x, f32, 1);
}

double sxt_f32_to_double(uint32_t bits) {
    return decode(bits & 0x7fffffff, f32, bits >> 31 != 0);
}

uint16_t sxt_f16_from_double(double x) {
    return (uint16_t)((signbit(x) ? 0x8000u : 0) | encode_any(x, f16, 1));
}

double sxt_f16_to_double(uint16_t bits) {
    return decode(bits & 0x7fff, f16, bits >> 15 != 0);
}

uint16_t sxt_bf16_from_double(double x) {
    return (uint16_t)((signbit(x) ? 0x8000u : 0) | encode_any(x, bf16, 0x40));
}

double sxt_bf16_to_double(uint16_t bits) {
    return sxt_f32_to_double((uint32_t)bits << 16);
}

uint8_t sxt_fp8_from_double(double x) {
    uint32_t magnitude = isnan(x) ? FP8_NAN : encode(double_bits(x) & INT64_MAX, fp8, FP8_MOST);
    return (uint8_t)((signbit(x) ? 0x80u : 0) | magnitude);
}

// Its top exponent is one like any other but for the NaN.
double sxt_fp8_to_double(uint8_t bits) {
    uint32_t code = bits & 0x7f;
    double magnitude = code == FP8_NAN ? (double)NAN
                       : code < 8      ? ldexp(code, -9)
                                       : ldexp(8 + (code & 7), (int)(code >> 3) - 10);
    return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

// ── Blocks: an f16 scale, then quants ──

static double load_from_block(sxt_type type, const void *data, uint64_t index) {
    const unsigned char *block = (const unsigned char *)data + index / SXT_BLOCK * sxt_type_size(type);
    uint32_t place = (uint32_t)(index % SXT_BLOCK);
    uint16_t scale;
    memcpy(&scale, block, sizeof scale);
    if (type == SXT_TYPE_Q8_0) return sxt_f16_to_double(scale) * (int8_t)block[2 + place];
    // The low halves of the 16 bytes first, then the high ones.
    int byte = block[2 + place % 16];
    return sxt_f16_to_double(scale) * ((place < 16 ? byte & 15 : byte >> 4) - 8);
}

// What scales a block of type `type`: the magnitude's greatest element, the first of several, over the type's range.
static float scale_of(sxt_type type, const float x[SXT_BLOCK], bool *out_finite) {
    float greatest = 0.0f;
    *out_finite = true;
    for (int i = 0; i < SXT_BLOCK; i++) {
        *out_finite = *out_finite && isfinite(x[i]);
        if (fabsf(x[i]) > fabsf(greatest)) greatest = x[i];
    }
    return type == SXT_TYPE_Q8_0 ? fabsf(greatest) / 127.0f : greatest / -8.0f;
}

// ggml's quantize_row_q8_0_ref and quantize_row_q4_0_ref (ggml/src/ggml-quants.c), in f32 as there.
static void encode_block(sxt_type type, const double values[SXT_BLOCK], unsigned char *out_block) {
    float x[SXT_BLOCK];
    for (int i = 0; i < SXT_BLOCK; i++)
        x[i] = (float)values[i];
    bool finite, q8_0 = type == SXT_TYPE_Q8_0;
    float d = scale_of(type, x, &finite);
    bool zeros = !finite || fabsf(d) < FLT_MIN;
    uint16_t scale = !finite ? F16_NAN : zeros ? 0 : sxt_f16_from_double(d);
    memcpy(out_block, &scale, sizeof scale);
    memset(out_block + 2, 0, sxt_type_size(type) - 2);
    float inverse = zeros ? 0.0f : 1.0f / d;
    for (int i = 0; i < SXT_BLOCK; i++) {
        float scaled = zeros ? 0.0f : x[i] * inverse; // a statement of its own, or it could be fused with the sum
        float shifted = scaled + 8.5f;
        if (q8_0)
            out_block[2 + i] = (unsigned char)(int8_t)roundf(scaled);
        else
            out_block[2 + i % 16] |= (unsigned char)((shifted < 15.0f ? (int)shifted : 15) << (i < 16 ? 0 : 4));
    }
}

// ── Arrays ──

double sxt_load(sxt_type type, const void *data, uint64_t index) {
    uint32_t word;
    switch (type) {
    case SXT_TYPE_F32: // not as a float, which would make a signalling NaN quiet
        memcpy(&word, (const float *)data + index, sizeof word);
        return sxt_f32_to_double(word);
    case SXT_TYPE_F16:
        return sxt_f16_to_double(((const uint16_t *)data)[index]);
    case SXT_TYPE_BF16:
        return sxt_bf16_to_double(((const uint16_t *)data)[index]);
    case SXT_TYPE_I32:
        return ((const int32_t *)data)[index];
    case SXT_TYPE_Q8_0:
    case SXT_TYPE_Q4_0:
        return load_from_block(type, data, index);
    case SXT_TYPE_FP8_E4M3:
        return sxt_fp8_to_double(((const uint8_t *)data)[index]);
    }
    return NAN;
}

void sxt_store(sxt_type type, void *data, uint64_t index, double value) {
    uint32_t word;
    switch (type) {
    case SXT_TYPE_F32:
        word = sxt_f32_from_double(value);
        memcpy((float *)data + index, &word, sizeof word);
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
    case SXT_TYPE_FP8_E4M3:
        ((uint8_t *)data)[index] = sxt_fp8_from_double(value);
        break;
    case SXT_TYPE_Q8_0:
    case SXT_TYPE_Q4_0:
        assert(!"blocks are not stored by element");
        break;
    }
}

void sxt_encode(sxt_type type, const double *values, uint32_t count, void *out_data) {
    if (sxt_type_block(type) == 1) {
        for (uint32_t i = 0; i < count; i++)
            sxt_store(type, out_data, i, values[i]);
        return;
    }
    assert(count % SXT_BLOCK == 0);
    for (uint32_t i = 0; i < count; i += SXT_BLOCK)
        encode_block(type, values + i, (unsigned char *)out_data + i / SXT_BLOCK * sxt_type_size(type));
}

void sxt_decode(sxt_type type, const void *data, uint32_t count, double *out_values) {
    for (uint32_t i = 0; i < count; i++)
        out_values[i] = sxt_load(type, data, i);
}
