// The part of a trial that runs descriptions and looks at memory afterwards.
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/op.h"
#include "support/trial.h"

// What a byte is to the descriptions that were run: nothing they may write; the first of an element (or block) that they
// must write, or another of it; of one that they may write.
enum { BYTE_KEPT = 0, BYTE_OUTPUT = 1, BYTE_REST = 2, BYTE_PARTIAL = 3 };

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
#define CACHE(desc)                                                                                                    \
    READ(desc, cache.k_scale), READ(desc, cache.v_scale), READ(desc, cache.block_table), READ(desc, cache.slots),      \
        PARTLY(desc, cache.k), PARTLY(desc, cache.v)

enum { MAX_FIELDS = 15 };

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
                             14,
                             {READ(qk_norm_rope, q), READ(qk_norm_rope, k), READ(qk_norm_rope, v),
                              READ(qk_norm_rope, q_weight), READ(qk_norm_rope, k_weight), READ(qk_norm_rope, positions),
                              WRITTEN(qk_norm_rope, q_out), WRITTEN(qk_norm_rope, k_out), CACHE(qk_norm_rope)}},
    [SXT_OP_KV_WRITE] = {sizeof(sxt_kv_write_desc), 8, {READ(kv_write, k), READ(kv_write, v), CACHE(kv_write)}},
    [SXT_OP_KV_SHIFT] = {sizeof(sxt_kv_shift_desc),
                         3,
                         {READ(kv_shift, k_scale), READ(kv_shift, deltas), PARTLY(kv_shift, k)}},
    [SXT_OP_KV_COPY] = {sizeof(sxt_kv_copy_desc),
                        6,
                        {READ(kv_copy, k_from), READ(kv_copy, v_from), READ(kv_copy, from), READ(kv_copy, to),
                         PARTLY(kv_copy, k_to), PARTLY(kv_copy, v_to)}},
    [SXT_OP_ATTENTION] = {sizeof(sxt_attention_desc),
                          15,
                          {READ(attention, q), READ(attention, k), READ(attention, v), READ(attention, k_scale),
                           READ(attention, v_scale), READ(attention, bias), READ(attention, mask),
                           READ(attention, sinks), READ(attention, alibi_slopes), READ(attention, kv_lengths),
                           READ(attention, block_table), READ(attention, cu_seqlens_q), READ(attention, cu_seqlens_k),
                           WRITTEN(attention, o), WRITTEN(attention, lse)}},
    [SXT_OP_ATTENTION_MERGE] = {sizeof(sxt_attention_merge_desc),
                                6,
                                {READ(attention_merge, o_a), READ(attention_merge, lse_a), READ(attention_merge, o_b),
                                 READ(attention_merge, lse_b), WRITTEN(attention_merge, o),
                                 WRITTEN(attention_merge, lse)}},
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
    case SXT_OP_KV_SHIFT:
        return sxt_kv_shift(stream, desc);
    case SXT_OP_KV_COPY:
        return sxt_kv_copy(stream, desc);
    case SXT_OP_ATTENTION:
        return sxt_attention(stream, desc);
    case SXT_OP_ATTENTION_MERGE:
        return sxt_attention_merge(stream, desc);
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

// The kernel that a test's surroundings ask for, where the device has it for this description.
static void choose_kernel(const sxt_test_trial *trial, sxt_any_desc *desc) {
    char variant[128];
    sxt_attention_desc chosen = desc->attention;
    if (chosen.kernel == SXT_ATTENTION_AUTO) chosen.kernel = sxt_test_kernel();
    if (sxt_describe(trial->bench->devices[SXT_TEST_DEVICE], SXT_OP_ATTENTION, &chosen, variant, sizeof variant) ==
        SXT_OK)
        desc->attention = chosen;
}

void sxt_test_describe(const sxt_test_trial *trial, const sxt_attention_desc *attention, char *out_text, size_t size) {
    sxt_any_desc desc = {.attention = *attention};
    *out_text = '\0';
    choose_kernel(trial, &desc);
    sxt_describe(trial->bench->devices[SXT_TEST_DEVICE], SXT_OP_ATTENTION, &desc, out_text, size);
}

sxt_type sxt_test_products(const sxt_test_trial *trial, const sxt_attention_desc *attention) {
    static const char matrix[] = "attention.matrix";
    char variant[128];
    sxt_test_describe(trial, attention, variant, sizeof variant);
    if (strncmp(variant, matrix, sizeof matrix - 1) != 0) return SXT_TYPE_F32;
    return attention->k.type == SXT_TYPE_BF16 ? SXT_TYPE_BF16 : SXT_TYPE_F16;
}

// Copies a description for one side: the same tensors in that device's buffers.
void sxt_test_translate(sxt_test_trial *trial, sxt_test_side side, const sxt_test_step *step, sxt_any_desc *out_desc) {
    memcpy(out_desc, step->desc, ops[step->op].bytes);
    for (uint32_t i = 0; i < ops[step->op].field_count; i++) {
        sxt_tensor *tensor = (sxt_tensor *)((char *)out_desc + ops[step->op].fields[i].offset);
        if (tensor->buffer) tensor->buffer = find_block(trial, tensor->buffer)->buffers[side];
    }
    if (step->op == SXT_OP_ATTENTION && side == SXT_TEST_DEVICE) choose_kernel(trial, out_desc);
}

static void mark_outputs(sxt_test_trial *trial, const sxt_test_step *step) {
    for (uint32_t i = 0; i < ops[step->op].field_count; i++) {
        const field *f = &ops[step->op].fields[i];
        const sxt_tensor *tensor = (const sxt_tensor *)((const char *)step->desc + f->offset);
        const uint8_t byte = f->byte == BYTE_OUTPUT && trial->partial ? BYTE_PARTIAL : f->byte;
        if (!tensor->buffer || byte == BYTE_KEPT) continue;
        const uint32_t size = sxt_type_size(tensor->type), block = sxt_type_block(tensor->type);
        uint8_t *outputs = find_block(trial, tensor->buffer)->outputs + tensor->offset_bytes;
        for (uint64_t n = 0; n < sxt_test_count(tensor); n += block) {
            uint8_t *element = outputs + sxt_test_element(tensor, n) / block * size;
            memset(element, byte == BYTE_OUTPUT ? BYTE_REST : byte, size);
            element[0] = byte;
        }
    }
}

static sxt_result run_side(sxt_test_trial *trial, sxt_test_side side, const sxt_test_step *steps, uint32_t count) {
    sxt_device *device = trial->bench->devices[side];
    sxt_stream *stream = trial->bench->streams[side];
    sxt_result result = SXT_OK;
    uint64_t ticket = 0;
    result = sxt_device_faults(device, true, NULL); // of what ran before
    for (uint32_t i = 0; i < trial->block_count && result == SXT_OK; i++) {
        sxt_test_block *block = &trial->blocks[i];
        result = sxt_buffer_write(block->buffers[side], 0, block->images[SXT_TEST_INITIAL], block->bytes);
    }
    for (uint32_t i = 0; i < count && result == SXT_OK; i++) {
        sxt_any_desc desc;
        sxt_test_translate(trial, side, &steps[i], &desc);
        result = record(stream, steps[i].op, &desc);
    }
    if (result == SXT_ERROR_UNSUPPORTED) {
        sxt_stream_reset(stream);
        return result;
    }
    if (result == SXT_OK) result = sxt_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(device, ticket, UINT64_MAX);
    if (result == SXT_OK) result = sxt_device_faults(device, false, &trial->faults[side]);
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
    if (op == SXT_OP_ATTENTION)
        sxt_test_describe(trial, desc, variant, sizeof variant);
    else
        sxt_describe(trial->bench->devices[SXT_TEST_DEVICE], op, desc, variant, sizeof variant);
    sxt_test_say(trial, "\n%s", variant);
    const sxt_result result = sxt_test_run(trial, &step, 1);
    sxt_test_require(trial, result == SXT_ERROR_UNSUPPORTED ? "the device says UNSUPPORTED" : NULL);
    sxt_test_require(trial, sxt_test_check_memory(trial));
    if (op != SXT_OP_ATTENTION) sxt_test_require(trial, sxt_test_check_faults(trial));
}

const char *sxt_test_check_faults(sxt_test_trial *trial) {
    const uint32_t *faults = trial->faults;
    if (trial->device_only || faults[SXT_TEST_DEVICE] == faults[SXT_TEST_REFERENCE]) return NULL;
    snprintf(trial->problem, sizeof trial->problem, "faults are %#x on the device, and %#x on the reference",
             faults[SXT_TEST_DEVICE], faults[SXT_TEST_REFERENCE]);
    return trial->problem;
}

// Bytes by which an element that nobody wrote is told from all others: of a block, its scale. An fp8 number may be
// anything.
static uint32_t telling_bytes(uint32_t element_bytes) {
    return element_bytes <= 1 ? 0 : element_bytes == 4 ? 4 : 2;
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
        const uint32_t telling = telling_bytes(block->element_bytes);
        if (block->outputs[i] == BYTE_OUTPUT && telling > 0 && memcmp(now + i, pattern, telling) == 0) {
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
    const uint32_t size = sxt_type_size(a->type);
    for (uint64_t n = 0; n < sxt_test_count(a); n += sxt_type_block(a->type)) {
        const uint8_t *of_a = sxt_test_bytes(trial, side_a, a, n), *of_b = sxt_test_bytes(trial, side_b, b, n);
        if (memcmp(of_a, of_b, size) == 0) continue;
        uint32_t byte = 0, bits_a = 0, bits_b = 0;
        while (of_a[byte] == of_b[byte])
            byte++;
        byte = size > sizeof bits_a ? byte : 0;
        const uint32_t shown = size > sizeof bits_a ? 1 : size;
        memcpy(&bits_a, of_a + byte, shown);
        memcpy(&bits_b, of_b + byte, shown);
        snprintf(trial->problem, sizeof trial->problem, "element %llu of %s is 0x%x at byte %u, of %s 0x%x",
                 (unsigned long long)n, find_block(trial, a->buffer)->name, bits_a, byte,
                 find_block(trial, b->buffer)->name, bits_b);
        return trial->problem;
    }
    return NULL;
}
