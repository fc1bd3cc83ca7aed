#include "interface/attention.h"

#include "core/tensor.h"
#include "kernels/attention.h"

#include <assert.h>

typedef struct tile_shape {
    uint32_t head; // channels, padded
    uint32_t rows, keys;
} tile_shape;

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

// What shaders/attention.comp declares.
static uint32_t tile_shared_bytes(const tile_shape *shape, bool subgroup) {
    uint32_t bytes = shape->rows * (shape->head / 4 + 1) * 16;             // q_tile
    bytes += shape->keys * (SXT_ATTENTION_CHUNK + 1) * 16;                 // k_tile
    bytes += shape->rows * shape->keys * 4;                                // p_tile
    bytes += shape->rows * 4;                                              // row_factor
    return bytes + (subgroup ? 0 : shape->rows * SXT_ATTENTION_LANES * 4); // partials
}

// As many rows as there are, up to 32, then as many keys as fit. A thread keeps head·rows/512 vectors of output twice:
// past 8 of each it would run out of registers. With fewer than one, threads would idle. Drivers on the CPU take 3 s to
// compile the kernel for 16 rows and 32 keys, 8 s for 64 keys, and gain nothing from more. Past 32 KiB of shared memory
// a compute unit of 64 KiB would hold one workgroup, with nothing to run while it waits.
static bool choose_tile(const sxt_caps *caps, const sxt_attention_desc *desc, bool subgroup, tile_shape *out_shape) {
    tile_shape shape = {.head =
                            larger(sxt_plan_pow2(larger(desc->q.shape[SXT_CHANNEL], desc->v.shape[SXT_CHANNEL])), 32)};
    uint64_t packed = (uint64_t)desc->q.shape[SXT_TOKEN] * sxt_attention_group(desc);
    uint32_t least = larger(SXT_ATTENTION_ROW_GROUPS, 4 * SXT_ATTENTION_THREADS / shape.head);
    uint32_t most_rows = caps->software ? 16 : 32, most_keys = caps->software ? 32 : 64;
    uint32_t shared_bytes = caps->shared_bytes < 32768 ? caps->shared_bytes : 32768;
    for (shape.rows = most_rows; shape.rows >= least; shape.rows /= 2) {
        if (shape.head * shape.rows / 512 > 8 || (shape.rows / 2 >= packed && shape.rows > least)) continue;
        for (shape.keys = most_keys; shape.keys >= 32; shape.keys /= 2) {
            if (tile_shared_bytes(&shape, subgroup) > shared_bytes) continue;
            *out_shape = shape;
            return true;
        }
    }
    return false;
}

// The masks as one window, and the factor on q.
static void fill_scalars(const sxt_attention_desc *desc, struct sxt_attention_push *push) {
    bool left = desc->windowed && desc->window_left >= 0, right = desc->windowed && desc->window_right >= 0;
    push->window_left = left && desc->window_left < SXT_ATTENTION_OPEN ? desc->window_left : SXT_ATTENTION_OPEN;
    push->window_right = right && desc->window_right < SXT_ATTENTION_OPEN ? desc->window_right : SXT_ATTENTION_OPEN;
    if (desc->causal) push->window_right = 0;
    push->q_scale = desc->softcap > 0 ? desc->scale / desc->softcap : desc->scale;
    push->softcap = desc->softcap;
}

static void fill_flags(const sxt_attention_desc *desc, struct sxt_attention_push *push) {
    push->dims = desc->q.shape[SXT_CHANNEL] / 4 | desc->v.shape[SXT_CHANNEL] / 4 << 8;
    push->dims |=
        (uint32_t)desc->q.type << SXT_ATTENTION_Q_TYPE_SHIFT | (uint32_t)(desc->k.type & 3) << SXT_ATTENTION_K_TYPE_SHIFT |
        (uint32_t)(desc->v.type & 3) << SXT_ATTENTION_V_TYPE_SHIFT | (uint32_t)desc->o.type << SXT_ATTENTION_O_TYPE_SHIFT |
        (uint32_t)desc->bias.type << SXT_ATTENTION_BIAS_TYPE_SHIFT;
    if (sxt_tensor_present(&desc->lse)) push->flags |= SXT_ATTENTION_HAS_LSE;
    if (sxt_tensor_present(&desc->bias)) push->flags |= SXT_ATTENTION_HAS_BIAS;
    if (sxt_tensor_present(&desc->sinks)) push->flags |= SXT_ATTENTION_HAS_SINKS;
    if (sxt_tensor_present(&desc->alibi_slopes)) push->flags |= SXT_ATTENTION_HAS_ALIBI;
    if (desc->softcap > 0) push->flags |= SXT_ATTENTION_HAS_SOFTCAP;
}

static void set_strides(uint32_t strides[3], const struct sxt_view *view) {
    strides[0] = view->batch;
    strides[1] = view->token;
    strides[2] = view->head;
}

// Binds all tensors in the order of SXT_ATTENTION_Q …, and fills what says where their rows are.
static sxt_result bind_tensors(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_dispatch *dispatch,
                               struct sxt_attention_push *push) {
    const sxt_tensor *tensors[SXT_ATTENTION_BINDINGS] = {&desc->q,   &desc->k,    &desc->v,     &desc->o,
                                                         &desc->lse, &desc->bias, &desc->sinks, &desc->alibi_slopes};
    uint32_t *strides[SXT_ATTENTION_BINDINGS] = {push->q_stride, push->k_stride,   push->v_stride,
                                                 push->o_stride, push->lse_stride, push->bias_stride};
    struct sxt_view views[SXT_ATTENTION_BINDINGS];
    for (int i = 0; i < SXT_ATTENTION_BINDINGS; i++) {
        const sxt_tensor none = {0};
        bool written = i == SXT_ATTENTION_O || i == SXT_ATTENTION_LSE;
        const sxt_tensor *tensor = sxt_tensor_empty(tensors[i]) ? &none : tensors[i];
        sxt_result result = sxt_plan_view(caps, tensor, written, dispatch, &views[i]);
        if (result != SXT_OK) return result;
        if (strides[i]) set_strides(strides[i], &views[i]);
        // A remainder below minStorageBufferOffsetAlignment, which is at most 256 bytes; of q8_0, 17 times that.
        uint32_t base = views[i].base / sxt_type_block(tensors[i]->type);
        assert(base < 256);
        *(i < 4 ? &push->bases_main : &push->bases_extra) |= base << 8 * (i % 4);
    }
    if (sxt_plan_quads(&desc->q, &views[SXT_ATTENTION_Q])) push->flags |= SXT_ATTENTION_Q_ALIGNED;
    if (sxt_plan_quads(&desc->o, &views[SXT_ATTENTION_O])) push->flags |= SXT_ATTENTION_O_ALIGNED;
    dispatch->spec[SXT_ATTENTION_SPEC_K_ALIGNED] = sxt_plan_quads(&desc->k, &views[SXT_ATTENTION_K]);
    dispatch->spec[SXT_ATTENTION_SPEC_V_ALIGNED] = sxt_plan_quads(&desc->v, &views[SXT_ATTENTION_V]);
    return SXT_OK;
}

// Everything but the kernel's shape, which `rows` stands for.
static sxt_result plan_common(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t rows, sxt_plan *plan) {
    uint64_t packed = (uint64_t)desc->q.shape[SXT_TOKEN] * sxt_attention_group(desc);
    uint64_t tiles = (packed + rows - 1) / rows * desc->k.shape[SXT_HEAD] * desc->q.shape[SXT_BATCH];
    if (desc->q.shape[SXT_TOKEN] > SXT_ATTENTION_MAX_TOKENS || desc->k.shape[SXT_TOKEN] > SXT_ATTENTION_MAX_TOKENS ||
        packed > INT32_MAX || tiles > (uint64_t)caps->max_group_count[0] * caps->max_group_count[1] ||
        tiles > UINT32_MAX)
        return sxt_plan_unsupported(plan, "attention: too many tokens or heads for one dispatch");

    sxt_dispatch *dispatch = &plan->dispatches[0];
    struct sxt_attention_push push = {
        .q_tokens = desc->q.shape[SXT_TOKEN],
        .k_tokens = desc->k.shape[SXT_TOKEN],
        .kv_heads = desc->k.shape[SXT_HEAD],
        .group = sxt_attention_group(desc),
        .tiles = (uint32_t)tiles,
    };
    fill_scalars(desc, &push);
    fill_flags(desc, &push);
    sxt_result result = bind_tensors(caps, desc, dispatch, &push);
    if (result != SXT_OK)
        return sxt_plan_unsupported(plan, "attention: a tensor is larger than the storage range, or too many bindings");
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, tiles, dispatch->groups);

    dispatch->spec[SXT_ATTENTION_SPEC_K_TYPE] = desc->k.type;
    dispatch->spec[SXT_ATTENTION_SPEC_V_TYPE] = desc->v.type;
    dispatch->spec[SXT_ATTENTION_SPEC_FEATURES] =
        (push.flags & (SXT_ATTENTION_HAS_BIAS | SXT_ATTENTION_HAS_ALIBI | SXT_ATTENTION_HAS_SOFTCAP)) != 0;
    plan->dispatch_count = 1;
    return SXT_OK;
}

static sxt_result plan_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    // Rows are reduced over 16 neighbouring invocations, which must be of one subgroup.
    bool subgroup = caps->subgroup_arithmetic && caps->subgroup_shuffle && caps->subgroup_size >= SXT_ATTENTION_LANES &&
                    caps->subgroup_size <= SXT_ATTENTION_THREADS;
    tile_shape shape;
    if (caps->max_invocations < SXT_ATTENTION_THREADS || !choose_tile(caps, desc, subgroup, &shape))
        return sxt_plan_unsupported(plan, "attention: needs 128 invocations and 16 KiB of shared memory");
    sxt_result result = plan_common(caps, desc, shape.rows, plan);
    if (result != SXT_OK) return result;

    sxt_dispatch *dispatch = &plan->dispatches[0];
    static const sxt_shader_id shaders[2][2] = {{SXT_SHADER_ATTENTION, SXT_SHADER_ATTENTION_S16},
                                                {SXT_SHADER_ATTENTION_SUBGROUP, SXT_SHADER_ATTENTION_SUBGROUP_S16}};
    dispatch->shader = shaders[subgroup][caps->storage16];
    dispatch->subgroup_size = subgroup && caps->subgroup_size_control ? caps->subgroup_size : 0;
    dispatch->spec[SXT_ATTENTION_SPEC_HEAD] = shape.head;
    dispatch->spec[SXT_ATTENTION_SPEC_ROWS] = shape.rows;
    dispatch->spec[SXT_ATTENTION_SPEC_KEYS] = shape.keys;
    dispatch->spec_count = SXT_ATTENTION_SPEC_COUNT;
    sxt_plan_name(plan, "attention.%s d%u rows %u keys %u grid %ux%u", subgroup ? "subgroup" : "tile", shape.head,
                  shape.rows, shape.keys, dispatch->groups[0], dispatch->groups[1]);
    return SXT_OK;
}

// VkDriverId: the drivers that shaders/attention_software.comp was measured on. Both have subgroup broadcast and vote.
enum { DRIVER_SWIFTSHADER = 10, DRIVER_LLVMPIPE = 13 };

static bool wants_software(const sxt_caps *caps) {
    return (caps->driver_id == DRIVER_LLVMPIPE || caps->driver_id == DRIVER_SWIFTSHADER) && caps->subgroup_arithmetic &&
           caps->subgroup_shuffle && caps->subgroup_size >= 4 && caps->subgroup_size <= 16;
}

// Compiling takes these drivers about a second for each 1 000 multiplications in a trip (2·lane rows·head·keys), so that
// this product is held at 1 024, and rare mixtures of types share one pipeline.
static sxt_result plan_software(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    uint32_t head = larger(sxt_plan_pow2(larger(desc->q.shape[SXT_CHANNEL], desc->v.shape[SXT_CHANNEL])), 32);
    uint32_t lanes = caps->subgroup_size, lane_rows = head > 128 ? 1 : 2;
    uint32_t rows = lanes * lane_rows, keys = 512 / (head * lane_rows);
    sxt_result result = plan_common(caps, desc, rows, plan);
    if (result != SXT_OK) return result;

    sxt_dispatch *dispatch = &plan->dispatches[0];
    dispatch->by_address = sxt_plan_by_address(caps);
    dispatch->shader = dispatch->by_address ? SXT_SHADER_ATTENTION_SOFTWARE_ADDRESS
                       : caps->storage16    ? SXT_SHADER_ATTENTION_SOFTWARE_S16
                                            : SXT_SHADER_ATTENTION_SOFTWARE;
    dispatch->subgroup_size = caps->subgroup_size_control ? lanes : 0;
    if (sxt_attention_wants_decode(caps, desc) && sxt_attention_plan_decode(caps, desc, head, plan)) return SXT_OK;
    uint32_t *spec = dispatch->spec;
    bool blocks = desc->k.type == SXT_TYPE_Q8_0 || desc->v.type == SXT_TYPE_Q8_0;
    if (!blocks && (desc->k.type != desc->v.type || !spec[SXT_ATTENTION_SPEC_K_ALIGNED] || !spec[SXT_ATTENTION_SPEC_V_ALIGNED])) {
        spec[SXT_ATTENTION_SPEC_K_TYPE] = spec[SXT_ATTENTION_SPEC_V_TYPE] = SXT_ATTENTION_ANY_TYPE;
        spec[SXT_ATTENTION_SPEC_K_ALIGNED] = spec[SXT_ATTENTION_SPEC_V_ALIGNED] = false;
    }
    spec[SXT_ATTENTION_SPEC_HEAD] = head;
    spec[SXT_ATTENTION_SPEC_ROWS] = rows;
    spec[SXT_ATTENTION_SPEC_KEYS] = keys;
    spec[SXT_ATTENTION_SPEC_LANES] = lanes;
    dispatch->spec_count = SXT_ATTENTION_SPEC_COUNT;
    sxt_plan_name(plan, "attention.software d%u rows %u keys %u grid %ux%u", head, rows, keys, dispatch->groups[0],
                  dispatch->groups[1]);
    return SXT_OK;
}

sxt_result sxt_attention_plan(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    *out_plan = (sxt_plan){0};
    if (sxt_tensor_empty(&desc->o)) {
        sxt_plan_name(out_plan, "attention.none");
        return SXT_OK;
    }
    const char *missing = sxt_attention_missing_form(desc);
    if (missing) return sxt_plan_unsupported(out_plan, "%s", missing);
    return wants_software(caps) ? plan_software(caps, desc, out_plan) : plan_tile(caps, desc, out_plan);
}
