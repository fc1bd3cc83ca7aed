// Attention for any GPU: one workgroup computes a tile of packed query rows against all the keys that they see, in
// one pass (online softmax, Milakov & Gimelshein 2018). Only Vulkan 1.2's baseline is needed; SXT_SUBGROUP=1 reduces
// by subgroup shuffles, for subgroups of 16 and more.
//
// Scores: thread (group, lane) computes rows group + 8·i against keys lane + 16·j. K goes through shared memory in
// chunks of 32 channels, read in order and fetched one chunk ahead.
// Output: thread (group', quad) keeps 4 channels of rows group' + n·i in registers; V is read in order, straight.
// The sum over one tile is kept apart and joins the running one by one FMA, which also rescales it: the longest chain
// of additions is KEYS + Tk/KEYS, and no separate pass rescales.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/features.glsl"
#include "lib/attention.glsl"

layout(local_size_x = SXT_ATTENTION_THREADS) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_ROWS) const uint ROWS = 16;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 32;

const uint THREADS = SXT_ATTENTION_THREADS, LANES = SXT_ATTENTION_LANES, CHUNK = SXT_ATTENTION_CHUNK;
const uint QUADS = HEAD / 4;
const uint SCORE_ROWS = ROWS / SXT_ATTENTION_ROW_GROUPS, SCORE_KEYS = KEYS / LANES, SCORES = SCORE_ROWS * SCORE_KEYS;
const uint OUT_GROUPS = THREADS / QUADS, OUT_ROWS = ROWS / OUT_GROUPS;
const uint FETCHES = KEYS * CHUNK / THREADS;
// One quad of padding spreads rows over the banks.
const uint Q_PITCH = QUADS + 1, K_PITCH = CHUNK + 1, P_PITCH = KEYS / 4;

shared vec4 q_tile[ROWS * Q_PITCH];
shared vec4 k_tile[KEYS * K_PITCH];
shared vec4 p_tile[ROWS * P_PITCH];
shared float row_factor[ROWS]; // of the running output
#if !SXT_SUBGROUP
shared float partials[ROWS * LANES];
#endif

uint thread, lane, score_group, quad, out_group;
place at;
uint first_row;
float score[SCORES];
float row_max[SCORE_ROWS], row_sum[SCORE_ROWS]; // the sum is this thread's share
vec4 fetched[FETCHES];
vec4 tile_out[OUT_ROWS], out_sum[OUT_ROWS];

uint score_row(uint i) {
    return score_group + SXT_ATTENTION_ROW_GROUPS * i;
}

uint out_row(uint i) {
    return out_group + OUT_GROUPS * i;
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

void stage_q() {
    uint quads = pc.dims & 0xffu;
    [[dont_unroll]] for (uint n = thread; n < ROWS * quads; n += THREADS) {
        uint r = n / quads, c = n % quads;
        uint offset = q_row(at, row_at(at, first_row + r)) + c * 4u;
        q_tile[r * Q_PITCH + c] = q_load4(offset, has(SXT_ATTENTION_Q_ALIGNED)) * pc.q_scale;
    }
}

void fetch_k(uint key0, uint quad0) {
    [[unroll]] for (uint n = 0; n < FETCHES; n++) {
        uint slot = thread + n * THREADS;
        uint key = min(key0 + slot / CHUNK, pc.k_tokens - 1u), c = quad0 + slot % CHUNK;
        fetched[n] = c < (pc.dims & 0xffu) ? k_quad(k_row(at, key) + c * 4u) : vec4(0);
    }
}

void multiply_chunk(uint quad0, uint count) {
    for (uint c = 0; c < count; c++) {
        vec4 keys[SCORE_KEYS];
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
            keys[j] = k_tile[(lane + LANES * j) * K_PITCH + c];
        [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
            vec4 query = q_tile[score_row(i) * Q_PITCH + quad0 + c];
            [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++)
                score[i * SCORE_KEYS + j] += dot(query, keys[j]);
        }
    }
}

void compute_scores(uint key0) {
    uint quads = pc.dims & 0xffu;
    [[unroll]] for (uint n = 0; n < SCORES; n++)
        score[n] = 0.0;
    // One trip more than chunks: each multiplies the chunk before while its own is on the way.
    [[dont_unroll]] for (uint quad0 = 0; quad0 < quads + CHUNK; quad0 += CHUNK) {
        if (quad0 < quads)
            fetch_k(key0, quad0);
        if (quad0 > 0)
            multiply_chunk(quad0 - CHUNK, min(CHUNK, quads + CHUNK - quad0));
        if (quad0 < quads) {
            barrier();
            [[unroll]] for (uint n = 0; n < FETCHES; n++) {
                uint slot = thread + n * THREADS;
                k_tile[slot / CHUNK * K_PITCH + slot % CHUNK] = fetched[n];
            }
            barrier();
        }
    }
}

// Turns scores into weights under the new running maximum, and tells row_factor how the output so far shrinks.
void softmax(uint key0, bool edge) {
    float before[SCORE_ROWS];
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        before[i] = row_max[i];
        row r;
        if (FEATURES || edge)
            r = row_at(at, first_row + score_row(i));
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++) {
            int key = int(key0 + lane + LANES * j);
            uint n = i * SCORE_KEYS + j;
            score[n] = logit(score[n], at, r, key);
            if (edge)
                score[n] = key >= first_key(r.token) && key < end_key(r.token) ? score[n] : MASKED;
            row_max[i] = max(row_max[i], score[n]);
        }
    }
    REDUCE_ROWS(row_max, max)
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        float factor = weight_of(before[i], row_max[i]);
        row_sum[i] *= factor;
        [[unroll]] for (uint j = 0; j < SCORE_KEYS; j++) {
            float weight = weight_of(score[i * SCORE_KEYS + j], row_max[i]);
            row_sum[i] += weight;
            uint key = lane + LANES * j;
            p_tile[score_row(i) * P_PITCH + key / 4u][key % 4u] = weight;
        }
        if (lane == 0)
            row_factor[score_row(i)] = factor;
    }
}

// The tile's share of the output joins the running sum, which is rescaled on the way.
void join_tile() {
    [[unroll]] for (uint i = 0; i < OUT_ROWS; i++)
        out_sum[i] = out_sum[i] * row_factor[out_row(i)] + tile_out[i];
}

void accumulate(uint key0) {
    [[dont_unroll]] for (uint j = 0; j < KEYS; j += 4u) {
        vec4 values[4];
        [[unroll]] for (uint n = 0; n < 4; n++)
            values[n] = v_quad(v_row(at, key0 + j + n) + quad * 4u);
        [[unroll]] for (uint i = 0; i < OUT_ROWS; i++) {
            vec4 weights = p_tile[out_row(i) * P_PITCH + j / 4u];
            [[unroll]] for (uint n = 0; n < 4; n++)
                tile_out[i] += values[n] * weights[n];
        }
    }
}

// For tiles in which some row does not see some key. Such a key may hold NaN, and 0·NaN must not come in.
void accumulate_seen(uint key0, uint count) {
    [[dont_unroll]] for (uint j = 0; j < count; j++) {
        vec4 value = v_quad(v_row(at, key0 + j) + quad * 4u);
        [[unroll]] for (uint i = 0; i < OUT_ROWS; i++) {
            float weight = p_tile[out_row(i) * P_PITCH + j / 4u][j % 4u];
            tile_out[i] += weight == 0.0 ? vec4(0) : value * weight;
        }
    }
}

void attend() {
    uint last_row = min(first_row + ROWS, packed_rows()) - 1u;
    uint first_token = first_row / pc.group, last_token = last_row / pc.group;
    int end = end_key(last_token);
    bool has_channels = quad < (pc.dims >> 8 & 0xffu);
    for (int key0 = first_key(first_token); key0 < end; key0 += int(KEYS)) {
        bool edge = key0 + int(KEYS) > end_key(first_token) || key0 < first_key(last_token);
        compute_scores(uint(key0));
        softmax(uint(key0), edge);
        barrier();
        if (has_channels) {
            [[unroll]] for (uint i = 0; i < OUT_ROWS; i++)
                tile_out[i] = vec4(0);
            if (edge || FEATURES) // a bias may mask too
                accumulate_seen(uint(key0), min(uint(end - key0), KEYS));
            else
                accumulate(uint(key0));
            join_tile();
        }
    }
}

void store() {
    barrier(); // row_factor has been read
    REDUCE_ROWS(row_sum, add)
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        uint packed = first_row + score_row(i);
        float factor = finish_row(at, row_at(at, packed), row_max[i], row_sum[i], lane == 0 && packed < packed_rows());
        if (lane == 0)
            row_factor[score_row(i)] = factor;
    }
    barrier();
    // Through shared memory, so that there is one piece of code that stores.
    [[unroll]] for (uint i = 0; i < OUT_ROWS; i++)
        q_tile[out_row(i) * Q_PITCH + quad] = out_sum[i] * row_factor[out_row(i)];
    barrier();
    uint quads = pc.dims >> 8 & 0xffu;
    [[dont_unroll]] for (uint n = thread; n < ROWS * quads; n += THREADS) {
        uint packed = first_row + n / quads, c = n % quads;
        if (packed < packed_rows()) {
            uint offset = o_row(at, row_at(at, packed)) + c * 4u;
            o_store4(offset, q_tile[n / quads * Q_PITCH + c], has(SXT_ATTENTION_O_ALIGNED));
        }
    }
}

void main() {
    uint tile = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (tile >= pc.tiles)
        return;
    uint row_tiles = (packed_rows() + ROWS - 1u) / ROWS, heads = pc.tiles / row_tiles;
    at = place(tile % heads / pc.kv_heads, tile % heads % pc.kv_heads);
    // Under a causal mask the last rows have the most keys: they go first.
    first_row = (row_tiles - 1u - tile / heads) * ROWS;
#if SXT_SUBGROUP
    thread = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
#else
    thread = gl_LocalInvocationIndex;
#endif
    lane = thread % LANES;
    score_group = thread / LANES;
    quad = thread % QUADS;
    out_group = thread / QUADS;
    [[unroll]] for (uint i = 0; i < SCORE_ROWS; i++) {
        row_max[i] = FLOOR;
        row_sum[i] = 0.0;
    }
    [[unroll]] for (uint i = 0; i < OUT_ROWS; i++)
        out_sum[i] = vec4(0);
    stage_q();
    attend();
    store();
}
