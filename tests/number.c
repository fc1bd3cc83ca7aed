// Conversions between storage types and double are correctly rounded, in one step, for every value that there is.
// Blocks: tests/blocks.c.
#include "core/number.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <string.h>

// The two 16-bit formats by their defining numbers.
typedef struct format {
    const char *name;
    uint16_t (*encode)(double);
    double (*decode)(uint16_t);
    int fraction, min_exponent; // bits of mantissa; exponent of the smallest normal number
    uint16_t infinity;
} format;

static const format formats[] = {
    {"f16", sxt_f16_from_double, sxt_f16_to_double, 10, -14, 0x7c00},
    {"bf16", sxt_bf16_from_double, sxt_bf16_to_double, 7, -126, 0x7f80},
};
enum { FORMATS = sizeof formats / sizeof formats[0] };

// The value of a finite code, from the definition of the format.
static double value_of(const format *f, uint16_t code) {
    int exponent = (code & 0x7fff) >> f->fraction, mantissa = code & ((1 << f->fraction) - 1);
    double magnitude = exponent == 0
                           ? ldexp(mantissa, f->min_exponent - f->fraction)
                           : ldexp((1 << f->fraction) + mantissa, exponent - 1 + f->min_exponent - f->fraction);
    return (code & 0x8000) != 0 ? -magnitude : magnitude;
}

Test(number, every_code_decodes_to_its_value_and_back) {
    for (int i = 0; i < FORMATS; i++) {
        const format *f = &formats[i];
        for (uint32_t code = 0; code <= 0xffff; code++) {
            double value = f->decode((uint16_t)code);
            uint16_t magnitude = code & 0x7fff;
            if (magnitude > f->infinity) {
                cr_assert(isnan(value), "%s %04x", f->name, code);
                cr_assert(isnan(f->decode(f->encode(value))), "%s %04x", f->name, code);
                continue;
            }
            if (magnitude == f->infinity)
                cr_assert(isinf(value) && signbit(value) == (code >> 15 != 0), "%s %04x", f->name, code);
            else
                cr_assert(value == value_of(f, (uint16_t)code) && signbit(value) == (code >> 15 != 0), "%s %04x",
                          f->name, code);
            cr_assert_eq(f->encode(value), code, "%s %04x came back as %04x", f->name, code, f->encode(value));
        }
    }
}

Test(number, ties_go_to_even_and_all_else_to_the_nearest) {
    for (int i = 0; i < FORMATS; i++) {
        const format *f = &formats[i];
        for (uint32_t code = 0; code < f->infinity; code++) {
            double low = f->decode((uint16_t)code);
            // Past the largest finite value the next step would be the next power of two.
            double step =
                code + 1u < f->infinity ? f->decode((uint16_t)(code + 1)) - low : low - f->decode((uint16_t)(code - 1));
            double middle = low + step / 2;
            uint16_t even = (uint16_t)(code + (code & 1));
            cr_assert_eq(f->encode(middle), even, "%s: the middle above %04x", f->name, code);
            cr_assert_eq(f->encode(nextafter(middle, 0.0)), code, "%s: just below the middle above %04x", f->name,
                         code);
            cr_assert_eq(f->encode(nextafter(middle, INFINITY)), code + 1, "%s: just past the middle above %04x",
                         f->name, code);
            cr_assert_eq(f->encode(-middle), even | 0x8000, "%s: the middle below -%04x", f->name, code);
        }
    }
}

// By way of f32 this value would first become the middle between two f16, then go to the even one: wrong.
Test(number, rounding_happens_once) {
    double value = 1.0 + ldexp(1.0, -11) + ldexp(1.0, -40);
    cr_assert_eq(sxt_f16_from_double((float)value), 0x3c00);
    cr_assert_eq(sxt_f16_from_double(value), 0x3c01);
    value = 1.0 + ldexp(1.0, -8) + ldexp(1.0, -40);
    cr_assert_eq(sxt_bf16_from_double(value), 0x3f81);
}

Test(number, tiny_and_huge_values) {
    for (int i = 0; i < FORMATS; i++) {
        const format *f = &formats[i];
        const double least = f->decode(1);
        cr_assert_eq(f->encode(0.0), 0);
        cr_assert_eq(f->encode(-0.0), 0x8000);
        cr_assert_eq(f->encode(least / 2), 0, "half the smallest subnormal goes to even zero");
        cr_assert_eq(f->encode(least * 0.5000001), 1);
        cr_assert_eq(f->encode(least / 4), 0);
        cr_assert_eq(f->encode(5e-324), 0);
        cr_assert_eq(f->encode(-5e-324), 0x8000);
        cr_assert_eq(f->encode(1.7e308), f->infinity);
        cr_assert_eq(f->encode(-INFINITY), 0x8000 | f->infinity);
        cr_assert(isnan(f->decode(f->encode(NAN))));
    }
    cr_assert_eq(sxt_f16_from_double(65504.0), 0x7bff);
    cr_assert_eq(sxt_f16_from_double(65519.99), 0x7bff);
    cr_assert_eq(sxt_f16_from_double(65520.0), 0x7c00);
}

Test(number, the_rounding_mode_of_the_thread_does_not_matter) {
    const int modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    const int before = fegetround();
    for (int i = 0; i < 3; i++) {
        fesetround(modes[i]);
        uint16_t half = sxt_f16_from_double(1.0 / 3.0), brain = sxt_bf16_from_double(-2.0 / 3.0);
        fesetround(before);
        cr_assert_eq(half, 0x3555);
        cr_assert_eq(brain, 0xbf2b);
    }
}

// ── NaNs ──

static uint32_t f32_by_way_of_memory(double value) {
    uint32_t bits = 0;
    sxt_store(SXT_TYPE_F32, &bits, 0, value);
    return bits;
}

Test(number, every_nan_of_16_bits_comes_back_from_f32) {
    for (uint32_t code = 0; code <= 0xffff; code++) {
        uint32_t half_in_f32 = f32_by_way_of_memory(sxt_f16_to_double((uint16_t)code));
        uint32_t brain_in_f32 = f32_by_way_of_memory(sxt_bf16_to_double((uint16_t)code));
        cr_assert_eq(sxt_f16_from_double(sxt_load(SXT_TYPE_F32, &half_in_f32, 0)), code, "f16 %04x", code);
        cr_assert_eq(brain_in_f32, code << 16, "bf16 %04x in f32", code);
        cr_assert_eq(sxt_bf16_from_double(sxt_load(SXT_TYPE_F32, &brain_in_f32, 0)), code, "bf16 %04x", code);
        if ((code & 0x7fff) > 0x7c00)
            cr_assert_eq(half_in_f32, (code & 0x8000) << 16 | 0x7f800000 | (code & 0x3ff) << 13, "f16 %04x", code);
    }
}

Test(number, a_nan_keeps_its_upper_payload_and_stays_a_nan) {
    for (uint32_t i = 0; i < 1u << 20; i++) {
        const uint32_t payload = i % 24 == 0 ? 1u << i / 24 % 23 : i * 2654435761u >> 9, sign = i & 1;
        if (payload == 0) continue;
        const uint32_t bits = sign << 31 | 0x7f800000 | payload;
        const double value = sxt_load(SXT_TYPE_F32, &bits, 0);
        const uint32_t half = payload >> 13, brain = payload >> 16;
        cr_assert_eq(f32_by_way_of_memory(value), bits, "%08x", bits);
        cr_assert_eq(sxt_f16_from_double(value), sign << 15 | 0x7c00 | (half ? half : 1), "%08x", bits);
        cr_assert_eq(sxt_bf16_from_double(value), sign << 15 | 0x7f80 | (brain ? brain : 0x40), "%08x", bits);
        cr_assert_eq(sxt_fp8_from_double(value), sign << 7 | 0x7f, "%08x", bits);
    }
}

// The processor rounds to nearest even as well.
Test(number, f32_is_rounded_as_the_processor_does) {
    uint64_t state = 12345;
    for (uint32_t i = 0; i < 1u << 21; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        // Exponents from below the smallest subnormal to past the largest value; often with a fraction near a tie.
        uint64_t fraction = state >> 12 & (i % 3 ? 0xfffffffffffffu : 0xfffffe0000000u);
        if (i % 3 == 1) fraction = (fraction & ~UINT64_C(0x1fffffff)) | 0x10000000;
        uint64_t bits = (state & 1) << 63 | (uint64_t)(865 + i % 290) << 52 | fraction;
        double value;
        memcpy(&value, &bits, sizeof value);
        const float want = (float)value;
        uint32_t want_bits;
        memcpy(&want_bits, &want, sizeof want_bits);
        cr_assert_eq(sxt_f32_from_double(value), want_bits, "%a", value);
        cr_assert(sxt_f32_to_double(want_bits) == (double)want, "%a", value);
    }
}

// ── fp8 ──

// The value of a code, from the definition: 1.4.3 bits, bias 7, 0x7f a NaN.
static double fp8_value(uint32_t code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double magnitude = exponent == 0 ? mantissa / 512.0 : (1 + mantissa / 8.0) * pow(2, exponent - 7);
    return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// The nearest of all values, by looking at each; of two the even one.
static uint32_t nearest_fp8(double value) {
    uint32_t best = 0;
    for (uint32_t code = 1; code < 0x7f; code++) {
        const double is = fabs(fp8_value(code) - fabs(value)), was = fabs(fp8_value(best) - fabs(value));
        if (is < was || (is == was && code % 2 == 0)) best = code;
    }
    return best | (signbit(value) ? 0x80 : 0);
}

Test(number, fp8_takes_the_nearest_of_its_values_for_every_f16) {
    for (uint32_t code = 0; code <= 0xffff; code++) {
        const double value = sxt_f16_to_double((uint16_t)code);
        const uint32_t sign = code >> 15 << 7;
        const uint32_t want = isnan(value) ? sign | 0x7f : isinf(value) ? sign | 0x7e : nearest_fp8(value);
        cr_assert_eq(sxt_fp8_from_double(value), want, "%04x: %02x, and should be %02x", code,
                     sxt_fp8_from_double(value), want);
    }
}

Test(number, fp8_codes_ties_and_what_saturates) {
    for (uint32_t code = 0; code < 0x7f; code++) {
        const double low = fp8_value(code);
        cr_assert(sxt_fp8_to_double((uint8_t)code) == low && !signbit(sxt_fp8_to_double((uint8_t)code)), "%02x", code);
        cr_assert(sxt_fp8_to_double((uint8_t)(code | 0x80)) == -low, "%02x", code);
        cr_assert(signbit(sxt_fp8_to_double((uint8_t)(code | 0x80))), "%02x", code);
        cr_assert_eq(sxt_fp8_from_double(low), code);
        cr_assert_eq(sxt_fp8_from_double(-low), code | 0x80);
        if (code == 0x7e) break;
        const double middle = (low + fp8_value(code + 1)) / 2;
        cr_assert_eq(sxt_fp8_from_double(middle), code + code % 2, "the middle above %02x", code);
        cr_assert_eq(sxt_fp8_from_double(-middle), 0x80 | (code + code % 2), "the middle below -%02x", code);
        cr_assert_eq(sxt_fp8_from_double(nextafter(middle, 0)), code, "just below the middle above %02x", code);
        cr_assert_eq(sxt_fp8_from_double(nextafter(middle, 1e9)), code + 1, "just past the middle above %02x", code);
    }
    const double large[] = {448, 449, 463.9, 464, 464.1, 480, 1e4, 1e300, INFINITY};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        cr_assert_eq(sxt_fp8_from_double(large[i]), 0x7e, "%g", large[i]);
        cr_assert_eq(sxt_fp8_from_double(-large[i]), 0xfe, "%g", -large[i]);
    }
    cr_assert_eq(sxt_fp8_from_double(5e-324), 0);
    cr_assert_eq(sxt_fp8_from_double(-5e-324), 0x80);
    cr_assert(isnan(sxt_fp8_to_double(0x7f)) && isnan(sxt_fp8_to_double(0xff)));
    cr_assert_eq(sxt_fp8_from_double(sxt_fp8_to_double(0xff)), 0xff, "the sign of a NaN");
}

Test(number, arrays_are_read_and_written_by_type) {
    const sxt_type types[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16, SXT_TYPE_I32, SXT_TYPE_FP8_E4M3};
    for (int i = 0; i < 5; i++) {
        uint32_t memory[4] = {0};
        for (uint64_t k = 0; k < 4; k++)
            sxt_store(types[i], memory, k, (double)k - 2.0);
        for (uint64_t k = 0; k < 4; k++)
            cr_assert_eq(sxt_load(types[i], memory, k), (double)k - 2.0, "%s", sxt_type_name(types[i]));
        const uint32_t used = 4 * sxt_type_size(types[i]);
        for (uint32_t byte = used; byte < sizeof memory; byte++)
            cr_assert_eq(((const uint8_t *)memory)[byte], 0);
    }
}

Test(number, every_type_and_result_has_a_name) {
    cr_assert_str_eq(sxt_type_name(SXT_TYPE_BF16), "bf16");
    cr_assert_str_eq(sxt_type_name(SXT_TYPE_Q4_0), "q4_0");
    cr_assert_str_eq(sxt_type_name(SXT_TYPE_FP8_E4M3), "fp8_e4m3");
    cr_assert_str_eq(sxt_type_name((sxt_type)99), "unknown type");
    cr_assert_eq(sxt_type_size((sxt_type)99), 0);
    cr_assert_eq(sxt_type_block((sxt_type)99), 0);
    static const uint32_t sizes[][2] = {{4, 1}, {2, 1}, {2, 1}, {4, 1}, {34, 32}, {18, 32}, {1, 1}};
    for (int type = 0; type < 7; type++) {
        cr_assert_eq(sxt_type_size((sxt_type)type), sizes[type][0], "type %d", type);
        cr_assert_eq(sxt_type_block((sxt_type)type), sizes[type][1], "type %d", type);
    }
    const sxt_result results[] = {SXT_OK,
                                  SXT_TIMEOUT,
                                  SXT_ERROR_INVALID,
                                  SXT_ERROR_UNSUPPORTED,
                                  SXT_ERROR_NO_DEVICE,
                                  SXT_ERROR_OUT_OF_MEMORY,
                                  SXT_ERROR_DEVICE_LOST,
                                  SXT_ERROR_DRIVER};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        cr_assert_eq(strncmp(sxt_result_name(results[i]), "SXT_", 4), 0);
    cr_assert_str_eq(sxt_result_name((sxt_result)77), "unknown sxt_result");
}
