// The bounds of attention and of joining two: see bound.h.
#include "bound.h"

#include "check.h"
#include "number.h"
#include "sequences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u = 0x1p-24;

// ── Attention ──

typedef struct score_input {
    const sxt_evidence *e;
    sxt_sequences sequences;
    float *queries, *keys; // as they are meant, dense
} score_input;

static double magnitude_of_products(const float *q, const float *k, uint32_t d) {
    float sum = 0;
    for (uint32_t c = 0; c < d; c++)
        sum += fabsf(q[c] * k[c]);
    return sum;
}

static double bias_magnitude(const score_input *in, const sxt_sequence *sequence, uint32_t head, uint32_t i,
                             uint32_t j) {
    const sxt_slot *bias = sxt_evidence_slot(in->e, "bias");
    if (!bias) return 0;
    uint64_t b = bias->shape[0] == 1 ? 0 : sequence->index, h = bias->shape[1] == 1 ? 0 : head;
    uint64_t at = ((b * bias->shape[1] + h) * bias->shape[2] + i) * bias->shape[3] + j;
    double value = fabs(sxt_number_get(bias->type, sxt_evidence_before(in->e, "bias"), at));
    return isfinite(value) ? value : 0;
}

// What kernels with narrow products do to sums: what is taken off scores is not the largest, but within 2¹⁵ of it, which
// costs exp2 30 ulp; and its logarithm is a part of lse.
static const double narrow_rest = 60 * 0x1p-24;

// The errors of one row: δ of its scores, what adding up `seen` exponentials costs besides, and what weights and values
// lose on their way into products.
typedef struct row_error {
    double delta, rest, products;
} row_error;

static bool in_blocks(const score_input *in, const char *side) {
    return sxt_type_block(sxt_evidence_slot(in->e, side)->type) > 1;
}

// The roundoff of products, 0 of f32, times how many of their operands are rounded to it.
static double rounded(const score_input *in, int operands) {
    return in->e->stage->products == SXT_TYPE_F32 ? 0 : operands * sxt_number_roundoff(in->e->stage->products);
}

static row_error bound_row(const score_input *in, const sxt_sequence *sequence, uint32_t head, uint32_t i) {
    const sxt_attention_desc *desc = in->sequences.desc;
    const sxt_slot *q = in->sequences.q, *k = in->sequences.k, *slopes = sxt_evidence_slot(in->e, "alibi_slopes");
    uint32_t d = q->shape[3], hq = q->shape[2], hk = k->shape[2], first, end, seen = 0;
    double scale = desc->scale != 0 ? fabs((double)desc->scale) : 1 / sqrt(d), largest = 0, added = 0;
    const float *query = in->queries + ((sequence->first_q + i) * hq + head) * d;
    sxt_sequence_range(&in->sequences, sequence, i, &first, &end);
    for (uint32_t j = first; j < end; j++) {
        if (!sxt_sequence_sees(&in->sequences, sequence, head, i, j)) continue;
        uint64_t row = (uint64_t)sxt_sequence_row(&in->sequences, sequence, j);
        largest = fmax(largest, magnitude_of_products(query, in->keys + (row * hk + head / (hq / hk)) * d, d));
        added = fmax(added, bias_magnitude(in, sequence, head, i, j));
        seen++;
    }
    if (slopes) {
        double slope = fabs(sxt_number_get(SXT_TYPE_F32, sxt_evidence_before(in->e, "alibi_slopes"), head));
        added += slope * ((double)sequence->keys + sequence->queries);
    }
    uint32_t factors =
        d + 4 + (sxt_evidence_slot(in->e, "k_scale") != NULL); // roundings of a product's way to its score
    double operands = rounded(in, (q->type != in->e->stage->products) + in_blocks(in, "k"));
    double delta = (factors * u + operands) * scale * largest + 4 * u * added + 8 * u * fabs((double)desc->softcap);
    // GLSL's exp is right to 3 + 2|x| ulp. Less the row's maximum, |x| averaged over p is at most ln of the number of
    // keys; with a bound, no maximum is taken off.
    double exponent = log(fmax(2, seen));
    if (desc->logit_bound > 0) exponent = fmax(exponent, fmin(desc->logit_bound, scale * largest));
    if (desc->softcap > 0) exponent = fmax(exponent, fmin(desc->softcap, scale * largest));
    double sum = fmax(2, seen) + 6 + (sxt_evidence_slot(in->e, "v_scale") != NULL);
    double rest = sum * u + (3 + 2 * exponent) * 2 * u + (in->e->stage->products != SXT_TYPE_F32 ? narrow_rest : 0);
    return (row_error){delta, rest, rounded(in, 1 + in_blocks(in, "v"))};
}

static void bound_sequence(const score_input *in, const sxt_sequence *sequence, const char *field, double *out) {
    const sxt_slot *target = sxt_evidence_slot(in->e, field);
    const void *result = sxt_evidence_result(in->e, field);
    uint32_t hq = in->sequences.q->shape[2], n = target->shape[3];
    bool is_lse = strcmp(field, "lse") == 0;
    for (uint32_t i = 0; i < sequence->queries; i++) {
        for (uint32_t head = 0; head < hq; head++) {
            row_error error = bound_row(in, sequence, head, i);
            uint64_t row = (sequence->first_q + i) * hq + head;
            for (uint64_t c = row * n; c < (row + 1) * n; c++) {
                double value = fabs(sxt_number_get(target->type, result, c));
                out[c] = is_lse ? error.delta + error.rest + (error.products > 0 ? 6 : 1) * u * value
                                : (2 * error.delta + error.rest + error.products) * in->e->magnitude[c];
            }
        }
    }
}

void sxt_bound_attention(const sxt_evidence *e, const char *field, double *out) {
    score_input in = {.e = e, .sequences = sxt_sequences_of(e->work, e->stage)};
    in.queries = sxt_data_decode(e->work, sxt_stage_slot(e->stage, "q"), e->before);
    in.keys = sxt_data_decode(e->work, sxt_stage_slot(e->stage, "k"), e->before);
    // Rows of no sequence keep their bits. Without memory nothing is allowed.
    memset(out, 0, sxt_slot_count(sxt_evidence_slot(e, field)) * sizeof *out);
    for (uint32_t n = 0; n < in.sequences.count && in.queries && in.keys; n++) {
        sxt_sequence sequence = sxt_sequences_at(&in.sequences, n);
        bound_sequence(&in, &sequence, field, out);
    }
    free(in.queries);
    free(in.keys);
}

// ── Merge ──

// With t = |lse_a − lse_b|, e = e^−t, weights w and w' of the two sides:
//   ε      = (6 + 8.8·t)u   of e: exp2(x) is right to 3 + 2|x| ulp of 2u, x = t·log2(e) = 1.443·t; the difference,
//            log2(e) and the product are off by u each, which e has t times
//   |Δw|   ≤ w·(6u + w'·ε)  d ln w = w'·d ln e; the sum is off by u, the quotient by 2.5 ulp
//   |Δo|   ≤ Σ|Δw·o| + 2u·Σw|o|
//   |Δlse| ≤ min(w, w')·ε + 6u: the logarithm is right to 5u, its argument to u
typedef struct merge_row {
    double w_a, w_b, epsilon;
} merge_row;

static merge_row weigh(double a, double b) {
    if (isinf(a) || isinf(b)) return (merge_row){isfinite(a), isfinite(b), 0};
    return (merge_row){1 / (1 + exp(b - a)), 1 / (1 + exp(a - b)), (6 + 8.8 * fabs(a - b)) * u};
}

static double side_error(const sxt_evidence *e, const char *field, uint64_t index, double w, double w_other,
                         double epsilon) {
    if (w == 0) return 0; // its o does not count, and may be anything
    double o = fabs(sxt_number_get(sxt_evidence_slot(e, field)->type, sxt_evidence_before(e, field), index));
    return w * o * (8 * u + w_other * epsilon) + 0x1p-125 * o; // a weight may be flushed
}

void sxt_bound_merge(const sxt_evidence *e, const char *field, double *out) {
    const float *lse_a = sxt_evidence_before(e, "lse_a"), *lse_b = sxt_evidence_before(e, "lse_b");
    const sxt_slot *target = sxt_evidence_slot(e, field);
    bool is_lse = strcmp(field, "lse") == 0;
    for (uint64_t c = 0; c < sxt_slot_count(target); c++) {
        uint64_t row = c / target->shape[3];
        merge_row m = weigh((double)lse_a[row], (double)lse_b[row]);
        out[c] = is_lse ? fmin(m.w_a, m.w_b) * m.epsilon + 6 * u
                        : side_error(e, "o_a", c, m.w_a, m.w_b, m.epsilon) +
                              side_error(e, "o_b", c, m.w_b, m.w_a, m.epsilon);
    }
}
