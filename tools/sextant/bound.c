#include "bound.h"

#include "number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u = 0x1p-24;
static const double trig_error = 1e-6; // what sextant.h promises of angles, in radians

typedef struct row_stats {
    double mean_abs, sigma;
} row_stats;

static const sxt_slot *slot_of(const sxt_evidence *e, const char *field) {
    int slot = sxt_stage_slot(e->stage, field);
    return slot == SXT_NO_SLOT ? NULL : &e->work->slots[slot];
}

static const void *before(const sxt_evidence *e, const char *field) {
    return e->before[sxt_stage_slot(e->stage, field)];
}

// An element of an optional tensor that repeats where it has a 1. `index` counts within the full `shape`.
static double repeated(const sxt_evidence *e, const char *field, const uint32_t shape[4], uint64_t index,
                       double absent) {
    const sxt_slot *slot = slot_of(e, field);
    if (!slot) return absent;
    uint64_t at[4], place = 0;
    for (int i = 3; i >= 0; i--)
        at[i] = index % shape[i], index /= shape[i];
    for (int i = 0; i < 4; i++)
        place = place * slot->shape[i] + (slot->shape[i] == 1 ? 0 : at[i]);
    return sxt_number_get(slot->type, before(e, field), place);
}

// ── Norms ──

static double input_at(const sxt_evidence *e, const char *x, bool residual, uint64_t index) {
    double value = sxt_number_get(slot_of(e, x)->type, before(e, x), index);
    if (residual) value += sxt_number_get(slot_of(e, "residual")->type, before(e, "residual"), index);
    return value;
}

static row_stats measure_row(const sxt_evidence *e, const char *x, bool residual, double eps, uint64_t start,
                             uint32_t n) {
    double sum = 0, sum_abs = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        double value = input_at(e, x, residual, start + i);
        sum += value;
        sum_abs += fabs(value);
    }
    for (uint32_t i = 0; i < n; i++) {
        double distance = input_at(e, x, residual, start + i) - sum / n;
        squares += distance * distance;
    }
    return (row_stats){sum_abs / n, sqrt(squares / n + eps)};
}

static void bound_norm(const sxt_evidence *e, sxt_type type, double *out) {
    const sxt_norm_desc *desc = &e->stage->desc.norm;
    const sxt_slot *x = slot_of(e, "x"), *y = slot_of(e, "y");
    const void *result = e->reference[sxt_stage_slot(e->stage, "y")];
    bool weight = slot_of(e, "weight") != NULL, residual = slot_of(e, "residual") != NULL;
    uint32_t n = x->shape[3];
    uint64_t count = sxt_slot_count(y);
    double relative = (n / 2.0 + 8) * u, out_u = sxt_number_roundoff(type), tiny = sxt_number_tiny(type);
    row_stats row = {0, 1};
    for (uint64_t i = 0; i < count; i++) {
        double value = sxt_number_get(y->type, result, i), bias = repeated(e, "bias", x->shape, i, 0), shift = 0;
        if (desc->kind == SXT_NORM_LAYER) {
            if (i % n == 0) row = measure_row(e, "x", residual, desc->eps, i, n);
            double gain = weight ? desc->offset + repeated(e, "weight", x->shape, i, 0) : 1;
            double from_mean = (n + 2) * u * row.mean_abs + u * fabs(input_at(e, "x", residual, i));
            shift = row.sigma > 0 ? from_mean / row.sigma * fabs(gain) : 0;
        }
        out[i] = fabs(value - bias) * relative + shift + 2 * u * fabs(bias) + out_u * fabs(value) + tiny;
    }
}

static void bound_residual(const sxt_evidence *e, sxt_type type, double *out) {
    const sxt_slot *y = slot_of(e, "residual_out");
    const void *result = e->reference[sxt_stage_slot(e->stage, "residual_out")];
    uint64_t count = sxt_slot_count(y);
    for (uint64_t i = 0; i < count; i++) {
        double value = fabs(sxt_number_get(y->type, result, i));
        out[i] = value * (u + sxt_number_roundoff(type)) + sxt_number_tiny(type);
    }
}

// ── Rotation, alone or after a norm ──

// The channel that channel c is rotated with; c itself if it is only copied.
static uint32_t partner(const sxt_rope_params *rope, uint32_t channels, uint32_t c) {
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : channels - rope->rotary_offset, at = c - rope->rotary_offset;
    if (c < rope->rotary_offset || at >= dim) return c;
    if (rope->pairing == SXT_ROPE_INTERLEAVED) return rope->rotary_offset + (at ^ 1);
    return rope->rotary_offset + (at < dim / 2 ? at + dim / 2 : at - dim / 2);
}

// m of sextant.h, at least 1: channels outside the rotation keep theirs.
static double rotation_factor(const sxt_rope_params *rope) {
    double m = rope->attn_factor != 0 ? rope->attn_factor : 1;
    if (rope->ext_factor != 0 && rope->freq_scale > 0) m *= 1 + 0.1 * log(1 / (double)rope->freq_scale);
    return fmax(1, fabs(m));
}

// `x`, `weight`: fields of the input and gain; weight NULL: no norm.
static void bound_rope(const sxt_evidence *e, const sxt_rope_params *rope, const char *field, const char *x,
                       const char *weight, sxt_type type, double *out) {
    const sxt_slot *y = slot_of(e, field);
    const void *result = e->reference[sxt_stage_slot(e->stage, field)];
    const sxt_qk_norm_rope_desc *fused = &e->stage->desc.qk_norm_rope;
    bool norms = weight && fused->norm != SXT_NORM_NONE, layer = norms && fused->norm == SXT_NORM_LAYER;
    uint32_t n = y->shape[3];
    uint64_t rows = sxt_slot_count(y) / (n ? n : 1);
    double from_norm = norms ? (n / 2.0 + 8) * u : 0, out_u = sxt_number_roundoff(type), tiny = sxt_number_tiny(type);
    for (uint64_t r = 0; r < rows; r++) {
        double shift = 0;
        if (layer) {
            row_stats row = measure_row(e, x, false, fused->eps, r * n, n);
            double largest = 0;
            for (uint32_t c = 0; c < n; c++) {
                double gain = slot_of(e, weight) ? fused->offset + repeated(e, weight, y->shape, r * n + c, 0) : 1;
                double off = (n + 2) * u * row.mean_abs + u * fabs(input_at(e, x, false, r * n + c));
                largest = fmax(largest, row.sigma > 0 ? off / row.sigma * fabs(gain) : 0);
            }
            shift = sqrt(2) * largest * rotation_factor(rope);
        }
        for (uint32_t c = 0; c < n; c++) {
            uint32_t other = partner(rope, n, c);
            double value = sxt_number_get(y->type, result, r * n + c), inner = fabs(value) * from_norm;
            if (other != c) {
                double length = hypot(value, sxt_number_get(y->type, result, r * n + other));
                inner = sqrt(2) * length * (trig_error + 4 * u + from_norm);
            }
            out[r * n + c] = inner + shift + out_u * fabs(value) + tiny;
        }
    }
}

// ── Attention ──

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
    const sxt_slot *q = slot_of(e, "q"), *k = slot_of(e, "k"), *bias = slot_of(e, "bias"),
                   *slopes = slot_of(e, "alibi_slopes");
    uint32_t d = q->shape[3], group = q->shape[2] / k->shape[2];
    double scale = desc->scale != 0 ? fabs((double)desc->scale) : 1 / sqrt(d), largest = 0, added = 0;
    for (uint32_t j = in->first; j < in->end; j++) {
        const float *key = in->k + (((uint64_t)in->batch * k->shape[1] + j) * k->shape[2] + in->head / group) * d;
        largest = fmax(largest, magnitude_of_products(in->q, key, d));
        if (bias) {
            uint64_t b = bias->shape[0] == 1 ? 0 : in->batch, h = bias->shape[1] == 1 ? 0 : in->head;
            uint64_t at = ((b * bias->shape[1] + h) * bias->shape[2] + in->i) * bias->shape[3] + j;
            double value = fabs(sxt_number_get(bias->type, before(e, "bias"), at));
            if (isfinite(value)) added = fmax(added, value);
        }
    }
    if (slopes) {
        double slope = fabs(sxt_number_get(SXT_TYPE_F32, before(e, "alibi_slopes"), in->head));
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

static void bound_attention(const sxt_evidence *e, const char *field, sxt_type type, double *out) {
    const sxt_slot *q = slot_of(e, "q"), *k = slot_of(e, "k"), *target = slot_of(e, field);
    const void *result = e->reference[sxt_stage_slot(e->stage, field)];
    uint32_t tq = q->shape[1], hq = q->shape[2], d = q->shape[3], n = target->shape[3];
    bool is_lse = strcmp(field, "lse") == 0;
    float *queries = as_f32(q, before(e, "q")), *keys = as_f32(k, before(e, "k"));
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
            out[row * n + c] = is_lse ? delta + rest + 2 * u * value
                                      : (2 * delta + rest) * e->magnitude[row * n + c] +
                                            sxt_number_roundoff(type) * value + sxt_number_tiny(type);
        }
    }
    free(queries);
    free(keys);
}

// ── All of them ──

void sxt_bound(const sxt_evidence *e, const char *field, sxt_type type, double *out_bound) {
    switch (e->stage->op) {
    case SXT_OP_NORM:
        if (strcmp(field, "y") == 0)
            bound_norm(e, type, out_bound);
        else
            bound_residual(e, type, out_bound);
        return;
    case SXT_OP_ROPE:
        bound_rope(e, &e->stage->desc.rope.rope, "y", "x", NULL, type, out_bound);
        return;
    case SXT_OP_QK_NORM_ROPE:
        if (strcmp(field, "q_out") == 0)
            bound_rope(e, &e->stage->desc.qk_norm_rope.rope, field, "q", "q_weight", type, out_bound);
        else
            bound_rope(e, &e->stage->desc.qk_norm_rope.rope, field, "k", "k_weight", type, out_bound);
        return;
    case SXT_OP_ATTENTION:
        bound_attention(e, field, type, out_bound);
        return;
    case SXT_OP_KV_WRITE:
    case SXT_OP_COUNT:
        memset(out_bound, 0, sxt_slot_count(slot_of(e, field)) * sizeof *out_bound);
        return;
    }
}

static double condition_of(const sxt_evidence *e, const char *x, bool residual, double eps) {
    const sxt_slot *slot = slot_of(e, x);
    double worst = 1;
    uint32_t n = slot ? slot->shape[3] : 1;
    for (uint64_t i = 0; slot && i < sxt_slot_count(slot); i += n) {
        row_stats row = measure_row(e, x, residual, eps, i, n);
        if (row.sigma > 0) worst = fmax(worst, row.mean_abs / row.sigma);
    }
    return worst;
}

double sxt_bound_condition(const sxt_evidence *e) {
    const sxt_norm_desc *norm = &e->stage->desc.norm;
    const sxt_qk_norm_rope_desc *fused = &e->stage->desc.qk_norm_rope;
    if (e->stage->op == SXT_OP_NORM && norm->kind == SXT_NORM_LAYER) {
        return condition_of(e, "x", slot_of(e, "residual") != NULL, norm->eps);
    }
    if (e->stage->op == SXT_OP_QK_NORM_ROPE && fused->norm == SXT_NORM_LAYER) {
        return fmax(condition_of(e, "q", false, fused->eps), condition_of(e, "k", false, fused->eps));
    }
    return 1;
}

double sxt_bound_relative_type(sxt_type type) {
    return type == SXT_TYPE_F16 ? 1e-3 : type == SXT_TYPE_BF16 ? 8e-3 : type == SXT_TYPE_Q8_0 ? 1e-2 : 0;
}

static bool reads_q8_0(const sxt_work *work, const sxt_stage *attention) {
    return work->slots[sxt_stage_slot(attention, "k")].type == SXT_TYPE_Q8_0 ||
           work->slots[sxt_stage_slot(attention, "v")].type == SXT_TYPE_Q8_0;
}

double sxt_bound_relative(const sxt_work *work, int slot) {
    double limit = sxt_bound_relative_type(work->slots[slot].type);
    for (int s = 0; s < work->stage_count; s++) {
        const sxt_field *fields = sxt_op_fields(work->stages[s].op);
        limit = fmax(limit, work->stages[s].op != SXT_OP_ATTENTION ? 2e-6
                            : reads_q8_0(work, &work->stages[s])   ? 1e-5
                                                                   : 5e-6);
        for (int i = 0; fields[i].name; i++) {
            int written = work->stages[s].slots[i];
            // What one stage rounds, the next one reads.
            if (fields[i].written && written != SXT_NO_SLOT && !work->slots[written].result) {
                limit = fmax(limit, sxt_bound_relative_type(work->slots[written].type));
            }
        }
    }
    return limit;
}
