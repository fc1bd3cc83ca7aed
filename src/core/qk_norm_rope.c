#include "core/kv_cache.h"
#include "core/op.h"
#include "core/rope.h"

#include <math.h>

static const char op[] = "sxt_qk_norm_rope";

static sxt_result check_weight(const sxt_device *device, const char *field, const sxt_tensor *weight,
                               const char *x_field, const sxt_tensor *x, sxt_norm_kind norm) {
    if (!sxt_tensor_present(weight)) return SXT_OK;
    if (!sxt_tensor_present(x)) SXT_REJECT(&device->logger, "%s: %s is given, and %s is not", op, field, x_field);
    if (norm == SXT_NORM_NONE)
        SXT_REJECT(&device->logger, "%s: %s is given, and norm is none: there is nothing to weigh", op, field);
    return SXT_OK;
}

// Each of q, k and v goes to exactly one place, and nothing is written that comes from nowhere.
static sxt_result check_pairs(const sxt_device *device, const sxt_qk_norm_rope_desc *d) {
    const sxt_logger *log = &device->logger;
    bool q = sxt_tensor_present(&d->q), k = sxt_tensor_present(&d->k), v = sxt_tensor_present(&d->v);
    bool k_out = sxt_tensor_present(&d->k_out), k_cache = sxt_tensor_present(&d->cache.k);
    if (!q && !k && !v)
        SXT_REJECT(log, "%s: q.buffer, k.buffer and v.buffer are NULL, and one of the three is required", op);
    if (q != sxt_tensor_present(&d->q_out))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, q ? "q_out" : "q",
                   q ? "q" : "q_out");
    if (!k && (k_out || k_cache))
        SXT_REJECT(log, "%s: k.buffer is NULL, and %s is given: both or neither", op, k_out ? "k_out" : "cache.k");
    if (k && !k_out && !k_cache)
        SXT_REJECT(log, "%s: k_out.buffer and cache.k.buffer are NULL, and k is given, which goes to one of them", op);
    if (k_out && k_cache) SXT_REJECT(log, "%s: k_out and cache.k are given, and k goes to one of them", op);
    if (v != sxt_tensor_present(&d->cache.v))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, v ? "cache.v" : "v",
                   v ? "v" : "cache.v");
    return SXT_OK;
}

static sxt_result check_fields(const sxt_device *device, const sxt_qk_norm_rope_desc *d) {
    const sxt_logger *log = &device->logger;
    sxt_result result;
    if ((result = sxt_check_enum(device, op, "norm", (int)d->norm, SXT_NORM_NONE + 1,
                                 "0 (rms), 1 (layer), 2 (l2) or 3 (none)")) ||
        (result = sxt_check_enum(device, op, "rope.pairing", (int)d->rope.pairing, SXT_ROPE_NONE + 1,
                                 "0 (half), 1 (interleaved) or 2 (none)")) ||
        (result = sxt_check_float(device, op, "eps", d->eps, 0.0f)) ||
        (result = sxt_check_float(device, op, "offset", d->offset, -INFINITY)) || (result = check_pairs(device, d)) ||
        (result = check_weight(device, "q_weight", &d->q_weight, "q", &d->q, d->norm)) ||
        (result = check_weight(device, "k_weight", &d->k_weight, "k", &d->k, d->norm)))
        return result;
    if (d->normalise_v && !sxt_tensor_present(&d->v)) SXT_REJECT(log, "%s: normalise_v is set, and v is not given", op);
    if (d->normalise_v && d->norm == SXT_NORM_NONE)
        SXT_REJECT(log, "%s: normalise_v is set, and norm is none: there is nothing to normalise by", op);
    if (d->rope.pairing == SXT_ROPE_NONE && sxt_tensor_present(&d->positions))
        SXT_REJECT(log, "%s: positions is given, and rope.pairing is none: there is nothing to rotate", op);
    if (d->rope.pairing != SXT_ROPE_NONE && !sxt_tensor_present(&d->q) && !sxt_tensor_present(&d->k))
        SXT_REJECT(log, "%s: q.buffer and k.buffer are NULL, and rope.pairing must be 2 (none) then: v is not rotated",
                   op);
    return sxt_kv_cache_check_fields(device, op, &d->cache);
}

// One of q, k and v: it has the batch and tokens of `like`, and the heads and channels named there.
static sxt_result check_source(const sxt_device *device, const char *field, const char *like_field,
                               const sxt_tensor *like, uint32_t heads, uint32_t channels, sxt_tensor *x) {
    const uint32_t shape[4] = {like->shape[SXT_BATCH], like->shape[SXT_TOKEN], heads, channels};
    sxt_result result = sxt_tensor_check_channels(device, op, field, x);
    return result == SXT_OK ? sxt_tensor_broadcast(device, op, field, shape, 0, like_field, x) : result;
}

// The output, if there is one, has the shape of x, and the weight broadcasts to it.
static sxt_result check_others(const sxt_device *device, const char *const fields[3], const sxt_tensor *x,
                               sxt_tensor *out, sxt_tensor *weight) {
    sxt_result result = SXT_OK;
    if (sxt_tensor_present(out)) result = sxt_tensor_broadcast(device, op, fields[1], x->shape, 0, fields[0], out);
    if (result != SXT_OK || !sxt_tensor_present(weight)) return result;
    return sxt_tensor_broadcast(device, op, fields[2], x->shape, SXT_DIMS_ALL, fields[0], weight);
}

static sxt_result check_shapes(const sxt_device *device, sxt_qk_norm_rope_desc *d) {
    bool q = sxt_tensor_present(&d->q), k = sxt_tensor_present(&d->k), v = sxt_tensor_present(&d->v);
    const sxt_tensor *like_k = q ? &d->q : &d->k, *like_v = k ? &d->k : q ? &d->q : &d->v;
    const char *k_like = q ? "q" : "k", *v_like = k ? "k" : q ? "q" : "v";
    static const char *const q_fields[] = {"q", "q_out", "q_weight"};
    static const char *const k_fields[] = {"k", "k_out", "k_weight"};
    sxt_result result;
    if ((q && (result = sxt_tensor_check_channels(device, op, "q", &d->q))) ||
        (k && (result = check_source(device, "k", k_like, like_k, d->k.shape[SXT_HEAD], like_k->shape[SXT_CHANNEL],
                                     &d->k))) ||
        (v && (result = check_source(device, "v", v_like, like_v, (k ? &d->k : &d->v)->shape[SXT_HEAD],
                                     d->v.shape[SXT_CHANNEL], &d->v))) ||
        (result = check_others(device, q_fields, &d->q, &d->q_out, &d->q_weight)) ||
        (result = check_others(device, k_fields, &d->k, &d->k_out, &d->k_weight)))
        return result;
    return sxt_kv_cache_resolve(device, op, &d->k, &d->v, &d->cache);
}

static sxt_result resolve_rope(const sxt_device *device, sxt_qk_norm_rope_desc *d) {
    if (d->rope.pairing == SXT_ROPE_NONE) {
        d->rope = (sxt_rope_params){.pairing = SXT_ROPE_NONE, .base = 1.0f, .freq_scale = 1.0f, .attn_factor = 1.0f};
        return SXT_OK;
    }
    bool q = sxt_tensor_present(&d->q);
    const sxt_tensor *x = q ? &d->q : &d->k;
    const sxt_rope_params given = d->rope;
    sxt_result result = sxt_positions_resolve(device, op, "positions", x, q ? "q" : "k", &d->positions);
    if (result != SXT_OK) return result;
    return sxt_rope_params_resolve(device, op, "positions", x->shape[SXT_CHANNEL], d->positions.shape[0], &given,
                                   &d->rope);
}

sxt_result sxt_qk_norm_rope_resolve(const sxt_device *device, const sxt_qk_norm_rope_desc *desc,
                                    sxt_qk_norm_rope_desc *out_desc) {
    sxt_qk_norm_rope_desc *d = out_desc;
    *d = *desc;
    const uint32_t in = SXT_TYPES_FLOAT, out = SXT_TYPES_CACHE;
    enum { OWN = 8, RULES = OWN + SXT_KV_CACHE_RULES };
    sxt_tensor_rule rules[RULES] = {
        {.field = "q", .tensor = &d->q, .types = in, .optional = true},
        {.field = "q_out", .tensor = &d->q_out, .types = out, .optional = true, .output = true, .may_be = {&d->q}},
        {.field = "k", .tensor = &d->k, .types = in, .optional = true},
        {.field = "k_out", .tensor = &d->k_out, .types = out, .optional = true, .output = true, .may_be = {&d->k}},
        {.field = "v", .tensor = &d->v, .types = in, .optional = true},
        {.field = "q_weight", .tensor = &d->q_weight, .types = in, .optional = true},
        {.field = "k_weight", .tensor = &d->k_weight, .types = in, .optional = true},
        {.field = "positions",
         .tensor = &d->positions,
         .types = SXT_TYPES_I32,
         .optional = d->rope.pairing == SXT_ROPE_NONE},
    };
    sxt_kv_cache_rules(&d->cache, rules + OWN);
    sxt_result result;
    if ((result = check_fields(device, d)) || (result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = check_shapes(device, d)) || (result = resolve_rope(device, d)))
        return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_qk_norm_rope(sxt_stream *stream, const sxt_qk_norm_rope_desc *desc) {
    return sxt_op_record(stream, SXT_OP_QK_NORM_ROPE, desc);
}
