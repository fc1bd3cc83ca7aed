// Every mistake in the descriptions of what reads and writes caches is refused: see tests/reject.c.
#include "support/reject.h"

#include <criterion/criterion.h>
#include <string.h>

// ── sxt_qk_norm_rope ──

Test(reject_cache, qk_norm_rope) {
    bench b;
    bench_init(&b);
    const sxt_qk_norm_rope_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 4, 8),
        .q_out = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .k = place(&b, SXT_TYPE_F32, 2, 3, 2, 8),
        .k_out = place(&b, SXT_TYPE_BF16, 2, 3, 2, 8),
        .q_weight = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .k_weight = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .positions = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
        .eps = 1e-6f,
    };
#define D sxt_qk_norm_rope_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),         TENSOR(D, q_out, true, true),      TENSOR(D, k, true, false),
        TENSOR(D, k_out, false, true),     TENSOR(D, q_weight, false, false), TENSOR(D, k_weight, false, false),
        TENSOR(D, positions, true, false),
    };
    static const rejection rows[] = {
        ROPE_PARAM_REJECTIONS(D, positions),
        {"norm is 4", {U32(D, norm, 4)}},
        {"eps is nan", {F32(D, eps, NAN)}},
        {"eps is -0.5", {F32(D, eps, -0.5f)}},
        {"offset is inf", {F32(D, offset, INFINITY)}},
        {"q.buffer, k.buffer and v.buffer are NULL", {POINTER(D, q.buffer, NULL), POINTER(D, k.buffer, NULL)}},
        {"k_out.buffer and cache.k.buffer are NULL", {POINTER(D, k_out.buffer, NULL)}},
        {"normalise_v is set, and v is not given", {BOOL(D, normalise_v, 1)}},
        {"positions is given, and rope.pairing is none", {U32(D, rope.pairing, SXT_ROPE_NONE)}},
        {"cache.first_row is 3, and neither", {U32(D, cache.first_row, 3)}},
        {"q_out.type is i32, and must be f32, f16, bf16, q8_0, q4_0 or fp8_e4m3", {U32(D, q_out.type, SXT_TYPE_I32)}},
        {"q_out.shape[3] is 8, and must be a multiple of 32, a block of q4_0", {U32(D, q_out.type, SXT_TYPE_Q4_0)}},
        {"q.type is q8_0, and must be f32, f16 or bf16", {U32(D, q.type, SXT_TYPE_Q8_0)}},
        {"q_weight is given, and q is not", {POINTER(D, q.buffer, NULL), POINTER(D, q_out.buffer, NULL)}},
        {"k_weight is given, and k is not", {POINTER(D, k.buffer, NULL), POINTER(D, k_out.buffer, NULL)}},
        {"q_weight is given, and norm is none", {U32(D, norm, SXT_NORM_NONE)}},
        {"k_weight is given, and norm is none", {U32(D, norm, SXT_NORM_NONE), POINTER(D, q_weight.buffer, NULL)}},
        {"q.shape[3] is 0", {U32(D, q.shape[3], 0), U32(D, k.shape[3], 0)}},
        {"k.shape[0] is 1, and must be 2", {U32(D, k.shape[0], 1)}},
        {"k.shape[1] is 2, and must be 3", {U32(D, k.shape[1], 2)}},
        {"k.shape[3] is 4, and must be 8", {U32(D, k.shape[3], 4)}},
        {"q_out.shape[2] is 2, and must be 4", {U32(D, q_out.shape[2], 2)}},
        {"k_out.shape[2] is 4, and must be 2", {U32(D, k_out.shape[2], 4)}},
        {"q_weight.shape[3] is 4, and must be 8 or 1", {U32(D, q_weight.shape[3], 4)}},
        {"k_weight.shape[2] is 4, and must be 2 or 1", {U32(D, k_weight.shape[2], 4)}},
        {"q_out overlaps q", {U64(D, q_out.offset_bytes, 0)}},
        {"q_out overlaps k", {U64(D, q_out.offset_bytes, 2 * SLOT_BYTES)}},
        {"q_out overlaps k_out", {U64(D, q_out.offset_bytes, 3 * SLOT_BYTES + 10)}},
        {"k_out overlaps q", {U64(D, k_out.offset_bytes, 96)}},
        {"k_out overlaps positions", {U64(D, k_out.offset_bytes, 6 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"q in place", {U64(D, q_out.offset_bytes, 0), U32(D, q_out.type, SXT_TYPE_F32)}},
        {"k alone", {POINTER(D, q.buffer, NULL), POINTER(D, q_out.buffer, NULL), POINTER(D, q_weight.buffer, NULL)}},
        {"fp8", {U32(D, q_out.type, SXT_TYPE_FP8_E4M3), U32(D, k_out.type, SXT_TYPE_FP8_E4M3)}},
        {"no rotation, whose fields then do not count",
         {U32(D, rope.pairing, SXT_ROPE_NONE), POINTER(D, positions.buffer, NULL), F32(D, rope.base, NAN),
          U32(D, rope.rotary_dim, 99)}},
        {"rotation alone",
         {U32(D, norm, SXT_NORM_NONE), POINTER(D, q_weight.buffer, NULL), POINTER(D, k_weight.buffer, NULL)}},
    };
#undef D
    CHECK_REJECTIONS(&b, SXT_OP_QK_NORM_ROPE);
    bench_finish(&b);
}

// With v, and k and v going into a cache.
Test(reject_cache, qk_norm_rope_into_a_cache) {
    bench b;
    bench_init(&b);
    const sxt_qk_norm_rope_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 4, 8),
        .q_out = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .k = place(&b, SXT_TYPE_F32, 2, 3, 2, 8),
        .v = place(&b, SXT_TYPE_F32, 2, 3, 2, 12),
        .positions = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
        .cache = {.k = place(&b, SXT_TYPE_F16, 2, 10, 2, 8),
                  .v = place(&b, SXT_TYPE_BF16, 2, 10, 2, 12),
                  .slots = place(&b, SXT_TYPE_I32, 1, 2, 1, 3)},
    };
#define D               sxt_qk_norm_rope_desc
#define WITHOUT(member) POINTER(D, member.buffer, NULL)
    static const tensor_row tensors[] = {
        TENSOR(D, v, true, false),
        TENSOR(D, cache.k, false, true),
        TENSOR(D, cache.v, true, true),
        TENSOR(D, cache.slots, false, false),
    };
    static const rejection rows[] = {
        {"k_out.buffer and cache.k.buffer are NULL", {WITHOUT(cache.k)}},
        {"k.buffer is NULL, and cache.k is given", {WITHOUT(k)}},
        {"normalise_v is set, and norm is none", {BOOL(D, normalise_v, 1), U32(D, norm, SXT_NORM_NONE)}},
        {"rope.pairing must be 2 (none)", {WITHOUT(q), WITHOUT(q_out), WITHOUT(k), WITHOUT(cache.k)}},
        {"v.shape[1] is 2, and must be 3, as in k", {U32(D, v.shape[1], 2)}},
        {"v.shape[2] is 4, and must be 2, as in k", {U32(D, v.shape[2], 4)}},
        {"v.shape[0] is 1, and must be 2, as in q", {WITHOUT(k), WITHOUT(cache.k), U32(D, v.shape[0], 1)}},
        {"v.shape[3] is 0", {U32(D, v.shape[3], 0)}},
        {"cache.k.shape[2] is 4, and must be 2", {U32(D, cache.k.shape[2], 4)}},
        {"cache.v.shape[3] is 8, and must be 12", {U32(D, cache.v.shape[3], 8)}},
        {"cache.slots.shape[3] is 4, and must be 3", {U32(D, cache.slots.shape[3], 4)}},
        {"cache.first_row is 8, and 3 tokens", {U32(D, cache.first_row, 8), WITHOUT(cache.slots)}},
        {"cache.k overlaps q", {U64(D, cache.k.offset_bytes, 0)}},
        {"q_out overlaps cache.k", {U64(D, q_out.offset_bytes, 5 * SLOT_BYTES)}},
        {"cache.k overlaps k", {U64(D, cache.k.offset_bytes, 2 * SLOT_BYTES), U32(D, cache.k.type, SXT_TYPE_F32)}},
        {"cache.v overlaps v", {U64(D, cache.v.offset_bytes, 3 * SLOT_BYTES)}},
        {"cache.v overlaps positions", {U64(D, cache.v.offset_bytes, 4 * SLOT_BYTES)}},
        {"cache.k overlaps cache.v", {U64(D, cache.k.offset_bytes, 6 * SLOT_BYTES)}},
        {"cache.v overlaps cache.slots", {U64(D, cache.v.offset_bytes, 7 * SLOT_BYTES - 20)}},
    };
    static const rejection fine[] = {
        {"no v", {WITHOUT(v), WITHOUT(cache.v)}},
        {"no q", {WITHOUT(q), WITHOUT(q_out)}},
        {"q and v", {WITHOUT(k), WITHOUT(cache.k)}},
        {"v normalised", {BOOL(D, normalise_v, 1)}},
        {"no slots", {WITHOUT(cache.slots), U32(D, cache.first_row, 7)}},
        {"fp8 without scales", {U32(D, cache.k.type, SXT_TYPE_FP8_E4M3), U32(D, cache.v.type, SXT_TYPE_FP8_E4M3)}},
    };
    CHECK_REJECTIONS(&b, SXT_OP_QK_NORM_ROPE);

    sxt_qk_norm_rope_desc other = base;
    other.k_out = place(&b, SXT_TYPE_F32, 2, 3, 2, 8);
    expect_rejected(&b, SXT_OP_QK_NORM_ROPE, &other, "k_out and cache.k are given");
    other = (sxt_qk_norm_rope_desc){.v = base.v, .cache = {.v = base.cache.v}, .rope.pairing = SXT_ROPE_NONE};
    expect_accepted(&b, SXT_OP_QK_NORM_ROPE, &other, "v alone");
    other = (sxt_qk_norm_rope_desc){.q = base.q, .q_out = base.q_out, .positions = base.positions};
    other.cache.slots = base.cache.slots;
    expect_rejected(&b, SXT_OP_QK_NORM_ROPE, &other, "cache.slots is given, and neither cache.k nor cache.v is");
    other.cache = (sxt_kv_cache){.block_table = base.cache.slots};
    expect_rejected(&b, SXT_OP_QK_NORM_ROPE, &other, "cache.block_table is given, and neither");
    other.cache = (sxt_kv_cache){.k_scale = base.cache.k};
    expect_rejected(&b, SXT_OP_QK_NORM_ROPE, &other, "cache.k_scale is given, and cache.k is not");
    bench_finish(&b);
#undef WITHOUT
#undef D
}

// ── sxt_kv_write ──

Test(reject_cache, kv_write) {
    bench b;
    bench_init(&b);
    const sxt_kv_write_desc base = {
        .k = place(&b, SXT_TYPE_F32, 2, 3, 4, 8),
        .v = place(&b, SXT_TYPE_F32, 2, 3, 4, 12),
        .cache = {.k = place(&b, SXT_TYPE_F16, 2, 10, 4, 8),
                  .v = place(&b, SXT_TYPE_BF16, 2, 10, 4, 12),
                  .slots = place(&b, SXT_TYPE_I32, 1, 2, 1, 3)},
    };
#define D               sxt_kv_write_desc
#define WITHOUT(member) POINTER(D, member.buffer, NULL)
    static const tensor_row tensors[] = {
        TENSOR(D, k, true, false),      TENSOR(D, cache.k, true, true),       TENSOR(D, v, true, false),
        TENSOR(D, cache.v, true, true), TENSOR(D, cache.slots, false, false),
    };
    static const rejection rows[] = {
        {"k.buffer and v.buffer are NULL", {WITHOUT(k), WITHOUT(v)}},
        {"k.type is q8_0, and must be f32, f16 or bf16", {U32(D, k.type, SXT_TYPE_Q8_0)}},
        {"cache.k.type is i32, and must be f32, f16, bf16, q8_0, q4_0 or fp8", {U32(D, cache.k.type, SXT_TYPE_I32)}},
        {"cache.k.shape[3] is 8, and must be a multiple of 32, a block of q8_0", {U32(D, cache.k.type, SXT_TYPE_Q8_0)}},
        {"k.shape[3] is 0", {U32(D, k.shape[3], 0)}},
        {"v.shape[3] is 0", {U32(D, v.shape[3], 0)}},
        {"cache.k.shape[0] is 1, and must be 2", {U32(D, cache.k.shape[0], 1)}},
        {"cache.k.shape[2] is 3, and must be 4", {U32(D, cache.k.shape[2], 3)}},
        {"cache.k.shape[3] is 16, and must be 8", {U32(D, cache.k.shape[3], 16)}},
        {"v.shape[1] is 2, and must be 3", {U32(D, v.shape[1], 2)}},
        {"v.shape[2] is 2, and must be 4", {U32(D, v.shape[2], 2)}},
        {"cache.v.shape[1] is 9, and must be 10", {U32(D, cache.v.shape[1], 9)}},
        {"cache.v.shape[3] is 8, and must be 12", {U32(D, cache.v.shape[3], 8)}},
        {"cache.slots.shape[0] is 2, and must be 1", {U32(D, cache.slots.shape[0], 2)}},
        {"cache.slots.shape[1] is 3, and must be 2 or 1", {U32(D, cache.slots.shape[1], 3)}},
        {"cache.slots.shape[3] is 2, and must be 3", {U32(D, cache.slots.shape[3], 2)}},
        {"cache.first_row is 1, and must be 0 with cache.slots", {U32(D, cache.first_row, 1)}},
        {"cache.first_row is 8, and 3 tokens from there do not fit into 10 rows of cache.k",
         {U32(D, cache.first_row, 8), WITHOUT(cache.slots)}},
        {"cache.first_row is 8, and 3 tokens from there do not fit into 10 rows of cache.v",
         {U32(D, cache.first_row, 8), WITHOUT(cache.slots), WITHOUT(k), WITHOUT(cache.k)}},
        {"cache.first_row is 4294967295", {U32(D, cache.first_row, UINT32_MAX), WITHOUT(cache.slots)}},
        {"cache.k overlaps k", {U64(D, cache.k.offset_bytes, 0)}},
        {"cache.k overlaps cache.v", {U64(D, cache.k.offset_bytes, 3 * SLOT_BYTES)}},
        {"cache.k overlaps cache.slots", {U64(D, cache.k.offset_bytes, 4 * SLOT_BYTES)}},
        {"cache.v overlaps k", {U64(D, cache.v.offset_bytes, 0)}},
    };
    static const rejection fine[] = {
        {"no slots", {U32(D, cache.first_row, 7), WITHOUT(cache.slots)}},
        {"no v", {WITHOUT(v), WITHOUT(cache.v)}},
        {"no k", {WITHOUT(k), WITHOUT(cache.k)}},
        {"slots shared by the batch", {U32(D, cache.slots.shape[1], 1)}},
        {"fp8", {U32(D, cache.k.type, SXT_TYPE_FP8_E4M3)}},
    };
    CHECK_REJECTIONS(&b, SXT_OP_KV_WRITE);
    bench_finish(&b);
}

// Five pages of four rows; three pages to a sequence. Scales, for fp8 caches.
Test(reject_cache, kv_write_into_pages) {
    bench b;
    bench_init(&b);
    const sxt_kv_write_desc base = {
        .k = place(&b, SXT_TYPE_F32, 2, 3, 2, 8),
        .v = place(&b, SXT_TYPE_F32, 2, 3, 2, 8),
        .cache = {.k = place(&b, SXT_TYPE_FP8_E4M3, 5, 4, 2, 8),
                  .v = place(&b, SXT_TYPE_FP8_E4M3, 5, 4, 2, 8),
                  .k_scale = place(&b, SXT_TYPE_F32, 1, 1, 2, 1),
                  .v_scale = place(&b, SXT_TYPE_F32, 1, 1, 1, 1),
                  .block_table = place(&b, SXT_TYPE_I32, 1, 1, 2, 3)},
    };
    static const tensor_row tensors[] = {
        TENSOR(D, cache.k_scale, false, false),
        TENSOR(D, cache.v_scale, false, false),
        TENSOR(D, cache.block_table, false, false),
    };
    static const rejection rows[] = {
        {"cache.k_scale is given, and cache.k.type is f16", {U32(D, cache.k.type, SXT_TYPE_F16)}},
        {"cache.v_scale is given, and cache.v.type is bf16", {U32(D, cache.v.type, SXT_TYPE_BF16)}},
        {"cache.v_scale is given, and cache.v is not", {WITHOUT(v), WITHOUT(cache.v)}},
        {"cache.k_scale.shape[2] is 3, and must be 2 or 1", {U32(D, cache.k_scale.shape[2], 3)}},
        {"cache.k_scale.shape[3] is 2, and must be 1", {U32(D, cache.k_scale.shape[3], 2)}},
        {"cache.v_scale.shape[0] is 2, and must be 1", {U32(D, cache.v_scale.shape[0], 2)}},
        {"cache.k_scale.type is f16, and must be f32", {U32(D, cache.k_scale.type, SXT_TYPE_F16)}},
        {"cache.v.shape[0] is 4, and must be 5", {U32(D, cache.v.shape[0], 4)}},
        {"cache.v.shape[1] is 5, and must be 4", {U32(D, cache.v.shape[1], 5)}},
        {"cache.k.shape[0] is 5, and must be 2", {WITHOUT(cache.block_table)}},
        {"cache.block_table.shape[0] is 2, and must be 1", {U32(D, cache.block_table.shape[0], 2)}},
        {"cache.block_table.shape[1] is 2, and must be 1", {U32(D, cache.block_table.shape[1], 2)}},
        {"cache.block_table.shape[2] is 3, and must be 2 or 1", {U32(D, cache.block_table.shape[2], 3)}},
        {"cache.first_row is 10, and 3 tokens from there do not fit into 12 rows of a sequence's pages",
         {U32(D, cache.first_row, 10)}},
        {"cache.first_row is 0, and 3 tokens from there do not fit into 0 rows",
         {U32(D, cache.block_table.shape[3], 0)}},
        {"cache.k overlaps cache.k_scale", {U64(D, cache.k.offset_bytes, 4 * SLOT_BYTES)}},
        {"cache.v overlaps cache.v_scale", {U64(D, cache.v.offset_bytes, 5 * SLOT_BYTES)}},
        {"cache.v overlaps cache.block_table", {U64(D, cache.v.offset_bytes, 6 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"the last rows of a sequence", {U32(D, cache.first_row, 9)}},
        {"one sequence", {U32(D, cache.block_table.shape[2], 1)}},
        {"no scales", {WITHOUT(cache.k_scale), WITHOUT(cache.v_scale)}},
        {"no v", {WITHOUT(v), WITHOUT(cache.v), WITHOUT(cache.v_scale)}},
        {"no k", {WITHOUT(k), WITHOUT(cache.k), WITHOUT(cache.k_scale)}},
        {"no pages", {U32(D, cache.k.shape[0], 0), U32(D, cache.v.shape[0], 0)}},
    };
    CHECK_REJECTIONS(&b, SXT_OP_KV_WRITE);
    bench_finish(&b);
#undef WITHOUT
#undef D
}

// ── sxt_kv_shift ──

Test(reject_cache, kv_shift) {
    bench b;
    bench_init(&b);
    const sxt_kv_shift_desc base = {
        .k = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .deltas = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
    };
#define D sxt_kv_shift_desc
    static const tensor_row tensors[] = {
        TENSOR(D, k, true, true),
        TENSOR(D, deltas, true, false),
    };
    static const rejection rows[] = {
        ROPE_PARAM_REJECTIONS(D, deltas),
        {"rope.pairing is 2, and must be 0 (half) or 1", {U32(D, rope.pairing, SXT_ROPE_NONE)}},
        {"k.shape[3] is 0", {U32(D, k.shape[3], 0)}},
        {"k.shape[3] is 8, and must be a multiple of 32", {U32(D, k.type, SXT_TYPE_Q4_0)}},
        {"k overlaps deltas", {U64(D, k.offset_bytes, SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"deltas shared by the batch", {U32(D, deltas.shape[1], 1)}},
        {"part of the head", {U32(D, rope.rotary_dim, 4), U32(D, rope.rotary_offset, 2)}},
        {"YaRN", {F32(D, rope.ext_factor, 1.0f), U32(D, rope.original_context, 4096)}},
        {"fp8", {U32(D, k.type, SXT_TYPE_FP8_E4M3)}},
    };
    CHECK_REJECTIONS(&b, SXT_OP_KV_SHIFT);

    sxt_kv_shift_desc scaled = base;
    scaled.k_scale = place(&b, SXT_TYPE_F32, 1, 1, 4, 1);
    expect_rejected(&b, SXT_OP_KV_SHIFT, &scaled, "k_scale is given, and k.type is f16: only fp8_e4m3 has scales");
    scaled.k.type = SXT_TYPE_FP8_E4M3;
    expect_accepted(&b, SXT_OP_KV_SHIFT, &scaled, "scales");
    scaled.k_scale.shape[2] = 3;
    expect_rejected(&b, SXT_OP_KV_SHIFT, &scaled, "k_scale.shape[2] is 3, and must be 4 or 1");
    scaled.k_scale.shape[2] = 4;
    scaled.k.offset_bytes = scaled.k_scale.offset_bytes;
    expect_rejected(&b, SXT_OP_KV_SHIFT, &scaled, "k overlaps k_scale");
    bench_finish(&b);
#undef D
}

// ── sxt_kv_copy ──

Test(reject_cache, kv_copy) {
    bench b;
    bench_init(&b);
    const sxt_kv_copy_desc base = {
        .k_from = place(&b, SXT_TYPE_F16, 2, 6, 4, 8),
        .k_to = place(&b, SXT_TYPE_F16, 3, 7, 4, 8),
        .v_from = place(&b, SXT_TYPE_BF16, 2, 6, 4, 12),
        .v_to = place(&b, SXT_TYPE_BF16, 3, 7, 4, 12),
        .from = place(&b, SXT_TYPE_I32, 1, 1, 1, 5),
        .to = place(&b, SXT_TYPE_I32, 1, 1, 1, 5),
    };
#define D sxt_kv_copy_desc
    static const tensor_row tensors[] = {
        TENSOR(D, k_from, true, false), TENSOR(D, k_to, true, true),  TENSOR(D, v_from, true, false),
        TENSOR(D, v_to, true, true),    TENSOR(D, from, true, false), TENSOR(D, to, true, false),
    };
    static const rejection rows[] = {
        {"k_to.type is bf16, and must be f16, as of k_from", {U32(D, k_to.type, SXT_TYPE_BF16)}},
        {"v_to.type is f16, and must be bf16, as of v_from", {U32(D, v_to.type, SXT_TYPE_F16)}},
        {"k_from.shape[3] is 0", {U32(D, k_from.shape[3], 0), U32(D, k_to.shape[3], 0)}},
        {"k_to.shape[2] is 2, and must be 4", {U32(D, k_to.shape[2], 2)}},
        {"k_to.shape[3] is 4, and must be 8", {U32(D, k_to.shape[3], 4)}},
        {"k_to.shape[1] is 7, and must be 6, as in k_from", {BOOL(D, pages, 1)}},
        {"v_from.shape[0] is 1, and must be 2, as in k_from", {U32(D, v_from.shape[0], 1)}},
        {"v_from.shape[1] is 5, and must be 6, as in k_from", {U32(D, v_from.shape[1], 5)}},
        {"v_from.shape[2] is 2, and must be 4, as in k_from", {U32(D, v_from.shape[2], 2)}},
        {"v_to.shape[1] is 6, and must be 7, as in k_to", {U32(D, v_to.shape[1], 6)}},
        {"v_to.shape[3] is 8, and must be 12, as in v_from", {U32(D, v_to.shape[3], 8)}},
        {"from.shape[2] is 2, and must be 1", {U32(D, from.shape[2], 2)}},
        {"to.shape[3] is 4, and must be 5, as in from", {U32(D, to.shape[3], 4)}},
        {"to.shape[0] is 2, and must be 1", {U32(D, to.shape[0], 2)}},
        {"k_to overlaps k_from", {U64(D, k_to.offset_bytes, 0)}},
        {"k_to overlaps v_to", {U64(D, k_to.offset_bytes, 3 * SLOT_BYTES)}},
        {"k_to overlaps v_from", {U64(D, k_to.offset_bytes, 2 * SLOT_BYTES)}},
        {"k_to overlaps from", {U64(D, k_to.offset_bytes, 4 * SLOT_BYTES)}},
        {"v_to overlaps to", {U64(D, v_to.offset_bytes, 5 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"no v", {POINTER(D, v_from.buffer, NULL), POINTER(D, v_to.buffer, NULL)}},
        {"no moves", {U32(D, from.shape[3], 0), U32(D, to.shape[3], 0)}},
        {"pages", {BOOL(D, pages, 1), U32(D, k_to.shape[1], 6), U32(D, v_to.shape[1], 6)}},
    };
    CHECK_REJECTIONS(&b, SXT_OP_KV_COPY);
    sxt_kv_copy_desc within = base;
    within.k_to = base.k_from;
    within.v_to = base.v_from;
    expect_accepted(&b, SXT_OP_KV_COPY, &within, "within a cache");
    within.v_to.shape[0] = within.k_to.shape[0] = 1;
    expect_rejected(&b, SXT_OP_KV_COPY, &within, "k_to overlaps k_from");
    bench_finish(&b);
#undef D
}
