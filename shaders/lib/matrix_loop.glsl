// The way through the tiles of keys, for attention_matrix.comp and attention_matrix2.comp, which say what a tile's products
// are: load_queries, clear_scores, multiply_chunk, mask_scores, too_large, hold_scores, raise_offsets, put_weights,
// accumulate, accumulate_seen, next_outputs, find_sums, begin_matrices, load_offsets and store.
#ifndef SXT_LIB_MATRIX_LOOP_GLSL
#define SXT_LIB_MATRIX_LOOP_GLSL

void compute_scores(uint key0) {
    clear_scores();
    for (uint first = 0; first < HEAD_OCTETS; first += K_OCTETS) {
        if (!AHEAD || first > 0u)
            fetch_k(key0, first);
        if (first > 0u)
            barrier(); // the chunk before has been read
        stage_k();
        barrier();
        if (AHEAD && first + K_OCTETS == HEAD_OCTETS)
            fetch_v(key0, 0u);
        multiply_chunk(first);
    }
}

// From scores to weights. `edge`: some row does not see some key.
void softmax(uint key0, bool edge) {
    float factor = q_scale * LOG2_E;
    bool changed = FEATURES || MASK_BITS || PAGES || edge;
    if (changed) {
        mask_scores(key0);
        factor = 1.0;
    }
    // The bound is for the logits of all that is seen: of changed ones they alone are looked at.
    if (BOUNDED ? changed || too_large(factor) : too_large(factor)) {
        if (BOUNDED) {
            hold_scores(factor);
            factor = 1.0;
        } else {
            raise_offsets(factor);
        }
    }
    put_weights(factor);
}

// The first tile of keys from one on that the mask does not hide; with AHEAD, the first chunk of its keys is on its way.
uint next_tile(uint key0) {
    while (int(key0) < keys_seen.y && !begin_tile(key0))
        key0 += KEYS;
    if (AHEAD && int(key0) < keys_seen.y)
        fetch_k(key0, 0u);
    return key0;
}

// Stages a chunk of values and adds it to the first outputs. After the last one `key0` is the next tile's.
void take_values(inout uint key0, uint chunk, bool guarded) {
    if (!AHEAD || chunk > 0u)
        fetch_v(key0, chunk * V_OCTETS);
    if (chunk > 0u)
        barrier(); // the chunk before has been read
    stage_v(guarded);
    barrier();
    bool slowly = (wild[trip % 2u] & WILD_VALUE) != 0u;
    if (chunk + 1u == V_CHUNKS)
        key0 = next_tile(key0 + KEYS);
    if (slowly)
        accumulate_seen();
    else
        accumulate();
}

void attend(uint first_token, uint last_token) {
    bool hides = MASK_BITS || PAGES || has(SXT_ATTENTION_HAS_BIAS); // which may be −∞
    uint key0 = next_tile(uint(keys_seen.x) / KEYS * KEYS);
    [[dont_unroll]] for (trip = 0u; int(key0) < keys_seen.y; trip++) {
        bool edge = int(key0 + KEYS) > min(end_key(at, first_token), keys_seen.y) || int(key0) < first_key(at, last_token);
        compute_scores(key0);
        if (thread == 0u)
            wild[(trip + 1u) % 2u] = 0u;
        softmax(key0, edge);
        if (V_CHUNKS == 1) {
            take_values(key0, 0u, edge || hides);
            continue;
        }
        // A loop that stays one: none of what it indexes depends on the chunk.
        [[dont_unroll]] for (uint chunk = 0; chunk < V_CHUNKS; chunk++) {
            take_values(key0, chunk, edge || hides);
            next_outputs();
        }
    }
}

// ── The end ──

float sum_of_row(uint r) {
    float total = row_part[r];
    [[unroll]] for (uint g = 1; g < COLUMN_GROUPS; g++)
        total += row_part[g * ROWS + r];
    return total;
}

// Whether weights of some row came out too small for their type; if so, everything is ready for a second time.
bool look_again() {
    barrier(); // the last weights have been read, and what was wild among values
    if (thread < 2u)
        wild[thread] = 0u;
    find_sums();
    barrier();
    float least = float(keys_seen.y - keys_seen.x) * LEAST_MEAN;
    [[dont_unroll]] for (uint r = thread; r < ROWS; r += THREADS) {
        float total = sum_of_row(r);
        if (total > 0.0 && total < least) { // NaN is as good as it gets
            row_offset[r] += log2(total) - TOP;
            atomicOr(wild[0], WILD_WEIGHT);
        }
    }
    barrier();
    bool again = wild[0] != 0u;
    barrier();
    if (!again)
        return false;
    if (thread < 2u)
        wild[thread] = 0u;
    begin_tiles();
    begin_matrices();
    load_offsets();
    barrier();
    return true;
}

// What the output of each row is to be multiplied by: by its row_offset, then by its row_factor.
void finish_rows(uint partial) {
    barrier(); // the last weights have been read
    find_sums();
    barrier();
    [[dont_unroll]] for (uint r = thread; r < ROWS; r += THREADS) {
        float total = sum_of_row(r), share;
        float maximum = row_offset[r] / LOG2_E;
        bool writes = first_row + r < packed_rows(at);
        row_offset[r] = finish_row(at, row_at(at, first_row + r), maximum, total, partial + r, writes, share);
        row_factor[r] = share;
    }
    barrier();
}

void begin() {
    greatest = 0.0;
    bound_log2 = params.bound * (1.0 + SXT_BOUND_SLACK) * LOG2_E;
    bound_offset = bound_log2 - TOP;
    [[dont_unroll]] for (uint r = thread; r < ROWS; r += THREADS) {
        uint token = row_at(at, first_row + r).token;
        row_seen[r] = ivec2(first_key(at, token), end_key(at, token));
        row_offset[r] = BOUNDED ? bound_offset : FLOOR;
    }
    if (thread < 2u)
        wild[thread] = 0u;
    if (thread == 0u)
        largest_q = 0u;
    begin_tiles();
    begin_matrices();
}

// To be called once `thread` and the like are known.
void attend_tile() {
    uint in_part = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    uint tile = part_tile() + in_part, split = part_split() + gl_WorkGroupID.z;
    if (in_part >= params.part_tiles || tile >= pc.tiles)
        return;
    tile_place where = tile_at(tile);
    at = place_at(where.sequence, where.kv_head);
    first_row = where.row_tile * ROWS;
    if (first_row >= packed_rows(at))
        return;
    uint first_token = first_row / pc.group, last_token = (min(first_row + ROWS, packed_rows(at)) - 1u) / pc.group;
    if (SPLIT && split >= splits_of(at, first_token, last_token))
        return;
    keys_seen = keys_of(at, first_token, last_token, split);
    begin();
    barrier();
    uint looks = 0u;
    do {
        load_queries();
        attend(first_token, last_token);
    } while (SECOND_LOOK && looks++ == 0u && look_again());
    uint partial = SPLIT ? partial_row(tile, split, 0u) : 0u;
    finish_rows(partial);
    store(partial);
    report_pages();
    if (BOUNDED)
        report_bound(greatest / LOG2_E);
}

#endif
