// sxt_measure_fma and sxt_measure_matrix: kernels that only multiply and add, timed by the device's clock.
#include "core/caps.h"
#include "kernels/kernels.h"

#include "interface/rate.h"
#include "vulkan/vulkan.h"

#include <math.h>
#include <string.h>

// A workgroup's multiply-adds of f32. Returns its operations.
static double plan_fma(const sxt_caps *caps, uint32_t trips, sxt_dispatch *dispatch) {
    dispatch->shader = SXT_SHADER_RATE;
    dispatch->spec_count = SXT_RATE_SPEC_COUNT;
    dispatch->spec[SXT_RATE_SPEC_GROUP] = sxt_plan_group(caps);
    return dispatch->spec[SXT_RATE_SPEC_GROUP] * 2.0 * 4.0 * SXT_RATE_ACCUMULATORS * SXT_RATE_STEPS * trips;
}

static uint32_t round_up(uint32_t value, uint32_t unit) {
    return (value + unit - 1) / unit * unit;
}

// A workgroup's products on matrix units, by four subgroups: one for each part of a GPU's core. Of flexible shapes large
// multiples, with which the driver can do as it likes, but on a CPU, which takes long to compile them. 64 to 128 sums to an
// invocation. Returns the workgroup's operations.
static double plan_matrix(const sxt_caps *caps, const sxt_matrix_shape *shape, uint32_t trips, sxt_dispatch *dispatch) {
    static const sxt_shader_id shaders[2][2] = {
        {SXT_SHADER_RATE_MATRIX, SXT_SHADER_RATE_MATRIX_BF16},
        {SXT_SHADER_RATE_MATRIX_WORKGROUP, SXT_SHADER_RATE_MATRIX_WORKGROUP_BF16}};
    const bool whole = shape->scope == SXT_SCOPE_WORKGROUP, large = shape->flexible && !caps->software;
    const uint32_t lanes = sxt_plan_matrix_lanes(caps), most = sxt_plan_group(caps) / lanes;
    const uint32_t subgroups = most < 1 ? 1 : most > 4 ? 4 : most, least = whole ? 64 : 32;
    const uint32_t m = large ? round_up(shape->threads > 128 ? 2 * least : least, shape->m) : shape->m;
    const uint32_t n = large ? round_up(least, shape->n) : shape->n, k = large ? round_up(16, shape->k) : shape->k;
    const uint32_t side = large ? 2 : 4;
    dispatch->shader = shaders[whole][shape->a_type == SXT_COMPONENT_BF16];
    dispatch->subgroup_size = caps->subgroup_size_control ? lanes : 0;
    dispatch->spec_count = SXT_RATE_SPEC_MATRIX_COUNT;
    dispatch->spec[SXT_RATE_SPEC_GROUP] = whole ? shape->threads : subgroups * lanes;
    dispatch->spec[SXT_RATE_SPEC_M] = m;
    dispatch->spec[SXT_RATE_SPEC_N] = n;
    dispatch->spec[SXT_RATE_SPEC_K] = k;
    dispatch->spec[SXT_RATE_SPEC_SIDE] = side;
    return (whole ? 1 : subgroups) * 2.0 * side * side * m * n * k * trips;
}

// A CPU is kept busy by some workgroups for each of its cores, a big GPU by 2^18 invocations. `shape`: NULL for
// multiply-adds of f32. Returns the operations of all workgroups.
static double plan_rate(const sxt_caps *caps, const sxt_matrix_shape *shape, uint32_t trips, sxt_plan *out_plan) {
    memset(out_plan, 0, sizeof *out_plan);
    sxt_dispatch *dispatch = &out_plan->dispatches[0];
    const struct sxt_rate_push push = {.trips = trips, .factor = 0.999f, .addend = 0.001f, .never = INFINITY};
    const double operations =
        shape == NULL ? plan_fma(caps, trips, dispatch) : plan_matrix(caps, shape, trips, dispatch);
    dispatch->binding_count = 1;
    dispatch->bindings[0].written = true; // any buffer does: nothing is
    sxt_plan_push(dispatch, &push, sizeof push);
    sxt_plan_grid(caps, caps->software ? 256 : 2048, dispatch->groups);
    out_plan->dispatch_count = 1;
    sxt_plan_name(out_plan, "rate%s trips %u", shape == NULL ? "" : ".matrix", trips);
    return operations * dispatch->groups[0] * dispatch->groups[1];
}

static sxt_result time_rate(sxt_stream *stream, const sxt_plan *plan, double *out_us) {
    uint32_t from, to;
    uint64_t ticket;
    sxt_result result = sxt_stream_timestamp(stream, &from);
    if (result == SXT_OK) result = sxt_vulkan_stream_run(stream, plan);
    if (result == SXT_OK) result = sxt_stream_timestamp(stream, &to);
    if (result == SXT_OK) result = sxt_stream_submit(stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(stream->device, ticket, UINT64_MAX);
    if (result == SXT_OK) result = sxt_stream_elapsed(stream, from, to, out_us);
    if (result != SXT_OK) sxt_stream_reset(stream);
    return result;
}

static sxt_result measure(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops) {
    enum { REPETITIONS = 5 };
    const double enough_us = 4000; // of one dispatch: far above what a submission costs, far below a device's patience
    sxt_stream *stream = NULL;
    sxt_result result = sxt_stream_create(device, &stream);
    double best = 0, us = 0;
    for (uint32_t trips = 16; result == SXT_OK; trips *= 4) {
        sxt_plan plan;
        const double operations = plan_rate(&device->info.caps, shape, trips, &plan);
        result = time_rate(stream, &plan, &us); // compiles, the first time
        for (int i = 0; i < REPETITIONS && result == SXT_OK; i++) {
            result = time_rate(stream, &plan, &us);
            if (result == SXT_OK && us > 0) best = fmax(best, operations / us * 1e6);
        }
        if (us >= enough_us || trips >= 1u << 20) break;
    }
    sxt_stream_destroy(&stream);
    if (result == SXT_OK) *out_flops = best;
    return result;
}

sxt_result sxt_vulkan_measure_fma(sxt_device *device, double *out_flops) {
    return measure(device, NULL, out_flops);
}

sxt_result sxt_vulkan_measure_matrix(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops) {
    return measure(device, shape, out_flops);
}
