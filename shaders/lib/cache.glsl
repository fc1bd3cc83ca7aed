// Storage of every type that a cache may have, on top of lib/storage.glsl.
//
// SXT_CACHE_LOADS(name, type), after SXT_INPUT or SXT_OUTPUT of that name, declares
//   float name_get(uint i), vec4 name_get4(uint i, bool aligned)   as name_load and name_load4, of any type
// SXT_CACHE_STORES(name, type), after SXT_OUTPUT, declares
//   void name_put(uint i, float v), void name_put4(uint i, vec4 v, bool aligned)   as name_store…, blocks excepted
//   void name_put_block(uint i, uint first)   the block of elements i … i + 31, from sxt_staged[first] on
// The including file declares sxt_staged, shared floats, that blocks are put together from.
//
// Built without SXT_CODED=1, all this is for f32, f16 and bf16 alone: less than half to compile.
#ifndef SXT_LIB_CACHE_GLSL
#define SXT_LIB_CACHE_GLSL

#include "lib/codec.glsl"
#include "lib/storage.glsl"

#if !SXT_CODED

#define SXT_CACHE_LOADS(name, type)                                                                                    \
    float name##_get(uint i) { return name##_load(i); }                                                                \
    vec4 name##_get4(uint i, bool aligned) { return name##_load4(i, aligned); }

#define SXT_CACHE_STORES(name, type)                                                                                   \
    void name##_put(uint i, float value) { name##_store(i, value); }                                                   \
    void name##_put4(uint i, vec4 v, bool aligned) { name##_store4(i, v, aligned); }                                   \
    void name##_put_block(uint i, uint first) {}

#else

// Where the scale of element i's block is, in halves, and its value's bits, in bytes.
uint sxt_block_half(uint type, uint i) {
    return (i / SXT_BLOCK_CHANNELS) * (sxt_block_bytes(type) / 2u);
}

uint sxt_block_byte(uint type, uint i) {
    uint place = i % SXT_BLOCK_CHANNELS;
    return 2u * sxt_block_half(type, i) + 2u + (type == SXT_STORE_Q8_0 ? place : place % 16u);
}

// Value of element i from its byte.
float sxt_block_value(uint type, uint i, uint bits) {
    if (type == SXT_STORE_Q8_0)
        return float(int(bits << 24) >> 24);
    return float(int((bits >> (i % SXT_BLOCK_CHANNELS / 16u * 4u)) & 15u) - 8);
}

#define SXT_CACHE_LOADS(name, type)                                                                                    \
    uint name##_byte(uint at) { return (SXT_AT(name##_words, at >> 2) >> ((at & 3u) << 3)) & 0xffu; }                  \
    float name##_get(uint i) {                                                                                         \
        if (type == SXT_STORE_FP8_E4M3)                                                                                \
            return sxt_e4m3_to_f32(name##_byte(i));                                                                    \
        if (!sxt_is_blocks(type))                                                                                      \
            return name##_load(i);                                                                                     \
        uint half_at = sxt_block_half(type, i);                                                                        \
        float scale = sxt_f16_to_f32((SXT_AT(name##_words, half_at >> 1) >> ((half_at & 1u) << 4)) & 0xffffu);         \
        return scale * sxt_block_value(type, i, name##_byte(sxt_block_byte(type, i)));                                 \
    }                                                                                                                  \
    vec4 name##_get4(uint i, bool aligned) {                                                                           \
        if (type != SXT_STORE_FP8_E4M3 && !sxt_is_blocks(type))                                                        \
            return name##_load4(i, aligned);                                                                           \
        vec4 v;                                                                                                        \
        [[dont_unroll]] for (uint k = 0u; k < 4u; k++)                                                                 \
            v[k] = name##_get(i + k);                                                                                  \
        return v;                                                                                                      \
    }

#define SXT_CACHE_STORES(name, type)                                                                                   \
    void name##_put(uint i, float value) {                                                                             \
        if (type != SXT_STORE_FP8_E4M3) {                                                                              \
            name##_store(i, value);                                                                                    \
            return;                                                                                                    \
        }                                                                                                              \
        uint shift = (i & 3u) << 3; /* the word's other bytes belong to other invocations */                           \
        atomicAnd(SXT_AT(name##_words, i >> 2), ~(0xffu << shift));                                                    \
        atomicOr(SXT_AT(name##_words, i >> 2), sxt_e4m3_from_f32(value) << shift);                                     \
    }                                                                                                                  \
    void name##_put4(uint i, vec4 v, bool aligned) {                                                                   \
        if (type != SXT_STORE_FP8_E4M3)                                                                                \
            name##_store4(i, v, aligned);                                                                              \
        else if (aligned)                                                                                              \
            SXT_AT(name##_words, i >> 2) = sxt_e4m3_from_f32(v.x) | sxt_e4m3_from_f32(v.y) << 8 |                      \
                                           sxt_e4m3_from_f32(v.z) << 16 | sxt_e4m3_from_f32(v.w) << 24;                \
        else                                                                                                           \
            [[dont_unroll]] for (uint k = 0u; k < 4u; k++) name##_put(i + k, v[k]);                                    \
    }                                                                                                                  \
    void name##_put_block(uint i, uint first) {                                                                        \
        uint largest = 0u;                                                                                             \
        [[dont_unroll]] for (uint k = 0u; k < SXT_BLOCK_CHANNELS; k++) {                                               \
            uint bits = floatBitsToUint(sxt_staged[first + k]);                                                        \
            largest = (bits & 0x7fffffffu) > (largest & 0x7fffffffu) ? bits : largest;                                 \
        }                                                                                                              \
        sxt_block_scale scale = sxt_block_solve(type, largest);                                                        \
        uint half_at = sxt_block_half(type, i);                                                                        \
        name##_store16(half_at, scale.half_bits);                                                                      \
        [[dont_unroll]] for (uint k = 0u; k < sxt_block_bytes(type) / 2u - 1u; k++) {                                  \
            uint bits = 0u; /* two bytes: q8_0 in order, q4_0 with the block's second half in the high nibbles */      \
            for (uint n = 0u; n < 2u; n++) {                                                                           \
                bits |= sxt_block_code(type, sxt_staged[first + 2u * k + n], scale.inverse) << (8u * n);               \
                if (type == SXT_STORE_Q4_0)                                                                            \
                    bits |= sxt_block_code(type, sxt_staged[first + 16u + 2u * k + n], scale.inverse) << (8u * n + 4u); \
            }                                                                                                          \
            name##_store16(half_at + 1u + k, bits);                                                                    \
        }                                                                                                              \
    }

#endif

#endif
