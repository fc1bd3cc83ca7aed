// The case of the fused norm and rotation, with or without a cache for keys and values.
#include "build.h"

const sxt_case_tensor sxt_qk_norm_rope_tensors[] = {
    {"q", SXT_OPTIONAL, SXT_IS_FLOAT, "[T, Hq, D]"},
    {"k", SXT_OPTIONAL, SXT_IS_FLOAT, "[T, Hk, D]"},
    {"v", SXT_OPTIONAL, SXT_IS_FLOAT, "[T, Hk, Dv]; goes to its cache; one of q, k and v must be there"},
    {"positions", SXT_OPTIONAL, SXT_IS_I32,
     "[T] or [B, T]; with multi [planes, T] or [planes, B, T]; pairing = none: none"},
    {"q_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hq, 1] (a temperature per head), [Hq, D]"},
    {"k_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hk, 1], [Hk, D]"},
    {"freq_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2]"},
    {"short_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"long_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"slots", SXT_OPTIONAL, SXT_IS_I32, "as of kv_write, like all that follows"},
    {"block_table", SXT_OPTIONAL, SXT_IS_I32, "[P] or [B, P]"},
    {"k_scale", SXT_OPTIONAL, SXT_IS_F32, "[Hk] or [1]"},
    {"v_scale", SXT_OPTIONAL, SXT_IS_F32, "[Hk] or [1]"},
    {"q_out", SXT_EXPECTED, SXT_IS_STORED, "[T, Hq, D]"},
    {"k_out", SXT_EXPECTED, SXT_IS_STORED, "[T, Hk, D], without a cache"},
    {"k_cache", SXT_EXPECTED, SXT_IS_STORED, "with v or any key or tensor of a cache"},
    {"v_cache", SXT_EXPECTED, SXT_IS_STORED, "with v"},
    {"q_out_f32", SXT_EXPECTED, SXT_IS_F32, "as q_out, decoded"},
    {"k_out_f32", SXT_EXPECTED, SXT_IS_F32, "as k_out, decoded"},
    {"k_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as k_cache, decoded"},
    {"v_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as v_cache, decoded"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

static bool find_sides(const sxt_builder *b, int *out_q, int *out_k, int *out_v) {
    if (!sxt_build_heads(b, "q", "[T, Hq, D]", out_q) || !sxt_build_heads(b, "k", "[T, Hk, D]", out_k) ||
        !sxt_build_heads(b, "v", "[T, Hk, Dv]", out_v)) {
        return false;
    }
    int sides[3] = {*out_q, *out_k, *out_v}, first = SXT_NO_SLOT;
    for (int i = 0; i < 3; i++) {
        if (sides[i] == SXT_NO_SLOT) continue;
        if (first == SXT_NO_SLOT) first = sides[i];
        const sxt_slot *a = &b->work->slots[first], *c = &b->work->slots[sides[i]];
        bool fits = a->shape[0] == c->shape[0] && a->shape[1] == c->shape[1];
        if (i == 1) fits = fits && a->shape[3] == c->shape[3];
        if (!fits)
            return sxt_build_wrong_shape(b, sxt_build_find(b, c->name),
                                         i == 1 ? "[T, Hk, D] with the T and D of q" : "[T, Hk, Dv] with their T");
    }
    return first != SXT_NO_SLOT || sxt_build_fail(b, "tensor 'q' is missing: qk_norm_rope needs one of q, k and v");
}

static bool add_positions(const sxt_builder *b, sxt_stage *stage, const uint32_t shape[4]) {
    int positions;
    if (b->params.pairing == SXT_ROPE_NONE) {
        stage->desc.qk_norm_rope.rope.pairing = SXT_ROPE_NONE;
        return !sxt_build_find(b, "positions") ||
               sxt_build_fail(b, "tensor 'positions': with pairing = none there are none");
    }
    if (!sxt_build_positions(b, "positions", shape[0], shape[1], &positions)) return false;
    sxt_stage_bind(stage, "positions", positions);
    return sxt_build_rotation(b, shape[3], &stage->desc.qk_norm_rope.rope);
}

// Binds q or k, its gain, and with `out` its output.
static bool add_side(const sxt_builder *b, sxt_stage *stage, const char *side, int slot, const char *weight,
                     const char *out) {
    int gain, result;
    if (slot == SXT_NO_SLOT)
        return !sxt_build_find(b, weight) || sxt_build_fail(b, "tensor '%s': there is no %s", weight, side);
    if (!sxt_build_repeated(b, weight, slot, &gain)) return false;
    sxt_stage_bind(stage, side, slot);
    sxt_stage_bind(stage, weight, b->params.norm == SXT_NORM_NONE ? SXT_NO_SLOT : gain);
    if (!out) return true;
    if (!sxt_build_like(b, out, slot, &result)) return false;
    sxt_stage_bind(stage, out, result);
    return true;
}

bool sxt_build_qk_norm_rope(const sxt_builder *b) {
    int q, k, v;
    if (!find_sides(b, &q, &k, &v)) return false;
    int first = q != SXT_NO_SLOT ? q : k != SXT_NO_SLOT ? k : v;
    bool cached = b->params.cached || v != SXT_NO_SLOT || sxt_build_find(b, "slots") ||
                  sxt_build_find(b, "block_table") || sxt_build_find(b, "k_scale") || sxt_build_find(b, "v_scale");
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){.norm = (sxt_norm_kind)b->params.norm,
                                                       .eps = b->params.eps,
                                                       .offset = b->params.offset,
                                                       .normalise_v = b->params.normalise_v};
    if (cached && k == SXT_NO_SLOT && v == SXT_NO_SLOT)
        return sxt_build_fail(b, "tensor 'k' is missing: a cache takes k or v, [T, Hk, D]");
    const uint32_t *shape = b->work->slots[first].shape;
    if (first == v) stage->desc.qk_norm_rope.rope.pairing = SXT_ROPE_NONE; // nothing to rotate
    return (first == v || add_positions(b, stage, shape)) && add_side(b, stage, "q", q, "q_weight", "q_out") &&
           add_side(b, stage, "k", k, "k_weight", cached ? NULL : "k_out") &&
           (!cached || sxt_build_cache(b, stage, k, v));
}
