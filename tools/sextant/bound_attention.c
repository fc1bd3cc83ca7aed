// The bounds of attention: see bound.h.
#include "bound.h"

#include "number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u = 0x1p-24;

static double magnitude_of_products(const float *q, const float *k, uint32_t d) {
    float sum = 0;
    for (uint32_t c = 0; c < d; c++)
        sum += fabsf(q[c] * k[c]);
    return sum;
}

// The error of one row's scores: δ.
typedef struct score_input {
    const float *q, *k; // as f32, dense
    uint32_t batch, i, head;
    uint32_t first, end;
} score_input;

static double score_error(const sxt_evidence *e, const score_input *in) {
    const sxt_attention_desc *desc = &e->stage->desc.attention;
    const sxt_slot *q = sxt_evidence_slot(e, "q"), *k = sxt_evidence_slot(e, "k"), *bias = sxt_evidence_slot(e, "bias"),
                   *slopes = sxt_evidence_slot(e, "alibi_slopes");
    uint32_t d = q->shape[3], group = q->shape[2] / k->shape[2];
    double scale = desc->scale != 0 ? fabs((double)desc->scale) : 1 / sqrt(d), largest = 0, added = 0;
    for (uint32_t j = in->first; j < in->end; j++) {
        const float *key = in->k + (((uint64_t)in->batch * k->shape[1] + j) * k->shape[2] + in->head / group) * d;
        largest = fmax(largest, magnitude_of_products(in->q, key, d));
        if (bias) {
            uint64_t b = bias->shape[0] == 1 ? 0 : in->batch, h = bias->shape[1] == 1 ? 0 : in->head;
            uint64_t at = ((b * bias->shape[1] + h) * bias->shape[2] + in->i) * bias->shape[3] + j;
            double value = fabs(sxt_number_get(bias->type, sxt_evidence_before(e, "bias"), at));
            if (isfinite(value)) added = fmax(added, value);
        }
    }
    if (slopes) {
        double slope = fabs(sxt_number_get(SXT_TYPE_F32, sxt_evidence_before(e, "alibi_slopes"), in->head));
        added += slope * ((double)k->shape[1] + q->shape[1]);
    }
    return (d + 4) * u * scale * largest + 4 * u * added + 8 * u * fabs((double)desc->softcap);
}

static float *as_f32(const sxt_slot *slot, const void *data) {
    uint64_t count = sxt_slot_count(slot);
    float *copy = malloc(count * sizeof *copy + 1);
    for (uint64_t i = 0; copy && i < count; i++)
        copy[i] = (float)sxt_number_get(slot->type, data, i);
    return copy;
}

void sxt_bound_attention(const sxt_evidence *e, const char *field, double *out) {
    const sxt_slot *q = sxt_evidence_slot(e, "q"), *k = sxt_evidence_slot(e, "k"),
                   *target = sxt_evidence_slot(e, field);
    const void *result = sxt_evidence_result(e, field);
    uint32_t tq = q->shape[1], hq = q->shape[2], d = q->shape[3], n = target->shape[3];
    bool is_lse = strcmp(field, "lse") == 0;
    float *queries = as_f32(q, sxt_evidence_before(e, "q")), *keys = as_f32(k, sxt_evidence_before(e, "k"));
    for (uint64_t row = 0; row < (uint64_t)q->shape[0] * tq * hq; row++) {
        score_input in = {
            .head = (uint32_t)(row % hq), .i = (uint32_t)(row / hq % tq), .batch = (uint32_t)(row / hq / tq)};
        sxt_attention_visible(&e->stage->desc.attention, tq, k->shape[1], in.i, &in.first, &in.end);
        in.q = queries + row * d;
        in.k = keys;
        double seen = fmax(2, in.end - in.first), delta = queries && keys ? score_error(e, &in) : 0;
        // GLSL's exp is right to 3 + 2|x| ulp; averaged over p, |x| is at most ln of the number of keys.
        double rest = (seen + 6) * u + (3 + 2 * log(seen)) * 2 * u;
        for (uint32_t c = 0; c < n; c++) {
            double value = fabs(sxt_number_get(target->type, result, row * n + c));
            out[row * n + c] = is_lse ? delta + rest + u * value : (2 * delta + rest) * e->magnitude[row * n + c];
        }
    }
    free(queries);
    free(keys);
}
