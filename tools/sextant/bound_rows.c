// The bounds of norms and rotations, alone, fused, and in a cache: see bound.h.
#include "bound.h"

#include "number.h"

#include <math.h>
#include <string.h>

static const double u = 0x1p-24;
static const double trig_error = 1e-6; // what sextant.h promises of angles, in radians

typedef struct row_stats {
    double mean_abs, sigma;
} row_stats;

// An element of an optional tensor that repeats where it has a 1. `index` counts within the full `shape`.
static double repeated(const sxt_evidence *e, const char *field, const uint32_t shape[4], uint64_t index,
                       double absent) {
    const sxt_slot *slot = sxt_evidence_slot(e, field);
    if (!slot) return absent;
    uint64_t at[4], place = 0;
    for (int i = 3; i >= 0; i--)
        at[i] = index % shape[i], index /= shape[i];
    for (int i = 0; i < 4; i++)
        place = place * slot->shape[i] + (slot->shape[i] == 1 ? 0 : at[i]);
    return sxt_number_get(slot->type, sxt_evidence_before(e, field), place);
}

// ── Norms ──

static double input_at(const sxt_evidence *e, const char *x, bool residual, uint64_t index) {
    double value = sxt_number_get(sxt_evidence_slot(e, x)->type, sxt_evidence_before(e, x), index);
    if (residual)
        value += sxt_number_get(sxt_evidence_slot(e, "residual")->type, sxt_evidence_before(e, "residual"), index);
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

// What the rounded mean of a layer norm adds to an element before its gain.
static double mean_error(row_stats row, double x, uint32_t n) {
    return row.sigma > 0 ? ((n + 2) * u * row.mean_abs + u * fabs(x)) / row.sigma : 0;
}

static void bound_residual(const sxt_evidence *e, double *out) {
    const sxt_slot *y = sxt_evidence_slot(e, "residual_out");
    uint64_t count = sxt_slot_count(y);
    for (uint64_t i = 0; i < count; i++)
        out[i] = u * fabs(sxt_number_get(y->type, sxt_evidence_result(e, "residual_out"), i));
}

void sxt_bound_norm(const sxt_evidence *e, const char *field, double *out) {
    const sxt_norm_desc *desc = &e->stage->desc.norm;
    const sxt_slot *x = sxt_evidence_slot(e, "x"), *y = sxt_evidence_slot(e, field);
    bool weight = sxt_evidence_slot(e, "weight") != NULL, residual = sxt_evidence_slot(e, "residual") != NULL;
    uint32_t n = x->shape[3];
    uint64_t count = sxt_slot_count(y);
    row_stats row = {0, 1};
    if (strcmp(field, "residual_out") == 0) {
        bound_residual(e, out);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        double value = sxt_number_get(y->type, sxt_evidence_result(e, field), i),
               bias = repeated(e, "bias", x->shape, i, 0), shift = 0;
        if (desc->kind == SXT_NORM_LAYER) {
            if (i % n == 0) row = measure_row(e, "x", residual, desc->eps, i, n);
            double gain = weight ? desc->offset + repeated(e, "weight", x->shape, i, 0) : 1;
            shift = mean_error(row, input_at(e, "x", residual, i), n) * fabs(gain);
        }
        out[i] = fabs(value - bias) * (n / 2.0 + 8) * u + shift + 2 * u * fabs(bias);
    }
}

// ── Rotation, alone or after a norm ──

// One tensor's way through a fused operation.
typedef struct passage {
    const char *x, *weight;      // fields; weight NULL: there is none
    const sxt_rope_params *rope; // NULL: not rotated
    sxt_norm_kind norm;
    double eps, offset;
} passage;

static passage find_passage(const sxt_evidence *e, const char *field) {
    const sxt_qk_norm_rope_desc *fused = &e->stage->desc.qk_norm_rope;
    if (e->stage->op == SXT_OP_ROPE)
        return (passage){.x = "x", .rope = &e->stage->desc.rope.rope, .norm = SXT_NORM_NONE};
    if (e->stage->op == SXT_OP_KV_SHIFT)
        return (passage){.x = "k", .rope = &e->stage->desc.kv_shift.rope, .norm = SXT_NORM_NONE};
    passage p = {.norm = fused->norm, .eps = fused->eps, .offset = fused->offset};
    if (field[0] == 'v') {
        p.x = "v";
        if (!fused->normalise_v) p.norm = SXT_NORM_NONE;
        return p;
    }
    p.x = field[0] == 'q' ? "q" : "k";
    p.weight = field[0] == 'q' ? "q_weight" : "k_weight";
    p.rope = fused->rope.pairing == SXT_ROPE_NONE ? NULL : &fused->rope;
    return p;
}

// The channel that channel c is rotated with; c itself if it is only copied.
static uint32_t partner(const sxt_rope_params *rope, uint32_t channels, uint32_t c) {
    if (!rope) return c;
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : channels - rope->rotary_offset, at = c - rope->rotary_offset;
    if (c < rope->rotary_offset || at >= dim) return c;
    if (rope->pairing == SXT_ROPE_INTERLEAVED) return rope->rotary_offset + (at ^ 1);
    return rope->rotary_offset + (at < dim / 2 ? at + dim / 2 : at - dim / 2);
}

// m of sextant.h, at least 1: channels outside the rotation keep theirs.
static double rotation_factor(const sxt_rope_params *rope) {
    if (!rope) return 1;
    double m = rope->attn_factor != 0 ? rope->attn_factor : 1;
    if (rope->ext_factor != 0 && rope->freq_scale > 0) m *= 1 + 0.1 * log(1 / (double)rope->freq_scale);
    return fmax(1, fabs(m));
}

// The largest error that the mean of a layer norm brings to an element of row r, after the rotation.
static double layer_error(const sxt_evidence *e, const passage *p, const uint32_t shape[4], uint64_t r) {
    uint32_t n = shape[3];
    row_stats row = measure_row(e, p->x, false, p->eps, r * n, n);
    bool weight = p->weight && sxt_evidence_slot(e, p->weight);
    double largest = 0;
    for (uint32_t c = 0; c < n; c++) {
        double gain = weight ? p->offset + repeated(e, p->weight, shape, r * n + c, 0) : 1;
        largest = fmax(largest, mean_error(row, input_at(e, p->x, false, r * n + c), n) * fabs(gain));
    }
    return (p->rope ? sqrt(2) : 1) * largest * rotation_factor(p->rope);
}

// Whether a kv_shift leaves row r of the tensor (heads counted) as it is.
static bool stays(const sxt_evidence *e, uint64_t r) {
    if (e->stage->op != SXT_OP_KV_SHIFT) return false;
    const sxt_slot *k = sxt_evidence_slot(e, "k"), *deltas = sxt_evidence_slot(e, "deltas");
    const int32_t *data = sxt_evidence_before(e, "deltas");
    uint64_t row = r / k->shape[2] % k->shape[1], batch = r / k->shape[2] / k->shape[1];
    for (uint32_t plane = 0; plane < deltas->shape[0]; plane++) {
        uint64_t line = (uint64_t)plane * deltas->shape[1] + (deltas->shape[1] == 1 ? 0 : batch);
        if (data[line * deltas->shape[3] + row] != 0) return false;
    }
    return true;
}

void sxt_bound_rotation(const sxt_evidence *e, const char *field, double *out) {
    const sxt_slot *y = sxt_evidence_slot(e, field);
    const void *result = sxt_evidence_result(e, field);
    const passage p = find_passage(e, field);
    uint32_t n = y->shape[3];
    uint64_t rows = sxt_slot_count(y) / (n ? n : 1);
    double from_norm = p.norm == SXT_NORM_NONE ? 0 : (n / 2.0 + 8) * u;
    for (uint64_t r = 0; r < rows; r++) {
        double shift = p.norm == SXT_NORM_LAYER ? layer_error(e, &p, y->shape, r) : 0;
        bool still = stays(e, r);
        for (uint32_t c = 0; c < n; c++) {
            uint32_t other = still ? c : partner(p.rope, n, c);
            double value = sxt_number_get(y->type, result, r * n + c),
                   inner = from_norm > 0 ? fabs(value) * from_norm : 0;
            if (other != c) {
                double length = hypot(value, sxt_number_get(y->type, result, r * n + other));
                inner = sqrt(2) * length * (trig_error + 4 * u + from_norm);
            }
            out[r * n + c] = still ? SXT_BOUND_KEPT : inner + shift;
        }
    }
}

// ── Conditioning ──

static double condition_of(const sxt_evidence *e, const char *x, bool residual, double eps) {
    const sxt_slot *slot = sxt_evidence_slot(e, x);
    double worst = 1;
    uint32_t n = slot ? slot->shape[3] : 1;
    for (uint64_t i = 0; slot && i < sxt_slot_count(slot); i += n) {
        row_stats row = measure_row(e, x, residual, eps, i, n);
        if (row.sigma > 0 && isfinite(row.mean_abs)) worst = fmax(worst, row.mean_abs / row.sigma);
    }
    return worst;
}

double sxt_bound_condition(const sxt_evidence *e) {
    const sxt_norm_desc *norm = &e->stage->desc.norm;
    const sxt_qk_norm_rope_desc *fused = &e->stage->desc.qk_norm_rope;
    if (e->stage->op == SXT_OP_NORM && norm->kind == SXT_NORM_LAYER)
        return condition_of(e, "x", sxt_evidence_slot(e, "residual") != NULL, norm->eps);
    if (e->stage->op != SXT_OP_QK_NORM_ROPE || fused->norm != SXT_NORM_LAYER) return 1;
    double condition = fmax(condition_of(e, "q", false, fused->eps), condition_of(e, "k", false, fused->eps));
    return fused->normalise_v ? fmax(condition, condition_of(e, "v", false, fused->eps)) : condition;
}
