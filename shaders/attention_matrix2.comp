// Attention on matrix units, by VK_NV_cooperative_matrix2: a tile's scores are one matrix, and its outputs one for each
// chunk of channels. What it shares with attention_matrix.comp, and how its softmax goes: lib/matrix.glsl.
//
// SXT_WORKGROUP=1: matrices of the whole workgroup, as the driver likes to share them out. Else of a subgroup: a tile's
// rows are shared out among ROW_GROUPS of them. Dimensions are multiples of the least that the device takes, and the rest
// is the driver's: operations by element know the place, reductions find a row's largest score and its sum and hand it to
// all columns, and accumulators become operands by themselves. Shared memory is for queries, keys and values on their way
// in. Two barriers for each tile of keys, one more with offsets that may have to be raised.
#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#if SXT_BFLOAT16
#extension GL_EXT_bfloat16 : require
#endif
#include "lib/features.glsl"
#include "lib/matrix.glsl"

const uint COLUMN_GROUPS = 1, GROUP_ROWS = ROWS / ROW_GROUPS, K_CHUNKS = HELD_Q ? HEAD / K_CHUNK : 1;

#if SXT_WORKGROUP
#define SCOPE gl_ScopeWorkgroup
#else
#define SCOPE gl_ScopeSubgroup
#endif
#define SCORES coopmat<float, SCOPE, GROUP_ROWS, KEYS, gl_MatrixUseAccumulator>
#define OUTPUTS coopmat<float, SCOPE, GROUP_ROWS, V_CHUNK, gl_MatrixUseAccumulator>
#define QUERY_OPERAND coopmat<ELEMENT, SCOPE, GROUP_ROWS, K_CHUNK, gl_MatrixUseA>
#define KEY_OPERAND coopmat<ELEMENT, SCOPE, K_CHUNK, KEYS, gl_MatrixUseB>
#define WEIGHT_OPERAND coopmat<ELEMENT, SCOPE, GROUP_ROWS, KEYS, gl_MatrixUseA>
#define VALUE_OPERAND coopmat<ELEMENT, SCOPE, KEYS, V_CHUNK, gl_MatrixUseB>

// Keys; queries that are to stay in registers, before; and with accumulate_seen weights, while values are multiplied.
const uint HELD_PLACES = HELD_Q ? ROWS * K_PITCH : 0, WEIGHT_PLACES = ROWS * P_PITCH, KEY_PLACES = KEYS * K_PITCH,
           MOST_PLACES = HELD_PLACES > WEIGHT_PLACES ? HELD_PLACES : WEIGHT_PLACES;
shared uvec4 k_tile[KEY_PLACES > MOST_PLACES ? KEY_PLACES : MOST_PLACES];
shared float row_part[ROWS];

uint group_row; // this matrix's first row, within the tile
QUERY_OPERAND query[K_CHUNKS];
SCORES score, row_sum, offset;
WEIGHT_OPERAND weights;
OUTPUTS out_sum[V_CHUNKS];

#include "lib/matrix_tile.glsl"

// ── Queries ──

// Of a chunk of channels from octet `first` on, or of all that `octets` are.
void stage_queries(uint first, uint octets, float fit) {
    [[dont_unroll]] for (uint n = thread; n < ROWS * octets; n += THREADS) {
        uint r = n / octets, c = n % octets;
        uvec4 octet = uvec4(fitted_quad(r, 2u * (first + c), fit), fitted_quad(r, 2u * (first + c) + 1u, fit));
        if (HELD_Q)
            k_tile[r * K_PITCH + c] = octet;
        else
            q_tile[r * Q_PITCH + c] = octet;
    }
}

void load_queries() {
    float fit = fit_queries();
    q_scale = q_factor(at) / fit;
    if (!HELD_Q) {
        stage_queries(0u, HEAD_OCTETS, fit);
        return;
    }
    [[unroll]] for (uint chunk = 0; chunk < K_CHUNKS; chunk++) {
        stage_queries(chunk * K_OCTETS, K_OCTETS, fit);
        barrier();
        coopMatLoad(query[chunk], k_tile, group_row * K_PITCH, K_PITCH, ROW_MAJOR);
        barrier();
    }
}

// ── Scores ──

void clear_scores() {
    score = SCORES(0.0);
}

// Adds the products of a chunk of channels, from octet `first` on.
void multiply_chunk(uint first) {
    KEY_OPERAND keys;
    coopMatLoad(keys, k_tile, 0, K_PITCH, COLUMN_MAJOR);
    QUERY_OPERAND rows;
    if (HELD_Q)
        rows = query[first / K_OCTETS];
    else
        coopMatLoad(rows, q_tile, group_row * Q_PITCH + first, Q_PITCH, ROW_MAJOR);
    score = coopMatMulAdd(rows, keys, score);
}

float element_logit(const in uint r, const in uint c, const in float product, const in uint key0) {
    return seen_logit(group_row + r, c, product, key0);
}

void mask_scores(uint key0) {
    coopMatPerElementNV(score, score, element_logit, key0);
}

// Logits beyond the bound are held within it. `factor`: of scores that are not logits yet.
void hold_scores(float factor) {
    [[unroll]] for (uint e = 0; e < score.length(); e++)
        score[e] = held_score(score[e], factor);
}

float larger_of(const in float a, const in float b) {
    return max(a, b);
}

// New offsets for rows that have too large a weight, and what their sums shrink by.
void raise_offsets(float factor) {
    SCORES most, shrink;
    [[unroll]] for (uint e = 0; e < score.length(); e++)
        most[e] = score[e] * factor;
    coopMatReduceNV(most, most, gl_CooperativeMatrixReduceRowNV, larger_of);
    [[unroll]] for (uint e = 0; e < most.length(); e++) {
        float before = offset[e];
        bool raised = most[e] > before + TOP;
        offset[e] = raised ? most[e] - START : before;
        shrink[e] = raised ? exp2(before - (most[e] - START)) : 1.0;
        row_sum[e] *= shrink[e];
    }
    OUTPUTS share;
    coopMatReduceNV(share, shrink, gl_CooperativeMatrixReduceRowNV, larger_of); // all of a row are alike
    [[unroll]] for (uint n = 0; n < V_CHUNKS; n++)
        [[unroll]] for (uint e = 0; e < share.length(); e++)
            out_sum[n][e] *= share[e];
}

// Whether a plain score gives a weight that is too large, or with BOUNDED a logit that is.
bool too_large(float factor) {
    float most = 0.0;
    [[unroll]] for (uint e = 0; e < score.length(); e++)
        most = max(most, BOUNDED ? abs(score[e]) : fma(score[e], factor, -offset[e]));
    bool found = subgroupAny(BOUNDED ? most * abs(factor) > bound_log2 : most > TOP);
    if (BOUNDED)
        return found;
    if (found && subgroupElect())
        atomicOr(wild[trip % 2u], WILD_WEIGHT);
    barrier();
    return (wild[trip % 2u] & WILD_WEIGHT) != 0u;
}

// Weights from scores, and onto the rows' sums.
void put_weights(float factor) {
    [[unroll]] for (uint e = 0; e < score.length(); e++) {
        float weight = exp2(fma(score[e], factor, ROW_OFFSETS ? -offset[e] : -bound_offset));
        row_sum[e] += weight;
        score[e] = weight;
    }
    weights = WEIGHT_OPERAND(score);
}

// ── Output ──

// Of the chunk whose outputs are the first ones.
void accumulate() {
    VALUE_OPERAND values;
    coopMatLoad(values, v_tile, 0, V_PITCH, ROW_MAJOR);
    out_sum[0] = coopMatMulAdd(weights, values, out_sum[0]);
}

float sum_seen(const in uint r, const in uint c, const in float before) {
    float sum = before;
    [[dont_unroll]] for (uint key = 0; key < KEYS; key++) {
        float weight = element_of(k_tile[(group_row + r) * P_PITCH + key / 8u], key % 8u);
        float value = element_of(v_tile[key * V_PITCH + c / 8u], c % 8u);
        sum = weight == 0.0 ? sum : fma(weight, value, sum);
    }
    return sum;
}

// The same, slowly, where values may be NaN or infinite: 0·NaN must not come into rows that do not see them.
void accumulate_seen() {
    coopMatStore(weights, k_tile, group_row * P_PITCH, P_PITCH, ROW_MAJOR); // keys have been read
    barrier();
    coopMatPerElementNV(out_sum[0], out_sum[0], sum_seen);
    barrier(); // all have read what was in the place of keys
}

// The outputs of the next chunk come first, after all chunks of it those of the first one. By elements: Mesa 26.1 loses
// copies of flexible matrices.
void next_outputs() {
    [[unroll]] for (uint e = 0; e < out_sum[0].length(); e++) {
        float first = out_sum[0][e];
        [[unroll]] for (uint n = 0; n + 1 < V_CHUNKS; n++)
            out_sum[n][e] = out_sum[n + 1][e];
        out_sum[V_CHUNKS - 1][e] = first;
    }
}

float sum_of(const in float a, const in float b) {
    return a + b;
}

// Of matrices whose columns are alike.
float put_sum(const in uint r, const in uint c, const in float sum) {
    if (c == 0u)
        row_part[group_row + r] = sum;
    return sum;
}

float put_offset(const in uint r, const in uint c, const in float raised) {
    if (c == 0u)
        row_offset[group_row + r] = raised;
    return raised;
}

void find_sums() {
    SCORES total;
    coopMatReduceNV(total, row_sum, gl_CooperativeMatrixReduceRowNV, sum_of);
    coopMatPerElementNV(total, total, put_sum);
    if (!BOUNDED)
        coopMatPerElementNV(offset, offset, put_offset);
}

float store_element(const in uint r, const in uint c, const in float sum, const in uint column, const in uint partial) {
    uint tile_row = group_row + r;
    if (first_row + tile_row < packed_rows(at) && column + c < (pc.dims >> 8 & 0xffu) * 4u)
        o_store(output_row(tile_row, partial) + column + c, sum * row_offset[tile_row] * row_factor[tile_row]);
    return sum;
}

// Once for a tile of rows: element by element it may be.
void store(uint partial) {
    [[dont_unroll]] for (uint n = 0; n < V_CHUNKS; n++) {
        coopMatPerElementNV(out_sum[0], out_sum[0], store_element, n * V_CHUNK, partial);
        next_outputs();
    }
}

float offset_of_row(const in uint r, const in uint c, const in float before) {
    return row_offset[group_row + r];
}

void load_offsets() {
    coopMatPerElementNV(offset, offset, offset_of_row);
}

void begin_matrices() {
    row_sum = SCORES(0.0);
    if (ROW_OFFSETS)
        offset = SCORES(BOUNDED ? bound_offset : FLOOR);
    [[unroll]] for (uint n = 0; n < V_CHUNKS; n++)
        out_sum[n] = OUTPUTS(0.0);
}

#include "lib/matrix_loop.glsl"

void main() {
    thread = gl_LocalInvocationIndex;
    group_row = ROW_GROUPS > 1 ? gl_SubgroupID * GROUP_ROWS : 0u;
    attend_tile();
}
