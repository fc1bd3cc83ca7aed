// Norm, then rotation, with nothing rounded in between; then the output or the cache.
#include <stdlib.h>

#include "core/rope.h"
#include "reference/kv_cache.h"
#include "reference/reference.h"

// One of q, k and v: what is done to its rows, and where they go.
typedef struct side {
    const sxt_tensor *x, *weight; // weight: NULL for v
    bool normalised, rotated;
    const sxt_tensor *out;           // in x's shape, or
    const sxt_tensor *cache, *scale; // where there is no output
} side;

static void compute_row(const sxt_qk_norm_rope_desc *desc, const side *s, uint32_t b, uint32_t t, uint32_t h,
                        double *row) {
    uint32_t channels = s->x->shape[SXT_CHANNEL];
    sxt_row_load(s->x, b, t, h, row);
    if (s->normalised) sxt_row_normalise(desc->norm, desc->eps, channels, row);
    if (s->weight != NULL) sxt_row_weigh(s->weight, desc->offset, b, t, h, channels, row);
    if (s->rotated) sxt_row_rotate(&desc->rope, &desc->positions, b, t, sxt_rope_magnitude(&desc->rope), row);
}

static sxt_result one_side(const sxt_qk_norm_rope_desc *desc, const side *s) {
    if (!sxt_tensor_present(s->x) || sxt_tensor_empty(s->x)) return SXT_OK;
    const uint32_t *shape = s->x->shape;
    bool cached = !sxt_tensor_present(s->out);
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++) {
            sxt_cache_row at;
            if (cached && !sxt_kv_cache_find(&desc->cache, b, t, &at)) continue;
            for (uint32_t h = 0; h < shape[SXT_HEAD]; h++) {
                compute_row(desc, s, b, t, h, row);
                if (cached)
                    sxt_kv_cache_store(s->cache, s->scale, at, h, row);
                else
                    sxt_row_store(s->out, b, t, h, row);
            }
        }
    free(row);
    return SXT_OK;
}

sxt_result sxt_qk_norm_rope_reference(const sxt_qk_norm_rope_desc *desc) {
    static const sxt_tensor none;
    const sxt_kv_cache *cache = &desc->cache;
    bool rotated = desc->rope.pairing != SXT_ROPE_NONE;
    const side sides[] = {
        {.x = &desc->q, .weight = &desc->q_weight, .normalised = true, .rotated = rotated, .out = &desc->q_out},
        {.x = &desc->k,
         .weight = &desc->k_weight,
         .normalised = true,
         .rotated = rotated,
         .out = &desc->k_out,
         .cache = &cache->k,
         .scale = &cache->k_scale},
        {.x = &desc->v, .normalised = desc->normalise_v, .out = &none, .cache = &cache->v, .scale = &cache->v_scale},
    };
    sxt_result result = SXT_OK;
    for (int i = 0; i < 3 && result == SXT_OK; i++)
        result = one_side(desc, &sides[i]);
    return result;
}
