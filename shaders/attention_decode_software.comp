// Attention of few queries over many keys, for drivers that run Vulkan on the CPU: one split of the keys.
//
// A workgroup is one subgroup with ROWS packed query rows of one KV head and a contiguous part of their keys, LANES of
// them a trip. Lanes are channels: lane n loads units n, n + LANES, … of keys and values; a unit is a quad, of q8_0 half
// a block. Scores of LANES keys are added over the lanes by exchanges that leave
// lane j with key j. What is left of all splits, unnormalised outputs, maxima and sums, goes to scratch memory, and
// attention_decode_merge.comp joins it.
//
// The last trip of the last split is put back to end with the last key; what was done already gets weight 0.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "lib/features.glsl"
#include "lib/attention.glsl"
#include "lib/address.glsl"
#include "interface/attention_decode.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_LANES) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_ROWS) const uint ROWS = 4;
layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 8; // the subgroup's size, and the keys of a trip
layout(constant_id = SXT_ATTENTION_SPEC_FULL) const bool FULL = true; // neither K nor V has fewer channels than HEAD
layout(constant_id = SXT_ATTENTION_SPEC_TOKENS) const bool TOKENS = false; // rows may see different keys

const bool BLOCKS = K_TYPE == SXT_STORE_Q8_0;
const uint UNIT = BLOCKS ? 16 : 4; // channels
const uint QUADS = UNIT / 4;
const uint WORDS = BLOCKS || K_TYPE == SXT_STORE_F32 ? 4 : 2; // of a unit
const uint SLICES = (HEAD / UNIT + LANES - 1) / LANES;        // units of a row that one lane holds

const uint UNEVEN = HEAD / UNIT % LANES; // units in a slice that is not full
const bool EVEN = FULL && UNEVEN == 0;

// Of rows that lie AHEAD keys on, a word of each line is touched: without, decode took 1.5 times as long here.
const uint LINE = 64, AHEAD = 32;

uint lane, first_row;
place at;
int row_first[ROWS], row_end[ROWS]; // keys that a row sees
vec4 query[ROWS * SLICES * QUADS];
vec4 out_sum[ROWS * SLICES * QUADS];
float row_max[ROWS], row_sum[ROWS], weight[ROWS], factor[ROWS]; // row_sum: of this lane's keys
uint touched;

struct cache {
    uint64_t start;  // of this head's first key
    uint64_t last;   // of the last key that a query sees
    uint64_t stride; // bytes from key to key
    uint units;      // of a row
};

uint row_bytes(uint elements) {
    return BLOCKS ? elements / 32u * 34u : elements * sxt_element_bytes(K_TYPE);
}

// ── Units ──

uint unit_raw[LANES * WORDS];
float unit_scale[LANES];

// This lane's unit of a slice. Lanes without one take one of the last block.
uint unit_of(cache c, uint slice) {
    uint unit = slice * LANES + lane;
    return EVEN ? unit : min(unit, BLOCKS ? c.units - 2u + (unit & 1u) : c.units - 1u);
}

// Half a block of q8_0, with the two bytes before it: 18 bytes from any even address on, from aligned words.
void load_half_block(uint64_t where, uint n) {
    uint64_t base = where & ~uint64_t(7);
    uint shift = (uint(where) & 7u) * 8u;
    uint64_t w0 = sxt_long_at(base).at[0], w1 = sxt_long_at(base).at[1], w2 = sxt_long_at(base).at[2];
    uint scale = uint(w0 >> shift) & 0xffffu;
    uint64_t low = w0 >> 1 >> (shift + 15u) | w1 << (48u - shift);
    uint64_t high = w1 >> 1 >> (shift + 15u) | w2 << (48u - shift);
    unit_raw[n * WORDS] = uint(low);
    unit_raw[n * WORDS + 1u] = uint(low >> 32);
    unit_raw[n * WORDS + 2u] = uint(high);
    unit_raw[n * WORDS + 3u] = uint(high >> 32);
    float mine = unpackHalf2x16(scale).x, other = subgroupShuffleXor(mine, 1u);
    unit_scale[n] = (lane & 1u) == 0u ? mine : other;
}

void load_unit(uint64_t row, cache c, uint slice, uint n) {
    uint unit = unit_of(c, slice);
    if (BLOCKS) {
        load_half_block(row + uint64_t(unit * 17u - (unit & 1u)), n);
        return;
    }
    uint64_t where = row + uint64_t(row_bytes(lane * UNIT));
    uint offset = row_bytes(slice * LANES * UNIT) / 8u;
    if (!EVEN) {
        where = row + uint64_t(row_bytes(unit * UNIT));
        offset = 0u;
    }
    uvec2 word = sxt_short(sxt_long_at(where).at[offset]);
    unit_raw[n * WORDS] = word.x;
    unit_raw[n * WORDS + 1u] = word.y;
    if (WORDS == 4u) {
        word = sxt_short(sxt_long_at(where).at[offset + 1u]);
        unit_raw[n * WORDS + 2u] = word.x;
        unit_raw[n * WORDS + 3u] = word.y;
    }
}

// A quad of a loaded unit; of q8_0 without its scale.
vec4 unit_quad(uint n, uint quad) {
    uint word = n * WORDS;
    if (BLOCKS)
        return vec4((ivec4(unit_raw[word + quad]) << ivec4(24, 16, 8, 0)) >> 24);
    if (K_TYPE == SXT_STORE_F32)
        return vec4(uintBitsToFloat(unit_raw[word]), uintBitsToFloat(unit_raw[word + 1u]),
                    uintBitsToFloat(unit_raw[word + WORDS - 2u]), uintBitsToFloat(unit_raw[word + WORDS - 1u]));
    return vec4(sxt_decode32(unit_raw[word], K_TYPE), sxt_decode32(unit_raw[word + 1u], K_TYPE));
}

void touch(cache c, uint64_t row) {
    const uint lines = min((row_bytes(HEAD) + LINE - 1u) / LINE, LANES); // powers of two, or nearly
    const uint keys = LANES / lines;
    uint64_t mine = row + uint64_t(AHEAD + lane / lines) * c.stride + uint64_t(lane % lines * LINE);
    [[unroll]] for (uint j = 0; j < LANES; j += keys)
        touched |= sxt_uint_at(min(mine + uint64_t(j) * c.stride, c.last) & ~uint64_t(3)).at[0];
}

// ── A trip ──

// In pairs, so that additions need not wait for one another.
float product(vec4 a, vec4 b) {
    precise float sum = (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w);
    return sum;
}

float scores[ROWS * LANES];

// Adds lanes `step` apart: half of each pair goes on with the lower `step` of the keys left, half with the upper.
#define fold(step)                                                                                                     \
    [[unroll]] for (uint n = 0; n < ROWS * step; n++) {                                                                \
        uint low = n / step * LANES + n % step;                                                                        \
        bool upper = (lane & step) != 0u;                                                                              \
        float keep = upper ? scores[low + step] : scores[low], give = upper ? scores[low] : scores[low + step];        \
        scores[low] = keep + subgroupShuffleXor(give, step);                                                           \
    }

void multiply(cache k, uint64_t row) {
    [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
        uint64_t at_key = row;
        [[unroll]] for (uint j = 0; j < LANES; j++) {
            load_unit(at_key, k, slice, 0);
            at_key += k.stride;
            float part[ROWS];
            [[unroll]] for (uint quad = 0; quad < QUADS; quad++) {
                vec4 key = unit_quad(0, quad);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    float term = product(key, query[(r * SLICES + slice) * QUADS + quad]);
                    part[r] = quad == 0 ? term : part[r] + term;
                }
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                float term = BLOCKS ? part[r] * unit_scale[0] : part[r];
                scores[r * LANES + j] = slice == 0 ? term : scores[r * LANES + j] + term;
            }
        }
    }
    if (LANES >= 16)
        fold(8);
    if (LANES >= 8)
        fold(4);
    fold(2);
    fold(1);
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        weight[r] = scores[r * LANES];
}

// Combines a value of all lanes. Written out, as fold() is: loops over a mask are not unrolled by these drivers, and what
// they index goes through memory (all of it took twice the time).
#define EXCHANGE(value, combine)                                                                                       \
    if (LANES >= 16)                                                                                                   \
        value = combine(value, subgroupShuffleXor(value, 8u));                                                         \
    if (LANES >= 8)                                                                                                    \
        value = combine(value, subgroupShuffleXor(value, 4u));                                                         \
    value = combine(value, subgroupShuffleXor(value, 2u));                                                             \
    value = combine(value, subgroupShuffleXor(value, 1u));

float plus(float a, float b) {
    return a + b;
}

row packed_row(uint r) {
    return row_at(at, first_row + r);
}

// Lane j has key key0 + j, and `begin` is the first key that was not seen yet.
void softmax(int key0, int begin) {
    int key = key0 + int(lane);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float s = logit(weight[r], at, packed_row(r), key);
        bool seen = key >= begin && (!TOKENS || (key >= row_first[r] && key < row_end[r]));
        s = seen ? s : MASKED;
        float largest = s;
        EXCHANGE(largest, max)
        largest = max(largest, row_max[r]);
        factor[r] = weight_of(row_max[r], largest);
        weight[r] = weight_of(s, largest);
        row_sum[r] = row_sum[r] * factor[r] + weight[r];
        row_max[r] = largest;
    }
}

// Slice by slice, so that a slice's sums over the trip's keys stay in registers.
void accumulate(cache v, uint64_t row) {
    [[unroll]] for (uint slice = 0; slice < SLICES; slice++) {
        uint64_t at_key = row;
        [[unroll]] for (uint j = 0; j < LANES; j++) {
            load_unit(at_key, v, slice, j);
            at_key += v.stride;
        }
        [[unroll]] for (uint quad = 0; quad < QUADS; quad++) {
            vec4 part[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                part[r] = vec4(0);
            [[unroll]] for (uint j = 0; j < LANES; j++) {
                vec4 value = unit_quad(j, quad);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    float w = subgroupBroadcast(weight[r], j);
                    vec4 term = (BLOCKS ? w * unit_scale[j] : w) * value;
                    // 0·NaN must not come in from keys that a row does not see.
                    part[r] += TOKENS && w == 0.0 ? vec4(0) : term;
                }
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                uint n = (r * SLICES + slice) * QUADS + quad;
                out_sum[n] = out_sum[n] * factor[r] + part[r];
            }
        }
    }
}

// ── A split ──

// By element, in one piece of code: q may have any type and alignment.
void load_queries() {
    const uint per_row = SLICES * UNIT;
    float loaded[ROWS * SLICES * UNIT];
    [[unroll]] for (uint n = 0; n < ROWS * per_row; n++)
        loaded[n] = 0.0;
    uint channels = (pc.dims & 0xffu) * 4u;
    [[dont_unroll]] for (uint n = 0; n < ROWS * per_row; n++) {
        uint channel = (n % per_row / UNIT * LANES + lane) * UNIT + n % UNIT;
        float q = q_load(q_row(at, packed_row(n / per_row)) + min(channel, channels - 1u));
        loaded[n] = channel < channels ? q * pc.q_scale : 0.0;
    }
    [[unroll]] for (uint n = 0; n < ROWS * SLICES * QUADS; n++)
        query[n] = vec4(loaded[4 * n], loaded[4 * n + 1], loaded[4 * n + 2], loaded[4 * n + 3]);
}

void store(uint partial) {
    uint channels = (pc.dims >> 8 & 0xffu) * 4u;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        EXCHANGE(row_sum[r], plus)
    }
    uint64_t rows = sxt_start(SXT_ATTENTION_PARTIAL_O) + uint64_t(partial) * (channels * 4u);
    uint64_t stats = sxt_start(SXT_ATTENTION_PARTIAL_STATS) + uint64_t(partial) * SXT_ATTENTION_STATS_BYTES;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        if (first_row + r < packed_rows()) {
            [[unroll]] for (uint n = 0; n < SLICES * QUADS; n++) {
                uint channel = (n / QUADS * LANES + lane) * UNIT + n % QUADS * 4u;
                if (channel < channels)
                    sxt_write4(rows + uint64_t(channel * 4u), 0u, out_sum[r * SLICES * QUADS + n], SXT_STORE_F32);
            }
            if (lane == 0u) // what was touched goes along, or the touching would be optimised away
                sxt_write4(stats, 0u, vec4(row_max[r], row_sum[r], uintBitsToFloat(touched), 0), SXT_STORE_F32);
        }
        rows += uint64_t(channels * 4u);
        stats += uint64_t(SXT_ATTENTION_STATS_BYTES);
    }
}

cache open(uint slot, uint stride[3], uint base_shift, uint quads, int last) {
    uint base = (pc.bases_main >> base_shift) & 0xffu;
    uint from = at.batch * stride[0] + at.kv_head * stride[2] + (BLOCKS ? base * 32u : base);
    uint64_t start = sxt_start(slot) + uint64_t(row_bytes(from)), bytes = uint64_t(row_bytes(stride[1]));
    return cache(start, start + uint64_t(uint(last)) * bytes, bytes, quads / QUADS);
}

void main() {
    uint splits = pc.tiles;
    if (splits == 0u)
        return;
    uint split = gl_WorkGroupID.y, row_tiles = (packed_rows() + ROWS - 1u) / ROWS, tile = gl_WorkGroupID.x;
    at = place(tile / row_tiles / pc.kv_heads, tile / row_tiles % pc.kv_heads);
    first_row = tile % row_tiles * ROWS;
    lane = gl_SubgroupInvocationID;
    touched = 0u;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        row_max[r] = FLOOR;
        row_sum[r] = 0.0;
        row_first[r] = first_key(packed_row(r).token);
        row_end[r] = end_key(packed_row(r).token);
    }
    [[unroll]] for (uint n = 0; n < ROWS * SLICES * QUADS; n++)
        out_sum[n] = vec4(0);
    load_queries();
    int first = first_key(0u), end = end_key(pc.q_tokens - 1u);
    int share = int((uint(end - first) + splits - 1u) / splits + LANES - 1u) / int(LANES) * int(LANES);
    cache k = open(SXT_ATTENTION_K, pc.k_stride, 8u, pc.dims & 0xffu, end - 1);
    cache v = open(SXT_ATTENTION_V, pc.v_stride, 16u, pc.dims >> 8 & 0xffu, end - 1);
    int begin = first + int(split) * share, stop = min(begin + share, end);
    [[dont_unroll]] for (; begin < stop; begin += int(LANES)) {
        int key0 = min(begin, end - int(LANES));
        uint64_t k_at = k.start + uint64_t(uint(key0)) * k.stride, v_at = v.start + uint64_t(uint(key0)) * v.stride;
        touch(k, k_at);
        touch(v, v_at);
        multiply(k, k_at);
        softmax(key0, begin);
        accumulate(v, v_at);
    }
    store(((at.batch * pc.kv_heads + at.kv_head) * splits + split) * packed_rows() + first_row);
}
