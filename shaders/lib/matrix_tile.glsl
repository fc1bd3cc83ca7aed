// Keys and values of a tile, on their way to shared memory, for the kernels on matrix units: lib/matrix.glsl and they
// say what is declared here.
#ifndef SXT_LIB_MATRIX_TILE_GLSL
#define SXT_LIB_MATRIX_TILE_GLSL

// A thread's n-th fetch, as row and column of a table of so many columns.
uvec2 slot_of(uint n, uint columns) {
    if (THREADS % columns == 0)
        return uvec2(thread / columns + n * (THREADS / columns), thread % columns);
    uint slot = thread + n * THREADS;
    return uvec2(slot / columns, slot % columns);
}

// Whether a tile's key is there at all. (Of those that are not, another's row is read, in vain.)
bool is_there(uint key0, uint key, uint start) {
    return int(key0 + key) < keys_seen.y && is_row(start);
}

uvec2 k_elements(uint start, uint quad) {
    return K_TYPE == ELEMENT_TYPE && K_ALIGNED ? SXT_AT(k_pairs, start / 4u + quad)
                                               : to_elements(k_quad(start + quad * 4u));
}

uvec2 v_elements(uint start, uint quad) {
    return V_TYPE == ELEMENT_TYPE && V_ALIGNED ? SXT_AT(v_pairs, start / 4u + quad)
                                               : to_elements(v_quad(start + quad * 4u));
}

// Octet `octet` of a row, of whose channels `quads` quads are there.
uvec4 k_octet(uint start, uint octet, uint quads) {
    if (WIDE_K)
        return SXT_AT(k_quads, start / 8u + min(octet, quads / 2u - 1u));
    return uvec4(k_elements(start, min(2u * octet, quads - 1u)), k_elements(start, min(2u * octet + 1u, quads - 1u)));
}

uvec4 v_octet(uint start, uint octet, uint quads) {
    if (WIDE_V)
        return SXT_AT(v_quads, start / 8u + min(octet, quads / 2u - 1u));
    return uvec4(v_elements(start, min(2u * octet, quads - 1u)), v_elements(start, min(2u * octet + 1u, quads - 1u)));
}

// Zeros for what is past the channels, or of a key that is not there.
uvec4 kept_octet(uvec4 v, bool there, uint octet, uint quads) {
    return uvec4(there && 2u * octet < quads ? v.xy : uvec2(0), there && 2u * octet + 1u < quads ? v.zw : uvec2(0));
}

// Of a chunk of channels from octet `first` on.
void fetch_k(uint key0, uint first) {
    uint quads = pc.dims & 0xffu;
    [[unroll]] for (uint n = 0; n < K_FETCHES; n++) {
        uvec2 slot = slot_of(n, K_OCTETS);
        uint start = row_of_k(key0, min(slot.x, KEYS - 1u));
        bool there = is_there(key0, slot.x, start);
        uint octet = first + slot.y;
        k_fetched[n] = kept_octet(k_octet(any_row(start), octet, quads), there, octet, quads);
    }
}

void stage_k() {
    [[unroll]] for (uint n = 0; n < K_FETCHES; n++) {
        uvec2 slot = slot_of(n, K_OCTETS);
        if (slot.x < KEYS)
            k_tile[slot.x * K_PITCH + slot.y] = k_fetched[n];
        k_fetched[n] = uvec4(0); // else it would keep its registers until the next fetch, which is in a branch
    }
}

// Eight keys of four channels, four uvec4 of two keys each.
void fetch_v_turned(uint key0, uint first) {
    uint quads = pc.dims >> 8 & 0xffu;
    [[unroll]] for (uint n = 0; n < V_FETCHES; n++) {
        uvec2 slot = slot_of(n, KEY_OCTETS); // channels, keys
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint key = slot.y * 8u + i, start = row_of_v(key0, key);
            bool there = is_there(key0, key, start);
            uint quad = 2u * first + slot.x;
            uvec2 two = v_elements(any_row(start), min(quad, quads - 1u));
            two = there && quad < quads ? two : uvec2(0);
            if (i % 2 == 0)
                v_fetched[n * 4 + i / 2].xy = two;
            else
                v_fetched[n * 4 + i / 2].zw = two;
        }
    }
}

void fetch_v(uint key0, uint first) {
    uint quads = pc.dims >> 8 & 0xffu;
    if (TURNED_V) {
        fetch_v_turned(key0, first);
        return;
    }
    [[unroll]] for (uint n = 0; n < V_FETCHES; n++) {
        uvec2 slot = slot_of(n, V_OCTETS);
        uint start = row_of_v(key0, min(slot.x, KEYS - 1u));
        bool there = is_there(key0, slot.x, start);
        uint octet = first + slot.y;
        v_fetched[n] = kept_octet(v_octet(any_row(start), octet, quads), there, octet, quads);
    }
}

// Whether one of eight elements is an infinity or a NaN.
bool is_wild(uvec4 v) {
    const uint exponent = ELEMENT_TYPE == SXT_STORE_F16 ? 0x7c00u : 0x7f80u;
    return any(equal(v & exponent, uvec4(exponent))) || any(equal(v >> 16 & exponent, uvec4(exponent)));
}

void stage_v(bool guarded) {
    [[unroll]] for (uint n = 0; n < V_FETCHES; n++) {
        if (TURNED_V) {
            uvec2 slot = slot_of(n, KEY_OCTETS);
            [[unroll]] for (uint c = 0; c < 4; c++) {
                uvec4 keys;
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    uvec4 two = v_fetched[n * 4 + i];
                    uvec2 words = c < 2 ? two.xz : two.yw;
                    keys[i] = c % 2 == 0 ? (words.x & 0xffffu) | words.y << 16 : words.x >> 16 | (words.y & 0xffff0000u);
                }
                if (slot.x < V_OCTETS * 2)
                    v_tile[(slot.x * 4u + c) * V_PITCH + slot.y] = keys;
            }
        } else {
            uvec2 slot = slot_of(n, V_OCTETS);
            if (slot.x < KEYS)
                v_tile[slot.x * V_PITCH + slot.y] = v_fetched[n];
        }
    }
    if (guarded) {
        bool found = false;
        [[unroll]] for (uint n = 0; n < V_FETCHES * V_WORDS; n++)
            found = found || is_wild(v_fetched[n]);
        if (found)
            atomicOr(wild[trip % 2u], WILD_VALUE);
    }
    [[unroll]] for (uint n = 0; n < V_FETCHES * V_WORDS; n++)
        v_fetched[n] = uvec4(0);
}

#endif
