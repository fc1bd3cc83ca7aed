// Attention: what a call hands to its kernels, whatever their shape.
#include "kernels/attention.h"

#include <assert.h>
#include <math.h>

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
    push->dims =
        desc->q.shape[SXT_CHANNEL] / 4 | desc->v.shape[SXT_CHANNEL] / 4 << 8 |
        (uint32_t)desc->q.type << SXT_ATTENTION_Q_TYPE_SHIFT | (uint32_t)desc->k.type << SXT_ATTENTION_K_TYPE_SHIFT |
        (uint32_t)desc->v.type << SXT_ATTENTION_V_TYPE_SHIFT | (uint32_t)desc->o.type << SXT_ATTENTION_O_TYPE_SHIFT |
        (uint32_t)desc->bias.type << SXT_ATTENTION_BIAS_TYPE_SHIFT;
    const struct {
        const sxt_tensor *tensor;
        uint32_t flag;
    } optional[] = {
        {&desc->lse, SXT_ATTENTION_HAS_LSE},           {&desc->bias, SXT_ATTENTION_HAS_BIAS},
        {&desc->sinks, SXT_ATTENTION_HAS_SINKS},       {&desc->alibi_slopes, SXT_ATTENTION_HAS_ALIBI},
        {&desc->cu_seqlens_q, SXT_ATTENTION_HAS_CU_Q}, {&desc->cu_seqlens_k, SXT_ATTENTION_HAS_CU_K},
        {&desc->k_scale, SXT_ATTENTION_HAS_K_SCALE},   {&desc->kv_lengths, SXT_ATTENTION_HAS_KV_LENGTHS},
        {&desc->v_scale, SXT_ATTENTION_HAS_V_SCALE},
    };
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        if (sxt_tensor_present(optional[i].tensor)) push->flags |= optional[i].flag;
    if (desc->softcap > 0) push->flags |= SXT_ATTENTION_HAS_SOFTCAP;
}

static void set_strides(uint32_t strides[3], const struct sxt_view *view) {
    strides[0] = view->batch;
    strides[1] = view->token;
    strides[2] = view->head;
}

// What says where the rows of all tensors are.
static void place_views(const struct sxt_view views[], sxt_attention_frame *frame) {
    struct sxt_attention_push *push = &frame->push;
    struct sxt_attention_params *params = &frame->params;
    uint32_t *const strides[] = {push->q_stride, push->k_stride,   push->v_stride,
                                 push->o_stride, push->lse_stride, push->bias_stride};
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++)
        set_strides(strides[i], &views[i]);
    uint32_t *const bases[] = {&push->bases_main, &push->bases_extra, &params->bases_forms, &params->bases_scales};
    for (uint32_t i = 0; i < SXT_ATTENTION_FAULTS; i++)
        *bases[i / 4] |= views[i].base << 8 * (i % 4);
    params->mask_batch = views[SXT_ATTENTION_MASK].batch;
    params->mask_head = views[SXT_ATTENTION_MASK].token; // its dims: sequence, head, query, word
    params->mask_token = views[SXT_ATTENTION_MASK].head;
    params->table_stride = views[SXT_ATTENTION_TABLE].head;
    params->k_scale_head = views[SXT_ATTENTION_K_SCALE].head;
    params->v_scale_head = views[SXT_ATTENTION_V_SCALE].head;
}

// Shaders index by 32 bits: all elements of a tensor, or strides of K and V.
static bool within_reach(const sxt_tensor *tensor, int slot) {
    const bool keys = slot == SXT_ATTENTION_K || slot == SXT_ATTENTION_V;
    if (!sxt_tensor_present(tensor)) return true;
    if (!keys) return sxt_tensor_extent(tensor) / sxt_type_size(tensor->type) <= UINT32_MAX;
    for (int dim = 0; dim < SXT_CHANNEL; dim++)
        if (tensor->shape[dim] > 1 && tensor->strides[dim] > UINT32_MAX) return false;
    return true;
}

// Binds all tensors in the order of SXT_ATTENTION_Q …
static sxt_result bind_tensors(const sxt_caps *device_caps, const sxt_attention_desc *desc, sxt_dispatch *dispatch,
                               sxt_attention_frame *frame) {
    const sxt_tensor *lengths = sxt_tensor_present(&desc->cu_seqlens_k) ? &desc->cu_seqlens_k : &desc->kv_lengths;
    const sxt_tensor *tensors[SXT_ATTENTION_FAULTS] = {&desc->q,       &desc->k,
                                                       &desc->v,       &desc->o,
                                                       &desc->lse,     &desc->bias,
                                                       &desc->sinks,   &desc->alibi_slopes,
                                                       &desc->mask,    &desc->cu_seqlens_q,
                                                       lengths,        &desc->block_table,
                                                       &desc->k_scale, &desc->v_scale};
    struct sxt_view views[SXT_ATTENTION_FAULTS];
    // An address must itself be a multiple of what is read there.
    sxt_caps caps = *device_caps;
    if (dispatch->by_address && caps.storage_align < 16) caps.storage_align = 16;
    for (int i = 0; i < SXT_ATTENTION_FAULTS; i++) {
        const sxt_tensor none = {0};
        bool written = i == SXT_ATTENTION_O || i == SXT_ATTENTION_LSE;
        const sxt_tensor *tensor = sxt_tensor_empty(tensors[i]) ? &none : tensors[i];
        sxt_result result = sxt_plan_view(&caps, tensor, written, dispatch, &views[i]);
        if (result != SXT_OK || !within_reach(tensor, i)) return SXT_ERROR_UNSUPPORTED;
        // A remainder below minStorageBufferOffsetAlignment, which is at most 256 bytes; of blocks, 17 times that.
        views[i].base /= sxt_type_block(tensors[i]->type);
        assert(views[i].base < 256);
    }
    if (sxt_plan_bind_faults(&caps, dispatch) != SXT_OK) return SXT_ERROR_UNSUPPORTED;
    place_views(views, frame);
    if (sxt_plan_quads(&desc->q, &views[SXT_ATTENTION_Q])) frame->push.flags |= SXT_ATTENTION_Q_ALIGNED;
    if (sxt_plan_quads(&desc->o, &views[SXT_ATTENTION_O])) frame->push.flags |= SXT_ATTENTION_O_ALIGNED;
    dispatch->spec[SXT_ATTENTION_SPEC_K_ALIGNED] = sxt_plan_quads(&desc->k, &views[SXT_ATTENTION_K]);
    dispatch->spec[SXT_ATTENTION_SPEC_V_ALIGNED] = sxt_plan_quads(&desc->v, &views[SXT_ATTENTION_V]);
    return SXT_OK;
}

// The bound of logits, if it lets weights be e^s without a running maximum; 0 if not.
//
// Nothing overflows: with |s| ≤ B, Tk ≤ 2^30 keys and |v| ≤ 10^12 (the caller's promise) all sums are below
// Tk·e^B·10^12, at B = 40 2.5e38, which f32 holds. What is too small for f32's normal range, and flushed to zero, does
// not count: a weight is at least e^−40 = 4.2e-18; a product with v is flushed if |v| < 2^-126/e^-40 = 2.8e-21, and
// since each key adds e^−40 or more to the row's sum, all keys together lose no more than 2.8e-21 of o. (The online
// softmax keeps such values where their key has the largest logit.)
// Rounding: s·log2(e), at most 58, is rounded to within |s|·u, and a driver's exp2 is good to 3 + 2·58 ULP (Vulkan) and
// in practice to 2. Against these stand roundings of q·k, (d + 2)·u·Σ|q·k| with Σ|q·k| ≥ |s|, that any kernel has.
// A softcap c bounds logits by itself, at c·tanh(B/c) < c, and promises nothing of v: then v must be of a type that
// cannot pass 10^12. A bias or ALiBi is added after both, and is not bounded.
static float usable_bound(const sxt_attention_desc *desc) {
    const float most = 40.0f;
    const bool promised = desc->logit_bound > 0;
    float bound = promised ? desc->logit_bound : INFINITY;
    if (desc->softcap > 0) bound = promised ? desc->softcap * tanhf(bound / desc->softcap) : desc->softcap;
    bool added = sxt_tensor_present(&desc->bias) || sxt_tensor_present(&desc->alibi_slopes);
    bool any_v = !promised && (desc->v.type == SXT_TYPE_F32 || desc->v.type == SXT_TYPE_BF16);
    return bound <= most && !added && !any_v ? bound : 0.0f;
}

static uint32_t forms_of(const sxt_attention_desc *desc) {
    uint32_t forms = 0;
    if (sxt_tensor_present(&desc->kv_lengths) || sxt_tensor_present(&desc->cu_seqlens_q))
        forms |= SXT_ATTENTION_FORM_SEQUENCES;
    if (sxt_tensor_present(&desc->block_table)) forms |= SXT_ATTENTION_FORM_PAGES;
    if (sxt_tensor_present(&desc->mask)) forms |= SXT_ATTENTION_FORM_MASK;
    return forms;
}

sxt_result sxt_attention_frame_call(const sxt_caps *caps, const sxt_attention_desc *desc, bool by_address,
                                    sxt_attention_frame *out_frame, sxt_plan *plan) {
    sxt_dispatch *dispatch = &plan->dispatches[0];
    const bool paged = sxt_tensor_present(&desc->block_table);
    dispatch->by_address = by_address;
    *out_frame = (sxt_attention_frame){
        .push = {.q_tokens = desc->max_q_tokens,
                 .k_tokens = desc->max_k_tokens,
                 .kv_heads = desc->k.shape[SXT_HEAD],
                 .group = sxt_attention_group(desc)},
        .params = {.bound = usable_bound(desc),
                   .sequences = sxt_attention_sequences(desc),
                   .q_all = desc->q.shape[SXT_TOKEN],
                   .k_all = desc->k.shape[SXT_TOKEN],
                   .page_rows = paged ? desc->k.shape[SXT_TOKEN] : 1,
                   .pages = paged ? desc->k.shape[SXT_BATCH] : 0},
    };
    fill_scalars(desc, &out_frame->push);
    fill_flags(desc, &out_frame->push);
    if (bind_tensors(caps, desc, dispatch, out_frame) != SXT_OK)
        return sxt_plan_unsupported(plan,
                                    "attention: a tensor is too large for this device, or it binds too few buffers");
    uint32_t *spec = dispatch->spec;
    spec[SXT_ATTENTION_SPEC_K_TYPE] = desc->k.type;
    spec[SXT_ATTENTION_SPEC_V_TYPE] = desc->v.type;
    spec[SXT_ATTENTION_SPEC_FEATURES] =
        (out_frame->push.flags & (SXT_ATTENTION_HAS_BIAS | SXT_ATTENTION_HAS_ALIBI | SXT_ATTENTION_HAS_SOFTCAP)) != 0;
    spec[SXT_ATTENTION_SPEC_FORMS] = forms_of(desc);
    spec[SXT_ATTENTION_SPEC_BOUNDED] = out_frame->params.bound > 0;
    return SXT_OK;
}
