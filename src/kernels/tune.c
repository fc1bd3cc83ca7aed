// sxt_tune: which kernel and tile of attention is fastest here, found by running them.
#include "kernels/tune.h"

#include "core/number.h"
#include "kernels/attention.h"
#include "vulkan/cache_file.h"
#include "vulkan/vulkan.h"

#include <math.h>
#include <stdlib.h>

enum {
    TILES = 1 + SXT_ATTENTION_TILE_TILES + SXT_ATTENTION_SOFTWARE_TILES + SXT_ATTENTION_MATRIX_TILES +
            SXT_ATTENTION_MATRIX2_TILES,
    ROUNDS = 7,
};

typedef struct candidate {
    sxt_attention_kernel kernel;
    uint32_t tile;
    sxt_plan plan;
    uint32_t rounds;
    double us[ROUNDS];
} candidate;

typedef struct tuning {
    sxt_device *device;
    const sxt_attention_desc *desc;
    sxt_stream *stream;
    sxt_tune_alter_fn alter;
    void *user;
    uint64_t o_bytes, lse_bytes;
    uint8_t *o, *lse, *poison; // results of the candidate at hand; what stands there before
    double *right_o, *right_lse;
    uint32_t count, rejected;
    candidate candidates[TILES];
} tuning;

// ── Which calls are alike ──

static uint32_t log2_of(uint64_t value) {
    uint32_t n = 0;
    while (value >>= 1)
        n++;
    return n;
}

uint64_t sxt_tune_key(const sxt_attention_desc *desc) {
    // Raise the number when tiles change their meaning.
    enum { EDITION = 2 };
    const sxt_tensor *const optional[] = {&desc->bias,         &desc->mask,        &desc->sinks,
                                          &desc->alibi_slopes, &desc->kv_lengths,  &desc->block_table,
                                          &desc->cu_seqlens_q, &desc->cu_seqlens_k};
    uint32_t options = 0;
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        options |= (uint32_t)sxt_tensor_present(optional[i]) << i;
    options |= (uint32_t)desc->causal << 8 | (uint32_t)(desc->window_left >= 0) << 9 |
               (uint32_t)(desc->softcap > 0) << 10 | (uint32_t)(desc->logit_bound > 0) << 11 |
               (uint32_t)desc->f32_products << 12;
    const uint64_t parts[] = {
        EDITION,
        desc->q.type,
        desc->k.type,
        desc->v.type,
        desc->o.type,
        desc->q.shape[SXT_CHANNEL],
        desc->v.shape[SXT_CHANNEL],
        sxt_attention_group(desc),
        log2_of(desc->max_q_tokens),
        log2_of(desc->max_k_tokens),
        log2_of((uint64_t)sxt_attention_sequences(desc) * desc->k.shape[SXT_HEAD]),
        options,
    };
    return sxt_hash(SXT_HASH_START, parts, sizeof parts);
}

static uint32_t pack(sxt_attention_kernel kernel, uint32_t tile) {
    return (uint32_t)kernel << 16 | tile;
}

bool sxt_tune_plan(const sxt_device *device, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    uint32_t choice;
    // With a split that the caller chose the number of queries must not decide.
    if (desc->kernel != SXT_ATTENTION_AUTO || desc->split_keys > 0) return false;
    if (!sxt_vulkan_choice_get(device, sxt_tune_key(desc), &choice)) return false;
    if (choice >> 16 >= SXT_ATTENTION_KERNELS) return false;
    sxt_attention_desc chosen = *desc;
    chosen.kernel = (sxt_attention_kernel)(choice >> 16);
    chosen.tile = choice & 0xffff;
    // Calls that are alike in the key may differ in alignment or size.
    return sxt_attention_plan(&device->info.caps, &chosen, out_plan) == SXT_OK;
}

// ── Candidates ──

static bool same_work(const sxt_plan *a, const sxt_plan *b) {
    const sxt_dispatch *x = &a->dispatches[0], *y = &b->dispatches[0];
    return x->shader == y->shader && x->by_address == y->by_address && memcmp(x->spec, y->spec, sizeof x->spec) == 0 &&
           memcmp(x->groups, y->groups, sizeof x->groups) == 0 && memcmp(x->params, y->params, sizeof x->params) == 0 &&
           a->dispatch_count == b->dispatch_count && a->parts == b->parts;
}

static void add_candidate(tuning *t, sxt_attention_kernel kernel, uint32_t tile) {
    candidate *c = &t->candidates[t->count];
    sxt_attention_desc desc = *t->desc;
    desc.kernel = kernel;
    desc.tile = tile;
    *c = (candidate){.kernel = kernel, .tile = tile};
    if (sxt_attention_plan(&t->device->info.caps, &desc, &c->plan) != SXT_OK || c->plan.dispatch_count == 0) return;
    for (uint32_t i = 0; i < t->count; i++)
        if (same_work(&t->candidates[i].plan, &c->plan)) return;
    t->count++;
}

// The first is what the device takes by itself.
static void find_candidates(tuning *t) {
    add_candidate(t, SXT_ATTENTION_AUTO, 0);
    for (int kernel = SXT_ATTENTION_AUTO + 1; kernel < SXT_ATTENTION_KERNELS; kernel++)
        for (uint32_t tile = 1; tile <= sxt_attention_tiles((sxt_attention_kernel)kernel); tile++)
            add_candidate(t, (sxt_attention_kernel)kernel, tile);
    for (uint32_t i = 0; i < t->count && t->alter != NULL; i++)
        t->alter(t->user, i, &t->candidates[i].plan);
}

// ── Results ──

static sxt_result run_plan(const tuning *t, const sxt_plan *plan, double *out_us) {
    uint32_t from, to;
    uint64_t ticket;
    sxt_result result = sxt_stream_timestamp(t->stream, &from);
    if (result == SXT_OK) result = sxt_vulkan_stream_run(t->stream, plan);
    if (result == SXT_OK) result = sxt_stream_timestamp(t->stream, &to);
    if (result == SXT_OK) result = sxt_stream_submit(t->stream, &ticket);
    if (result == SXT_OK) result = sxt_device_wait(t->device, ticket, UINT64_MAX);
    if (result == SXT_OK) result = sxt_stream_elapsed(t->stream, from, to, out_us);
    if (result != SXT_OK) sxt_stream_reset(t->stream);
    return result;
}

static sxt_result poison(const tuning *t, const sxt_tensor *tensor, uint64_t bytes) {
    return bytes > 0 ? sxt_buffer_write(tensor->buffer, tensor->offset_bytes, t->poison, bytes) : SXT_OK;
}

static sxt_result fetch(const sxt_tensor *tensor, uint64_t bytes, uint8_t *out) {
    return bytes > 0 ? sxt_buffer_read(tensor->buffer, tensor->offset_bytes, out, bytes) : SXT_OK;
}

// Runs a plan over results of NaN. What lies between rows becomes NaN too, and is put back at the end.
static sxt_result compute(const tuning *t, const sxt_plan *plan) {
    double us;
    sxt_result result = poison(t, &t->desc->o, t->o_bytes);
    if (result == SXT_OK) result = poison(t, &t->desc->lse, t->lse_bytes);
    if (result == SXT_OK) result = run_plan(t, plan, &us);
    if (result == SXT_OK) result = fetch(&t->desc->o, t->o_bytes, t->o);
    if (result == SXT_OK) result = fetch(&t->desc->lse, t->lse_bytes, t->lse);
    return result;
}

// The smallest relative error that a result of this type, by products of that, may have.
static double rounding_of(sxt_type type) {
    return type == SXT_TYPE_BF16 ? 0x1p-8 : type == SXT_TYPE_F16 ? 0x1p-11 : 0x1p-24;
}

static sxt_type type_of_products(sxt_shader_id shader) {
    switch (shader) {
    case SXT_SHADER_ATTENTION_MATRIX:
    case SXT_SHADER_ATTENTION_MATRIX2:
    case SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP:
        return SXT_TYPE_F16;
    case SXT_SHADER_ATTENTION_MATRIX_BF16:
    case SXT_SHADER_ATTENTION_MATRIX2_BF16:
    case SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP_BF16:
        return SXT_TYPE_BF16;
    default:
        return SXT_TYPE_F32;
    }
}

// A row's error grows with the size of its logits, which nobody knows here: eight roundings of the products are what those
// of models make, as a root mean square, and a key too many, or one too few, is beyond.
static double tolerance_of(const tuning *t, const sxt_plan *plan) {
    const double products = rounding_of(type_of_products(plan->dispatches[0].shader));
    return 8 * products + 2 * rounding_of(t->desc->o.type) + 0x1p-14;
}

// Whether values are the right ones: NaN in the same places, and elsewhere their root mean square error within `relative`
// of the right ones' root mean square, and no error above 32 times that.
static bool is_close(sxt_type type, const uint8_t *values, const double *right, uint64_t count, double relative) {
    double square = 0, error = 0, largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        const double value = sxt_load(type, values, i);
        if (value == right[i] || (isnan(value) && isnan(right[i]))) {
            if (isfinite(right[i])) square += right[i] * right[i];
            continue;
        }
        if (!isfinite(value) || !isfinite(right[i])) return false;
        const double difference = fabs(value - right[i]);
        square += right[i] * right[i];
        error += difference * difference;
        largest = fmax(largest, difference);
    }
    const double limit = relative * sqrt(square / (double)count);
    return sqrt(error / (double)count) <= limit && largest <= 32 * limit;
}

static bool is_right(const tuning *t, const sxt_plan *plan) {
    const double relative = tolerance_of(t, plan);
    return is_close(t->desc->o.type, t->o, t->right_o, t->o_bytes / sxt_type_size(t->desc->o.type), relative) &&
           (t->lse_bytes == 0 || is_close(SXT_TYPE_F32, t->lse, t->right_lse, t->lse_bytes / sizeof(float), relative));
}

// What is right: by the kernel for any device, in f32.
static sxt_result find_right(tuning *t) {
    sxt_attention_desc desc = *t->desc;
    sxt_plan plan;
    desc.kernel = SXT_ATTENTION_TILE;
    desc.f32_products = true;
    sxt_result result = sxt_plan_make(t->device, SXT_OP_ATTENTION, &desc, &plan);
    if (result == SXT_OK) result = compute(t, &plan);
    if (result != SXT_OK) return result;
    const uint64_t count = t->o_bytes / sxt_type_size(desc.o.type);
    uint64_t useful = 0;
    for (uint64_t i = 0; i < count; i++) {
        t->right_o[i] = sxt_load(desc.o.type, t->o, i);
        useful += isfinite(t->right_o[i]) && t->right_o[i] != 0;
    }
    for (uint64_t i = 0; i < t->lse_bytes / sizeof(float); i++)
        t->right_lse[i] = sxt_load(SXT_TYPE_F32, t->lse, i);
    if (useful == 0)
        SXT_REJECT(&t->device->logger,
                   "sxt_tune: o comes out as zeros, or not finite: the inputs must hold data as in use");
    return SXT_OK;
}

// Drops what is wrong. The first candidate stays at its place, and is an error if it is wrong.
static sxt_result verify(tuning *t) {
    uint32_t kept = 0;
    sxt_result result = SXT_OK;
    for (uint32_t i = 0; i < t->count && result == SXT_OK; i++) {
        result = compute(t, &t->candidates[i].plan);
        if (result != SXT_OK) break;
        if (is_right(t, &t->candidates[i].plan)) {
            t->candidates[kept++] = t->candidates[i];
            continue;
        }
        t->rejected++;
        sxt_log(&t->device->logger, SXT_LOG_WARNING, "sxt_tune: a wrong result by %s", t->candidates[i].plan.variant);
        if (i == 0) return SXT_ERROR_DRIVER;
    }
    t->count = kept;
    return result;
}

// ── Times ──

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const candidate *c) {
    double us[ROUNDS];
    memcpy(us, c->us, sizeof us);
    qsort(us, c->rounds, sizeof us[0], compare);
    return us[c->rounds / 2];
}

// In rounds, so that a clock that changes meets all alike; who takes twice the best time once is not asked again.
static sxt_result measure(tuning *t) {
    sxt_result result = SXT_OK;
    double best = INFINITY;
    for (uint32_t round = 0; round < ROUNDS && result == SXT_OK; round++)
        for (uint32_t i = 0; i < t->count && result == SXT_OK; i++) {
            candidate *c = &t->candidates[i];
            if (i > 0 && c->rounds > 0 && c->us[0] > 2 * best) continue;
            result = run_plan(t, &c->plan, &c->us[c->rounds]);
            best = fmin(best, c->us[c->rounds++]);
        }
    return result;
}

static void choose(const tuning *t, sxt_tuning *out_tuning) {
    const double clearly = 0.97;
    const candidate *first = &t->candidates[0], *best = first;
    for (uint32_t i = 1; i < t->count; i++)
        if (t->candidates[i].rounds == ROUNDS && median(&t->candidates[i]) < clearly * median(first) &&
            median(&t->candidates[i]) < median(best))
            best = &t->candidates[i];
    sxt_vulkan_choice_put(t->device, sxt_tune_key(t->desc), pack(best->kernel, best->tile));
    *out_tuning = (sxt_tuning){.candidates = t->count + t->rejected,
                               .rejected = t->rejected,
                               .default_us = median(first),
                               .best_us = median(best)};
    memcpy(out_tuning->default_variant, first->plan.variant, sizeof first->plan.variant);
    memcpy(out_tuning->best_variant, best->plan.variant, sizeof best->plan.variant);
}

// ── All ──

static bool allocate(tuning *t) {
    const uint64_t most = t->o_bytes > t->lse_bytes ? t->o_bytes : t->lse_bytes;
    t->o = malloc(t->o_bytes);
    t->lse = malloc(t->lse_bytes + 1);
    t->poison = malloc(most);
    t->right_o = malloc(t->o_bytes / sxt_type_size(t->desc->o.type) * sizeof *t->right_o);
    t->right_lse = malloc(t->lse_bytes / sizeof(float) * sizeof *t->right_lse + 1);
    if (t->poison != NULL) memset(t->poison, 0xff, most);
    return t->o && t->lse && t->poison && t->right_o && t->right_lse;
}

static sxt_result tune(tuning *t, sxt_tuning *out_tuning) {
    sxt_result result = sxt_stream_create(t->device, &t->stream);
    if (result == SXT_OK) result = find_right(t);
    if (result != SXT_OK) return result;
    find_candidates(t);
    result = verify(t);
    if (result == SXT_OK) result = measure(t);
    if (result == SXT_OK) choose(t, out_tuning);
    return result;
}

sxt_result sxt_tune_through(sxt_device *device, const sxt_attention_desc *desc, sxt_tune_alter_fn alter, void *user,
                            sxt_tuning *out_tuning) {
    *out_tuning = (sxt_tuning){0};
    if (sxt_tensor_empty(&desc->o) || device->info.caps.timestamp_ns == 0) {
        sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_tune: %s",
                sxt_tensor_empty(&desc->o) ? "the call has no queries" : "the device has no timestamps");
        return SXT_ERROR_UNSUPPORTED;
    }
    tuning *t = calloc(1, sizeof *t);
    if (t == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    *t = (tuning){.device = device, .desc = desc, .alter = alter, .user = user};
    t->o_bytes = sxt_tensor_extent(&desc->o);
    t->lse_bytes = sxt_tensor_present(&desc->lse) ? sxt_tensor_extent(&desc->lse) : 0;
    uint8_t *before = malloc(t->o_bytes), *lse_before = malloc(t->lse_bytes + 1);
    sxt_result result = before && lse_before && allocate(t) ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    if (result == SXT_OK) result = fetch(&desc->o, t->o_bytes, before);
    if (result == SXT_OK) result = fetch(&desc->lse, t->lse_bytes, lse_before);
    if (result == SXT_OK) {
        result = tune(t, out_tuning);
        sxt_result back = sxt_buffer_write(desc->o.buffer, desc->o.offset_bytes, before, t->o_bytes);
        if (back == SXT_OK && t->lse_bytes > 0)
            back = sxt_buffer_write(desc->lse.buffer, desc->lse.offset_bytes, lse_before, t->lse_bytes);
        if (result == SXT_OK) result = back;
    }
    sxt_stream_destroy(&t->stream);
    free(before);
    free(lse_before);
    free(t->o);
    free(t->lse);
    free(t->poison);
    free(t->right_o);
    free(t->right_lse);
    free(t);
    return result;
}

sxt_result sxt_plan_tune(sxt_device *device, sxt_op op, const void *desc, sxt_tuning *out_tuning) {
    if (op != SXT_OP_ATTENTION) {
        sxt_log(&device->logger, SXT_LOG_ERROR, "sxt_tune: %s has one kernel", sxt_op_name(op));
        return SXT_ERROR_UNSUPPORTED;
    }
    sxt_attention_desc attention = *(const sxt_attention_desc *)desc;
    attention.kernel = SXT_ATTENTION_AUTO;
    attention.tile = attention.split_keys = 0;
    return sxt_tune_through(device, &attention, NULL, NULL, out_tuning);
}
