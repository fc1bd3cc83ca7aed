// Rows of K and V by 64-bit address, for attention_prefill_software.comp: where they are, quads of any type, and rows
// staged as f32 in scratch memory. The including file declares LANES, lane and work (a workgroup's scratch memory).
//
// The one driver that this is for loads 8 bytes from any address: no row need be aligned.
#ifndef SXT_LIB_PREFILL_ROWS_GLSL
#define SXT_LIB_PREFILL_ROWS_GLSL

#include "interface/attention_prefill.h"
#include "lib/address.glsl"
#include "lib/storage_coded.glsl"

// Rows of one KV head. A block's rows lie a stride apart, or where a list in scratch memory says.
struct rows {
    uint64_t start;  // of key 0, or with pages of page 0
    int first, last; // keys that may be read; not with pages
    uint stride;     // from key to key, in units: a product of 32-bit numbers costs a third
    uint unit_bytes; // of an element, or a block
    uint64_t page;   // bytes from page to page
    uint64_t list;
};

uint64_t bytes_of(uint64_t elements, uint type) {
    if (sxt_is_blocks(type))
        return (elements >> 5) * uint64_t(sxt_block_bytes(type));
    return elements * uint64_t(type == SXT_STORE_FP8_E4M3 ? 1u : sxt_element_bytes(type));
}

// `keys`: that may be read, from .x to before .y.
rows rows_of(place at, uint slot, uint base_shift, uint stride[3], uint type, uint64_t list, ivec2 keys) {
    uint base = byte_of(pc.bases_main, base_shift);
    uint64_t from = uint64_t(sxt_is_blocks(type) ? 32u * base : base) + uint64_t(at.kv_head) * uint64_t(stride[2]);
    if (!PAGES)
        from += uint64_t(at.k_batch) * uint64_t(stride[0]) + uint64_t(at.k_first) * uint64_t(stride[1]);
    rows r;
    r.start = sxt_start(slot) + bytes_of(from, type);
    r.stride = sxt_is_blocks(type) ? stride[1] >> 5 : stride[1];
    r.unit_bytes = uint(bytes_of(uint64_t(sxt_is_blocks(type) ? 32u : 1u), type));
    r.first = keys.x;
    r.last = max(keys.y - 1, keys.x);
    r.page = bytes_of(uint64_t(stride[0]), type);
    r.list = list;
    return r;
}

const uint64_t ABSENT = uint64_t(1) << 63; // of an address in a list: its page is not there

uint64_t bytes_before(rows r, uint key) {
    return uint64_t(key) * uint64_t(r.stride) * uint64_t(r.unit_bytes);
}

// Lists where the keys from `from` to before `to` of a block are. A lane looks up a key. `keys`: as for rows_of.
void list_rows(place at, rows k, rows v, int block, int from, int to, ivec2 keys) {
    [[dont_unroll]] for (int key = from; key < to; key += int(LANES)) {
        int mine = key + int(lane);
        key_place where = find_key(at, uint(clamp(mine, keys.x, keys.y - 1)));
        uint64_t offset = uint64_t(uint(mine - block) * 8u);
        uint64_t absent = where.there ? uint64_t(0) : ABSENT;
        uint64_t page = uint64_t(where.batch);
        if (mine < to) {
            sxt_long_at(k.list + offset).at[0] = k.start + page * k.page + bytes_before(k, where.token) | absent;
            sxt_long_at(v.list + offset).at[0] = v.start + page * v.page + bytes_before(v, where.token);
        }
    }
}

// Where key `key` of the block that begins at `block` is. This driver runs what follows the end of a loop's last trip
// once more, with no invocation active, and then does load from an address that all would share: of a key of the block
// before, too, it must lie in scratch memory. The scores are before the list.
uint64_t row_address(rows r, int block, int key) {
    if (PAGES)
        return sxt_long_at(r.list + uint64_t(int64_t(key - block) * 8)).at[0];
    return r.start + bytes_before(r, uint(clamp(key, r.first, r.last)));
}

// A quad of a row of any type, fp8 without its scale.
vec4 any_quad(uint64_t row, uint quad, uint type) {
    if (type == SXT_STORE_F32)
        return sxt_read4(row + uint64_t(quad * 16u), 0u, SXT_STORE_F32);
    if (type == SXT_STORE_F16 || type == SXT_STORE_BF16) {
        uvec2 word = sxt_short_halves(sxt_long_at(row + uint64_t(quad * 8u)).at[0]);
        return vec4(sxt_decode32(word.x, type), sxt_decode32(word.y, type));
    }
    if (type == SXT_STORE_FP8_E4M3)
        return sxt_decode_e4m3x4(sxt_uint_at(row + uint64_t(quad * 4u)).at[0]);
    uint64_t block = row + uint64_t(quad / 8u * sxt_block_bytes(type));
    uint first = quad % 8u * 4u;
    float scale = unpackHalf2x16(sxt_uint_at(block).at[0]).x;
    uint codes = sxt_uint_at(block + uint64_t(2u + (type == SXT_STORE_Q8_0 ? first : first % 16u))).at[0];
    if (type == SXT_STORE_Q8_0)
        return scale * sxt_decode8(codes, 0u, 0u);
    return scale * sxt_decode4(codes, 0u, 0u, first / 16u * 4u);
}

// Writes a row of `quads` quads of any type as one of `width` quads in f32, of which the last ones are 0.
void stage_row(uint64_t row, uint64_t to_address, uint quads, uint width, uint type) {
    [[dont_unroll]] for (uint quad = lane; quad < width; quad += LANES) {
        vec4 v = any_quad(row, min(quad, quads - 1u), type);
        sxt_write4(to_address + uint64_t(quad * 16u), 0u, quad < quads ? v : vec4(0), SXT_STORE_F32);
    }
}

// The keys from `from` to before `to`.
void stage_rows(rows r, uint64_t to_address, int block, int from, int to, uint quads, uint width, uint type) {
    [[dont_unroll]] for (int key = from; key < to; key++) {
        stage_row(row_address(r, block, key) & ~ABSENT, to_address, quads, width, type);
        to_address += uint64_t(width * 16u);
    }
}

#endif
