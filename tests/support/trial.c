#include "support/trial.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "core/op.h"

// ── Devices ──

void sxt_test_bench_init(sxt_test_bench *bench) {
    memset(bench, 0, sizeof *bench);
    bench->devices[SXT_TEST_DEVICE] = sxt_test_open(&bench->log);
    bench->devices[SXT_TEST_REFERENCE] = sxt_test_open_reference(&bench->log);
    for (int side = 0; side < 2; side++)
        cr_assert(sxt_stream_create(bench->devices[side], &bench->streams[side]) == SXT_OK, "%s", bench->log.text);
}

void sxt_test_bench_finish(sxt_test_bench *bench) {
    for (int side = 0; side < 2; side++) {
        sxt_stream_destroy(&bench->streams[side]);
        sxt_device_close(&bench->devices[side]);
    }
    if (bench->log.validation == 0) return;
    // Criterion takes no notice of assertions that fail after a test.
    fprintf(stderr, "the validation layer has something to say:\n%s", bench->log.text);
    _Exit(1);
}

void sxt_test_trial_init(sxt_test_trial *trial, sxt_test_bench *bench, uint64_t seed) {
    memset(trial, 0, sizeof *trial);
    trial->bench = bench;
    trial->seed = seed;
    trial->rng = sxt_test_rng_make(seed);
    if (bench->log.validation > 0) return; // to be reported at the end
    bench->log.length = 0;
    bench->log.text[0] = 0;
}

uint64_t sxt_test_group(uint64_t seed) {
    return (seed > 0 ? seed - 1 : 0) / SXT_TEST_GROUP;
}

sxt_test_rng sxt_test_group_rng(uint64_t seed) {
    return sxt_test_rng_make(~sxt_test_group(seed));
}

void sxt_test_trial_finish(sxt_test_trial *trial) {
    for (uint32_t i = 0; i < trial->block_count; i++) {
        sxt_test_block *block = &trial->blocks[i];
        for (int side = 0; side < 2; side++)
            sxt_buffer_destroy(&block->buffers[side]);
        for (int side = 0; side < 3; side++)
            free(block->images[side]);
        free(block->outputs);
    }
    trial->block_count = 0;
}

void sxt_test_say(sxt_test_trial *trial, const char *format, ...) {
    const size_t length = strlen(trial->what);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trial->what + length, sizeof trial->what - length, format, arguments);
    va_end(arguments);
}

void sxt_test_require(const sxt_test_trial *trial, const char *problem) {
    cr_assert(!problem, "%s\n%s\nrun again with SEXTANT_TEST_SEED=%llu SEXTANT_TEST_CASES=1\n%s", problem, trial->what,
              (unsigned long long)trial->seed, trial->bench->log.text);
}

// ── Tensors ──

static void *checked_alloc(uint64_t bytes) {
    void *memory = malloc(bytes);
    cr_assert(memory, "no memory for the test itself");
    return memory;
}

static void poison(uint8_t *image, uint64_t bytes) {
    const uint16_t pattern = SXT_TEST_POISON;
    for (uint64_t i = 0; i + 2 <= bytes; i += 2)
        memcpy(image + i, &pattern, 2);
}

// Gives `tensor`, complete but for its buffer, memory of its own. `skip` bytes lie before it, past the canary.
static void make_block(sxt_test_trial *trial, const char *name, uint64_t skip, sxt_tensor *tensor) {
    cr_assert(trial->block_count < SXT_TEST_BLOCKS, "too many tensors in a trial");
    sxt_test_block *block = &trial->blocks[trial->block_count++];
    const uint32_t size = sxt_type_size(tensor->type);
    uint64_t extent = 1;
    for (int i = 0; i < 4; i++)
        extent += tensor->shape[i] > 0 ? (tensor->shape[i] - 1) * tensor->strides[i] : 0;
    extent = (extent + sxt_type_block(tensor->type) - 1) / sxt_type_block(tensor->type);
    tensor->offset_bytes = SXT_TEST_CANARY_BYTES + skip;
    // Rounded up so that the pattern covers it.
    block->bytes = (tensor->offset_bytes + extent * size + SXT_TEST_CANARY_BYTES + 1) & ~(uint64_t)1;
    block->name = name;
    block->element_bytes = size;
    for (int side = 0; side < 3; side++)
        poison(block->images[side] = checked_alloc(block->bytes), block->bytes);
    block->outputs = checked_alloc(block->bytes);
    memset(block->outputs, 0, block->bytes);
    for (int side = 0; side < 2; side++) {
        const sxt_buffer_desc desc = {.bytes = block->bytes, .name = name};
        const sxt_result result = sxt_buffer_create(trial->bench->devices[side], &desc, &block->buffers[side]);
        cr_assert(result == SXT_OK, "buffer %s: %s\n%s", name, sxt_result_name(result), trial->bench->log.text);
    }
    tensor->buffer = block->buffers[SXT_TEST_DEVICE];
}

static sxt_tensor unplaced(sxt_type type, const uint32_t shape[4]) {
    sxt_tensor tensor = {.type = type, .shape = {shape[0], shape[1], shape[2], shape[3]}};
    tensor.strides[3] = 1;
    for (int i = 3; i > 0; i--)
        tensor.strides[i - 1] = tensor.strides[i] * (shape[i] > 0 ? shape[i] : 1);
    return tensor;
}

sxt_tensor sxt_test_dense(sxt_test_trial *trial, const char *name, sxt_type type, uint32_t batch, uint32_t token,
                          uint32_t head, uint32_t channel) {
    sxt_tensor tensor = unplaced(type, (const uint32_t[]){batch, token, head, channel});
    make_block(trial, name, 0, &tensor);
    return tensor;
}

sxt_tensor sxt_test_place(sxt_test_trial *trial, const char *name, sxt_type type, uint32_t batch, uint32_t token,
                          uint32_t head, uint32_t channel) {
    sxt_tensor tensor = unplaced(type, (const uint32_t[]){batch, token, head, channel});
    sxt_test_rng *rng = &trial->rng;
    const sxt_test_layout any = SXT_TEST_PICK(rng, sxt_test_layout, SXT_TEST_DENSE, SXT_TEST_QUADS, SXT_TEST_ODD);
    const sxt_test_layout layout = trial->layout == SXT_TEST_ANY ? any : trial->layout;
    const uint32_t block = sxt_type_block(type), step = block > 1 ? block : layout == SXT_TEST_QUADS ? 4 : 1;
    uint32_t order[3] = {2, 1, 0}; // dims from the innermost outwards
    for (uint32_t i = 2; i > 0 && layout != SXT_TEST_DENSE; i--) {
        const uint32_t j = sxt_test_below(rng, i + 1), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    uint64_t span = channel;
    for (int i = 0; i < 3; i++) {
        if (layout != SXT_TEST_DENSE) span = (span + step - 1) / step * step + step * sxt_test_below(rng, 4);
        tensor.strides[order[i]] = span > 0 ? span : 1;
        span = tensor.strides[order[i]] * (tensor.shape[order[i]] > 0 ? tensor.shape[order[i]] : 1);
    }
    const uint32_t unit = block > 1 && layout == SXT_TEST_ODD ? 2 : step / block * sxt_type_size(type);
    make_block(trial, name, layout == SXT_TEST_DENSE ? 0 : unit * sxt_test_below(rng, 16), &tensor);
    return tensor;
}

static sxt_test_block *block_of(const sxt_test_trial *trial, const sxt_tensor *tensor) {
    for (uint32_t i = 0; i < trial->block_count; i++)
        if (trial->blocks[i].buffers[SXT_TEST_DEVICE] == tensor->buffer) return (sxt_test_block *)&trial->blocks[i];
    cr_assert_fail("a tensor of another trial");
    return NULL;
}

sxt_tensor sxt_test_like(sxt_test_trial *trial, const char *name, const sxt_tensor *like) {
    sxt_tensor tensor = *like;
    make_block(trial, name, like->offset_bytes - SXT_TEST_CANARY_BYTES, &tensor);
    memcpy(block_of(trial, &tensor)->images[SXT_TEST_INITIAL], block_of(trial, like)->images[SXT_TEST_INITIAL],
           block_of(trial, like)->bytes);
    return tensor;
}

// ── Elements ──

uint64_t sxt_test_count(const sxt_tensor *tensor) {
    return (uint64_t)tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

uint64_t sxt_test_element(const sxt_tensor *tensor, uint64_t n) {
    uint64_t element = 0;
    for (int i = 3; i >= 0; i--) {
        element += n % tensor->shape[i] * tensor->strides[i];
        n /= tensor->shape[i];
    }
    return element;
}

uint64_t sxt_test_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    const uint32_t *shape = tensor->shape;
    return (((uint64_t)batch * shape[1] + token) * shape[2] + head) * shape[3] + channel;
}

uint8_t *sxt_test_bytes(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n) {
    const uint64_t block = sxt_test_element(tensor, n) / sxt_type_block(tensor->type);
    return block_of(trial, tensor)->images[side] + tensor->offset_bytes + block * sxt_type_size(tensor->type);
}

// Whole blocks: any quants there are, and scales such that they have about that deviation.
static void fill_blocks(sxt_test_trial *trial, const sxt_tensor *tensor, double deviation) {
    const bool q8_0 = tensor->type == SXT_TYPE_Q8_0;
    for (uint64_t n = 0; n < sxt_test_count(tensor); n += sxt_type_block(tensor->type)) {
        uint8_t *block = sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n);
        const double scale_of_one = sxt_test_uniform(&trial->rng, 0.5, 1.5) / (q8_0 ? 73 : -4.6);
        const uint16_t scale = sxt_f16_from_double(deviation * scale_of_one);
        memcpy(block, &scale, sizeof scale);
        for (uint32_t i = 2; i < sxt_type_size(tensor->type); i++)
            block[i] = (uint8_t)(q8_0 ? sxt_test_below(&trial->rng, 255) - 127 : sxt_test_below(&trial->rng, 256));
    }
}

void sxt_test_set(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, double value) {
    sxt_store(tensor->type, sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n), 0, value);
}

void sxt_test_set_int(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, int32_t value) {
    memcpy(sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n), &value, sizeof value);
}

void sxt_test_set_bits(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, uint32_t bits) {
    memcpy(sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n), &bits, sxt_type_size(tensor->type));
}

void sxt_test_fill_normal(sxt_test_trial *trial, const sxt_tensor *tensor, double mean, double deviation) {
    if (sxt_type_block(tensor->type) > 1) {
        fill_blocks(trial, tensor, deviation);
        return;
    }
    for (uint64_t n = 0; n < sxt_test_count(tensor); n++)
        sxt_test_set(trial, tensor, n, mean + deviation * sxt_test_normal(&trial->rng));
}

void sxt_test_fill_bits(sxt_test_trial *trial, const sxt_tensor *tensor) {
    for (uint64_t n = 0; n < sxt_test_count(tensor); n += sxt_type_block(tensor->type)) {
        uint8_t *bytes = sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n);
        for (uint32_t i = 0; i < sxt_type_size(tensor->type); i++)
            bytes[i] = (uint8_t)sxt_test_bits(&trial->rng);
    }
}

void sxt_test_fill(sxt_test_trial *trial, const sxt_tensor *tensor, double value) {
    double block[32];
    for (int i = 0; i < 32; i++)
        block[i] = value;
    for (uint64_t n = 0; n < sxt_test_count(tensor); n += sxt_type_block(tensor->type))
        sxt_encode(tensor->type, block, sxt_type_block(tensor->type),
                   sxt_test_bytes(trial, SXT_TEST_INITIAL, tensor, n));
}

void sxt_test_fill_from(sxt_test_trial *trial, const sxt_tensor *tensor, const sxt_tensor *from) {
    for (uint64_t n = 0; n < sxt_test_count(tensor); n++)
        sxt_test_set(trial, tensor, n, sxt_test_get(trial, SXT_TEST_INITIAL, from, n));
}

double sxt_test_get(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n) {
    const uint64_t in_block = sxt_test_element(tensor, n) % sxt_type_block(tensor->type);
    return sxt_load(tensor->type, sxt_test_bytes(trial, side, tensor, n), in_block);
}

double *sxt_test_values(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor) {
    const uint64_t count = sxt_test_count(tensor);
    const uint8_t *data = block_of(trial, tensor)->images[side] + tensor->offset_bytes;
    double *values = checked_alloc((count + 1) * sizeof *values);
    for (uint64_t n = 0; n < count; n++)
        values[n] = sxt_load(tensor->type, data, sxt_test_element(tensor, n));
    return values;
}

int32_t sxt_test_get_int(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n) {
    int32_t value;
    memcpy(&value, sxt_test_bytes(trial, side, tensor, n), sizeof value);
    return value;
}

uint32_t sxt_test_get_bits(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n) {
    uint32_t bits = 0;
    memcpy(&bits, sxt_test_bytes(trial, side, tensor, n), sxt_type_size(tensor->type));
    return bits;
}
