#include "kernels/kernels.h"

#include "interface/kv_copy.h"

#include <string.h>

static const sxt_shader_id shaders[2] = {SXT_SHADER_KV_COPY, SXT_SHADER_KV_COPY_S16};

// Everything in bytes, so that one shift serves bases, strides and rows.
typedef struct side {
    sxt_view from, to;
    uint32_t head_bytes;
} side;

static uint64_t bytes_of(const sxt_tensor *tensor, uint64_t elems) {
    return elems / sxt_type_block(tensor->type) * sxt_type_size(tensor->type);
}

static sxt_result bind_view(const sxt_caps *caps, const sxt_tensor *tensor, bool written, sxt_dispatch *dispatch,
                            sxt_view *out_bytes) {
    sxt_result result = sxt_plan_view(caps, tensor, written, dispatch, out_bytes);
    if (result != SXT_OK || !sxt_tensor_present(tensor)) return result;
    uint32_t *const fields[] = {&out_bytes->base, &out_bytes->batch, &out_bytes->token, &out_bytes->head};
    for (int i = 0; i < 4; i++) // below the storage range, as the tensor is
        *fields[i] = (uint32_t)bytes_of(tensor, *fields[i]);
    return SXT_OK;
}

static uint32_t bits_of(const side *s) {
    return s->from.base | s->from.batch | s->from.token | s->from.head | s->to.base | s->to.batch | s->to.token |
           s->to.head | s->head_bytes;
}

static void in_pieces(side *s, uint32_t shift) {
    uint32_t *const fields[] = {&s->from.base, &s->from.batch, &s->from.token, &s->from.head, &s->to.base,
                                &s->to.batch,  &s->to.token,   &s->to.head,    &s->head_bytes};
    for (int i = 0; i < 9; i++)
        *fields[i] >>= shift;
}

static sxt_result bind_all(const sxt_caps *caps, const sxt_kv_copy_desc *desc, sxt_dispatch *dispatch, side *k, side *v,
                           struct sxt_kv_copy_push *push) {
    sxt_result result = bind_view(caps, &desc->k_from, false, dispatch, &k->from);
    if (result == SXT_OK) result = bind_view(caps, &desc->k_to, true, dispatch, &k->to);
    if (result == SXT_OK) result = bind_view(caps, &desc->v_from, false, dispatch, &v->from);
    if (result == SXT_OK) result = bind_view(caps, &desc->v_to, true, dispatch, &v->to);
    if (result == SXT_OK) result = sxt_plan_bind(caps, &desc->from, false, dispatch, &push->from_base);
    if (result == SXT_OK) result = sxt_plan_bind(caps, &desc->to, false, dispatch, &push->to_base);
    if (result == SXT_OK) result = sxt_plan_bind_faults(caps, dispatch);
    return result;
}

// Heads that stand side by side in all tensors are one long head.
static bool flatten(side *k, side *v, uint32_t heads) {
    side *const sides[] = {k, v};
    for (int i = 0; i < 2; i++)
        if (heads > 1 && (sides[i]->from.head != sides[i]->head_bytes || sides[i]->to.head != sides[i]->head_bytes))
            return false;
    for (int i = 0; i < 2; i++) {
        if ((uint64_t)sides[i]->head_bytes * heads > UINT32_MAX) return false;
        sides[i]->head_bytes *= heads;
        sides[i]->from.head = sides[i]->to.head = 0;
    }
    return true;
}

// log2 of the bytes that a lane moves at a time, of the most that all rows are multiples of.
static uint32_t choose_shift(const sxt_caps *caps, const side *k, const side *v) {
    uint32_t shift = 0, most = sxt_plan_by_address(caps) && caps->int64 ? 3 : 4;
    while (shift < most && ((bits_of(k) | bits_of(v)) >> shift & 1) == 0)
        shift++;
    return shift;
}

sxt_result sxt_kv_copy_plan(const sxt_caps *caps, const sxt_kv_copy_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    if (sxt_tensor_empty(&desc->k_from) || sxt_tensor_empty(&desc->k_to) || sxt_tensor_empty(&desc->from)) {
        sxt_plan_name(out_plan, "kv_copy: empty");
        return SXT_OK;
    }
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    const uint32_t *from = desc->k_from.shape, *to = desc->k_to.shape;
    bool has_v = sxt_tensor_present(&desc->v_from);
    uint32_t move_rows = desc->pages ? from[SXT_TOKEN] : 1;
    uint64_t k_groups = (uint64_t)desc->from.shape[SXT_CHANNEL] * move_rows, groups = has_v ? 2 * k_groups : k_groups;
    struct sxt_kv_copy_push push = {
        .groups = (uint32_t)groups,
        .k_groups = (uint32_t)k_groups,
        .move_rows = move_rows,
        .from_rows = from[SXT_TOKEN],
        .to_rows = to[SXT_TOKEN],
        .from_count = from[SXT_BATCH] * (desc->pages ? 1 : from[SXT_TOKEN]),
        .to_count = to[SXT_BATCH] * (desc->pages ? 1 : to[SXT_TOKEN]),
        .heads = from[SXT_HEAD],
    };
    side k = {.head_bytes = (uint32_t)bytes_of(&desc->k_from, from[SXT_CHANNEL])};
    side v = {.head_bytes = has_v ? (uint32_t)bytes_of(&desc->v_from, desc->v_from.shape[SXT_CHANNEL]) : 0};
    if (bind_all(caps, desc, dispatch, &k, &v, &push) != SXT_OK)
        return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");
    if (groups > UINT32_MAX || groups > (uint64_t)caps->max_group_count[0] * caps->max_group_count[1])
        return sxt_plan_unsupported(out_plan, "%llu rows are too many for one call", (unsigned long long)k_groups);

    bool flat = flatten(&k, &v, push.heads);
    if (flat) push.heads = 1;
    uint32_t shift = choose_shift(caps, &k, &v);
    in_pieces(&k, shift);
    in_pieces(&v, shift);
    push.k_from = k.from, push.k_to = k.to, push.k_pieces = k.head_bytes;
    push.v_from = v.from, push.v_to = v.to, push.v_pieces = v.head_bytes;

    dispatch->by_address = sxt_plan_by_address(caps) && caps->int64;
    dispatch->shader = dispatch->by_address ? SXT_SHADER_KV_COPY_ADDRESS : shaders[caps->storage16];
    dispatch->spec_count = SXT_COPY_SPEC_COUNT;
    dispatch->spec[SXT_COPY_SPEC_GROUP] = sxt_plan_group(caps);
    dispatch->spec[SXT_COPY_SPEC_SHIFT] = shift;
    dispatch->spec[SXT_COPY_SPEC_FLAT] = flat;
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, groups, dispatch->groups);
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "%s %s %u bytes grid %ux%u", sxt_shaders[dispatch->shader].name,
                  sxt_type_name(desc->k_from.type), 1u << shift, dispatch->groups[0], dispatch->groups[1]);
    return SXT_OK;
}
