// Units of eight channels (interface/step.h): which channels a unit has, loads and stores of a unit, angles. The
// including file defines ALIGNED, ROTATION, WHOLE, MULTI and sxt_step.
//
// A unit is two quads. Half pairing: four first members of pairs, then their partners. Interleaved: eight channels in
// a row. Outside the rotary range: eight channels in a row, the range left out.
#ifndef SXT_LIB_UNIT_GLSL
#define SXT_LIB_UNIT_GLSL

#include "interface/step.h"
#include "lib/angle.glsl"

const uint SXT_NO_CHANNEL = 0xffffffffu;

// How the channels of a head fall into units.
struct sxt_layout {
    uint channels, rotary_dim, rotary_offset, rotary_units;
};

sxt_layout sxt_layout_of(uint channels, uint rotary_dim, uint rotary_offset) {
    return sxt_layout(channels, rotary_dim, rotary_offset, (rotary_dim + SXT_UNIT_CHANNELS - 1u) / SXT_UNIT_CHANNELS);
}

uint sxt_layout_units(sxt_layout l) {
    return l.rotary_units + (l.channels - l.rotary_dim + SXT_UNIT_CHANNELS - 1u) / SXT_UNIT_CHANNELS;
}

// Channel k of 0 to 7 of a unit, or NO_CHANNEL in the unit that is not full.
uint sxt_unit_channel(sxt_layout l, uint unit, uint k) {
    if (unit >= l.rotary_units) {
        uint c = (unit - l.rotary_units) * SXT_UNIT_CHANNELS + k;
        return c >= l.channels - l.rotary_dim ? SXT_NO_CHANNEL : c < l.rotary_offset ? c : c + l.rotary_dim;
    }
    if (ROTATION == SXT_ROTATION_INTERLEAVED) {
        uint c = unit * SXT_UNIT_CHANNELS + k;
        return ALIGNED || c < l.rotary_dim ? l.rotary_offset + c : SXT_NO_CHANNEL;
    }
    uint pair = unit * SXT_UNIT_PAIRS + k % SXT_UNIT_PAIRS, pairs = l.rotary_dim / 2u;
    uint c = l.rotary_offset + pair + (k < SXT_UNIT_PAIRS ? 0u : pairs);
    return ALIGNED || pair < pairs ? c : SXT_NO_CHANNEL;
}

// name_load_unit: a unit of the row that starts at element `row`; 0 where there is no channel. Odd rows go channel by
// channel, in a loop that stays one: unrolled, it takes some drivers seconds to compile.
#define SXT_UNIT_LOAD(name, load, load4)                                                                               \
    void name##_load_unit(uint row, sxt_layout l, uint unit, out vec4 lo, out vec4 hi) {                               \
        lo = hi = vec4(0);                                                                                             \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(l, unit, 4u);                                                               \
            lo = load4(row + sxt_unit_channel(l, unit, 0u), true);                                                     \
            if (second != SXT_NO_CHANNEL)                                                                              \
                hi = load4(row + second, true);                                                                        \
            return;                                                                                                    \
        }                                                                                                              \
        [[dont_unroll]] for (uint k = 0u; k < SXT_UNIT_CHANNELS; k++) {                                                \
            uint channel = sxt_unit_channel(l, unit, k);                                                               \
            float value = channel == SXT_NO_CHANNEL ? 0.0 : load(row + channel);                                       \
            if (k < 4u)                                                                                                \
                lo[k] = value;                                                                                         \
            else                                                                                                       \
                hi[k - 4u] = value;                                                                                    \
        }                                                                                                              \
    }

// name_store_unit: the same way back.
#define SXT_UNIT_STORE(name, store, store4)                                                                            \
    void name##_store_unit(uint row, sxt_layout l, uint unit, vec4 lo, vec4 hi) {                                      \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(l, unit, 4u);                                                               \
            store4(row + sxt_unit_channel(l, unit, 0u), lo, true);                                                     \
            if (second != SXT_NO_CHANNEL)                                                                              \
                store4(row + second, hi, true);                                                                        \
            return;                                                                                                    \
        }                                                                                                              \
        [[dont_unroll]] for (uint k = 0u; k < SXT_UNIT_CHANNELS; k++) {                                                \
            uint channel = sxt_unit_channel(l, unit, k);                                                               \
            if (channel != SXT_NO_CHANNEL)                                                                             \
                store(row + channel, k < 4u ? lo[k] : hi[k - 4u]);                                                     \
        }                                                                                                              \
    }

void sxt_rotate(vec4 cosine, vec4 sine, inout vec4 lo, inout vec4 hi) {
    bool woven = ROTATION == SXT_ROTATION_INTERLEAVED;
    vec4 a = woven ? vec4(lo.xz, hi.xz) : lo, b = woven ? vec4(lo.yw, hi.yw) : hi;
    vec4 turned_a = a * cosine - b * sine, turned_b = a * sine + b * cosine;
    lo = woven ? vec4(turned_a.x, turned_b.x, turned_a.y, turned_b.y) : turned_a;
    hi = woven ? vec4(turned_a.z, turned_b.z, turned_a.w, turned_b.w) : turned_b;
}

#endif
