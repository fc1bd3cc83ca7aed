// Matrix products on matrix units and nothing else: each subgroup, or with SXT_WORKGROUP=1 each workgroup, keeps some of A
// and of B in registers, and adds each product of the two to a sum of its own. SXT_BFLOAT16=1: A and B are bf16, else f16;
// sums are f32.
#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#if SXT_BFLOAT16
#extension GL_EXT_bfloat16 : require
#define ELEMENT bfloat16_t
#else
#define ELEMENT float16_t
#endif
#if SXT_WORKGROUP
#define SCOPE gl_ScopeWorkgroup
#else
#define SCOPE gl_ScopeSubgroup
#endif
#include "lib/features.glsl"
#include "interface/rate.h"

layout(local_size_x_id = SXT_RATE_SPEC_GROUP) in;
layout(constant_id = SXT_RATE_SPEC_M) const uint M = 16;
layout(constant_id = SXT_RATE_SPEC_N) const uint N = 16;
layout(constant_id = SXT_RATE_SPEC_K) const uint K = 16;
layout(constant_id = SXT_RATE_SPEC_SIDE) const uint SIDE = 4;

layout(push_constant) uniform sxt_push_block { sxt_rate_push push; };
layout(std430, set = 0, binding = SXT_RATE_BINDING_RESULT) writeonly buffer result_block { float at[]; } result;

// From −1 to 1, and different everywhere: zeros, or one number, would cost a chip less power than what is multiplied in
// earnest.
float number(uint n) {
    uint bits = (gl_LocalInvocationIndex * 64u + n) * 2654435769u;
    return float(int(bits ^ bits >> 15)) / 2147483648.0 * push.factor;
}

void main() {
    coopmat<ELEMENT, SCOPE, M, K, gl_MatrixUseA> a[SIDE];
    coopmat<ELEMENT, SCOPE, K, N, gl_MatrixUseB> b[SIDE];
    coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator> sums[SIDE * SIDE];
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        [[unroll]] for (uint e = 0; e < a[i].length(); e++)
            a[i][e] = ELEMENT(number(i * 16u + e));
        [[unroll]] for (uint e = 0; e < b[i].length(); e++)
            b[i][e] = ELEMENT(number(i * 16u + e + 1024u));
    }
    [[unroll]] for (uint n = 0; n < SIDE * SIDE; n++)
        sums[n] = coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator>(push.addend);
    [[dont_unroll]] for (uint trip = 0u; trip < push.trips; trip++)
        [[unroll]] for (uint n = 0; n < SIDE * SIDE; n++)
            sums[n] = coopMatMulAdd(a[n / SIDE], b[n % SIDE], sums[n]);
    // What is never stored would never be computed either.
    float sum = 0.0;
    [[unroll]] for (uint n = 0; n < SIDE * SIDE; n++)
        [[unroll]] for (uint e = 0; e < sums[n].length(); e++)
            sum += sums[n][e];
    if (push.trips > 0u && sum == push.never)
        result.at[0] = sum;
}
