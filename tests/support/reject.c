#include "support/reject.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

const float sxt_test_good_factors[4] = {1.0f, 2.0f, 3.0f, 4.0f};
const float sxt_test_zero_factor[4] = {1.0f, 2.0f, 0.0f, 4.0f};
const float sxt_test_nan_factor[4] = {1.0f, 2.0f, 3.0f, NAN};

void bench_init(bench *b) {
    memset(b, 0, sizeof *b);
    b->device = sxt_test_open_reference(&b->log);
    b->other = sxt_test_open_reference(&b->log);
    const sxt_buffer_desc desc = {.bytes = SLOTS * SLOT_BYTES};
    cr_assert_eq(sxt_buffer_create(b->device, &desc, &b->buffer), SXT_OK);
    cr_assert_eq(sxt_buffer_create(b->other, &desc, &b->foreign), SXT_OK);
    cr_assert_eq(sxt_stream_create(b->device, &b->stream), SXT_OK);
    memset(sxt_buffer_map(b->buffer), 0, SLOTS * SLOT_BYTES);
}

void bench_finish(bench *b) {
    sxt_stream_destroy(&b->stream);
    sxt_buffer_destroy(&b->buffer);
    sxt_buffer_destroy(&b->foreign);
    sxt_device_close(&b->device);
    sxt_device_close(&b->other);
}

sxt_tensor place(bench *b, sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    cr_assert_lt(b->slots, SLOTS);
    return (sxt_tensor){.buffer = b->buffer,
                        .offset_bytes = (uint64_t)SLOT_BYTES * (uint64_t)b->slots++,
                        .type = type,
                        .shape = {batch, token, head, channel}};
}

void expect_rejected(bench *b, sxt_op op, const void *desc, const char *expect) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "sxt_%s: ", sxt_op_name(op));
    b->log = (sxt_test_log){.length = 0};
    sxt_result result = sxt_op_record(b->stream, op, desc);
    cr_expect_eq(result, SXT_ERROR_INVALID, "%s\"%s\": got %s", prefix, expect, sxt_result_name(result));
    cr_expect_eq(b->log.errors, 1, "%s\"%s\": %u messages:\n%s", prefix, expect, b->log.errors, b->log.text);
    cr_expect(strncmp(b->log.text, prefix, strlen(prefix)) == 0 && strstr(b->log.text, expect) != NULL,
              "%s\"%s\" expected, and the log says: %s", prefix, expect, b->log.text);
    cr_expect_eq(sxt_prepare(b->device, op, desc), SXT_ERROR_INVALID);
}

void expect_accepted(bench *b, sxt_op op, const void *desc, const char *what) {
    b->log = (sxt_test_log){.length = 0};
    sxt_result result = sxt_op_record(b->stream, op, desc);
    cr_expect(result == SXT_OK && b->log.errors == 0, "sxt_%s: %s: got %s, %s", sxt_op_name(op), what,
              sxt_result_name(result), b->log.text);
}

static void run_rows(bench *b, const rejections *all, const rejection *rows, size_t count, bool rejected) {
    for (size_t i = 0; i < count; i++) {
        sxt_any_desc desc;
        memcpy(&desc, all->base, all->bytes);
        for (int k = 0; k < PATCHES; k++)
            memcpy((char *)&desc + rows[i].patches[k].offset, &rows[i].patches[k].value, rows[i].patches[k].bytes);
        if (rejected)
            expect_rejected(b, all->op, &desc, rows[i].expect);
        else
            expect_accepted(b, all->op, &desc, rows[i].expect);
    }
}

static void expect_tensor_rejected(bench *b, const rejections *all, const tensor_row *row, const sxt_tensor *tensor,
                                   const char *suffix) {
    sxt_any_desc desc;
    char expect[96];
    memcpy(&desc, all->base, all->bytes);
    memcpy((char *)&desc + row->offset, tensor, sizeof *tensor);
    snprintf(expect, sizeof expect, "%s%s", row->field, suffix);
    expect_rejected(b, all->op, &desc, expect);
}

static void reject_tensor(bench *b, const rejections *all, const tensor_row *row) {
    sxt_tensor good;
    memcpy(&good, (const char *)all->base + row->offset, sizeof good);
    const uint32_t size = sxt_type_size(good.type), *shape = good.shape;
    const uint64_t dense[4] = {(uint64_t)shape[1] * shape[2] * shape[3], (uint64_t)shape[2] * shape[3], shape[3], 1};
    sxt_tensor t = good;
    if (row->required) {
        t.buffer = NULL;
        expect_tensor_rejected(b, all, row, &t, ".buffer is NULL");
    }
    t = good;
    t.buffer = b->foreign;
    expect_tensor_rejected(b, all, row, &t, ".buffer belongs to another device");
    t = good;
    t.type = good.type == SXT_TYPE_I32 ? SXT_TYPE_F32 : SXT_TYPE_I32;
    expect_tensor_rejected(b, all, row, &t, ".type is ");
    t.type = (sxt_type)1234;
    expect_tensor_rejected(b, all, row, &t, ".type is unknown");
    t = good;
    t.offset_bytes += size / 2;
    if (size > 1) expect_tensor_rejected(b, all, row, &t, ".offset_bytes is ");
    t = good;
    t.offset_bytes = (uint64_t)SLOTS * SLOT_BYTES - size; // ends one element late or more
    t.shape[1] += 1;
    expect_tensor_rejected(b, all, row, &t, " ends at byte ");
    t = good;
    t.offset_bytes = UINT64_MAX - size + 1;
    expect_tensor_rejected(b, all, row, &t, " reaches past 64 bits");
    t = good;
    t.shape[0] = 3;
    memcpy(t.strides, dense, sizeof dense);
    t.strides[0] = UINT64_MAX / 2 + 1;
    expect_tensor_rejected(b, all, row, &t, " reaches past 64 bits");
    t.strides[0] = UINT64_MAX / (2 * size) + 1; // elements fit, bytes do not
    expect_tensor_rejected(b, all, row, &t, " reaches past 64 bits");
    if (shape[3] > 1) {
        t = good;
        memcpy(t.strides, dense, sizeof dense);
        t.strides[3] = 2;
        expect_tensor_rejected(b, all, row, &t, ".strides[3] is 2");
    }
    for (int dim = 0; dim < 3 && row->output; dim++) {
        t = good;
        memcpy(t.strides, dense, sizeof dense);
        t.strides[dim] = 0;
        if (shape[dim] > 1) expect_tensor_rejected(b, all, row, &t, ".strides[");
    }
}

void check_rejections(bench *b, const rejections *all) {
    expect_accepted(b, all->op, all->base, "the base");
    for (size_t i = 0; i < all->tensor_count; i++)
        reject_tensor(b, all, &all->tensors[i]);
    run_rows(b, all, all->rejected, all->rejected_count, true);
    run_rows(b, all, all->accepted, all->accepted_count, false);
}
