#include "kernels/kernels.h"

#include "interface/qk_norm_rope.h"
#include "kernels/rope_table.h"

#include <string.h>

static const sxt_shader_id shaders[2][2] = {
    {SXT_SHADER_QK_NORM_ROPE, SXT_SHADER_QK_NORM_ROPE_S16},
    {SXT_SHADER_QK_NORM_ROPE_SUBGROUP, SXT_SHADER_QK_NORM_ROPE_SUBGROUP_S16},
};

// What a lane may hold of a head: 8 units are 64 values in registers.
enum { UNITS_WANTED = 8, UNITS_MOST = 16 };

static void fill_table(const void *context, void *out_data) {
    const sxt_qk_norm_rope_desc *desc = context;
    sxt_rope_table_fill(&desc->rope, desc->eps, desc->offset, out_data);
}

static sxt_result bind(const sxt_caps *caps, const sxt_qk_norm_rope_desc *desc, sxt_dispatch *dispatch,
                       struct sxt_qk_norm_rope_push *push) {
    sxt_result result = sxt_plan_view(caps, &desc->q, false, dispatch, &push->q);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->q_out, true, dispatch, &push->q_out);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->k, false, dispatch, &push->k);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->k_out, true, dispatch, &push->k_out);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->q_weight, false, dispatch, &push->q_weight);
    if (result == SXT_OK) result = sxt_plan_view(caps, &desc->k_weight, false, dispatch, &push->k_weight);
    if (result == SXT_OK) result = sxt_rope_bind_positions(caps, &desc->positions, dispatch, &push->positions);
    if (result == SXT_OK) result = sxt_plan_bind_table(caps, dispatch);
    return result;
}

static bool aligned(const sxt_qk_norm_rope_desc *desc, const struct sxt_qk_norm_rope_push *push) {
    return sxt_rope_quads(&desc->rope, push->channels) && sxt_plan_quads(&desc->q, &push->q) &&
           sxt_plan_quads(&desc->q_out, &push->q_out) && sxt_plan_quads(&desc->k, &push->k) &&
           sxt_plan_quads(&desc->k_out, &push->k_out) &&
           (sxt_plan_one(&desc->q_weight) || sxt_plan_quads(&desc->q_weight, &push->q_weight)) &&
           (sxt_plan_one(&desc->k_weight) || sxt_plan_quads(&desc->k_weight, &push->k_weight));
}

static void specialise(const sxt_qk_norm_rope_desc *desc, const struct sxt_qk_norm_rope_push *push, sxt_row_shape rows,
                       uint32_t units, sxt_dispatch *dispatch) {
    dispatch->spec_count = SXT_QK_SPEC_COUNT;
    dispatch->spec[SXT_QK_SPEC_GROUP] = rows.lanes * rows.rows;
    dispatch->spec[SXT_QK_SPEC_LANES] = rows.lanes;
    dispatch->spec[SXT_QK_SPEC_UNITS] = (units + rows.lanes - 1) / rows.lanes;
    dispatch->spec[SXT_QK_SPEC_KIND] = (uint32_t)desc->norm;
    dispatch->spec[SXT_QK_SPEC_ALIGNED] = aligned(desc, push);
    dispatch->spec[SXT_QK_SPEC_INTERLEAVED] = desc->rope.pairing == SXT_ROPE_INTERLEAVED;
    dispatch->spec[SXT_QK_SPEC_WHOLE] = desc->rope.rotary_dim == push->channels;
    dispatch->spec[SXT_QK_SPEC_MULTI] = desc->rope.multi != SXT_ROPE_SINGLE;
    dispatch->spec[SXT_QK_SPEC_Q_TYPE] = sxt_plan_type(&desc->q);
    dispatch->spec[SXT_QK_SPEC_Q_OUT_TYPE] = sxt_plan_type(&desc->q_out);
    dispatch->spec[SXT_QK_SPEC_K_TYPE] = sxt_plan_type(&desc->k);
    dispatch->spec[SXT_QK_SPEC_K_OUT_TYPE] = sxt_plan_type(&desc->k_out);
    dispatch->spec[SXT_QK_SPEC_Q_WEIGHT_TYPE] = sxt_plan_type(&desc->q_weight);
    dispatch->spec[SXT_QK_SPEC_K_WEIGHT_TYPE] = sxt_plan_type(&desc->k_weight);
    dispatch->spec[SXT_QK_SPEC_Q_WEIGHT_ONE] = sxt_plan_one(&desc->q_weight);
    dispatch->spec[SXT_QK_SPEC_K_WEIGHT_ONE] = sxt_plan_one(&desc->k_weight);
}

sxt_result sxt_qk_norm_rope_plan(const sxt_caps *caps, const sxt_qk_norm_rope_desc *desc, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    bool has_q = sxt_tensor_present(&desc->q) && !sxt_tensor_empty(&desc->q);
    bool has_k = sxt_tensor_present(&desc->k) && !sxt_tensor_empty(&desc->k);
    if (!has_q && !has_k) {
        sxt_plan_name(out_plan, "qk_norm_rope: empty");
        return SXT_OK;
    }
    const sxt_tensor *any = has_q ? &desc->q : &desc->k;
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    struct sxt_qk_norm_rope_push push = {
        .rows = any->shape[SXT_BATCH] * any->shape[SXT_TOKEN],
        .tokens = any->shape[SXT_TOKEN],
        .q_heads = has_q ? desc->q.shape[SXT_HEAD] : 0,
        .heads = (has_q ? desc->q.shape[SXT_HEAD] : 0) + (has_k ? desc->k.shape[SXT_HEAD] : 0),
        .channels = any->shape[SXT_CHANNEL],
    };
    if (bind(caps, desc, dispatch, &push) != SXT_OK)
        return sxt_plan_unsupported(out_plan, "a tensor exceeds the device's storage range");

    uint32_t units = sxt_rope_rotary_units(&desc->rope) + sxt_rope_other_units(&desc->rope, push.channels);
    sxt_row_shape rows = sxt_plan_rows(caps, units, UNITS_WANTED);
    specialise(desc, &push, rows, units, dispatch);
    if (dispatch->spec[SXT_QK_SPEC_UNITS] > UNITS_MOST)
        return sxt_plan_unsupported(out_plan, "%u channels a head are too many: %u fit a workgroup of this device",
                                    push.channels, UNITS_MOST * rows.lanes * SXT_UNIT_CHANNELS);
    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader = dispatch->by_address ? SXT_SHADER_QK_NORM_ROPE_ADDRESS : shaders[rows.subgroup][caps->storage16];
    dispatch->subgroup_size = rows.subgroup_size;
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, push.rows, dispatch->groups);
    uint32_t turns = (push.heads + rows.rows - 1) / rows.rows;
    dispatch->groups[2] = sxt_plan_shares(caps, (uint64_t)push.rows * rows.lanes * rows.rows, turns);

    sxt_rope_table_plan(&desc->rope, desc->eps, desc->offset, &out_plan->table);
    out_plan->table.fill = fill_table;
    out_plan->table.context = desc;
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "%s %s->%s lanes %u heads %u grid %ux%ux%u", sxt_shaders[dispatch->shader].name,
                  sxt_type_name(any->type), sxt_type_name((has_q ? &desc->q_out : &desc->k_out)->type), rows.lanes,
                  rows.rows, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
    return SXT_OK;
}
