#include "store.h"

#include "number.h"

#include <math.h>

// Interval arithmetic. A block's numbers are q = round(x/d), and the value meant is f16(d)·q, where d comes from the
// largest |x|. With |x' − x| ≤ e for each channel, the device's d' lies in [d_low, d_high], which the largest |x| ∓ e
// give, its quotient within that of the corners (x ± e)/(d_low or d_high), widened by f32's rounding of 1/d and of the
// product, and its q' between their roundings; f16 and round are monotonic. So the corners f16(d)·q bound what is
// stored, and are one value unless an error carries d or a quotient over a rounding edge.

enum { BLOCK = 32 };

typedef struct range {
    double low, high;
} range;

static range hull(range a, double x) {
    return (range){fmin(a.low, x), fmax(a.high, x)};
}

// The quotients that a device may have, its d between those of `d` (of one sign, not 0).
static range quotients(double x, double error, range d) {
    range all = {INFINITY, -INFINITY};
    for (int corner = 0; corner < 4; corner++)
        all = hull(all, (x + (corner & 1 ? error : -error)) / (corner & 2 ? d.low : d.high));
    double slop = 4 * 0x1p-24 * (fmax(fabs(all.low), fabs(all.high)) + 9); // 9: q4_0 adds 8.5 in f32
    return (range){all.low - slop, all.high + slop};
}

static double to_code(sxt_type type, double quotient) {
    if (type == SXT_TYPE_Q8_0) return fmin(127, fmax(-127, round(quotient)));
    return fmin(15, fmax(0, floor(quotient + 8.5))) - 8;
}

// Widens the ranges by those of the block with d between `d`'s ends.
static void add_scale(sxt_type type, const double *values, const double *errors, range d, range *ranges) {
    double scales[2] = {sxt_number_round(SXT_TYPE_F16, d.low), sxt_number_round(SXT_TYPE_F16, d.high)};
    for (int i = 0; i < BLOCK; i++) {
        range q = quotients(values[i], errors[i], d);
        for (int corner = 0; corner < 4; corner++)
            ranges[i] = hull(ranges[i], scales[corner & 1] * to_code(type, corner & 2 ? q.low : q.high));
    }
}

static void exact_block(sxt_type type, const double *values, range *ranges) {
    float plain[BLOCK];
    char block[64];
    for (int i = 0; i < BLOCK; i++)
        plain[i] = (float)values[i];
    sxt_number_convert(type, block, BLOCK, plain);
    for (int i = 0; i < BLOCK; i++)
        ranges[i].low = ranges[i].high = sxt_number_get(type, block, (uint64_t)i);
}

static void block_ranges(sxt_type type, const double *values, const double *errors, range *ranges) {
    double least = 0, most = 0, error = 0;
    for (int i = 0; i < BLOCK; i++) {
        least = fmax(least, fabs(values[i]) - errors[i]);
        most = fmax(most, fabs(values[i]) + errors[i]);
        error = fmax(error, errors[i]);
        ranges[i] = (range){INFINITY, -INFINITY};
    }
    if (error == 0) {
        exact_block(type, values, ranges);
        return;
    }
    double steps = type == SXT_TYPE_Q8_0 ? 127 : 8, slop = type == SXT_TYPE_Q8_0 ? 2 * 0x1p-24 : 0;
    range d = {fmax(least / steps * (1 - slop), 0x1p-126), most / steps * (1 + slop)};
    for (int i = 0; i < BLOCK && least / steps < 0x1p-126; i++)
        ranges[i] = hull(ranges[i], 0); // d may be taken for 0
    if (d.high < d.low) return;
    if (type == SXT_TYPE_Q8_0) {
        add_scale(type, values, errors, d, ranges);
        return;
    }
    // q4_0's d has the sign that the extreme value has not: of each sign, if two vie for it.
    for (int sign = -1; sign <= 1; sign += 2) {
        bool vies = false;
        for (int i = 0; i < BLOCK; i++)
            vies |= -sign * values[i] + errors[i] >= least;
        range signed_d = sign > 0 ? d : (range){-d.high, -d.low};
        if (vies) add_scale(type, values, errors, signed_d, ranges);
    }
}

void sxt_store_range(sxt_type type, const double *values, const double *errors, uint32_t count, double scale,
                     double *out_low, double *out_high) {
    range ranges[BLOCK];
    bool finite = true;
    if (sxt_type_block(type) == 1) {
        for (uint32_t i = 0; i < count; i++) {
            double error = isfinite(values[i]) ? errors[i] : 0;
            out_low[i] = sxt_number_round(type, (values[i] - error) / scale) * scale;
            out_high[i] = sxt_number_round(type, (values[i] + error) / scale) * scale;
        }
        return;
    }
    for (int i = 0; i < BLOCK; i++)
        finite &= isfinite(values[i]) && isfinite(errors[i]);
    if (finite) block_ranges(type, values, errors, ranges);
    for (int i = 0; i < BLOCK; i++) {
        out_low[i] = finite ? ranges[i].low : NAN;
        out_high[i] = finite ? ranges[i].high : NAN;
    }
}
