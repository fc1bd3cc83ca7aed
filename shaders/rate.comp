// Multiplications and additions of f32 and nothing else: chains that do not wait for each other, in registers.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/features.glsl"
#include "interface/rate.h"

layout(local_size_x_id = SXT_RATE_SPEC_GROUP) in;

layout(push_constant) uniform sxt_push_block { sxt_rate_push push; };
layout(std430, set = 0, binding = SXT_RATE_BINDING_RESULT) writeonly buffer result_block { float at[]; } result;

void main() {
    vec4 sums[SXT_RATE_ACCUMULATORS];
    [[unroll]] for (uint i = 0; i < SXT_RATE_ACCUMULATORS; i++)
        sums[i] = vec4(gl_LocalInvocationID.x + i) + vec4(0, 1, 2, 3);
    [[dont_unroll]] for (uint trip = 0u; trip < push.trips; trip++)
        [[unroll]] for (uint n = 0; n < SXT_RATE_STEPS * SXT_RATE_ACCUMULATORS; n++)
            sums[n % SXT_RATE_ACCUMULATORS] = fma(sums[n % SXT_RATE_ACCUMULATORS], vec4(push.factor), vec4(push.addend));
    vec4 sum = vec4(0);
    [[unroll]] for (uint i = 0; i < SXT_RATE_ACCUMULATORS; i++)
        sum += sums[i];
    // What is never stored would never be computed either.
    if (push.trips > 0u && sum.x + sum.y + sum.z + sum.w == push.never)
        result.at[0] = sum.x;
}
