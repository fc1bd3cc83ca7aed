// sxt_qk_norm_rope: a workgroup takes one token and some of its heads, LANES invocations a head, GROUP/LANES heads at
// a time; the z workgroups share out the heads. A lane makes the angles of its units once, holds its channels of a
// head in registers from load to store, and writes where it read, so that outputs may be in place.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/storage.glsl"
#include "interface/qk_norm_rope.h"

layout(local_size_x_id = SXT_QK_SPEC_GROUP) in;
layout(constant_id = SXT_QK_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_QK_SPEC_LANES) const uint LANES = 16;
layout(constant_id = SXT_QK_SPEC_UNITS) const uint UNITS = 1;
layout(constant_id = SXT_QK_SPEC_KIND) const uint KIND = SXT_KIND_RMS;
layout(constant_id = SXT_QK_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_QK_SPEC_INTERLEAVED) const bool INTERLEAVED = false;
layout(constant_id = SXT_QK_SPEC_WHOLE) const bool WHOLE = true;
layout(constant_id = SXT_QK_SPEC_MULTI) const bool MULTI = false;
layout(constant_id = SXT_QK_SPEC_Q_TYPE) const uint Q_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_Q_OUT_TYPE) const uint Q_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_K_TYPE) const uint K_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_K_OUT_TYPE) const uint K_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_Q_WEIGHT_TYPE) const uint Q_WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_K_WEIGHT_TYPE) const uint K_WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_QK_SPEC_Q_WEIGHT_ONE) const bool Q_WEIGHT_ONE = false;
layout(constant_id = SXT_QK_SPEC_K_WEIGHT_ONE) const bool K_WEIGHT_ONE = false;

layout(push_constant) uniform sxt_push_block { sxt_qk_norm_rope_push push; };

#define SXT_POSITIONS_BINDING SXT_QK_BINDING_POSITIONS
#define SXT_TABLE_BINDING SXT_QK_BINDING_TABLE
#include "lib/rope.glsl"
#include "lib/norm.glsl"

SXT_INPUT(q, SXT_QK_BINDING_Q, Q_TYPE)
SXT_OUTPUT(q_out, SXT_QK_BINDING_Q_OUT, Q_OUT_TYPE)
SXT_INPUT(k, SXT_QK_BINDING_K, K_TYPE)
SXT_OUTPUT(k_out, SXT_QK_BINDING_K_OUT, K_OUT_TYPE)
SXT_INPUT(q_weight, SXT_QK_BINDING_Q_WEIGHT, Q_WEIGHT_TYPE)
SXT_INPUT(k_weight, SXT_QK_BINDING_K_WEIGHT, K_WEIGHT_TYPE)
SXT_UNIT_LOAD(q)
SXT_UNIT_LOAD(k)
SXT_UNIT_LOAD(q_weight)
SXT_UNIT_LOAD(k_weight)
SXT_UNIT_STORE(q_out)
SXT_UNIT_STORE(k_out)

uint lane, units;          // units: of a head
vec4 lo[UNITS], hi[UNITS]; // this lane's: unit lane + i·LANES; 0 past the end

// Which of a unit's four channels from `first` on (0: lo, 4: hi) are really there: centred sums must leave out the rest.
bvec4 present(uint unit, uint first) {
    bvec4 there;
    for (uint k = 0u; k < 4u; k++)
        there[k] = unit < units && sxt_unit_channel(unit, first + k) != SXT_NO_CHANNEL;
    return there;
}

vec4 centred(vec4 v, uint unit, uint first, float centre) {
    return KIND == SXT_KIND_LAYER ? mix(vec4(0), v - centre, present(unit, first)) : v;
}

float sxt_lane_sum(float scale) {
    vec4 sum = vec4(0);
    for (uint i = 0u; i < UNITS; i++)
        sum += lo[i] * scale + hi[i] * scale;
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_squares(float scale, float centre) {
    vec4 sum = vec4(0);
    for (uint i = 0u; i < UNITS; i++) {
        uint unit = lane + i * LANES;
        vec4 a = centred(lo[i] * scale, unit, 0u, centre), b = centred(hi[i] * scale, unit, 4u, centre);
        sum += a * a + b * b;
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_largest() {
    vec4 largest = vec4(0);
    for (uint i = 0u; i < UNITS; i++)
        largest = max(largest, max(abs(lo[i]), abs(hi[i])));
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}

void load_head(bool is_q, uint batch, uint token, uint head) {
    for (uint i = 0u; i < UNITS; i++) {
        uint unit = lane + i * LANES;
        lo[i] = hi[i] = vec4(0);
        if (unit < units && is_q)
            q_load_unit(sxt_view_row(push.q, batch, token, head), unit, lo[i], hi[i]);
        else if (unit < units)
            k_load_unit(sxt_view_row(push.k, batch, token, head), unit, lo[i], hi[i]);
    }
}

// The gains of a unit, offset included; 1 without weights.
void load_gains(bool is_q, uint batch, uint token, uint head, uint unit, out vec4 gain_lo, out vec4 gain_hi) {
    gain_lo = gain_hi = vec4(1);
    if (KIND == SXT_KIND_NONE || (is_q ? Q_WEIGHT_TYPE : K_WEIGHT_TYPE) == SXT_STORE_NONE)
        return;
    uint row = is_q ? sxt_view_row(push.q_weight, batch, token, head) : sxt_view_row(push.k_weight, batch, token, head);
    if (is_q && Q_WEIGHT_ONE)
        gain_lo = gain_hi = vec4(q_weight_load(row));
    else if (!is_q && K_WEIGHT_ONE)
        gain_lo = gain_hi = vec4(k_weight_load(row));
    else if (is_q)
        q_weight_load_unit(row, unit, gain_lo, gain_hi);
    else
        k_weight_load_unit(row, unit, gain_lo, gain_hi);
    gain_lo += sxt_rotary.offset;
    gain_hi += sxt_rotary.offset;
}

void main() {
    uint row = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (row >= push.rows) // the whole workgroup leaves
        return;
    uint token = row % push.tokens, batch = row / push.tokens;
    uint share = (push.heads + gl_NumWorkGroups.z - 1u) / gl_NumWorkGroups.z;
    uint start = gl_WorkGroupID.z * share, end = min(start + share, push.heads);

    uint place = sxt_place();
    lane = place % LANES;
    sxt_rope_begin(push.channels);
    uint other = push.channels - sxt_rotary.rotary_dim;
    uint all_units = sxt_rotary_units + (other + SXT_UNIT_CHANNELS - 1u) / SXT_UNIT_CHANNELS;

    vec4 cosine[UNITS], sine[UNITS];
    for (uint i = 0u; i < UNITS; i++)
        if (lane + i * LANES < sxt_rotary_units)
            sxt_unit_angles(push.positions, batch, token, lane + i * LANES, cosine[i], sine[i]);

    for (; start < end; start += GROUP / LANES) {
        uint number = start + place / LANES;
        bool is_q = number < push.q_heads;
        uint head = is_q ? number : number - push.q_heads;
        units = number < end ? all_units : 0u; // heads past the end take part in the barriers alone
        load_head(is_q, batch, token, head);
        sxt_row_norm norm = sxt_row_norm(1.0, 0.0, 1.0);
        if (KIND != SXT_KIND_NONE)
            norm = sxt_row_solve(KIND, push.channels, sxt_rotary.eps);
        for (uint i = 0u; i < UNITS; i++) {
            uint unit = lane + i * LANES;
            if (unit >= units)
                continue;
            vec4 gain_lo, gain_hi;
            load_gains(is_q, batch, token, head, unit, gain_lo, gain_hi);
            vec4 a = (lo[i] * norm.scale - norm.centre) * norm.factor * gain_lo;
            vec4 b = (hi[i] * norm.scale - norm.centre) * norm.factor * gain_hi;
            if (sxt_unit_rotated(unit))
                sxt_rotate(cosine[i], sine[i], a, b);
            if (is_q)
                q_out_store_unit(sxt_view_row(push.q_out, batch, token, head), unit, a, b);
            else
                k_out_store_unit(sxt_view_row(push.k_out, batch, token, head), unit, a, b);
        }
    }
}
