#include "core/op.h"
#include "core/tensor.h"

static const char op[] = "sxt_kv_write";

// A cache has its source's batch, heads and channels; its tokens are rows.
static sxt_result check_cache(const sxt_device *device, const char *field, const char *source_field,
                              const sxt_tensor *source, uint32_t rows, sxt_tensor *cache) {
    const uint32_t shape[4] = {source->shape[0], rows, source->shape[2], source->shape[3]};
    return sxt_tensor_broadcast(device, op, field, shape, 0, source_field, cache);
}

static sxt_result check_shapes(const sxt_device *device, sxt_kv_write_desc *d) {
    const sxt_logger *log = &device->logger;
    uint32_t tokens = d->k.shape[SXT_TOKEN], rows = d->k_cache.shape[SXT_TOKEN];
    sxt_result result;
    if ((result = sxt_tensor_check_channels(device, op, "k", &d->k)) ||
        (result = check_cache(device, "k_cache", "k", &d->k, rows, &d->k_cache)))
        return result;
    if (sxt_tensor_present(&d->v)) {
        const uint32_t shape[4] = {d->k.shape[0], tokens, d->k.shape[2], d->v.shape[3]};
        if ((result = sxt_tensor_check_channels(device, op, "v", &d->v)) ||
            (result = sxt_tensor_broadcast(device, op, "v", shape, 0, "k", &d->v)))
            return result;
        if ((result = check_cache(device, "v_cache", "v and k_cache", &d->v, rows, &d->v_cache))) return result;
    }
    if (sxt_tensor_present(&d->slots)) {
        const uint32_t shape[4] = {1, d->k.shape[SXT_BATCH], 1, tokens};
        return sxt_tensor_broadcast(device, op, "slots", shape, 1 << 1, "k", &d->slots);
    }
    if ((uint64_t)d->first_row + tokens > rows)
        SXT_REJECT(log, "%s: first_row is %u, and %u tokens from there do not fit into %u rows of k_cache", op,
                   d->first_row, tokens, rows);
    return SXT_OK;
}

sxt_result sxt_kv_write_resolve(const sxt_device *device, const sxt_kv_write_desc *desc, sxt_kv_write_desc *out_desc) {
    sxt_kv_write_desc *d = out_desc;
    *d = *desc;
    const uint32_t types = SXT_TYPES_FLOAT;
    const sxt_tensor_rule rules[] = {
        {.field = "k", .tensor = &d->k, .types = types},
        {.field = "k_cache", .tensor = &d->k_cache, .types = types, .output = true},
        {.field = "v", .tensor = &d->v, .types = types, .optional = true},
        {.field = "v_cache", .tensor = &d->v_cache, .types = types, .optional = true, .output = true},
        {.field = "slots", .tensor = &d->slots, .types = SXT_TYPES_I32, .optional = true},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    bool v = sxt_tensor_present(&d->v);
    if (v != sxt_tensor_present(&d->v_cache))
        SXT_REJECT(&device->logger, "%s: %s.buffer is NULL, and %s is given: both or neither", op, v ? "v_cache" : "v",
                   v ? "v" : "v_cache");
    if (sxt_tensor_present(&d->slots) && d->first_row != 0)
        SXT_REJECT(&device->logger, "%s: first_row is %u, and must be 0 with slots, which name the rows", op,
                   d->first_row);
    sxt_result result;
    if ((result = sxt_tensors_resolve(device, op, rules, RULES)) || (result = check_shapes(device, d))) return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_kv_write(sxt_stream *stream, const sxt_kv_write_desc *desc) {
    return sxt_op_record(stream, SXT_OP_KV_WRITE, desc);
}
