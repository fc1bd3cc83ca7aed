#include "kernels/step.h"

#include <string.h>

// [coded types][subgroup operations][16-bit storage]. Hardly any device has 16-bit storage and no subgroup operations: it
// does without both.
static const sxt_shader_id shaders[2][2][2] = {
    {{SXT_SHADER_STEP, SXT_SHADER_STEP}, {SXT_SHADER_STEP_SUBGROUP, SXT_SHADER_STEP_SUBGROUP_S16}},
    {{SXT_SHADER_STEP_CODED, SXT_SHADER_STEP_CODED},
     {SXT_SHADER_STEP_CODED_SUBGROUP, SXT_SHADER_STEP_CODED_SUBGROUP_S16}},
};

// Units a lane should hold at most before a row takes more lanes, and what registers allow: 8 units are 64 values.
enum { UNITS_WANTED = 8, UNITS_MOST = 16 };

static bool blocks(const sxt_tensor *tensor) {
    return sxt_tensor_present(tensor) && sxt_type_block(tensor->type) > 1;
}

// Of a type that only caches have.
static bool coded(const sxt_tensor *tensor) {
    return sxt_tensor_present(tensor) && (1 << tensor->type & SXT_TYPES_FLOAT) == 0;
}

// ── Bindings and push constants ──

typedef struct binder {
    const sxt_caps *caps;
    sxt_dispatch *dispatch;
    struct sxt_step_push *push;
    bool quads; // all rows of channels so far start at multiples of four
    sxt_result result;
} binder;

// Binds the next tensor in the order of the bindings; `base` is its place in push.bases.
static sxt_view bind(binder *b, const sxt_tensor *tensor, bool written, int base) {
    sxt_view view = {0};
    if (b->result == SXT_OK) b->result = sxt_plan_view(b->caps, tensor, written, b->dispatch, &view);
    if (b->result != SXT_OK) return view;
    uint32_t first = view.base / (sxt_tensor_present(tensor) ? sxt_type_block(tensor->type) : 1);
    if (first > 255) b->result = SXT_ERROR_UNSUPPORTED; // a device that aligns storage to more than 256 bytes
    b->push->bases[base / 4] |= first << (base % 4 * 8);
    return view;
}

// One of rows of channels; `strides` of weights are in the table.
static void bind_rows(binder *b, const sxt_tensor *tensor, bool written, int base, uint32_t strides[3]) {
    sxt_view view = bind(b, tensor, written, base);
    b->quads = b->quads && (sxt_plan_one(tensor) || sxt_plan_quads(tensor, &view));
    if (strides) memcpy(strides, (uint32_t[3]){view.batch, view.token, view.head}, 3 * sizeof *strides);
}

static sxt_result bind_all(const sxt_caps *caps, const sxt_step *step, sxt_dispatch *dispatch,
                           struct sxt_step_push *push, bool *out_quads) {
    binder b = {.caps = caps, .dispatch = dispatch, .push = push, .quads = true};
    bind_rows(&b, &step->q, false, SXT_STEP_BASE_Q, push->q);
    bind_rows(&b, &step->k, false, SXT_STEP_BASE_K, push->k);
    bind_rows(&b, &step->v, false, SXT_STEP_BASE_V, push->v);
    bind_rows(&b, &step->q_out, true, SXT_STEP_BASE_Q_OUT, push->q_out);
    bind_rows(&b, &step->k_out, true, SXT_STEP_BASE_K_OUT, push->k_out);
    bind_rows(&b, &step->v_out, true, SXT_STEP_BASE_V_OUT, push->v_out);
    bind_rows(&b, &step->q_weight, false, SXT_STEP_BASE_Q_WEIGHT, NULL);
    bind_rows(&b, &step->k_weight, false, SXT_STEP_BASE_K_WEIGHT, NULL);
    bind(&b, &step->positions, false, SXT_STEP_BASE_POSITIONS);
    bind(&b, &step->slots, false, SXT_STEP_BASE_SLOTS);
    bind(&b, &step->block_table, false, SXT_STEP_BASE_BLOCK_TABLE);
    bind(&b, &step->k_scale, false, SXT_STEP_BASE_K_SCALE);
    bind(&b, &step->v_scale, false, SXT_STEP_BASE_V_SCALE);
    *out_quads = b.quads;
    if (b.result == SXT_OK) b.result = sxt_plan_bind_table(caps, dispatch);
    return b.result == SXT_OK ? sxt_plan_bind_faults(caps, dispatch) : b.result;
}

static struct sxt_step_push push_of(const sxt_step *step) {
    bool has_q = sxt_tensor_present(&step->q), has_k = sxt_tensor_present(&step->k);
    bool has_v = sxt_tensor_present(&step->v);
    const sxt_tensor *any = has_q ? &step->q : has_k ? &step->k : &step->v;
    return (struct sxt_step_push){
        .rows = any->shape[SXT_BATCH] * any->shape[SXT_TOKEN],
        .tokens = any->shape[SXT_TOKEN],
        .positions_plane = sxt_plan_stride(&step->positions, 0), // [plane, batch, 1, token]
        .positions_batch = sxt_plan_stride(&step->positions, 1),
        .slots_batch = sxt_plan_stride(&step->slots, 1),
        .first_row = step->first_row,
        .table_pages = sxt_tensor_present(&step->block_table) ? step->block_table.shape[SXT_CHANNEL] : 0,
        .table_batch = sxt_plan_stride(&step->block_table, SXT_HEAD),
        .q_heads = has_q ? step->q.shape[SXT_HEAD] : 0,
        .kv_heads = has_k   ? step->k.shape[SXT_HEAD]
                    : has_v ? step->v.shape[SXT_HEAD]
                            : 0,
    };
}

// ── Specialisation ──

// Every unit consists of whole quads.
static bool whole_quads(const sxt_step *step, uint32_t channels) {
    bool rotates = step->rope.pairing != SXT_ROPE_NONE;
    if (rotates && (step->rope.rotary_dim % 8 != 0 || step->rope.rotary_offset % 4 != 0)) return false;
    return channels % 4 == 0 && (!sxt_tensor_present(&step->v) || step->v.shape[SXT_CHANNEL] % 4 == 0);
}

static uint32_t rotation_of(const sxt_step *step) {
    if (step->rope.pairing == SXT_ROPE_NONE) return SXT_ROTATION_NONE;
    return step->rope.pairing == SXT_ROPE_INTERLEAVED ? SXT_ROTATION_INTERLEAVED : SXT_ROTATION_HALF;
}

static uint32_t place_of(const sxt_step *step) {
    if (!sxt_step_cached(step)) return SXT_PLACE_TOKEN;
    return sxt_tensor_present(&step->block_table) ? SXT_PLACE_PAGE : SXT_PLACE_ROW;
}

static bool in_place(const sxt_tensor *in, const sxt_tensor *out) {
    return !sxt_tensor_present(in) || (in->buffer == out->buffer && in->offset_bytes == out->offset_bytes);
}

// Only the rotary range changes: the rest can stay where it is, unless it shares blocks with what changes.
static bool rotary_only(const sxt_step *step) {
    return step->norm == SXT_NORM_NONE && rotation_of(step) != SXT_ROTATION_NONE && !sxt_step_cached(step) &&
           in_place(&step->q, &step->q_out) && in_place(&step->k, &step->k_out) && !sxt_tensor_present(&step->v) &&
           !blocks(&step->q_out) && !blocks(&step->k_out);
}

// Channels of shared memory a row: odd heads in whole blocks do not come here.
static uint32_t staged_of(const sxt_step *step) {
    uint32_t channels = 1;
    const sxt_tensor *const outs[] = {&step->q_out, &step->k_out, &step->v_out};
    for (int i = 0; i < 3; i++)
        if (blocks(outs[i])) channels = sxt_larger(channels, outs[i]->shape[SXT_CHANNEL]);
    return channels;
}

// Values that are only moved, and stay f16, go as bf16: those pass through f32 by shifts, while drivers' conversions of
// f16 may change a NaN.
static void specialise_types(const sxt_tensor *in, const sxt_tensor *out, bool changed, uint32_t *in_spec,
                             uint32_t *out_spec) {
    *in_spec = sxt_plan_type(in);
    *out_spec = sxt_plan_type(out);
    if (!changed && *in_spec == SXT_STORE_F16 && *out_spec == SXT_STORE_F16) *in_spec = *out_spec = SXT_STORE_BF16;
}

// Shared memory: the staged rows, and what lib/reduce.glsl has for each invocation.
static bool fits(const sxt_caps *caps, const sxt_step *step, sxt_row_shape rows) {
    return (uint64_t)rows.rows * (staged_of(step) + rows.lanes) * 4 + 16 <= caps->shared_bytes;
}

static void specialise(const sxt_step *step, sxt_row_shape rows, uint32_t units, uint32_t channels,
                       sxt_dispatch *dispatch) {
    uint32_t *spec = dispatch->spec;
    dispatch->spec_count = SXT_STEP_SPEC_COUNT;
    spec[SXT_STEP_SPEC_GROUP] = rows.lanes * rows.rows;
    spec[SXT_STEP_SPEC_LANES] = rows.lanes;
    spec[SXT_STEP_SPEC_UNITS] = (units + rows.lanes - 1) / rows.lanes;
    spec[SXT_STEP_SPEC_KIND] = (uint32_t)step->norm;
    spec[SXT_STEP_SPEC_NORM_V] = step->normalise_v;
    spec[SXT_STEP_SPEC_ROTATION] = rotation_of(step);
    spec[SXT_STEP_SPEC_WHOLE] = rotation_of(step) != SXT_ROTATION_NONE && step->rope.rotary_dim == channels;
    spec[SXT_STEP_SPEC_MULTI] = rotation_of(step) != SXT_ROTATION_NONE && step->rope.multi != SXT_ROPE_SINGLE;
    spec[SXT_STEP_SPEC_MOVED] = step->moved;
    spec[SXT_STEP_SPEC_PLACE] = place_of(step);
    spec[SXT_STEP_SPEC_SLOTS] = sxt_tensor_present(&step->slots);
    bool changed = step->norm != SXT_NORM_NONE || rotation_of(step) != SXT_ROTATION_NONE;
    specialise_types(&step->q, &step->q_out, changed, &spec[SXT_STEP_SPEC_Q_TYPE], &spec[SXT_STEP_SPEC_Q_OUT_TYPE]);
    specialise_types(&step->k, &step->k_out, changed, &spec[SXT_STEP_SPEC_K_TYPE], &spec[SXT_STEP_SPEC_K_OUT_TYPE]);
    specialise_types(&step->v, &step->v_out, step->norm != SXT_NORM_NONE && step->normalise_v,
                     &spec[SXT_STEP_SPEC_V_TYPE], &spec[SXT_STEP_SPEC_V_OUT_TYPE]);
    spec[SXT_STEP_SPEC_Q_WEIGHT_TYPE] = sxt_plan_type(&step->q_weight);
    spec[SXT_STEP_SPEC_K_WEIGHT_TYPE] = sxt_plan_type(&step->k_weight);
    spec[SXT_STEP_SPEC_Q_WEIGHT_ONE] = sxt_plan_one(&step->q_weight);
    spec[SXT_STEP_SPEC_K_WEIGHT_ONE] = sxt_plan_one(&step->k_weight);
    spec[SXT_STEP_SPEC_SCALED] =
        (sxt_tensor_present(&step->k_scale) ? 1u : 0u) | (sxt_tensor_present(&step->v_scale) ? 2u : 0u);
    spec[SXT_STEP_SPEC_STAGED] = staged_of(step);
    spec[SXT_STEP_SPEC_ROTARY_ONLY] = rotary_only(step);
    spec[SXT_STEP_SPEC_K_PLACED] = step->k_cached;
}

// ── The kernel for drivers that run on the CPU ──

// Each block is in the registers of lanes that stand together: 8 lanes with half pairing, else 4.
static bool blocks_in_lanes(const sxt_caps *caps, const sxt_step *step, uint32_t channels) {
    bool half = rotation_of(step) == SXT_ROTATION_HALF, turns = rotation_of(step) != SXT_ROTATION_NONE;
    uint32_t run = caps->subgroup_size * SXT_UNIT_CHANNELS; // channels that all lanes together have at a time
    if (blocks(&step->v_out) && (caps->subgroup_size < 4 || step->v.shape[SXT_CHANNEL] % run != 0)) return false;
    if (!blocks(&step->q_out) && !blocks(&step->k_out)) return true;
    return caps->subgroup_size >= (half ? 8 : 4) && channels % run == 0 &&
           (!turns || step->rope.rotary_dim == channels);
}

static bool goes_by_software_kernel(const sxt_caps *caps, const sxt_step *step, uint32_t channels, uint32_t units,
                                    bool aligned) {
    return sxt_plan_by_address(caps) && caps->int64 && caps->subgroup_size_control && aligned &&
           units <= 8 * caps->subgroup_size && blocks_in_lanes(caps, step, channels) &&
           !sxt_tensor_present(&step->k_scale) && !sxt_tensor_present(&step->v_scale);
}

static bool same_for_all_rows(const sxt_tensor *weight) {
    return sxt_plan_stride(weight, 0) == 0 && sxt_plan_stride(weight, 1) == 0 && sxt_plan_stride(weight, 2) == 0;
}

// All lanes take whole units of every head.
static bool full(const sxt_step *step, uint32_t channels, uint32_t all_units) {
    uint32_t v_channels = sxt_tensor_present(&step->v) ? step->v.shape[SXT_CHANNEL] : all_units * SXT_UNIT_CHANNELS;
    bool heads = sxt_tensor_present(&step->q) || sxt_tensor_present(&step->k);
    uint32_t units = heads ? rotary_only(step) ? sxt_step_rotary_units(step) : channels / SXT_UNIT_CHANNELS : all_units;
    return channels % SXT_UNIT_CHANNELS == 0 && units == all_units && v_channels == all_units * SXT_UNIT_CHANNELS;
}

static void plan_software(const sxt_caps *caps, const sxt_step *step, uint32_t channels, uint32_t units,
                          uint32_t tokens, sxt_dispatch *dispatch) {
    sxt_row_shape rows = {.lanes = caps->subgroup_size, .rows = 1};
    specialise(step, rows, units, channels, dispatch);
    uint32_t lane_units = dispatch->spec[SXT_STEP_SPEC_UNITS];
    dispatch->spec[SXT_STEP_SPEC_FULL] = full(step, channels, lane_units * rows.lanes);
    dispatch->spec[SXT_STEP_SPEC_GAINS_ONCE] = same_for_all_rows(&step->q_weight) && same_for_all_rows(&step->k_weight);
    dispatch->by_address = true;
    dispatch->shader = SXT_SHADER_STEP_SOFTWARE;
    dispatch->subgroup_size = caps->subgroup_size;
    // A workgroup costs as much as some hundred bytes, and two runs of them are dealt to each core.
    dispatch->groups[0] = tokens < 256 ? tokens : 256;
    dispatch->groups[1] = dispatch->groups[2] = 1;
}

// ── The plan ──

// Without what has no elements, so that the rest can be planned alone.
static sxt_step without_empty(const sxt_step *step) {
    sxt_step s = *step;
    if (sxt_tensor_present(&s.q) && sxt_tensor_empty(&s.q)) s.q = s.q_out = s.q_weight = (sxt_tensor){0};
    bool no_cache = sxt_tensor_empty(s.k_cached ? &s.k_out : &s.v_out);
    if (sxt_tensor_present(&s.k) && (sxt_tensor_empty(&s.k) || (no_cache && s.k_cached)))
        s.k = s.k_out = s.k_weight = (sxt_tensor){0};
    if (sxt_tensor_present(&s.v) && (sxt_tensor_empty(&s.v) || no_cache)) s.v = s.v_out = (sxt_tensor){0};
    return s;
}

sxt_result sxt_step_plan(const sxt_caps *caps, const char *op, const sxt_step *whole, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    const sxt_step step = without_empty(whole);
    const sxt_tensor *head = sxt_tensor_present(&step.q) ? &step.q : &step.k;
    if (!sxt_tensor_present(head)) head = &step.v;
    if (!sxt_tensor_present(head)) {
        sxt_plan_name(out_plan, "%s: empty", op);
        return SXT_OK;
    }
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    struct sxt_step_push push = push_of(&step);
    bool quads;
    if (bind_all(caps, &step, dispatch, &push, &quads) != SXT_OK)
        return sxt_plan_unsupported(out_plan,
                                    "a tensor exceeds the device's storage range, or there are too many "
                                    "for its %u storage buffers",
                                    caps->storage_buffers);

    uint32_t channels = head->shape[SXT_CHANNEL];
    bool aligned = quads && whole_quads(&step, channels);
    dispatch->spec[SXT_STEP_SPEC_ALIGNED] = aligned;
    uint32_t units = head == &step.v      ? 0
                     : rotary_only(&step) ? sxt_step_rotary_units(&step)
                                          : sxt_step_units(&step, channels);
    if (sxt_tensor_present(&step.v))
        units = sxt_larger(units, (step.v.shape[SXT_CHANNEL] + SXT_UNIT_CHANNELS - 1) / SXT_UNIT_CHANNELS);
    sxt_step_table_plan(whole, &out_plan->table);
    sxt_plan_push(dispatch, &push, sizeof push);
    out_plan->dispatch_count = 1;
    const sxt_tensor *out = head == &step.q ? &step.q_out : head == &step.k ? &step.k_out : &step.v_out;
    if (goes_by_software_kernel(caps, &step, channels, units, aligned)) {
        plan_software(caps, &step, channels, units, push.rows, dispatch);
        sxt_plan_name(out_plan, "%s.%s %s->%s units %u grid %u", op, sxt_shaders[dispatch->shader].name,
                      sxt_type_name(head->type), sxt_type_name(out->type), dispatch->spec[SXT_STEP_SPEC_UNITS],
                      dispatch->groups[0]);
        return SXT_OK;
    }
    sxt_row_shape rows = sxt_plan_rows(caps, units, UNITS_WANTED);
    while (rows.rows > 1 && !fits(caps, &step, rows))
        rows.rows /= 2;
    specialise(&step, rows, units, channels, dispatch);
    if (dispatch->spec[SXT_STEP_SPEC_UNITS] > UNITS_MOST)
        return sxt_plan_unsupported(out_plan, "%u channels a head are too many: %u fit a workgroup of this device",
                                    channels, UNITS_MOST * rows.lanes * SXT_UNIT_CHANNELS);
    if (!fits(caps, &step, rows))
        return sxt_plan_unsupported(out_plan, "%u channels a head do not fit the shared memory of this device",
                                    channels);
    bool is_coded = coded(&step.k) || coded(&step.q_out) || coded(&step.k_out) || coded(&step.v_out);
    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader =
        dispatch->by_address ? SXT_SHADER_STEP_ADDRESS : shaders[is_coded][rows.subgroup][caps->storage16];
    dispatch->subgroup_size = rows.subgroup_size;
    sxt_plan_grid(caps, push.rows, dispatch->groups);
    uint32_t heads = push.q_heads + (sxt_tensor_present(&step.k) ? push.kv_heads : 0) +
                     (sxt_tensor_present(&step.v) ? push.kv_heads : 0);
    uint32_t turns = (heads + rows.rows - 1) / rows.rows;
    dispatch->groups[2] = sxt_plan_shares(caps, (uint64_t)push.rows * rows.lanes * rows.rows, turns);

    sxt_plan_name(out_plan, "%s.%s %s->%s lanes %u heads %u grid %ux%ux%u", op, sxt_shaders[dispatch->shader].name,
                  sxt_type_name(head->type), sxt_type_name(out->type), rows.lanes, rows.rows, dispatch->groups[0],
                  dispatch->groups[1], dispatch->groups[2]);
    return SXT_OK;
}
