#include <stdlib.h>

#include "core/number.h"
#include "reference/kv_cache.h"
#include "reference/reference.h"

// Whether this row is shifted on any axis, be it one that no pair follows.
static bool turns(const sxt_kv_shift_desc *desc, uint32_t b, uint32_t t) {
    for (uint32_t plane = 0; plane < desc->deltas.shape[0]; plane++)
        if (sxt_row_at(&desc->deltas, plane, b, 0, t) != 0.0) return true;
    return false;
}

// Encodes what the rotation touched: whole blocks of it. All else keeps its bits.
static void shift_head(const sxt_kv_shift_desc *desc, uint32_t b, uint32_t t, uint32_t h, double *row) {
    const sxt_tensor *k = &desc->k;
    uint32_t block = sxt_type_block(k->type), channels = k->shape[SXT_CHANNEL];
    uint32_t first = desc->rope.rotary_offset / block * block;
    uint32_t end = (desc->rope.rotary_offset + desc->rope.rotary_dim + block - 1) / block * block;
    double scale = sxt_scale_at(&desc->k_scale, h);
    sxt_row_load(k, b, t, h, row);
    for (uint32_t c = 0; c < channels; c++)
        row[c] *= scale;
    sxt_row_rotate(&desc->rope, &desc->deltas, b, t, 1.0, row);
    for (uint32_t c = 0; c < channels; c++)
        row[c] /= scale;
    char *data = sxt_row_data(k, b, t, h);
    sxt_encode(k->type, row + first, end - first, data + (size_t)(first / block) * sxt_type_size(k->type));
}

sxt_result sxt_kv_shift_reference(const sxt_kv_shift_desc *desc) {
    const uint32_t *shape = desc->k.shape;
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++)
            for (uint32_t h = 0; h < shape[SXT_HEAD] && turns(desc, b, t); h++)
                shift_head(desc, b, t, h, row);
    free(row);
    return SXT_OK;
}
