// Attention of few queries on drivers that run on the CPU: shaders/attention_decode_software.comp for each split of the
// keys, then shaders/attention_decode_merge.comp.
#include "kernels/attention.h"
#include "kernels/attention_split.h"

// Fewer keys than this are not worth a second dispatch; more packed rows than this are quicker with rows in the lanes.
enum { LEAST_KEYS = 256, MOST_ROWS = 16 };

// The first key that some query sees, and one past the last.
static void visible(const struct sxt_attention_push *push, int64_t *out_first, int64_t *out_end) {
    int64_t ahead = (int64_t)push->k_tokens - push->q_tokens;
    int64_t first = ahead - push->window_left, end = ahead + push->q_tokens + push->window_right;
    *out_first = first > 0 ? first : 0;
    *out_end = end < push->k_tokens ? end : push->k_tokens;
}

static bool quads(const sxt_dispatch *dispatch) {
    return dispatch->spec[SXT_ATTENTION_SPEC_K_ALIGNED] && dispatch->spec[SXT_ATTENTION_SPEC_V_ALIGNED];
}

bool sxt_attention_wants_decode(const sxt_caps *caps, const sxt_attention_desc *desc) {
    uint64_t rows = (uint64_t)desc->q.shape[SXT_TOKEN] * sxt_attention_group(desc);
    uint64_t tiles = (uint64_t)desc->k.shape[SXT_HEAD] * desc->k.shape[SXT_BATCH] * rows;
    return sxt_plan_by_address(caps) && caps->int64 && rows <= MOST_ROWS && desc->k.type == desc->v.type &&
           tiles <= caps->max_group_count[0] && tiles <= caps->max_group_count[1] &&
           desc->k.shape[SXT_TOKEN] >= LEAST_KEYS && desc->k.shape[SXT_TOKEN] <= SXT_ATTENTION_MAX_TOKENS;
}

// Rows of a tile: compiling takes lavapipe about 0.25 s for each 512 of rows · channels.
static uint32_t tile_rows(uint32_t packed, uint32_t head) {
    uint32_t most = head >= 256 ? 4 : 8;
    uint32_t rows = sxt_plan_pow2(packed);
    return rows < most ? rows : most;
}

static void bind_scratch(sxt_dispatch *dispatch, bool written, uint64_t offset, uint64_t bytes) {
    dispatch->bindings[dispatch->binding_count++] = (sxt_binding){.kind = SXT_BINDING_SCRATCH,
                                                                  .written = written,
                                                                  .offset = offset,
                                                                  .bytes = bytes,
                                                                  .hazard_offset = offset,
                                                                  .hazard_bytes = bytes};
}

// Leaves out what a kernel does not touch.
static void unbind(sxt_dispatch *dispatch, uint32_t mask) {
    for (uint32_t i = 0; i < SXT_ATTENTION_BINDINGS; i++)
        if (mask & 1u << i) dispatch->bindings[i] = (sxt_binding){.written = dispatch->bindings[i].written};
}

// The second dispatch, from the first, and the scratch memory between them.
static void add_merge(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t splits, sxt_plan *plan) {
    uint32_t packed = desc->q.shape[SXT_TOKEN] * sxt_attention_group(desc);
    uint32_t heads = desc->k.shape[SXT_HEAD] * desc->q.shape[SXT_BATCH];
    uint64_t partials = (uint64_t)splits * packed * heads;
    uint64_t o_bytes = partials * desc->v.shape[SXT_CHANNEL] * sizeof(float);
    uint64_t stats_bytes = partials * SXT_ATTENTION_STATS_BYTES;
    uint64_t align = caps->storage_align > 16 ? caps->storage_align : 16;
    uint64_t stats_offset = (o_bytes + align - 1) / align * align;
    sxt_dispatch *split = &plan->dispatches[0], *merge = &plan->dispatches[1];
    *merge = *split;
    merge->shader = SXT_SHADER_ATTENTION_DECODE_MERGE;
    // One pipeline for all forms.
    memset(merge->spec, 0, sizeof merge->spec);
    merge->spec[SXT_ATTENTION_SPEC_LANES] = split->spec[SXT_ATTENTION_SPEC_LANES];
    merge->spec_count = SXT_ATTENTION_SPEC_COUNT;
    merge->groups[0] = packed;
    merge->groups[1] = heads;
    unbind(split, 1u << SXT_ATTENTION_O | 1u << SXT_ATTENTION_LSE | 1u << SXT_ATTENTION_SINKS);
    unbind(merge, 1u << SXT_ATTENTION_Q | 1u << SXT_ATTENTION_K | 1u << SXT_ATTENTION_V | 1u << SXT_ATTENTION_BIAS |
                      1u << SXT_ATTENTION_ALIBI);
    bind_scratch(split, true, 0, o_bytes);
    bind_scratch(split, true, stats_offset, stats_bytes);
    bind_scratch(merge, false, 0, o_bytes);
    bind_scratch(merge, false, stats_offset, stats_bytes);
    plan->dispatch_count = 2;
    plan->scratch_bytes = stats_offset + stats_bytes;
}

bool sxt_attention_plan_decode(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t head, sxt_plan *plan) {
    // Enough workgroups that as many cores as software devices run on end nearly together, whose number nobody tells.
    enum { BUSY = 32, BLOCK_KEYS = 128 };
    sxt_dispatch *dispatch = &plan->dispatches[0];
    struct sxt_attention_push push;
    memcpy(&push, dispatch->push, sizeof push);
    int64_t first, end;
    visible(&push, &first, &end);
    if (end - first < LEAST_KEYS || !quads(dispatch)) return false;

    uint32_t lanes = caps->subgroup_size, packed = push.q_tokens * push.group, rows = tile_rows(packed, head);
    uint32_t batch = desc->q.shape[SXT_BATCH], tiles = (packed + rows - 1) / rows * push.kv_heads * batch;
    const sxt_attention_work work = {.tiles = tiles, .keys = (uint32_t)(end - first), .block_keys = BLOCK_KEYS};
    uint32_t splits = sxt_attention_splits(&work, BUSY);
    push.tiles = splits;
    sxt_plan_push(dispatch, &push, sizeof push);
    dispatch->shader = SXT_SHADER_ATTENTION_DECODE_SOFTWARE;
    dispatch->groups[0] = tiles;
    dispatch->groups[1] = splits;
    dispatch->groups[2] = 1;
    uint32_t *spec = dispatch->spec;
    spec[SXT_ATTENTION_SPEC_HEAD] = head;
    spec[SXT_ATTENTION_SPEC_ROWS] = rows;
    spec[SXT_ATTENTION_SPEC_KEYS] = 0;
    spec[SXT_ATTENTION_SPEC_LANES] = lanes;
    spec[SXT_ATTENTION_SPEC_FULL] = desc->q.shape[SXT_CHANNEL] == head && desc->v.shape[SXT_CHANNEL] == head;
    spec[SXT_ATTENTION_SPEC_TOKENS] = push.q_tokens > 1;
    dispatch->spec_count = SXT_ATTENTION_SPEC_DECODE_COUNT;

    add_merge(caps, desc, splits, plan);
    sxt_plan_name(plan, "attention.decode d%u rows %u splits %u grid %ux%u", head, rows, splits, dispatch->groups[0],
                  dispatch->groups[1]);
    return true;
}
