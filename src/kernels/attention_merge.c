#include "kernels/kernels.h"

#include "interface/attention_merge.h"

#include <string.h>

static const sxt_shader_id shaders[2] = {SXT_SHADER_ATTENTION_MERGE, SXT_SHADER_ATTENTION_MERGE_S16};

// On a CPU a workgroup is one subgroup, and takes that many rows, so that its start does not count.
enum { SOFTWARE_ROWS = 32, GPU_LANES = 32 };

static sxt_result bind(const sxt_caps *caps, const sxt_attention_merge_desc *desc, sxt_dispatch *dispatch,
                       struct sxt_merge_push *push) {
    sxt_result result = sxt_plan_view(caps, &desc->o_a, false, dispatch, &push->o_a);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->lse_a, false, dispatch, &push->lse_a);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->o_b, false, dispatch, &push->o_b);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->lse_b, false, dispatch, &push->lse_b);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->o, true, dispatch, &push->o);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->lse, true, dispatch, &push->lse);
    return result;
}

static void shape_rows(const sxt_caps *caps, uint32_t channels, uint32_t spec[]) {
    uint32_t group = sxt_plan_group(caps), most = caps->software || group < GPU_LANES ? group : GPU_LANES;
    uint32_t lanes = sxt_plan_pow2(channels / 4 + (channels % 4 != 0));
    if (lanes > most) lanes = most;
    spec[SXT_MERGE_SPEC_GROUP] = group;
    spec[SXT_MERGE_SPEC_LANES] = lanes;
    spec[SXT_MERGE_SPEC_ROWS] = caps->software ? SOFTWARE_ROWS : group / lanes;
}

sxt_result sxt_attention_merge_plan(const sxt_caps *caps, const sxt_attention_merge_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    if (sxt_tensor_empty(&desc->o)) {
        sxt_plan_name(out_plan, "attention_merge: empty");
        return SXT_OK;
    }
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    const uint32_t *shape = desc->o.shape;
    struct sxt_merge_push push = {
        .rows = shape[SXT_BATCH] * shape[SXT_TOKEN] * shape[SXT_HEAD], // fewer than o's bytes
        .tokens = shape[SXT_TOKEN],
        .heads = shape[SXT_HEAD],
        .channels = shape[SXT_CHANNEL],
    };
    if (bind(caps, desc, dispatch, &push) != SXT_OK)
        return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");

    uint32_t *spec = dispatch->spec;
    shape_rows(caps, push.channels, spec);
    uint64_t groups = ((uint64_t)push.rows + spec[SXT_MERGE_SPEC_ROWS] - 1) / spec[SXT_MERGE_SPEC_ROWS];
    if (groups > (uint64_t)caps->max_group_count[0] * caps->max_group_count[1])
        return sxt_plan_unsupported(out_plan, "%u rows are too many for one call", push.rows);
    spec[SXT_MERGE_SPEC_ALIGNED] = push.channels % 4 == 0 && sxt_plan_quads(&desc->o_a, &push.o_a) &&
                                   sxt_plan_quads(&desc->o_b, &push.o_b) && sxt_plan_quads(&desc->o, &push.o);
    spec[SXT_MERGE_SPEC_A_TYPE] = sxt_plan_type(&desc->o_a);
    spec[SXT_MERGE_SPEC_B_TYPE] = sxt_plan_type(&desc->o_b);
    spec[SXT_MERGE_SPEC_O_TYPE] = sxt_plan_type(&desc->o);
    spec[SXT_MERGE_SPEC_LSE_TYPE] = sxt_plan_type(&desc->lse);

    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader = dispatch->by_address ? SXT_SHADER_ATTENTION_MERGE_ADDRESS : shaders[caps->storage16];
    dispatch->spec_count = SXT_MERGE_SPEC_COUNT;
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, groups, dispatch->groups);
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "%s %s,%s->%s lanes %u rows %u grid %ux%u", sxt_shaders[dispatch->shader].name,
                  sxt_type_name(desc->o_a.type), sxt_type_name(desc->o_b.type), sxt_type_name(desc->o.type),
                  spec[SXT_MERGE_SPEC_LANES], spec[SXT_MERGE_SPEC_ROWS], dispatch->groups[0], dispatch->groups[1]);
    return SXT_OK;
}
