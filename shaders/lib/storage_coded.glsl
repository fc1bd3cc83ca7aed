// Quads of the types that only caches have, where they are read much: on top of lib/storage.glsl, quicker than
// lib/cache.glsl, which decodes each element by itself.
//
// SXT_STORAGE_LOADS_CODED(name), after SXT_INPUT of that name, declares
//   vec4 name_load4_coded(uint i, uint type, bool aligned)   elements i … i + 3, i a multiple of 4 from the row's start on
// fp8_e4m3 comes without its scale. `aligned`, of fp8 alone: rows start at multiples of 4 bytes.
#ifndef SXT_LIB_STORAGE_CODED_GLSL
#define SXT_LIB_STORAGE_CODED_GLSL

#include "lib/codec.glsl"
#include "lib/storage.glsl"

bool sxt_is_coded(uint type) {
    return sxt_is_blocks(type) || type == SXT_STORE_FP8_E4M3;
}

// The four int8 from a byte on, which is even, out of two words.
vec4 sxt_decode8(uint low, uint high, uint at) {
    ivec4 bytes = ivec4((at & 2u) == 0u ? low : low >> 16 | high << 16) << ivec4(24, 16, 8, 0);
    return vec4(bytes >> 24);
}

// The four codes of q4_0 whose bytes begin at an even one: of the block's first half (`shift` 0) or second (4).
vec4 sxt_decode4(uint low, uint high, uint at, uint shift) {
    uint bytes = ((at & 2u) == 0u ? low : low >> 16 | high << 16) >> shift;
    return vec4(ivec4((uvec4(bytes) >> uvec4(0, 8, 16, 24)) & 15u) - 8);
}

// Two fp8 in the low byte of each half of a word: as f16 they have the same fields, 2^8 too small.
vec2 sxt_decode_e4m3x2(uint halves) {
    uint magnitude = halves & 0x007f007fu;
    vec2 v = unpackHalf2x16((halves & 0x00800080u) << 8 | magnitude << 7) * 256.0;
    return mix(v, vec2(uintBitsToFloat(0x7fc00000u)), equal(uvec2(magnitude, magnitude >> 16) & 0x7fu, uvec2(0x7f)));
}

vec4 sxt_decode_e4m3x4(uint bytes) {
    return vec4(sxt_decode_e4m3x2(bytes & 0x00ff00ffu), sxt_decode_e4m3x2(bytes >> 8 & 0x00ff00ffu)).xzyw;
}

#define SXT_STORAGE_LOADS_CODED(name)                                                                                  \
    vec4 name##_load4_coded(uint i, uint type, bool aligned) {                                                         \
        if (type == SXT_STORE_FP8_E4M3) {                                                                              \
            uint word = SXT_AT(name##_words, i >> 2);                                                                  \
            if (!aligned && (i & 3u) != 0u)                                                                            \
                word = word >> ((i & 3u) << 3) | SXT_AT(name##_words, (i >> 2) + 1u) << ((4u - (i & 3u)) << 3);        \
            return sxt_decode_e4m3x4(word);                                                                            \
        }                                                                                                              \
        uint block = (i >> 5) * sxt_block_bytes(type), place = i & 31u;                                                \
        float scale = sxt_f16_to_f32((SXT_AT(name##_words, block >> 2) >> ((block & 2u) << 3)) & 0xffffu);             \
        uint at = block + 2u + (type == SXT_STORE_Q8_0 ? place : place & 15u);                                         \
        uint low = SXT_AT(name##_words, at >> 2), high = SXT_AT(name##_words, (at + 3u) >> 2);                         \
        return scale * (type == SXT_STORE_Q8_0 ? sxt_decode8(low, high, at)                                            \
                                               : sxt_decode4(low, high, at, (place >> 4) << 2));                       \
    }

#endif
