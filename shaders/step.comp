// The step (interface/step.h): a workgroup takes one token and some of its heads, LANES invocations a head, GROUP/LANES
// heads at a time; the z workgroups share out the heads. A lane makes the angles of its units once, holds its channels
// of a head in registers from load to store, and writes where it read, so that outputs may be in place. Heads that
// become blocks of 32 channels are staged in shared memory, and put together by a lane a block.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/cache.glsl"
#include "interface/step.h"

layout(local_size_x_id = SXT_STEP_SPEC_GROUP) in;
layout(constant_id = SXT_STEP_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_STEP_SPEC_LANES) const uint LANES = 16;
layout(constant_id = SXT_STEP_SPEC_UNITS) const uint UNITS = 1;
layout(constant_id = SXT_STEP_SPEC_KIND) const uint KIND = SXT_KIND_RMS;
layout(constant_id = SXT_STEP_SPEC_NORM_V) const bool NORM_V = false;
layout(constant_id = SXT_STEP_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_STEP_SPEC_ROTATION) const uint ROTATION = SXT_ROTATION_HALF;
layout(constant_id = SXT_STEP_SPEC_WHOLE) const bool WHOLE = true;
layout(constant_id = SXT_STEP_SPEC_MULTI) const bool MULTI = false;
layout(constant_id = SXT_STEP_SPEC_MOVED) const bool MOVED = false;
layout(constant_id = SXT_STEP_SPEC_PLACE) const uint PLACE = SXT_PLACE_TOKEN;
layout(constant_id = SXT_STEP_SPEC_SLOTS) const bool SLOTS = false;
layout(constant_id = SXT_STEP_SPEC_Q_TYPE) const uint Q_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_K_TYPE) const uint K_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_V_TYPE) const uint V_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_Q_OUT_TYPE) const uint Q_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_K_OUT_TYPE) const uint K_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_V_OUT_TYPE) const uint V_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_Q_WEIGHT_TYPE) const uint Q_WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_K_WEIGHT_TYPE) const uint K_WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_STEP_SPEC_Q_WEIGHT_ONE) const bool Q_WEIGHT_ONE = false;
layout(constant_id = SXT_STEP_SPEC_K_WEIGHT_ONE) const bool K_WEIGHT_ONE = false;
layout(constant_id = SXT_STEP_SPEC_SCALED) const uint SCALED = 0;
layout(constant_id = SXT_STEP_SPEC_STAGED) const uint STAGED = 1;
layout(constant_id = SXT_STEP_SPEC_ROTARY_ONLY) const bool ROTARY_ONLY = false;
layout(constant_id = SXT_STEP_SPEC_K_PLACED) const bool K_PLACED = true;

layout(push_constant) uniform sxt_push_block { sxt_step_push push; };

shared float sxt_staged[GROUP / LANES * STAGED];

#include "lib/norm.glsl"
#include "lib/step.glsl"
#include "lib/unit.glsl"

SXT_UNIT_LOAD(q, q_load, q_load4)
SXT_UNIT_LOAD(k, k_get, k_get4)
SXT_UNIT_LOAD(v, v_load, v_load4)
SXT_UNIT_LOAD(q_weight, q_weight_load, q_weight_load4)
SXT_UNIT_LOAD(k_weight, k_weight_load, k_weight_load4)
SXT_UNIT_STORE(q_out, q_out_put, q_out_put4)
SXT_UNIT_STORE(k_out, k_out_put, k_out_put4)
SXT_UNIT_STORE(v_out, v_out_put, v_out_put4)

const uint Q = 0u, K = 1u, V = 2u;

// This invocation's head: which of q, k and v it is of, its number there, its layout, and its part of it.
uint side, head, lane, units;
sxt_layout layout_of;
vec4 lo[UNITS], hi[UNITS]; // unit lane + i·LANES; 0 past the end

// Only of the channels that are really there: centred sums must leave out the rest.
vec4 sxt_centred(uint i, bool second, vec4 v, float centre) {
    if (KIND != SXT_KIND_LAYER)
        return v;
    uint unit = lane + i * LANES, first = second ? 4u : 0u;
    bvec4 there;
    for (uint k = 0u; k < 4u; k++)
        there[k] = unit < units && sxt_unit_channel(layout_of, unit, first + k) != SXT_NO_CHANNEL;
    return mix(vec4(0), v - centre, there);
}

#include "lib/held.glsl"

void load_head(uint batch, uint token) {
    for (uint i = 0u; i < UNITS; i++) {
        uint unit = lane + i * LANES;
        lo[i] = hi[i] = vec4(0);
        if (unit >= units)
            continue;
        if (side == Q)
            q_load_unit(sxt_q_row(batch, token, head), layout_of, unit, lo[i], hi[i]);
        else if (side == K)
            k_load_unit(sxt_k_row(batch, token, head), layout_of, unit, lo[i], hi[i]);
        else
            v_load_unit(sxt_v_row(batch, token, head), layout_of, unit, lo[i], hi[i]);
        if (SXT_CODED == 1 && side == K && sxt_k_is_scaled_cache()) {
            lo[i] *= sxt_k_scale_of(head);
            hi[i] *= sxt_k_scale_of(head);
        }
    }
}

// The gains of a unit, offset included; 1 without weights.
void load_gains(uint batch, uint token, uint unit, out vec4 gain_lo, out vec4 gain_hi) {
    gain_lo = gain_hi = vec4(1);
    if (side == V || (side == Q ? Q_WEIGHT_TYPE : K_WEIGHT_TYPE) == SXT_STORE_NONE)
        return;
    uint row = side == Q ? sxt_q_weight_row(batch, token, head) : sxt_k_weight_row(batch, token, head);
    if (side == Q && Q_WEIGHT_ONE)
        gain_lo = gain_hi = vec4(q_weight_load(row));
    else if (side == K && K_WEIGHT_ONE)
        gain_lo = gain_hi = vec4(k_weight_load(row));
    else if (side == Q)
        q_weight_load_unit(row, layout_of, unit, gain_lo, gain_hi);
    else
        k_weight_load_unit(row, layout_of, unit, gain_lo, gain_hi);
    gain_lo += sxt_step.offset;
    gain_hi += sxt_step.offset;
}

uint out_type() {
    return side == Q ? Q_OUT_TYPE : side == K ? K_OUT_TYPE : V_OUT_TYPE;
}

uint out_row(uvec2 token, uvec2 place) {
    return side == Q ? sxt_q_out_row(token.x, token.y, head)
           : side == K ? sxt_k_out_row(K_PLACED ? place.x : token.x, K_PLACED ? place.y : token.y, head)
                       : sxt_v_out_row(place.x, place.y, head);
}

void stage_unit(uint first, uint unit, vec4 a, vec4 b) {
    [[dont_unroll]] for (uint k = 0u; k < SXT_UNIT_CHANNELS; k++) {
        uint channel = sxt_unit_channel(layout_of, unit, k);
        if (channel != SXT_NO_CHANNEL)
            sxt_staged[first + channel] = k < 4u ? a[k] : b[k - 4u];
    }
}

// Unit i of this lane goes to where its head goes, or to shared memory on its way there.
void store_unit(uint i, uint row, vec4 a, vec4 b) {
    uint unit = lane + i * LANES;
    if (SXT_CODED == 1 && side != Q && (SCALED & (side == K ? 1u : 2u)) != 0u) {
        float scale = side == K ? sxt_k_scale_of(head) : sxt_v_scale_of(head);
        for (uint k = 0u; k < 4u; k++) {
            a[k] = sxt_e4m3_quotient(a[k], scale);
            b[k] = sxt_e4m3_quotient(b[k], scale);
        }
    }
    if (SXT_CODED == 1 && STAGED > 1u && sxt_is_blocks(out_type()))
        stage_unit(sxt_place() / LANES * STAGED, unit, a, b);
    else if (side == Q)
        q_out_store_unit(row, layout_of, unit, a, b);
    else if (side == K)
        k_out_store_unit(row, layout_of, unit, a, b);
    else
        v_out_store_unit(row, layout_of, unit, a, b);
}

void store_blocks(uint row) {
    uint first = sxt_place() / LANES * STAGED;
    uint end = layout_of.rotary_offset + layout_of.rotary_dim;
    for (uint c = lane * SXT_BLOCK_CHANNELS; c < layout_of.channels; c += LANES * SXT_BLOCK_CHANNELS)
        if (MOVED && (c >= end || c + SXT_BLOCK_CHANNELS <= layout_of.rotary_offset))
            continue; // in place, and none of it turned
        else if (side == Q)
            q_out_put_block(row + c, first + c);
        else if (side == K)
            k_out_put_block(row + c, first + c);
        else
            v_out_put_block(row + c, first + c);
}

void find_head(uint number, bool there) {
    side = number < push.q_heads ? Q : number < push.q_heads + sxt_k_heads() ? K : V;
    head = side == Q ? number : side == K ? number - push.q_heads : number - push.q_heads - sxt_k_heads();
    layout_of = side == V ? sxt_layout_of(sxt_step.v_channels, 0u, 0u) : sxt_step_layout();
    // Heads past the end take part in the barriers alone.
    units = !there ? 0u : ROTARY_ONLY ? layout_of.rotary_units : sxt_layout_units(layout_of);
}

void main() {
    uint row = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (row >= push.rows) // the whole workgroup leaves
        return;
    uvec2 token = uvec2(row / push.tokens, row % push.tokens), place;
    sxt_step_begin(0u);
    if (MOVED && !sxt_step_moved(token.x, token.y))
        return;
    bool placed = sxt_step_place(token.x, token.y, place);
    uint heads = push.q_heads + (placed || !K_PLACED ? sxt_k_heads() : 0u) + (placed ? sxt_v_heads() : 0u);
    uint share = (heads + gl_NumWorkGroups.z - 1u) / gl_NumWorkGroups.z;
    uint start = gl_WorkGroupID.z * share, end = min(start + share, heads);

    lane = sxt_place() % LANES;
    vec4 cosine[UNITS], sine[UNITS];
    for (uint i = 0u; ROTATION != SXT_ROTATION_NONE && i < UNITS; i++)
        if (lane + i * LANES < sxt_step_layout().rotary_units)
            sxt_step_angles(token.x, token.y, lane + i * LANES, cosine[i], sine[i]);

    for (; start < end; start += GROUP / LANES) {
        uint number = start + sxt_place() / LANES;
        find_head(min(number, end - 1u), number < end);
        load_head(token.x, token.y);
        sxt_row_norm norm = sxt_row_norm(1.0, 0.0, 1.0);
        if (KIND != SXT_KIND_NONE)
            norm = sxt_row_solve(KIND, layout_of.channels, sxt_step.eps);
        uint target = out_row(token, place);
        for (uint i = 0u; i < UNITS; i++) {
            uint unit = lane + i * LANES;
            if (unit >= units)
                continue;
            vec4 a = lo[i], b = hi[i];
            if (KIND != SXT_KIND_NONE && (side != V || NORM_V)) {
                vec4 gain_lo, gain_hi;
                load_gains(token.x, token.y, unit, gain_lo, gain_hi);
                a = (a * norm.scale - norm.centre) * norm.factor * gain_lo;
                b = (b * norm.scale - norm.centre) * norm.factor * gain_hi;
            }
            if (ROTATION != SXT_ROTATION_NONE && side != V && (WHOLE || unit < layout_of.rotary_units))
                sxt_rotate(cosine[i], sine[i], a, b);
            store_unit(i, target, a, b);
        }
        if (SXT_CODED == 1 && STAGED > 1u) {
            barrier(); // the staged heads are complete
            if (units > 0u && sxt_is_blocks(out_type()))
                store_blocks(target);
            barrier(); // and have been read
        }
    }
}
