// Every mistake in the descriptions of attention is refused: see tests/reject.c.
#include "support/reject.h"

#include <criterion/criterion.h>

Test(reject_attention, plain) {
    bench b;
    bench_init(&b);
    const sxt_attention_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 8, 16),
        .k = place(&b, SXT_TYPE_FP8_E4M3, 2, 5, 2, 16),
        .v = place(&b, SXT_TYPE_FP8_E4M3, 2, 5, 2, 12),
        .o = place(&b, SXT_TYPE_F32, 2, 3, 8, 12),
        .k_scale = place(&b, SXT_TYPE_F32, 1, 1, 1, 1),
        .v_scale = place(&b, SXT_TYPE_F32, 1, 1, 2, 1),
        .lse = place(&b, SXT_TYPE_F32, 2, 3, 8, 1),
        .bias = place(&b, SXT_TYPE_F16, 1, 8, 3, 5),
        .mask = place(&b, SXT_TYPE_I32, 2, 1, 3, 1),
        .sinks = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .alibi_slopes = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .kv_lengths = place(&b, SXT_TYPE_I32, 1, 1, 1, 2),
    };
#define D sxt_attention_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),        TENSOR(D, k, true, false),
        TENSOR(D, v, true, false),        TENSOR(D, o, true, true),
        TENSOR(D, lse, false, true),      TENSOR(D, bias, false, false),
        TENSOR(D, sinks, false, false),   TENSOR(D, alibi_slopes, false, false),
        TENSOR(D, mask, false, false),    TENSOR(D, k_scale, false, false),
        TENSOR(D, v_scale, false, false), TENSOR(D, kv_lengths, false, false),
    };
    static const rejection rows[] = {
        {"scale is nan", {F32(D, scale, NAN)}},
        {"scale is inf", {F32(D, scale, INFINITY)}},
        {"softcap is -1", {F32(D, softcap, -1.0f)}},
        {"softcap is nan", {F32(D, softcap, NAN)}},
        {"softcap is inf", {F32(D, softcap, INFINITY)}},
        {"logit_bound is -1, and must be finite and at least 0", {F32(D, logit_bound, -1.0f)}},
        {"logit_bound is nan", {F32(D, logit_bound, NAN)}},
        {"logit_bound is inf", {F32(D, logit_bound, INFINITY)}},
        {"split_keys is 1, and must be a multiple of 256", {U32(D, split_keys, 1)}},
        {"split_keys is 4294967295", {U32(D, split_keys, UINT32_MAX)}},
        {"window_left is -2", {BOOL(D, windowed, 1), U32(D, window_left, -2)}},
        {"window_right is -2147483648", {BOOL(D, windowed, 1), U32(D, window_right, INT32_MIN)}},
        {"q.shape[3] is 3, and must be a multiple of 4", {U32(D, q.shape[3], 3)}},
        {"q.shape[3] is 0", {U32(D, q.shape[3], 0)}},
        {"q.shape[3] is 580", {U32(D, q.shape[3], 580)}},
        {"v.shape[3] is 6", {U32(D, v.shape[3], 6)}},
        {"v.shape[3] is 1024", {U32(D, v.shape[3], 1024)}},
        {"k.shape[0] is 1, and must be 2", {U32(D, k.shape[0], 1)}},
        {"k.shape[3] is 12, and must be 16", {U32(D, k.shape[3], 12)}},
        {"k.shape[2] is 3, and q has 8 heads", {U32(D, k.shape[2], 3), U32(D, v.shape[2], 3)}},
        {"k.shape[2] is 0, and q has 8 heads", {U32(D, k.shape[2], 0), U32(D, v.shape[2], 0)}},
        {"v.shape[1] is 4, and must be 5", {U32(D, v.shape[1], 4)}},
        {"v.shape[2] is 1, and must be 2", {U32(D, v.shape[2], 1)}},
        {"o.shape[1] is 5, and must be 3", {U32(D, o.shape[1], 5)}},
        {"o.shape[2] is 2, and must be 8", {U32(D, o.shape[2], 2)}},
        {"o.shape[3] is 16, and must be 12", {U32(D, o.shape[3], 16)}},
        {"k.shape[3] is 16, and must be a multiple of 32, a block of q4_0", {U32(D, k.type, SXT_TYPE_Q4_0)}},
        {"k_scale is given, and k.type is f16: only fp8_e4m3 has scales", {U32(D, k.type, SXT_TYPE_F16)}},
        {"k_scale.shape[2] is 8, and must be 2 or 1", {U32(D, k_scale.shape[2], 8)}},
        {"v_scale.shape[3] is 2, and must be 1", {U32(D, v_scale.shape[3], 2)}},
        {"mask.shape[0] is 3, and must be 2 or 1", {U32(D, mask.shape[0], 3)}},
        {"mask.shape[1] is 2, and must be 8 or 1", {U32(D, mask.shape[1], 2)}},
        {"mask.shape[2] is 1, and must be 3", {U32(D, mask.shape[2], 1)}},
        {"mask.shape[3] is 2, and must be 1", {U32(D, mask.shape[3], 2)}},
        {"max_q_tokens is 3, and must be 0 without cu_seqlens_q", {U32(D, max_q_tokens, 3)}},
        {"max_k_tokens is 5, and must be 0 without cu_seqlens_k", {U32(D, max_k_tokens, 5)}},
        {"kv_lengths.shape[3] is 3, and must be 2", {U32(D, kv_lengths.shape[3], 3)}},
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
        {"o overlaps lse", {U64(D, o.offset_bytes, 6 * SLOT_BYTES)}},
        {"o overlaps bias", {U64(D, o.offset_bytes, 7 * SLOT_BYTES)}},
        {"lse overlaps v", {U64(D, lse.offset_bytes, 2 * SLOT_BYTES)}},
        {"lse overlaps sinks", {U64(D, lse.offset_bytes, 9 * SLOT_BYTES)}},
        {"lse overlaps alibi_slopes", {U64(D, lse.offset_bytes, 10 * SLOT_BYTES)}},
        {"o overlaps mask", {U64(D, o.offset_bytes, 8 * SLOT_BYTES)}},
        {"lse overlaps k_scale", {U64(D, lse.offset_bytes, 4 * SLOT_BYTES)}},
        {"o overlaps kv_lengths", {U64(D, o.offset_bytes, 11 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"open window", {BOOL(D, windowed, 1), U32(D, window_left, -1), U32(D, window_right, -1)}},
        {"the window's numbers count only with windowed", {U32(D, window_left, -7)}},
        {"no lse", {POINTER(D, lse.buffer, NULL)}},
        {"a bias for all heads", {U32(D, bias.shape[1], 1)}},
        {"v may be a part of k", {U64(D, v.offset_bytes, SLOT_BYTES)}},
        {"any bound of logits", {F32(D, logit_bound, 1e30f)}},
        {"splits longer than there are keys", {U32(D, split_keys, UINT32_MAX - 255)}},
        {"a mask for each head", {U32(D, mask.shape[1], 8)}},
        {"keys of another type have no scale", {U32(D, k.type, SXT_TYPE_BF16), POINTER(D, k_scale.buffer, NULL)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ATTENTION);
    bench_finish(&b);
}

// Queries and keys of three sequences, one after the other.
Test(reject_attention, ragged) {
    bench b;
    bench_init(&b);
    const sxt_attention_desc base = {
        .q = place(&b, SXT_TYPE_F32, 1, 10, 4, 8),
        .k = place(&b, SXT_TYPE_F16, 1, 70, 2, 8),
        .v = place(&b, SXT_TYPE_F16, 1, 70, 2, 8),
        .o = place(&b, SXT_TYPE_F32, 1, 10, 4, 8),
        .lse = place(&b, SXT_TYPE_F32, 1, 10, 4, 1),
        .bias = place(&b, SXT_TYPE_F32, 3, 4, 5, 40),
        .mask = place(&b, SXT_TYPE_I32, 3, 4, 5, 2),
        .cu_seqlens_q = place(&b, SXT_TYPE_I32, 1, 1, 1, 4),
        .cu_seqlens_k = place(&b, SXT_TYPE_I32, 1, 1, 1, 4),
        .max_q_tokens = 5,
        .max_k_tokens = 40,
    };
#define D sxt_attention_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),
        TENSOR(D, k, true, false),
        TENSOR(D, o, true, true),
        TENSOR(D, lse, false, true),
        TENSOR(D, bias, false, false),
        TENSOR(D, mask, false, false),
        TENSOR(D, cu_seqlens_q, false, false),
        TENSOR(D, cu_seqlens_k, false, false),
    };
    static const rejection rows[] = {
        {"cu_seqlens_k is given, and cu_seqlens_q is not", {POINTER(D, cu_seqlens_q.buffer, NULL)}},
        {"max_k_tokens is 40, and must be 0 without cu_seqlens_k", {POINTER(D, cu_seqlens_k.buffer, NULL)}},
        {"k.shape[0] is 1, and must be 3, as in cu_seqlens_q",
         {POINTER(D, cu_seqlens_k.buffer, NULL), U32(D, max_k_tokens, 0)}},
        {"max_q_tokens is 0, and must be from 1 to 10", {U32(D, max_q_tokens, 0)}},
        {"max_q_tokens is 11, and must be from 1 to 10", {U32(D, max_q_tokens, 11)}},
        {"max_k_tokens is 0, and must be from 1 to 70", {U32(D, max_k_tokens, 0)}},
        {"max_k_tokens is 71, and must be from 1 to 70", {U32(D, max_k_tokens, 71)}},
        {"q.shape[0] is 2, and must be 1 with cu_seqlens_q", {U32(D, q.shape[0], 2)}},
        {"k.shape[0] is 3, and must be 1 with cu_seqlens_k", {U32(D, k.shape[0], 3)}},
        {"v.shape[0] is 3, and must be 1", {U32(D, v.shape[0], 3)}},
        {"cu_seqlens_q.shape[3] is 0", {U32(D, cu_seqlens_q.shape[3], 0)}},
        {"cu_seqlens_q.shape[2] is 4, and must be 1", {U32(D, cu_seqlens_q.shape[2], 4)}},
        {"cu_seqlens_k.shape[3] is 3, and must be 4, as in cu_seqlens_q", {U32(D, cu_seqlens_k.shape[3], 3)}},
        {"bias.shape[0] is 2, and must be 3 or 1", {U32(D, bias.shape[0], 2)}},
        {"bias.shape[2] is 10, and must be 5", {U32(D, bias.shape[2], 10)}},
        {"bias.shape[3] is 70, and must be 40", {U32(D, bias.shape[3], 70)}},
        {"mask.shape[2] is 3, and must be 5", {U32(D, mask.shape[2], 3)}},
        {"mask.shape[3] is 1, and must be 2", {U32(D, mask.shape[3], 1)}},
        {"o overlaps cu_seqlens_q", {U64(D, o.offset_bytes, 7 * SLOT_BYTES)}},
        {"lse overlaps cu_seqlens_k", {U64(D, lse.offset_bytes, 8 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"as long as all", {U32(D, max_q_tokens, 10), U32(D, bias.shape[2], 10), U32(D, mask.shape[2], 10)}},
        {"one bias and one mask for all", {U32(D, bias.shape[0], 1), U32(D, mask.shape[0], 1)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ATTENTION);
    sxt_attention_desc queries = base; // alone ragged: bias and mask then go by all keys
    queries.cu_seqlens_k = queries.bias = queries.mask = (sxt_tensor){0};
    queries.max_k_tokens = 0;
    queries.k.shape[0] = queries.v.shape[0] = 3;
    expect_accepted(&b, SXT_OP_ATTENTION, &queries, "ragged queries");
    bench_finish(&b);
}

// Keys of three sequences in pages of sixteen rows.
Test(reject_attention, paged) {
    bench b;
    bench_init(&b);
    const sxt_attention_desc base = {
        .q = place(&b, SXT_TYPE_F32, 3, 2, 4, 8),
        .k = place(&b, SXT_TYPE_F16, 9, 16, 2, 8),
        .v = place(&b, SXT_TYPE_F16, 9, 16, 2, 8),
        .o = place(&b, SXT_TYPE_F32, 3, 2, 4, 8),
        .bias = place(&b, SXT_TYPE_F32, 3, 1, 2, 64),
        .kv_lengths = place(&b, SXT_TYPE_I32, 1, 1, 1, 3),
        .block_table = place(&b, SXT_TYPE_I32, 1, 1, 3, 4),
    };
    const sxt_tensor offsets = place(&b, SXT_TYPE_I32, 1, 1, 1, 4);
#define D sxt_attention_desc
    static const tensor_row tensors[] = {
        TENSOR(D, k, true, false),
        TENSOR(D, v, true, false),
        TENSOR(D, block_table, false, false),
    };
    static const rejection rows[] = {
        {"block_table is given, and kv_lengths is not", {POINTER(D, kv_lengths.buffer, NULL)}},
        {"kv_lengths.shape[3] is 9, and must be 3", {U32(D, kv_lengths.shape[3], 9)}},
        {"block_table.shape[2] is 2, and must be 3 or 1", {U32(D, block_table.shape[2], 2)}},
        {"block_table.shape[1] is 2, and must be 1", {U32(D, block_table.shape[1], 2)}},
        {"v.shape[0] is 8, and must be 9", {U32(D, v.shape[0], 8)}},
        {"v.shape[1] is 15, and must be 16", {U32(D, v.shape[1], 15)}},
        {"bias.shape[3] is 48, and must be 64", {U32(D, bias.shape[3], 48)}},
        {"o overlaps block_table", {U64(D, o.offset_bytes, 6 * SLOT_BYTES)}},
        {"o overlaps kv_lengths", {U64(D, o.offset_bytes, 5 * SLOT_BYTES)}},
        {"max_k_tokens is 64, and must be 0", {U32(D, max_k_tokens, 64)}},
    };
    static const rejection fine[] = {
        {"one row of pages for all", {U32(D, block_table.shape[2], 1)}},
        {"no pages at all", {U32(D, k.shape[0], 0), U32(D, v.shape[0], 0)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ATTENTION);
    sxt_attention_desc both = base;
    both.q.shape[0] = both.o.shape[0] = 1;
    both.cu_seqlens_q = both.cu_seqlens_k = offsets;
    both.max_q_tokens = 2, both.max_k_tokens = 16;
    expect_rejected(&b, SXT_OP_ATTENTION, &both, "block_table is given, and cu_seqlens_k too");
    both.block_table = (sxt_tensor){0};
    expect_rejected(&b, SXT_OP_ATTENTION, &both, "kv_lengths is given, and cu_seqlens_k too");
    both = base; // 2^16 pages of 2^15 rows: strides of 0 make them fit
    both.k.shape[1] = both.v.shape[1] = 32768;
    both.k.strides[3] = both.v.strides[3] = both.block_table.strides[3] = 1;
    both.block_table.shape[3] = 65536;
    both.block_table.offset_bytes = 0;
    expect_rejected(&b, SXT_OP_ATTENTION, &both, "block_table.shape[3] is 65536, and pages have 32768 rows");
    bench_finish(&b);
}

Test(reject_attention, merge) {
    bench b;
    bench_init(&b);
    const sxt_attention_merge_desc base = {
        .o_a = place(&b, SXT_TYPE_F16, 2, 3, 4, 5),
        .lse_a = place(&b, SXT_TYPE_F32, 2, 3, 4, 1),
        .o_b = place(&b, SXT_TYPE_BF16, 2, 3, 4, 5),
        .lse_b = place(&b, SXT_TYPE_F32, 2, 3, 4, 1),
        .o = place(&b, SXT_TYPE_F32, 2, 3, 4, 5),
        .lse = place(&b, SXT_TYPE_F32, 2, 3, 4, 1),
    };
#define D sxt_attention_merge_desc
    static const tensor_row tensors[] = {
        TENSOR(D, o_a, true, false),   TENSOR(D, lse_a, true, false), TENSOR(D, o_b, true, false),
        TENSOR(D, lse_b, true, false), TENSOR(D, o, true, true),      TENSOR(D, lse, false, true),
    };
    static const rejection rows[] = {
        {"o_a.shape[3] is 0", {U32(D, o_a.shape[3], 0)}},
        {"o_b.shape[3] is 4, and must be 5, as in o_a", {U32(D, o_b.shape[3], 4)}},
        {"o_b.shape[2] is 1, and must be 4, as in o_a", {U32(D, o_b.shape[2], 1)}},
        {"o.shape[1] is 2, and must be 3, as in o_a", {U32(D, o.shape[1], 2)}},
        {"lse_a.shape[3] is 5, and must be 1", {U32(D, lse_a.shape[3], 5)}},
        {"lse_b.shape[0] is 1, and must be 2", {U32(D, lse_b.shape[0], 1)}},
        {"lse.shape[2] is 2, and must be 4", {U32(D, lse.shape[2], 2)}},
        {"o_a.type is q8_0, and must be f32, f16 or bf16", {U32(D, o_a.type, SXT_TYPE_Q8_0)}},
        {"lse.type is f16, and must be f32", {U32(D, lse.type, SXT_TYPE_F16)}},
        {"o overlaps o_a in memory: it must be the very same view", {U64(D, o.offset_bytes, 0)}},
        {"o overlaps lse_a", {U64(D, o.offset_bytes, SLOT_BYTES)}},
        {"o overlaps lse", {U64(D, o.offset_bytes, 5 * SLOT_BYTES)}},
        {"lse overlaps lse_b in memory: it must be the very same view", {U64(D, lse.offset_bytes, 3 * SLOT_BYTES + 4)}},
        {"lse overlaps o_b", {U64(D, lse.offset_bytes, 2 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"no lse", {POINTER(D, lse.buffer, NULL)}},
        {"o in place of o_a", {U64(D, o.offset_bytes, 0), U32(D, o.type, SXT_TYPE_F16)}},
        {"o in place of o_b", {U64(D, o.offset_bytes, 2 * SLOT_BYTES), U32(D, o.type, SXT_TYPE_BF16)}},
        {"lse in place of lse_a", {U64(D, lse.offset_bytes, SLOT_BYTES)}},
        {"lse in place of lse_b", {U64(D, lse.offset_bytes, 3 * SLOT_BYTES)}},
        {"one partial result twice",
         {U64(D, o_b.offset_bytes, 0), U32(D, o_b.type, SXT_TYPE_F16), U64(D, lse_b.offset_bytes, SLOT_BYTES)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_ATTENTION_MERGE);
    bench_finish(&b);
}
