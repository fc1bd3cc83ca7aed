// Every mistake in a description that the CPU can see is refused, and the log names the operation, the field and the
// fault. The operations around caches: tests/reject_cache.c; attention: tests/reject_attention.c.
#include "support/reject.h"

#include <criterion/criterion.h>
#include <string.h>

// ── sxt_norm ──

static sxt_norm_desc norm_base(bench *b) {
    return (sxt_norm_desc){
        .x = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .y = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .weight = place(b, SXT_TYPE_F32, 1, 1, 1, 8),
        .bias = place(b, SXT_TYPE_F32, 1, 3, 1, 8),
        .residual = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .residual_out = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .eps = 1e-6f,
    };
}

Test(reject, norm) {
    bench b;
    bench_init(&b);
    const sxt_norm_desc base = norm_base(&b);
#define D sxt_norm_desc
    static const tensor_row tensors[] = {
        TENSOR(D, x, true, false),     TENSOR(D, y, true, true),         TENSOR(D, weight, false, false),
        TENSOR(D, bias, false, false), TENSOR(D, residual, true, false), TENSOR(D, residual_out, false, true),
    };
    static const rejection rows[] = {
        {"kind is 3", {U32(D, kind, SXT_NORM_NONE)}},
        {"kind is -1", {U32(D, kind, -1)}},
        {"eps is -1", {F32(D, eps, -1.0f)}},
        {"eps is nan", {F32(D, eps, NAN)}},
        {"eps is inf", {F32(D, eps, INFINITY)}},
        {"offset is nan", {F32(D, offset, NAN)}},
        {"offset is -inf", {F32(D, offset, -INFINITY)}},
        {"x.shape[3] is 0", {U32(D, x.shape[3], 0)}},
        {"y.shape[0] is 1, and must be 2", {U32(D, y.shape[0], 1)}},
        {"y.shape[1] is 2, and must be 3", {U32(D, y.shape[1], 2)}},
        {"y.shape[3] is 7, and must be 8", {U32(D, y.shape[3], 7)}},
        {"weight.shape[3] is 7, and must be 8 or 1", {U32(D, weight.shape[3], 7)}},
        {"weight.shape[2] is 2, and must be 4 or 1", {U32(D, weight.shape[2], 2)}},
        {"bias.shape[1] is 2, and must be 3 or 1", {U32(D, bias.shape[1], 2)}},
        {"residual.shape[2] is 1, and must be 4", {U32(D, residual.shape[2], 1)}},
        {"residual_out.shape[0] is 3, and must be 2", {U32(D, residual_out.shape[0], 3)}},
        // In memory: y begins inside x, over weight, over residual_out; x and y the same, but not in type.
        {"y overlaps x", {U64(D, y.offset_bytes, 4)}},
        {"y overlaps x", {U64(D, y.offset_bytes, 0), U32(D, y.type, SXT_TYPE_F16)}},
        {"y overlaps weight", {U64(D, y.offset_bytes, 2 * SLOT_BYTES)}},
        {"y overlaps bias", {U64(D, y.offset_bytes, 3 * SLOT_BYTES + 64)}},
        {"y overlaps residual", {U64(D, y.offset_bytes, 4 * SLOT_BYTES)}},
        {"y overlaps residual_out", {U64(D, y.offset_bytes, 5 * SLOT_BYTES)}},
        {"residual_out overlaps residual", {U64(D, residual_out.offset_bytes, 4 * SLOT_BYTES + 4)}},
        {"residual_out overlaps x", {U64(D, residual_out.offset_bytes, 4)}},
    };
    static const rejection fine[] = {
        {"in place", {U64(D, y.offset_bytes, 0)}},
        {"residual in place", {U64(D, residual_out.offset_bytes, 4 * SLOT_BYTES)}},
        {"residual_out may be x", {U64(D, residual_out.offset_bytes, 0)}},
        {"y right behind x", {U64(D, y.offset_bytes, 768)}},
        {"eps 0", {F32(D, eps, 0.0f)}},
        {"no weight", {POINTER(D, weight.buffer, NULL)}},
        {"no residual_out", {POINTER(D, residual_out.buffer, NULL)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_NORM);
    bench_finish(&b);
}

// ── sxt_rope ──

Test(reject, rope) {
    bench b;
    bench_init(&b);
    const sxt_rope_desc base = {
        .x = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .y = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .positions = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
    };
#define D sxt_rope_desc
    static const tensor_row tensors[] = {
        TENSOR(D, x, true, false),
        TENSOR(D, y, true, true),
        TENSOR(D, positions, true, false),
    };
    static const rejection rows[] = {
        ROPE_PARAM_REJECTIONS(D, positions),
        {"rope.pairing is 2, and must be 0 (half) or 1", {U32(D, rope.pairing, SXT_ROPE_NONE)}},
        {"x.shape[3] is 0", {U32(D, x.shape[3], 0)}},
        {"y.shape[2] is 3, and must be 4", {U32(D, y.shape[2], 3)}},
        {"y overlaps x", {U64(D, y.offset_bytes, 2)}},
        {"y overlaps positions", {U64(D, y.offset_bytes, 2 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"in place", {U64(D, y.offset_bytes, 0)}},
        {"positions shared by the batch", {U32(D, positions.shape[1], 1)}},
        {"part of the head", {U32(D, rope.rotary_dim, 4), U32(D, rope.rotary_offset, 2)}},
        {"factors", {POINTER(D, rope.freq_factors, sxt_test_good_factors)}},
        {"YaRN", {F32(D, rope.ext_factor, 1.0f), U32(D, rope.original_context, 4096)}},
        {"base 1", {F32(D, rope.base, 1.0f)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ROPE);
    bench_finish(&b);
}

// ── NULL, and ops that there are not ──

Test(reject, null_stream_device_and_description) {
    bench b;
    bench_init(&b);
    const sxt_norm_desc base = norm_base(&b);
    cr_expect_eq(sxt_norm(NULL, &base), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_norm(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_qk_norm_rope(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_write(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_shift(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_copy(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_attention(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect(strstr(b.log.text, "sxt_attention: desc is NULL") != NULL);
    cr_expect_eq(sxt_attention_merge(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_prepare(NULL, SXT_OP_NORM, &base), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_prepare(b.device, SXT_OP_COUNT, &base), SXT_ERROR_INVALID);
    cr_expect(strstr(b.log.text, "op is 8") != NULL);
    cr_expect_eq(sxt_prepare(b.device, (sxt_op)-1, &base), SXT_ERROR_INVALID);
    char text[64];
    cr_expect_eq(sxt_describe(NULL, SXT_OP_NORM, &base, text, sizeof text), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, NULL, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, text, sizeof text), SXT_OK);
    cr_expect_str_eq(text, "norm.reference");
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, text, 5), SXT_OK);
    cr_expect_str_eq(text, "norm");
    double flops = 7;
    cr_expect_eq(sxt_measure_fma(NULL, &flops), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_measure_fma(b.device, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_measure_fma(b.device, &flops), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(flops, 7.0);
    cr_expect(strstr(b.log.text, "sxt_measure_fma: this device runs no kernels") != NULL);
    const sxt_matrix_shape shape = {.m = 16, .n = 16, .k = 16, .c_type = 1, .scope = 3};
    cr_expect_eq(sxt_measure_matrix(NULL, &shape, &flops), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_measure_matrix(b.device, NULL, &flops), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_measure_matrix(b.device, &shape, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_measure_matrix(b.device, &shape, &flops), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(flops, 7.0);
    cr_expect(strstr(b.log.text, "sxt_measure_matrix: this device runs no products") != NULL);
    uint64_t bytes = 1;
    cr_expect_eq(sxt_scratch_size(NULL, SXT_OP_NORM, &base, &bytes), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_scratch_size(b.device, SXT_OP_NORM, &base, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_scratch_size(b.device, SXT_OP_NORM, NULL, &bytes), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_scratch_size(b.device, SXT_OP_COUNT, &base, &bytes), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_scratch_size(b.device, SXT_OP_NORM, &base, &bytes), SXT_OK);
    cr_expect_eq(bytes, 0u);
    bench_finish(&b);
}

// Empty tensors are valid: nothing is read or written.
Test(reject, no_tokens_is_no_mistake) {
    bench b;
    bench_init(&b);
    sxt_norm_desc norm = {.x = place(&b, SXT_TYPE_F32, 2, 0, 4, 8), .y = place(&b, SXT_TYPE_F32, 2, 0, 4, 8)};
    expect_accepted(&b, SXT_OP_NORM, &norm, "no tokens");
    sxt_rope_desc rope = {.x = norm.x, .y = norm.y, .positions = place(&b, SXT_TYPE_I32, 1, 1, 1, 0)};
    expect_accepted(&b, SXT_OP_ROPE, &rope, "no tokens");
    sxt_kv_write_desc kv = {.k = norm.x, .cache = {.k = place(&b, SXT_TYPE_F16, 2, 6, 4, 8), .first_row = 6}};
    expect_accepted(&b, SXT_OP_KV_WRITE, &kv, "no tokens");
    sxt_attention_desc attention = {.q = norm.x, .k = norm.x, .v = norm.x, .o = norm.y};
    expect_accepted(&b, SXT_OP_ATTENTION, &attention, "no tokens");
    norm.x.offset_bytes = (uint64_t)SLOTS * SLOT_BYTES + 4;
    expect_rejected(&b, SXT_OP_NORM, &norm, "x ends at byte");
    bench_finish(&b);
}
