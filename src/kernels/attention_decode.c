// Attention of few queries on drivers that run on the CPU: shaders/attention_decode_software.comp. And the merge of the
// splits of any kernel: shaders/attention_decode_merge.comp.
#include "interface/attention_decode.h"

#include "kernels/attention.h"
#include "kernels/attention_split.h"

#include <assert.h>
#include <stddef.h>

static bool multiples(uint32_t of, uint32_t base, const uint32_t stride[3]) {
    return (base | stride[0] | stride[1] | stride[2]) % of == 0;
}

// Units of four channels, and of eight of fp8, must be words of memory; q and o go by fours.
static bool whole_units(const sxt_attention_desc *desc, const sxt_attention_frame *frame,
                        const sxt_dispatch *dispatch) {
    const struct sxt_attention_push *push = &frame->push;
    uint32_t k_base = push->bases_main >> 8 & 0xff, v_base = push->bases_main >> 16 & 0xff;
    if (desc->k.type == SXT_TYPE_FP8_E4M3 && (!multiples(8, k_base, push->k_stride) || desc->k.shape[SXT_CHANNEL] % 8))
        return false;
    if (desc->v.type == SXT_TYPE_FP8_E4M3 && (!multiples(8, v_base, push->v_stride) || desc->v.shape[SXT_CHANNEL] % 8))
        return false;
    return dispatch->spec[SXT_ATTENTION_SPEC_K_ALIGNED] && dispatch->spec[SXT_ATTENTION_SPEC_V_ALIGNED] &&
           push->flags & SXT_ATTENTION_Q_ALIGNED && push->flags & SXT_ATTENTION_O_ALIGNED;
}

// Rows of a tile: the more, the fewer times a key is read. Compiling takes lavapipe about 2 s for each 1024 of
// rows · channels, of K and V together.
static uint32_t tile_rows(const sxt_attention_desc *desc, uint64_t packed) {
    enum { MOST_ROWS = 8 };
    static const uint32_t sizes[SXT_ATTENTION_SOFTWARE_TILES] = {256, 1152, 2304};
    const uint32_t products = sizes[desc->tile > 0 ? desc->tile - 1 : sxt_attention_is_small(desc) ? 0 : 2];
    uint32_t channels = desc->q.shape[SXT_CHANNEL] + desc->v.shape[SXT_CHANNEL], rows = 1;
    while (rows < packed && rows < MOST_ROWS && 2 * rows * channels <= products)
        rows *= 2;
    return rows;
}

static uint32_t choose_split(const sxt_attention_desc *desc, uint32_t rows, uint32_t sequences) {
    // Enough workgroups that as many cores as software devices run on end nearly together, whose number nobody tells.
    enum { BUSY = 32, BLOCK_KEYS = 256 };
    uint64_t row_tiles = (sxt_attention_packed_rows(desc) + rows - 1) / rows;
    const sxt_attention_work work = {.tiles = row_tiles * desc->k.shape[SXT_HEAD] * sequences,
                                     .keys = sxt_attention_tile_keys(desc, rows),
                                     .block_keys = BLOCK_KEYS};
    return sxt_attention_split_keys(&work, BUSY);
}

// Whether the kernel must fetch ahead. CPUs with AVX-512 gather by an instruction that their prefetchers do not follow:
// decode took 1.5 times as long without. Others load lane by lane, and only rows with gaps between them are worth it (1.1
// times as long without; 1.2 times with, where there are no gaps).
static bool touches(const sxt_caps *caps, const sxt_attention_desc *desc, const struct sxt_attention_push *push) {
    return caps->cpu_registers >= 32 || push->k_stride[1] > desc->k.shape[SXT_CHANNEL] ||
           push->v_stride[1] > desc->v.shape[SXT_CHANNEL];
}

bool sxt_attention_plan_decode(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    // Fewer keys are not worth it; with more packed rows the prefill kernel is quicker.
    enum { LEAST_KEYS = 256, MOST_PACKED = 16 };
    uint64_t packed = sxt_attention_packed_rows(desc);
    sxt_attention_frame frame;
    // With split_keys, which kernel it is must not depend on the longest sequence.
    if (desc->split_keys == 0 && (packed > MOST_PACKED || desc->max_k_tokens < LEAST_KEYS)) return false;
    if (sxt_attention_frame_call(caps, desc, true, &frame, plan) != SXT_OK ||
        !whole_units(desc, &frame, &plan->dispatches[0])) {
        *plan = (sxt_plan){0};
        return false;
    }
    sxt_dispatch *dispatch = &plan->dispatches[0];
    dispatch->shader = SXT_SHADER_ATTENTION_DECODE_SOFTWARE;
    dispatch->subgroup_size = caps->subgroup_size_control ? caps->subgroup_size : 0;
    uint32_t *spec = dispatch->spec, rows = tile_rows(desc, packed);
    spec[SXT_ATTENTION_SPEC_HEAD] = desc->q.shape[SXT_CHANNEL];
    spec[SXT_ATTENTION_SPEC_V_HEAD] = desc->v.shape[SXT_CHANNEL];
    spec[SXT_ATTENTION_SPEC_LANES] = caps->subgroup_size;
    // Of small calls one kernel serves both.
    spec[SXT_ATTENTION_SPEC_TOKENS] = desc->max_q_tokens > 1 || sxt_attention_is_small(desc);
    spec[SXT_ATTENTION_SPEC_TOUCH] = touches(caps, desc, &frame.push);
    dispatch->spec_count = SXT_ATTENTION_SPEC_DECODE_COUNT;
    const sxt_attention_tiling tiling = {
        .rows = rows,
        .split_keys = desc->split_keys > 0 ? desc->split_keys : choose_split(desc, rows, frame.params.sequences),
    };
    if (sxt_attention_lay_out(caps, desc, &tiling, &frame, plan) != SXT_OK) {
        *plan = (sxt_plan){0};
        return false;
    }
    sxt_plan_name(plan, "attention.decode%s d%u rows %u splits %ux%u grid %ux%ux%u",
                  spec[SXT_ATTENTION_SPEC_BOUNDED] ? ".bounded" : "", desc->q.shape[SXT_CHANNEL], rows,
                  dispatch->groups[2], tiling.split_keys, dispatch->groups[0], dispatch->groups[1],
                  dispatch->groups[2]);
    return true;
}

// Of the call's tensors the merge has those that end a row, and those that give lengths.
static void bind_merge(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_dispatch *split,
                       sxt_dispatch *merge) {
    const sxt_tensor *lengths = sxt_tensor_present(&desc->cu_seqlens_k) ? &desc->cu_seqlens_k : &desc->kv_lengths;
    const sxt_tensor *const tensors[SXT_ATTENTION_FAULTS] = {
        [SXT_ATTENTION_O] = &desc->o,         [SXT_ATTENTION_LSE] = &desc->lse,
        [SXT_ATTENTION_SINKS] = &desc->sinks, [SXT_ATTENTION_CU_Q] = &desc->cu_seqlens_q,
        [SXT_ATTENTION_K_LENGTHS] = lengths,
    };
    for (int i = 0; i < SXT_ATTENTION_FAULTS; i++) {
        const sxt_tensor none = {0};
        struct sxt_view view;
        bool written = i == SXT_ATTENTION_O || i == SXT_ATTENTION_LSE;
        sxt_result result = sxt_plan_view(caps, tensors[i] ? tensors[i] : &none, written, merge, &view);
        assert(result == SXT_OK); // the frame had the same, and more
        (void)result;
    }
    merge->bindings[SXT_ATTENTION_PARTIAL_O] = split->bindings[SXT_ATTENTION_O];
    merge->bindings[SXT_ATTENTION_PARTIAL_LSE] = split->bindings[SXT_ATTENTION_LSE];
    merge->bindings[SXT_ATTENTION_PARTIAL_O].written = merge->bindings[SXT_ATTENTION_PARTIAL_LSE].written = false;
    merge->bindings[merge->binding_count++] = split->bindings[SXT_ATTENTION_FAULTS];
}

void sxt_attention_add_merge(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_attention_frame *frame,
                             sxt_plan *plan) {
    static const sxt_shader_id shaders[2] = {SXT_SHADER_ATTENTION_DECODE_MERGE, SXT_SHADER_ATTENTION_DECODE_MERGE_S16};
    const sxt_dispatch *split = &plan->dispatches[0];
    sxt_dispatch *merge = &plan->dispatches[plan->dispatch_count];
    *merge = (sxt_dispatch){.by_address = split->by_address, .param_bytes = split->param_bytes};
    merge->shader = split->by_address ? SXT_SHADER_ATTENTION_DECODE_MERGE_ADDRESS : shaders[caps->storage16];
    bind_merge(caps, desc, split, merge);

    struct sxt_attention_push push = frame->push;
    struct sxt_attention_params params;
    memcpy(&params, split->params, sizeof params);
    memcpy(merge->params, split->params, split->param_bytes);
    memcpy(&push.tiles, split->push + offsetof(struct sxt_attention_push, tiles), sizeof push.tiles);
    sxt_plan_push(merge, &push, sizeof push);
    uint32_t group = sxt_plan_group(caps), rows = split->spec[SXT_ATTENTION_SPEC_ROWS];
    merge->spec[SXT_ATTENTION_SPEC_ROWS] = rows;
    merge->spec[SXT_ATTENTION_SPEC_FORMS] = split->spec[SXT_ATTENTION_SPEC_FORMS];
    merge->spec[SXT_ATTENTION_SPEC_MERGE_GROUP] = group;
    merge->spec_count = SXT_ATTENTION_SPEC_MERGE_COUNT;
    uint64_t items = (uint64_t)params.part_tiles * rows * desc->v.shape[SXT_CHANNEL] / 4;
    sxt_plan_grid(caps, (items + group - 1) / group, merge->groups);
    plan->dispatch_count++;
}
