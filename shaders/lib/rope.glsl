// Rotation by units of eight channels (interface/rope.h): which channels a unit has, loads and stores of a unit,
// angles. The including file defines ALIGNED, INTERLEAVED, WHOLE, MULTI, SXT_POSITIONS_BINDING and SXT_TABLE_BINDING,
// and calls sxt_rope_begin first.
//
// A unit is two quads. Half pairing: four first members of pairs, then their partners. Interleaved: eight channels in
// a row. Outside the rotary range: eight channels in a row, the range left out.
#ifndef SXT_LIB_ROPE_GLSL
#define SXT_LIB_ROPE_GLSL

#include "interface/rope.h"
#include "lib/angle.glsl"

SXT_BLOCK(sxt_positions_data, int, readonly, SXT_POSITIONS_BINDING)
#if SXT_ADDRESS
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer sxt_table_at {
    sxt_rope_header header;
    sxt_rope_unit units[];
};
#define sxt_table sxt_table_at(sxt_address(SXT_TABLE_BINDING))
#else
layout(std430, set = 0, binding = SXT_TABLE_BINDING) readonly buffer sxt_table_block {
    sxt_rope_header header;
    sxt_rope_unit units[];
} sxt_table;
#endif

const uint SXT_NO_CHANNEL = 0xffffffffu;

uint sxt_channels;          // of a head
sxt_rope_header sxt_rotary;
uint sxt_rotary_units;      // of the rotary range

void sxt_rope_begin(uint channels) {
    sxt_channels = channels;
    sxt_rotary = sxt_table.header;
    if (WHOLE) { // the compiler makes use of it
        sxt_rotary.rotary_dim = channels;
        sxt_rotary.rotary_offset = 0u;
    }
    sxt_rotary_units = (sxt_rotary.rotary_dim + SXT_UNIT_CHANNELS - 1u) / SXT_UNIT_CHANNELS;
}

bool sxt_unit_rotated(uint unit) {
    return WHOLE || unit < sxt_rotary_units;
}

// Channel k of 0 to 7 of a unit, or NO_CHANNEL in the unit that is not full.
uint sxt_unit_channel(uint unit, uint k) {
    if (!sxt_unit_rotated(unit)) {
        uint c = (unit - sxt_rotary_units) * SXT_UNIT_CHANNELS + k;
        return c >= sxt_channels - sxt_rotary.rotary_dim ? SXT_NO_CHANNEL
               : c < sxt_rotary.rotary_offset            ? c
                                                         : c + sxt_rotary.rotary_dim;
    }
    if (INTERLEAVED) {
        uint c = unit * SXT_UNIT_CHANNELS + k;
        return ALIGNED || c < sxt_rotary.rotary_dim ? sxt_rotary.rotary_offset + c : SXT_NO_CHANNEL;
    }
    uint pair = unit * SXT_UNIT_PAIRS + k % SXT_UNIT_PAIRS, pairs = sxt_rotary.rotary_dim / 2u;
    uint c = sxt_rotary.rotary_offset + pair + (k < SXT_UNIT_PAIRS ? 0u : pairs);
    return ALIGNED || pair < pairs ? c : SXT_NO_CHANNEL;
}

// name_load_unit: a unit of the row that starts at element `row`; 0 where there is no channel. Odd rows go channel by
// channel, in a loop that stays one: unrolled, it takes some drivers seconds to compile.
#define SXT_UNIT_LOAD(name)                                                                                            \
    void name##_load_unit(uint row, uint unit, out vec4 lo, out vec4 hi) {                                             \
        lo = hi = vec4(0);                                                                                             \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(unit, 4u);                                                                  \
            lo = name##_load4(row + sxt_unit_channel(unit, 0u), true);                                                 \
            if (second != SXT_NO_CHANNEL)                                                                              \
                hi = name##_load4(row + second, true);                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        [[dont_unroll]] for (uint k = 0u; k < SXT_UNIT_CHANNELS; k++) {                                                \
            uint channel = sxt_unit_channel(unit, k);                                                                  \
            float value = channel == SXT_NO_CHANNEL ? 0.0 : name##_load(row + channel);                                \
            if (k < 4u)                                                                                                \
                lo[k] = value;                                                                                         \
            else                                                                                                       \
                hi[k - 4u] = value;                                                                                    \
        }                                                                                                              \
    }

#define SXT_UNIT_STORE(name)                                                                                           \
    void name##_store_unit(uint row, uint unit, vec4 lo, vec4 hi) {                                                    \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(unit, 4u);                                                                  \
            name##_store4(row + sxt_unit_channel(unit, 0u), lo, true);                                                 \
            if (second != SXT_NO_CHANNEL)                                                                              \
                name##_store4(row + second, hi, true);                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        [[dont_unroll]] for (uint k = 0u; k < SXT_UNIT_CHANNELS; k++) {                                                \
            uint channel = sxt_unit_channel(unit, k);                                                                  \
            if (channel != SXT_NO_CHANNEL)                                                                             \
                name##_store(row + channel, k < 4u ? lo[k] : hi[k - 4u]);                                              \
        }                                                                                                              \
    }

// magnitude · cos θ and magnitude · sin θ of a unit's four pairs at a token.
void sxt_unit_angles(sxt_positions positions, uint batch, uint token, uint unit, out vec4 cosine, out vec4 sine) {
    uint at = positions.base + batch * positions.batch + token;
    ivec4 position = ivec4(SXT_AT(sxt_positions_data, at)); // of plane 0
    sxt_rope_unit four = sxt_table.units[unit];
    for (uint k = 0u; MULTI && k < SXT_UNIT_PAIRS; k++)
        if (four.axis[k] != 0u)
            position[k] = SXT_AT(sxt_positions_data, at + four.axis[k] * positions.plane);
    sxt_cos_sin(sxt_phase(position, four.hi, four.lo), cosine, sine);
    cosine *= sxt_rotary.magnitude;
    sine *= sxt_rotary.magnitude;
}

void sxt_rotate(vec4 cosine, vec4 sine, inout vec4 lo, inout vec4 hi) {
    vec4 a = INTERLEAVED ? vec4(lo.xz, hi.xz) : lo, b = INTERLEAVED ? vec4(lo.yw, hi.yw) : hi;
    vec4 turned_a = a * cosine - b * sine, turned_b = a * sine + b * cosine;
    lo = INTERLEAVED ? vec4(turned_a.x, turned_b.x, turned_a.y, turned_b.y) : turned_a;
    hi = INTERLEAVED ? vec4(turned_a.z, turned_b.z, turned_a.w, turned_b.w) : turned_b;
}

#endif
