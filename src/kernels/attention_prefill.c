// Attention of many queries on drivers that run on the CPU: shaders/attention_prefill_software.comp.
#include "interface/attention_prefill.h"

#include "kernels/attention.h"

#include <assert.h>

typedef struct prefill_shape {
    uint32_t head, v_head; // channels, padded
    uint32_t lane_rows;    // rows of a tile in each lane
    uint32_t keys, values; // of a trip
    uint32_t passes;
    bool general; // one pipeline for all types, at half the speed
} prefill_shape;

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

// The largest power of two up to value / divisor, at least 1.
static uint32_t times(uint32_t value, uint32_t divisor) {
    uint32_t n = 1;
    while (2 * n * divisor <= value)
        n *= 2;
    return n;
}

// What is read, gathered lane by lane, counts once for all rows of the tile. Values go in passes over parts of the
// channels: a trip pays for carrying the sums of its pass, so the more values it takes the better; but with each pass
// weights are read once more.
//
// The sums of a trip's keys and rows should stay in registers, and its code in the CPU's cache of decoded instructions.
// On an EPYC with AVX2 (16 registers) flux.full1k takes 1.4 times as long with two keys a trip, 1.2 times with four rows
// a lane, and 1.1 times with one pass. CPUs with 32 registers (AVX-512) get twice as much of each: not measured since
// scores are made this way. The terms that are added to a score are branches among all that a trip keeps, and take
// long to compile: there a tile is smallest.
enum { SIZE_SMALLEST, SIZE_SHORT_TRIPS, SIZE_LONG_TRIPS };

static prefill_shape shape_of_size(const sxt_attention_desc *desc, uint32_t size, uint32_t lanes) {
    enum { MOST_PASSES = 4, PASS_SLICES = 2, MOST_SUMS = 32 };
    static const struct {
        uint32_t products, lane_rows;
    } sizes[SXT_ATTENTION_SOFTWARE_TILES] = {{256, 1}, {1024, 2}, {1024, 4}};
    const uint32_t head = desc->q.shape[SXT_CHANNEL], v_head = desc->v.shape[SXT_CHANNEL];
    const uint32_t products = sizes[size].products, most_lane_rows = sizes[size].lane_rows;
    const uint64_t packed = sxt_attention_packed_rows(desc);
    prefill_shape shape = {.head = head, .v_head = v_head, .lane_rows = 1, .keys = 1, .values = 2, .passes = 1};
    while (shape.lane_rows < most_lane_rows && shape.lane_rows * lanes < packed &&
           2 * shape.lane_rows * lanes <= MOST_SUMS && 4 * shape.lane_rows * sxt_larger(head, v_head) <= products)
        shape.lane_rows *= 2;
    if (size == SIZE_SHORT_TRIPS) {
        shape.passes = smaller(times(v_head, PASS_SLICES * 4 * lanes), MOST_PASSES);
    } else {
        shape.passes = shape.lane_rows == 4 && v_head > 64 ? 2 : 1;
        shape.keys = smaller(times(products, shape.lane_rows * head), times(MOST_SUMS, shape.lane_rows * lanes));
        shape.values = times(products * shape.passes, shape.lane_rows * v_head);
    }
    // Scores are stored in pairs.
    if (shape.lane_rows == 1) {
        shape.keys = sxt_larger(shape.keys, 2);
        shape.values = sxt_larger(shape.values, 2);
    }
    return shape;
}

static prefill_shape full_shape(const sxt_caps *caps, const sxt_attention_desc *desc) {
    const bool terms = desc->softcap > 0 || sxt_tensor_present(&desc->bias) ||
                       sxt_tensor_present(&desc->alibi_slopes) || sxt_tensor_present(&desc->mask);
    const uint32_t size = desc->tile > 0              ? desc->tile - 1
                          : terms                     ? SIZE_SMALLEST
                          : caps->cpu_registers >= 32 ? SIZE_LONG_TRIPS
                                                      : SIZE_SHORT_TRIPS;
    return shape_of_size(desc, size, caps->subgroup_size);
}

// For work that is done before a larger kernel would be compiled.
static prefill_shape small_shape(const sxt_attention_desc *desc) {
    uint32_t head = sxt_larger(sxt_plan_pow2(sxt_larger(desc->q.shape[SXT_CHANNEL], desc->v.shape[SXT_CHANNEL])), 32);
    head = smaller(head, 576);
    return (prefill_shape){
        .head = head, .v_head = head, .lane_rows = 1, .keys = 2, .values = 2, .passes = 1, .general = true};
}

static prefill_shape choose_shape(const sxt_caps *caps, const sxt_attention_desc *desc) {
    return desc->tile == 0 && sxt_attention_is_small(desc) ? small_shape(desc) : full_shape(caps, desc);
}

static void specialise(const prefill_shape *shape, const sxt_attention_desc *desc, bool split, sxt_dispatch *dispatch) {
    uint32_t *spec = dispatch->spec;
    // Rows may begin anywhere.
    spec[SXT_ATTENTION_SPEC_K_ALIGNED] = spec[SXT_ATTENTION_SPEC_V_ALIGNED] = true;
    if (shape->general) spec[SXT_ATTENTION_SPEC_K_TYPE] = spec[SXT_ATTENTION_SPEC_V_TYPE] = SXT_ATTENTION_ANY_TYPE;
    spec[SXT_ATTENTION_SPEC_HEAD] = shape->head;
    spec[SXT_ATTENTION_SPEC_V_HEAD] = shape->v_head;
    spec[SXT_ATTENTION_SPEC_KEYS] = shape->keys;
    spec[SXT_ATTENTION_SPEC_VALUES] = shape->values;
    spec[SXT_ATTENTION_SPEC_PASSES] = shape->passes;
    spec[SXT_ATTENTION_SPEC_Q_DIRECT] = !shape->general && desc->q.type == SXT_TYPE_F32;
    spec[SXT_ATTENTION_SPEC_O_DIRECT] = !shape->general && (split || desc->o.type == SXT_TYPE_F32);
    dispatch->spec_count = SXT_ATTENTION_SPEC_PREFILL_COUNT;
}

// Few workgroups with a run of tiles each, and scratch memory for each of them.
static void add_work(const sxt_caps *caps, const prefill_shape *shape, uint32_t rows, uint32_t lanes, sxt_plan *plan) {
    enum { MOST_GROUPS = 64 };
    sxt_dispatch *dispatch = &plan->dispatches[0];
    uint64_t groups = (uint64_t)dispatch->groups[0] * dispatch->groups[1] * dispatch->groups[2];
    dispatch->groups[0] = groups < MOST_GROUPS ? (uint32_t)groups : MOST_GROUPS;
    dispatch->groups[1] = dispatch->groups[2] = 1;
    uint32_t unit = 4 * lanes, widest = sxt_larger(shape->head, shape->v_head);
    uint64_t bytes = (uint64_t)dispatch->groups[0] * SXT_ATTENTION_WORK_BYTES(rows, (widest + unit - 1) / unit * unit);
    uint64_t align = caps->storage_align > 16 ? caps->storage_align : 16;
    uint64_t offset = (plan->scratch_bytes + align - 1) / align * align;
    assert(dispatch->binding_count == SXT_ATTENTION_WORK);
    dispatch->bindings[dispatch->binding_count++] = (sxt_binding){.kind = SXT_BINDING_SCRATCH,
                                                                  .written = true,
                                                                  .offset = offset,
                                                                  .bytes = bytes,
                                                                  .hazard_offset = offset,
                                                                  .hazard_bytes = bytes};
    plan->scratch_bytes = offset + bytes;
}

sxt_result sxt_attention_plan_prefill(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    sxt_attention_frame frame;
    sxt_result result = sxt_attention_frame_call(caps, desc, true, &frame, plan);
    if (result != SXT_OK) return result;

    uint32_t lanes = caps->subgroup_size;
    const prefill_shape shape = choose_shape(caps, desc);
    const uint32_t rows = shape.lane_rows * lanes;
    const sxt_attention_tiling tiling = {.rows = rows, .split_keys = sxt_attention_budget_split(caps, desc, rows)};
    sxt_dispatch *dispatch = &plan->dispatches[0];
    dispatch->shader = SXT_SHADER_ATTENTION_PREFILL_SOFTWARE;
    dispatch->subgroup_size = caps->subgroup_size_control ? lanes : 0;
    dispatch->spec[SXT_ATTENTION_SPEC_LANES] = lanes;
    specialise(&shape, desc, tiling.split_keys > 0, dispatch);
    result = sxt_attention_lay_out(caps, desc, &tiling, &frame, plan);
    if (result != SXT_OK) return result;
    uint32_t splits = dispatch->groups[2];
    add_work(caps, &shape, tiling.rows, lanes, plan);
    sxt_plan_name(plan, "attention.prefill%s%s d%u rows %u keys %u/%u splits %u grid %u",
                  shape.general ? ".general" : "", dispatch->spec[SXT_ATTENTION_SPEC_BOUNDED] ? ".bounded" : "",
                  shape.head, tiling.rows, shape.keys, shape.values, splits, dispatch->groups[0]);
    return SXT_OK;
}
