// Sums over the units that a lane holds, for lib/norm.glsl. The including file declares UNITS, lo and hi (0 where there
// is no channel), and
//   vec4 sxt_centred(uint i, bool second, vec4 v, float centre)   v − centre where unit i's first or second quad has a channel
#ifndef SXT_LIB_HELD_GLSL
#define SXT_LIB_HELD_GLSL

float sxt_lane_sum(float scale) {
    precise vec4 sum = vec4(0); // a·scale + b·scale, not (a + b)·scale: a + b may be too large
    for (uint i = 0u; i < UNITS; i++)
        sum += lo[i] * scale + hi[i] * scale;
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_squares(float scale, float centre) {
    vec4 sum = vec4(0);
    for (uint i = 0u; i < UNITS; i++) {
        vec4 a = sxt_centred(i, false, lo[i] * scale, centre), b = sxt_centred(i, true, hi[i] * scale, centre);
        sum += a * a + b * b;
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float sxt_lane_largest() {
    vec4 largest = vec4(0);
    for (uint i = 0u; i < UNITS; i++)
        largest = max(largest, max(abs(lo[i]), abs(hi[i])));
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}

#endif
