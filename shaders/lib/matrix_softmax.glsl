// From scores in accumulators to weights in shared memory, for attention_matrix.comp: which says what is declared here.
#ifndef SXT_LIB_MATRIX_SOFTMAX_GLSL
#define SXT_LIB_MATRIX_SOFTMAX_GLSL

void mask_scores(uint key0) {
    ACCUMULATOR where;
    coopMatLoad(where, places, 0, N, ROW_MAJOR);
    [[unroll]] for (uint n = 0; n < ROW_FRAGMENTS * KEY_FRAGMENTS; n++)
        [[unroll]] for (uint e = 0; e < where.length(); e++)
            score[n][e] = seen_logit(fragment_row(n / KEY_FRAGMENTS) + uint(where[e]) / N,
                                     fragment_column(n % KEY_FRAGMENTS, KEY_FRAGMENTS) + uint(where[e]) % N, score[n][e],
                                     key0);
}

// Logits beyond the bound are held within it. `factor`: of scores that are not logits yet.
void hold_scores(float factor) {
    [[unroll]] for (uint n = 0; n < ROW_FRAGMENTS * KEY_FRAGMENTS; n++)
        [[unroll]] for (uint e = 0; e < score[n].length(); e++)
            score[n][e] = held_score(score[n][e], factor);
}

// ── The largest score, and the sum, of each row of this subgroup's fragments: to row_part ──

// Through shared memory, to lanes that have a row each.
void find_largest(float factor) {
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++)
        [[unroll]] for (uint j = 0; j < KEY_FRAGMENTS; j++) {
            coopMatStore(score[i * KEY_FRAGMENTS + j], p_tile, scratch_place(), N / 4, ROW_MAJOR);
            subgroup_barrier();
            [[unroll]] for (uint n = 0; n < LANE_ROWS; n++) {
                uint r = lane + n * LANES, slot = column_group * ROWS + fragment_row(i) + r;
                float most = MASKED;
                [[unroll]] for (uint c = 0; c < N; c++)
                    most = max(most, scratch_at(min(r, M - 1u), c) * factor);
                if (r < M)
                    row_part[slot] = j == 0 ? most : max(most, row_part[slot]);
            }
            subgroup_barrier();
        }
}

void find_sums() {
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
        coopMatStore(row_sum[i], p_tile, scratch_place(), N / 4, ROW_MAJOR);
        subgroup_barrier();
        [[unroll]] for (uint n = 0; n < LANE_ROWS; n++) {
            uint r = lane + n * LANES;
            float total = 0.0;
            [[unroll]] for (uint c = 0; c < N; c++)
                total += scratch_at(min(r, M - 1u), c);
            if (r < M)
                row_part[column_group * ROWS + fragment_row(i) + r] = total;
        }
        subgroup_barrier();
    }
}

// New offsets for rows that have too large a weight, and what their sums shrink by.
void raise_offsets(float factor) {
    find_largest(factor);
    row_barrier();
    [[dont_unroll]] for (uint n = lane; n < ROW_FRAGMENTS * M && column_group == 0u; n += LANES) {
        uint r = fragment_row(0u) + n;
        float most = row_part[r], before = row_offset[r];
        [[unroll]] for (uint g = 1; g < COLUMN_GROUPS; g++)
            most = max(most, row_part[g * ROWS + r]);
        bool raised = most > before + TOP;
        row_offset[r] = raised ? most - START : before;
        row_factor[r] = raised ? exp2(before - (most - START)) : 1.0;
    }
    row_barrier();
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
        ACCUMULATOR shrink;
        coopMatLoad(shrink, row_factor, fragment_row(i), 0, COLUMN_MAJOR);
        [[unroll]] for (uint e = 0; e < shrink.length(); e++)
            row_sum[i][e] *= shrink[e];
        [[unroll]] for (uint n = 0; n < OUTS; n++)
            if (n % CHUNK_OUTS / CHUNK_FRAGMENTS == i)
                [[unroll]] for (uint e = 0; e < shrink.length(); e++)
                    out_sum[n][e] *= shrink[e];
    }
    load_offsets();
}

// Whether a plain score gives a weight that is too large, or with BOUNDED a logit that is.
bool too_large(float factor) {
    float most = 0.0;
    [[unroll]] for (uint n = 0; n < ROW_FRAGMENTS * KEY_FRAGMENTS; n++)
        [[unroll]] for (uint e = 0; e < score[n].length(); e++) {
            if (BOUNDED)
                most = max(most, abs(score[n][e]));
            else
                most = max(most, fma(score[n][e], factor, -offset[n / KEY_FRAGMENTS][e]));
        }
    bool found = subgroupAny(BOUNDED ? most * abs(factor) > bound_log2 : most > TOP);
    if (!TOGETHER || BOUNDED)
        return found;
    if (found && subgroupElect())
        atomicOr(wild[trip % 2u], WILD_WEIGHT);
    barrier();
    return (wild[trip % 2u] & WILD_WEIGHT) != 0u;
}

// Weights from scores: into shared memory as elements, and onto the rows' sums.
void put_weights(float factor) {
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++)
        [[unroll]] for (uint j = 0; j < KEY_FRAGMENTS; j++) {
            uint n = i * KEY_FRAGMENTS + j;
            [[unroll]] for (uint e = 0; e < score[n].length(); e++) {
                float weight = exp2(fma(score[n][e], factor, ROW_OFFSETS ? -offset[i][e] : -bound_offset));
                row_sum[i][e] += weight;
                score[n][e] = weight;
            }
            coopMatStore(WEIGHTS(score[n]), p_tile,
                         fragment_row(i) * P_PITCH + fragment_column(j, KEY_FRAGMENTS) / 8u, P_PITCH, ROW_MAJOR);
        }
}

#endif
