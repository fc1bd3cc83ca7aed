// Joins what the splits of attention_decode_software.comp left in scratch memory, in the order of the splits: a
// workgroup, one subgroup, for each query row.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "lib/features.glsl"
#include "lib/attention.glsl"
#include "lib/address.glsl"
#include "interface/attention_decode.h"

layout(local_size_x_id = SXT_ATTENTION_SPEC_LANES) in;

layout(constant_id = SXT_ATTENTION_SPEC_LANES) const uint LANES = 8;

void main() {
    uint splits = pc.tiles, lane = gl_SubgroupInvocationID;
    if (splits == 0u)
        return;
    place at = place(gl_WorkGroupID.y / pc.kv_heads, gl_WorkGroupID.y % pc.kv_heads);
    row r = row_at(at, gl_WorkGroupID.x);
    uint quads = pc.dims >> 8 & 0xffu, first = gl_WorkGroupID.y * splits * packed_rows() + gl_WorkGroupID.x;
    uint64_t stats = sxt_start(SXT_ATTENTION_PARTIAL_STATS) + uint64_t(first) * SXT_ATTENTION_STATS_BYTES;
    uint64_t stats_stride = uint64_t(packed_rows()) * SXT_ATTENTION_STATS_BYTES;
    float maximum = FLOOR, total = 0.0;
    for (uint n = 0u; n < splits; n++)
        maximum = max(maximum, sxt_float_at(stats + uint64_t(n) * stats_stride).at[0]);
    for (uint n = 0u; n < splits; n++) {
        uint64_t where = stats + uint64_t(n) * stats_stride;
        total += sxt_float_at(where).at[1] * weight_of(sxt_float_at(where).at[0], maximum);
    }
    float factor = finish_row(at, r, maximum, total, lane == 0u);
    uint offset = o_row(at, r);
    for (uint quad = lane; quad < quads; quad += LANES) {
        uint64_t from = sxt_start(SXT_ATTENTION_PARTIAL_O) + uint64_t(first) * (quads * 16u) + uint64_t(quad * 16u);
        vec4 sum = vec4(0);
        for (uint n = 0u; n < splits; n++) {
            float weight = weight_of(sxt_float_at(stats + uint64_t(n) * stats_stride).at[0], maximum);
            sum += weight * sxt_read4(from + uint64_t(n * packed_rows()) * (quads * 16u), 0u, SXT_STORE_F32);
        }
        for (uint c = 0u; c < 4u; c++)
            o_store(offset + quad * 4u + c, sum[c] * factor);
    }
}
