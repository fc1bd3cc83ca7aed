// The part of a trial that runs descriptions and looks at memory afterwards.
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/op.h"
#include "support/trial.h"

// What a byte is to the descriptions that were run: nothing they may write, an element that they must, or may, write.
enum { BYTE_KEPT = 0, BYTE_OUTPUT = 1, BYTE_PARTIAL = 2 };

// Where the tensors of a description are, and what becomes of them.
typedef struct field {
    uint32_t offset;
    uint8_t byte;
} field;

#define READ(desc, name)                                                                                               \
    { offsetof(sxt_##desc##_desc, name), BYTE_KEPT }
#define WRITTEN(desc, name)                                                                                            \
    { offsetof(sxt_##desc##_desc, name), BYTE_OUTPUT }
#define PARTLY(desc, name)                                                                                             \
    { offsetof(sxt_##desc##_desc, name), BYTE_PARTIAL }

enum { MAX_FIELDS = 8 };

static const struct {
    uint32_t bytes, field_count;
    field fields[MAX_FIELDS];
} ops[SXT_OP_COUNT] = {
    [SXT_OP_NORM] = {sizeof(sxt_norm_desc),
                     6,
                     {READ(norm, x), READ(norm, weight), READ(norm, bias), READ(norm, residual), WRITTEN(norm, y),
                      WRITTEN(norm, residual_out)}},
    [SXT_OP_ROPE] = {sizeof(sxt_rope_desc), 3, {READ(rope, x), READ(rope, positions), WRITTEN(rope, y)}},
    [SXT_OP_QK_NORM_ROPE] = {sizeof(sxt_qk_norm_rope_desc),
                             7,
                             {READ(qk_norm_rope, q), READ(qk_norm_rope, k), READ(qk_norm_rope, q_weight),
                              READ(qk_norm_rope, k_weight), READ(qk_norm_rope, positions), WRITTEN(qk_norm_rope, q_out),
                              WRITTEN(qk_norm_rope, k_out)}},
    [SXT_OP_KV_WRITE] = {sizeof(sxt_kv_write_desc),
                         5,
                         {READ(kv_write, k), READ(kv_write, v), READ(kv_write, slots), PARTLY(kv_write, k_cache),
                          PARTLY(kv_write, v_cache)}},
    [SXT_OP_ATTENTION] = {sizeof(sxt_attention_desc),
                          8,
                          {READ(attention, q), READ(attention, k), READ(attention, v), READ(attention, bias),
                           READ(attention, sinks), READ(attention, alibi_slopes), WRITTEN(attention, o),
                           WRITTEN(attention, lse)}},
};

static sxt_result record(sxt_stream *stream, sxt_op op, const void *desc) {
    switch (op) {
    case SXT_OP_NORM:
        return sxt_norm(stream, desc);
    case SXT_OP_ROPE:
        return sxt_rope(stream, desc);
    case SXT_OP_QK_NORM_ROPE:
        return sxt_qk_norm_rope(stream, desc);
    case SXT_OP_KV_WRITE:
        return sxt_kv_write(stream, desc);
    case SXT_OP_ATTENTION:
        return sxt_attention(stream, desc);
    case SXT_OP_COUNT:
        break;
    }
    return SXT_ERROR_INVALID;
}

static sxt_test_block *find_block(sxt_test_trial *trial, const sxt_buffer *buffer) {
    for (uint32_t i = 0; i < trial->block_count; i++)
        if (trial->blocks[i].buffers[SXT_TEST_DEVICE] == buffer) return &trial->blocks[i];
    cr_assert_fail("a tensor of another trial");
    return NULL;
}

// Copies a description for one side: the same tensors in that device's buffers.
static void translate(sxt_test_trial *trial, sxt_test_side side, const sxt_test_step *step, sxt_any_desc *out_desc) {
    memcpy(out_desc, step->desc, ops[step->op].bytes);
    for (uint32_t i = 0; i < ops[step->op].field_count; i++) {
        sxt_tensor *tensor = (sxt_tensor *)((char *)out_desc + ops[step->op].fields[i].offset);
        if (tensor->buffer) tensor->buffer = find_block(trial, tensor->buffer)->buffers[side];
    }
}

static void mark_outputs(sxt_test_trial *trial, const sxt_test_step *step) {
    for (uint32_t i = 0; i < ops[step->op].field_count; i++) {
        const field *f = &ops[step->op].fields[i];
        const sxt_tensor *tensor = (const sxt_tensor *)((const char *)step->desc + f->offset);
        if (!tensor->buffer || f->byte == BYTE_KEPT) continue;
        const uint32_t size = sxt_type_size(tensor->type);
        uint8_t *outputs = find_block(trial, tensor->buffer)->outputs + tensor->offset_bytes;
        for (uint64_t n = 0; n < sxt_test_count(tensor); n++)
            memset(outputs + sxt_test_element(tensor, n) * size, f->byte, size);
    }
}

static sxt_result run_side(sxt_test_trial *trial, sxt_test_side side, const sxt_test_step *steps, uint32_t count) {
    sxt_device *device = trial->bench->devices[side];
    sxt_stream *stream = trial->bench->streams[side];
    sxt_result result = SXT_OK;
    uint64_t ticket = 0;
    for (uint32_t i = 0; i < trial->block_count && result == SXT_OK; i++) {
        sxt_test_block *block = &trial->blocks[i];
        result = sxt_buffer_write(block->buffers[side], 0, block->images[SXT_TEST_INITIAL], block->bytes);
    }
    for (uint32_t i = 0; i < count && result == SXT_OK; i++) {
        sxt_any_desc desc;
        translate(trial, side, &steps[i], &desc);
        result = record(stream, steps[i].op, &desc);
    }
    if (result == SXT_ERROR_UNSUPPORTED) {
        sxt_stream_reset(stream);
        return result;
    }
    if (result == SXT_OK) result = sxt_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(device, ticket, UINT64_MAX);
    for (uint32_t i = 0; i < trial->block_count && result == SXT_OK; i++) {
        sxt_test_block *block = &trial->blocks[i];
        result = sxt_buffer_read(block->buffers[side], 0, block->images[side], block->bytes);
    }
    if (result != SXT_OK) {
        snprintf(trial->problem, sizeof trial->problem, "running on the %s gave %s",
                 side == SXT_TEST_DEVICE ? "device" : "reference", sxt_result_name(result));
        sxt_test_require(trial, trial->problem);
    }
    return result;
}

static void copy_all(sxt_test_trial *trial, bool up) {
    for (uint32_t i = 0; i < trial->block_count; i++) {
        sxt_test_block *block = &trial->blocks[i];
        sxt_buffer *buffer = block->buffers[SXT_TEST_DEVICE];
        if (!buffer) continue; // the test destroyed it
        const sxt_result result = up ? sxt_buffer_write(buffer, 0, block->images[SXT_TEST_INITIAL], block->bytes)
                                     : sxt_buffer_read(buffer, 0, block->images[SXT_TEST_DEVICE], block->bytes);
        cr_assert_eq(result, SXT_OK, "%s: %s\n%s", block->name, sxt_result_name(result), trial->bench->log.text);
    }
}

void sxt_test_upload(sxt_test_trial *trial) {
    copy_all(trial, true);
}

void sxt_test_download(sxt_test_trial *trial) {
    copy_all(trial, false);
}

sxt_result sxt_test_record(sxt_test_trial *trial, sxt_stream *stream, sxt_op op, const void *desc) {
    const sxt_result result = record(stream, op, desc);
    if (result == SXT_OK) mark_outputs(trial, &(const sxt_test_step){op, desc});
    return result;
}

sxt_result sxt_test_run(sxt_test_trial *trial, const sxt_test_step *steps, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        mark_outputs(trial, &steps[i]);
    const sxt_result result = run_side(trial, SXT_TEST_DEVICE, steps, count);
    if (result != SXT_OK || trial->device_only) return result;
    return run_side(trial, SXT_TEST_REFERENCE, steps, count);
}

void sxt_test_run_op(sxt_test_trial *trial, sxt_op op, const void *desc) {
    const sxt_test_step step = {op, desc};
    char variant[128] = "";
    sxt_describe(trial->bench->devices[SXT_TEST_DEVICE], op, desc, variant, sizeof variant);
    sxt_test_say(trial, "\n%s", variant);
    const sxt_result result = sxt_test_run(trial, &step, 1);
    sxt_test_require(trial, result == SXT_ERROR_UNSUPPORTED ? "the device says UNSUPPORTED" : NULL);
    sxt_test_require(trial, sxt_test_check_memory(trial));
}

// The first byte of a block that is wrong, in words, or NULL.
static const char *check_block(sxt_test_trial *trial, const sxt_test_block *block, sxt_test_side side) {
    const char *device = side == SXT_TEST_DEVICE ? "device" : "reference";
    const uint8_t *now = block->images[side], *before = block->images[SXT_TEST_INITIAL];
    for (uint64_t i = 0; i < block->bytes; i++) {
        if (block->outputs[i] == BYTE_KEPT) {
            if (now[i] == before[i]) continue;
            snprintf(trial->problem, sizeof trial->problem,
                     "the %s wrote into the buffer of %s at byte %llu of %llu, which is no element of an output",
                     device, block->name, (unsigned long long)i, (unsigned long long)block->bytes);
            return trial->problem;
        }
        const uint16_t pattern[2] = {SXT_TEST_POISON, SXT_TEST_POISON};
        if (block->outputs[i] == BYTE_OUTPUT && memcmp(now + i, pattern, block->element_bytes) == 0 &&
            i % block->element_bytes == 0) {
            snprintf(trial->problem, sizeof trial->problem, "the %s left an element of %s at byte %llu unwritten",
                     device, block->name, (unsigned long long)i);
            return trial->problem;
        }
    }
    return NULL;
}

const char *sxt_test_check_memory(sxt_test_trial *trial) {
    for (int side = 0; side < (trial->device_only ? 1 : 2); side++)
        for (uint32_t i = 0; i < trial->block_count; i++) {
            const char *problem = check_block(trial, &trial->blocks[i], (sxt_test_side)side);
            if (problem) return problem;
        }
    return NULL;
}

const char *sxt_test_check_bits(sxt_test_trial *trial, sxt_test_side side_a, const sxt_tensor *a, sxt_test_side side_b,
                                const sxt_tensor *b) {
    for (uint64_t n = 0; n < sxt_test_count(a); n++) {
        const uint32_t bits_a = sxt_test_get_bits(trial, side_a, a, n), bits_b = sxt_test_get_bits(trial, side_b, b, n);
        if (bits_a == bits_b) continue;
        snprintf(trial->problem, sizeof trial->problem, "element %llu of %s is 0x%x, of %s 0x%x", (unsigned long long)n,
                 find_block(trial, a->buffer)->name, bits_a, find_block(trial, b->buffer)->name, bits_b);
        return trial->problem;
    }
    return NULL;
}
