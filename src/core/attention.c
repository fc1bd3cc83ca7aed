#include "core/attention.h"
#include "core/kv_cache.h"

#include <math.h>

static const char op[] = "sxt_attention";

enum { HEAD_DIM_STEP = 4, HEAD_DIM_MAX = 576, SPLIT_STEP = 256 };

static sxt_result check_fields(const sxt_device *device, sxt_attention_desc *d) {
    sxt_result result;
    if ((result = sxt_check_float(device, op, "scale", d->scale, -INFINITY)) ||
        (result = sxt_check_float(device, op, "softcap", d->softcap, 0.0f)) ||
        (result = sxt_check_float(device, op, "logit_bound", d->logit_bound, 0.0f)))
        return result;
    if (d->split_keys % SPLIT_STEP != 0)
        SXT_REJECT(&device->logger,
                   "%s: split_keys is %u, and must be a multiple of %d, so that splits end where blocks of keys do", op,
                   d->split_keys, SPLIT_STEP);
    if ((int)d->kernel < 0 || d->kernel >= SXT_ATTENTION_KERNELS)
        SXT_REJECT(&device->logger, "%s: kernel is %d, and must be an sxt_attention_kernel", op, (int)d->kernel);
    if (d->tile > 0 && d->kernel == SXT_ATTENTION_AUTO)
        SXT_REJECT(&device->logger, "%s: tile is %u, and of which kernel `kernel` must say", op, d->tile);
    if (!d->windowed) d->window_left = d->window_right = -1;
    if (d->window_left < -1)
        SXT_REJECT(&device->logger, "%s: window_left is %d, and must be at least -1 (open)", op, d->window_left);
    if (d->window_right < -1)
        SXT_REJECT(&device->logger, "%s: window_right is %d, and must be at least -1 (open)", op, d->window_right);
    return SXT_OK;
}

static sxt_result check_head_dim(const sxt_device *device, const char *field, uint32_t dim) {
    if (dim == 0 || dim % HEAD_DIM_STEP != 0 || dim > HEAD_DIM_MAX)
        SXT_REJECT(&device->logger, "%s: %s.shape[3] is %u, and must be a multiple of %d from %d to %d", op, field, dim,
                   HEAD_DIM_STEP, HEAD_DIM_STEP, HEAD_DIM_MAX);
    return SXT_OK;
}

// The batches and tokens of q and k are checked with the sequences.
static sxt_result check_qkvo(const sxt_device *device, sxt_attention_desc *d) {
    const uint32_t *q = d->q.shape, *k = d->k.shape;
    uint32_t q_heads = q[SXT_HEAD], kv_heads = k[SXT_HEAD], dim = q[SXT_CHANNEL], v_dim = d->v.shape[SXT_CHANNEL];
    const uint32_t k_shape[4] = {k[SXT_BATCH], k[SXT_TOKEN], kv_heads, dim};
    const uint32_t v_shape[4] = {k[SXT_BATCH], k[SXT_TOKEN], kv_heads, v_dim};
    const uint32_t o_shape[4] = {q[SXT_BATCH], q[SXT_TOKEN], q_heads, v_dim};
    sxt_result result;
    if ((result = check_head_dim(device, "q", dim)) || (result = check_head_dim(device, "v", v_dim)) ||
        (result = sxt_tensor_broadcast(device, op, "k", k_shape, 0, "q", &d->k)) ||
        (result = sxt_tensor_broadcast(device, op, "v", v_shape, 0, "k", &d->v)))
        return result;
    if (kv_heads == 0 ? q_heads != 0 : q_heads % kv_heads != 0)
        SXT_REJECT(&device->logger, "%s: k.shape[2] is %u, and q has %u heads: Hq must be a multiple of Hkv", op,
                   kv_heads, q_heads);
    return sxt_tensor_broadcast(device, op, "o", o_shape, 0, "q and v", &d->o);
}

static sxt_result check_others(const sxt_device *device, sxt_attention_desc *d) {
    const uint32_t *q = d->q.shape, q_heads = q[SXT_HEAD], sequences = sxt_attention_sequences(d);
    const uint32_t words = d->max_k_tokens / 32 + (d->max_k_tokens % 32 != 0);
    const uint32_t lse_shape[4] = {q[SXT_BATCH], q[SXT_TOKEN], q_heads, 1};
    const uint32_t bias_shape[4] = {sequences, q_heads, d->max_q_tokens, d->max_k_tokens};
    const uint32_t mask_shape[4] = {sequences, q_heads, d->max_q_tokens, words};
    const uint32_t head_shape[4] = {1, 1, 1, q_heads};
    struct {
        const char *field;
        sxt_tensor *tensor;
        const uint32_t *shape;
        uint32_t repeatable;
        const char *like;
    } const others[] = {
        {"lse", &d->lse, lse_shape, 0, "q"},
        {"bias", &d->bias, bias_shape, 1 << 0 | 1 << 1, "q and k"},
        {"mask", &d->mask, mask_shape, 1 << 0 | 1 << 1, "q and k"},
        {"sinks", &d->sinks, head_shape, 0, "q"},
        {"alibi_slopes", &d->alibi_slopes, head_shape, 0, "q"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (!sxt_tensor_present(others[i].tensor)) continue;
        sxt_result result = sxt_tensor_broadcast(device, op, others[i].field, others[i].shape, others[i].repeatable,
                                                 others[i].like, others[i].tensor);
        if (result != SXT_OK) return result;
    }
    sxt_result result = sxt_scale_resolve(device, op, "k_scale", "k", &d->k, &d->k_scale);
    return result == SXT_OK ? sxt_scale_resolve(device, op, "v_scale", "v", &d->v, &d->v_scale) : result;
}

sxt_result sxt_attention_resolve(const sxt_device *device, const sxt_attention_desc *desc,
                                 sxt_attention_desc *out_desc) {
    sxt_attention_desc *d = out_desc;
    *d = *desc;
    const sxt_tensor_rule rules[] = {
        {.field = "q", .tensor = &d->q, .types = SXT_TYPES_FLOAT},
        {.field = "k", .tensor = &d->k, .types = SXT_TYPES_CACHE},
        {.field = "v", .tensor = &d->v, .types = SXT_TYPES_CACHE},
        {.field = "o", .tensor = &d->o, .types = SXT_TYPES_FLOAT, .output = true},
        {.field = "k_scale", .tensor = &d->k_scale, .types = SXT_TYPES_F32, .optional = true},
        {.field = "v_scale", .tensor = &d->v_scale, .types = SXT_TYPES_F32, .optional = true},
        {.field = "lse", .tensor = &d->lse, .types = SXT_TYPES_F32, .optional = true, .output = true},
        {.field = "bias", .tensor = &d->bias, .types = SXT_TYPES_F32_F16, .optional = true},
        {.field = "mask", .tensor = &d->mask, .types = SXT_TYPES_I32, .optional = true},
        {.field = "sinks", .tensor = &d->sinks, .types = SXT_TYPES_F32, .optional = true},
        {.field = "alibi_slopes", .tensor = &d->alibi_slopes, .types = SXT_TYPES_F32, .optional = true},
        {.field = "kv_lengths", .tensor = &d->kv_lengths, .types = SXT_TYPES_I32, .optional = true},
        {.field = "block_table", .tensor = &d->block_table, .types = SXT_TYPES_I32, .optional = true},
        {.field = "cu_seqlens_q", .tensor = &d->cu_seqlens_q, .types = SXT_TYPES_I32, .optional = true},
        {.field = "cu_seqlens_k", .tensor = &d->cu_seqlens_k, .types = SXT_TYPES_I32, .optional = true},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = check_fields(device, d)) || (result = sxt_attention_check_forms(device, d)) ||
        (result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = sxt_attention_resolve_sequences(device, d)) || (result = check_qkvo(device, d)) ||
        (result = check_others(device, d)))
        return result;
    if (d->scale == 0.0f) d->scale = (float)(1.0 / sqrt(d->q.shape[SXT_CHANNEL]));
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_attention(sxt_stream *stream, const sxt_attention_desc *desc) {
    return sxt_op_record(stream, SXT_OP_ATTENTION, desc);
}
