// sxt_kv_copy: a workgroup takes one row of one move, and copies the bytes of all its heads.
#version 460
#extension GL_GOOGLE_include_directive : require
#if SXT_ADDRESS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "lib/features.glsl"
#include "lib/address.glsl"
#endif
#include "lib/storage.glsl"
#include "interface/kv_copy.h"

layout(local_size_x_id = SXT_COPY_SPEC_GROUP) in;
layout(constant_id = SXT_COPY_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_COPY_SPEC_SHIFT) const uint SHIFT = 4;
layout(constant_id = SXT_COPY_SPEC_FLAT) const bool FLAT = true;

layout(push_constant) uniform sxt_push_block { sxt_kv_copy_push push; };

SXT_INPUT(k_from, SXT_COPY_BINDING_K_FROM, SXT_STORE_F32)
SXT_OUTPUT(k_to, SXT_COPY_BINDING_K_TO, SXT_STORE_F32)
SXT_INPUT(v_from, SXT_COPY_BINDING_V_FROM, SXT_STORE_F32)
SXT_OUTPUT(v_to, SXT_COPY_BINDING_V_TO, SXT_STORE_F32)
SXT_BLOCK(from_rows, int, readonly, SXT_COPY_BINDING_FROM)
SXT_BLOCK(to_rows, int, readonly, SXT_COPY_BINDING_TO)
SXT_BLOCK(faults, uint, , SXT_COPY_BINDING_FAULTS)

// Eight bytes: of drivers that run on the CPU one gather and one scatter, which uvec2 would be two of each.
#if SXT_ADDRESS
#define MOVE_8_BYTES(name, NAME)                                                                                       \
    sxt_long_at(sxt_start(SXT_COPY_BINDING_##NAME##_TO)).at[target] =                                                  \
        sxt_long_at(sxt_start(SXT_COPY_BINDING_##NAME##_FROM)).at[source]
#else
#define MOVE_8_BYTES(name, NAME) SXT_AT(name##_to_pairs, target) = SXT_AT(name##_from_pairs, source)
#endif

// name_move: piece `source` of name_from to piece `target` of name_to. The other bytes of a word belong to others.
#define MOVE(name, NAME)                                                                                               \
    void name##_move(uint source, uint target) {                                                                       \
        if (SHIFT == 4u)                                                                                               \
            SXT_AT(name##_to_quads, target) = SXT_AT(name##_from_quads, source);                                       \
        else if (SHIFT == 3u)                                                                                          \
            MOVE_8_BYTES(name, NAME);                                                                                  \
        else if (SHIFT == 2u)                                                                                          \
            SXT_AT(name##_to_words, target) = SXT_AT(name##_from_words, source);                                       \
        else if (SHIFT == 1u)                                                                                          \
            name##_to_store16(target, (SXT_AT(name##_from_words, source >> 1) >> ((source & 1u) << 4)) & 0xffffu);     \
        else {                                                                                                         \
            uint bits = (SXT_AT(name##_from_words, source >> 2) >> ((source & 3u) << 3)) & 0xffu;                      \
            uint shift = (target & 3u) << 3;                                                                           \
            atomicAnd(SXT_AT(name##_to_words, target >> 2), ~(0xffu << shift));                                        \
            atomicOr(SXT_AT(name##_to_words, target >> 2), bits << shift);                                             \
        }                                                                                                              \
    }

MOVE(k, K)
MOVE(v, V)

void main() {
    uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (group >= push.groups)
        return;
    bool is_k = group < push.k_groups;
    uint item = is_k ? group : group - push.k_groups;
    uint move = item / push.move_rows, row = item % push.move_rows;
    uint from = uint(SXT_AT(from_rows, push.from_base + move)), to = uint(SXT_AT(to_rows, push.to_base + move));
    if (from >= push.from_count || to >= push.to_count) {
        bool fault = from >= push.from_count && from != 0xffffffffu || to >= push.to_count && to != 0xffffffffu;
        if (fault)
            atomicOr(SXT_AT(faults, 0u), SXT_FAULT_BIT_INDEX);
        return;
    }
    // Of single rows, counted over the batch, or of whole pages.
    bool single = push.move_rows == 1u;
    uvec2 source = single ? uvec2(from / push.from_rows, from % push.from_rows) : uvec2(from, row);
    uvec2 target = single ? uvec2(to / push.to_rows, to % push.to_rows) : uvec2(to, row);
    uint pieces = is_k ? push.k_pieces : push.v_pieces;
    for (uint i = gl_LocalInvocationID.x; i < push.heads * pieces; i += GROUP) {
        uint head = FLAT ? 0u : i / pieces, piece = FLAT ? i : i % pieces;
        if (is_k)
            k_move(sxt_view_row(push.k_from, source.x, source.y, head) + piece,
                   sxt_view_row(push.k_to, target.x, target.y, head) + piece);
        else
            v_move(sxt_view_row(push.v_from, source.x, source.y, head) + piece,
                   sxt_view_row(push.v_to, target.x, target.y, head) + piece);
    }
}
