// Random cases of attention, and of the pipeline before it.
#include "maker.h"

// q, k and v of an attention, small enough for the reference. `q8_0` lets the cache be of that type.
static void add_attention(sxt_maker *m, uint32_t limit, bool q8_0) {
    static const uint32_t common[] = {64, 64, 80, 96, 128, 128, 256, 4}, kv_heads[] = {1, 1, 2, 3},
                          groups[] = {1, 1, 2, 4, 7, 8};
    uint32_t d =
        sxt_random_once_in(m->form, 2) ? 4 * sxt_random_range(m->form, 1, 64) : sxt_draw_one_of(m->form, common, 8);
    uint32_t dv = sxt_random_once_in(m->form, 2) ? d : 4 * sxt_random_range(m->form, 1, 64), batch;
    bool quantised = q8_0 && sxt_random_once_in(m->form, 4);
    if (quantised) d = 32 * ((d + 31) / 32), dv = 32 * ((dv + 31) / 32);
    uint32_t skip = sxt_draw_batch(m, &batch), heads = sxt_draw_one_of(m->random, kv_heads, 4),
             group = sxt_draw_one_of(m->random, groups, 6);
    uint32_t tk = sxt_draw_size(m->random, limit),
             tq = sxt_random_once_in(m->random, 4) ? 1 : sxt_draw_size(m->random, limit);
    if (sxt_random_once_in(m->random, 3)) tq = tk;
    // The reference does this many products; some millions take it a few milliseconds.
    double work = (double)batch * tq * tk * heads * group * (d + dv), most = 6e6;
    if (work > most) tq = (uint32_t)(tq * most / work) + 1;
    uint32_t q[4] = {batch, tq, heads * group, d}, k[4] = {batch, tk, heads, d}, v[4] = {batch, tk, heads, dv};
    sxt_make_key(m, "op", "attention");
    sxt_make_normal(m, "q", sxt_draw_float(m->form), 4 - skip, q + skip, 0, 1.5);
    sxt_make_normal(m, "k", sxt_draw_float(m->form), 4 - skip, k + skip, 0, 1);
    sxt_make_normal(m, "v", sxt_draw_float(m->form), 4 - skip, v + skip, 0.2, 1);
    if (quantised) sxt_make_key(m, "kv_type", "q8_0");
    if (sxt_random_once_in(m->form, 2)) sxt_make_key(m, "causal", "true");
    if (sxt_random_once_in(m->random, 4)) sxt_make_key(m, "scale", "%.4f", 0.02 + 0.2 * sxt_random_unit(m->random));
}

// What changes scores between the product and the softmax, and which keys are seen.
static void add_score_options(sxt_maker *m) {
    const sxt_array *q = sxt_bundle_array(m->bundle, "q"), *k = sxt_bundle_array(m->bundle, "k");
    if (!q || !k) return;
    uint32_t rank = q->rank, heads = (uint32_t)q->shape[rank - 2];
    uint32_t bias[4] = {rank == 4 ? (uint32_t)q->shape[0] : 1, heads, (uint32_t)q->shape[rank - 3],
                        (uint32_t)k->shape[rank - 3]};
    if (sxt_random_once_in(m->form, 5)) sxt_make_normal(m, "sinks", SXT_DTYPE_F32, 1, &heads, 0, 2);
    if (sxt_random_once_in(m->form, 5)) sxt_make_normal(m, "alibi_slopes", SXT_DTYPE_F32, 1, &heads, 0.1, 0.05);
    if (sxt_random_once_in(m->form, 5)) {
        uint32_t skip = sxt_random_range(m->random, 0, 2);
        if (sxt_random_once_in(m->random, 3)) bias[0] = 1;
        if (sxt_random_once_in(m->random, 3)) bias[1] = 1;
        sxt_make_normal(m, "bias", sxt_random_once_in(m->form, 2) ? SXT_DTYPE_F16 : SXT_DTYPE_F32, 4 - skip,
                        bias + skip, 0, 1);
    }
    if (sxt_random_once_in(m->form, 5)) sxt_make_key(m, "softcap", "%u", sxt_random_range(m->random, 5, 50));
    if (sxt_random_once_in(m->form, 4)) {
        sxt_make_key(m, "window_left", "%d", (int)sxt_random_range(m->random, 0, 130) - 1);
        if (sxt_random_once_in(m->random, 2))
            sxt_make_key(m, "window_right", "%d", (int)sxt_random_range(m->random, 0, 40) - 1);
    }
}

bool sxt_family_attention(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    sxt_maker m = {.form = form, .random = random, .bundle = out_case};
    add_attention(&m, 600, true);
    add_score_options(&m);
    sxt_make_output(&m, false);
    sxt_make_layout(&m);
    return !m.failed;
}

// Norm and rotation, and mostly a cache, before attention.
bool sxt_family_pipeline(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    sxt_maker m = {.form = form, .random = random, .bundle = out_case};
    add_attention(&m, 130, false);
    const sxt_array *q = sxt_bundle_array(out_case, "q"), *k = sxt_bundle_array(out_case, "k");
    if (!q || !k) return false;
    uint32_t rank = k->rank, d = (uint32_t)k->shape[rank - 1], tokens = (uint32_t)k->shape[rank - 3];
    uint32_t batches = rank == 4 ? (uint32_t)k->shape[0] : 1;
    bool rotates = q->shape[rank - 3] <= tokens && !sxt_random_once_in(random, 4);
    if (!rotates || sxt_random_once_in(random, 2)) {
        sxt_make_norm_keys(&m, "norm", false);
        if (sxt_random_once_in(form, 2)) sxt_make_normal(&m, "q_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
        if (sxt_random_once_in(form, 2)) sxt_make_normal(&m, "k_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
    }
    if (rotates) {
        sxt_make_positions(&m, "positions", sxt_make_rope(&m, d), rank == 4, batches, tokens);
    }
    uint32_t dv = (uint32_t)sxt_bundle_array(out_case, "v")->shape[rank - 1];
    if (d % 32 == 0 && dv % 32 == 0 && sxt_random_once_in(form, 2))
        sxt_make_key(&m, "kv_type", "q8_0");
    else if (!sxt_random_once_in(form, 4))
        sxt_make_key(&m, "kv_type", "%s", sxt_maker_types[sxt_random_range(form, 0, 2)]);
    sxt_make_output(&m, false);
    sxt_make_layout(&m);
    return !m.failed;
}
