// The keys of one tile after another, for kernels whose workgroups go through them together: rows of pages and bits of
// masks in shared memory, and which tiles of keys the mask hides as a whole.
//
// The including file declares THREADS and KEYS, a power of two, and thread, at, first_row and keys_seen: the keys that
// some row of the tile sees.
#ifndef SXT_LIB_ATTENTION_STAGE_GLSL
#define SXT_LIB_ATTENTION_STAGE_GLSL

// The first element of a row of K or V.
#if SXT_ADDRESS
#define KEY_ROW uint64_t
#else
#define KEY_ROW uint
#endif
const KEY_ROW ABSENT = ~KEY_ROW(0);
const uint MASK_PITCH = (KEYS + 31) / 32;

shared KEY_ROW key_rows[PAGES ? 4 * KEYS : 1]; // of K, then of V; twice: this tile of keys, and the one before
shared uint mask_tile[MASK_BITS ? ROWS * MASK_PITCH : 1];
shared uint kept_any[MASK_BITS ? 3 : 1]; // by tiles of keys in turn

uint turn; // counts tiles of keys

// A key of the tile of keys, or where none of its rows sees that one, a key that is seen: no page is looked up for
// others.
uint seen_key(uint key) {
    return uint(clamp(int(key), keys_seen.x, keys_seen.y - 1));
}

#if SXT_ADDRESS
KEY_ROW wide_row(uint base, uint stride[3], key_place where, uint type) {
    return (sxt_is_blocks(type) ? 32u : 1u) * base + uint64_t(where.batch) * stride[0] +
           uint64_t(where.token) * stride[1] + uint64_t(at.kv_head) * stride[2];
}

KEY_ROW find_k(key_place where) {
    return wide_row(byte_of(pc.bases_main, 8u), pc.k_stride, where, K_TYPE);
}

KEY_ROW find_v(key_place where) {
    return wide_row(byte_of(pc.bases_main, 16u), pc.v_stride, where, V_TYPE);
}

// Where the 64 elements begin among which `row` is: all types have them in whole words.
uvec2 origin_of(uint slot, KEY_ROW row, uint type) {
    uint bytes = type == SXT_STORE_F32 ? 256u : type == SXT_STORE_FP8_E4M3 ? 64u : 128u;
    if (sxt_is_blocks(type))
        bytes = 2u * sxt_block_bytes(type);
    uvec2 start = sxt_address(slot);
    uint64_t address = (uint64_t(start.y) << 32 | start.x) + (row >> 6) * bytes;
    return uvec2(uint(address), uint(address >> 32));
}

vec4 k_at(KEY_ROW row, uint c) {
    k_origin = origin_of(SXT_ATTENTION_K, row, K_TYPE);
    return k_quad((uint(row) & 63u) + c * 4u);
}

vec4 v_at(KEY_ROW row, uint c) {
    v_origin = origin_of(SXT_ATTENTION_V, row, V_TYPE);
    return v_quad((uint(row) & 63u) + c * 4u);
}
#else
KEY_ROW find_k(key_place where) {
    return k_row(at, where);
}

KEY_ROW find_v(key_place where) {
    return v_row(at, where);
}

vec4 k_at(KEY_ROW row, uint c) {
    return k_quad(row + c * 4u);
}

vec4 v_at(KEY_ROW row, uint c) {
    return v_quad(row + c * 4u);
}
#endif

bool is_row(KEY_ROW row) {
    return !PAGES || row != ABSENT;
}

// A row that can be read, in place of one that is absent.
KEY_ROW any_row(KEY_ROW row) {
    return is_row(row) ? row : KEY_ROW(0);
}

KEY_ROW row_of_k(uint key0, uint n) {
    return PAGES ? key_rows[turn % 2u * 2u * KEYS + n] : find_k(find_key(at, seen_key(key0 + n)));
}

KEY_ROW row_of_v(uint key0, uint n) {
    return PAGES ? key_rows[(turn % 2u * 2u + 1u) * KEYS + n] : find_v(find_key(at, seen_key(key0 + n)));
}

void find_pages(uint key0) {
    [[dont_unroll]] for (uint n = thread; n < KEYS; n += THREADS) {
        key_place where = find_key(at, seen_key(key0 + n));
        uint slot = turn % 2u * 2u * KEYS + n;
        key_rows[slot] = where.there ? find_k(where) : ABSENT;
        key_rows[slot + KEYS] = where.there ? find_v(where) : ABSENT;
    }
}

void stage_mask(uint key0) {
    // This turn's word is zero since the last turn, in which nobody needed it any more.
    if (thread == 0u)
        kept_any[(turn + 1u) % 3u] = 0u;
    [[dont_unroll]] for (uint n = thread; n < ROWS * MASK_PITCH; n += THREADS) {
        uint key = key0 + n % MASK_PITCH * 32u, word = 0u;
        int count = keys_seen.y - int(key);
        if (count > 0)
            word = SXT_AT(mask_words, mask_row(at, row_at(at, first_row + n / MASK_PITCH)) + key / 32u);
        word = word >> key % 32u & (0xffffffffu >> (32u - uint(clamp(count, 1, int(min(KEYS, 32u))))));
        mask_tile[n] = word;
        if (word != 0u)
            atomicOr(kept_any[turn % 3u], 1u);
    }
}

// To be called once, some barrier before the first begin_tile.
void begin_tiles() {
    turn = 0u;
    if (MASK_BITS && thread < 3u)
        kept_any[thread] = 0u;
}

// Finds the keys of a tile; false if the mask hides all of them. With pages or a mask all threads wait for each other;
// by then nobody may need the mask of the tile before, or the rows of the one before that.
bool begin_tile(uint key0) {
    if (!PAGES && !MASK_BITS)
        return true;
    turn++;
    if (PAGES)
        find_pages(key0);
    if (MASK_BITS)
        stage_mask(key0);
    barrier();
    return !MASK_BITS || kept_any[turn % 3u] != 0u;
}

// Whether the mask keeps a key of the tile for a row.
bool kept_in_tile(uint r, uint key) {
    return (mask_tile[r * MASK_PITCH + key / 32u] >> key % 32u & 1u) != 0u;
}

#endif
