// Attention for any GPU: one workgroup computes a tile of packed query rows against the keys that they see, or against
// a split of them, in one pass (online softmax, Milakov & Gimelshein 2018; with BOUNDED there is no maximum to keep up
// with). Only Vulkan 1.2's baseline is needed. SXT_SUBGROUP=1 reduces by subgroup shuffles, for subgroups of 16 and
// more; SXT_ADDRESS=1 is for caches beyond what a descriptor reaches.
//
// Scores: thread (group, lane) computes rows group + 8·i against keys lane + 16·j. K goes through shared memory in
// chunks of 32 channels, read in order and fetched one chunk ahead, and so does Q where it does not fit as a whole.
// Output: thread (group', quad) keeps 4 channels of rows n·group' + i in registers, or of some quads further on too; V
// is read in order, straight.
// The sum over one tile of keys is kept apart and joins the running one by one FMA, which also rescales it: the longest
// chain of additions is KEYS + Tk/KEYS, and no separate pass rescales.
//
// Tiles of keys begin at multiples of KEYS, and all sums are FMAs in the order of keys and channels: a row's bits do
// not depend on the rows beside it.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/features.glsl"
#if SXT_ADDRESS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
// K and V may have more than 2^32 elements: before a quad is read, their addresses move to near its row.
uvec2 k_origin, v_origin;
#define SXT_ADDRESS_OF(slot)                                                                                           \
    (slot == SXT_ATTENTION_K ? k_origin : slot == SXT_ATTENTION_V ? v_origin : sxt_address(slot))
#endif
#include "lib/attention.glsl"

layout(local_size_x = SXT_ATTENTION_THREADS) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 32;
layout(constant_id = SXT_ATTENTION_SPEC_OUT_ROWS) const uint OUT_ROWS = 4;
layout(constant_id = SXT_ATTENTION_SPEC_OUT_QUADS) const uint OUT_QUADS = 1;
layout(constant_id = SXT_ATTENTION_SPEC_WHOLE_Q) const bool WHOLE_Q = true;
layout(constant_id = SXT_ATTENTION_SPEC_TILE_VALUES) const uint VALUES = 4;

const uint THREADS = SXT_ATTENTION_THREADS, LANES = SXT_ATTENTION_LANES, CHUNK = SXT_ATTENTION_CHUNK;
const uint SCORE_ROWS = ROWS / SXT_ATTENTION_ROW_GROUPS, SCORE_KEYS = KEYS / LANES, SCORES = SCORE_ROWS * SCORE_KEYS;
const uint OUTS = OUT_ROWS * OUT_QUADS, VALUE_QUADS = VALUES * OUT_QUADS;
const uint K_FETCHES = KEYS * CHUNK / THREADS, Q_FETCHES = WHOLE_Q ? 1 : (ROWS * CHUNK + THREADS - 1) / THREADS;
// One quad of padding spreads rows over the banks.
const uint Q_PITCH = (WHOLE_Q ? HEAD / 4 : CHUNK) + 1, K_PITCH = CHUNK + 1, P_PITCH = KEYS / 4 + 1;
const uint K_QUADS = KEYS * K_PITCH, P_QUADS = ROWS * P_PITCH;

shared vec4 q_tile[ROWS * Q_PITCH];
// A chunk of K, and after it the weights.
shared vec4 k_tile[K_QUADS > P_QUADS ? K_QUADS : P_QUADS];
shared float row_factor[ROWS]; // of the running output
#if !SXT_SUBGROUP
shared float partials[ROWS * LANES];
#endif

uint thread, lane, score_group, quad, out_group, out_lanes;
place at;
uint first_row, partial_first;
ivec2 keys_seen; // by some row of the tile
float score[SCORES];
float row_max[SCORE_ROWS], row_sum[SCORE_ROWS]; // the sum is this thread's share
float greatest;
vec4 k_fetched[K_FETCHES], q_fetched[Q_FETCHES];
vec4 values[VALUE_QUADS], tile_out[OUTS], out_sum[OUTS];

#include "lib/attention_stage.glsl"

uint score_row(uint i) {
    return score_group + SXT_ATTENTION_ROW_GROUPS * i;
}

// Neighbours, so that their places in shared memory differ by constants. The last threads may have rows of the ones
// before them too, or these alone, and do not store them.
uint out_row(uint i) {
    return min(out_group * OUT_ROWS, ROWS - OUT_ROWS) + i;
}

// Combine a row's values over its 16 lanes; every lane gets the result. Without subgroups all threads must come here.
#if SXT_SUBGROUP
#define REDUCE_ROWS(values, combine)                                                                                   \
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++)                                                                   \
        [[unroll]] for (uint step = LANES / 2; step > 0; step /= 2)                                                    \
            values[i] = combine(values[i], subgroupShuffleXor(values[i], step));
#else
#define REDUCE_ROWS(values, combine)                                                                                   \
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++)                                                                   \
        partials[score_row(i) * LANES + lane] = values[i];                                                             \
    barrier();                                                                                                         \
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {                                                                 \
        values[i] = partials[score_row(i) * LANES];                                                                    \
        [[dont_unroll]] for (uint n = 1; n < LANES; n++)                                                               \
            values[i] = combine(values[i], partials[score_row(i) * LANES + n]);                                        \
    }
#endif

float add(float a, float b) {
    return a + b;
}

// ── Scores ──

vec4 query_quad(uint r, uint c) {
    return q_load4(q_row(at, row_at(at, first_row + r)) + c * 4u, has(SXT_ATTENTION_Q_ALIGNED)) * q_factor(at);
}

void stage_q() {
    uint quads = pc.dims & 0xffu;
    [[dont_unroll]] for (uint n = thread; n < ROWS * quads; n += THREADS)
        q_tile[n / quads * Q_PITCH + n % quads] = query_quad(n / quads, n % quads);
}

// Loads that are not wanted are done all the same: a branch around each would make it wait for the one before.
void fetch(uint key0, uint quad0) {
    uint quads = pc.dims & 0xffu;
    [[unroll]] for (uint n = 0; n < K_FETCHES; n++) {
        uint slot = thread + n * THREADS, c = quad0 + slot % CHUNK;
        KEY_ROW row = row_of_k(key0, slot / CHUNK);
        vec4 k = k_at(any_row(row), min(c, quads - 1u));
        k_fetched[n] = c < quads && is_row(row) ? k : vec4(0);
    }
    if (!WHOLE_Q)
        [[unroll]] for (uint n = 0; n < Q_FETCHES; n++) {
            uint slot = thread + n * THREADS, c = quad0 + slot % CHUNK;
            vec4 q = query_quad(min(slot / CHUNK, ROWS - 1u), min(c, quads - 1u));
            q_fetched[n] = c < quads ? q : vec4(0);
        }
}

void stage_fetched() {
    [[unroll]] for (uint n = 0; n < K_FETCHES; n++) {
        uint slot = thread + n * THREADS;
        k_tile[slot / CHUNK * K_PITCH + slot % CHUNK] = k_fetched[n];
    }
    if (!WHOLE_Q)
        [[unroll]] for (uint n = 0; n < Q_FETCHES; n++) {
            uint slot = thread + n * THREADS;
            if (slot / CHUNK < ROWS)
                q_tile[slot / CHUNK * Q_PITCH + slot % CHUNK] = q_fetched[n];
        }
}

void multiply_chunk(uint quad0, uint count) {
    for (uint c = 0; c < count; c++) {
        vec4 keys[SCORE_KEYS];
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
            keys[j] = k_tile[(lane + LANES * j) * K_PITCH + c];
        [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
            vec4 query = q_tile[score_row(i) * Q_PITCH + (WHOLE_Q ? quad0 : 0u) + c];
            [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++) {
                uint n = i * SCORE_KEYS + j;
                score[n] = fma(query.w, keys[j].w,
                               fma(query.z, keys[j].z, fma(query.y, keys[j].y, fma(query.x, keys[j].x, score[n]))));
            }
        }
    }
}

void compute_scores(uint key0) {
    uint quads = pc.dims & 0xffu;
    [[unroll]] for (uint n = 0; n < SCORES; n++)
        score[n] = 0.0;
    // Else what was fetched for the tile before would keep its registers to here.
    [[unroll]] for (uint n = 0; n < K_FETCHES; n++)
        k_fetched[n] = vec4(0);
    [[unroll]] for (uint n = 0; n < Q_FETCHES; n++)
        q_fetched[n] = vec4(0);
    // One trip more than chunks: each multiplies the chunk before while its own is on the way.
    [[dont_unroll]] for (uint quad0 = 0; quad0 < quads + CHUNK; quad0 += CHUNK) {
        if (quad0 < quads)
            fetch(key0, quad0);
        if (quad0 > 0)
            multiply_chunk(quad0 - CHUNK, min(CHUNK, quads + CHUNK - quad0));
        if (quad0 < quads) {
            barrier();
            stage_fetched();
            barrier();
        }
    }
}

// ── Softmax ──

// Turns scores into logits: those that a row does not see into MASKED.
void mask_scores(uint key0, bool edge) {
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        row r;
        if (FEATURES || edge)
            r = row_at(at, first_row + score_row(i));
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++) {
            uint n = i * SCORE_KEYS + j, in_tile = lane + LANES * j;
            int key = int(key0 + in_tile);
            score[n] = unmasked_logit(score[n], at, r, key);
            bool seen = !edge || (key >= first_key(at, r.token) && key < end_key(at, r.token));
            if (MASK_BITS)
                seen = seen && kept_in_tile(score_row(i), in_tile);
            if (PAGES)
                seen = seen && row_of_k(key0, in_tile) != ABSENT;
            score[n] = seen ? score[n] : MASKED;
        }
    }
}

void put_weight(uint i, uint j, float weight) {
    uint key = lane + LANES * j;
    row_sum[i] += weight;
    k_tile[score_row(i) * P_PITCH + key / 4u][key % 4u] = weight;
}

// Turns logits into weights under the new running maximum, and tells row_factor how the output so far shrinks.
void softmax() {
    float before[SCORE_ROWS];
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        before[i] = row_max[i];
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
            row_max[i] = max(row_max[i], score[i * SCORE_KEYS + j]);
    }
    REDUCE_ROWS(row_max, max)
#if SXT_SUBGROUP
    barrier(); // the last chunk of K has been read
#endif
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        float factor = weight_of(before[i], row_max[i]);
        row_sum[i] *= factor;
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
            put_weight(i, j, weight_of(score[i * SCORE_KEYS + j], row_max[i]));
        if (lane == 0)
            row_factor[score_row(i)] = factor;
    }
}

void bounded_softmax() {
    barrier(); // the last chunk of K has been read
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++)
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
            put_weight(i, j, bounded_weight(score[i * SCORE_KEYS + j], greatest));
}

// ── Output ──

bool values_are_finite() {
    uint most = 0;
    [[unroll]] for (uint n = 0; n < 4 * VALUE_QUADS; n++)
        most = max(most, floatBitsToUint(values[n / 4][n % 4]) & 0x7f800000u);
    return most != 0x7f800000u;
}

vec4 value_quad(KEY_ROW row, uint m) {
    uint c = min(quad + out_lanes * m, (pc.dims >> 8 & 0xffu) - 1u);
    vec4 value = v_at(any_row(row), c);
    return is_row(row) ? value : vec4(0);
}

// Keys whose values may be NaN: 0·NaN must not come into rows that do not see them.
void accumulate_seen(uint key0, uint first) {
    [[dont_unroll]] for (uint j = first; j < first + VALUES; j++)
        [[unroll]] for (uint m = 0; m < OUT_QUADS; m++) {
            vec4 value = value_quad(row_of_v(key0, j), m);
            [[unroll]] for (uint i = 0; i < OUT_ROWS; i++) {
                float weight = k_tile[out_row(i) * P_PITCH + j / 4u][j % 4u];
                uint n = i * OUT_QUADS + m;
                tile_out[n] = fma(weight == 0.0 ? vec4(0) : value, vec4(weight), tile_out[n]);
            }
        }
}

// Adds up the values of a tile's first `count` keys. `guarded`: some row does not see some of them.
void accumulate(uint key0, uint count, bool guarded) {
    [[unroll]] for (uint n = 0; n < OUTS; n++)
        tile_out[n] = vec4(0);
    [[dont_unroll]] for (uint j = 0; j < count; j += VALUES) {
        [[unroll]] for (uint n = 0; n < VALUE_QUADS; n++)
            values[n] = value_quad(row_of_v(key0, j + n / OUT_QUADS), n % OUT_QUADS);
        if (guarded && !values_are_finite()) {
            accumulate_seen(key0, j);
            continue;
        }
        [[unroll]] for (uint i = 0; i < OUT_ROWS; i++) {
            vec4 weights;
            [[unroll]] for (uint n = 0; n < VALUE_QUADS; n++) {
                uint key = n / OUT_QUADS, out_n = i * OUT_QUADS + n % OUT_QUADS;
                if (n % (4 * OUT_QUADS) == 0)
                    weights = k_tile[out_row(i) * P_PITCH + (j + key) / 4u];
                tile_out[out_n] = fma(values[n], vec4(weights[key % 4u]), tile_out[out_n]);
            }
        }
    }
}

// The tile's share of the output joins the running sum, which is rescaled on the way.
void join_tile() {
    [[unroll]] for (uint i = 0; i < OUT_ROWS; i++) {
        float factor = BOUNDED ? 1.0 : row_factor[out_row(i)];
        [[unroll]] for (uint m = 0; m < OUT_QUADS; m++) {
            uint n = i * OUT_QUADS + m;
            out_sum[n] = fma(out_sum[n], vec4(factor), tile_out[n]);
        }
    }
}

void attend(uint first_token, uint last_token) {
    bool hides = MASK_BITS || has(SXT_ATTENTION_HAS_BIAS); // which may be −∞
    for (int key0 = keys_seen.x / int(KEYS) * int(KEYS); key0 < keys_seen.y; key0 += int(KEYS)) {
        bool edge = key0 + int(KEYS) > min(end_key(at, first_token), keys_seen.y) || key0 < first_key(at, last_token);
        if (!begin_tile(uint(key0)))
            continue;
        compute_scores(uint(key0));
        mask_scores(uint(key0), edge);
        if (BOUNDED)
            bounded_softmax();
        else
            softmax();
        barrier();
        accumulate(uint(key0), min(uint(keys_seen.y - key0), KEYS), edge || hides);
        join_tile();
    }
}

// ── The end ──

void store() {
    barrier(); // weights have been read
    REDUCE_ROWS(row_sum, add)
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        uint r = score_row(i);
        bool writes = lane == 0 && first_row + r < packed_rows(at);
        float maximum = BOUNDED ? 0.0 : row_max[i], share;
        float factor = finish_row(at, row_at(at, first_row + r), maximum, row_sum[i], partial_first + r, writes, share);
        if (lane == 0)
            k_tile[r].xy = vec2(factor, share);
    }
    report_pages();
    if (BOUNDED)
        report_bound(greatest);
    barrier();
    uint quads = pc.dims >> 8 & 0xffu;
    // One piece of code that stores: the next result moves up to where it reads.
    [[dont_unroll]] for (uint n = 0; n < OUTS; n++) {
        uint r = out_row(n / OUT_QUADS), c = quad + out_lanes * (n % OUT_QUADS);
        if (r >= out_group * OUT_ROWS && first_row + r < packed_rows(at) && c < quads) {
            uint row = SPLIT ? (partial_first + r) * quads * 4u : o_row(at, row_at(at, first_row + r));
            o_store4(row + c * 4u, out_sum[0] * k_tile[r].x * k_tile[r].y, has(SXT_ATTENTION_O_ALIGNED));
        }
        [[unroll]] for (uint m = 0; m + 1 < OUTS; m++)
            out_sum[m] = out_sum[m + 1];
    }
}

void begin() {
#if SXT_SUBGROUP
    thread = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
#else
    thread = gl_LocalInvocationIndex;
#endif
    lane = thread % LANES;
    score_group = thread / LANES;
    uint quads = pc.dims >> 8 & 0xffu;
    out_lanes = (quads + OUT_QUADS - 1u) / OUT_QUADS;
    quad = thread % out_lanes;
    out_group = thread / out_lanes;
    greatest = 0.0;
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        row_max[i] = FLOOR;
        row_sum[i] = 0.0;
    }
    [[unroll]] for (uint n = 0; n < OUTS; n++)
        out_sum[n] = vec4(0);
    begin_tiles();
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
    partial_first = SPLIT ? partial_row(tile, split, 0u) : 0u;
    begin();
    if (WHOLE_Q)
        stage_q();
    barrier();
    attend(first_token, last_token);
    store();
}
