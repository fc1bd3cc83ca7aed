#include <math.h>

#include "core/number.h"
#include "reference/reference.h"
#include "reference/row.h"

// A side whose lse is −∞ saw no key: nothing of it counts, whatever its o is.
static double weighted(double lse_of_side, double lse, double value) {
    return lse_of_side == -INFINITY ? 0.0 : exp(lse_of_side - lse) * value;
}

static void merge_row(const sxt_attention_merge_desc *desc, uint32_t b, uint32_t t, uint32_t h) {
    const double lse_a = sxt_row_at(&desc->lse_a, b, t, h, 0), lse_b = sxt_row_at(&desc->lse_b, b, t, h, 0);
    const bool nothing = lse_a == -INFINITY && lse_b == -INFINITY;
    const double greatest = fmax(lse_a, lse_b); // fmax passes over a NaN; it comes back by its exp
    const double lse = nothing ? -INFINITY : greatest + log(exp(lse_a - greatest) + exp(lse_b - greatest));
    for (uint32_t c = 0; c < desc->o.shape[SXT_CHANNEL]; c++) {
        double o = weighted(lse_a, lse, sxt_row_at(&desc->o_a, b, t, h, c)) +
                   weighted(lse_b, lse, sxt_row_at(&desc->o_b, b, t, h, c));
        sxt_store(desc->o.type, sxt_row_data(&desc->o, b, t, h), c, o);
    }
    if (sxt_tensor_present(&desc->lse)) sxt_row_store(&desc->lse, b, t, h, &lse);
}

sxt_result sxt_attention_merge_reference(const sxt_attention_merge_desc *desc) {
    for (uint32_t b = 0; b < desc->o.shape[SXT_BATCH]; b++)
        for (uint32_t t = 0; t < desc->o.shape[SXT_TOKEN]; t++)
            for (uint32_t h = 0; h < desc->o.shape[SXT_HEAD]; h++)
                merge_row(desc, b, t, h);
    return SXT_OK;
}
