#include <math.h>
#include <stdlib.h>

#include "core/rope.h"
#include "reference/reference.h"
#include "reference/row.h"

// The product position · frequency is off by 2^31 · 2^-52 = 5e-7 rad at most, and sin and cos reduce it exactly.
void sxt_row_rotate(const sxt_rope_params *params, const sxt_tensor *positions, uint32_t batch, uint32_t token,
                    double magnitude, double *row) {
    uint32_t pairs = params->rotary_dim / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        double position = sxt_row_at(positions, sxt_rope_axis(params, i), batch, 0, token);
        double angle = position * sxt_rope_frequency(params, i);
        bool half = params->pairing == SXT_ROPE_HALF;
        double *a = &row[params->rotary_offset + (half ? i : 2 * i)];
        double *b = a + (half ? pairs : 1);
        double turned_a = magnitude * (*a * cos(angle) - *b * sin(angle));
        double turned_b = magnitude * (*a * sin(angle) + *b * cos(angle));
        *a = turned_a;
        *b = turned_b;
    }
}

sxt_result sxt_rope_reference(const sxt_rope_desc *desc) {
    const uint32_t *shape = desc->x.shape;
    double *row = malloc(shape[SXT_CHANNEL] * sizeof *row);
    if (row == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    for (uint32_t b = 0; b < shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < shape[SXT_TOKEN]; t++)
            for (uint32_t h = 0; h < shape[SXT_HEAD]; h++) {
                sxt_row_load(&desc->x, b, t, h, row);
                sxt_row_rotate(&desc->rope, &desc->positions, b, t, sxt_rope_magnitude(&desc->rope), row);
                sxt_row_store(&desc->y, b, t, h, row);
            }
    free(row);
    return SXT_OK;
}
