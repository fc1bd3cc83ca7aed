// sxt_kv_write: an invocation moves four channels of one row. Elements of the cache's own type are moved as bits,
// others through f32, which holds every f16 and bf16 exactly: one rounding.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/storage.glsl"
#include "interface/kv_write.h"

layout(local_size_x_id = SXT_KV_SPEC_GROUP) in;
layout(constant_id = SXT_KV_SPEC_GROUP) const uint GROUP = 128;
layout(constant_id = SXT_KV_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_KV_SPEC_K_TYPE) const uint K_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_KV_SPEC_K_CACHE_TYPE) const uint K_CACHE_TYPE = SXT_STORE_F16;
layout(constant_id = SXT_KV_SPEC_V_TYPE) const uint V_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_KV_SPEC_V_CACHE_TYPE) const uint V_CACHE_TYPE = SXT_STORE_F16;
layout(constant_id = SXT_KV_SPEC_SLOTS) const bool SLOTS = true;

layout(push_constant) uniform sxt_push_block { sxt_kv_write_push push; };

SXT_INPUT(k, SXT_KV_BINDING_K, K_TYPE)
SXT_OUTPUT(k_cache, SXT_KV_BINDING_K_CACHE, K_CACHE_TYPE)
SXT_INPUT(v, SXT_KV_BINDING_V, V_TYPE)
SXT_OUTPUT(v_cache, SXT_KV_BINDING_V_CACHE, V_CACHE_TYPE)
SXT_BLOCK(slots, int, readonly, SXT_KV_BINDING_SLOTS)

uint convert(uint bits, uint from, uint to) {
    if (from == to)
        return bits;
    float value = from == SXT_STORE_F32 ? uintBitsToFloat(bits) : sxt_decode16(bits, from);
    return to == SXT_STORE_F32 ? floatBitsToUint(value) : sxt_encode16(value, to);
}

// move_name: channels 4·quad and on of a row, as many as there are.
#define MOVE(name, cache, from, to)                                                                                    \
    uint name##_bits(uint i) {                                                                                         \
        if (from == SXT_STORE_F32)                                                                                     \
            return SXT_AT(name##_words, i);                                                                            \
        return (SXT_AT(name##_words, i >> 1) >> ((i & 1u) << 4)) & 0xffffu;                                            \
    }                                                                                                                  \
    void move_##name(uint source, uint target, uint channels) {                                                        \
        if (!ALIGNED) {                                                                                                \
            for (uint c = 0u; c < min(channels, 4u); c++) {                                                            \
                uint bits = convert(name##_bits(source + c), from, to);                                                \
                if (to == SXT_STORE_F32)                                                                               \
                    SXT_AT(cache##_words, target + c) = bits;                                                          \
                else                                                                                                   \
                    cache##_store16(target + c, bits);                                                                 \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        uvec4 bits;                                                                                                    \
        if (from == SXT_STORE_F32)                                                                                     \
            bits = SXT_AT(name##_quads, source >> 2);                                                                  \
        else {                                                                                                         \
            uvec2 pair = SXT_AT(name##_pairs, source >> 2);                                                            \
            bits = uvec4(pair.x & 0xffffu, pair.x >> 16, pair.y & 0xffffu, pair.y >> 16);                              \
        }                                                                                                              \
        for (uint c = 0u; c < 4u; c++)                                                                                 \
            bits[c] = convert(bits[c], from, to);                                                                      \
        if (to == SXT_STORE_F32)                                                                                       \
            SXT_AT(cache##_quads, target >> 2) = bits;                                                                 \
        else                                                                                                           \
            SXT_AT(cache##_pairs, target >> 2) = uvec2(bits.x | bits.y << 16, bits.z | bits.w << 16);                  \
    }

MOVE(k, k_cache, K_TYPE, K_CACHE_TYPE)
MOVE(v, v_cache, V_TYPE, V_CACHE_TYPE)

void main() {
    uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    bool is_k = group < push.k_groups;
    uint quads = is_k ? push.k_quads : push.v_quads;
    uint item = (is_k ? group : group - push.k_groups) * GROUP + gl_LocalInvocationID.x;
    if (item >= push.rows * quads)
        return;
    uint quad = item % quads, row = item / quads;
    uint head = row % push.heads, token = row / push.heads % push.tokens, batch = row / push.heads / push.tokens;
    uint cache_row = push.first_row + token;
    if (SLOTS)
        cache_row = uint(SXT_AT(slots, push.slots_base + batch * push.slots_batch + token));
    if (cache_row >= (is_k ? push.k_cache_rows : push.v_cache_rows)) // -1 too
        return;
    if (is_k)
        move_k(sxt_view_row(push.k, batch, token, head) + 4u * quad,
               sxt_view_row(push.k_cache, batch, cache_row, head) + 4u * quad, push.k_channels - 4u * quad);
    else
        move_v(sxt_view_row(push.v, batch, token, head) + 4u * quad,
               sxt_view_row(push.v_cache, batch, cache_row, head) + 4u * quad, push.v_channels - 4u * quad);
}
