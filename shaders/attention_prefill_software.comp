// Attention of many queries, for lavapipe, which runs Vulkan on the CPU. There a barrier or shared memory costs more
// than it saves, a load is a gather whatever it loads, what a loop carries costs a blend a trip, and broadcasts from a
// constant lane are nearly free. So: a workgroup is one subgroup of LANES, a tile's queries or outputs stay in
// registers, and what depends on no data is unrolled. Yet trips of loops are short: the CPU's caches must hold their
// code.
//
// Keys are taken in blocks of 256, counted from key 0, and each block twice; lanes are channels, lane n has quads n,
// n + LANES, … of a row. Scores: each lane multiplies its part of all rows and a key, and an exchange leaves it with
// whole scores, of every LANES-th row; they go to scratch memory. Output: weights are broadcast, V is not. A block's
// sum is added to the sum of those before it, which keeps errors of long sums small, and is all that is ever rescaled.
//
// A row's result has the same bits whatever the tile, the trips and the passes are. A tile that comes out with a NaN
// or an infinity is done once more, row by row: V may have them at keys that a row does not see, whose weight is 0.
//
// Loops that stay loops must not stand in loops that are unrolled: the outer one would stay too, and what it indexes
// would go through memory.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/features.glsl"
#include "lib/attention.glsl"
#include "interface/attention_prefill.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_LANES) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_V_HEAD) const uint V_HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 2;
layout(constant_id = SXT_ATTENTION_SPEC_VALUES) const uint VALUES = 4;
layout(constant_id = SXT_ATTENTION_SPEC_PASSES) const uint PASSES = 1;
layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 8; // the subgroup's size
layout(constant_id = SXT_ATTENTION_SPEC_Q_DIRECT) const bool Q_DIRECT = false;
layout(constant_id = SXT_ATTENTION_SPEC_O_DIRECT) const bool O_DIRECT = false;

const uint LANE_ROWS = ROWS / LANES;
const uint QUADS = HEAD / 4, V_QUADS = V_HEAD / 4;
const uint SLICES = (QUADS + LANES - 1) / LANES, V_SLICES = (V_QUADS + LANES - 1) / LANES; // quads of a row in a lane
const uint PASS_SLICES = (V_SLICES + PASSES - 1) / PASSES;
const int TRIP = int(KEYS > VALUES ? KEYS : VALUES); // both are powers of two
const int BLOCK = int(SXT_ATTENTION_BLOCK), STAGE = int(SXT_ATTENTION_STAGE);

uint lane;
uint64_t work, stage; // this workgroup's scratch memory, and its part for rows that are staged

#include "lib/prefill_rows.glsl"

// K and V are multiplied as f32, f16 and bf16; other types are staged as f32.
const bool K_STAGED = K_TYPE > SXT_STORE_BF16, V_STAGED = V_TYPE > SXT_STORE_BF16;
const uint K_READ = K_STAGED ? SXT_STORE_F32 : K_TYPE, V_READ = V_STAGED ? SXT_STORE_F32 : V_TYPE;

uint k_type() {
    return K_TYPE == SXT_ATTENTION_ANY_TYPE ? type_at(SXT_ATTENTION_K_TYPE_SHIFT) : K_TYPE;
}

uint v_type() {
    return V_TYPE == SXT_ATTENTION_ANY_TYPE ? type_at(SXT_ATTENTION_V_TYPE_SHIFT) : V_TYPE;
}

place at;
uint first_row;
int row_first[LANE_ROWS]; // keys that a row sees
uint row_keys[LANE_ROWS];
vec4 query[ROWS * SLICES];
// row_max: with BOUNDED the largest |logit|, which no weight depends on.
float row_max[LANE_ROWS], row_sum[LANE_ROWS], factor[LANE_ROWS];
vec4 out_sum[ROWS * V_SLICES];
float parts[KEYS * ROWS];       // of the products of a trip: what each lane has
float scores[KEYS * LANE_ROWS]; // of a trip, and so the weights
vec4 pass_sum[ROWS * PASS_SLICES]; // of a block and a pass
float block_total[LANE_ROWS];
float bound, greatest;

row lane_row(uint r) {
    return row_at(at, first_row + r * LANES + lane);
}

// ── Queries ──

uint64_t q_address(row r) {
    uint64_t elements = uint64_t(byte_of(pc.bases_main, 0u)) + uint64_t(at.q_batch) * uint64_t(pc.q_stride[0]) +
                        uint64_t(at.q_first + r.token) * uint64_t(pc.q_stride[1]) +
                        uint64_t(r.head) * uint64_t(pc.q_stride[2]);
    uint type = type_at(SXT_ATTENTION_Q_TYPE_SHIFT);
    return sxt_start(SXT_ATTENTION_Q) + elements * uint64_t(sxt_element_bytes(type));
}

// How far lanes without a quad in the last slice must go back for one.
uint64_t lane_back(uint quads, uint unit_bytes) {
    const uint rest = quads % LANES;
    return uint64_t(rest == 0u ? 0u : (lane - min(lane, rest - 1u)) * unit_bytes);
}

bool has_quad(uint slice) {
    return QUADS % LANES == 0u || slice * LANES + lane < QUADS;
}

// Types other than f32 are decoded by one piece of code, and read back.
void stage_queries() {
    uint type = type_at(SXT_ATTENTION_Q_TYPE_SHIFT);
    uint64_t to = stage;
    [[dont_unroll]] for (uint i = 0; i < ROWS; i++) {
        stage_row(q_address(row_at(at, first_row + i)), to, pc.dims & 0xffu, SLICES * LANES, type);
        to += uint64_t(SLICES * LANES * 16u);
    }
}

void load_queries() {
    float scale = q_factor(at);
    if (!Q_DIRECT)
        stage_queries();
    uint64_t ahead = uint64_t(lane * 16u), back = Q_DIRECT ? lane_back(QUADS, 16u) : uint64_t(0);
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        uint64_t from = Q_DIRECT ? q_address(row_at(at, first_row + i)) : stage + uint64_t(i * SLICES * LANES * 16u);
        from += ahead;
        [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
            vec4 q = sxt_read4(slice + 1 == SLICES ? from - back : from, slice * LANES * 16u, SXT_STORE_F32);
            query[i * SLICES + slice] = has_quad(slice) ? q * scale : vec4(0);
        }
    }
}

// ── Scores of a block ──

// Weights of two rows go together: 8 bytes a lane.
uint64_t score_address(int key, int block) {
    return work + uint64_t(uint(key - block) * (ROWS * 4u) + lane * 8u);
}

void store_scores(uint64_t where) {
    [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n += 2)
        sxt_long_at(where).at[n / 2 * LANES] = sxt_long(floatBitsToUint(vec2(scores[n], scores[n + 1])));
}

// bounded_weight, without what would be a branch in the middle of a trip: a choice of what must be computed, a load.
// Whether logits are within the bound is seen by row_max.
float held_weight(float s) {
    float weight = exp2(clamp(s, -bound, bound) * LOG2_E);
    weight = s == MASKED ? 0.0 : weight;
    return isnan(s) ? s : weight;
}

// What the keys from `key` on are to each row, in place of their products.
void finish_scores(int key, uint there) {
    [[unroll]] for (uint j = 0; j < KEYS; j++) {
        int k = key + int(j);
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            uint n = j * LANE_ROWS + r;
            float s = FEATURES || MASK_BITS ? logit(scores[n], at, lane_row(r), k) : scores[n];
            // One comparison: && would be a branch.
            bool seen = uint(k - row_first[r]) < (!PAGES || (there & 1u << j) != 0u ? row_keys[r] : 0u);
            s = seen ? s : MASKED;
            float size = !BOUNDED ? s : s == MASKED ? MASKED : abs(s);
            row_max[r] = size > row_max[r] ? size : row_max[r]; // a NaN is left out
            scores[n] = BOUNDED ? held_weight(s) : s;
        }
    }
}

// Adds up over the lanes, of LANES rows at a time: of two rows `step` apart the upper lanes go on with the one, the
// others with the other, so that in the end lane j has row j. Written out: loops over a step are not unrolled by these
// drivers, and what they index goes through memory.
#define fold(step)                                                                                                     \
    [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS * step; n++) {                                                    \
        uint low = n / step * LANES + n % step;                                                                        \
        bool upper = (lane & step) != 0u;                                                                              \
        float keep = upper ? parts[low + step] : parts[low], give = upper ? parts[low] : parts[low + step];            \
        parts[low] = keep + subgroupShuffleXor(give, step);                                                            \
    }

// `row_max` takes in the keys from `from` to before `to`.
void multiply(rows k, int block, int from, int to) {
    const uint unit_bytes = K_READ == SXT_STORE_F32 ? 16u : 8u;
    uint64_t ahead = uint64_t(lane * unit_bytes), back = K_STAGED ? uint64_t(0) : lane_back(QUADS, unit_bytes);
    uint64_t where = score_address(from, block), staged = stage + ahead;
    [[dont_unroll]] for (int key = from; key < to; key += int(KEYS)) {
        uint64_t key_at[KEYS];
        uint there = 0u;
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            if (PAGES || !K_STAGED) {
                key_at[j] = row_address(k, block, key + int(j));
                if (PAGES) {
                    there |= key_at[j] < ABSENT ? 1u << j : 0u;
                    key_at[j] &= ~ABSENT;
                }
                key_at[j] += ahead;
            }
            if (K_STAGED)
                key_at[j] = staged + uint64_t(j * SLICES * LANES * 16u);
        }
        [[unroll]] for (uint n = 0; n < KEYS * ROWS; n++)
            parts[n] = 0.0;
        [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
            [[unroll]] for (uint j = 0; j < KEYS; j++) {
                vec4 k =
                    sxt_read4(slice + 1 == SLICES ? key_at[j] - back : key_at[j], slice * LANES * unit_bytes, K_READ);
                k = has_quad(slice) ? k : vec4(0);
                [[unroll]] for (uint i = 0; i < ROWS; i++) {
                    vec4 q = query[i * SLICES + slice];
                    uint n = j * ROWS + i;
                    parts[n] = k.x * q.x + parts[n];
                    parts[n] = k.y * q.y + parts[n];
                    parts[n] = k.z * q.z + parts[n];
                    parts[n] = k.w * q.w + parts[n];
                }
            }
        }
        if (LANES >= 16)
            fold(8);
        if (LANES >= 8)
            fold(4);
        fold(2);
        fold(1);
        [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n++)
            scores[n] = parts[n * LANES];
        finish_scores(key, there);
        store_scores(where);
        where += uint64_t(KEYS * ROWS * 4u);
        staged += uint64_t(KEYS * SLICES * LANES * 16u);
    }
}

// Whether the mask of bits keeps any key of a block for any row of the tile.
bool any_kept(int block) {
    uint words = (pc.k_tokens + 31u) / 32u, found = 0u;
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint start = mask_row(at, lane_row(r));
        [[dont_unroll]] for (uint word = 0; word < SXT_ATTENTION_BLOCK / 32u; word++)
            found |= SXT_AT(mask_words, start + min(uint(block) / 32u + word, words - 1u));
    }
    return subgroupAny(found != 0u);
}

// ── Output of a block ──

// Adds values from `from` to before `to` to the sums of a pass's slices; the first pass also adds up weights.
void accumulate(rows v, uint pass, int block, int from, int to) {
    const uint unit_bytes = V_READ == SXT_STORE_F32 ? 16u : 8u;
    uint64_t ahead = uint64_t(lane * unit_bytes), back = V_STAGED ? uint64_t(0) : lane_back(V_QUADS, unit_bytes);
    uint64_t where = score_address(from, block), staged = stage + ahead;
    [[dont_unroll]] for (int key = from; key < to; key += int(VALUES)) {
        float weight[VALUES * LANE_ROWS];
        [[unroll]] for (uint n = 0; n < VALUES * LANE_ROWS; n += 2) {
            vec2 two = uintBitsToFloat(sxt_short(sxt_long_at(where).at[n / 2 * LANES]));
            weight[n] = two.x;
            weight[n + 1] = two.y;
        }
        [[unroll]] for (uint n = 0; n < VALUES * LANE_ROWS; n++) {
            if (!BOUNDED)
                weight[n] = weight_of(weight[n], row_max[n % LANE_ROWS]);
            if (pass == 0)
                block_total[n % LANE_ROWS] += weight[n];
        }
        vec4 values[VALUES * PASS_SLICES];
        [[unroll]] for (uint j = 0; j < VALUES; j++) {
            uint64_t value_at = staged + uint64_t(j * V_SLICES * LANES * 16u);
            if (!V_STAGED)
                value_at = row_address(v, block, key + int(j)) + ahead;
            [[unroll]] for (uint n = 0; n < PASS_SLICES; n++) {
                uint slice = pass * PASS_SLICES + n;
                if (slice < V_SLICES)
                    values[j * PASS_SLICES + n] = sxt_read4(slice + 1 == V_SLICES ? value_at - back : value_at,
                                                            slice * LANES * unit_bytes, V_READ);
            }
        }
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            [[unroll]] for (uint j = 0; j < VALUES; j++) {
                float w = subgroupBroadcast(weight[j * LANE_ROWS + i / LANES], i % LANES);
                [[unroll]] for (uint n = 0; n < PASS_SLICES; n++)
                    if (pass * PASS_SLICES + n < V_SLICES)
                        pass_sum[i * PASS_SLICES + n] += w * values[j * PASS_SLICES + n];
            }
        }
        where += uint64_t(VALUES * ROWS * 4u);
        staged += uint64_t(VALUES * V_SLICES * LANES * 16u);
    }
}

// `factor` is what the sums so far are multiplied by.
void add_block(rows v, uint pass, int block, int from, int to) {
    [[unroll]] for (uint n = 0; n < ROWS * PASS_SLICES; n++)
        pass_sum[n] = vec4(0);
    if (pass == 0)
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            block_total[r] = 0.0;
    const int step = V_STAGED ? STAGE : BLOCK;
    [[dont_unroll]] for (int key = from; key < to; key += step) {
        int stop = min(key + step, to);
        if (V_STAGED)
            stage_rows(v, stage, block, key, stop, pc.dims >> 8 & 0xffu, V_SLICES * LANES, v_type());
        accumulate(v, pass, block, key, stop);
    }
    if (pass == 0)
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            row_sum[r] = (BOUNDED ? row_sum[r] : row_sum[r] * factor[r]) + block_total[r];
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float shrink = BOUNDED ? 1.0 : subgroupBroadcast(factor[row / LANES], row % LANES);
        [[unroll]] for (uint n = 0; n < PASS_SLICES; n++) {
            uint out_n = row * V_SLICES + pass * PASS_SLICES + n;
            if (pass * PASS_SLICES + n < V_SLICES)
                out_sum[out_n] = out_sum[out_n] * shrink + pass_sum[row * PASS_SLICES + n];
        }
    }
}

// ── A tile ──

void take_block(rows k, rows v, int block, int from, int to) {
    float before[LANE_ROWS];
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        before[r] = row_max[r];
    const int step = K_STAGED ? STAGE : BLOCK;
    [[dont_unroll]] for (int key = from; key < to; key += step) {
        int stop = min(key + step, to);
        if (K_STAGED)
            stage_rows(k, stage, block, key, stop, pc.dims & 0xffu, SLICES * LANES, k_type());
        multiply(k, block, key, stop);
    }
    if (!BOUNDED)
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            factor[r] = weight_of(before[r], row_max[r]);
    add_block(v, 0, block, from, to);
    if (PASSES >= 2)
        add_block(v, 1, block, from, to);
    if (PASSES >= 3)
        add_block(v, 2, block, from, to);
    if (PASSES >= 4)
        add_block(v, 3, block, from, to);
}

// Rows of splits are f32.
uint64_t o_address(uint packed, uint partial, uint bytes) {
    if (SPLIT)
        return sxt_start(SXT_ATTENTION_O) + uint64_t(partial) * uint64_t((pc.dims >> 8 & 0xffu) * 16u);
    row r = row_at(at, packed);
    uint64_t elements = uint64_t(byte_of(pc.bases_main, 24u)) + uint64_t(at.q_batch) * uint64_t(pc.o_stride[0]) +
                        uint64_t(at.q_first + r.token) * uint64_t(pc.o_stride[1]) +
                        uint64_t(r.head) * uint64_t(pc.o_stride[2]);
    return sxt_start(SXT_ATTENTION_O) + elements * uint64_t(bytes);
}

// Converts and stores the rows that were staged.
void store_staged(uint partial) {
    uint quads = pc.dims >> 8 & 0xffu, type = type_at(SXT_ATTENTION_O_TYPE_SHIFT);
    [[dont_unroll]] for (uint i = 0; i < ROWS; i++) {
        uint64_t from = stage + uint64_t(i * V_SLICES * LANES * 16u);
        uint64_t to = o_address(first_row + i, partial + i, sxt_element_bytes(type));
        [[dont_unroll]] for (uint quad = lane; quad < quads; quad += LANES) {
            vec4 v = sxt_read4(from + uint64_t(quad * 16u), 0u, SXT_STORE_F32);
            if (first_row + i < packed_rows(at)) {
                if (type == SXT_STORE_F32)
                    sxt_write4(to + uint64_t(quad * 16u), 0u, v, SXT_STORE_F32);
                else
                    sxt_write4(to + uint64_t(quad * 8u), 0u, v, type);
            }
        }
    }
}

vec4 query_quad(uint64_t query_row, uint quad, float scale, uint type) {
    uint quads = pc.dims & 0xffu;
    vec4 q = any_quad(query_row, min(quad, quads - 1u), type);
    return quad < quads ? q * scale : vec4(0);
}

// The weight of a key to one row: lanes are channels.
float weight_alone(row r, uint64_t query_row, uint64_t key_row, int key, float maximum) {
    uint quads = pc.dims & 0xffu;
    float scale = q_factor(at), part = 0.0;
    [[dont_unroll]] for (uint quad = lane; quad < SLICES * LANES; quad += LANES) {
        vec4 q = query_quad(query_row, quad, scale, type_at(SXT_ATTENTION_Q_TYPE_SHIFT));
        part += dot(q, any_quad(key_row, min(quad, quads - 1u), k_type()));
    }
    float s = logit(subgroupAdd(part), at, r, key), ignored = 0.0;
    return BOUNDED ? bounded_weight(s, ignored) : weight_of(s, maximum);
}

void redo_row(rows k, rows v, ivec2 keys, uint packed, vec2 end_of_row, uint64_t to) {
    uint quads = pc.dims >> 8 & 0xffu;
    row r = row_at(at, packed);
    uint64_t query_row = q_address(r);
    int first = max(first_key(at, r.token), keys.x), end = min(end_key(at, r.token), keys.y);
    [[dont_unroll]] for (uint slice = 0; slice < V_SLICES; slice++) {
        uint quad = slice * LANES + lane;
        vec4 sum = vec4(0);
        [[dont_unroll]] for (int key = first; key < end; key++) {
            if (PAGES)
                list_rows(at, k, v, key, key, key + 1, ivec2(key, key + 1));
            uint64_t key_row = row_address(k, key, key);
            float w = weight_alone(r, query_row, key_row & ~ABSENT, key, end_of_row.x);
            if (w != 0.0 && (!PAGES || key_row < ABSENT))
                sum += w * any_quad(row_address(v, key, key), min(quad, quads - 1u), v_type());
        }
        if (packed < packed_rows(at) && quad < quads)
            sxt_write4(to + uint64_t(quad * 16u), 0u, sum * end_of_row.y, SXT_STORE_F32);
    }
}

bool out_is_finite() {
    uvec4 most = uvec4(0);
    [[unroll]] for (uint n = 0; n < ROWS * V_SLICES; n++)
        most = max(most, floatBitsToUint(out_sum[n]) & 0x7fffffffu);
    return max(max(most.x, most.y), max(most.z, most.w)) < 0x7f800000u;
}

// Where row i of the tile goes, as f32.
uint64_t result_address(uint i, uint partial) {
    return O_DIRECT ? o_address(first_row + i, partial + i, 4u) : stage + uint64_t(i * V_SLICES * LANES * 16u);
}

void store(rows k, rows v, ivec2 keys, uint partial) {
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint n = r * LANES + lane;
        float maximum = BOUNDED ? 0.0 : row_max[r];
        factor[r] = finish_row(at, lane_row(r), maximum, row_sum[r], partial + n, first_row + n < packed_rows(at));
        sxt_long_at(work).at[n] = sxt_long(floatBitsToUint(vec2(maximum, factor[r])));
        if (BOUNDED)
            greatest = max(greatest, row_max[r]);
    }
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        float last = subgroupBroadcast(factor[i / LANES], i % LANES);
        // What is not there goes to the place for staging: a branch each would take long to compile.
        uint64_t spare = stage + uint64_t(lane * 16u);
        uint64_t where = result_address(i, partial) + uint64_t(lane * 16u);
        where = !O_DIRECT || first_row + i < packed_rows(at) ? where : spare;
        [[unroll]] for (uint slice = 0; slice < V_SLICES; slice++) {
            bool there = !O_DIRECT || slice * LANES + LANES <= V_QUADS || slice * LANES + lane < V_QUADS;
            sxt_write4(there ? where : spare, slice * LANES * 16u, out_sum[i * V_SLICES + slice] * last, SXT_STORE_F32);
        }
    }
    bool redo = subgroupAny(!out_is_finite());
    [[dont_unroll]] for (uint i = 0; i < (redo ? ROWS : 0u); i++) {
        vec2 end_of_row = uintBitsToFloat(sxt_short(sxt_long_at(work).at[i]));
        redo_row(k, v, keys, first_row + i, end_of_row, result_address(i, partial));
    }
    if (!O_DIRECT)
        store_staged(partial);
}

void do_tile(uint tile, uint split) {
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        row_max[r] = BOUNDED ? 0.0 : FLOOR;
        row_sum[r] = 0.0;
    }
    [[unroll]] for (uint n = 0; n < ROWS * V_SLICES; n++)
        out_sum[n] = vec4(0);
    load_queries();
    uint last_row = min(first_row + ROWS, packed_rows(at)) - 1u;
    ivec2 keys = keys_of(at, first_row / pc.group, last_row / pc.group, split);
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint token = lane_row(r).token;
        row_first[r] = max(first_key(at, token), keys.x);
        row_keys[r] = uint(max(min(end_key(at, token), keys.y) - row_first[r], 0));
    }
    uint64_t list = work + uint64_t(SXT_ATTENTION_SCORE_BYTES(ROWS));
    uint64_t v_list = list + uint64_t(SXT_ATTENTION_BLOCK * 8u);
    rows k = rows_of(at, SXT_ATTENTION_K, 8u, pc.k_stride, k_type(), list, keys);
    rows v = rows_of(at, SXT_ATTENTION_V, 16u, pc.v_stride, v_type(), v_list, keys);
    [[dont_unroll]] for (int block = keys.x & -BLOCK; block < keys.y; block += BLOCK) {
        // Whole trips: what is before the first key, or after the last, is seen by no row.
        int from = max(keys.x & -TRIP, block), to = min((keys.y + TRIP - 1) & -TRIP, block + BLOCK);
        if (MASK_BITS && !any_kept(block))
            to = from;
        if (PAGES)
            list_rows(at, k, v, block, from, to, keys);
        take_block(k, v, block, from, to);
    }
    store(k, v, keys, SPLIT ? partial_row(tile, split, 0u) : 0u);
}

// These drivers give each thread a contiguous part of the grid: heads, which cost the same, are the outer dim, and tiles
// with many keys are next to those with few. Tiles that are split are where a merge looks for them.
tile_place tile_of_unit(uint tile) {
    uint rows = row_tiles(), n = tile % rows;
    if (SPLIT)
        return tile_at(tile);
    return tile_place(n % 2u == 0u ? n / 2u : rows - 1u - n / 2u, tile / rows % params.sequences,
                      tile / rows / params.sequences);
}

void main() {
    uint tiles = min(params.part_tiles, pc.tiles - part_tile()), group = gl_WorkGroupID.x;
    uint splits = min(params.part_splits, params.splits - part_split());
    uint64_t units = uint64_t(tiles) * uint64_t(splits);
    uint unit = uint(units * uint64_t(group) / uint64_t(gl_NumWorkGroups.x));
    uint end = uint(units * uint64_t(group + 1u) / uint64_t(gl_NumWorkGroups.x));
    lane = gl_SubgroupInvocationID;
    work = sxt_start(SXT_ATTENTION_WORK) +
           uint64_t(group) * uint64_t(SXT_ATTENTION_WORK_BYTES(ROWS, max(SLICES, V_SLICES) * LANES * 4u));
    stage = work + uint64_t(SXT_ATTENTION_SCORE_BYTES(ROWS) + SXT_ATTENTION_PLACE_BYTES);
    bound = params.bound;
    greatest = 0.0;
    [[dont_unroll]] for (; unit < end; unit++) {
        uint tile = part_tile() + unit / splits;
        tile_place where = tile_of_unit(tile);
        at = place_at(where.sequence, where.kv_head);
        first_row = where.row_tile * ROWS;
        if (first_row < packed_rows(at))
            do_tile(tile, part_split() + unit % splits);
    }
    report_pages();
    if (BOUNDED)
        report_bound(greatest);
}
