#include "support/encoded.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/number.h"
#include "support/bound.h"

enum { BLOCK = 32 };

typedef struct range {
    double low, high;
} range;

static range around(double value, double bound) {
    return (range){value - 2 * bound, value + 2 * bound};
}

// Quotients of an element by a scale of either sign, and what f32 makes of them.
static range quotient(range x, range d) {
    const double all[4] = {x.low / d.low, x.low / d.high, x.high / d.low, x.high / d.high};
    range q = {all[0], all[0]};
    for (int i = 1; i < 4; i++) {
        q.low = fmin(q.low, all[i]);
        q.high = fmax(q.high, all[i]);
    }
    const double arithmetic = 6 * SXT_TEST_U * fmax(fabs(q.low), fabs(q.high));
    return (range){q.low - arithmetic, q.high + arithmetic};
}

static bool quant_fits(sxt_type type, range x, range d, const uint8_t *block, uint32_t i) {
    const range q = quotient(x, d);
    if (type == SXT_TYPE_Q8_0) {
        const int code = (int8_t)block[2 + i];
        return code >= round(q.low) && code <= round(q.high);
    }
    const int code = i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4;
    const double sum = 8.5 * 2 * SXT_TEST_U;
    return code >= fmin(15, trunc(q.low + 8.5 - sum)) && code <= fmin(15, trunc(q.high + 8.5 + sum));
}

static bool is_zeros(sxt_type type, const uint8_t *block) {
    uint8_t zeros[34] = {0};
    memset(zeros + 2, type == SXT_TYPE_Q4_0 ? 0x88 : 0, 32);
    return memcmp(block, zeros, sxt_type_size(type)) == 0;
}

// Whether the block may have been scaled by this range of d.
static bool scale_fits(sxt_type type, const double *values, const double *bounds, range d, const uint8_t *block) {
    if (fmin(fabs(d.low), fabs(d.high)) < FLT_MIN && is_zeros(type, block)) return true;
    if (d.low * d.high <= 0) return false;
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    const double scale = sxt_f16_to_double(bits);
    if (!(scale >= sxt_f16_to_double(sxt_f16_from_double(d.low)) &&
          scale <= sxt_f16_to_double(sxt_f16_from_double(d.high))))
        return false;
    for (uint32_t i = 0; i < BLOCK; i++)
        if (!quant_fits(type, around(values[i], bounds[i]), d, block, i)) return false;
    return true;
}

static range divided(range x, double by) {
    const double a = x.low / by, b = x.high / by, widened = 2 * SXT_TEST_U * fmax(fabs(a), fabs(b));
    return (range){fmin(a, b) - widened, fmax(a, b) + widened};
}

static bool block_fits(sxt_type type, const double *values, const double *bounds, const uint8_t *block) {
    bool exact = true, finite = true;
    double least_largest = 0, largest = 0; // what |x| of the largest element is at least, and at most
    for (uint32_t i = 0; i < BLOCK; i++) {
        exact = exact && bounds[i] == 0;
        finite = finite && isfinite(values[i]) && isfinite(bounds[i]);
        least_largest = fmax(least_largest, fabs(values[i]) - 2 * bounds[i]);
        largest = fmax(largest, fabs(values[i]) + 2 * bounds[i]);
    }
    if (exact || !finite) {
        uint8_t bytes[34];
        sxt_encode(type, values, BLOCK, bytes);
        return memcmp(bytes, block, sxt_type_size(type)) == 0;
    }
    if (type == SXT_TYPE_Q8_0)
        return scale_fits(type, values, bounds, divided((range){least_largest, largest}, 127), block);
    for (uint32_t i = 0; i < BLOCK; i++)
        if (fabs(values[i]) + 2 * bounds[i] >= least_largest &&
            scale_fits(type, values, bounds, divided(around(values[i], bounds[i]), -8), block))
            return true;
    return false;
}

static bool fp8_fits(double value, double bound, double scale, uint8_t code) {
    if (isnan(value)) return (code & 0x7f) == 0x7f;
    if (bound == 0 || isinf(value)) return code == sxt_fp8_from_double(value / scale);
    const double got = sxt_fp8_to_double(code);
    return got >= sxt_fp8_to_double(sxt_fp8_from_double((value - 2 * bound) / scale)) &&
           got <= sxt_fp8_to_double(sxt_fp8_from_double((value + 2 * bound) / scale));
}

static bool float_fits(sxt_type type, double value, double bound, double got) {
    if (isnan(value)) return isnan(got);
    if (isinf(value)) return got == value;
    return fabs(got - value) <= 2 * (bound + sxt_test_rounding(type, fabs(value)));
}

bool sxt_test_encoded(sxt_type type, uint32_t count, const double *values, const double *bounds, double scale,
                      const uint8_t *data) {
    const uint32_t block = sxt_type_block(type);
    for (uint32_t i = 0; i < count; i += block, data += sxt_type_size(type)) {
        const bool fits = block > 1                   ? block_fits(type, values + i, bounds + i, data)
                          : type == SXT_TYPE_FP8_E4M3 ? fp8_fits(values[i], bounds[i], scale, data[0])
                                                      : float_fits(type, values[i], bounds[i], sxt_load(type, data, 0));
        if (!fits) return false;
    }
    return true;
}
