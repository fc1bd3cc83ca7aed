#include "support/attention.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "support/bound.h"

bool sxt_test_visible(const sxt_attention_desc *desc, uint32_t query, uint32_t key) {
    const int64_t at = (int64_t)query + desc->k.shape[1] - desc->q.shape[1], ahead = (int64_t)key - at;
    if (desc->causal && ahead > 0) return false;
    if (!desc->windowed) return true;
    return (desc->window_right < 0 || ahead <= desc->window_right) && (desc->window_left < 0 || -ahead <= desc->window_left);
}

// One row of queries: [batch, query, head].
typedef struct row {
    uint32_t batch, query, head;
} row;

static double initial(const sxt_test_trial *trial, const sxt_tensor *t, uint32_t b, uint32_t i, uint32_t h, uint32_t c) {
    return sxt_test_get(trial, SXT_TEST_INITIAL, t, sxt_test_at(t, b, i, h, c));
}

// The score of a visible key, and what δ is made of: Σ|q·k|·|scale|, and the terms beside it.
static double score(const sxt_test_trial *trial, const sxt_attention_desc *d, row r, uint32_t key, double *out_products,
                    double *out_rest) {
    const uint32_t dim = d->q.shape[3], kv_head = r.head / (d->q.shape[2] / d->k.shape[2]);
    const double scale = d->scale != 0 ? (double)d->scale : 1 / sqrt(dim);
    double s = 0, products = 0, rest = 0;
    for (uint32_t c = 0; c < dim; c++) {
        const double product = initial(trial, &d->q, r.batch, r.query, r.head, c) * initial(trial, &d->k, r.batch, key, kv_head, c);
        s += scale * product;
        products += fabs(scale * product);
    }
    if (d->softcap > 0) {
        s = d->softcap * tanh(s / d->softcap);
        rest += 16 * SXT_TEST_U * d->softcap;
    }
    if (d->bias.buffer) {
        const double bias = initial(trial, &d->bias, d->bias.shape[0] > 1 ? r.batch : 0, d->bias.shape[1] > 1 ? r.head : 0,
                                    r.query, key);
        s += bias;
        rest += 3 * SXT_TEST_U * fabs(bias);
    }
    if (d->alibi_slopes.buffer) {
        const double slope = initial(trial, &d->alibi_slopes, 0, 0, 0, r.head);
        const double distance = fabs((double)r.query + d->k.shape[1] - d->q.shape[1] - key);
        s -= slope * distance;
        rest += 3 * SXT_TEST_U * fabs(slope) * distance;
    }
    *out_products = products;
    *out_rest = rest;
    return s;
}

// Scores into `s` (−∞ where masked); returns δ, and the natural logarithm of the denominator.
static double scores(const sxt_test_trial *trial, const sxt_attention_desc *d, row r, double *s, double *out_lse) {
    const double sink = d->sinks.buffer ? initial(trial, &d->sinks, 0, 0, 0, r.head) : -INFINITY;
    double most = sink, products = 0, rest = 0, sum = 0;
    for (uint32_t j = 0; j < d->k.shape[1]; j++) {
        s[j] = -INFINITY;
        if (!sxt_test_visible(d, r.query, j)) continue;
        double p, q;
        s[j] = score(trial, d, r, j, &p, &q);
        most = fmax(most, s[j]);
        products = fmax(products, p);
        rest = fmax(rest, q);
    }
    if (most > -INFINITY) {
        sum = exp(sink - most);
        for (uint32_t j = 0; j < d->k.shape[1]; j++)
            sum += exp(s[j] - most);
    }
    *out_lse = most > -INFINITY ? most + log(sum) : -INFINITY;
    return (d->q.shape[3] + 2) * SXT_TEST_U * products + rest;
}

void sxt_test_attention_bounds(const sxt_test_trial *trial, const sxt_attention_desc *d, double **out_o, double **out_lse) {
    const uint32_t keys = d->k.shape[1], dim = d->v.shape[3], group = d->k.shape[2] ? d->q.shape[2] / d->k.shape[2] : 1;
    const uint64_t rows = sxt_test_count(&d->o) / dim;
    double *o = calloc(rows * dim + 1, sizeof *o), *lses = calloc(rows + 1, sizeof *lses), *s = calloc(keys + 1, sizeof *s);
    cr_assert(o && lses && s);
    const double rest = (keys + 6) * SXT_TEST_U + 2 * SXT_TEST_U * (3 + 2 * log(keys + 1));
    for (uint64_t n = 0; n < rows; n++) {
        const row r = {.batch = (uint32_t)(n / d->q.shape[2] / d->q.shape[1]),
                       .query = (uint32_t)(n / d->q.shape[2] % d->q.shape[1]),
                       .head = (uint32_t)(n % d->q.shape[2])};
        double lse;
        const double delta = scores(trial, d, r, s, &lse);
        lses[n] = isfinite(lse) ? delta + rest + sxt_test_rounding(SXT_TYPE_F32, fabs(lse)) : 0;
        for (uint32_t c = 0; c < dim; c++) {
            double value = 0, magnitude = 0;
            for (uint32_t j = 0; j < keys; j++) {
                if (s[j] == -INFINITY) continue;
                const double term = exp(s[j] - lse) * initial(trial, &d->v, r.batch, j, r.head / group, c);
                value += term;
                magnitude += fabs(term);
            }
            o[n * dim + c] = (2 * delta + rest) * magnitude + sxt_test_rounding(d->o.type, fabs(value));
        }
    }
    free(s);
    *out_o = o;
    if (out_lse)
        *out_lse = lses;
    else
        free(lses);
}

void sxt_test_attention_say(sxt_test_trial *trial, const sxt_attention_desc *d) {
    sxt_test_say(trial, "attention batch %u, Tq %u, Tk %u, heads %u/%u, d %u, d_v %u, q %s, k %s, v %s, o %s, scale %g",
                 d->q.shape[0], d->q.shape[1], d->k.shape[1], d->q.shape[2], d->k.shape[2], d->q.shape[3], d->v.shape[3],
                 sxt_type_name(d->q.type), sxt_type_name(d->k.type), sxt_type_name(d->v.type), sxt_type_name(d->o.type),
                 (double)d->scale);
    sxt_test_say(trial, "%s%s%s%s%s", d->causal ? ", causal" : "", d->lse.buffer ? ", lse" : "",
                 d->bias.buffer ? ", bias" : "", d->sinks.buffer ? ", sinks" : "",
                 d->alibi_slopes.buffer ? ", ALiBi" : "");
    if (d->windowed) sxt_test_say(trial, ", window %d, %d", d->window_left, d->window_right);
    if (d->softcap > 0) sxt_test_say(trial, ", softcap %g", (double)d->softcap);
}

void sxt_test_attention_check(sxt_test_trial *trial, const sxt_attention_desc *d) {
    double *o, *lse;
    sxt_test_attention_say(trial, d);
    sxt_test_run_op(trial, SXT_OP_ATTENTION, d);
    sxt_test_attention_bounds(trial, d, &o, &lse);
    const double figure = sxt_test_figure(d->o.type, 5e-6);
    sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->o, SXT_TEST_REFERENCE, &d->o, o, figure));
    if (d->lse.buffer)
        sxt_test_require(trial, sxt_test_compare(trial, SXT_TEST_DEVICE, &d->lse, SXT_TEST_REFERENCE, &d->lse, lse, 0));
    free(o);
    free(lse);
}
