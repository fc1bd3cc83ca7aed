// Units of a cache's rows: what one lane of a kernel for drivers on the CPU loads at a time, of any type that a cache
// may have, by address. Four channels, of fp8 eight, of blocks of 32 sixteen: half a block, with its scale.
//
// The including file declares LANES and `lane`.
#ifndef SXT_LIB_DECODE_UNIT_GLSL
#define SXT_LIB_DECODE_UNIT_GLSL

#include "lib/address.glsl"
#include "lib/storage_coded.glsl"

// A macro, so that it may be part of a constant.
#define SXT_UNIT_CHANNELS(type)                                                                                        \
    ((type) == SXT_STORE_Q8_0 || (type) == SXT_STORE_Q4_0 ? 16 : (type) == SXT_STORE_FP8_E4M3 ? 8 : 4)

const uint UNIT_WORDS = 4;
uint unit_raw[LANES * UNIT_WORDS];
float unit_scale[LANES]; // of blocks

uint64_t unit_bytes(uint type, uint elements) {
    if (sxt_is_blocks(type))
        return uint64_t(elements / 32u) * sxt_block_bytes(type);
    return uint64_t(elements) * (type == SXT_STORE_FP8_E4M3 ? 1u : sxt_element_bytes(type));
}

// The first channel of a unit's quad. Of q4_0 the lower and the upper halves of a block's bytes are 16 channels apart.
uint unit_channel(uint type, uint unit, uint quad) {
    if (type == SXT_STORE_Q4_0)
        return unit / 2u * 32u + unit % 2u * 8u + quad % 2u * 4u + quad / 2u * 16u;
    return unit * SXT_UNIT_CHANNELS(type) + quad * 4u;
}

// Half a block: the 16 or 8 bytes of its half, and the scale from the lane of the even half, which has the two bytes
// before its own. All from aligned words.
void load_half_block(uint64_t row, uint type, uint unit, uint n) {
    uint half_bytes = (sxt_block_bytes(type) - 2u) / 2u;
    uint64_t where = row + uint64_t(unit / 2u * sxt_block_bytes(type) + unit % 2u * half_bytes);
    uint64_t base = where & ~uint64_t(7);
    uint shift = (uint(where) & 7u) * 8u;
    uint64_t w0 = sxt_long_at(base).at[0], w1 = sxt_long_at(base).at[1];
    uint scale = uint(w0 >> shift) & 0xffffu;
    uint64_t low = w0 >> 1 >> (shift + 15u) | w1 << (48u - shift);
    unit_raw[n * UNIT_WORDS] = uint(low);
    unit_raw[n * UNIT_WORDS + 1u] = uint(low >> 32);
    if (type == SXT_STORE_Q8_0) {
        uint64_t high = w1 >> 1 >> (shift + 15u) | sxt_long_at(base).at[2] << (48u - shift);
        unit_raw[n * UNIT_WORDS + 2u] = uint(high);
        unit_raw[n * UNIT_WORDS + 3u] = uint(high >> 32);
    }
    float mine = unpackHalf2x16(scale).x, other = subgroupShuffleXor(mine, 1u);
    unit_scale[n] = (lane & 1u) == 0u ? mine : other;
}

// This lane's unit of a slice, as unit_raw's n-th. `even`: every lane has one; else lanes without one take one of the
// last block.
void load_unit(uint64_t row, uint type, uint units, bool even, uint slice, uint n) {
    uint unit = slice * LANES + lane;
    if (!even)
        unit = min(unit, sxt_is_blocks(type) ? units - 2u + (lane & 1u) : units - 1u);
    if (sxt_is_blocks(type)) {
        load_half_block(row, type, unit, n);
        return;
    }
    uint bytes = uint(unit_bytes(type, SXT_UNIT_CHANNELS(type))), offset = even ? slice * LANES * bytes / 8u : 0u;
    uint64_t where = row + uint64_t((even ? lane : unit) * bytes);
    uint64_t low = sxt_long_at(where).at[offset];
    uvec2 word = type == SXT_STORE_F16 ? sxt_short_halves(low) : sxt_short(low);
    unit_raw[n * UNIT_WORDS] = word.x;
    unit_raw[n * UNIT_WORDS + 1u] = word.y;
    if (type == SXT_STORE_F32) {
        word = sxt_short(sxt_long_at(where).at[offset + 1u]);
        unit_raw[n * UNIT_WORDS + 2u] = word.x;
        unit_raw[n * UNIT_WORDS + 3u] = word.y;
    }
}

// A quad of a loaded unit; of blocks and fp8 without the scale.
vec4 unit_quad(uint type, uint n, uint quad) {
    uint word = n * UNIT_WORDS;
    if (type == SXT_STORE_Q8_0)
        return vec4((ivec4(unit_raw[word + quad]) << ivec4(24, 16, 8, 0)) >> 24);
    if (type == SXT_STORE_Q4_0) // a code c stands for c − 8: with its highest bit turned, it is a number of 4 bits
        return vec4((ivec4(unit_raw[word + quad % 2u] ^ 0x88888888u) << (ivec4(28, 20, 12, 4) - int(quad / 2u * 4u))) >> 28);
    if (type == SXT_STORE_FP8_E4M3)
        return sxt_decode_e4m3x4(unit_raw[word + quad]);
    if (type == SXT_STORE_F32)
        return vec4(uintBitsToFloat(unit_raw[word]), uintBitsToFloat(unit_raw[word + 1u]),
                    uintBitsToFloat(unit_raw[word + 2u]), uintBitsToFloat(unit_raw[word + 3u]));
    return vec4(sxt_decode32(unit_raw[word], type), sxt_decode32(unit_raw[word + 1u], type));
}

#endif
