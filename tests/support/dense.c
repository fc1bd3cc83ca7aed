#include "support/dense.h"

#include "core/number.h"

#include <criterion/criterion.h>
#include <string.h>

void sxt_dense_init(sxt_dense *bench, uint64_t seed) {
    memset(bench, 0, sizeof *bench);
    bench->device = sxt_test_open_reference(&bench->log);
    cr_assert_eq(sxt_stream_create(bench->device, &bench->stream), SXT_OK);
    bench->rng = sxt_test_rng_make(seed);
}

void sxt_dense_finish(sxt_dense *bench) {
    cr_expect_eq(bench->log.errors, 0, "%s", bench->log.text);
    sxt_stream_destroy(&bench->stream);
    for (int i = 0; i < bench->count; i++)
        sxt_buffer_destroy(&bench->buffers[i]);
    sxt_device_close(&bench->device);
}

sxt_tensor sxt_dense_make(sxt_dense *bench, sxt_type type, uint32_t batch, uint32_t token, uint32_t head,
                          uint32_t channel) {
    cr_assert_lt(bench->count, SXT_DENSE_BUFFERS);
    uint64_t elements = (uint64_t)batch * token * head * channel;
    // A few bytes more, since a tensor may have no elements and a buffer no 0 bytes.
    const uint32_t block = sxt_type_block(type), size = sxt_type_size(type);
    const sxt_buffer_desc desc = {.bytes = elements / block * size + 16};
    sxt_buffer **buffer = &bench->buffers[bench->count++];
    cr_assert_eq(sxt_buffer_create(bench->device, &desc, buffer), SXT_OK);
    for (uint64_t i = 0; i < elements; i += block) {
        double values[SXT_BLOCK];
        for (uint32_t j = 0; j < block; j++)
            values[j] = type == SXT_TYPE_I32 ? (double)i : sxt_test_normal(&bench->rng);
        sxt_encode(type, values, block, (char *)sxt_buffer_map(*buffer) + i / block * size);
    }
    return (sxt_tensor){.buffer = *buffer, .type = type, .shape = {batch, token, head, channel}};
}

sxt_tensor sxt_dense_copy(sxt_dense *bench, const sxt_tensor *tensor) {
    const uint32_t *shape = tensor->shape;
    sxt_tensor copy = sxt_dense_make(bench, tensor->type, shape[0], shape[1], shape[2], shape[3]);
    memcpy(sxt_buffer_map(copy.buffer), sxt_buffer_map(tensor->buffer), sxt_dense_bytes(tensor));
    return copy;
}

uint64_t sxt_dense_bytes(const sxt_tensor *tensor) {
    return sxt_dense_count(tensor) / sxt_type_block(tensor->type) * sxt_type_size(tensor->type);
}

uint64_t sxt_dense_count(const sxt_tensor *tensor) {
    return (uint64_t)tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

double sxt_dense_get(const sxt_tensor *tensor, uint64_t index) {
    return sxt_load(tensor->type, sxt_buffer_map(tensor->buffer), index);
}

void sxt_dense_set(const sxt_tensor *tensor, uint64_t index, double value) {
    sxt_store(tensor->type, sxt_buffer_map(tensor->buffer), index, value);
}

void sxt_dense_fill(const sxt_tensor *tensor, double value) {
    for (uint64_t i = 0; i < sxt_dense_count(tensor); i++)
        sxt_dense_set(tensor, i, value);
}
