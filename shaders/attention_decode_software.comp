// Attention of few queries over many keys, for drivers that run Vulkan on the CPU: one split of a tile's keys.
//
// A workgroup is one subgroup with ROWS packed query rows of one KV head and a contiguous part of their keys, LANES of
// them a trip. Lanes are channels: lane n loads units n, n + LANES, … of keys and values; a unit is four channels, of
// fp8 eight, of blocks sixteen. For the softmax lane j has key j.
//
// In the last trip lanes without a key of their own repeat the last one, with weight 0.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "lib/features.glsl"
#include "interface/attention_decode.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_LANES) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;     // channels of K
layout(constant_id = SXT_ATTENTION_SPEC_V_HEAD) const uint V_HEAD = 128; // and of V
layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 8; // the subgroup's size, and the keys of a trip
layout(constant_id = SXT_ATTENTION_SPEC_TOKENS) const bool TOKENS = false; // rows may see different keys
layout(constant_id = SXT_ATTENTION_SPEC_TOUCH) const bool TOUCH = false;

uint lane;

#include "lib/attention.glsl"
#include "lib/address.glsl"
#include "lib/decode_unit.glsl"

const uint K_UNIT = SXT_UNIT_CHANNELS(K_TYPE), V_UNIT = SXT_UNIT_CHANNELS(V_TYPE);
const uint K_QUADS = K_UNIT / 4, V_QUADS = V_UNIT / 4;
const uint K_UNITS = HEAD / K_UNIT, V_UNITS = V_HEAD / V_UNIT;
const uint K_SLICES = (K_UNITS + LANES - 1) / LANES, V_SLICES = (V_UNITS + LANES - 1) / LANES; // units of a lane
// Values of a trip. Short trips stay in the CPU's cache of decoded instructions: with all LANES keys in one decode took
// 1.6 times as long.
const uint V_STEP = V_UNIT > 8 ? 1 : 2;
const bool K_EVEN = K_UNITS % LANES == 0, V_EVEN = V_UNITS % LANES == 0;

uint first_row;
place at;
int row_first[ROWS], row_end[ROWS]; // keys that a row sees
vec4 query[ROWS * K_SLICES * K_QUADS];
vec4 out_sum[ROWS * V_SLICES * V_QUADS];
float row_max[ROWS], row_sum[ROWS], weight[ROWS], factor[ROWS]; // row_sum: of this lane's keys
float greatest; // BOUNDED: logit so far
uint touched;

// ── Rows of the cache ──

struct cache {
    uint64_t start;        // of this head's first key; of pages, of page 0
    uint64_t stride, page; // bytes from key to key, and from page to page
};

cache open_cache(uint slot, uint type, uint stride[3], uint base_shift) {
    uint base = byte_of(pc.bases_main, base_shift);
    uint64_t first = unit_bytes(type, sxt_is_blocks(type) ? base * 32u : base) + unit_bytes(type, stride[2]) * at.kv_head;
    return cache(sxt_start(slot) + first, unit_bytes(type, stride[1]), unit_bytes(type, stride[0]));
}

// An address that lane j has.
uint64_t address_of(uint64_t mine, uint j) {
    uvec2 words = sxt_short(mine);
    return sxt_long(uvec2(subgroupBroadcast(words.x, j), subgroupBroadcast(words.y, j)));
}

uint64_t row_of(cache c, key_place where) {
    uint64_t row = c.start + where.batch * c.page + where.token * c.stride;
    // The first lane's key is always there: see next_keys().
    return PAGES && !where.there ? address_of(row, 0u) : row;
}

// A word of each line of the rows of the next trip, in 16 bits: these loads become plain ones lane by lane, which the
// CPU's prefetcher follows.
void touch(uint64_t mine, uint bytes) {
    const uint line = 64, lines = (bytes + line - 1u) / line, keys = max(LANES / lines, 1u);
    [[unroll]] for (uint j = 0; j < LANES; j += keys) {
        uint64_t row = address_of(mine, j);
        [[unroll]] for (uint m = 1; m < keys; m++)
            row = lane >= m * lines ? address_of(mine, min(j + m, LANES - 1u)) : row;
        [[unroll]] for (uint n = 0; n < lines; n += LANES) {
            uint byte = (n + (keys > 1u ? lane % lines : lane)) * line;
            uint64_t where = row + uint64_t(lines % LANES == 0u || keys > 1u ? byte : min(byte, bytes - 2u));
            touched |= uint(sxt_uint16_t_at(where & ~uint64_t(1)).at[0]);
        }
    }
}

// ── A trip ──

// In pairs, so that additions need not wait for one another.
float product(vec4 a, vec4 b) {
    precise float sum = (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w);
    return sum;
}

// Combines a value of all lanes. Written out: loops over a mask are not unrolled by these drivers, and what they index
// goes through memory (all of it took twice the time).
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

// Lane j gets the scores of key j, in `weight`.
void multiply(uint64_t mine) {
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        weight[r] = 0.0;
    [[dont_unroll]] for (uint j = 0; j < LANES; j++) {
        uint64_t row = address_of(mine, j);
        float scores[ROWS];
        [[unroll]] for (uint slice = 0; slice < K_SLICES; slice++) {
            load_unit(row, K_TYPE, K_UNITS, K_EVEN, slice, 0);
            float part[ROWS];
            [[unroll]] for (uint quad = 0; quad < K_QUADS; quad++) {
                vec4 key = unit_quad(K_TYPE, 0, quad);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    float term = product(key, query[(r * K_SLICES + slice) * K_QUADS + quad]);
                    part[r] = quad == 0 ? term : part[r] + term;
                }
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                float term = sxt_is_blocks(K_TYPE) ? part[r] * unit_scale[0] : part[r];
                scores[r] = slice == 0 ? term : scores[r] + term;
            }
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            EXCHANGE(scores[r], plus)
            weight[r] = lane == j ? scores[r] : weight[r];
        }
    }
}

row packed_row(uint r) {
    return row_at(at, first_row + r);
}

// Lane j has key `key`, if it is there at all.
void softmax(int key, bool there) {
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float s = logit(weight[r], at, packed_row(r), key);
        bool seen = there && (!TOKENS || (key >= row_first[r] && key < row_end[r]));
        s = seen ? s : MASKED;
        if (BOUNDED) {
            weight[r] = bounded_weight(s, greatest);
            row_sum[r] += weight[r];
            continue;
        }
        float largest = s;
        EXCHANGE(largest, max)
        largest = max(largest, row_max[r]);
        factor[r] = weight_of(row_max[r], largest);
        weight[r] = weight_of(s, largest);
        row_sum[r] = row_sum[r] * factor[r] + weight[r];
        row_max[r] = largest;
    }
}

// Slice by slice, so that a slice's sums over the keys stay in registers.
void accumulate(uint64_t mine) {
    if (!BOUNDED)
        [[unroll]] for (uint n = 0; n < ROWS * V_SLICES * V_QUADS; n++)
            out_sum[n] *= factor[n / (V_SLICES * V_QUADS)];
    [[dont_unroll]] for (uint j = 0; j < LANES; j += V_STEP) {
        float w[ROWS * V_STEP];
        uint64_t row[V_STEP];
        [[unroll]] for (uint n = 0; n < V_STEP; n++) {
            row[n] = address_of(mine, j + n);
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                w[r * V_STEP + n] = subgroupBroadcast(weight[r], j + n);
        }
        [[unroll]] for (uint slice = 0; slice < V_SLICES; slice++) {
            [[unroll]] for (uint n = 0; n < V_STEP; n++)
                load_unit(row[n], V_TYPE, V_UNITS, V_EVEN, slice, n);
            [[unroll]] for (uint quad = 0; quad < V_QUADS; quad++) {
                vec4 part[ROWS];
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    part[r] = vec4(0);
                [[unroll]] for (uint n = 0; n < V_STEP; n++) {
                    vec4 value = unit_quad(V_TYPE, n, quad);
                    [[unroll]] for (uint r = 0; r < ROWS; r++) {
                        float own = w[r * V_STEP + n];
                        vec4 term = (sxt_is_blocks(V_TYPE) ? own * unit_scale[n] : own) * value;
                        // 0·NaN must not come in from keys that a row does not see.
                        part[r] += (TOKENS || MASK_BITS) && own == 0.0 ? vec4(0) : term;
                    }
                }
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    out_sum[(r * V_SLICES + slice) * V_QUADS + quad] += part[r];
            }
        }
    }
}

// ── A split ──

void load_queries() {
    float scale = q_factor(at);
    uint type = type_at(SXT_ATTENTION_Q_TYPE_SHIFT);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint64_t start = sxt_start(SXT_ATTENTION_Q) + uint64_t(q_row(at, packed_row(r))) * sxt_element_bytes(type);
        [[unroll]] for (uint n = 0; n < K_SLICES * K_QUADS; n++) {
            uint unit = n / K_QUADS * LANES + lane;
            uint channel = unit_channel(K_TYPE, min(unit, K_UNITS - 1u), n % K_QUADS);
            vec4 q = sxt_read4(start + uint64_t(channel * sxt_element_bytes(type)), 0u, type) * scale;
            query[r * K_SLICES * K_QUADS + n] = K_EVEN || unit < K_UNITS ? q : vec4(0);
        }
    }
}

void store(uint partial) {
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        EXCHANGE(row_sum[r], plus)
    }
    uint type = type_at(SXT_ATTENTION_O_TYPE_SHIFT);
    // What was touched counts where a flag is set that no call has: or the touching would be optimised away.
    bool first_lane = lane == (pc.flags >> 31) * touched;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        if (first_row + r >= packed_rows(at))
            continue;
        row here = packed_row(r);
        float scale = finish_row(at, here, BOUNDED ? 0.0 : row_max[r], row_sum[r], partial + r, first_lane);
        uint offset = SPLIT ? (partial + r) * V_HEAD : o_row(at, here);
        uint64_t start = sxt_start(SXT_ATTENTION_O) + uint64_t(offset) * sxt_element_bytes(type);
        [[unroll]] for (uint n = 0; n < V_SLICES * V_QUADS; n++) {
            uint unit = n / V_QUADS * LANES + lane;
            uint channel = unit_channel(V_TYPE, min(unit, V_UNITS - 1u), n % V_QUADS);
            vec4 o = row_sum[r] == 0.0 ? vec4(0) : out_sum[r * V_SLICES * V_QUADS + n] * scale;
            if (V_EVEN || unit < V_UNITS)
                sxt_write4(start + uint64_t(channel * sxt_element_bytes(type)), 0u, o, type);
        }
    }
}

// The first key from `key` on that lies on a page, and in a word of 32 keys of which the mask keeps some for some row.
int next_keys(int key, int end) {
    bool skipped = PAGES || MASK_BITS;
    [[dont_unroll]] for (; skipped && key < end;) {
        int from = key;
        if (PAGES)
            key = find_key(at, uint(key)).there ? key : int((uint(key) / params.page_rows + 1u) * params.page_rows);
        if (MASK_BITS) {
            uint bits = 0u;
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                bits |= SXT_AT(mask_words, mask_row(at, packed_row(r)) + uint(from) / 32u);
            key = bits >> uint(from) % 32u != 0u ? key : max(key, (from / 32 + 1) * 32);
        }
        skipped = key != from;
    }
    return key;
}

void main() {
    uint local = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    uint tile = part_tile() + local;
    if (local >= params.part_tiles || tile >= pc.tiles)
        return;
    tile_place where = tile_at(tile);
    at = place_at(where.sequence, where.kv_head);
    first_row = where.row_tile * ROWS;
    if (first_row >= packed_rows(at))
        return;
    lane = gl_SubgroupInvocationID;
    uint split = part_split() + gl_WorkGroupID.z, last_row = min(first_row + ROWS, packed_rows(at)) - 1u;
    ivec2 keys = keys_of(at, first_row / pc.group, last_row / pc.group, split);
    if (SPLIT && keys.y <= keys.x)
        return;
    touched = 0u;
    greatest = MASKED;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        row_max[r] = FLOOR;
        row_sum[r] = 0.0;
        row_first[r] = first_key(at, packed_row(r).token);
        row_end[r] = end_key(at, packed_row(r).token);
    }
    [[unroll]] for (uint n = 0; n < ROWS * V_SLICES * V_QUADS; n++)
        out_sum[n] = vec4(0);
    load_queries();
    cache k = open_cache(SXT_ATTENTION_K, K_TYPE, pc.k_stride, 8u);
    cache v = open_cache(SXT_ATTENTION_V, V_TYPE, pc.v_stride, 16u);
    [[dont_unroll]] for (int begin = next_keys(keys.x, keys.y); begin < keys.y;
                         begin = next_keys(begin + int(LANES), keys.y)) {
        int key = begin + int(lane);
        // From 0 on even if there are no keys: see row_address() in lib/prefill_rows.glsl.
        key_place mine = find_key(at, uint(max(min(key, keys.y - 1), 0)));
        if (TOUCH) {
            key_place next = find_key(at, uint(max(min(key + int(LANES), keys.y - 1), 0)));
            touch(row_of(k, next), uint(unit_bytes(K_TYPE, HEAD)));
            touch(row_of(v, next), uint(unit_bytes(V_TYPE, V_HEAD)));
        }
        multiply(row_of(k, mine));
        softmax(key, key < keys.y && mine.there);
        accumulate(row_of(v, mine));
    }
    store(partial_row(tile, split, 0u));
    report_pages();
    if (BOUNDED)
        report_bound(greatest);
}
