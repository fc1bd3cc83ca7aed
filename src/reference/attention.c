// Softmax in two passes over all keys of a row, as it stands in a textbook.
#include <math.h>
#include <stdlib.h>

#include "core/attention.h"
#include "reference/attention_sequence.h"
#include "reference/reference.h"

// One key/value head of a sequence as doubles, and room for one query.
typedef struct working_memory {
    double *keys, *values; // [Tk][D], [Tk][Dv]
    double *query, *scores, *output;
} working_memory;

static double score(const sxt_sequence *sequence, const working_memory *memory, uint32_t h, uint32_t i, uint32_t j) {
    const sxt_attention_desc *desc = sequence->desc;
    uint32_t dim = desc->q.shape[SXT_CHANNEL];
    if (!sxt_sequence_visible(sequence, h, i, j)) return -INFINITY;
    double s = 0.0;
    for (uint32_t c = 0; c < dim; c++)
        s += memory->query[c] * memory->keys[(size_t)j * dim + c];
    s *= desc->scale;
    if (desc->logit_bound > 0.0f && fabs(s) > desc->logit_bound) {
        sxt_reference_fault(desc->q.buffer, SXT_FAULT_LOGIT);
        s = copysign(desc->logit_bound, s);
    }
    if (desc->softcap > 0.0f) s = desc->softcap * tanh(s / desc->softcap);
    if (sxt_tensor_present(&desc->bias)) s += sxt_row_at(&desc->bias, sequence->index, h, i, j);
    if (sxt_tensor_present(&desc->alibi_slopes))
        s -= sxt_row_at(&desc->alibi_slopes, 0, 0, 0, h) *
             fabs((double)(sxt_sequence_position(sequence, i) - (int64_t)j));
    return s;
}

static void attend_row(const sxt_sequence *sequence, working_memory *memory, uint32_t h, uint32_t i) {
    const sxt_attention_desc *desc = sequence->desc;
    uint32_t batch = sequence->queries.batch, token = sequence->queries.first + i, v_dim = desc->v.shape[SXT_CHANNEL];
    double sink = sxt_tensor_present(&desc->sinks) ? sxt_row_at(&desc->sinks, 0, 0, 0, h) : -INFINITY;
    double greatest = sink; // fmax passes over a NaN; it comes back by its exp
    bool nothing = sink == -INFINITY;
    sxt_row_load(&desc->q, batch, token, h, memory->query);
    for (uint32_t j = 0; j < sequence->keys.tokens; j++) {
        memory->scores[j] = score(sequence, memory, h, i, j);
        greatest = fmax(greatest, memory->scores[j]);
        nothing = nothing && memory->scores[j] == -INFINITY;
    }
    double sum = nothing ? 0.0 : exp(sink - greatest);
    for (uint32_t c = 0; c < v_dim; c++)
        memory->output[c] = 0.0;
    for (uint32_t j = 0; j < sequence->keys.tokens; j++) {
        if (memory->scores[j] == -INFINITY) // what lies behind a mask is not even looked at: it may be NaN
            continue;
        double p = exp(memory->scores[j] - greatest);
        sum += p;
        for (uint32_t c = 0; c < v_dim; c++)
            memory->output[c] += p * memory->values[(size_t)j * v_dim + c];
    }
    for (uint32_t c = 0; c < v_dim && !nothing; c++)
        memory->output[c] /= sum;
    sxt_row_store(&desc->o, batch, token, h, memory->output);
    double lse = nothing ? -INFINITY : greatest + log(sum);
    if (sxt_tensor_present(&desc->lse)) sxt_row_store(&desc->lse, batch, token, h, &lse);
}

static void load_row(const sxt_tensor *cache, const sxt_tensor *scale, sxt_cache_row at, uint32_t head,
                     double *out_row) {
    sxt_row_load(cache, at.batch, at.row, head, out_row);
    for (uint32_t c = 0; c < cache->shape[SXT_CHANNEL]; c++)
        out_row[c] *= sxt_scale_at(scale, head);
}

static void attend_head(const sxt_sequence *sequence, working_memory *memory, uint32_t kv_head) {
    const sxt_attention_desc *desc = sequence->desc;
    for (uint32_t j = 0; j < sequence->keys.tokens; j++) {
        sxt_cache_row at;
        if (!sxt_sequence_find_key(sequence, j, &at)) continue;
        load_row(&desc->k, &desc->k_scale, at, kv_head, &memory->keys[(size_t)j * desc->k.shape[SXT_CHANNEL]]);
        load_row(&desc->v, &desc->v_scale, at, kv_head, &memory->values[(size_t)j * desc->v.shape[SXT_CHANNEL]]);
    }
    uint32_t group = desc->q.shape[SXT_HEAD] / desc->k.shape[SXT_HEAD];
    for (uint32_t h = kv_head * group; h < (kv_head + 1) * group; h++)
        for (uint32_t i = 0; i < sequence->queries.tokens; i++)
            attend_row(sequence, memory, h, i);
}

static double *doubles(uint64_t count) {
    return count < SIZE_MAX / sizeof(double) ? malloc((count + 1) * sizeof(double)) : NULL;
}

sxt_result sxt_attention_reference(const sxt_attention_desc *desc) {
    uint64_t keys = desc->max_k_tokens, dim = desc->k.shape[SXT_CHANNEL], v_dim = desc->v.shape[SXT_CHANNEL];
    working_memory memory = {
        .keys = doubles(keys * dim),
        .values = doubles(keys * v_dim),
        .query = doubles(dim),
        .scores = doubles(keys),
        .output = doubles(v_dim),
    };
    sxt_result result = SXT_ERROR_OUT_OF_MEMORY;
    if (memory.keys != NULL && memory.values != NULL && memory.query != NULL && memory.scores != NULL &&
        memory.output != NULL) {
        for (uint32_t b = 0; b < sxt_attention_sequences(desc); b++) {
            const sxt_sequence sequence = sxt_sequence_at(desc, b);
            for (uint32_t kv_head = 0; kv_head < desc->k.shape[SXT_HEAD]; kv_head++)
                attend_head(&sequence, &memory, kv_head);
        }
        result = SXT_OK;
    }
    free(memory.keys);
    free(memory.values);
    free(memory.query);
    free(memory.scores);
    free(memory.output);
    return result;
}
