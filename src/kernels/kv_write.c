#include "kernels/kernels.h"

#include "interface/kv_write.h"

#include <string.h>

static const sxt_shader_id shaders[2] = {SXT_SHADER_KV_WRITE, SXT_SHADER_KV_WRITE_S16};

static bool aligned(const sxt_tensor *source, const sxt_view *source_view, const sxt_tensor *cache,
                    const sxt_view *cache_view) {
    return !sxt_tensor_present(source) || (source->shape[SXT_CHANNEL] % 4 == 0 && sxt_plan_quads(source, source_view) &&
                                           sxt_plan_quads(cache, cache_view));
}

static uint32_t quads_of(uint32_t channels) {
    return channels / 4 + (channels % 4 != 0);
}

sxt_result sxt_kv_write_plan(const sxt_caps *caps, const sxt_kv_write_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    const uint32_t *shape = desc->k.shape;
    bool has_v = sxt_tensor_present(&desc->v), has_slots = sxt_tensor_present(&desc->slots);
    if (sxt_tensor_empty(&desc->k) || sxt_tensor_empty(&desc->k_cache)) {
        sxt_plan_name(out_plan, "kv_write: empty");
        return SXT_OK;
    }
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    struct sxt_kv_write_push push = {
        .slots_batch = has_slots && desc->slots.shape[1] > 1 ? (uint32_t)desc->slots.strides[1] : 0,
        .first_row = desc->first_row,
        .k_cache_rows = desc->k_cache.shape[SXT_TOKEN],
        .v_cache_rows = has_v ? desc->v_cache.shape[SXT_TOKEN] : 0,
        .rows = shape[SXT_BATCH] * shape[SXT_TOKEN] * shape[SXT_HEAD],
        .tokens = shape[SXT_TOKEN],
        .heads = shape[SXT_HEAD],
        .k_quads = quads_of(shape[SXT_CHANNEL]),
        .v_quads = has_v ? quads_of(desc->v.shape[SXT_CHANNEL]) : 0,
        .k_channels = shape[SXT_CHANNEL],
        .v_channels = has_v ? desc->v.shape[SXT_CHANNEL] : 0,
    };
    sxt_result result = sxt_plan_view(caps, &desc->k, false, dispatch, &push.k);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->k_cache, true, dispatch, &push.k_cache);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->v, false, dispatch, &push.v);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->v_cache, true, dispatch, &push.v_cache);
    if (result == SXT_OK) result = sxt_plan_bind(caps, &desc->slots, false, dispatch, &push.slots_base);
    if (result != SXT_OK) return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");

    uint32_t group = sxt_plan_group(caps);
    uint64_t k_groups = ((uint64_t)push.rows * push.k_quads + group - 1) / group;
    uint64_t v_groups = ((uint64_t)push.rows * push.v_quads + group - 1) / group;
    // The shader counts in 32 bits. Only a k whose tokens are one and the same memory gets this far.
    if ((k_groups + v_groups) * group > UINT32_MAX)
        return sxt_plan_unsupported(out_plan, "too many elements for one call");
    push.k_groups = (uint32_t)k_groups;
    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader = dispatch->by_address ? SXT_SHADER_KV_WRITE_ADDRESS : shaders[caps->storage16];
    dispatch->spec_count = SXT_KV_SPEC_COUNT;
    dispatch->spec[SXT_KV_SPEC_GROUP] = group;
    dispatch->spec[SXT_KV_SPEC_ALIGNED] = aligned(&desc->k, &push.k, &desc->k_cache, &push.k_cache) &&
                                          aligned(&desc->v, &push.v, &desc->v_cache, &push.v_cache);
    dispatch->spec[SXT_KV_SPEC_K_TYPE] = sxt_plan_type(&desc->k);
    dispatch->spec[SXT_KV_SPEC_K_CACHE_TYPE] = sxt_plan_type(&desc->k_cache);
    dispatch->spec[SXT_KV_SPEC_V_TYPE] = sxt_plan_type(&desc->v);
    dispatch->spec[SXT_KV_SPEC_V_CACHE_TYPE] = sxt_plan_type(&desc->v_cache);
    dispatch->spec[SXT_KV_SPEC_SLOTS] = has_slots;
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, k_groups + v_groups, dispatch->groups);
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "%s %s->%s grid %ux%u", sxt_shaders[dispatch->shader].name, sxt_type_name(desc->k.type),
                  sxt_type_name(desc->k_cache.type), dispatch->groups[0], dispatch->groups[1]);
    return SXT_OK;
}
