#include "kernels/norm.h"

#include <string.h>

static_assert((int)SXT_NORM_RMS == SXT_KIND_RMS && (int)SXT_NORM_LAYER == SXT_KIND_LAYER &&
                  (int)SXT_NORM_L2 == SXT_KIND_L2 && (int)SXT_NORM_NONE == SXT_KIND_NONE,
              "kinds in C and GLSL");

static const sxt_shader_id shaders[2][2] = {
    {SXT_SHADER_NORM, SXT_SHADER_NORM},
    {SXT_SHADER_NORM_SUBGROUP, SXT_SHADER_NORM_SUBGROUP_S16},
};

static sxt_result bind(const sxt_caps *caps, const sxt_norm_desc *desc, sxt_dispatch *dispatch,
                       struct sxt_norm_push *push) {
    sxt_result result = sxt_plan_view(caps, &desc->x, false, dispatch, &push->x);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->y, true, dispatch, &push->y);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->weight, false, dispatch, &push->weight);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->bias, false, dispatch, &push->bias);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->residual, false, dispatch, &push->residual);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->residual_out, true, dispatch, &push->residual_out);
    return result;
}

// Whether the shader may move four elements at a time. A gain for the whole row is one element, wherever it stands.
static bool aligned(const sxt_norm_desc *desc, const struct sxt_norm_push *push) {
    return push->channels % 4 == 0 && sxt_plan_quads(&desc->x, &push->x) && sxt_plan_quads(&desc->y, &push->y) &&
           (sxt_plan_one(&desc->weight) || sxt_plan_quads(&desc->weight, &push->weight)) &&
           (sxt_plan_one(&desc->bias) || sxt_plan_quads(&desc->bias, &push->bias)) &&
           sxt_plan_quads(&desc->residual, &push->residual) && sxt_plan_quads(&desc->residual_out, &push->residual_out);
}

static void fill_spec(const sxt_norm_desc *desc, const struct sxt_norm_push *push, uint32_t spec[]) {
    spec[SXT_NORM_SPEC_KIND] = (uint32_t)desc->kind;
    spec[SXT_NORM_SPEC_ALIGNED] = aligned(desc, push);
    spec[SXT_NORM_SPEC_X_TYPE] = sxt_plan_type(&desc->x);
    spec[SXT_NORM_SPEC_Y_TYPE] = sxt_plan_type(&desc->y);
    spec[SXT_NORM_SPEC_WEIGHT_TYPE] = sxt_plan_type(&desc->weight);
    spec[SXT_NORM_SPEC_BIAS_TYPE] = sxt_plan_type(&desc->bias);
    spec[SXT_NORM_SPEC_RESIDUAL_TYPE] = sxt_plan_type(&desc->residual);
    spec[SXT_NORM_SPEC_RESIDUAL_OUT_TYPE] = sxt_plan_type(&desc->residual_out);
    spec[SXT_NORM_SPEC_WEIGHT_ONE] = sxt_plan_one(&desc->weight);
    spec[SXT_NORM_SPEC_BIAS_ONE] = sxt_plan_one(&desc->bias);
}

static void shape_rows(const sxt_caps *caps, const sxt_norm_desc *desc, const struct sxt_norm_push *push,
                       sxt_plan *plan) {
    // A CPU would rather loop than wait at barriers.
    enum { MOST_HELD = 4 };
    uint32_t most = caps->software ? UINT32_MAX : MOST_HELD;
    const uint32_t quads = push->channels / 4 + (push->channels % 4 != 0);
    sxt_row_shape rows = sxt_plan_rows(caps, quads, most);
    sxt_dispatch *dispatch = &plan->dispatches[0];
    const uint32_t share = (quads + rows.lanes - 1) / rows.lanes;
    dispatch->spec[SXT_NORM_SPEC_HELD_QUADS] =
        dispatch->spec[SXT_NORM_SPEC_ALIGNED] && share <= MOST_HELD && !caps->software ? share : 0;
    dispatch->shader = shaders[rows.subgroup][caps->storage16];
    dispatch->subgroup_size = rows.subgroup_size;
    dispatch->spec_count = SXT_NORM_SPEC_COUNT;
    dispatch->spec[SXT_NORM_SPEC_GROUP] = rows.lanes * rows.rows;
    dispatch->spec[SXT_NORM_SPEC_LANES] = rows.lanes;
    sxt_plan_grid(caps, (push->rows + (uint64_t)rows.rows - 1) / rows.rows, dispatch->groups);
    sxt_plan_name(plan, "%s %s->%s lanes %u rows %u grid %ux%u", sxt_shaders[dispatch->shader].name,
                  sxt_type_name(desc->x.type), sxt_type_name(desc->y.type), rows.lanes, rows.rows, dispatch->groups[0],
                  dispatch->groups[1]);
}

sxt_result sxt_norm_plan(const sxt_caps *caps, const sxt_norm_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    if (sxt_tensor_empty(&desc->x)) {
        sxt_plan_name(out_plan, "norm: empty");
        return SXT_OK;
    }
    const uint32_t *shape = desc->x.shape;
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    struct sxt_norm_push push = {
        .rows = shape[SXT_BATCH] * shape[SXT_TOKEN] * shape[SXT_HEAD],
        .tokens = shape[SXT_TOKEN],
        .heads = shape[SXT_HEAD],
        .channels = shape[SXT_CHANNEL],
        .eps = desc->eps,
        .offset = desc->offset,
    };
    sxt_result result = bind(caps, desc, dispatch, &push);
    if (result != SXT_OK) return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");

    fill_spec(desc, &push, dispatch->spec);
    if (sxt_norm_wants_software(caps))
        sxt_norm_shape_software(caps, desc, &push, out_plan);
    else
        shape_rows(caps, desc, &push, out_plan);
    sxt_plan_push(dispatch, &push, sizeof push);
    out_plan->dispatch_count = 1;
    return SXT_OK;
}
