// sxt_norm: LANES invocations take one row, GROUP/LANES rows a workgroup. Each lane reads and writes the same
// elements in every pass, so that y may be x, and residual_out x or residual. What a lane has of a row stays in
// registers if it is HELD quads or less, all on their way at once; else each pass reads it again.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/features.glsl"
#include "interface/norm.h"

layout(local_size_x_id = SXT_NORM_SPEC_GROUP) in;
layout(constant_id = SXT_NORM_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_NORM_SPEC_LANES) const uint LANES = 32;
layout(constant_id = SXT_NORM_SPEC_KIND) const uint KIND = SXT_KIND_RMS;
layout(constant_id = SXT_NORM_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_NORM_SPEC_X_TYPE) const uint X_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_Y_TYPE) const uint Y_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_WEIGHT_TYPE) const uint WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_BIAS_TYPE) const uint BIAS_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_RESIDUAL_TYPE) const uint RESIDUAL_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_RESIDUAL_OUT_TYPE) const uint RESIDUAL_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_WEIGHT_ONE) const bool WEIGHT_ONE = false;
layout(constant_id = SXT_NORM_SPEC_BIAS_ONE) const bool BIAS_ONE = false;
layout(constant_id = SXT_NORM_SPEC_HELD_QUADS) const uint HELD = 0; // only where ALIGNED

layout(push_constant) uniform sxt_push_block { sxt_norm_push push; };

#include "lib/norm.glsl"
#include "lib/storage.glsl"

SXT_INPUT(x, SXT_NORM_BINDING_X, X_TYPE)
SXT_OUTPUT(y, SXT_NORM_BINDING_Y, Y_TYPE)
SXT_INPUT(weight, SXT_NORM_BINDING_WEIGHT, WEIGHT_TYPE)
SXT_INPUT(bias, SXT_NORM_BINDING_BIAS, BIAS_TYPE)
SXT_INPUT(residual, SXT_NORM_BINDING_RESIDUAL, RESIDUAL_TYPE)
SXT_OUTPUT(residual_out, SXT_NORM_BINDING_RESIDUAL_OUT, RESIDUAL_OUT_TYPE)

// This invocation's row: where it starts in each tensor. A workgroup's last rows may be past the end: they have no
// channels, and the addresses of the last row.
uint lane, channels, quads; // quads: whole fours of channels; where ALIGNED, there is nothing else
uint x_row, y_row, weight_row, bias_row, residual_row, residual_out_row;
vec4 held[HELD > 0u ? HELD : 1u]; // 0 past the end

void find_row() {
    uint place = sxt_place();
    uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    uint row = group * (GROUP / LANES) + place / LANES;
    lane = place % LANES;
    channels = row < push.rows ? push.channels : 0u;
    quads = channels / 4u;
    row = min(row, push.rows - 1u);
    uint head = row % push.heads, token = row / push.heads % push.tokens, batch = row / push.heads / push.tokens;
    x_row = sxt_view_row(push.x, batch, token, head);
    y_row = sxt_view_row(push.y, batch, token, head);
    weight_row = sxt_view_row(push.weight, batch, token, head);
    bias_row = sxt_view_row(push.bias, batch, token, head);
    residual_row = sxt_view_row(push.residual, batch, token, head);
    residual_out_row = sxt_view_row(push.residual_out, batch, token, head);
}

vec4 load4(uint channel) {
    vec4 r = x_load4(x_row + channel, ALIGNED);
    if (RESIDUAL_TYPE != SXT_STORE_NONE)
        r += residual_load4(residual_row + channel, ALIGNED);
    return r;
}

float load1(uint channel) {
    float r = x_load(x_row + channel);
    if (RESIDUAL_TYPE != SXT_STORE_NONE)
        r += residual_load(residual_row + channel);
    return r;
}

// ── A lane's quads ──

// How many: with HELD, some of which may not be there.
uint lane_quads() {
    return HELD > 0u ? HELD : (quads + LANES - 1u - lane) / LANES;
}

bool has_quad(uint n) {
    return HELD == 0u || lane + n * LANES < quads;
}

// Where the n-th is. Of one that is not there, where some quad of the row is: loads in branches would wait for each
// other.
uint channel_of(uint n) {
    uint q = lane + n * LANES;
    return 4u * (HELD > 0u ? min(q, push.channels / 4u - 1u) : q);
}

void hold_row() {
    [[unroll]] for (uint n = 0u; n < HELD; n++)
        held[n] = load4(channel_of(n));
    [[unroll]] for (uint n = 0u; n < HELD; n++)
        held[n] = has_quad(n) ? held[n] : vec4(0);
}

vec4 quad_of(uint n) {
    return HELD > 0u ? held[n] : load4(channel_of(n));
}

float sxt_lane_sum(float scale) {
    precise vec4 sum = vec4(0); // a·scale + b·scale, not (a + b)·scale: a + b may be too large
    for (uint n = 0u; n < lane_quads(); n++)
        sum += quad_of(n) * scale;
    for (uint c = 4u * quads + lane; !ALIGNED && c < channels; c += LANES)
        sum.x += load1(c) * scale;
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_squares(float scale, float centre) {
    vec4 sum = vec4(0);
    for (uint n = 0u; n < lane_quads(); n++) {
        vec4 d = has_quad(n) ? quad_of(n) * scale - centre : vec4(0);
        sum += d * d;
    }
    for (uint c = 4u * quads + lane; !ALIGNED && c < channels; c += LANES) {
        float d = load1(c) * scale - centre;
        sum.x += d * d;
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_largest() {
    vec4 largest = vec4(0);
    for (uint n = 0u; n < lane_quads(); n++)
        largest = max(largest, abs(quad_of(n)));
    for (uint c = 4u * quads + lane; !ALIGNED && c < channels; c += LANES)
        largest.x = max(largest.x, abs(load1(c)));
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}

// ── The result ──

vec4 result4(uint channel, vec4 r, sxt_row_norm norm) {
    vec4 v = (r * norm.scale - norm.centre) * norm.factor;
    if (WEIGHT_TYPE != SXT_STORE_NONE)
        v *= push.offset + (WEIGHT_ONE ? vec4(weight_load(weight_row)) : weight_load4(weight_row + channel, ALIGNED));
    if (BIAS_TYPE != SXT_STORE_NONE)
        v += BIAS_ONE ? vec4(bias_load(bias_row)) : bias_load4(bias_row + channel, ALIGNED);
    return v;
}

void store4(uint channel, vec4 r, vec4 v) {
    if (RESIDUAL_OUT_TYPE != SXT_STORE_NONE)
        residual_out_store4(residual_out_row + channel, r, ALIGNED);
    y_store4(y_row + channel, v, ALIGNED);
}

void store1(uint channel, sxt_row_norm norm) {
    float r = load1(channel);
    float v = (r * norm.scale - norm.centre) * norm.factor;
    if (WEIGHT_TYPE != SXT_STORE_NONE)
        v *= push.offset + weight_load(weight_row + (WEIGHT_ONE ? 0u : channel));
    if (BIAS_TYPE != SXT_STORE_NONE)
        v += bias_load(bias_row + (BIAS_ONE ? 0u : channel));
    if (RESIDUAL_OUT_TYPE != SXT_STORE_NONE)
        residual_out_store(residual_out_row + channel, r);
    y_store(y_row + channel, v);
}

// All gains on their way before the first result is stored.
void finish_held(sxt_row_norm norm) {
    vec4 results[HELD > 0u ? HELD : 1u];
    [[unroll]] for (uint n = 0u; n < HELD; n++)
        results[n] = result4(channel_of(n), held[n], norm);
    [[unroll]] for (uint n = 0u; n < HELD; n++)
        if (has_quad(n))
            store4(channel_of(n), held[n], results[n]);
}

void main() {
    find_row();
    hold_row();
    sxt_row_norm norm = sxt_row_solve(KIND, push.channels, push.eps);
    if (HELD > 0u)
        finish_held(norm);
    else
        for (uint n = 0u; n < lane_quads(); n++) {
            vec4 r = quad_of(n);
            store4(channel_of(n), r, result4(channel_of(n), r, norm));
        }
    for (uint c = 4u * quads + lane; !ALIGNED && c < channels; c += LANES)
        store1(c, norm);
}
