#include "support/attention.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "support/bound.h"
#include "support/cache.h"

// Numbers in double, dense: all of q, bias, sinks and slopes (NULL where absent), and one head of keys and values of one
// sequence. Then the row at hand, and its scores.
typedef struct problem {
    const sxt_test_trial *trial;
    const sxt_attention_desc *desc;
    double *q, *bias, *sinks, *slopes;
    double *k, *v, *scores;
    sxt_test_sequence sequence;
    uint32_t query, head;
    double largest, cap; // |scale·(q·k)|, of all rows; the bound that devices may know, or 0
    sxt_type products;   // see sxt_test_products
} problem;

static double *doubles(uint64_t count) {
    double *values = calloc(count + 1, sizeof *values);
    cr_assert(values);
    return values;
}

static double *values_of(const sxt_test_trial *trial, const sxt_tensor *tensor) {
    return tensor->buffer ? sxt_test_values(trial, SXT_TEST_INITIAL, tensor) : NULL;
}

// ── One row ──

// The roundoff of so many operands of products.
static double rounded(const problem *p, int operands) {
    return p->products == SXT_TYPE_F32 ? 0 : operands * sxt_test_rounding(p->products, 1);
}

// The score of a visible key, and what δ is made of: Σ|q·k|·|scale|, and the terms beside it.
static double score(problem *p, uint32_t key, double *out_products, double *out_rest) {
    const sxt_attention_desc *d = p->desc;
    const sxt_test_sequence *sequence = &p->sequence;
    const uint32_t dim = d->q.shape[3];
    const double scale = d->scale != 0 ? d->scale : (float)(1 / sqrt(dim)); // of the field's type
    const double *q = p->q + sxt_test_at(&d->q, sequence->q_batch, sequence->q_first + p->query, p->head, 0);
    const double *k = p->k + (uint64_t)key * dim;
    double s = 0, products = 0, rest = 0;
    for (uint32_t c = 0; c < dim; c++) {
        s += scale * q[c] * k[c];
        products += fabs(scale * q[c] * k[c]);
    }
    p->largest = fmax(p->largest, fabs(s));
    if (d->softcap > 0) {
        s = d->softcap * tanh(s / d->softcap);
        rest += 16 * SXT_TEST_U * d->softcap;
    }
    if (p->bias) {
        const uint32_t batch = d->bias.shape[0] > 1 ? sequence->index : 0, head = d->bias.shape[1] > 1 ? p->head : 0;
        const double bias = p->bias[sxt_test_at(&d->bias, batch, head, p->query, key)];
        s += bias;
        rest += 3 * SXT_TEST_U * fabs(bias);
    }
    if (p->slopes) {
        const double distance = fabs((double)p->query + sequence->keys - sequence->queries - key);
        s -= p->slopes[p->head] * distance;
        rest += 3 * SXT_TEST_U * fabs(p->slopes[p->head]) * distance;
    }
    *out_products = products;
    *out_rest = rest;
    return s;
}

// All scores (−∞ where masked); returns δ, and the natural logarithm of the denominator.
static double score_row(problem *p, double *out_lse) {
    const sxt_attention_desc *d = p->desc;
    const double sink = p->sinks ? p->sinks[p->head] : -INFINITY;
    double most = sink, products = 0, rest = 0, sum = 0;
    for (uint32_t j = 0; j < p->sequence.keys; j++) {
        double product, other;
        p->scores[j] = -INFINITY;
        if (!sxt_test_visible(p->trial, d, &p->sequence, p->head, p->query, j)) continue;
        p->scores[j] = score(p, j, &product, &other);
        most = fmax(most, p->scores[j]);
        products = fmax(products, product);
        rest = fmax(rest, other);
    }
    if (most > -INFINITY) {
        sum = exp(sink - most);
        for (uint32_t j = 0; j < p->sequence.keys; j++)
            sum += exp(p->scores[j] - most);
    }
    *out_lse = most > -INFINITY ? most + log(sum) : -INFINITY;
    const double operands = rounded(p, (d->q.type != p->products) + (sxt_type_block(d->k.type) > 1));
    return ((d->q.shape[3] + 2 + (d->k_scale.buffer ? 1 : 0)) * SXT_TEST_U + operands) * products + rest;
}

// Weighted sums of values into `o`, of their magnitudes into `o_bounds`; returns Σp|s|.
static double weigh_row(const problem *p, sxt_test_attention_row *row, double *values) {
    const uint32_t dim = p->desc->v.shape[3];
    double spread = 0;
    memset(row->o, 0, dim * sizeof *row->o);
    memset(row->o_bounds, 0, dim * sizeof *row->o_bounds);
    for (uint32_t j = 0; j < p->sequence.keys; j++) {
        if (p->scores[j] == -INFINITY) continue;
        const double weight = exp(p->scores[j] - row->lse), *v = p->v + (uint64_t)j * dim;
        spread += weight * fabs(p->scores[j]);
        for (uint32_t c = 0; c < dim; c++) {
            row->o[c] += weight * v[c];
            row->o_bounds[c] += fabs(weight * v[c]);
            *values = fmax(*values, fabs(v[c]));
        }
    }
    return spread;
}

static void compute_row(problem *p, sxt_test_attention_row *row) {
    const sxt_attention_desc *d = p->desc;
    const uint32_t keys = p->sequence.keys, token = p->sequence.q_first + p->query;
    row->n = sxt_test_at(&d->o, p->sequence.q_batch, token, p->head, 0) / d->o.shape[3];
    const bool narrow = p->products != SXT_TYPE_F32;
    double value = 0;
    const double delta = score_row(p, &row->lse), spread = weigh_row(p, row, &value);
    const double argument = p->cap > 0 ? fmax(spread, log(keys + 1)) : log(keys + 1);
    const double sums = (keys + 6 + (narrow ? 60 : 0)) * SXT_TEST_U + 2 * SXT_TEST_U * (3 + 2 * argument);
    const double subnormal = p->products == SXT_TYPE_F16 ? 0x1p-33 * keys * value : 0;
    const double operands = rounded(p, 1 + (sxt_type_block(d->v.type) > 1));
    const double relative = 2 * delta + sums + operands + (d->v_scale.buffer ? SXT_TEST_U : 0);
    for (uint32_t c = 0; c < d->v.shape[3]; c++)
        row->o_bounds[c] = relative * row->o_bounds[c] + (p->cap > 0 ? 0x1p-126 * exp(p->cap) : 0) + subnormal +
                           sxt_test_rounding(d->o.type, fabs(row->o[c]));
    row->lse_bound = 0;
    if (isfinite(row->lse))
        row->lse_bound = delta + sums + (p->cap > 0 ? 5 * SXT_TEST_U * fabs(row->lse) : 0) +
                         (narrow ? 5 * SXT_TEST_U * (fabs(row->lse) + 12) : 0) +
                         sxt_test_rounding(SXT_TYPE_F32, fabs(row->lse));
}

// ── All rows ──

static void decode_row(const sxt_test_trial *trial, const sxt_tensor *t, double scale, uint32_t batch, uint32_t row,
                       uint32_t head, double *out) {
    sxt_decode(t->type, sxt_test_bytes(trial, SXT_TEST_INITIAL, t, sxt_test_at(t, batch, row, head, 0)), t->shape[3],
               out);
    for (uint32_t c = 0; c < t->shape[3]; c++)
        out[c] *= scale;
}

static void load_head(problem *p, uint32_t kv_head) {
    const sxt_attention_desc *d = p->desc;
    const double k_scale = sxt_test_scale(p->trial, &d->k_scale, kv_head);
    const double v_scale = sxt_test_scale(p->trial, &d->v_scale, kv_head);
    for (uint32_t j = 0; j < p->sequence.keys; j++) {
        uint32_t batch, row;
        if (!sxt_test_key_at(p->trial, d, &p->sequence, j, &batch, &row)) continue;
        decode_row(p->trial, &d->k, k_scale, batch, row, kv_head, p->k + (uint64_t)j * d->k.shape[3]);
        decode_row(p->trial, &d->v, v_scale, batch, row, kv_head, p->v + (uint64_t)j * d->v.shape[3]);
    }
}

// The bound of logits that devices may know, or 0.
static double known_bound(const sxt_attention_desc *d) {
    if (d->bias.buffer || d->alibi_slopes.buffer) return 0;
    if (d->softcap > 0 && d->logit_bound > 0) return fmin(d->softcap, d->logit_bound);
    return d->softcap > 0 ? d->softcap : d->logit_bound;
}

static void begin(const sxt_test_trial *trial, const sxt_attention_desc *d, problem *p) {
    const uint64_t keys = sxt_test_max_keys(d);
    *p = (problem){.trial = trial,
                   .desc = d,
                   .q = values_of(trial, &d->q),
                   .bias = values_of(trial, &d->bias),
                   .sinks = values_of(trial, &d->sinks),
                   .slopes = values_of(trial, &d->alibi_slopes),
                   .k = doubles(keys * d->k.shape[3]),
                   .v = doubles(keys * d->v.shape[3]),
                   .scores = doubles(keys),
                   .cap = known_bound(d),
                   .products = sxt_test_products(trial, d)};
}

static void finish(problem *p) {
    double *owned[] = {p->q, p->k, p->v, p->bias, p->sinks, p->slopes, p->scores};
    for (uint32_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
}

void sxt_test_attention_rows(const sxt_test_trial *trial, const sxt_attention_desc *d, sxt_test_attention_visit *visit,
                             void *context) {
    problem p;
    begin(trial, d, &p);
    sxt_test_attention_row row = {.o = doubles(d->v.shape[3]), .o_bounds = doubles(d->v.shape[3])};
    for (uint32_t n = 0; n < sxt_test_sequences(d); n++) {
        p.sequence = sxt_test_sequence_at(trial, d, n);
        for (p.head = 0; p.head < d->q.shape[2]; p.head++) {
            const uint32_t group = d->q.shape[2] / d->k.shape[2];
            if (p.head % group == 0) load_head(&p, p.head / group);
            for (p.query = 0; p.query < p.sequence.queries; p.query++) {
                compute_row(&p, &row);
                visit(context, &row);
            }
        }
    }
    free(row.o);
    free(row.o_bounds);
    finish(&p);
}

double sxt_test_largest_logit(const sxt_test_trial *trial, const sxt_attention_desc *d) {
    problem p;
    begin(trial, d, &p);
    for (uint32_t n = 0; n < sxt_test_sequences(d); n++) {
        p.sequence = sxt_test_sequence_at(trial, d, n);
        for (p.head = 0; p.head < d->q.shape[2]; p.head++) {
            double lse;
            const uint32_t group = d->q.shape[2] / d->k.shape[2];
            if (p.head % group == 0) load_head(&p, p.head / group);
            for (p.query = 0; p.query < p.sequence.queries; p.query++)
                score_row(&p, &lse);
        }
    }
    finish(&p);
    return p.largest;
}

// ── Bounds ──

typedef struct bounds {
    uint32_t dim;
    double *o, *lse;
} bounds;

static void keep_bounds(void *context, const sxt_test_attention_row *row) {
    bounds *b = context;
    memcpy(b->o + row->n * b->dim, row->o_bounds, b->dim * sizeof *b->o);
    b->lse[row->n] = row->lse_bound;
}

void sxt_test_attention_bounds(const sxt_test_trial *trial, const sxt_attention_desc *d, double **out_o,
                               double **out_lse) {
    bounds b = {.dim = d->v.shape[3]};
    b.o = *out_o = doubles(sxt_test_count(&d->o));
    b.lse = *out_lse = doubles(sxt_test_count(&d->o) / b.dim);
    sxt_test_attention_rows(trial, d, keep_bounds, &b);
}

void sxt_test_attention_require_close(sxt_test_trial *trial, const sxt_attention_desc *a, const sxt_attention_desc *b) {
    double *o, *lse;
    sxt_test_attention_bounds(trial, a, &o, &lse);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &a->o, SXT_TEST_DEVICE, &b->o, o, 0));
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &a->lse, SXT_TEST_DEVICE, &b->lse, lse, 0));
    free(o);
    free(lse);
}

void sxt_test_attention_require_same(sxt_test_trial *trial, const sxt_attention_desc *a, const sxt_attention_desc *b) {
    sxt_test_require(trial, sxt_test_check_bits(trial, SXT_TEST_DEVICE, &a->o, SXT_TEST_DEVICE, &b->o));
    sxt_test_require(trial, sxt_test_check_bits(trial, SXT_TEST_DEVICE, &a->lse, SXT_TEST_DEVICE, &b->lse));
}

// ── A check ──

// What has been seen of the rows so far: of each element, whether a sequence's result fits, and else by how much the
// last one does not.
typedef struct outcome {
    sxt_test_trial *trial;
    sxt_test_side side;
    const sxt_attention_desc *desc;
    bool *claimed, *o_fits, *lse_fits;
    double error, norm;
    char misfit[256];
} outcome;

static bool fits(outcome *out, const char *name, const sxt_tensor *t, uint64_t n, double want, double bound) {
    const double got = sxt_test_get(out->trial, out->side, t, n);
    const double allowed =
        out->side == SXT_TEST_DEVICE ? 2 * bound : 1e-6 * bound + sxt_test_rounding(t->type, fabs(want));
    if (isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= allowed) return true;
    snprintf(out->misfit, sizeof out->misfit,
             "element %llu of %s on the %s is %.9g, not %.9g: off by %.3g, %.3g is allowed", (unsigned long long)n,
             name, out->side == SXT_TEST_DEVICE ? "device" : "reference", got, want, fabs(got - want), allowed);
    return false;
}

static void check_row(void *context, const sxt_test_attention_row *row) {
    outcome *out = context;
    const sxt_attention_desc *d = out->desc;
    const uint32_t dim = d->v.shape[3];
    out->claimed[row->n] = true;
    for (uint32_t c = 0; c < dim; c++) {
        const uint64_t n = row->n * dim + c;
        if (out->o_fits[n] || !fits(out, "o", &d->o, n, row->o[c], row->o_bounds[c])) continue;
        out->o_fits[n] = true;
        if (!isfinite(row->o[c])) continue;
        out->error += pow(sxt_test_get(out->trial, out->side, &d->o, n) - row->o[c], 2);
        out->norm += row->o[c] * row->o[c];
    }
    if (d->lse.buffer && !out->lse_fits[row->n])
        out->lse_fits[row->n] = fits(out, "lse", &d->lse, row->n, row->lse, row->lse_bound);
}

// Of a row that no sequence claims, an element that has changed.
static bool kept(const outcome *out, const sxt_tensor *t, uint64_t n) {
    return memcmp(sxt_test_bytes(out->trial, out->side, t, n), sxt_test_bytes(out->trial, SXT_TEST_INITIAL, t, n),
                  sxt_type_size(t->type)) == 0;
}

static const char *misfit_of(outcome *out) {
    const sxt_attention_desc *d = out->desc;
    const uint32_t dim = d->v.shape[3];
    for (uint64_t n = 0; n < sxt_test_count(&d->o); n++) {
        if (out->claimed[n / dim] ? out->o_fits[n] : kept(out, &d->o, n)) continue;
        return out->claimed[n / dim] ? out->misfit : "o of a query of no sequence has changed";
    }
    for (uint64_t n = 0; d->lse.buffer && n < sxt_test_count(&d->lse); n++) {
        if (out->claimed[n] ? out->lse_fits[n] : kept(out, &d->lse, n)) continue;
        return out->claimed[n] ? out->misfit : "lse of a query of no sequence has changed";
    }
    return NULL;
}

void sxt_test_attention_require(sxt_test_trial *trial, sxt_test_side side, const sxt_attention_desc *d,
                                double f32_figure) {
    const uint64_t elements = sxt_test_count(&d->o), rows = elements / d->o.shape[3];
    bool *memory = calloc(elements + 2 * rows + 1, sizeof *memory);
    cr_assert(memory);
    outcome out = {.trial = trial, .side = side, .desc = d};
    out.o_fits = memory, out.claimed = memory + elements, out.lse_fits = memory + elements + rows;
    sxt_test_attention_rows(trial, d, check_row, &out);
    const char *misfit = misfit_of(&out);
    const sxt_type narrowest = side == SXT_TEST_DEVICE ? sxt_test_products(trial, d) : SXT_TYPE_F32;
    const double figure = fmax(sxt_test_figure(d->o.type, f32_figure), sxt_test_figure(narrowest, f32_figure));
    const double error = sqrt(out.error), norm = sqrt(out.norm);
    if (!misfit && f32_figure > 0 && error > figure * norm) {
        snprintf(out.misfit, sizeof out.misfit, "‖o − right‖/‖right‖ is %.3g, %.3g is allowed", error / norm, figure);
        misfit = out.misfit;
    }
    sxt_test_require(trial, misfit);
    free(memory);
}

static const char *wrong_faults(uint32_t faults, sxt_test_answer index) {
    if (faults & ~(uint32_t)SXT_FAULT_INDEX) return "a fault that this cannot have";
    if (faults == 0 && index == SXT_TEST_YES) return "SXT_FAULT_INDEX is missing";
    return faults != 0 && index == SXT_TEST_NO ? "SXT_FAULT_INDEX, and all is inside" : NULL;
}

void sxt_test_attention_check(sxt_test_trial *trial, const sxt_attention_desc *d, double f32_figure) {
    sxt_test_attention_say(trial, d);
    trial->partial = d->cu_seqlens_q.buffer;
    sxt_test_run_op(trial, SXT_OP_ATTENTION, d);
    for (sxt_test_side side = SXT_TEST_DEVICE; side <= (trial->device_only ? SXT_TEST_DEVICE : SXT_TEST_REFERENCE);
         side++) {
        sxt_test_attention_require(trial, side, d, f32_figure);
        sxt_test_require(trial, wrong_faults(trial->faults[side], sxt_test_index_fault(trial, d)));
    }
}

// ── In words ──

static void say_type(sxt_test_trial *trial, const char *name, const sxt_tensor *t, const sxt_tensor *scale) {
    sxt_test_say(trial, ", %s %s%s", name, sxt_type_name(t->type), scale && scale->buffer ? " scaled" : "");
}

void sxt_test_attention_say(sxt_test_trial *trial, const sxt_attention_desc *d) {
    sxt_test_say(trial, "attention of %u sequences, Tq %u, Tk %u, heads %u/%u, d %u, d_v %u", sxt_test_sequences(d),
                 sxt_test_max_queries(d), sxt_test_max_keys(d), d->q.shape[2], d->k.shape[2], d->q.shape[3],
                 d->v.shape[3]);
    say_type(trial, "q", &d->q, NULL);
    say_type(trial, "k", &d->k, &d->k_scale);
    say_type(trial, "v", &d->v, &d->v_scale);
    say_type(trial, "o", &d->o, NULL);
    if (d->k.buffer == d->v.buffer) sxt_test_say(trial, ", v in k");
    if (d->scale != 0) sxt_test_say(trial, ", scale %g", (double)d->scale);
    const struct {
        const char *name;
        bool there;
    } parts[] = {
        {"causal", d->causal},
        {"lse", d->lse.buffer},
        {"bias", d->bias.buffer},
        {"mask", d->mask.buffer},
        {"sinks", d->sinks.buffer},
        {"ALiBi", d->alibi_slopes.buffer},
        {"kv_lengths", d->kv_lengths.buffer},
        {"cu_seqlens_q", d->cu_seqlens_q.buffer},
        {"cu_seqlens_k", d->cu_seqlens_k.buffer},
    };
    for (uint32_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].there) sxt_test_say(trial, ", %s", parts[i].name);
    if (d->block_table.buffer) sxt_test_say(trial, ", pages of %u rows", d->k.shape[1]);
    if (d->windowed) sxt_test_say(trial, ", window %d, %d", d->window_left, d->window_right);
    if (d->softcap > 0) sxt_test_say(trial, ", softcap %g", (double)d->softcap);
    if (d->logit_bound > 0) sxt_test_say(trial, ", logit_bound %.9g", (double)d->logit_bound);
    if (d->split_keys > 0) sxt_test_say(trial, ", split_keys %u", d->split_keys);
}
