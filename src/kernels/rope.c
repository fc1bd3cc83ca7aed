#include "kernels/kernels.h"

#include "kernels/rope_table.h"

#include <string.h>

static const sxt_shader_id shaders[2] = {SXT_SHADER_ROPE, SXT_SHADER_ROPE_S16};

static void fill_table(const void *context, void *out_data) {
    const sxt_rope_desc *desc = context;
    sxt_rope_table_fill(&desc->rope, 0, 0, out_data);
}

sxt_result sxt_rope_plan(const sxt_caps *caps, const sxt_rope_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    if (sxt_tensor_empty(&desc->x)) {
        sxt_plan_name(out_plan, "rope: empty");
        return SXT_OK;
    }
    const uint32_t *shape = desc->x.shape;
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    struct sxt_rope_push push = {
        .rows = shape[SXT_BATCH] * shape[SXT_TOKEN],
        .tokens = shape[SXT_TOKEN],
        .heads = shape[SXT_HEAD],
        .channels = shape[SXT_CHANNEL],
        .units = sxt_rope_rotary_units(&desc->rope),
    };
    bool in_place = desc->x.buffer == desc->y.buffer && desc->x.offset_bytes == desc->y.offset_bytes;
    if (!in_place) push.units += sxt_rope_other_units(&desc->rope, push.channels);

    sxt_result result = sxt_plan_view(caps, &desc->x, false, dispatch, &push.x);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->y, true, dispatch, &push.y);
    if (result == SXT_OK) result = sxt_rope_bind_positions(caps, &desc->positions, dispatch, &push.positions);
    if (result == SXT_OK) result = sxt_plan_bind_table(caps, dispatch);
    if (result != SXT_OK) return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");

    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader = dispatch->by_address ? SXT_SHADER_ROPE_ADDRESS : shaders[caps->storage16];
    dispatch->spec_count = SXT_ROPE_SPEC_COUNT;
    dispatch->spec[SXT_ROPE_SPEC_GROUP] = sxt_plan_group(caps);
    dispatch->spec[SXT_ROPE_SPEC_ALIGNED] = sxt_rope_quads(&desc->rope, push.channels) &&
                                            sxt_plan_quads(&desc->x, &push.x) && sxt_plan_quads(&desc->y, &push.y);
    dispatch->spec[SXT_ROPE_SPEC_INTERLEAVED] = desc->rope.pairing == SXT_ROPE_INTERLEAVED;
    dispatch->spec[SXT_ROPE_SPEC_WHOLE] = desc->rope.rotary_dim == push.channels;
    dispatch->spec[SXT_ROPE_SPEC_MULTI] = desc->rope.multi != SXT_ROPE_SINGLE;
    dispatch->spec[SXT_ROPE_SPEC_X_TYPE] = sxt_plan_type(&desc->x);
    dispatch->spec[SXT_ROPE_SPEC_Y_TYPE] = sxt_plan_type(&desc->y);
    sxt_plan_push(dispatch, &push, sizeof push);
    uint64_t items = (uint64_t)push.rows * push.units;
    uint32_t group = dispatch->spec[SXT_ROPE_SPEC_GROUP];
    sxt_plan_grid(caps, (items + group - 1) / group, dispatch->groups);
    dispatch->groups[2] = sxt_plan_shares(caps, items, push.heads);

    sxt_rope_table_plan(&desc->rope, 0, 0, &out_plan->table);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "%s %s->%s grid %ux%ux%u", sxt_shaders[dispatch->shader].name, sxt_type_name(desc->x.type),
                  sxt_type_name(desc->y.type), dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
    return SXT_OK;
}
