// Storage buffers seen as 32-bit words, with the element type as a specialisation constant: one module serves f32, f16
// and bf16 on a device without any 16-bit feature. Built with SXT_STORAGE16=1, single 16-bit elements are stored directly.
//
// SXT_INPUT(name, binding, type) declares
//   float name_load(uint i)           element i
//   vec4  name_load4(uint i, bool aligned)   elements i … i + 3; `aligned`: i is a multiple of 4 (make it a specialisation constant)
// SXT_OUTPUT(name, binding, type) declares the same for a buffer that is written (and may be read), and
//   void  name_store(uint i, float v)
//   void  name_store4(uint i, vec4 v, bool aligned)
// Indices count elements of the bound range. Each element has one writer in a dispatch.
#ifndef SXT_LIB_STORAGE_GLSL
#define SXT_LIB_STORAGE_GLSL

#include "lib/features.glsl"
#include "interface/common.h"
#include "lib/number.glsl"

// SXT_BLOCK(name, element, qualifier, slot) declares a buffer as an array of one of the element types below;
// SXT_AT(name, i) is its element i. Built with SXT_ADDRESS=1, buffers are reached through their addresses instead of
// descriptors: the runtime writes these into the one uniform buffer that there is then, by slot.
#if SXT_ADDRESS
layout(std140, set = 0, binding = 0) uniform sxt_address_block { uvec4 sxt_addresses[SXT_ADDRESS_SLOTS / 2]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer sxt_uint_at { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer sxt_int_at { int at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer sxt_float_at { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer sxt_uvec2_at { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer sxt_uvec4_at { uvec4 at[]; };
#if SXT_STORAGE16
layout(buffer_reference, std430, buffer_reference_align = 2) buffer sxt_uint16_t_at { uint16_t at[]; };
#endif
uvec2 sxt_address(uint slot) {
    uvec4 two = sxt_addresses[slot / 2u];
    return slot % 2u == 0u ? two.xy : two.zw;
}

// An includer may have another address for some slots.
#ifndef SXT_ADDRESS_OF
#define SXT_ADDRESS_OF(slot) sxt_address(slot)
#endif

#define SXT_BLOCK(name, element, qualifier, slot)                                                                      \
    sxt_##element##_at name() { return sxt_##element##_at(SXT_ADDRESS_OF(slot)); }
#define SXT_AT(name, i) name().at[i]
#else
#define SXT_BLOCK(name, element, qualifier, slot)                                                                      \
    layout(std430, set = 0, binding = slot) qualifier buffer name##_block { element at[]; } name;
#define SXT_AT(name, i) name.at[i]
#endif

float sxt_decode16(uint bits, uint type) {
    return type == SXT_STORE_F16 ? sxt_f16_to_f32(bits) : sxt_bf16_to_f32(bits);
}

uint sxt_encode16(float value, uint type) {
    return type == SXT_STORE_F16 ? sxt_f16_from_f32(value) : sxt_bf16_from_f32(value);
}

// Two elements of a word.
vec2 sxt_decode32(uint word, uint type) {
    return type == SXT_STORE_F16 ? unpackHalf2x16(word)
                                 : vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
}

uint sxt_encode32(vec2 v, uint type) {
    return sxt_encode16(v.x, type) | sxt_encode16(v.y, type) << 16;
}

#define SXT_STORAGE_LOADS(name, type)                                                                                  \
    float name##_load(uint i) {                                                                                        \
        if (type == SXT_STORE_F32)                                                                                     \
            return uintBitsToFloat(SXT_AT(name##_words, i));                                                           \
        return sxt_decode16((SXT_AT(name##_words, i >> 1) >> ((i & 1u) << 4)) & 0xffffu, type);                        \
    }                                                                                                                  \
    vec4 name##_load4(uint i, bool aligned) {                                                                          \
        if (!aligned)                                                                                                  \
            return vec4(name##_load(i), name##_load(i + 1u), name##_load(i + 2u), name##_load(i + 3u));                \
        if (type == SXT_STORE_F32)                                                                                     \
            return uintBitsToFloat(SXT_AT(name##_quads, i >> 2));                                                      \
        uvec2 pair = SXT_AT(name##_pairs, i >> 2);                                                                     \
        return vec4(sxt_decode32(pair.x, type), sxt_decode32(pair.y, type));                                           \
    }

#define SXT_STORAGE_BLOCKS(name, slot, qualifier)                                                                      \
    SXT_BLOCK(name##_words, uint, qualifier, slot)                                                                     \
    SXT_BLOCK(name##_pairs, uvec2, qualifier, slot)                                                                    \
    SXT_BLOCK(name##_quads, uvec4, qualifier, slot)

#define SXT_INPUT(name, slot, type)                                                                                    \
    SXT_STORAGE_BLOCKS(name, slot, readonly)                                                                           \
    SXT_STORAGE_LOADS(name, type)

#if SXT_STORAGE16
#define SXT_STORAGE_STORE16(name, slot)                                                                                \
    SXT_BLOCK(name##_halves, uint16_t, , slot)                                                                         \
    void name##_store16(uint i, uint bits) { SXT_AT(name##_halves, i) = uint16_t(bits); }
#else
// The other half of the word belongs to another invocation: touch this half alone, by two atomics.
#define SXT_STORAGE_STORE16(name, slot)                                                                                \
    void name##_store16(uint i, uint bits) {                                                                           \
        uint shift = (i & 1u) << 4;                                                                                    \
        atomicAnd(SXT_AT(name##_words, i >> 1), 0xffff0000u >> shift);                                                 \
        atomicOr(SXT_AT(name##_words, i >> 1), bits << shift);                                                         \
    }
#endif

#define SXT_OUTPUT(name, slot, type)                                                                                   \
    SXT_STORAGE_BLOCKS(name, slot, )                                                                                   \
    SXT_STORAGE_LOADS(name, type)                                                                                      \
    SXT_STORAGE_STORE16(name, slot)                                                                                    \
    void name##_store(uint i, float value) {                                                                           \
        if (type == SXT_STORE_F32)                                                                                     \
            SXT_AT(name##_words, i) = floatBitsToUint(value);                                                          \
        else                                                                                                           \
            name##_store16(i, sxt_encode16(value, type));                                                              \
    }                                                                                                                  \
    void name##_store4(uint i, vec4 v, bool aligned) {                                                                 \
        if (!aligned) {                                                                                                \
            name##_store(i, v.x);                                                                                      \
            name##_store(i + 1u, v.y);                                                                                 \
            name##_store(i + 2u, v.z);                                                                                 \
            name##_store(i + 3u, v.w);                                                                                 \
        } else if (type == SXT_STORE_F32)                                                                              \
            SXT_AT(name##_quads, i >> 2) = floatBitsToUint(v);                                                         \
        else                                                                                                           \
            SXT_AT(name##_pairs, i >> 2) = uvec2(sxt_encode32(v.xy, type), sxt_encode32(v.zw, type));                  \
    }

#endif
