// sxt_rope: an invocation takes one unit of channels of one token, makes its angles once, and rotates it in some of
// the heads: the z workgroups share them out. It reads and writes the same elements, so that y may be x.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/storage.glsl"
#include "interface/rope.h"

layout(local_size_x_id = SXT_ROPE_SPEC_GROUP) in;
layout(constant_id = SXT_ROPE_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_ROPE_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_ROPE_SPEC_INTERLEAVED) const bool INTERLEAVED = false;
layout(constant_id = SXT_ROPE_SPEC_WHOLE) const bool WHOLE = true;
layout(constant_id = SXT_ROPE_SPEC_MULTI) const bool MULTI = false;
layout(constant_id = SXT_ROPE_SPEC_X_TYPE) const uint X_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_ROPE_SPEC_Y_TYPE) const uint Y_TYPE = SXT_STORE_F32;

layout(push_constant) uniform sxt_push_block { sxt_rope_push push; };

#define SXT_POSITIONS_BINDING SXT_ROPE_BINDING_POSITIONS
#define SXT_TABLE_BINDING SXT_ROPE_BINDING_TABLE
#include "lib/rope.glsl"

SXT_INPUT(x, SXT_ROPE_BINDING_X, X_TYPE)
SXT_OUTPUT(y, SXT_ROPE_BINDING_Y, Y_TYPE)
SXT_UNIT_LOAD(x)
SXT_UNIT_STORE(y)

void main() {
    uint item = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * GROUP + gl_LocalInvocationID.x;
    if (item >= push.rows * push.units)
        return;
    uint unit = item % push.units, row = item / push.units;
    uint token = row % push.tokens, batch = row / push.tokens;
    uint share = (push.heads + gl_NumWorkGroups.z - 1u) / gl_NumWorkGroups.z;
    uint head = gl_WorkGroupID.z * share, end = min(head + share, push.heads);

    sxt_rope_begin(push.channels);
    bool rotated = sxt_unit_rotated(unit);
    vec4 cosine, sine;
    if (rotated)
        sxt_unit_angles(push.positions, batch, token, unit, cosine, sine);
    for (; head < end; head++) {
        vec4 lo, hi;
        x_load_unit(sxt_view_row(push.x, batch, token, head), unit, lo, hi);
        if (rotated)
            sxt_rotate(cosine, sine, lo, hi);
        y_store_unit(sxt_view_row(push.y, batch, token, head), unit, lo, hi);
    }
}
