// Rotation by units of eight channels (interface/rope.h): which channels a unit has, loads and stores of a unit, angles.
// The including file defines ALIGNED, INTERLEAVED, SXT_POSITIONS_BINDING and SXT_TABLE_BINDING.
//
// A unit is two quads. Half pairing: four first members of pairs, then their partners. Interleaved: eight channels in a row.
// Outside the rotary range: eight channels in a row, the range left out.
#ifndef SXT_LIB_ROPE_GLSL
#define SXT_LIB_ROPE_GLSL

#include "interface/rope.h"
#include "lib/angle.glsl"

SXT_BLOCK(sxt_positions_data, int, readonly, SXT_POSITIONS_BINDING)
#if SXT_ADDRESS
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer sxt_table_at {
    sxt_rope_header header;
    sxt_rope_pair pairs[];
};
#define sxt_table sxt_table_at(sxt_address(SXT_TABLE_BINDING))
#else
layout(std430, set = 0, binding = SXT_TABLE_BINDING) readonly buffer sxt_table_block {
    sxt_rope_header header;
    sxt_rope_pair pairs[];
} sxt_table;
#endif

const uint SXT_NO_CHANNEL = 0xffffffffu;

uint sxt_rotary_units() {
    return (sxt_table.header.rotary_dim + SXT_UNIT_CHANNELS - 1u) / SXT_UNIT_CHANNELS;
}

// Channel k of 0 to 7 of a unit, or NO_CHANNEL in the unit that is not full.
uint sxt_unit_channel(uint unit, uint k, uint channels) {
    uint rotary = sxt_table.header.rotary_dim, start = sxt_table.header.rotary_offset, units = sxt_rotary_units();
    if (unit >= units) {
        uint c = (unit - units) * SXT_UNIT_CHANNELS + k;
        return c >= channels - rotary ? SXT_NO_CHANNEL : c < start ? c : c + rotary;
    }
    if (INTERLEAVED) {
        uint c = unit * SXT_UNIT_CHANNELS + k;
        return c < rotary ? start + c : SXT_NO_CHANNEL;
    }
    uint pair = unit * SXT_UNIT_PAIRS + k % SXT_UNIT_PAIRS;
    return pair < rotary / 2u ? start + pair + (k < SXT_UNIT_PAIRS ? 0u : rotary / 2u) : SXT_NO_CHANNEL;
}

// name_load_unit: a unit of the row that starts at element `row`; 0 where there is no channel.
#define SXT_UNIT_LOAD(name)                                                                                            \
    void name##_load_unit(uint row, uint unit, uint channels, out vec4 lo, out vec4 hi) {                              \
        lo = hi = vec4(0);                                                                                             \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(unit, 4u, channels);                                                        \
            lo = name##_load4(row + sxt_unit_channel(unit, 0u, channels), true);                                       \
            if (second != SXT_NO_CHANNEL)                                                                              \
                hi = name##_load4(row + second, true);                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        for (uint k = 0u; k < 4u; k++) {                                                                               \
            uint a = sxt_unit_channel(unit, k, channels), b = sxt_unit_channel(unit, k + 4u, channels);                \
            if (a != SXT_NO_CHANNEL)                                                                                   \
                lo[k] = name##_load(row + a);                                                                          \
            if (b != SXT_NO_CHANNEL)                                                                                   \
                hi[k] = name##_load(row + b);                                                                          \
        }                                                                                                              \
    }

#define SXT_UNIT_STORE(name)                                                                                           \
    void name##_store_unit(uint row, uint unit, uint channels, vec4 lo, vec4 hi) {                                     \
        if (ALIGNED) {                                                                                                 \
            uint second = sxt_unit_channel(unit, 4u, channels);                                                        \
            name##_store4(row + sxt_unit_channel(unit, 0u, channels), lo, true);                                       \
            if (second != SXT_NO_CHANNEL)                                                                              \
                name##_store4(row + second, hi, true);                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        for (uint k = 0u; k < 4u; k++) {                                                                               \
            uint a = sxt_unit_channel(unit, k, channels), b = sxt_unit_channel(unit, k + 4u, channels);                \
            if (a != SXT_NO_CHANNEL)                                                                                   \
                name##_store(row + a, lo[k]);                                                                          \
            if (b != SXT_NO_CHANNEL)                                                                                   \
                name##_store(row + b, hi[k]);                                                                          \
        }                                                                                                              \
    }

// magnitude · cos θ and magnitude · sin θ of a unit's four pairs at a token.
void sxt_unit_angles(sxt_positions positions, uint batch, uint token, uint unit, out vec4 cosine, out vec4 sine) {
    uint at = positions.base + batch * positions.batch + token;
    int first = SXT_AT(sxt_positions_data, at); // of plane 0, the only one but for multi-axis rotation
    ivec4 position;
    uvec4 lo, hi;
    for (uint k = 0u; k < SXT_UNIT_PAIRS; k++) {
        sxt_rope_pair pair = sxt_table.pairs[unit * SXT_UNIT_PAIRS + k];
        lo[k] = pair.lo;
        hi[k] = pair.hi;
        position[k] = pair.axis == 0u ? first : SXT_AT(sxt_positions_data, at + pair.axis * positions.plane);
    }
    sxt_cos_sin(sxt_phase(position, hi, lo), cosine, sine);
    cosine *= sxt_table.header.magnitude;
    sine *= sxt_table.header.magnitude;
}

void sxt_rotate(vec4 cosine, vec4 sine, inout vec4 lo, inout vec4 hi) {
    vec4 a = INTERLEAVED ? vec4(lo.xz, hi.xz) : lo, b = INTERLEAVED ? vec4(lo.yw, hi.yw) : hi;
    vec4 turned_a = a * cosine - b * sine, turned_b = a * sine + b * cosine;
    lo = INTERLEAVED ? vec4(turned_a.x, turned_b.x, turned_a.y, turned_b.y) : turned_a;
    hi = INTERLEAVED ? vec4(turned_a.z, turned_b.z, turned_a.w, turned_b.w) : turned_b;
}

#endif
