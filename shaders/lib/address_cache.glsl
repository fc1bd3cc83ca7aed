// The types of caches by 64-bit address, on top of lib/address.glsl: bytes of rows, quads of any type, and blocks that
// are put together by the lanes that hold them.
#ifndef SXT_LIB_ADDRESS_CACHE_GLSL
#define SXT_LIB_ADDRESS_CACHE_GLSL

#include "lib/address.glsl"
#include "lib/codec.glsl"

// Bytes of so many elements: whole blocks of types that have them.
uint sxt_row_bytes(uint elements, uint type) {
    if (sxt_is_blocks(type))
        return elements / SXT_BLOCK_CHANNELS * sxt_block_bytes(type);
    return type == SXT_STORE_FP8_E4M3 ? elements : elements * sxt_element_bytes(type);
}

uint64_t sxt_row_block(uint64_t row, uint channel, uint type) {
    return row + uint64_t(channel / SXT_BLOCK_CHANNELS * sxt_block_bytes(type));
}

vec4 sxt_row_load_block4(uint64_t row, uint channel, uint type) {
    uint64_t block = sxt_row_block(row, channel, type);
    uint place = channel % SXT_BLOCK_CHANNELS;
    uint64_t codes = block + uint64_t(2u + (type == SXT_STORE_Q8_0 ? place : place % 16u));
    uint bits = uint(sxt_uint16_t_at(codes).at[0]) | uint(sxt_uint16_t_at(codes).at[1]) << 16;
    float scale = sxt_f16_to_f32(uint(sxt_uint16_t_at(block).at[0]));
    if (type == SXT_STORE_Q8_0)
        return scale * vec4((ivec4(bits) << ivec4(24, 16, 8, 0)) >> 24);
    return scale * vec4(ivec4((uvec4(bits) >> (uvec4(0, 8, 16, 24) + place / 16u * 4u)) & 15u) - 8);
}

// Four channels of the row at `row`, from a multiple of four on.
vec4 sxt_row_load4(uint64_t row, uint channel, uint type) {
    if (sxt_is_blocks(type))
        return sxt_row_load_block4(row, channel, type);
    if (type != SXT_STORE_FP8_E4M3)
        return sxt_read4(row, sxt_row_bytes(channel, type), type);
    uint word = sxt_uint_at(row).at[channel / 4u];
    return vec4(sxt_e4m3_to_f32(word & 0xffu), sxt_e4m3_to_f32((word >> 8) & 0xffu),
                sxt_e4m3_to_f32((word >> 16) & 0xffu), sxt_e4m3_to_f32(word >> 24));
}

// The same way back, of types without blocks.
void sxt_row_store4(uint64_t row, uint channel, vec4 v, uint type) {
    if (type != SXT_STORE_FP8_E4M3)
        sxt_write4(row, sxt_row_bytes(channel, type), v, type);
    else
        sxt_uint_at(row).at[channel / 4u] = sxt_e4m3_from_f32(v.x) | sxt_e4m3_from_f32(v.y) << 8 |
                                            sxt_e4m3_from_f32(v.z) << 16 | sxt_e4m3_from_f32(v.w) << 24;
}

// ── Blocks, put together by the lanes that hold them ──

// `width` lanes, a power of two and a neighbourhood, hold a block between them, `quads` quads each, in order.
// All of them get the block's largest magnitude; of q4_0 with the sign of the first value that has it.
uint sxt_row_largest(uint type, uint width, uint quads, vec4 a, vec4 b) {
    uvec4 bits_a = floatBitsToUint(a), bits_b = floatBitsToUint(quads == 2u ? b : a);
    uvec4 most = max(bits_a & 0x7fffffffu, bits_b & 0x7fffffffu);
    uint largest = max(max(most.x, most.y), max(most.z, most.w));
    for (uint mask = 1u; mask < width; mask *= 2u)
        largest = max(largest, subgroupShuffleXor(largest, mask));
    if (type == SXT_STORE_Q8_0)
        return largest;
    uint first = 0xffffffffu; // place among this lane's values, and sign
    for (uint k = 4u; k-- > 0u;)
        if (quads == 2u && (bits_b[k] & 0x7fffffffu) == largest)
            first = (4u + k) << 1 | bits_b[k] >> 31;
    for (uint k = 4u; k-- > 0u;)
        if ((bits_a[k] & 0x7fffffffu) == largest)
            first = k << 1 | bits_a[k] >> 31;
    first = first == 0xffffffffu ? first : first | (gl_SubgroupInvocationID % width) << 4;
    for (uint mask = 1u; mask < width; mask *= 2u)
        first = min(first, subgroupShuffleXor(first, mask));
    return largest | first << 31;
}

uint sxt_row_codes(uint type, vec4 v, float inverse) {
    uvec4 code;
    for (uint k = 0u; k < 4u; k++)
        code[k] = sxt_block_code(type, v[k], inverse);
    return code.x | code.y << 8 | code.z << 16 | code.w << 24;
}

void sxt_row_write4(uint64_t address, uint bytes) {
    sxt_uint16_t_at(address).at[0] = uint16_t(bytes);
    sxt_uint16_t_at(address).at[1] = uint16_t(bytes >> 16);
}

// Writes the block that this lane's quads at `channel` and the next four (quads 2) belong to.
void sxt_row_store_block(uint64_t row, uint channel, uint type, uint width, uint quads, vec4 a, vec4 b) {
    uint64_t block = sxt_row_block(row, channel, type);
    uint member = gl_SubgroupInvocationID % width;
    sxt_block_scale scale = sxt_block_solve(type, sxt_row_largest(type, width, quads, a, b));
    uint first = sxt_row_codes(type, a, scale.inverse), second = sxt_row_codes(type, b, scale.inverse);
    uint64_t at = block + uint64_t(2u + member * quads * 4u);
    bool writes = true;
    if (type == SXT_STORE_Q4_0) { // the upper half of the lanes has the upper nibbles
        first |= subgroupShuffleXor(first, width / 2u) << 4;
        second |= subgroupShuffleXor(second, width / 2u) << 4;
        writes = member < width / 2u;
    }
    if (writes) {
        sxt_row_write4(at, first);
        if (quads == 2u)
            sxt_row_write4(at + 4ul, second);
    }
    if (member == 0u)
        sxt_uint16_t_at(block).at[0] = uint16_t(scale.half_bits);
}

#endif
