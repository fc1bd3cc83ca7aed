#include "support/attention.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "support/bound.h"

bool sxt_test_visible(const sxt_attention_desc *desc, uint32_t query, uint32_t key) {
    const int64_t at = (int64_t)query + desc->k.shape[1] - desc->q.shape[1], ahead = (int64_t)key - at;
    if (desc->causal && ahead > 0) return false;
    if (!desc->windowed) return true;
    return (desc->window_right < 0 || ahead <= desc->window_right) &&
           (desc->window_left < 0 || -ahead <= desc->window_left);
}

// A description's numbers in double, dense, and the row in question.
typedef struct problem {
    const sxt_attention_desc *desc;
    double *q, *k, *v, *bias, *sinks, *slopes; // the last three may be NULL
    uint32_t batch, query, head, kv_head;
} problem;

static double *values_of(const sxt_test_trial *trial, const sxt_tensor *tensor) {
    return tensor->buffer ? sxt_test_values(trial, SXT_TEST_INITIAL, tensor) : NULL;
}

// The score of a visible key, and what δ is made of: Σ|q·k|·|scale|, and the terms beside it.
static double score(const problem *p, uint32_t key, double *out_products, double *out_rest) {
    const sxt_attention_desc *d = p->desc;
    const uint32_t dim = d->q.shape[3];
    const double scale = d->scale != 0 ? (double)d->scale : 1 / sqrt(dim);
    const double *q = p->q + sxt_test_at(&d->q, p->batch, p->query, p->head, 0);
    const double *k = p->k + sxt_test_at(&d->k, p->batch, key, p->kv_head, 0);
    double s = 0, products = 0, rest = 0;
    for (uint32_t c = 0; c < dim; c++) {
        s += scale * q[c] * k[c];
        products += fabs(scale * q[c] * k[c]);
    }
    if (d->softcap > 0) {
        s = d->softcap * tanh(s / d->softcap);
        rest += 16 * SXT_TEST_U * d->softcap;
    }
    if (p->bias) {
        const uint32_t batch = d->bias.shape[0] > 1 ? p->batch : 0, head = d->bias.shape[1] > 1 ? p->head : 0;
        const double bias = p->bias[sxt_test_at(&d->bias, batch, head, p->query, key)];
        s += bias;
        rest += 3 * SXT_TEST_U * fabs(bias);
    }
    if (p->slopes) {
        const double distance = fabs((double)p->query + d->k.shape[1] - d->q.shape[1] - key);
        s -= p->slopes[p->head] * distance;
        rest += 3 * SXT_TEST_U * fabs(p->slopes[p->head]) * distance;
    }
    *out_products = products;
    *out_rest = rest;
    return s;
}

// Scores into `s` (−∞ where masked); returns δ, and the natural logarithm of the denominator.
static double scores(const problem *p, double *s, double *out_lse) {
    const sxt_attention_desc *d = p->desc;
    const double sink = p->sinks ? p->sinks[p->head] : -INFINITY;
    double most = sink, products = 0, rest = 0, sum = 0;
    for (uint32_t j = 0; j < d->k.shape[1]; j++) {
        double product, other;
        s[j] = -INFINITY;
        if (!sxt_test_visible(d, p->query, j)) continue;
        s[j] = score(p, j, &product, &other);
        most = fmax(most, s[j]);
        products = fmax(products, product);
        rest = fmax(rest, other);
    }
    if (most > -INFINITY) {
        sum = exp(sink - most);
        for (uint32_t j = 0; j < d->k.shape[1]; j++)
            sum += exp(s[j] - most);
    }
    *out_lse = most > -INFINITY ? most + log(sum) : -INFINITY;
    return (d->q.shape[3] + 2) * SXT_TEST_U * products + rest;
}

// Bounds of one row of o, which also holds the weighted sums until they are known.
static void bound_row(const problem *p, const double *s, double lse, double relative, double *out_o) {
    const sxt_attention_desc *d = p->desc;
    const uint32_t dim = d->v.shape[3];
    double *value = calloc(dim, sizeof *value);
    cr_assert(value);
    for (uint32_t j = 0; j < d->k.shape[1]; j++) {
        if (s[j] == -INFINITY) continue;
        const double weight = exp(s[j] - lse), *v = p->v + sxt_test_at(&d->v, p->batch, j, p->kv_head, 0);
        for (uint32_t c = 0; c < dim; c++) {
            value[c] += weight * v[c];
            out_o[c] += fabs(weight * v[c]);
        }
    }
    for (uint32_t c = 0; c < dim; c++)
        out_o[c] = relative * out_o[c] + sxt_test_rounding(d->o.type, fabs(value[c]));
    free(value);
}

void sxt_test_attention_bounds(const sxt_test_trial *trial, const sxt_attention_desc *d, double **out_o,
                               double **out_lse) {
    const uint32_t keys = d->k.shape[1], dim = d->v.shape[3], heads = d->q.shape[2];
    const uint64_t rows = sxt_test_count(&d->o) / dim;
    const double rest = (keys + 6) * SXT_TEST_U + 2 * SXT_TEST_U * (3 + 2 * log(keys + 1));
    double *o = calloc(rows * dim + 1, sizeof *o), *lses = calloc(rows + 1, sizeof *lses),
           *s = calloc(keys + 1, sizeof *s);
    problem p = {.desc = d,
                 .q = values_of(trial, &d->q),
                 .k = values_of(trial, &d->k),
                 .v = values_of(trial, &d->v),
                 .bias = values_of(trial, &d->bias),
                 .sinks = values_of(trial, &d->sinks),
                 .slopes = values_of(trial, &d->alibi_slopes)};
    cr_assert(o && lses && s);
    for (uint64_t n = 0; n < rows; n++) {
        double lse;
        p.head = (uint32_t)(n % heads);
        p.kv_head = p.head / (heads / d->k.shape[2]);
        p.query = (uint32_t)(n / heads % d->q.shape[1]);
        p.batch = (uint32_t)(n / heads / d->q.shape[1]);
        const double delta = scores(&p, s, &lse);
        lses[n] = isfinite(lse) ? delta + rest + sxt_test_rounding(SXT_TYPE_F32, fabs(lse)) : 0;
        bound_row(&p, s, lse, 2 * delta + rest, o + n * dim);
    }
    double *owned[] = {p.q, p.k, p.v, p.bias, p.sinks, p.slopes, s};
    for (uint32_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    *out_o = o;
    *out_lse = lses;
}

void sxt_test_attention_say(sxt_test_trial *trial, const sxt_attention_desc *d) {
    sxt_test_say(trial, "attention batch %u, Tq %u, Tk %u, heads %u/%u, d %u, d_v %u, q %s, k %s, v %s, o %s, scale %g",
                 d->q.shape[0], d->q.shape[1], d->k.shape[1], d->q.shape[2], d->k.shape[2], d->q.shape[3],
                 d->v.shape[3], sxt_type_name(d->q.type), sxt_type_name(d->k.type), sxt_type_name(d->v.type),
                 sxt_type_name(d->o.type), (double)d->scale);
    sxt_test_say(trial, "%s%s%s%s%s", d->causal ? ", causal" : "", d->lse.buffer ? ", lse" : "",
                 d->bias.buffer ? ", bias" : "", d->sinks.buffer ? ", sinks" : "",
                 d->alibi_slopes.buffer ? ", ALiBi" : "");
    if (d->windowed) sxt_test_say(trial, ", window %d, %d", d->window_left, d->window_right);
    if (d->softcap > 0) sxt_test_say(trial, ", softcap %g", (double)d->softcap);
}

void sxt_test_attention_check(sxt_test_trial *trial, const sxt_attention_desc *d, double f32_figure) {
    double *o, *lse;
    sxt_test_attention_say(trial, d);
    sxt_test_run_op(trial, SXT_OP_ATTENTION, d);
    sxt_test_attention_bounds(trial, d, &o, &lse);
    const double figure = f32_figure > 0 ? sxt_test_figure(d->o.type, f32_figure) : 0;
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->o, SXT_TEST_REFERENCE, &d->o, o, figure));
    if (d->lse.buffer)
        sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->lse, SXT_TEST_REFERENCE, &d->lse, lse, 0));
    free(o);
    free(lse);
}
