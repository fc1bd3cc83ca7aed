// Norm, then rotation, with nothing rounded in between.
#include <stdlib.h>

#include "reference/reference.h"
#include "reference/row.h"

static sxt_result one_side(const sxt_qk_norm_rope_desc *desc, const sxt_tensor *x, const sxt_tensor *weight,
                           const sxt_tensor *out) {
    if (!sxt_tensor_present(x)) return SXT_OK;
    const uint32_t *shape = x->shape;
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++)
            for (uint32_t h = 0; h < shape[SXT_HEAD]; h++) {
                sxt_row_load(x, b, t, h, row);
                sxt_row_normalise(desc->norm, desc->eps, shape[SXT_CHANNEL], row);
                sxt_row_weigh(weight, desc->offset, b, t, h, shape[SXT_CHANNEL], row);
                sxt_row_rotate(&desc->rope, &desc->positions, b, t, row);
                sxt_row_store(out, b, t, h, row);
            }
    free(row);
    return SXT_OK;
}

sxt_result sxt_qk_norm_rope_reference(const sxt_qk_norm_rope_desc *desc) {
    sxt_result result = one_side(desc, &desc->q, &desc->q_weight, &desc->q_out);
    return result == SXT_OK ? one_side(desc, &desc->k, &desc->k_weight, &desc->k_out) : result;
}
