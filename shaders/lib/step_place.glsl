// What all kernels of the step share (interface/step.h): the table, positions, where k and v go, angles. The including
// file declares the specialisation constants and `push`.
#ifndef SXT_LIB_STEP_PLACE_GLSL
#define SXT_LIB_STEP_PLACE_GLSL

#include "interface/step.h"
#include "lib/angle.glsl"
#include "lib/storage.glsl"
#include "lib/unit.glsl"

SXT_BLOCK(sxt_positions, int, readonly, SXT_STEP_BINDING_POSITIONS)
SXT_BLOCK(sxt_slots, int, readonly, SXT_STEP_BINDING_SLOTS)
SXT_BLOCK(sxt_block_table, int, readonly, SXT_STEP_BINDING_BLOCK_TABLE)
SXT_BLOCK(sxt_faults, uint, , SXT_STEP_BINDING_FAULTS)
#if SXT_ADDRESS
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer sxt_table_at {
    sxt_step_header header;
    sxt_step_unit units[];
};
#define sxt_table sxt_table_at(sxt_address(SXT_STEP_BINDING_TABLE))
#else
layout(std430, set = 0, binding = SXT_STEP_BINDING_TABLE) readonly buffer sxt_table_block {
    sxt_step_header header;
    sxt_step_unit units[];
} sxt_table;
#endif

sxt_step_header sxt_step;

// `channels`: of all heads, where the compiler can make use of it; else 0.
void sxt_step_begin(uint channels) {
    sxt_step = sxt_table.header;
    if (channels != 0u)
        sxt_step.channels = sxt_step.v_channels = channels;
    if (WHOLE) {
        sxt_step.rotary_dim = sxt_step.channels;
        sxt_step.rotary_offset = 0u;
    }
    if (ROTATION == SXT_ROTATION_NONE)
        sxt_step.rotary_dim = 0u;
}

sxt_layout sxt_step_layout() {
    return sxt_layout_of(sxt_step.channels, sxt_step.rotary_dim, sxt_step.rotary_offset);
}

uint sxt_k_heads() {
    return K_TYPE == SXT_STORE_NONE ? 0u : push.kv_heads;
}

uint sxt_v_heads() {
    return V_TYPE == SXT_STORE_NONE ? 0u : push.kv_heads;
}

uint sxt_base(uint index) {
    return (push.bases[index / 4u] >> (index % 4u * 8u)) & 0xffu;
}

int sxt_position(uint batch, uint token, uint plane) {
    return SXT_AT(sxt_positions, sxt_base(SXT_STEP_BASE_POSITIONS) + batch * push.positions_batch + token +
                                     plane * push.positions_plane);
}

// Whether any of a token's positions is not 0.
bool sxt_step_moved(uint batch, uint token) {
    int any = 0;
    for (uint plane = 0u; plane < sxt_step.planes; plane++)
        any |= sxt_position(batch, token, plane);
    return any != 0;
}

// An index that is not there: a fault, unless it is −1.
bool sxt_step_absent(uint index) {
    if (index != 0xffffffffu)
        atomicOr(SXT_AT(sxt_faults, 0u), SXT_FAULT_BIT_INDEX);
    return false;
}

// Where k and v of a token go: batch or page, and row. False: nowhere.
bool sxt_step_place(uint batch, uint token, out uvec2 place) {
    place = uvec2(batch, token);
    if (PLACE == SXT_PLACE_TOKEN)
        return true;
    uint row = push.first_row + token;
    if (SLOTS) {
        int slot = SXT_AT(sxt_slots, sxt_base(SXT_STEP_BASE_SLOTS) + batch * push.slots_batch + token);
        if (slot < 0)
            return sxt_step_absent(uint(slot));
        row = uint(slot);
    }
    place.y = row;
    if (PLACE == SXT_PLACE_ROW)
        return row < sxt_step.cache_rows || sxt_step_absent(row);
    uint page = row / sxt_step.cache_rows;
    if (page >= push.table_pages)
        return sxt_step_absent(row);
    page = uint(SXT_AT(sxt_block_table, sxt_base(SXT_STEP_BASE_BLOCK_TABLE) + batch * push.table_batch + page));
    place = uvec2(page, row % sxt_step.cache_rows);
    return page < sxt_step.cache_pages || sxt_step_absent(page);
}

// magnitude · cos θ and magnitude · sin θ of a unit's four pairs at a token.
void sxt_step_angles(uint batch, uint token, uint unit, out vec4 cosine, out vec4 sine) {
    ivec4 position = ivec4(sxt_position(batch, token, 0u));
    sxt_step_unit four = sxt_table.units[unit];
    for (uint k = 0u; MULTI && k < SXT_UNIT_PAIRS; k++)
        if (four.axis[k] != 0u)
            position[k] = sxt_position(batch, token, four.axis[k]);
    sxt_cos_sin(sxt_phase(position, four.hi, four.lo), cosine, sine);
    cosine *= sxt_step.magnitude;
    sine *= sxt_step.magnitude;
}

#endif
