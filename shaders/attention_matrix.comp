// Attention on matrix units, by VK_KHR_cooperative_matrix: one workgroup computes a tile of packed query rows against
// the keys that they see, or against a split of them. SXT_BFLOAT16=1: products of bf16, else of f16; sums are f32.
//
// A tile's rows are shared out among ROW_GROUPS subgroups, of M rows or a multiple of it each; its keys and channels
// among COLUMN_GROUPS of them. Scores, weights and outputs stay in accumulators for the whole loop. Weights alone pass
// through shared memory, where accumulators become operands: with one column group, between lanes of one subgroup. Keys
// and values are staged once for all, and fetched while the tile before is multiplied: two barriers for each tile of keys.
//
// Which element of a matrix a lane holds is the driver's affair, but the same for all matrices of a type: a matrix that
// is loaded from a table of its places tells each lane the row and the column of each of its elements. So masks, bias
// and the like need no way through memory either. SXT_MATRIX2=1 asks VK_NV_cooperative_matrix2 instead: operations by
// element know the place, and reductions find a row's largest score and its sum.
//
// Softmax. Weights are 2^(s·log2(e) − offset), with an offset for each row that falls out in the end. With BOUNDED it is
// the bound's. Else it is raised when a weight would pass 2^TOP, to where the row's largest weight is 2^START: seldom
// but in a row's first tile, so that the maximum of a row is hardly ever looked for.
//   What that costs: weights below 2^−14 are subnormal in f16, off by up to 2^−25 each. The offset is never above the
// largest score so far less START, so that the row's sum is at least 2^START when it ends: 2^20 keys lose 2^(20 − 25 −
// START) = 2^−13 of it, a quarter of what a weight's own rounding may.
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
#if SXT_MATRIX2
#extension GL_NV_cooperative_matrix2 : require
#endif
#include "lib/features.glsl"
#include "lib/attention.glsl"
#include "interface/attention_matrix.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_THREADS) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_V_HEAD) const uint V_HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 32;
layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 32;
layout(constant_id = SXT_ATTENTION_SPEC_THREADS) const uint THREADS = 128;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_M) const uint M = 16;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_N) const uint N = 16;
layout(constant_id = SXT_ATTENTION_SPEC_MATRIX_K) const uint K = 16;
layout(constant_id = SXT_ATTENTION_SPEC_ROW_GROUPS) const uint ROW_GROUPS = 1;
layout(constant_id = SXT_ATTENTION_SPEC_COLUMN_GROUPS) const uint COLUMN_GROUPS = 4;
layout(constant_id = SXT_ATTENTION_SPEC_HELD_Q) const bool HELD_Q = false; // queries stay in registers
layout(constant_id = SXT_ATTENTION_SPEC_K_CHUNK) const uint K_CHUNK = 128; // channels that are staged at a time
layout(constant_id = SXT_ATTENTION_SPEC_V_CHUNK) const uint V_CHUNK = 128;
layout(constant_id = SXT_ATTENTION_SPEC_TURNED_V) const bool TURNED_V = false; // in shared memory, keys are innermost
layout(constant_id = SXT_ATTENTION_SPEC_WIDE_K) const bool WIDE_K = false;     // rows start at multiples of 8 elements
layout(constant_id = SXT_ATTENTION_SPEC_WIDE_V) const bool WIDE_V = false;
layout(constant_id = SXT_ATTENTION_SPEC_AHEAD) const bool AHEAD = false;       // keys and values are fetched ahead
layout(constant_id = SXT_ATTENTION_SPEC_ROLLED) const bool ROLLED = false;     // loops over steps stay loops
layout(constant_id = SXT_ATTENTION_SPEC_TOGETHER) const bool TOGETHER = false; // all subgroups raise offsets, or none

#if SXT_BFLOAT16
#define ELEMENT bfloat16_t
const uint ELEMENT_TYPE = SXT_STORE_BF16;
#else
#define ELEMENT float16_t
const uint ELEMENT_TYPE = SXT_STORE_F16;
#endif
#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define WEIGHTS coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define ROWS_OPERAND coopmat<ELEMENT, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define COLUMNS_OPERAND coopmat<ELEMENT, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
const int ROW_MAJOR = gl_CooperativeMatrixLayoutRowMajor, COLUMN_MAJOR = gl_CooperativeMatrixLayoutColumnMajor;

// Matrices of a subgroup, in units of M, N and K.
const uint ROW_FRAGMENTS = ROWS / (ROW_GROUPS * M), KEY_FRAGMENTS = KEYS / (COLUMN_GROUPS * N);
const uint V_CHUNKS = V_HEAD / V_CHUNK, CHUNK_FRAGMENTS = V_CHUNK / (COLUMN_GROUPS * N);
const uint CHUNK_STEPS = K_CHUNK / K, KEY_STEPS = KEYS / K;
// Outputs lie by chunk, then by row fragment.
const uint CHUNK_OUTS = ROW_FRAGMENTS * CHUNK_FRAGMENTS, OUTS = V_CHUNKS * CHUNK_OUTS;
const uint SUBGROUPS = ROW_GROUPS * COLUMN_GROUPS, FRAGMENT = M * N, LANE_ROWS = (M + LANES - 1) / LANES;
const uint SCRATCH = FRAGMENT / 4; // uvec4 of an accumulator

// Shared memory is in octets of elements; one octet more spreads rows over the banks.
const uint HEAD_OCTETS = HEAD / 8, K_OCTETS = K_CHUNK / 8, V_OCTETS = V_CHUNK / 8, KEY_OCTETS = KEYS / 8;
const uint Q_PITCH = HEAD_OCTETS + 1, K_PITCH = K_OCTETS + 1, V_PITCH = (TURNED_V ? KEY_OCTETS : V_OCTETS) + 1, P_PITCH = KEY_OCTETS + 1;
// What a thread fetches of a tile: octets, or with TURNED_V eight keys of a quad of channels.
const uint K_FETCHES = (KEYS * K_OCTETS + THREADS - 1) / THREADS;
const uint V_ITEMS = TURNED_V ? KEY_OCTETS * V_OCTETS * 2 : KEYS * V_OCTETS;
const uint V_FETCHES = (V_ITEMS + THREADS - 1) / THREADS, V_WORDS = TURNED_V ? 4 : 1; // of uvec4, each

shared uvec4 q_tile[HELD_Q ? 1 : ROWS * Q_PITCH];
// Keys; and with accumulate_seen a subgroup's accumulator, while values are multiplied.
shared uvec4 k_tile[KEYS * K_PITCH > SUBGROUPS * SCRATCH ? KEYS * K_PITCH : SUBGROUPS * SCRATCH];
shared uvec4 v_tile[(TURNED_V ? V_CHUNK : KEYS) * V_PITCH]; // rows are channels, or keys
// Weights; and a subgroup's accumulator on its way to lanes that know its rows.
shared uvec4 p_tile[ROWS * P_PITCH > SUBGROUPS * SCRATCH ? ROWS * P_PITCH : SUBGROUPS * SCRATCH];
shared float places[FRAGMENT];              // row · N + column
shared ivec2 row_seen[ROWS];                // keys that a row sees
shared float row_part[COLUMN_GROUPS * ROWS], row_offset[ROWS], row_factor[ROWS];
shared uint largest_q;
shared uint wild[2]; // by trips in turn: WILD_*

const float TOP = 15.0, START = 8.0;
const uint WILD_VALUE = 1u, WILD_WEIGHT = 2u; // V has an infinity or a NaN; some weight is too large

uint thread, lane, subgroup, row_group, column_group;
place at;
uint first_row;
ivec2 keys_seen;  // by some row of the tile
float q_scale;    // from products to logits
float bound_log2, bound_offset; // BOUNDED
uint trip; // counts tiles of keys
float greatest;
ROWS_OPERAND query[HELD_Q ? ROW_FRAGMENTS * CHUNK_STEPS : 1]; // all of it is one chunk then
ACCUMULATOR score[ROW_FRAGMENTS * KEY_FRAGMENTS];
ACCUMULATOR offset[BOUNDED ? 1 : ROW_FRAGMENTS];
ACCUMULATOR row_sum[ROW_FRAGMENTS];
ACCUMULATOR out_sum[OUTS];
uvec4 k_fetched[K_FETCHES], v_fetched[V_FETCHES * V_WORDS];

#include "lib/attention_stage.glsl"

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

uvec2 to_elements(vec4 v) {
#if SXT_BFLOAT16
    return uvec2(sxt_encode32(v.xy, SXT_STORE_BF16), sxt_encode32(v.zw, SXT_STORE_BF16));
#else
    return uvec2(packFloat2x16(f16vec2(v.xy)), packFloat2x16(f16vec2(v.zw)));
#endif
}

// Element i of an octet.
float element_of(uvec4 octet, uint i) {
    return sxt_decode32(octet[i / 2u], ELEMENT_TYPE)[i % 2u];
}

// ── Queries ──

vec4 query_quad(uint r, uint c) {
    return q_load4(q_row(at, row_at(at, first_row + r)) + c * 4u, has(SXT_ATTENTION_Q_ALIGNED));
}

// A power of two that brings all queries of the tile into the element type's range, and out of its way otherwise.
float fit_queries() {
    uint quads = pc.dims & 0xffu;
    if (ELEMENT_TYPE == SXT_STORE_BF16 || type_at(SXT_ATTENTION_Q_TYPE_SHIFT) == ELEMENT_TYPE)
        return 1.0;
    float most = 0.0;
    [[dont_unroll]] for (uint n = thread; n < ROWS * quads; n += THREADS) {
        vec4 q = abs(query_quad(n / quads, n % quads));
        most = max(most, max(max(q.x, q.y), max(q.z, q.w))); // of NaN nothing is known
    }
    atomicMax(largest_q, floatBitsToUint(most));
    barrier();
    uint exponent = largest_q >> 23; // 2^14 and above: 141
    return exponent < 141u || exponent == 255u ? 1.0 : uintBitsToFloat((127u + 141u - exponent) << 23);
}

uvec2 fitted_quad(uint r, uint c, float fit) {
    uint quads = pc.dims & 0xffu;
    return c < quads ? to_elements(query_quad(r, c) * fit) : uvec2(0);
}

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

#include "lib/matrix_tile.glsl"

// ── Scores ──

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

void compute_scores(uint key0) {
    [[unroll]] for (uint n = 0; n < ROW_FRAGMENTS * KEY_FRAGMENTS; n++)
        score[n] = ACCUMULATOR(0.0);
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

// Four channels of a tile's key.
vec4 staged_values(uint key, uint c) {
    vec4 values;
    [[unroll]] for (uint i = 0; i < 4; i++)
        values[i] = TURNED_V ? element_of(v_tile[(c + i) * V_PITCH + key / 8u], key % 8u)
                             : element_of(v_tile[key * V_PITCH + c / 8u], c % 8u + i);
    return values;
}

// The same, slowly, where values may be NaN or infinite: 0·NaN must not come into rows that do not see them.
void accumulate_seen() {
    // All fragments pass by the place of the first one, and are where they were in the end.
    [[dont_unroll]] for (uint n = 0; n < CHUNK_OUTS; n++) {
        uint column = fragment_column(n % CHUNK_FRAGMENTS, CHUNK_FRAGMENTS);
        [[dont_unroll]] for (uint q = lane; q < SCRATCH; q += LANES) {
            uint r = fragment_row(n / CHUNK_FRAGMENTS) + q / (N / 4u);
            vec4 sum = vec4(0);
            [[dont_unroll]] for (uint key = 0; key < KEYS; key++) {
                float weight = element_of(p_tile[r * P_PITCH + key / 8u], key % 8u);
                vec4 values = staged_values(key, column + q % (N / 4u) * 4u);
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

// What the output of each row is to be multiplied by: by its row_offset, then by its row_factor.
void finish_rows(uint partial) {
    find_sums();
    barrier();
    [[dont_unroll]] for (uint r = thread; r < ROWS; r += THREADS) {
        float total = row_part[r], share;
        [[unroll]] for (uint g = 1; g < COLUMN_GROUPS; g++)
            total += row_part[g * ROWS + r];
        float maximum = (BOUNDED ? bound_offset : row_offset[r]) / LOG2_E;
        bool writes = first_row + r < packed_rows(at);
        row_offset[r] = finish_row(at, row_at(at, first_row + r), maximum, total, partial + r, writes, share);
        row_factor[r] = share;
    }
    barrier();
}

void store(uint partial) {
    barrier(); // weights have been read
    finish_rows(partial);
    uint quads = pc.dims >> 8 & 0xffu;
    // One piece of code that stores: the next fragment moves up to where it reads.
    [[dont_unroll]] for (uint n = 0; n < OUTS; n++) {
        coopMatStore(out_sum[0], p_tile, scratch_place(), N / 4, ROW_MAJOR);
        subgroup_barrier();
        uint column = n / CHUNK_OUTS * V_CHUNK + fragment_column(n % CHUNK_FRAGMENTS, CHUNK_FRAGMENTS);
        [[dont_unroll]] for (uint q = lane; q < SCRATCH; q += LANES) {
            uint r = fragment_row(n % CHUNK_OUTS / CHUNK_FRAGMENTS) + q / (N / 4u), c = column / 4u + q % (N / 4u);
            vec4 o = uintBitsToFloat(p_tile[scratch_place() + q]) * row_offset[r] * row_factor[r];
            if (first_row + r < packed_rows(at) && c < quads) {
                uint start = SPLIT ? (partial + r) * quads * 4u : o_row(at, row_at(at, first_row + r));
                o_store4(start + c * 4u, o, has(SXT_ATTENTION_O_ALIGNED));
            }
        }
        subgroup_barrier();
        [[unroll]] for (uint m = 0; m + 1 < OUTS; m++)
            out_sum[m] = out_sum[m + 1];
    }
    report_pages();
    if (BOUNDED)
        report_bound(greatest / LOG2_E);
}

void begin() {
    thread = gl_SubgroupID * LANES + gl_SubgroupInvocationID;
    lane = gl_SubgroupInvocationID;
    subgroup = gl_SubgroupID;
    row_group = subgroup / COLUMN_GROUPS;
    column_group = subgroup % COLUMN_GROUPS;
    greatest = 0.0;
    bound_log2 = params.bound * (1.0 + 1.0 / 4096.0) * LOG2_E;
    bound_offset = bound_log2 - TOP;
    [[dont_unroll]] for (uint n = thread; n < FRAGMENT; n += THREADS)
        places[n] = float(n);
    [[dont_unroll]] for (uint r = thread; r < ROWS; r += THREADS) {
        uint token = row_at(at, first_row + r).token;
        row_seen[r] = ivec2(first_key(at, token), end_key(at, token));
        row_offset[r] = FLOOR;
    }
    if (thread < 2u)
        wild[thread] = 0u;
    if (thread == 0u)
        largest_q = 0u;
    begin_tiles();
    [[unroll]] for (uint i = 0; i < ROW_FRAGMENTS; i++) {
        row_sum[i] = ACCUMULATOR(0.0);
        if (!BOUNDED)
            offset[i] = ACCUMULATOR(FLOOR);
    }
    [[unroll]] for (uint n = 0; n < OUTS; n++)
        out_sum[n] = ACCUMULATOR(0.0);
}

void main() {
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
    load_queries();
    attend(first_token, last_token);
    store(SPLIT ? partial_row(tile, split, 0u) : 0u);
}
