// A small job for tests of the runtime: two copies of rows, the second of what the first wrote, by sxt_kv_copy, whose kernel
// takes every driver least to compile.
#ifndef SXT_TESTS_SUPPORT_COPY_JOB_H
#define SXT_TESTS_SUPPORT_COPY_JOB_H

#include "core/op.h"
#include "vulkan/internal.h"

enum { SXT_JOB_TOKENS = 48, SXT_JOB_CHANNELS = 20 };

// Buffers 0 to 2 of `tokens` rows of f32, and descriptions that copy 0 to 1 and 1 to 2.
typedef struct sxt_copy_job {
    sxt_buffer *buffers[3];
    sxt_buffer *index; // the one page there is
    uint64_t bytes;
    sxt_kv_copy_desc first, second;
    sxt_any_desc resolved; // of `first`: the plan below refers to it
} sxt_copy_job;

sxt_result sxt_copy_job_create(sxt_device *device, uint32_t tokens, sxt_copy_job *out_job);
void sxt_copy_job_destroy(sxt_copy_job *job);

// The job as one plan of two dispatches, with scratch memory of `scratch_bytes` instead of buffer 1: the rows lie at
// its end.
void sxt_copy_job_plan(sxt_copy_job *job, uint64_t scratch_bytes, sxt_plan *out_plan);

// Uses all there is of a device: buffers of both kinds, prepare, stream, scratch memory that grows, timestamps,
// submissions, waits, reading back. With `staged`, as if no memory were mapped. The first error, or OK if the result is
// right; a wrong one fails the test.
sxt_result sxt_copy_job_use_device(sxt_device *device, bool staged);

#endif
