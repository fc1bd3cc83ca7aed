// Random cases of what is more than one operation, or less than attention: the pipeline up to attention, and merging.
#include "maker.h"

#include <math.h>
#include <string.h>

// ── Pipeline ──

// q, k and v, small enough for the reference.
static void add_heads(sxt_maker *m, uint32_t *out_d, uint32_t *out_dv) {
    static const uint32_t common[] = {64, 64, 80, 96, 128, 128, 256, 4}, kv_heads[] = {1, 1, 2, 3},
                          groups[] = {1, 1, 2, 4, 7, 8};
    uint32_t d =
        sxt_random_once_in(m->form, 2) ? 4 * sxt_random_range(m->form, 1, 64) : sxt_draw_one_of(m->form, common, 8);
    uint32_t dv = sxt_random_once_in(m->form, 2) ? d : 4 * sxt_random_range(m->form, 1, 64), batch;
    uint32_t skip = sxt_draw_batch(m, &batch), heads = sxt_draw_one_of(m->random, kv_heads, 4),
             group = sxt_draw_one_of(m->random, groups, 6), limit = 130;
    uint32_t tk = sxt_draw_size(m->random, limit),
             tq = sxt_random_once_in(m->random, 4) ? 1 : sxt_draw_size(m->random, limit);
    if (sxt_random_once_in(m->random, 3)) tq = tk;
    double work = (double)batch * tq * tk * heads * group * (d + dv), most = 6e6;
    if (work > most) tq = (uint32_t)(tq * most / work) + 1;
    uint32_t q[4] = {batch, tq, heads * group, d}, k[4] = {batch, tk, heads, d}, v[4] = {batch, tk, heads, dv};
    sxt_make_normal(m, "q", sxt_draw_float(m->form), 4 - skip, q + skip, 0, 1.5);
    sxt_make_normal(m, "k", sxt_draw_float(m->form), 4 - skip, k + skip, 0, 1);
    sxt_make_normal(m, "v", sxt_draw_float(m->form), 4 - skip, v + skip, 0.2, 1);
    *out_d = d;
    *out_dv = dv;
}

static void add_cache(sxt_maker *m, const char *key, const char *scale, uint32_t heads, uint32_t channels) {
    const char *type = sxt_draw_cache_type(m->form, channels);
    if (sxt_random_once_in(m->form, 5)) return;
    sxt_make_key(m, key, "%s", type);
    if (strcmp(type, "fp8_e4m3") == 0 && sxt_random_once_in(m->form, 2)) sxt_make_scale(m, scale, heads);
}

void sxt_family_pipeline(sxt_maker *m) {
    sxt_random *form = m->form, *random = m->random;
    uint32_t d, dv;
    sxt_make_key(m, "op", "attention");
    add_heads(m, &d, &dv);
    const sxt_array *q = sxt_bundle_array(m->bundle, "q"), *k = sxt_bundle_array(m->bundle, "k");
    if (!q || !k) return;
    uint32_t rank = k->rank, tokens = (uint32_t)k->shape[rank - 3], heads = (uint32_t)k->shape[rank - 2];
    uint32_t batches = rank == 4 ? (uint32_t)k->shape[0] : 1;
    bool rotates = q->shape[rank - 3] <= tokens && !sxt_random_once_in(random, 4);
    if (sxt_random_once_in(form, 2)) sxt_make_key(m, "causal", "true");
    if (!rotates || sxt_random_once_in(random, 2)) {
        sxt_make_norm_keys(m, "norm", false);
        if (sxt_random_once_in(form, 2)) sxt_make_normal(m, "q_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
        if (sxt_random_once_in(form, 2)) sxt_make_normal(m, "k_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
    }
    if (rotates) sxt_make_positions(m, "positions", sxt_make_rope(m, d), rank == 4, batches, tokens);
    add_cache(m, "k_type", "k_scale", heads, d);
    add_cache(m, "v_type", "v_scale", heads, dv);
    sxt_make_output(m, false);
    sxt_make_layout(m);
}

// ── Merge ──

// Rows of a side that saw no key: what stands in its o is free.
static void hide_rows(sxt_maker *m, const char *o_name, const char *lse_name) {
    static const double any[] = {0, NAN, INFINITY, -1e30};
    sxt_array *o = (sxt_array *)(uintptr_t)sxt_bundle_array(m->bundle, o_name),
              *lse = (sxt_array *)(uintptr_t)sxt_bundle_array(m->bundle, lse_name);
    if (!o || !lse) return;
    for (uint64_t row = 0, channels = o->shape[o->rank - 1]; row < lse->count; row++) {
        if (!sxt_random_once_in(m->random, 6)) continue;
        sxt_make_element(lse, row, -INFINITY);
        for (uint64_t c = 0; c < channels; c++)
            sxt_make_element(o, row * channels + c, any[sxt_random_range(m->random, 0, 3)]);
    }
}

void sxt_family_attention_merge(sxt_maker *m) {
    static const double spreads[] = {0.5, 3, 30};
    sxt_random *form = m->form, *random = m->random;
    uint32_t shape[4], skip = sxt_draw_batch(m, &shape[0]);
    double spread = spreads[sxt_random_range(random, 0, 2)];
    shape[3] = sxt_random_once_in(form, 2) ? sxt_draw_size(form, 257) : 4 * sxt_random_range(form, 1, 144);
    shape[2] = sxt_draw_size(random, 33);
    shape[1] = sxt_draw_tokens(random, (uint64_t)shape[0] * shape[2] * shape[3], 40000);
    sxt_make_key(m, "op", "attention_merge");
    sxt_make_normal(m, "o_a", sxt_draw_float(form), 4 - skip, shape + skip, 0.2, 1);
    sxt_make_normal(m, "o_b", sxt_draw_float(form), 4 - skip, shape + skip, 0.2, 1);
    sxt_make_normal(m, "lse_a", SXT_DTYPE_F32, 3 - skip, shape + skip, 3, spread);
    sxt_make_normal(m, "lse_b", SXT_DTYPE_F32, 3 - skip, shape + skip, 3, spread);
    hide_rows(m, "o_a", "lse_a");
    hide_rows(m, "o_b", "lse_b");
    if (sxt_random_once_in(form, 4)) sxt_make_key(m, "lse", "false");
    if (sxt_random_once_in(random, 4)) sxt_make_key(m, "heads_first", "true");
    sxt_make_output(m, true);
    sxt_make_layout(m);
}
