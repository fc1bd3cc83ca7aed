// Softmax in two passes over all keys of a row, as it stands in a textbook.
#include <math.h>
#include <stdlib.h>

#include "reference/reference.h"
#include "reference/row.h"

// One key/value head as doubles, and room for one query.
typedef struct working_memory {
    double *keys, *values; // [Tk][D], [Tk][Dv]
    double *query, *scores, *output;
} working_memory;

// Whether the query whose own key is `own` sees key j.
static bool visible(const sxt_attention_desc *desc, int64_t own, int64_t j) {
    if (desc->causal && j > own) return false;
    if (desc->window_left >= 0 && j < own - desc->window_left) return false;
    return desc->window_right < 0 || j <= own + desc->window_right;
}

static double score(const sxt_attention_desc *desc, const working_memory *memory, uint32_t b, uint32_t i, uint32_t h,
                    uint32_t j) {
    uint32_t dim = desc->q.shape[SXT_CHANNEL];
    int64_t own = (int64_t)i + desc->k.shape[SXT_TOKEN] - desc->q.shape[SXT_TOKEN];
    if (!visible(desc, own, j)) return -INFINITY;
    double s = 0.0;
    for (uint32_t c = 0; c < dim; c++)
        s += memory->query[c] * memory->keys[(size_t)j * dim + c];
    s *= desc->scale;
    if (desc->softcap > 0.0f) s = desc->softcap * tanh(s / desc->softcap);
    if (sxt_tensor_present(&desc->bias)) s += sxt_row_at(&desc->bias, b, h, i, j);
    if (sxt_tensor_present(&desc->alibi_slopes))
        s -= sxt_row_at(&desc->alibi_slopes, 0, 0, 0, h) * fabs((double)(own - (int64_t)j));
    return s;
}

static void attend_row(const sxt_attention_desc *desc, working_memory *memory, uint32_t b, uint32_t i, uint32_t h) {
    uint32_t keys = desc->k.shape[SXT_TOKEN], v_dim = desc->v.shape[SXT_CHANNEL];
    double sink = sxt_tensor_present(&desc->sinks) ? sxt_row_at(&desc->sinks, 0, 0, 0, h) : -INFINITY;
    double greatest = sink; // fmax passes over a NaN; it comes back by its exp
    bool nothing = sink == -INFINITY;
    sxt_row_load(&desc->q, b, i, h, memory->query);
    for (uint32_t j = 0; j < keys; j++) {
        memory->scores[j] = score(desc, memory, b, i, h, j);
        greatest = fmax(greatest, memory->scores[j]);
        nothing = nothing && memory->scores[j] == -INFINITY;
    }
    double sum = nothing ? 0.0 : exp(sink - greatest);
    for (uint32_t c = 0; c < v_dim; c++)
        memory->output[c] = 0.0;
    for (uint32_t j = 0; j < keys; j++) {
        if (memory->scores[j] == -INFINITY) // what lies behind a mask is not even looked at: it may be NaN
            continue;
        double p = exp(memory->scores[j] - greatest);
        sum += p;
        for (uint32_t c = 0; c < v_dim; c++)
            memory->output[c] += p * memory->values[(size_t)j * v_dim + c];
    }
    for (uint32_t c = 0; c < v_dim && !nothing; c++)
        memory->output[c] /= sum;
    sxt_row_store(&desc->o, b, i, h, memory->output);
    double lse = nothing ? -INFINITY : greatest + log(sum);
    if (sxt_tensor_present(&desc->lse)) sxt_row_store(&desc->lse, b, i, h, &lse);
}

static void attend_head(const sxt_attention_desc *desc, working_memory *memory, uint32_t b, uint32_t kv_head) {
    uint32_t keys = desc->k.shape[SXT_TOKEN];
    for (uint32_t j = 0; j < keys; j++) {
        sxt_row_load(&desc->k, b, j, kv_head, &memory->keys[(size_t)j * desc->k.shape[SXT_CHANNEL]]);
        sxt_row_load(&desc->v, b, j, kv_head, &memory->values[(size_t)j * desc->v.shape[SXT_CHANNEL]]);
    }
    uint32_t group = desc->q.shape[SXT_HEAD] / desc->k.shape[SXT_HEAD];
    for (uint32_t h = kv_head * group; h < (kv_head + 1) * group; h++)
        for (uint32_t i = 0; i < desc->q.shape[SXT_TOKEN]; i++)
            attend_row(desc, memory, b, i, h);
}

static double *doubles(uint64_t count) {
    return count < SIZE_MAX / sizeof(double) ? malloc((count + 1) * sizeof(double)) : NULL;
}

sxt_result sxt_attention_reference(const sxt_attention_desc *desc) {
    uint64_t keys = desc->k.shape[SXT_TOKEN], dim = desc->k.shape[SXT_CHANNEL], v_dim = desc->v.shape[SXT_CHANNEL];
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
        for (uint32_t b = 0; b < desc->q.shape[SXT_BATCH]; b++)
            for (uint32_t kv_head = 0; kv_head < desc->k.shape[SXT_HEAD]; kv_head++)
                attend_head(desc, &memory, b, kv_head);
        result = SXT_OK;
    }
    free(memory.keys);
    free(memory.values);
    free(memory.query);
    free(memory.scores);
    free(memory.output);
    return result;
}
