#include "kernels/norm.h"

bool sxt_norm_wants_software(const sxt_caps *caps) {
    return sxt_plan_by_address(caps) && caps->int64 && caps->subgroup_size >= 4;
}

static bool uniform(const struct sxt_view *view) {
    return (view->batch | view->token | view->head) == 0;
}

// The one stride between rows of a view, if there is one. Dims of 1 have stride 0.
static bool find_stride(const struct sxt_norm_push *push, const struct sxt_view *view, uint32_t *out_stride) {
    const uint32_t batches = push->rows / (push->tokens * push->heads);
    const uint32_t extents[] = {push->heads, push->tokens, batches}, strides[] = {view->head, view->token, view->batch};
    uint64_t next = 0;
    bool found = false;
    *out_stride = 0;
    for (int i = 0; i < 3; i++) {
        if (extents[i] == 1) continue;
        if (!found) *out_stride = strides[i];
        if (found && next != strides[i]) return false;
        next = (uint64_t)extents[i] * strides[i];
        found = true;
    }
    return true;
}

// Makes all rows heads of one token, where each tensor lets them.
static bool flatten(struct sxt_norm_push *push) {
    struct sxt_view *views[] = {&push->x, &push->y, &push->weight, &push->bias, &push->residual, &push->residual_out};
    uint32_t strides[6];
    for (int i = 0; i < 6; i++)
        if (!find_stride(push, views[i], &strides[i])) return false;
    for (int i = 0; i < 6; i++)
        *views[i] = (struct sxt_view){.base = views[i]->base, .head = strides[i]};
    push->heads = push->rows;
    push->tokens = 1;
    return true;
}

// Rows together, and pieces of each a lane. More of them in one piece of code run a little faster, and take longer to
// compile: in this way 0.1 to 0.2 s on lavapipe, more where each element is stored by itself.
static void choose_block(const struct sxt_norm_push *push, uint32_t lanes, uint32_t spec[]) {
    const bool quads = spec[SXT_NORM_SPEC_ALIGNED];
    const uint32_t pieces = quads ? push->channels / 4 : push->channels;
    const uint32_t share = (pieces + lanes - 1) / lanes; // of a row, for each lane
    const uint32_t most = quads ? 16 : 4;
    const bool held = share <= most;
    uint32_t rows = push->rows < 32 ? 1 : quads && lanes >= 8 ? 8 : 4;
    while (held && rows > 1 && rows * share > most)
        rows /= 2;
    const uint32_t steps = held ? share : (most / 2 + rows - 1) / rows;
    spec[SXT_NORM_SPEC_ROWS] = rows;
    spec[SXT_NORM_SPEC_STEPS] = steps;
    spec[SXT_NORM_SPEC_HELD] = held;
    spec[SXT_NORM_SPEC_FULL] = pieces % (steps * lanes) == 0;
}

void sxt_norm_shape_software(const sxt_caps *caps, const sxt_norm_desc *desc, struct sxt_norm_push *push,
                             sxt_plan *plan) {
    sxt_dispatch *dispatch = &plan->dispatches[0];
    uint32_t *spec = dispatch->spec;
    const uint32_t lanes = caps->subgroup_size;
    dispatch->by_address = true;
    dispatch->shader = SXT_SHADER_NORM_SOFTWARE;
    dispatch->subgroup_size = caps->subgroup_size_control ? lanes : 0;
    dispatch->spec_count = SXT_NORM_SPEC_SOFTWARE_COUNT;
    spec[SXT_NORM_SPEC_GROUP] = spec[SXT_NORM_SPEC_LANES] = lanes;
    spec[SXT_NORM_SPEC_SHARED] = uniform(&push->weight) && uniform(&push->bias);
    spec[SXT_NORM_SPEC_FLAT] = flatten(push);
    choose_block(push, lanes, spec);

    // A workgroup takes microseconds, so that the some 50 ns that it costs do not count, and at most 32 rows.
    uint32_t share = spec[SXT_NORM_SPEC_ROWS];
    while (share < 32 && share * push->channels < 4096 && push->rows / share >= 32)
        share *= 2;
    sxt_plan_grid(caps, ((uint64_t)push->rows + share - 1) / share, dispatch->groups);
    sxt_plan_name(plan, "norm.software %s->%s rows %u steps %u%s grid %ux%u", sxt_type_name(desc->x.type),
                  sxt_type_name(desc->y.type), spec[SXT_NORM_SPEC_ROWS], spec[SXT_NORM_SPEC_STEPS],
                  spec[SXT_NORM_SPEC_HELD] ? " held" : "", dispatch->groups[0], dispatch->groups[1]);
}
