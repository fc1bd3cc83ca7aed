#include "core/kv_cache.h"
#include "core/op.h"

static const char op[] = "sxt_kv_write";

static sxt_result check_fields(const sxt_device *device, const sxt_kv_write_desc *d) {
    const sxt_logger *log = &device->logger;
    bool k = sxt_tensor_present(&d->k), v = sxt_tensor_present(&d->v);
    if (!k && !v) SXT_REJECT(log, "%s: k.buffer and v.buffer are NULL, and one of the two is required", op);
    if (k != sxt_tensor_present(&d->cache.k))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, k ? "cache.k" : "k",
                   k ? "k" : "cache.k");
    if (v != sxt_tensor_present(&d->cache.v))
        SXT_REJECT(log, "%s: %s.buffer is NULL, and %s is given: both or neither", op, v ? "cache.v" : "v",
                   v ? "v" : "cache.v");
    return sxt_kv_cache_check_fields(device, op, &d->cache);
}

static sxt_result check_shapes(const sxt_device *device, sxt_kv_write_desc *d) {
    bool k = sxt_tensor_present(&d->k), v = sxt_tensor_present(&d->v);
    sxt_result result;
    if ((k && (result = sxt_tensor_check_channels(device, op, "k", &d->k))) ||
        (v && (result = sxt_tensor_check_channels(device, op, "v", &d->v))))
        return result;
    if (k && v) { // v as k in all but channels
        const uint32_t shape[4] = {d->k.shape[0], d->k.shape[1], d->k.shape[2], d->v.shape[3]};
        if ((result = sxt_tensor_broadcast(device, op, "v", shape, 0, "k", &d->v))) return result;
    }
    return sxt_kv_cache_resolve(device, op, &d->k, &d->v, &d->cache);
}

sxt_result sxt_kv_write_resolve(const sxt_device *device, const sxt_kv_write_desc *desc, sxt_kv_write_desc *out_desc) {
    sxt_kv_write_desc *d = out_desc;
    *d = *desc;
    enum { OWN = 2, RULES = OWN + SXT_KV_CACHE_RULES };
    sxt_tensor_rule rules[RULES] = {
        {.field = "k", .tensor = &d->k, .types = SXT_TYPES_FLOAT, .optional = true},
        {.field = "v", .tensor = &d->v, .types = SXT_TYPES_FLOAT, .optional = true},
    };
    sxt_kv_cache_rules(&d->cache, rules + OWN);
    sxt_result result;
    if ((result = check_fields(device, d)) || (result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = check_shapes(device, d)))
        return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_kv_write(sxt_stream *stream, const sxt_kv_write_desc *desc) {
    return sxt_op_record(stream, SXT_OP_KV_WRITE, desc);
}
