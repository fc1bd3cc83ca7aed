// Attention for any GPU: shaders/attention.comp.
#include "kernels/attention.h"

#include <stdio.h>

typedef struct tile_shape {
    uint32_t head; // channels of K, padded
    uint32_t rows, keys;
    uint32_t out_rows, out_quads; // of the output, a thread's
    bool whole_q;
    bool subgroup; // reductions by shuffles
} tile_shape;

// Few sizes, so that head dims share pipelines.
static uint32_t padded_head(uint32_t channels) {
    static const uint32_t sizes[] = {32, 64, 96, 128, 192, 256, 384, 512};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (channels <= sizes[i]) return sizes[i];
    return 576;
}

// What shaders/attention.comp declares.
static uint32_t shared_bytes(const sxt_attention_desc *desc, const tile_shape *shape) {
    uint32_t q_quads = shape->rows * ((shape->whole_q ? shape->head / 4 : SXT_ATTENTION_CHUNK) + 1);
    uint32_t k_quads = shape->keys * (SXT_ATTENTION_CHUNK + 1), p_quads = shape->rows * (shape->keys / 4 + 1);
    uint32_t words = 4 * (q_quads + sxt_larger(k_quads, p_quads)) + shape->rows;
    if (!shape->subgroup) words += shape->rows * SXT_ATTENTION_LANES;
    words += sxt_tensor_present(&desc->block_table) ? 4 * shape->keys : 1;
    words += sxt_tensor_present(&desc->mask) ? shape->rows * shape->keys / 32 + 3 : 2;
    return 4 * words;
}

// A thread's share of the output, padded so that few head dims make a pipeline of their own.
static void share_output(const sxt_attention_desc *desc, tile_shape *shape) {
    uint32_t quads = desc->v.shape[SXT_CHANNEL] / 4;
    // One quad a thread, or of the widest heads three: with two, fewer threads of the workgroup had work.
    shape->out_quads = quads <= SXT_ATTENTION_THREADS ? 1 : 3;
    uint32_t lanes = (quads + shape->out_quads - 1) / shape->out_quads, groups = SXT_ATTENTION_THREADS / lanes;
    uint32_t rows = (shape->rows + groups - 1) / groups;
    shape->out_rows = rows <= 2 ? rows : (rows + 1) / 2 * 2;
}

typedef struct tile_limits {
    uint32_t rows, keys;
    uint32_t outputs; // of a thread, which keeps each twice, in a vector of four
    uint32_t bytes;   // of shared memory
} tile_limits;

// AMD's cores before RDNA, which have subgroups of 64 alone.
static bool is_gcn(const sxt_caps *caps) {
    enum { VENDOR_AMD = 0x1002 };
    return caps->vendor_id == VENDOR_AMD && caps->subgroup_min == 64;
}

// Past 8 vectors of output a thread would run out of registers, and past 32 KiB a compute unit of 64 KiB would hold one
// workgroup, with nothing to run while it waits. GCN wants four subgroups on each of four SIMDs: 64 registers and 8 KiB
// for each workgroup. Drivers on the CPU take 3 s to compile the kernel for 16 rows and 32 keys, 8 s for 64 keys, and
// gain nothing from more.
static tile_limits limits_of(const sxt_caps *caps, const sxt_attention_desc *desc) {
    tile_limits limits = {.rows = 32, .keys = 64, .outputs = 8, .bytes = 32768};
    const bool gcn = is_gcn(caps);
    if (caps->software || gcn) limits.rows = 16, limits.keys = 32;
    if (gcn) limits.outputs = 4, limits.bytes = 8192;
    if (caps->shared_bytes < limits.bytes) limits.bytes = caps->shared_bytes;
    // With a split that the caller chose, the order of sums must not depend on the number of queries.
    if (desc->split_keys > 0) limits.keys = 32;
    return limits;
}

// Whether the tile's queries fit, whole or in chunks.
static bool fits(const sxt_attention_desc *desc, uint32_t bytes, tile_shape *shape) {
    shape->whole_q = true;
    if (shared_bytes(desc, shape) <= bytes) return true;
    shape->whole_q = false;
    return shared_bytes(desc, shape) <= bytes;
}

// Tile n of the caller's choice: 8, 16 or 32 rows, each with 32 or 64 keys.
static bool take_tile(const sxt_caps *caps, const sxt_attention_desc *desc, tile_shape *shape) {
    shape->rows = 8u << (desc->tile - 1) / 2;
    shape->keys = 32u << (desc->tile - 1) % 2;
    share_output(desc, shape);
    return fits(desc, caps->shared_bytes, shape);
}

// As many rows as there are, then as many keys as fit. Q is read anew for each tile of keys where all of it would not
// fit. Of the smallest tile the widest heads have more outputs than they should.
static bool choose_tile(const sxt_caps *caps, const sxt_attention_desc *desc, tile_shape *shape) {
    const tile_limits limits = limits_of(caps, desc);
    const uint32_t least_rows = SXT_ATTENTION_ROW_GROUPS;
    const uint64_t packed = sxt_attention_packed_rows(desc);
    shape->head = padded_head(desc->q.shape[SXT_CHANNEL]);
    if (desc->tile > 0) return take_tile(caps, desc, shape);
    for (shape->rows = limits.rows; shape->rows >= least_rows; shape->rows /= 2) {
        if (shape->rows / 2 >= packed && shape->rows > least_rows) continue;
        share_output(desc, shape);
        if (shape->out_rows * shape->out_quads > limits.outputs && shape->rows > least_rows) continue;
        for (int chunked = 0; chunked < 2; chunked++)
            for (shape->keys = limits.keys; shape->keys >= 32; shape->keys /= 2) {
                shape->whole_q = !chunked;
                if (shared_bytes(desc, shape) <= limits.bytes) return true;
            }
    }
    return false;
}

// A thread with few outputs has registers for many values, and little else to do while it waits for them.
static uint32_t values_at_once(const sxt_caps *caps, const tile_shape *shape) {
    const uint32_t outputs = shape->out_rows * shape->out_quads;
    if (caps->software || is_gcn(caps) || shape->out_quads > 1) return 4;
    return outputs <= 2 ? 16 : outputs <= 4 ? 8 : 4;
}

static sxt_shader_id shader_of(const sxt_caps *caps, bool subgroup, bool by_address) {
    static const sxt_shader_id shaders[2][2] = {{SXT_SHADER_ATTENTION, SXT_SHADER_ATTENTION_S16},
                                                {SXT_SHADER_ATTENTION_SUBGROUP, SXT_SHADER_ATTENTION_SUBGROUP_S16}};
    if (by_address) return subgroup ? SXT_SHADER_ATTENTION_SUBGROUP_ADDRESS : SXT_SHADER_ATTENTION_ADDRESS;
    return shaders[subgroup][caps->storage16];
}

// By descriptors, whose accesses are checked, if they reach all tensors; else by address. Drivers on the CPU compile
// code by address in two thirds of the time.
static sxt_result frame_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_attention_frame *out_frame,
                             sxt_plan *plan) {
    sxt_result result = SXT_ERROR_UNSUPPORTED;
    if (!sxt_plan_by_address(caps)) result = sxt_attention_frame_call(caps, desc, false, out_frame, plan);
    if (result != SXT_ERROR_UNSUPPORTED || !caps->buffer_address || !caps->int64 || !caps->storage16) return result;
    *plan = (sxt_plan){0};
    return sxt_attention_frame_call(caps, desc, true, out_frame, plan);
}

static void name_plan(const tile_shape *shape, uint32_t split_keys, sxt_plan *plan) {
    const sxt_dispatch *dispatch = &plan->dispatches[0];
    char split[32] = "";
    if (split_keys > 0) {
        struct sxt_attention_params params;
        memcpy(&params, dispatch->params, sizeof params);
        snprintf(split, sizeof split, " splits %ux%u", params.splits, split_keys);
    }
    sxt_plan_name(plan, "attention.%s%s d%u rows %u keys %u%s grid %ux%u%s", shape->subgroup ? "subgroup" : "tile",
                  dispatch->spec[SXT_ATTENTION_SPEC_BOUNDED] ? ".bounded" : "", shape->head, shape->rows, shape->keys,
                  split, dispatch->groups[0], dispatch->groups[1], plan->parts > 1 ? " in parts" : "");
}

sxt_result sxt_attention_plan_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    // Rows are reduced over 16 neighbouring invocations, which must be of one subgroup.
    tile_shape shape = {.subgroup = caps->subgroup_arithmetic && caps->subgroup_shuffle &&
                                    caps->subgroup_size >= SXT_ATTENTION_LANES &&
                                    caps->subgroup_size <= SXT_ATTENTION_THREADS};
    if (caps->max_invocations < SXT_ATTENTION_THREADS || !choose_tile(caps, desc, &shape))
        return sxt_plan_unsupported(plan, "attention: needs 128 invocations and 16 KiB of shared memory");
    sxt_attention_frame frame;
    sxt_result result = frame_tile(caps, desc, &frame, plan);
    if (result != SXT_OK) return result;

    frame.push.flags |= SXT_ATTENTION_ROWS_OUTER;
    sxt_dispatch *dispatch = &plan->dispatches[0];
    dispatch->shader = shader_of(caps, shape.subgroup, dispatch->by_address);
    dispatch->subgroup_size = shape.subgroup && caps->subgroup_size_control ? caps->subgroup_size : 0;
    uint32_t *spec = dispatch->spec;
    spec[SXT_ATTENTION_SPEC_HEAD] = shape.head;
    spec[SXT_ATTENTION_SPEC_KEYS] = shape.keys;
    spec[SXT_ATTENTION_SPEC_OUT_ROWS] = shape.out_rows;
    spec[SXT_ATTENTION_SPEC_OUT_QUADS] = shape.out_quads;
    spec[SXT_ATTENTION_SPEC_WHOLE_Q] = shape.whole_q;
    spec[SXT_ATTENTION_SPEC_TILE_VALUES] = values_at_once(caps, &shape);
    dispatch->spec_count = SXT_ATTENTION_TILE_SPEC_COUNT;
    const sxt_attention_tiling tiling = {.rows = shape.rows,
                                         .split_keys = sxt_attention_choose_split(caps, desc, shape.rows)};
    result = sxt_attention_lay_out(caps, desc, &tiling, &frame, plan);
    if (result == SXT_OK) name_plan(&shape, tiling.split_keys, plan);
    return result;
}
