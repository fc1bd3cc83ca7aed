// Every mistake in a description that the CPU can see is refused, and the log names the operation, the field and the
// fault. The operations around caches: tests/reject_cache.c.
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

// ── sxt_attention ──

Test(reject, attention) {
    bench b;
    bench_init(&b);
    const sxt_attention_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 8, 16),
        .k = place(&b, SXT_TYPE_F16, 2, 5, 2, 16),
        .v = place(&b, SXT_TYPE_BF16, 2, 5, 2, 12),
        .o = place(&b, SXT_TYPE_F32, 2, 3, 8, 12),
        .lse = place(&b, SXT_TYPE_F32, 2, 3, 8, 1),
        .bias = place(&b, SXT_TYPE_F16, 1, 8, 3, 5),
        .sinks = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .alibi_slopes = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
    };
#define D sxt_attention_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),      TENSOR(D, k, true, false),
        TENSOR(D, v, true, false),      TENSOR(D, o, true, true),
        TENSOR(D, lse, false, true),    TENSOR(D, bias, false, false),
        TENSOR(D, sinks, false, false), TENSOR(D, alibi_slopes, false, false),
    };
    static const rejection rows[] = {
        {"scale is nan", {F32(D, scale, NAN)}},
        {"scale is inf", {F32(D, scale, INFINITY)}},
        {"softcap is -1", {F32(D, softcap, -1.0f)}},
        {"softcap is nan", {F32(D, softcap, NAN)}},
        {"softcap is inf", {F32(D, softcap, INFINITY)}},
        {"window_left is -2", {BOOL(D, windowed, 1), U32(D, window_left, -2)}},
        {"window_right is -2147483648", {BOOL(D, windowed, 1), U32(D, window_right, INT32_MIN)}},
        {"q.shape[3] is 3, and must be a multiple of 4", {U32(D, q.shape[3], 3)}},
        {"q.shape[3] is 0", {U32(D, q.shape[3], 0)}},
        {"q.shape[3] is 260", {U32(D, q.shape[3], 260)}},
        {"v.shape[3] is 6", {U32(D, v.shape[3], 6)}},
        {"v.shape[3] is 512", {U32(D, v.shape[3], 512)}},
        {"k.shape[0] is 1, and must be 2", {U32(D, k.shape[0], 1)}},
        {"k.shape[3] is 12, and must be 16", {U32(D, k.shape[3], 12)}},
        {"k.shape[2] is 3, and q has 8 heads", {U32(D, k.shape[2], 3), U32(D, v.shape[2], 3)}},
        {"k.shape[2] is 0, and q has 8 heads", {U32(D, k.shape[2], 0), U32(D, v.shape[2], 0)}},
        {"v.shape[1] is 4, and must be 5", {U32(D, v.shape[1], 4)}},
        {"v.shape[2] is 1, and must be 2", {U32(D, v.shape[2], 1)}},
        {"o.shape[1] is 5, and must be 3", {U32(D, o.shape[1], 5)}},
        {"o.shape[2] is 2, and must be 8", {U32(D, o.shape[2], 2)}},
        {"o.shape[3] is 16, and must be 12", {U32(D, o.shape[3], 16)}},
        {"k.type is q4_0, and must be f32, f16, bf16 or q8_0", {U32(D, k.type, SXT_TYPE_Q4_0)}},
        {"v.type is fp8_e4m3, and must be f32, f16, bf16 or q8_0", {U32(D, v.type, SXT_TYPE_FP8_E4M3)}},
        {"lse.type is f16, and must be f32", {U32(D, lse.type, SXT_TYPE_F16)}},
        {"lse.shape[3] is 12, and must be 1", {U32(D, lse.shape[3], 12)}},
        {"lse.shape[2] is 2, and must be 8", {U32(D, lse.shape[2], 2)}},
        {"bias.type is bf16, and must be f32 or f16", {U32(D, bias.type, SXT_TYPE_BF16)}},
        {"bias.shape[0] is 3, and must be 2 or 1", {U32(D, bias.shape[0], 3)}},
        {"bias.shape[1] is 2, and must be 8 or 1", {U32(D, bias.shape[1], 2)}},
        {"bias.shape[2] is 1, and must be 3", {U32(D, bias.shape[2], 1)}},
        {"bias.shape[3] is 4, and must be 5", {U32(D, bias.shape[3], 4)}},
        {"sinks.shape[3] is 2, and must be 8", {U32(D, sinks.shape[3], 2)}},
        {"sinks.shape[2] is 8, and must be 1", {U32(D, sinks.shape[2], 8), U32(D, sinks.shape[3], 1)}},
        {"alibi_slopes.shape[3] is 1, and must be 8", {U32(D, alibi_slopes.shape[3], 1)}},
        {"alibi_slopes.type is f16, and must be f32", {U32(D, alibi_slopes.type, SXT_TYPE_F16)}},
        {"o overlaps q", {U64(D, o.offset_bytes, 0)}},
        {"o overlaps k", {U64(D, o.offset_bytes, SLOT_BYTES)}},
        {"o overlaps lse", {U64(D, o.offset_bytes, 4 * SLOT_BYTES)}},
        {"o overlaps bias", {U64(D, o.offset_bytes, 5 * SLOT_BYTES)}},
        {"lse overlaps v", {U64(D, lse.offset_bytes, 2 * SLOT_BYTES)}},
        {"lse overlaps sinks", {U64(D, lse.offset_bytes, 6 * SLOT_BYTES)}},
        {"lse overlaps alibi_slopes", {U64(D, lse.offset_bytes, 7 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"open window", {BOOL(D, windowed, 1), U32(D, window_left, -1), U32(D, window_right, -1)}},
        {"the window's numbers count only with windowed", {U32(D, window_left, -7)}},
        {"no lse", {POINTER(D, lse.buffer, NULL)}},
        {"a bias for all heads", {U32(D, bias.shape[1], 1)}},
        {"v may be a part of k", {U64(D, v.offset_bytes, SLOT_BYTES), U32(D, v.type, SXT_TYPE_F16)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ATTENTION);
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
    cr_expect_eq(sxt_prepare(NULL, SXT_OP_NORM, &base), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_prepare(b.device, SXT_OP_COUNT, &base), SXT_ERROR_INVALID);
    cr_expect(strstr(b.log.text, "op is 7") != NULL);
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
