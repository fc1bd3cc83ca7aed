// What attention_matrix.comp and attention_matrix2.comp share: constants, the type of products, shared memory, and the
// queries on their way in. Both compute a tile of packed query rows against the keys that these see, or a split of them:
// keys and values are staged in shared memory once for all, and fetched while the tile before is multiplied.
// SXT_BFLOAT16=1: products of bf16, else of f16; sums are f32.
//
// Softmax. Weights are 2^(s·log2(e) − offset), with an offset for each row that falls out in the end. With BOUNDED it is
// the bound's. Else it is raised when a weight would pass 2^TOP, to where the row's largest weight is 2^START: seldom
// but in a row's first tile, so that the maximum of a row is hardly ever looked for.
//   What that costs: weights below 2^−14 are subnormal in f16, off by up to 2^−25 each. The offset is never above the
// largest score so far less START, so that the row's sum is at least 2^START when it ends: 2^20 keys lose 2^(20 − 25 −
// START) = 2^−13 of it, a quarter of what a weight's own rounding may.
//   With SECOND_LOOK the bound B is so large that weights may be that small: 2^TOP·e^−2B. n keys lose n·2^−25 of a row's sum,
// at most 2^−13 of it if it is n·2^−12 or more: if the mean of e^s is 2^(−12 − TOP)·e^B, which is less than 1 as long as
// B < 18.7. Only where a row is below that, all its keys well below the bound, the tile is gone through once more, with
// offsets by which the rows' sums, which are f32 and right, come out as 2^TOP: no weight is larger than the sum.
#ifndef SXT_LIB_MATRIX_GLSL
#define SXT_LIB_MATRIX_GLSL

// Queries, and keys of blocks, are rounded to the element type: logits may come out larger by a rounding of each.
#if SXT_BFLOAT16
#define SXT_BOUND_SLACK (1.0 / 128.0)
#else
#define SXT_BOUND_SLACK (1.0 / 512.0)
#endif
#include "lib/attention.glsl"
#include "interface/attention_matrix.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_THREADS) in;

layout(constant_id = SXT_ATTENTION_SPEC_HEAD) const uint HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_V_HEAD) const uint V_HEAD = 128;
layout(constant_id = SXT_ATTENTION_SPEC_KEYS) const uint KEYS = 32;
layout(constant_id = SXT_ATTENTION_SPEC_THREADS) const uint THREADS = 128;
layout(constant_id = SXT_ATTENTION_SPEC_ROW_GROUPS) const uint ROW_GROUPS = 1;
layout(constant_id = SXT_ATTENTION_SPEC_HELD_Q) const bool HELD_Q = false; // queries stay in registers
layout(constant_id = SXT_ATTENTION_SPEC_K_CHUNK) const uint K_CHUNK = 128; // channels that are staged at a time
layout(constant_id = SXT_ATTENTION_SPEC_V_CHUNK) const uint V_CHUNK = 128;
layout(constant_id = SXT_ATTENTION_SPEC_TURNED_V) const bool TURNED_V = false; // in shared memory, keys are innermost
layout(constant_id = SXT_ATTENTION_SPEC_WIDE_K) const bool WIDE_K = false;     // rows start at multiples of 8 elements
layout(constant_id = SXT_ATTENTION_SPEC_WIDE_V) const bool WIDE_V = false;
layout(constant_id = SXT_ATTENTION_SPEC_AHEAD) const bool AHEAD = false;       // keys and values are fetched ahead
layout(constant_id = SXT_ATTENTION_SPEC_SECOND_LOOK) const bool SECOND_LOOK = false; // only with BOUNDED

const bool ROW_OFFSETS = !BOUNDED || SECOND_LOOK; // rows have offsets of their own

#if SXT_BFLOAT16
#define ELEMENT bfloat16_t
const uint ELEMENT_TYPE = SXT_STORE_BF16;
#else
#define ELEMENT float16_t
const uint ELEMENT_TYPE = SXT_STORE_F16;
#endif
const int ROW_MAJOR = gl_CooperativeMatrixLayoutRowMajor, COLUMN_MAJOR = gl_CooperativeMatrixLayoutColumnMajor;

// Shared memory is in octets of elements; one octet more spreads rows over the banks.
const uint HEAD_OCTETS = HEAD / 8, K_OCTETS = K_CHUNK / 8, V_OCTETS = V_CHUNK / 8, KEY_OCTETS = KEYS / 8;
const uint Q_PITCH = HEAD_OCTETS + 1, K_PITCH = K_OCTETS + 1, V_PITCH = (TURNED_V ? KEY_OCTETS : V_OCTETS) + 1, P_PITCH = KEY_OCTETS + 1;
const uint V_CHUNKS = V_HEAD / V_CHUNK;
// What a thread fetches of a tile: octets, or with TURNED_V eight keys of a quad of channels.
const uint K_FETCHES = (KEYS * K_OCTETS + THREADS - 1) / THREADS;
const uint V_ITEMS = TURNED_V ? KEY_OCTETS * V_OCTETS * 2 : KEYS * V_OCTETS;
const uint V_FETCHES = (V_ITEMS + THREADS - 1) / THREADS, V_WORDS = TURNED_V ? 4 : 1; // of uvec4, each

shared uvec4 q_tile[HELD_Q ? 1 : ROWS * Q_PITCH];
shared uvec4 v_tile[(TURNED_V ? V_CHUNK : KEYS) * V_PITCH]; // rows are channels, or keys
shared ivec2 row_seen[ROWS];                // keys that a row sees
shared float row_offset[ROWS], row_factor[ROWS];
shared uint largest_q;
shared uint wild[2]; // by trips in turn: WILD_*

const float TOP = 15.0, START = 8.0, LEAST_MEAN = 1.0 / 4096.0;
const uint WILD_VALUE = 1u, WILD_WEIGHT = 2u; // V has an infinity or a NaN; some weight is too large, or all are too small

uint thread;
place at;
uint first_row;
ivec2 keys_seen;  // by some row of the tile
float q_scale;    // from products to logits
float bound_log2, bound_offset; // BOUNDED
uint trip; // counts tiles of keys
float greatest;
uvec4 k_fetched[K_FETCHES], v_fetched[V_FETCHES * V_WORDS];

#include "lib/attention_stage.glsl"

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

// Zeros past the channels.
uvec2 fitted_quad(uint r, uint c, float fit) {
    uint quads = pc.dims & 0xffu;
    return c < quads ? to_elements(query_quad(r, c) * fit) : uvec2(0);
}

// ── Scores ──

// The logit, in powers of two, of a row's product with a key of the tile; MASKED if the row does not see it.
float seen_logit(uint r, uint in_tile, float product, uint key0) {
    int key = int(key0 + in_tile);
    float s = product * q_scale;
    if (FEATURES)
        s = unmasked_logit(s, at, row_at(at, first_row + r), key);
    bool seen = key >= row_seen[r].x && key < row_seen[r].y;
    if (MASK_BITS)
        seen = seen && kept_in_tile(r, in_tile);
    if (PAGES)
        seen = seen && row_of_k(key0, in_tile) != ABSENT;
    return seen ? s * LOG2_E : MASKED;
}

// A score held within the bound. `factor`: of scores that are not logits yet.
float held_score(float score, float factor) {
    float s = score * factor, held = clamp(s, -bound_log2, bound_log2);
    bool seen = s != MASKED;
    greatest = max(greatest, seen ? abs(s) : 0.0);
    return isnan(s) || !seen ? s : held;
}

// ── Outputs ──

// Where a row of the output begins.
uint output_row(uint r, uint partial) {
    return SPLIT ? (partial + r) * (pc.dims >> 8 & 0xffu) * 4u : o_row(at, row_at(at, first_row + r));
}

#endif
