// The step (interface/step.h) for drivers that run on the CPU, where every access is a gather or a scatter whose cost
// is its count: 8 bytes a lane each, rows by address, no shared memory, a workgroup is one subgroup. A workgroup takes
// a run of tokens; all lanes take one head together, hold it in registers, and make angles once a token.
// Aligned rows only, without scales, and blocks only where lanes hold whole ones: step.comp does the rest.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "lib/storage.glsl"
#include "interface/step.h"

layout(local_size_x_id = SXT_STEP_SPEC_LANES) in;
layout(constant_id = SXT_STEP_SPEC_LANES) const uint LANES = 8; // the subgroup's size
layout(constant_id = SXT_STEP_SPEC_UNITS) const uint UNITS = 1;
layout(constant_id = SXT_STEP_SPEC_KIND) const uint KIND = SXT_KIND_RMS;
layout(constant_id = SXT_STEP_SPEC_NORM_V) const bool NORM_V = false;
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
layout(constant_id = SXT_STEP_SPEC_ROTARY_ONLY) const bool ROTARY_ONLY = false;
layout(constant_id = SXT_STEP_SPEC_K_PLACED) const bool K_PLACED = true;
layout(constant_id = SXT_STEP_SPEC_FULL) const bool FULL = true;
layout(constant_id = SXT_STEP_SPEC_GAINS_ONCE) const bool GAINS_ONCE = true;

layout(push_constant) uniform sxt_push_block { sxt_step_push push; };

const bool ALIGNED = true;
const uint GROUP = LANES;

#include "lib/address_cache.glsl"
#include "lib/norm.glsl"
#include "lib/step_place.glsl"
#include "lib/unit.glsl"

// One of q, k and v.
struct side {
    uint in_type, out_type, weight_type;
    bool weight_one, normalised, rotated;
    uint heads;
    uint64_t from, to;           // a token's first head
    uint64_t from_head, to_head; // bytes from head to head
    uint64_t weight, weight_head;
};

uint lane;
sxt_layout rows;             // of the side at hand
vec4 lo[UNITS], hi[UNITS];   // of the head at hand: unit lane + i·LANES; 0 past the end
vec4 cosine[UNITS], sine[UNITS];

bool there(uint i) {
    return FULL || lane + i * LANES < (ROTARY_ONLY ? rows.rotary_units : sxt_layout_units(rows));
}

bool second_there(uint i) {
    return FULL || sxt_unit_channel(rows, lane + i * LANES, 4u) != SXT_NO_CHANNEL;
}

// A unit's first channel of its first (0) or second (4) quad.
uint channel_of(uint i, uint first) {
    return sxt_unit_channel(rows, lane + i * LANES, first);
}

void load_row(uint64_t row, uint type, out vec4 a[UNITS], out vec4 b[UNITS]) {
    for (uint i = 0u; i < UNITS; i++) {
        a[i] = b[i] = vec4(0);
        if (there(i)) {
            a[i] = sxt_row_load4(row, channel_of(i, 0u), type);
            if (second_there(i))
                b[i] = sxt_row_load4(row, channel_of(i, 4u), type);
        }
    }
}

vec4 sxt_centred(uint i, bool second, vec4 v, float centre) {
    return KIND == SXT_KIND_LAYER && there(i) && (!second || second_there(i)) ? v - centre : v;
}

#include "lib/held.glsl"

// Sums over the lanes by shuffles: a subgroup's own sum goes lane by lane with these drivers.
float all_lanes(float value, bool largest) {
    for (uint mask = LANES / 2u; mask > 0u; mask /= 2u)
        value = sxt_combine(value, subgroupShuffleXor(value, mask), largest);
    return value;
}

// As sxt_row_solve, without a loop, whose masks would cost more than the second round.
sxt_row_norm solve() {
    float count = float(rows.channels), eps = sxt_step.eps, centre = 0.0;
    if (KIND == SXT_KIND_LAYER)
        centre = all_lanes(sxt_lane_sum(1.0), false) / count;
    float power = sxt_power(KIND, all_lanes(sxt_lane_squares(1.0, centre), false), count, eps, 1.0);
    sxt_row_norm norm = sxt_row_norm(1.0, centre, sxt_factor(power));
    float scale = sxt_scale(KIND, all_lanes(sxt_lane_largest(), true), eps), again = 0.0;
    if (KIND == SXT_KIND_LAYER)
        again = all_lanes(sxt_lane_sum(scale), false) / count;
    float rescued = sxt_power(KIND, all_lanes(sxt_lane_squares(scale, again), false), count, eps, scale);
    if (sxt_extreme(power))
        norm = sxt_row_norm(scale, again, sxt_factor(rescued));
    return norm;
}

// The gains of a head, offset included; 1 without weights.
void load_gains(side s, uint64_t row, out vec4 a[UNITS], out vec4 b[UNITS]) {
    for (uint i = 0u; i < UNITS; i++)
        a[i] = b[i] = vec4(1);
    if (!s.normalised || s.weight_type == SXT_STORE_NONE)
        return;
    if (s.weight_one) {
        float gain = sxt_read1(row, s.weight_type);
        for (uint i = 0u; i < UNITS; i++)
            a[i] = b[i] = vec4(gain);
    } else
        load_row(row, s.weight_type, a, b);
    for (uint i = 0u; i < UNITS; i++) {
        a[i] += sxt_step.offset;
        b[i] += sxt_step.offset;
    }
}

// Blocks: half pairing has one in the first quads of eight lanes and one in the second quads, all else one in four lanes.
// Where a head has blocks, all lanes or none have a unit i.
void store_unit(side s, uint i, vec4 a, vec4 b) {
    if (sxt_is_blocks(s.out_type)) {
        if (!there(i))
            return;
        if (s.rotated && ROTATION == SXT_ROTATION_HALF) {
            sxt_row_store_block(s.to, channel_of(i, 0u), s.out_type, 8u, 1u, a, a);
            sxt_row_store_block(s.to, channel_of(i, 4u), s.out_type, 8u, 1u, b, b);
        } else
            sxt_row_store_block(s.to, channel_of(i, 0u), s.out_type, 4u, 2u, a, b);
    } else if (there(i)) {
        sxt_row_store4(s.to, channel_of(i, 0u), a, s.out_type);
        if (second_there(i))
            sxt_row_store4(s.to, channel_of(i, 4u), b, s.out_type);
    }
}

// All heads of one token.
void take(side s, sxt_layout layout_of) {
    rows = layout_of;
    vec4 gain_lo[UNITS], gain_hi[UNITS];
    if (GAINS_ONCE)
        load_gains(s, s.weight, gain_lo, gain_hi);
    [[dont_unroll]] for (uint head = 0u; head < s.heads; head++) {
        load_row(s.from, s.in_type, lo, hi);
        if (!GAINS_ONCE)
            load_gains(s, s.weight, gain_lo, gain_hi);
        sxt_row_norm norm;
        if (s.normalised)
            norm = solve();
        for (uint i = 0u; i < UNITS; i++) {
            vec4 a = lo[i], b = hi[i];
            if (s.normalised) {
                a = (a * norm.scale - norm.centre) * norm.factor * gain_lo[i];
                b = (b * norm.scale - norm.centre) * norm.factor * gain_hi[i];
            }
            if (s.rotated && WHOLE)
                sxt_rotate(cosine[i], sine[i], a, b);
            else if (s.rotated && lane + i * LANES < rows.rotary_units)
                sxt_rotate(cosine[i], sine[i], a, b);
            store_unit(s, i, a, b);
        }
        s.from += s.from_head;
        s.to += s.to_head;
        s.weight += s.weight_head;
    }
}

// Address of a row, from a slot, a base and strides in elements.
uint64_t row_at(uint slot, uint place, uint strides[3], uint batch, uint token, uint type) {
    uint first = batch * strides[0] + token * strides[1];
    uint base = sxt_base(place) * (sxt_is_blocks(type) ? SXT_BLOCK_CHANNELS : 1u);
    return sxt_start(slot) + uint64_t(sxt_row_bytes(base + first, type));
}

uint64_t head_bytes(uint strides[3], uint type) {
    return uint64_t(sxt_row_bytes(strides[2], type));
}

#define SIDE(X, name, count, normed, turned, place)                                                                    \
    side(X##_TYPE, X##_OUT_TYPE, X##_WEIGHT_TYPE, X##_WEIGHT_ONE, normed, turned, count,                               \
         row_at(SXT_STEP_BINDING_##X, SXT_STEP_BASE_##X, push.name, token.x, token.y, X##_TYPE),                       \
         row_at(SXT_STEP_BINDING_##X##_OUT, SXT_STEP_BASE_##X##_OUT, push.name##_out, place.x, place.y, X##_OUT_TYPE), \
         head_bytes(push.name, X##_TYPE), head_bytes(push.name##_out, X##_OUT_TYPE),                                   \
         X##_WEIGHT_TYPE == SXT_STORE_NONE ? 0ul                                                                       \
                                           : row_at(SXT_STEP_BINDING_##X##_WEIGHT, SXT_STEP_BASE_##X##_WEIGHT,         \
                                                    sxt_step.name##_weight, token.x, token.y, X##_WEIGHT_TYPE),        \
         X##_WEIGHT_TYPE == SXT_STORE_NONE ? 0ul : head_bytes(sxt_step.name##_weight, X##_WEIGHT_TYPE))

void take_token(uvec2 token) {
    uvec2 place;
    bool placed = sxt_step_place(token.x, token.y, place), k_wanted = placed || !K_PLACED;
    if (MOVED)
        k_wanted = sxt_step_moved(token.x, token.y);
    uvec2 k_place = K_PLACED ? place : token;
    sxt_layout layout_of = sxt_step_layout();
    if (ROTATION != SXT_ROTATION_NONE)
        for (uint i = 0u; i < UNITS; i++)
            if (FULL && WHOLE || lane + i * LANES < layout_of.rotary_units)
                sxt_step_angles(token.x, token.y, lane + i * LANES, cosine[i], sine[i]);
    bool normed = KIND != SXT_KIND_NONE, turned = ROTATION != SXT_ROTATION_NONE;
    if (Q_TYPE != SXT_STORE_NONE)
        take(SIDE(Q, q, push.q_heads, normed, turned, token), layout_of);
    if (K_TYPE != SXT_STORE_NONE)
        take(SIDE(K, k, k_wanted ? push.kv_heads : 0u, normed, turned, k_place), layout_of);
    if (V_TYPE != SXT_STORE_NONE)
        take(side(V_TYPE, V_OUT_TYPE, SXT_STORE_NONE, false, NORM_V, false, placed ? push.kv_heads : 0u,
                  row_at(SXT_STEP_BINDING_V, SXT_STEP_BASE_V, push.v, token.x, token.y, V_TYPE),
                  row_at(SXT_STEP_BINDING_V_OUT, SXT_STEP_BASE_V_OUT, push.v_out, place.x, place.y, V_OUT_TYPE),
                  head_bytes(push.v, V_TYPE), head_bytes(push.v_out, V_OUT_TYPE), 0ul, 0ul),
             sxt_layout_of(sxt_step.v_channels, 0u, 0u));
}

void main() {
    lane = gl_SubgroupInvocationID;
    uint share = (push.rows + gl_NumWorkGroups.x - 1u) / gl_NumWorkGroups.x;
    uint row = gl_WorkGroupID.x * share, end = min(row + share, push.rows);
    if (row >= end)
        return;
    sxt_step_begin(FULL && !ROTARY_ONLY ? UNITS * LANES * SXT_UNIT_CHANNELS : 0u);
    [[dont_unroll]] for (; row < end; row++)
        take_token(uvec2(row / push.tokens, row % push.tokens));
}
