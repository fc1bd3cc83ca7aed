// Attention on matrix units, by VK_KHR_cooperative_matrix. What it shares with attention_matrix2.comp, and how its softmax
// goes: lib/matrix.glsl.
//
// A tile's rows are shared out among ROW_GROUPS subgroups, of M rows or a multiple of it each; its keys and channels
// among COLUMN_GROUPS of them. Scores, weights and outputs stay in accumulators for the whole loop. Weights alone pass
// through shared memory, where accumulators become operands: with one column group, between lanes of one subgroup. Two
// barriers for each tile of keys.
//
// Which element of a matrix a lane holds is the driver's affair, but the same for all matrices of a type: a matrix that
// is loaded from a table of its places tells each lane the row and the column of each of its elements. So masks, bias
// and the like need no way through memory either.
#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#if SXT_BFLOAT16
#extension GL_EXT_bfloat16 : require
#endif
#include "lib/features.glsl"
#include "lib/matrix.glsl"

layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 32;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_M) const uint M = 16;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_N) const uint N = 16;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_K) const uint K = 16;
layout(constant_id = SXT_ATTENTION_SPEC_COLUMN_GROUPS) const uint COLUMN_GROUPS = 4;
layout(constant_id = SXT_ATTENTION_SPEC_ROLLED) const bool ROLLED = false;     // loops over steps stay loops
layout(constant_id = SXT_ATTENTION_SPEC_TOGETHER) const bool TOGETHER = false; // all subgroups raise offsets, or none

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define WEIGHTS coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define ROWS_OPERAND coopmat<ELEMENT, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define COLUMNS_OPERAND coopmat<ELEMENT, gl_ScopeSubgroup, K, N, gl_MatrixUseB>

// Matrices of a subgroup, in units of M, N and K.
const uint ROW_FRAGMENTS = ROWS / (ROW_GROUPS * M), KEY_FRAGMENTS = KEYS / (COLUMN_GROUPS * N);
const uint CHUNK_FRAGMENTS = V_CHUNK / (COLUMN_GROUPS * N);
const uint CHUNK_STEPS = K_CHUNK / K, KEY_STEPS = KEYS / K;
// Outputs lie by chunk, then by row fragment.
const uint CHUNK_OUTS = ROW_FRAGMENTS * CHUNK_FRAGMENTS, OUTS = V_CHUNKS * CHUNK_OUTS;
const uint SUBGROUPS = ROW_GROUPS * COLUMN_GROUPS, FRAGMENT = M * N, LANE_ROWS = (M + LANES - 1) / LANES;
const uint SCRATCH = FRAGMENT / 4; // uvec4 of an accumulator

// Keys; and with accumulate_seen a subgroup's accumulator, while values are multiplied.
shared uvec4 k_tile[KEYS * K_PITCH > SUBGROUPS * SCRATCH ? KEYS * K_PITCH : SUBGROUPS * SCRATCH];
// Weights; and a subgroup's accumulator on its way to lanes that know its rows.
shared uvec4 p_tile[ROWS * P_PITCH > SUBGROUPS * SCRATCH ? ROWS * P_PITCH : SUBGROUPS * SCRATCH];
shared float places[FRAGMENT];              // row · N + column
shared float row_part[COLUMN_GROUPS * ROWS];

uint lane, subgroup, row_group, column_group;
ROWS_OPERAND query[HELD_Q ? ROW_FRAGMENTS * CHUNK_STEPS : 1]; // all of it is one chunk then
ACCUMULATOR score[ROW_FRAGMENTS * KEY_FRAGMENTS];
ACCUMULATOR offset[ROW_OFFSETS ? ROW_FRAGMENTS : 1];
ACCUMULATOR row_sum[ROW_FRAGMENTS];
ACCUMULATOR out_sum[OUTS];

#include "lib/matrix_tile.glsl"

// The first row of a row fragment, within the tile.
uint fragment_row(uint i) {
    return (row_group * ROW_FRAGMENTS + i) * M;
}

// The first column of a fragment, within the tile of keys or the head.
uint fragment_column(uint j, uint count) {
    return (column_group * count + j) * N;
}

// How often to go through a loop that is to be unrolled, or not: of what comes with the call, a compiler knows nothing.
uint steps_of(uint steps) {
    return ROLLED ? steps + (pc.flags >> 31) : steps;
}

// Lets the subgroups that share rows see what each has written to shared memory.
void row_barrier() {
    if (TOGETHER)
        barrier();
    else
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

void subgroup_barrier() {
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

// Where this subgroup's scratch memory begins: that of one with rows of its own, among the weights of those.
uint scratch_place() {
    return COLUMN_GROUPS > 1 ? subgroup * SCRATCH : fragment_row(0u) * P_PITCH;
}

// What this subgroup has put there.
float scratch_at(uint r, uint c) {
    uint n = r * N + c;
    return uintBitsToFloat(p_tile[scratch_place() + n / 4u][n % 4u]);
}

// ── Queries ──

void load_queries() {
    float fit = fit_queries();
    q_scale = q_factor(at) / fit;
    // To stay in registers, they pass through the place of keys, so many rows at a time.
    const uint rows = HELD_Q ? KEYS : ROWS;
    [[dont_unroll]] for (uint first = 0; first < ROWS; first += rows) {
        [[dont_unroll]] for (uint n = thread; n < rows * HEAD_OCTETS * 2; n += THREADS) {
            uint r = n / (HEAD_OCTETS * 2), c = n % (HEAD_OCTETS * 2);
            uvec2 quad = fitted_quad(first + r, c, fit);
            if (HELD_Q && c % 2u == 0u)
                k_tile[r * Q_PITCH + c / 2u].xy = quad;
            else if (HELD_Q)
                k_tile[r * Q_PITCH + c / 2u].zw = quad;
            else if (c % 2u == 0u)
                q_tile[r * Q_PITCH + c / 2u].xy = quad;
            else
                q_tile[r * Q_PITCH + c / 2u].zw = quad;
        }
        if (!HELD_Q)
            break;
        barrier();
        [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
            uint r = fragment_row(i) - first; // of rows before, a large number
            if (r < KEYS)
                [[unroll]] for (uint step = 0; step < CHUNK_STEPS; step++)
                    coopMatLoad(query[i * CHUNK_STEPS + step], k_tile, r * Q_PITCH + step * K / 8, Q_PITCH, ROW_MAJOR);
        }
        barrier();
    }
}

// ── Scores ──

void clear_scores() {
    [[unroll]] for (uint n = 0; n < ROW_FRAGMENTS * KEY_FRAGMENTS; n++)
        score[n] = ACCUMULATOR(0.0);
}

// Adds the products of a chunk of channels, from octet `first` on.
void multiply_chunk(uint first) {
    for (uint step = 0; step < steps_of(CHUNK_STEPS); step++) {
        ROWS_OPERAND rows[ROW_FRAGMENTS];
        [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
            if (HELD_Q)
                rows[i] = query[i * CHUNK_STEPS + step];
            else
                coopMatLoad(rows[i], q_tile, fragment_row(i) * Q_PITCH + first + step * K / 8, Q_PITCH, ROW_MAJOR);
        }
        [[unroll]] for (uint j = 0; j < KEY_FRAGMENTS; j++) {
            COLUMNS_OPERAND keys;
            coopMatLoad(keys, k_tile, fragment_column(j, KEY_FRAGMENTS) * K_PITCH + step * K / 8, K_PITCH, COLUMN_MAJOR);
            [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
                uint n = i * KEY_FRAGMENTS + j;
                score[n] = coopMatMulAdd(rows[i], keys, score[n]);
            }
        }
    }
}

void load_offsets() {
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++)
        coopMatLoad(offset[i], row_offset, fragment_row(i), 0, COLUMN_MAJOR);
}

#include "lib/matrix_softmax.glsl"

// ── Output ──

// Of the chunk whose outputs are the first ones.
void accumulate() {
    for (uint step = 0; step < steps_of(KEY_STEPS); step++) {
        ROWS_OPERAND weights[ROW_FRAGMENTS];
        [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++)
            coopMatLoad(weights[i], p_tile, fragment_row(i) * P_PITCH + step * K / 8, P_PITCH, ROW_MAJOR);
        [[unroll]] for (uint c = 0; c < CHUNK_FRAGMENTS; c++) {
            COLUMNS_OPERAND values;
            uint column = fragment_column(c, CHUNK_FRAGMENTS);
            if (TURNED_V)
                coopMatLoad(values, v_tile, column * V_PITCH + step * K / 8, V_PITCH, COLUMN_MAJOR);
            else
                coopMatLoad(values, v_tile, step * K * V_PITCH + column / 8u, V_PITCH, ROW_MAJOR);
            [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
                uint n = i * CHUNK_FRAGMENTS + c;
                out_sum[n] = coopMatMulAdd(weights[i], values, out_sum[n]);
            }
        }
    }
}

// The same, slowly, where values may be NaN or infinite: 0·NaN must not come into rows that do not see them.
void accumulate_seen() {
    // All fragments pass by the place of the first one, and are where they were in the end.
    [[dont_unroll]] for (uint n = 0; n < CHUNK_OUTS; n++) {
        uint column = fragment_column(n % CHUNK_FRAGMENTS, CHUNK_FRAGMENTS);
        [[dont_unroll]] for (uint q = lane; q < SCRATCH; q += LANES) {
            uint r = fragment_row(n / CHUNK_FRAGMENTS) + q / (N / 4u), c = column + q % (N / 4u) * 4u;
            vec4 sum = vec4(0);
            [[dont_unroll]] for (uint key = 0; key < KEYS; key++) {
                float weight = element_of(p_tile[r * P_PITCH + key / 8u], key % 8u);
                vec4 values; // made here: as a function of its own it cost RADV a spilled register of the whole kernel
                [[unroll]] for (uint i = 0; i < 4; i++)
                    values[i] = TURNED_V ? element_of(v_tile[(c + i) * V_PITCH + key / 8u], key % 8u)
                                         : element_of(v_tile[key * V_PITCH + c / 8u], c % 8u + i);
                sum = weight == 0.0 ? sum : fma(vec4(weight), values, sum);
            }
            k_tile[subgroup * SCRATCH + q] = floatBitsToUint(sum);
        }
        subgroup_barrier();
        ACCUMULATOR more;
        coopMatLoad(more, k_tile, subgroup * SCRATCH, N / 4, ROW_MAJOR);
        subgroup_barrier();
        more = more + out_sum[0]; // not from a copy made earlier, which Mesa 26.1 would lose
        [[unroll]] for (uint m = 0; m + 1 < CHUNK_OUTS; m++)
            out_sum[m] = out_sum[m + 1];
        out_sum[CHUNK_OUTS - 1] = more;
    }
    barrier(); // all have read what was in the place of keys
}

// The outputs of the next chunk come first, after all chunks of it those of the first one.
void next_outputs() {
    ACCUMULATOR first[CHUNK_OUTS];
    [[unroll]] for (uint n = 0; n < CHUNK_OUTS; n++)
        first[n] = out_sum[n];
    [[unroll]] for (uint n = 0; n + CHUNK_OUTS < OUTS; n++)
        out_sum[n] = out_sum[n + CHUNK_OUTS];
    [[unroll]] for (uint n = 0; n < CHUNK_OUTS; n++)
        out_sum[OUTS - CHUNK_OUTS + n] = first[n];
}

// By way of memory: rows of outputs lie where they may.
void store(uint partial) {
    uint quads = pc.dims >> 8 & 0xffu;
    // One piece of code that stores: the next fragment moves up to where it reads.
    [[dont_unroll]] for (uint n = 0; n < OUTS; n++) {
        coopMatStore(out_sum[0], p_tile, scratch_place(), N / 4, ROW_MAJOR);
        subgroup_barrier();
        uint column = n / CHUNK_OUTS * V_CHUNK + fragment_column(n % CHUNK_FRAGMENTS, CHUNK_FRAGMENTS);
        [[dont_unroll]] for (uint q = lane; q < SCRATCH; q += LANES) {
            uint r = fragment_row(n % CHUNK_OUTS / CHUNK_FRAGMENTS) + q / (N / 4u), c = column / 4u + q % (N / 4u);
            vec4 o = uintBitsToFloat(p_tile[scratch_place() + q]) * row_offset[r] * row_factor[r];
            if (first_row + r < packed_rows(at) && c < quads)
                o_store4(output_row(r, partial) + c * 4u, o, has(SXT_ATTENTION_O_ALIGNED));
        }
        subgroup_barrier();
        [[unroll]] for (uint m = 0; m + 1 < OUTS; m++)
            out_sum[m] = out_sum[m + 1];
    }
}

void begin_matrices() {
    [[dont_unroll]] for (uint n = thread; n < FRAGMENT; n += THREADS)
        places[n] = float(n);
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
        row_sum[i] = ACCUMULATOR(0.0);
        if (ROW_OFFSETS)
            offset[i] = ACCUMULATOR(BOUNDED ? bound_offset : FLOOR);
    }
    [[unroll]] for (uint n = 0; n < OUTS; n++)
        out_sum[n] = ACCUMULATOR(0.0);
}

#include "lib/matrix_loop.glsl"

void main() {
    thread = gl_SubgroupID * LANES + gl_SubgroupInvocationID;
    lane = gl_SubgroupInvocationID;
    subgroup = gl_SubgroupID;
    row_group = subgroup / COLUMN_GROUPS;
    column_group = subgroup % COLUMN_GROUPS;
    attend_tile();
}
