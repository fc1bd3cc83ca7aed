// sxt_attention_merge: a workgroup takes ROWS rows. First one invocation a row solves its two weights and writes its
// lse (which may be lse_a or lse_b: no other reads these), then LANES invocations a row add up the channels.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/features.glsl"
#include "interface/attention_merge.h"

layout(local_size_x_id = SXT_MERGE_SPEC_GROUP) in;
layout(constant_id = SXT_MERGE_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_MERGE_SPEC_LANES) const uint LANES = 32;
layout(constant_id = SXT_MERGE_SPEC_ROWS) const uint ROWS = 4;
layout(constant_id = SXT_MERGE_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_MERGE_SPEC_A_TYPE) const uint A_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_MERGE_SPEC_B_TYPE) const uint B_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_MERGE_SPEC_O_TYPE) const uint O_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_MERGE_SPEC_LSE_TYPE) const uint LSE_TYPE = SXT_STORE_F32;

layout(push_constant) uniform sxt_push_block { sxt_merge_push push; };

#include "lib/logarithm.glsl"
#include "lib/storage.glsl"

SXT_INPUT(a, SXT_MERGE_BINDING_O_A, A_TYPE)
SXT_INPUT(b, SXT_MERGE_BINDING_O_B, B_TYPE)
SXT_OUTPUT(o, SXT_MERGE_BINDING_O, O_TYPE)
SXT_BLOCK(lse_a, float, readonly, SXT_MERGE_BINDING_LSE_A)
SXT_BLOCK(lse_b, float, readonly, SXT_MERGE_BINDING_LSE_B)
SXT_BLOCK(lse, float, writeonly, SXT_MERGE_BINDING_LSE)

// Of a side that saw no key: nothing of it counts, whatever its o is.
const float NO_WEIGHT = -1.0;

shared vec2 weights[ROWS];

struct place {
    uint batch, token, head;
};

place place_of(uint row) {
    return place(row / push.heads / push.tokens, row / push.heads % push.tokens, row % push.heads);
}

// e^(lse − greatest), where drivers' exp2 is not left to find 1 at 0, 0 far below, or NaN. Below e^−104 nothing is left
// in f32.
float share_of(float lse, float greatest) {
    float x = lse - greatest;
    return x == 0.0 || isnan(x) ? 1.0 + x : x < -104.0 ? 0.0 : exp2(x * LOG2_E);
}

void solve_row(uint local, place at) {
    const float NOTHING = uintBitsToFloat(0xff800000u);
    float a = SXT_AT(lse_a, sxt_view_row(push.lse_a, at.batch, at.token, at.head));
    float b = SXT_AT(lse_b, sxt_view_row(push.lse_b, at.batch, at.token, at.head));
    float greatest = a < b ? b : a, joined = NOTHING;
    weights[local] = vec2(NO_WEIGHT);
    if (a != NOTHING || b != NOTHING) {
        vec2 share = vec2(share_of(a, greatest), share_of(b, greatest));
        float total = share.x + share.y;
        joined = greatest + precise_log(total);
        weights[local] = vec2(a == NOTHING ? NO_WEIGHT : share.x / total, b == NOTHING ? NO_WEIGHT : share.y / total);
    }
    if (LSE_TYPE != SXT_STORE_NONE)
        SXT_AT(lse, sxt_view_row(push.lse, at.batch, at.token, at.head)) = joined;
}

void add_row(vec2 weight, place at, uint lane) {
    uint a_row = sxt_view_row(push.o_a, at.batch, at.token, at.head);
    uint b_row = sxt_view_row(push.o_b, at.batch, at.token, at.head);
    uint o_row = sxt_view_row(push.o, at.batch, at.token, at.head);
    uint quads = push.channels / 4u;
    for (uint q = lane; q < quads; q += LANES) {
        vec4 sum = vec4(0);
        if (weight.x != NO_WEIGHT)
            sum += weight.x * a_load4(a_row + 4u * q, ALIGNED);
        if (weight.y != NO_WEIGHT)
            sum += weight.y * b_load4(b_row + 4u * q, ALIGNED);
        o_store4(o_row + 4u * q, sum, ALIGNED);
    }
    for (uint c = 4u * quads + lane; !ALIGNED && c < push.channels; c += LANES) {
        float sum = 0.0;
        if (weight.x != NO_WEIGHT)
            sum += weight.x * a_load(a_row + c);
        if (weight.y != NO_WEIGHT)
            sum += weight.y * b_load(b_row + c);
        o_store(o_row + c, sum);
    }
}

void main() {
    uint first = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * ROWS;
    uint rows = first < push.rows ? min(push.rows - first, ROWS) : 0u;
    for (uint row = gl_LocalInvocationID.x; row < rows; row += GROUP)
        solve_row(row, place_of(first + row));
    barrier();
    uint lane = gl_LocalInvocationID.x % LANES;
    for (uint row = gl_LocalInvocationID.x / LANES; row < rows; row += GROUP / LANES)
        add_row(weights[row], place_of(first + row), lane);
}
