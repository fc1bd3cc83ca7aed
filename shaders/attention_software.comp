// Attention for drivers that run Vulkan on the CPU (lavapipe, SwiftShader). There a barrier or shared memory costs more
// than it saves, loads are gathers, and broadcasts from a constant lane are nearly free. So: a workgroup is one subgroup
// of LANES, a lane owns ROWS/LANES packed query rows and keeps them in registers, and everything that depends on no
// data is unrolled.
//
// Scores: lanes are queries. Lane n loads quads n, n + LANES, … of a key; each is broadcast to the products of all rows.
// Output: lanes are channels. Lane n keeps quads n, n + LANES, … of all rows; weights are broadcast, V is not.
//
// A NaN or infinity in V at a key that a row sees makes the whole row NaN.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "lib/features.glsl"
#include "lib/attention.glsl"

layout(local_size_x_id = SXT_ATTENTION_SPEC_LANES) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_ROWS) const uint ROWS = 16;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 4;
layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 8; // the subgroup's size

const uint QUADS = HEAD / 4;
const uint LANE_ROWS = ROWS / LANES;
const uint SLICES = (QUADS + LANES - 1) / LANES; // quads of a head that one lane holds

uint lane, d_quads, dv_quads;
place at;
uint first_row;
int row_first[LANE_ROWS], row_end[LANE_ROWS]; // keys that a row sees
vec4 query[LANE_ROWS * QUADS];
float row_max[LANE_ROWS], row_sum[LANE_ROWS];
float weight[KEYS * LANE_ROWS], factor[LANE_ROWS];
vec4 out_sum[ROWS * SLICES];

// Four elements from word buffers, of a type known at run time. One load an element is what compiles quickest.
#define LOAD_ANY(words, index, type_shift)                                                                             \
    vec4 loaded;                                                                                                       \
    uint type = type_at(type_shift);                                                                                   \
    bool whole = type == SXT_STORE_F32;                                                                                \
    [[unroll]] for (uint c = 0; c < 4; c++) {                                                                          \
        uint i = index + c, word = SXT_AT(words, whole ? i : i >> 1);                                                  \
        uint part = i % 2u == 0u ? word & 0xffffu : word >> 16;                                                        \
        float small = type == SXT_STORE_F16 ? unpackHalf2x16(part).x : sxt_bf16_to_f32(part);                          \
        loaded[c] = whole ? uintBitsToFloat(word) : small;                                                             \
    }                                                                                                                  \
    return loaded;

vec4 load_k(uint index) {
    if (K_TYPE == SXT_ATTENTION_ANY_TYPE) {
        LOAD_ANY(k_words, index, SXT_ATTENTION_K_TYPE_SHIFT)
    }
    return k_quad(index);
}

vec4 load_v(uint index) {
    if (V_TYPE == SXT_ATTENTION_ANY_TYPE) {
        LOAD_ANY(v_words, index, SXT_ATTENTION_V_TYPE_SHIFT)
    }
    return v_quad(index);
}

row lane_row(uint r) {
    return row_at(at, first_row + r * LANES + lane);
}

// Loads and stores of q and o are one piece of code each, by element, through an array that may be indexed at run time:
// a load costs these drivers the same per element, and compiling each takes them long.
void load_queries() {
    float loaded[LANE_ROWS * HEAD];
    [[unroll]] for (uint n = 0; n < LANE_ROWS * HEAD; n++)
        loaded[n] = 0.0;
    [[dont_unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint offset = q_row(at, lane_row(r));
        [[dont_unroll]] for (uint n = 0; n < d_quads * 4u; n++)
            loaded[r * HEAD + n] = q_load(offset + n) * pc.q_scale;
    }
    [[unroll]] for (uint n = 0; n < LANE_ROWS * QUADS; n++)
        query[n] = vec4(loaded[4 * n], loaded[4 * n + 1], loaded[4 * n + 2], loaded[4 * n + 3]);
}

void multiply(uint key0) {
    [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n++)
        weight[n] = 0.0;
    [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
        // Where the head is shorter than its padding, query is 0.
        uint quad = min(slice * LANES + lane, d_quads - 1u);
        vec4 keys[KEYS];
        [[unroll]] for (uint j = 0; j < KEYS; j++)
            keys[j] = load_k(k_row(at, min(key0 + j, pc.k_tokens - 1u)) + quad * 4u);
        [[unroll]] for (uint n = 0; n < min(LANES, QUADS); n++) {
            [[unroll]] for (uint j = 0; j < KEYS; j++) {
                vec4 key = subgroupBroadcast(keys[j], n);
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                    vec4 q = query[r * QUADS + slice * LANES + n];
                    uint w = j * LANE_ROWS + r;
                    weight[w] = key.x * q.x + weight[w];
                    weight[w] = key.y * q.y + weight[w];
                    weight[w] = key.z * q.z + weight[w];
                    weight[w] = key.w * q.w + weight[w];
                }
            }
        }
    }
}

// Adds the rare terms to all logits, in one piece of code.
void add_features(int key0) {
    float logits[KEYS * LANE_ROWS];
    [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n++)
        logits[n] = weight[n];
    [[dont_unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n++)
        logits[n] = logit(logits[n], at, lane_row(n % LANE_ROWS), key0 + int(n / LANE_ROWS));
    [[unroll]] for (uint n = 0; n < KEYS * LANE_ROWS; n++)
        weight[n] = logits[n];
}

void softmax(int key0) {
    if (FEATURES)
        add_features(key0);
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        float before = row_max[r];
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            int key = key0 + int(j);
            uint n = j * LANE_ROWS + r;
            weight[n] = key >= row_first[r] && key < row_end[r] ? weight[n] : MASKED;
            row_max[r] = max(row_max[r], weight[n]);
        }
        factor[r] = weight_of(before, row_max[r]);
        row_sum[r] *= factor[r];
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            uint n = j * LANE_ROWS + r;
            weight[n] = weight_of(weight[n], row_max[r]);
            row_sum[r] += weight[n];
        }
    }
}

bool finite4(vec4 v) {
    uvec4 exponents = floatBitsToUint(v) & 0x7f800000u;
    return max(max(exponents.x, exponents.y), max(exponents.z, exponents.w)) != 0x7f800000u;
}

void accumulate(uint key0) {
    vec4 values[KEYS * SLICES];
    [[unroll]] for (uint j = 0; j < KEYS; j++) {
        bool finite = true;
        [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
            uint quad = min(slice * LANES + lane, dv_quads - 1u);
            vec4 value = load_v(v_row(at, min(key0 + j, pc.k_tokens - 1u)) + quad * 4u);
            bool good = finite4(value);
            finite = finite && good;
            values[j * SLICES + slice] = good ? value : vec4(0);
        }
        // 0·NaN must not come in from keys that a row does not see.
        bool spoilt = subgroupAny(!finite);
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            uint w = j * LANE_ROWS + r;
            weight[w] = spoilt && weight[w] != 0.0 ? uintBitsToFloat(0x7fc00000u) : weight[w];
        }
    }
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        float shrink = subgroupBroadcast(factor[i / LANES], i % LANES);
        vec4 tile_out[SLICES];
        [[unroll]] for (uint slice = 0; slice < SLICES; slice++)
            tile_out[slice] = vec4(0);
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            float w = subgroupBroadcast(weight[j * LANE_ROWS + i / LANES], i % LANES);
            [[unroll]] for (uint slice = 0; slice < SLICES; slice++)
                tile_out[slice] += w * values[j * SLICES + slice];
        }
        [[unroll]] for (uint slice = 0; slice < SLICES; slice++)
            out_sum[i * SLICES + slice] = out_sum[i * SLICES + slice] * shrink + tile_out[slice];
    }
}

void store() {
    float result[ROWS * SLICES * 4];
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        bool there = first_row + r * LANES + lane < packed_rows();
        factor[r] = finish_row(at, lane_row(r), row_max[r], row_sum[r], there);
    }
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        float last = subgroupBroadcast(factor[i / LANES], i % LANES);
        [[unroll]] for (uint n = 0; n < SLICES * 4; n++)
            result[i * SLICES * 4 + n] = out_sum[i * SLICES + n / 4][n % 4] * last;
    }
    [[dont_unroll]] for (uint n = 0; n < ROWS * SLICES; n++) {
        uint packed = first_row + n / SLICES, quad = n % SLICES * LANES + lane;
        if (packed < packed_rows() && quad < dv_quads) {
            uint offset = o_row(at, row_at(at, packed)) + quad * 4u;
            [[dont_unroll]] for (uint c = 0; c < 4; c++)
                o_store(offset + c, result[n * 4u + c]);
        }
    }
}

void main() {
    uint tile = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    if (tile >= pc.tiles)
        return;
    // These drivers give each thread a contiguous part of the grid: heads, which cost the same, are the outer dim.
    uint row_tiles = (packed_rows() + ROWS - 1u) / ROWS;
    at = place(tile / row_tiles / pc.kv_heads, tile / row_tiles % pc.kv_heads);
    first_row = tile % row_tiles * ROWS;
    lane = gl_SubgroupInvocationID;
    d_quads = pc.dims & 0xffu;
    dv_quads = pc.dims >> 8 & 0xffu;
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        row_max[r] = FLOOR;
        row_sum[r] = 0.0;
        row_first[r] = first_key(lane_row(r).token);
        row_end[r] = end_key(lane_row(r).token);
    }
    [[unroll]] for (uint n = 0; n < ROWS * SLICES; n++)
        out_sum[n] = vec4(0);
    load_queries();
    int key_end = end_key((min(first_row + ROWS, packed_rows()) - 1u) / pc.group);
    for (int key0 = first_key(first_row / pc.group); key0 < key_end; key0 += int(KEYS)) {
        multiply(uint(key0));
        softmax(key0);
        accumulate(uint(key0));
    }
    store();
}
