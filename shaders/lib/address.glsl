// Elements by 64-bit address, for drivers that run on the CPU. These make a gather or a scatter of each load and store,
// which costs them the same for 8 bytes a lane as for 4, and twice that for 16: so four elements (a quad) move as one
// 8-byte word (f16, bf16) or two (f32). Included by kernels built with SXT_ADDRESS=1 and SXT_STORAGE16=1.
#ifndef SXT_LIB_ADDRESS_GLSL
#define SXT_LIB_ADDRESS_GLSL

#include "lib/storage.glsl"

#ifndef SXT_LARGEST_UINT
#define SXT_LARGEST_UINT 0xffffffffu
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer sxt_long_at { uint64_t at[]; };

// Not packUint2x32, on which 16 lanes of lavapipe 26.1 abort.
uint64_t sxt_long(uvec2 v) {
    return uint64_t(v.x) | uint64_t(v.y) << 32;
}

uvec2 sxt_short(uint64_t v) {
    return uvec2(uint(v), uint(v >> 32));
}

// The same of four f16. LLVM would see halves of 64 bits, and insert the third of each lane one by one. It cannot see
// through a minimum with SXT_LARGEST_UINT, by which a kernel may define the largest number as something that only the
// kernel knows to be it. (Without it prefill takes 1.07 times as long, and decode 1.09 times.)
uvec2 sxt_short_halves(uint64_t v) {
    return min(sxt_short(v), uvec2(SXT_LARGEST_UINT));
}

uint64_t sxt_start(uint slot) {
    return sxt_long(sxt_address(slot));
}

uint sxt_element_bytes(uint type) {
    return type == SXT_STORE_F32 ? 4u : 2u;
}

// The quad at `offset` bytes from an address, both multiples of a quad. Constant offsets cost nothing.
vec4 sxt_read4(uint64_t at, uint offset, uint type) {
    uint64_t low = sxt_long_at(at).at[offset / 8u];
    if (type != SXT_STORE_F32) {
        uvec2 words = sxt_short_halves(low);
        return vec4(sxt_decode32(words.x, type), sxt_decode32(words.y, type));
    }
    return uintBitsToFloat(uvec4(sxt_short(low), sxt_short(sxt_long_at(at).at[offset / 8u + 1u])));
}

void sxt_write4(uint64_t at, uint offset, vec4 v, uint type) {
    uvec4 bits = floatBitsToUint(v);
    if (type != SXT_STORE_F32)
        bits.xy = uvec2(sxt_encode32(v.xy, type), sxt_encode32(v.zw, type));
    sxt_long_at(at).at[offset / 8u] = sxt_long(bits.xy);
    if (type == SXT_STORE_F32)
        sxt_long_at(at).at[offset / 8u + 1u] = sxt_long(bits.zw);
}

// One element. Of the 16-bit types the whole word that it is in is read.
float sxt_read1(uint64_t at, uint type) {
    if (type == SXT_STORE_F32)
        return uintBitsToFloat(sxt_uint_at(at).at[0]);
    uint word = sxt_uint_at(at & ~uint64_t(3)).at[0];
    return sxt_decode16((uint(at) & 2u) == 0u ? word & 0xffffu : word >> 16, type);
}

void sxt_write1(uint64_t at, float v, uint type) {
    if (type == SXT_STORE_F32)
        sxt_uint_at(at).at[0] = floatBitsToUint(v);
    else
        sxt_uint16_t_at(at).at[0] = uint16_t(sxt_encode16(v, type));
}

#endif
