// sxt_norm for drivers that run Vulkan on the CPU, where a barrier costs more than it saves, and idle lanes cost as
// much as busy ones. A workgroup is one subgroup; it walks a contiguous part of all rows, ROWS of them together, so
// that a gain is loaded once for all, in code without loops. A lane takes pieces (a quad, or one element where rows
// are not ALIGNED) `lane`, lane + LANES, … of each. HELD rows stay in registers; longer ones are read again by each
// pass, out of the cache. Each lane reads and writes the same elements in every pass, so that y may be x, and
// residual_out x or residual.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "lib/features.glsl"
#include "interface/norm.h"

layout(local_size_x_id = SXT_NORM_SPEC_GROUP) in;
layout(constant_id = SXT_NORM_SPEC_GROUP) const uint GROUP = 8;
layout(constant_id = SXT_NORM_SPEC_KIND) const uint KIND = SXT_KIND_RMS;
layout(constant_id = SXT_NORM_SPEC_ALIGNED) const bool ALIGNED = true;
layout(constant_id = SXT_NORM_SPEC_X_TYPE) const uint X_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_Y_TYPE) const uint Y_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_WEIGHT_TYPE) const uint WEIGHT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_BIAS_TYPE) const uint BIAS_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_RESIDUAL_TYPE) const uint RESIDUAL_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_RESIDUAL_OUT_TYPE) const uint RESIDUAL_OUT_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_NORM_SPEC_WEIGHT_ONE) const bool WEIGHT_ONE = false;
layout(constant_id = SXT_NORM_SPEC_BIAS_ONE) const bool BIAS_ONE = false;
layout(constant_id = SXT_NORM_SPEC_ROWS) const uint ROWS = 4;
layout(constant_id = SXT_NORM_SPEC_STEPS) const uint STEPS = 4;
layout(constant_id = SXT_NORM_SPEC_HELD) const bool HELD = false;
layout(constant_id = SXT_NORM_SPEC_FULL) const bool FULL = false;
layout(constant_id = SXT_NORM_SPEC_SHARED) const bool SHARED = false;
layout(constant_id = SXT_NORM_SPEC_FLAT) const bool FLAT = false;

layout(push_constant) uniform sxt_push_block { sxt_norm_push push; };

const uint LANES = GROUP; // the subgroup's size
#include "lib/norm.glsl"
#include "lib/address.glsl"

const uint PIECE = ALIGNED ? 4 : 1;
const uint GAINS = SHARED ? 1 : ROWS;

uint lane, pieces;
uint64_t x_at[ROWS], y_at[ROWS], residual_at[ROWS], residual_out_at[ROWS]; // where the lane's first piece is
uint64_t weight_at[GAINS], bias_at[GAINS];

// ── Pieces ──

uint bytes_of(uint piece, uint type) {
    return piece * PIECE * sxt_element_bytes(type);
}

// A lane's piece `step` · LANES past the address.
vec4 read(uint64_t at, uint step, uint type) {
    if (ALIGNED)
        return sxt_read4(at, bytes_of(step * LANES, type), type);
    return vec4(sxt_read1(at + uint64_t(bytes_of(step * LANES, type)), type), 0, 0, 0);
}

void write(uint64_t at, uint step, vec4 v, uint type) {
    if (ALIGNED)
        sxt_write4(at, bytes_of(step * LANES, type), v, type);
    else
        sxt_write1(at + uint64_t(bytes_of(step * LANES, type)), v.x, type);
}

uint64_t past(uint64_t at, uint piece, uint type) {
    return at + uint64_t(bytes_of(piece, type));
}

vec4 read_row(uint r, uint piece, uint step) {
    vec4 v = read(past(x_at[r], piece, X_TYPE), step, X_TYPE);
    if (RESIDUAL_TYPE != SXT_STORE_NONE)
        v += read(past(residual_at[r], piece, RESIDUAL_TYPE), step, RESIDUAL_TYPE);
    return v;
}

vec4 read_weight(uint r, uint piece, uint step) {
    vec4 v = WEIGHT_ONE ? vec4(sxt_read1(weight_at[r], WEIGHT_TYPE))
                        : read(past(weight_at[r], piece, WEIGHT_TYPE), step, WEIGHT_TYPE);
    return push.offset + v;
}

vec4 read_bias(uint r, uint piece, uint step) {
    return BIAS_ONE ? vec4(sxt_read1(bias_at[r], BIAS_TYPE))
                    : read(past(bias_at[r], piece, BIAS_TYPE), step, BIAS_TYPE);
}

void write_row(uint r, uint piece, uint step, vec4 v, sxt_row_norm norm, vec4 weight, vec4 bias) {
    vec4 y = (v * norm.scale - norm.centre) * norm.factor;
    if (WEIGHT_TYPE != SXT_STORE_NONE)
        y *= weight;
    if (BIAS_TYPE != SXT_STORE_NONE)
        y += bias;
    if (RESIDUAL_OUT_TYPE != SXT_STORE_NONE)
        write(past(residual_out_at[r], piece, RESIDUAL_OUT_TYPE), step, v, RESIDUAL_OUT_TYPE);
    write(past(y_at[r], piece, Y_TYPE), step, y, Y_TYPE);
}

// Precise: else a factor of all four may be taken out of the sum, which then overflows.
float sum(vec4 v) {
    precise float total = ALIGNED ? (v.x + v.y) + (v.z + v.w) : v.x;
    return total;
}

float sum_squares(vec4 v) {
    return sum(v * v);
}

// ── Where rows are ──

// This lane's first piece of a row, which is given as its batch, token and head; where `one`, the row's only element.
uint64_t row_at(uint slot, sxt_view view, uint type, uvec3 row, bool one) {
    uint64_t start = uint64_t(sxt_view_row(view, row.x, row.y, row.z)) * sxt_element_bytes(type);
    return past(sxt_start(slot) + start, one ? 0u : lane, type);
}

// Where FLAT, heads are all there is.
uvec3 locate(uint row) {
    if (FLAT)
        return uvec3(0, 0, row);
    uint token = row / push.heads, batch = token / push.tokens;
    return uvec3(batch, token - batch * push.tokens, row - token * push.heads);
}

// ROWS rows from `first` on; the last one over and over past `end`.
void find_rows(uint first, uint end) {
    // A division takes the lanes one after the other: it is done once, a row a lane.
    uvec3 of_lane = FLAT ? uvec3(0) : locate(min(first + lane, end - 1u));
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uvec3 row = FLAT ? locate(min(first + r, end - 1u)) : subgroupBroadcast(of_lane, r);
        x_at[r] = row_at(SXT_NORM_BINDING_X, push.x, X_TYPE, row, false);
        y_at[r] = row_at(SXT_NORM_BINDING_Y, push.y, Y_TYPE, row, false);
        residual_at[r] = row_at(SXT_NORM_BINDING_RESIDUAL, push.residual, RESIDUAL_TYPE, row, false);
        residual_out_at[r] = row_at(SXT_NORM_BINDING_RESIDUAL_OUT, push.residual_out, RESIDUAL_OUT_TYPE, row, false);
        if (r < GAINS) {
            weight_at[r] = row_at(SXT_NORM_BINDING_WEIGHT, push.weight, WEIGHT_TYPE, row, WEIGHT_ONE);
            bias_at[r] = row_at(SXT_NORM_BINDING_BIAS, push.bias, BIAS_TYPE, row, BIAS_ONE);
        }
    }
}

// ── Passes over ROWS rows ──

const uint SUM = 0, SQUARES = 1, WRITE = 2;

vec4 held[HELD ? ROWS * STEPS : 1];
float total[ROWS];
sxt_row_norm norms[ROWS];
bool done[ROWS]; // not to be written

// Whether this lane has a piece in a step.
bool has(uint piece, uint step) {
    return FULL || (HELD && step + 1u < STEPS) || piece + step * LANES + lane < pieces;
}

vec4 take(uint r, uint piece, uint step) {
    if (HELD)
        return held[r * STEPS + step];
    vec4 v = vec4(0);
    if (has(piece, step))
        v = read_row(r, piece, step);
    return v;
}

void add(uint pass, uint piece) {
    [[unroll]] for (uint step = 0; step < STEPS; step++) {
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            vec4 v = take(r, piece, step) * norms[r].scale;
            float t = pass == SUM ? sum(v) : sum_squares(v - norms[r].centre);
            total[r] += has(piece, step) ? t : 0.0;
        }
    }
}

void write_all(uint piece) {
    vec4 weight[GAINS * STEPS], bias[GAINS * STEPS];
    [[unroll]] for (uint n = 0; n < GAINS * STEPS; n++) {
        if (has(piece, n % STEPS)) {
            if (WEIGHT_TYPE != SXT_STORE_NONE)
                weight[n] = read_weight(n / STEPS, piece, n % STEPS);
            if (BIAS_TYPE != SXT_STORE_NONE)
                bias[n] = read_bias(n / STEPS, piece, n % STEPS);
        }
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        if (!done[r]) {
            [[unroll]] for (uint step = 0; step < STEPS; step++) {
                uint gain = (SHARED ? 0u : r) * STEPS + step;
                vec4 v = take(r, piece, step);
                if (has(piece, step))
                    write_row(r, piece, step, v, norms[r], weight[gain], bias[gain]);
            }
        }
    }
}

void pass_over(uint pass) {
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        total[r] = 0.0;
    [[dont_unroll]] for (uint piece = 0u; piece < (HELD ? 1u : pieces); piece += STEPS * LANES) {
        if (pass == WRITE)
            write_all(piece);
        else
            add(pass, piece);
    }
}

// Normalises rows from `first` on, before `end`, all with a scale. Returns which of them were left out because they
// need another one, a bit for each: none where `rescue`, which says that it is theirs.
uint norm_rows(uint first, uint end, float scale, bool rescue) {
    float count = float(push.channels);
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        norms[r] = sxt_row_norm(scale, 0.0, 0.0);
    if (HELD) {
        [[unroll]] for (uint n = 0; n < ROWS * STEPS; n++) {
            held[n] = vec4(0);
            if (has(0u, n % STEPS))
                held[n] = read_row(n / STEPS, 0u, n % STEPS);
        }
    }
    if (KIND == SXT_KIND_LAYER) {
        pass_over(SUM);
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            norms[r].centre = subgroupAdd(total[r]) / count;
    }
    pass_over(SQUARES);
    uint extreme = 0u;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float power = sxt_power(KIND, subgroupAdd(total[r]), count, push.eps, scale);
        bool there = first + r < end, left = there && !rescue && sxt_extreme(power);
        norms[r].factor = sxt_factor(power);
        done[r] = !there || left;
        extreme |= left ? 1u << r : 0u;
    }
    pass_over(WRITE);
    return extreme;
}

// The scale for the first of the rows found.
float rescue_scale() {
    float largest = 0.0;
    [[dont_unroll]] for (uint piece = 0u; piece + lane < pieces; piece += LANES) {
        vec4 v = abs(read_row(0u, piece, 0u));
        largest = max(largest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    return sxt_scale(KIND, subgroupMax(largest), push.eps);
}

void main() {
    lane = gl_SubgroupInvocationID;
    pieces = push.channels / PIECE;
    uint groups = gl_NumWorkGroups.x * gl_NumWorkGroups.y;
    uint share = (push.rows + groups - 1u) / groups; // at most 32: a bit each
    uint first = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * share;
    uint end = min(first + share, push.rows), row = first, extreme = 0u;
    // First all rows, then the extreme ones again, in one loop: so that the code is there, and compiled, once.
    [[dont_unroll]] while (row < end || extreme != 0u) {
        bool rescue = row >= end;
        uint from = rescue ? first + uint(findLSB(extreme)) : row, to = rescue ? from + 1u : end;
        float scale = 1.0;
        find_rows(from, to);
        if (rescue)
            scale = rescue_scale();
        uint left = norm_rows(from, to, scale, rescue);
        extreme = rescue ? extreme & (extreme - 1u) : extreme | left << (from - first);
        row += ROWS;
    }
}
