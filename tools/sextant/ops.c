// The operations of the library as data: their tensors, by name and place in the description, and their calls.
#include "work.h"

static const sxt_field norm_fields[] = {
    {"x", offsetof(sxt_norm_desc, x), false},
    {"weight", offsetof(sxt_norm_desc, weight), false},
    {"bias", offsetof(sxt_norm_desc, bias), false},
    {"residual", offsetof(sxt_norm_desc, residual), false},
    {"y", offsetof(sxt_norm_desc, y), true},
    {"residual_out", offsetof(sxt_norm_desc, residual_out), true},
    {NULL, 0, false},
};
static const sxt_field rope_fields[] = {
    {"x", offsetof(sxt_rope_desc, x), false},
    {"positions", offsetof(sxt_rope_desc, positions), false},
    {"y", offsetof(sxt_rope_desc, y), true},
    {NULL, 0, false},
};
static const sxt_field qk_norm_rope_fields[] = {
    {"q", offsetof(sxt_qk_norm_rope_desc, q), false},
    {"k", offsetof(sxt_qk_norm_rope_desc, k), false},
    {"v", offsetof(sxt_qk_norm_rope_desc, v), false},
    {"q_weight", offsetof(sxt_qk_norm_rope_desc, q_weight), false},
    {"k_weight", offsetof(sxt_qk_norm_rope_desc, k_weight), false},
    {"positions", offsetof(sxt_qk_norm_rope_desc, positions), false},
    {"slots", offsetof(sxt_qk_norm_rope_desc, cache.slots), false},
    {"block_table", offsetof(sxt_qk_norm_rope_desc, cache.block_table), false},
    {"k_scale", offsetof(sxt_qk_norm_rope_desc, cache.k_scale), false},
    {"v_scale", offsetof(sxt_qk_norm_rope_desc, cache.v_scale), false},
    {"q_out", offsetof(sxt_qk_norm_rope_desc, q_out), true},
    {"k_out", offsetof(sxt_qk_norm_rope_desc, k_out), true},
    {"k_cache", offsetof(sxt_qk_norm_rope_desc, cache.k), true},
    {"v_cache", offsetof(sxt_qk_norm_rope_desc, cache.v), true},
    {NULL, 0, false},
};
static const sxt_field kv_write_fields[] = {
    {"k", offsetof(sxt_kv_write_desc, k), false},
    {"v", offsetof(sxt_kv_write_desc, v), false},
    {"slots", offsetof(sxt_kv_write_desc, cache.slots), false},
    {"block_table", offsetof(sxt_kv_write_desc, cache.block_table), false},
    {"k_scale", offsetof(sxt_kv_write_desc, cache.k_scale), false},
    {"v_scale", offsetof(sxt_kv_write_desc, cache.v_scale), false},
    {"k_cache", offsetof(sxt_kv_write_desc, cache.k), true},
    {"v_cache", offsetof(sxt_kv_write_desc, cache.v), true},
    {NULL, 0, false},
};
static const sxt_field kv_shift_fields[] = {
    {"k_scale", offsetof(sxt_kv_shift_desc, k_scale), false},
    {"deltas", offsetof(sxt_kv_shift_desc, deltas), false},
    {"k", offsetof(sxt_kv_shift_desc, k), true},
    {NULL, 0, false},
};
static const sxt_field kv_copy_fields[] = {
    {"k_from", offsetof(sxt_kv_copy_desc, k_from), false},
    {"v_from", offsetof(sxt_kv_copy_desc, v_from), false},
    {"from", offsetof(sxt_kv_copy_desc, from), false},
    {"to", offsetof(sxt_kv_copy_desc, to), false},
    {"k_to", offsetof(sxt_kv_copy_desc, k_to), true},
    {"v_to", offsetof(sxt_kv_copy_desc, v_to), true},
    {NULL, 0, false},
};
static const sxt_field attention_fields[] = {
    {"q", offsetof(sxt_attention_desc, q), false},
    {"k", offsetof(sxt_attention_desc, k), false},
    {"v", offsetof(sxt_attention_desc, v), false},
    {"k_scale", offsetof(sxt_attention_desc, k_scale), false},
    {"v_scale", offsetof(sxt_attention_desc, v_scale), false},
    {"bias", offsetof(sxt_attention_desc, bias), false},
    {"mask", offsetof(sxt_attention_desc, mask), false},
    {"sinks", offsetof(sxt_attention_desc, sinks), false},
    {"alibi_slopes", offsetof(sxt_attention_desc, alibi_slopes), false},
    {"kv_lengths", offsetof(sxt_attention_desc, kv_lengths), false},
    {"block_table", offsetof(sxt_attention_desc, block_table), false},
    {"cu_seqlens_q", offsetof(sxt_attention_desc, cu_seqlens_q), false},
    {"cu_seqlens_k", offsetof(sxt_attention_desc, cu_seqlens_k), false},
    {"o", offsetof(sxt_attention_desc, o), true},
    {"lse", offsetof(sxt_attention_desc, lse), true},
    {NULL, 0, false},
};
static const sxt_field attention_merge_fields[] = {
    {"o_a", offsetof(sxt_attention_merge_desc, o_a), false},
    {"lse_a", offsetof(sxt_attention_merge_desc, lse_a), false},
    {"o_b", offsetof(sxt_attention_merge_desc, o_b), false},
    {"lse_b", offsetof(sxt_attention_merge_desc, lse_b), false},
    {"o", offsetof(sxt_attention_merge_desc, o), true},
    {"lse", offsetof(sxt_attention_merge_desc, lse), true},
    {NULL, 0, false},
};

const sxt_field *sxt_op_fields(sxt_op op) {
    static const sxt_field *const fields[SXT_OP_COUNT] = {
        [SXT_OP_NORM] = norm_fields,
        [SXT_OP_ROPE] = rope_fields,
        [SXT_OP_QK_NORM_ROPE] = qk_norm_rope_fields,
        [SXT_OP_KV_WRITE] = kv_write_fields,
        [SXT_OP_KV_SHIFT] = kv_shift_fields,
        [SXT_OP_KV_COPY] = kv_copy_fields,
        [SXT_OP_ATTENTION] = attention_fields,
        [SXT_OP_ATTENTION_MERGE] = attention_merge_fields,
    };
    return fields[op];
}

sxt_result sxt_op_record(sxt_stream *stream, sxt_op op, const sxt_work_desc *desc) {
    switch (op) {
    case SXT_OP_NORM:
        return sxt_norm(stream, &desc->norm);
    case SXT_OP_ROPE:
        return sxt_rope(stream, &desc->rope);
    case SXT_OP_QK_NORM_ROPE:
        return sxt_qk_norm_rope(stream, &desc->qk_norm_rope);
    case SXT_OP_KV_WRITE:
        return sxt_kv_write(stream, &desc->kv_write);
    case SXT_OP_KV_SHIFT:
        return sxt_kv_shift(stream, &desc->kv_shift);
    case SXT_OP_KV_COPY:
        return sxt_kv_copy(stream, &desc->kv_copy);
    case SXT_OP_ATTENTION:
        return sxt_attention(stream, &desc->attention);
    case SXT_OP_ATTENTION_MERGE:
        return sxt_attention_merge(stream, &desc->attention_merge);
    case SXT_OP_COUNT:
        break;
    }
    return SXT_ERROR_INVALID;
}

sxt_kv_cache *sxt_op_cache(sxt_op op, sxt_work_desc *desc) {
    return op == SXT_OP_KV_WRITE ? &desc->kv_write.cache : op == SXT_OP_QK_NORM_ROPE ? &desc->qk_norm_rope.cache : NULL;
}
