// A kernel that tells what the runtime hands to one: written to memory, for tests/dispatches.c. One workgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/storage.glsl"

layout(local_size_x = 32) in;

// `count` words of params are written to `to` from word part·count on, each plus what `from` holds there.
layout(push_constant) uniform push_block { uint part, count; } push;
layout(std140, set = 0, binding = SXT_PARAMS_BINDING) uniform params_block { uvec4 params[8]; };

SXT_BLOCK(from, uint, readonly, 0)
SXT_BLOCK(to, uint, , 1)
SXT_BLOCK(faults, uint, , 2)

void main() {
    uint i = gl_LocalInvocationIndex, at = push.part * push.count + i;
    if (i >= push.count) return;
    SXT_AT(to, at) = SXT_AT(from, at) + params[i / 4u][i % 4u];
    if (i == 0u) atomicOr(SXT_AT(faults, 0u), 1u << push.part);
}
