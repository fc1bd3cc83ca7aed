#include "core/op.h"
#include "core/tensor.h"

static const char op[] = "sxt_kv_copy";

// One of k and v: bits are copied, so the two caches differ in batch and rows alone.
static sxt_result check_side(const sxt_device *device, const char *from_field, const sxt_tensor *from,
                             const char *to_field, bool pages, sxt_tensor *to) {
    if (to->type != from->type)
        SXT_REJECT(&device->logger, "%s: %s.type is %s, and must be %s, as of %s: bits are copied", op, to_field,
                   sxt_type_name(to->type), sxt_type_name(from->type), from_field);
    const uint32_t shape[4] = {to->shape[SXT_BATCH], pages ? from->shape[SXT_TOKEN] : to->shape[SXT_TOKEN],
                               from->shape[SXT_HEAD], from->shape[SXT_CHANNEL]};
    sxt_result result = sxt_tensor_check_channels(device, op, from_field, from);
    return result == SXT_OK ? sxt_tensor_broadcast(device, op, to_field, shape, 0, from_field, to) : result;
}

// A view of values has the batch, rows and heads of the keys that it goes with: the same moves are made in both.
static sxt_result check_with_keys(const sxt_device *device, const char *field, sxt_tensor *v, const char *k_field,
                                  const sxt_tensor *k) {
    const uint32_t shape[4] = {k->shape[0], k->shape[1], k->shape[2], v->shape[SXT_CHANNEL]};
    return sxt_tensor_broadcast(device, op, field, shape, 0, k_field, v);
}

static sxt_result check_shapes(const sxt_device *device, sxt_kv_copy_desc *d) {
    sxt_result result = check_side(device, "k_from", &d->k_from, "k_to", d->pages, &d->k_to);
    if (result != SXT_OK) return result;
    if (sxt_tensor_present(&d->v_from) &&
        ((result = check_with_keys(device, "v_from", &d->v_from, "k_from", &d->k_from)) ||
         (result = check_with_keys(device, "v_to", &d->v_to, "k_to", &d->k_to)) ||
         (result = check_side(device, "v_from", &d->v_from, "v_to", d->pages, &d->v_to))))
        return result;
    const uint32_t moves[4] = {1, 1, 1, d->from.shape[3]};
    if ((result = sxt_tensor_broadcast(device, op, "from", moves, 0, "a list of moves", &d->from))) return result;
    return sxt_tensor_broadcast(device, op, "to", moves, 0, "from", &d->to);
}

sxt_result sxt_kv_copy_resolve(const sxt_device *device, const sxt_kv_copy_desc *desc, sxt_kv_copy_desc *out_desc) {
    sxt_kv_copy_desc *d = out_desc;
    *d = *desc;
    const uint32_t types = SXT_TYPES_CACHE;
    const sxt_tensor_rule rules[] = {
        {.field = "k_from", .tensor = &d->k_from, .types = types},
        {.field = "k_to", .tensor = &d->k_to, .types = types, .output = true, .may_be = {&d->k_from}},
        {.field = "v_from", .tensor = &d->v_from, .types = types, .optional = true},
        {.field = "v_to", .tensor = &d->v_to, .types = types, .optional = true, .output = true, .may_be = {&d->v_from}},
        {.field = "from", .tensor = &d->from, .types = SXT_TYPES_I32},
        {.field = "to", .tensor = &d->to, .types = SXT_TYPES_I32},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    bool v = sxt_tensor_present(&d->v_from);
    if (v != sxt_tensor_present(&d->v_to))
        SXT_REJECT(&device->logger, "%s: %s.buffer is NULL, and %s is given: both or neither", op,
                   v ? "v_to" : "v_from", v ? "v_from" : "v_to");
    sxt_result result;
    if ((result = sxt_tensors_resolve(device, op, rules, RULES)) || (result = check_shapes(device, d))) return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_kv_copy(sxt_stream *stream, const sxt_kv_copy_desc *desc) {
    return sxt_op_record(stream, SXT_OP_KV_COPY, desc);
}
