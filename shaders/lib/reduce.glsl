// Sums and maxima over the invocations that share a row: aligned runs of LANES of a workgroup of GROUP, in a fixed
// order. The including file declares LANES and GROUP, powers of two. Built with SXT_SUBGROUP=1 it uses subgroup
// operations, and shared memory only where a row spans subgroups; right for any subgroup size.
#ifndef SXT_LIB_REDUCE_GLSL
#define SXT_LIB_REDUCE_GLSL

shared float sxt_partial[GROUP];
shared bool sxt_vote;

float sxt_combine(float a, float b, bool largest) {
    return largest ? max(a, b) : a + b;
}

#if SXT_SUBGROUP

// This invocation's place in the workgroup, such that subgroups are contiguous.
uint sxt_place() {
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

bool sxt_rows_share_barriers() {
    return LANES > gl_SubgroupSize && LANES < GROUP;
}

float sxt_row_reduce(float value, bool largest) {
    if (LANES < gl_SubgroupSize) {
        for (uint mask = LANES / 2; mask > 0u; mask /= 2u)
            value = sxt_combine(value, subgroupShuffleXor(value, mask), largest);
        return value;
    }
    value = largest ? subgroupMax(value) : subgroupAdd(value);
    if (LANES == gl_SubgroupSize)
        return value;
    barrier(); // the values of the reduction before have been read
    if (subgroupElect())
        sxt_partial[gl_SubgroupID] = value;
    barrier();
    uint count = LANES / gl_SubgroupSize, first = gl_SubgroupID / count * count;
    value = sxt_partial[first];
    for (uint i = 1u; i < count; i++)
        value = sxt_combine(value, sxt_partial[first + i], largest);
    return value;
}

#else

uint sxt_place() {
    return gl_LocalInvocationIndex;
}

bool sxt_rows_share_barriers() {
    return LANES > 1 && LANES < GROUP;
}

float sxt_row_reduce(float value, bool largest) {
    if (LANES == 1)
        return value; // with a row to itself an invocation takes branches of its own: no barrier may stand in them
    uint place = sxt_place(), lane = place % LANES;
    barrier(); // the values of the reduction before have been read
    sxt_partial[place] = value;
    barrier();
    for (uint half_width = LANES / 2; half_width > 0u; half_width /= 2u) {
        if (lane < half_width)
            sxt_partial[place] = sxt_combine(sxt_partial[place], sxt_partial[place + half_width], largest);
        barrier();
    }
    return sxt_partial[place - lane];
}

#endif

float sxt_row_add(float value) {
    return sxt_row_reduce(value, false);
}

float sxt_row_max(float value) {
    return sxt_row_reduce(value, true);
}

// Whether to enter a branch that reduces, given what is the same in all lanes of a row: true for all rows that must
// pass the same barriers if it is for one.
bool sxt_row_branch(bool wanted) {
    if (!sxt_rows_share_barriers())
        return wanted;
    barrier();
    if (sxt_place() == 0u)
        sxt_vote = false;
    barrier();
    if (wanted)
        sxt_vote = true;
    barrier();
    return sxt_vote;
}

#endif
