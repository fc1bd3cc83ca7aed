// rate and rate_matrix: the kernels by which sxt_measure_fma and sxt_measure_matrix count.
#ifndef SXT_INTERFACE_RATE_H
#define SXT_INTERFACE_RATE_H

#include "interface/common.h"

#define SXT_RATE_SPEC_GROUP 0 // invocations of a workgroup
#define SXT_RATE_SPEC_COUNT 1
// Only of rate_matrix.
#define SXT_RATE_SPEC_M 1
#define SXT_RATE_SPEC_N 2
#define SXT_RATE_SPEC_K 3
#define SXT_RATE_SPEC_SIDE 4  // a subgroup's (or workgroup's) matrices A, and B: side² sums
#define SXT_RATE_SPEC_MATRIX_COUNT 5

#define SXT_RATE_BINDING_RESULT 0

#define SXT_RATE_ACCUMULATORS 16 // of an invocation, four f32 each: enough to hide the latency of an operation
#define SXT_RATE_STEPS 8         // of all accumulators a trip

// An invocation multiplies and adds 4 · accumulators · steps · trips times, a subgroup, or a workgroup with matrices of its
// own, side² · M · N · K · trips times.
// Zeroed: no trips, nothing is written.
struct sxt_rate_push {
    SXT_U32 trips;
    SXT_F32 factor, addend; // so that no compiler knows them
    SXT_F32 never;          // a sum that does not occur
};
SXT_ASSERT_PUSH(sxt_rate_push, 16);

#endif
