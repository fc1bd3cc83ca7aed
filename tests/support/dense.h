// Small dense tensors on the reference device, made and read element by element: for tests of the reference itself.
#ifndef SXT_TESTS_SUPPORT_DENSE_H
#define SXT_TESTS_SUPPORT_DENSE_H

#include "support/device.h"
#include "support/random.h"

enum { SXT_DENSE_BUFFERS = 24 };

typedef struct sxt_dense {
    sxt_test_log log;
    sxt_device *device;
    sxt_stream *stream;
    sxt_buffer *buffers[SXT_DENSE_BUFFERS];
    int count;
    sxt_test_rng rng;
} sxt_dense;

void sxt_dense_init(sxt_dense *bench, uint64_t seed);

// Also fails the test if anything was logged as an error.
void sxt_dense_finish(sxt_dense *bench);

// A tensor of normal random numbers; of i32 it counts 0, 1, 2, … Its buffer lives as long as the bench.
sxt_tensor sxt_dense_make(sxt_dense *bench, sxt_type type, uint32_t batch, uint32_t token, uint32_t head,
                          uint32_t channel);
sxt_tensor sxt_dense_copy(sxt_dense *bench, const sxt_tensor *tensor);

uint64_t sxt_dense_count(const sxt_tensor *tensor);
uint64_t sxt_dense_bytes(const sxt_tensor *tensor);

// Element by element. Types with blocks are only read.
double sxt_dense_get(const sxt_tensor *tensor, uint64_t index);
void sxt_dense_set(const sxt_tensor *tensor, uint64_t index, double value);
void sxt_dense_fill(const sxt_tensor *tensor, double value);

#endif
