// Joins the partial results of a tile's splits in their order (see interface/attention.h): for each output row
//   lse = ln(Σ e^lse_n (+ e^sink)); o = Σ e^(lse_n − lse)·o_n
// An invocation has four channels of a row. With one split that saw keys, and no sink, its bits come through unchanged.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/features.glsl"
#include "interface/attention_decode.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_MERGE_GROUP) in;

layout(constant_id = SXT_ATTENTION_SPEC_MERGE_GROUP) const uint GROUP = 128;

#include "lib/attention.glsl"

SXT_BLOCK(partial_o, uvec4, readonly, SXT_ATTENTION_PARTIAL_O)
SXT_BLOCK(partial_lse, float, readonly, SXT_ATTENTION_PARTIAL_LSE)

const float NOTHING = uintBitsToFloat(0xff800000u); // −∞: no key

// e^(lse − greatest), where drivers' exp2 is not left to find 1 at 0, 0 far below, or NaN. Below e^−104 nothing is left
// in f32.
float share_of(float lse, float greatest) {
    float x = lse - greatest;
    return x == 0.0 || isnan(x) ? 1.0 + x : x < -104.0 ? 0.0 : exp2(x * LOG2_E);
}

float greater(float a, float b) {
    return a < b ? b : a;
}

// A row whose splits' results are rows first, first + ROWS, …
void join(place at, row r, uint first, uint splits, uint quad) {
    uint quads = pc.dims >> 8 & 0xffu;
    float greatest = NOTHING, sink = NOTHING;
    if (has(SXT_ATTENTION_HAS_SINKS))
        greatest = sink = SXT_AT(sink_logits, byte_of(pc.bases_extra, 16u) + r.head);
    for (uint n = 0u; n < splits; n++)
        greatest = greater(greatest, SXT_AT(partial_lse, first + n * ROWS));
    float total = 0.0;
    vec4 sum = vec4(0);
    for (uint n = 0u; n < splits && greatest != NOTHING; n++) {
        uint from = first + n * ROWS;
        float share = share_of(SXT_AT(partial_lse, from), greatest);
        total += share;
        sum += share * uintBitsToFloat(SXT_AT(partial_o, from * quads + quad));
    }
    if (has(SXT_ATTENTION_HAS_SINKS) && greatest != NOTHING)
        total += share_of(sink, greatest);
    o_store4(o_row(at, r) + 4u * quad, total == 0.0 ? vec4(0) : sum / total, has(SXT_ATTENTION_O_ALIGNED));
    if (has(SXT_ATTENTION_HAS_LSE) && quad == 0u)
        SXT_AT(lse_values, lse_row(at, r)) = total == 0.0 ? NOTHING : greatest + precise_log(total);
}

void main() {
    uint item = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * GROUP + gl_LocalInvocationID.x;
    uint quads = max(pc.dims >> 8 & 0xffu, 1u), slot = item / quads, local = slot / ROWS;
    uint tile = part_tile() + local;
    if (!part_is_last() || local >= params.part_tiles || tile >= pc.tiles)
        return;
    tile_place where = tile_at(tile);
    place at = place_at(where.sequence, where.kv_head);
    uint first_row = where.row_tile * ROWS, packed = first_row + slot % ROWS;
    if (packed >= packed_rows(at))
        return;
    uint last_row = min(first_row + ROWS, packed_rows(at)) - 1u;
    uint splits = splits_of(at, first_row / pc.group, last_row / pc.group);
    join(at, row_at(at, packed), partial_row(tile, 0u, slot % ROWS), splits, item % quads);
}
