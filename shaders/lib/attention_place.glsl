// Which rows and keys a workgroup of attention has: sequences and their lengths, windows, pages, masks of bits, splits.
// Included by lib/attention.glsl.
//
// Whatever lies in device memory, nothing here leads out of the tensors: lengths and offsets are clamped to what there
// is, keys on pages that are not there read page 0 and are seen by nobody.
#ifndef SXT_LIB_ATTENTION_PLACE_GLSL
#define SXT_LIB_ATTENTION_PLACE_GLSL

SXT_BLOCK(mask_words, uint, readonly, SXT_ATTENTION_MASK)
SXT_BLOCK(cu_q, int, readonly, SXT_ATTENTION_CU_Q)
SXT_BLOCK(k_lengths, int, readonly, SXT_ATTENTION_K_LENGTHS)
SXT_BLOCK(block_table, int, readonly, SXT_ATTENTION_TABLE)

// ── Sequences ──

// One KV head of one sequence: its queries are q_tokens from token q_first of q's batch q_batch on; k likewise (of
// pages k_batch and k_first do not count).
struct place {
    uint sequence, kv_head;
    uint q_batch, q_first, q_tokens;
    uint k_batch, k_first, k_tokens;
};

struct span {
    uint first, tokens;
    bool fault;
};

// What two neighbouring offsets enclose of `all` tokens, at most `most` of it. Offsets that fall enclose nothing.
span span_between(int begin, int end, uint all, uint most) {
    int first = clamp(begin, 0, int(all)), last = clamp(end, first, int(all));
    uint tokens = uint(last - first);
    return span(uint(first), min(tokens, most), begin != first || end != last || tokens > most);
}

// Reads a sequence's lengths; each workgroup calls it once. What is out of range is reported.
place place_at(uint sequence, uint kv_head) {
    place at = place(sequence, kv_head, sequence, 0u, pc.q_tokens, sequence, 0u, pc.k_tokens);
    if (!SEQUENCES)
        return at;
    bool fault = false;
    if (has(SXT_ATTENTION_HAS_CU_Q)) {
        uint i = byte_of(params.bases_forms, 8u) + sequence;
        span s = span_between(SXT_AT(cu_q, i), SXT_AT(cu_q, i + 1u), params.q_all, pc.q_tokens);
        at.q_batch = 0u;
        at.q_first = s.first;
        at.q_tokens = s.tokens;
        fault = s.fault;
    }
    uint i = byte_of(params.bases_forms, 16u) + sequence;
    if (has(SXT_ATTENTION_HAS_CU_K)) {
        span s = span_between(SXT_AT(k_lengths, i), SXT_AT(k_lengths, i + 1u), params.k_all, pc.k_tokens);
        at.k_batch = 0u;
        at.k_first = s.first;
        at.k_tokens = s.tokens;
        fault = fault || s.fault;
    } else if (has(SXT_ATTENTION_HAS_KV_LENGTHS)) {
        int tokens = SXT_AT(k_lengths, i);
        at.k_tokens = uint(clamp(tokens, 0, int(pc.k_tokens)));
        fault = fault || uint(tokens) != at.k_tokens;
    }
    if (fault)
        atomicOr(SXT_AT(faults, 0), SXT_FAULT_BIT_INDEX);
    return at;
}

// ── Parts and tiles ──

// How many parts in turn go through the splits of the same tiles.
uint part_turns() {
    return (params.splits + params.part_splits - 1u) / max(params.part_splits, 1u);
}

// The first tile of this part, and the first split of each of its tiles.
uint part_tile() {
    return pc.part / max(part_turns(), 1u) * params.part_tiles;
}

uint part_split() {
    return pc.part % max(part_turns(), 1u) * params.part_splits;
}

// Whether all splits are there once this part is done.
bool part_is_last() {
    return part_split() + params.part_splits >= params.splits;
}

// Where a tile is. By flag ROWS_OUTER the row tile changes last, from the end on, where under a causal mask a row has
// the most keys; else it changes first.
struct tile_place {
    uint row_tile, sequence, kv_head;
};

uint row_tiles() {
    return (pc.q_tokens * pc.group + ROWS - 1u) / ROWS;
}

tile_place tile_at(uint tile) {
    uint rows = row_tiles(), heads = pc.tiles / rows;
    bool outer = has(SXT_ATTENTION_ROWS_OUTER);
    uint head = outer ? tile % heads : tile / rows;
    return tile_place(outer ? rows - 1u - tile / heads : tile % rows, head / pc.kv_heads, head % pc.kv_heads);
}

// The inverse, for a merge.
uint tile_of(tile_place where) {
    uint rows = row_tiles(), heads = pc.tiles / rows, head = where.sequence * pc.kv_heads + where.kv_head;
    return has(SXT_ATTENTION_ROWS_OUTER) ? (rows - 1u - where.row_tile) * heads + head : head * rows + where.row_tile;
}

// ── Rows ──

struct row {
    uint token, head;
};

uint packed_rows(place at) {
    return at.q_tokens * pc.group;
}

// Rows past the end stand for the last one; they are computed and not stored.
row row_at(place at, uint packed) {
    packed = min(packed, packed_rows(at) - 1u);
    return row(packed / pc.group, at.kv_head * pc.group + packed % pc.group);
}

uint offset_of(uint base, uint stride[3], uint a, uint b, uint c) {
    return base + a * stride[0] + b * stride[1] + c * stride[2];
}

uint q_row(place at, row r) {
    return offset_of(byte_of(pc.bases_main, 0u), pc.q_stride, at.q_batch, at.q_first + r.token, r.head);
}

uint o_row(place at, row r) {
    return offset_of(byte_of(pc.bases_main, 24u), pc.o_stride, at.q_batch, at.q_first + r.token, r.head);
}

uint lse_row(place at, row r) {
    return offset_of(byte_of(pc.bases_extra, 0u), pc.lse_stride, at.q_batch, at.q_first + r.token, r.head);
}

// ── Which keys a row sees ──

// The key at which query `token` stands, which may be negative.
int position_of(place at, uint token) {
    return int(token) + int(at.k_tokens) - int(at.q_tokens);
}

int first_key(place at, uint token) {
    return max(position_of(at, token) - pc.window_left, 0);
}

// One past the last.
int end_key(place at, uint token) {
    return min(position_of(at, token) + pc.window_right + 1, int(at.k_tokens));
}

uint mask_row(place at, row r) {
    return byte_of(params.bases_forms, 0u) + at.sequence * params.mask_batch + r.head * params.mask_head +
           r.token * params.mask_token;
}

// Whether the mask of bits keeps a key, which may be any number in lanes that are padding.
bool kept(place at, row r, int key) {
    uint k = uint(clamp(key, 0, int(pc.k_tokens) - 1));
    return (SXT_AT(mask_words, mask_row(at, r) + k / 32u) >> (k % 32u) & 1u) != 0u;
}

// The keys of split `split` of the tile of tokens `first` … `last`: from .x to before .y; none if .y ≤ .x. Splits meet
// at multiples of split_keys, so that a row's result does not depend on the rows beside it.
ivec2 keys_of(place at, uint first, uint last, uint split) {
    int begin = first_key(at, first), end = end_key(at, last);
    if (SPLIT) {
        int bound = int((uint(begin) / params.split_keys + split) * params.split_keys);
        begin = max(begin, bound);
        end = min(end, bound + int(params.split_keys));
    }
    return ivec2(begin, end);
}

// How many splits the tile has.
uint splits_of(place at, uint first, uint last) {
    int begin = first_key(at, first), end = end_key(at, last);
    if (end <= begin)
        return 0u;
    return min((uint(end) - 1u) / params.split_keys - uint(begin) / params.split_keys + 1u, params.splits);
}

uint partial_row(uint tile, uint split, uint row_of_tile) {
    return ((tile - part_tile()) * params.splits + split) * ROWS + row_of_tile;
}

// ── Rows of the cache ──

// Where a key is: batch (or page) and token (or row of the page), and whether it is there at all.
struct key_place {
    uint batch, token;
    bool there;
};

bool bad_page = false; // some page that was looked for is outside the pool

key_place find_key(place at, uint key) {
    if (!PAGES)
        return key_place(at.k_batch, at.k_first + key, true);
    uint index = byte_of(params.bases_forms, 24u) + at.sequence * params.table_stride + key / params.page_rows;
    int page = SXT_AT(block_table, index);
    bool there = page >= 0 && uint(page) < params.pages;
    bad_page = bad_page || (!there && page != -1);
    return key_place(there ? uint(page) : 0u, key % params.page_rows, there);
}

// To be called once at the end by each invocation, after find_key: which stands in loops where an atomic would be a
// branch among all that they keep.
void report_pages() {
    if (PAGES && bad_page)
        atomicOr(SXT_AT(faults, 0), SXT_FAULT_BIT_INDEX);
}

// First element of a key's row. The base of a type with blocks of 32 is in blocks.
uint k_row(place at, key_place where) {
    uint base = byte_of(pc.bases_main, 8u);
    return offset_of(sxt_is_blocks(K_TYPE) ? 32u * base : base, pc.k_stride, where.batch, where.token, at.kv_head);
}

uint v_row(place at, key_place where) {
    uint base = byte_of(pc.bases_main, 16u);
    return offset_of(sxt_is_blocks(V_TYPE) ? 32u * base : base, pc.v_stride, where.batch, where.token, at.kv_head);
}

#endif
