// The case of attention, and of the pipeline before it.
#include "build.h"

#include <stdlib.h>
#include <string.h>

const sxt_case_tensor sxt_attention_tensors[] = {
    {"q", SXT_REQUIRED, SXT_IS_FLOAT, "[Tq, Hq, D]"},
    {"k", SXT_REQUIRED, SXT_IS_FLOAT, "[Tk, Hk, D]"},
    {"v", SXT_REQUIRED, SXT_IS_FLOAT, "[Tk, Hk, Dv]"},
    {"positions", SXT_OPTIONAL, SXT_IS_I32, "[Tk] (or as for rope), with `pairing`; queries take the last Tq"},
    {"q_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hq, 1], [Hq, D]; with `norm`"},
    {"k_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hk, 1], [Hk, D]; with `norm`"},
    {"freq_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2]"},
    {"short_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"long_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"sinks", SXT_OPTIONAL, SXT_IS_F32, "[Hq]"},
    {"alibi_slopes", SXT_OPTIONAL, SXT_IS_F32, "[Hq]"},
    {"bias", SXT_OPTIONAL, SXT_IS_F32 | SXT_IS_F16, "[Tq, Tk] or [Hq, Tq, Tk]"},
    {"o", SXT_EXPECTED, SXT_IS_FLOAT, "[Tq, Hq, Dv]"},
    {"lse", SXT_EXPECTED, SXT_IS_F32, "[Tq, Hq]"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

// The positions of the last `tokens`, for queries that are fewer than keys.
static bool last_positions(const sxt_builder *b, int positions, uint32_t tokens, int *out_slot) {
    const sxt_slot *all = &b->work->slots[positions];
    uint32_t shape[4] = {all->shape[0], all->shape[1], 1, tokens};
    uint64_t rows = (uint64_t)shape[0] * shape[1];
    int32_t *copy = malloc(rows * tokens * sizeof *copy + 1);
    if (!copy) return sxt_build_fail(b, "out of memory");
    for (uint64_t row = 0; row < rows; row++) {
        memcpy(copy + row * tokens, (const int32_t *)all->initial + (row + 1) * all->shape[3] - tokens,
               tokens * sizeof *copy);
    }
    *out_slot = sxt_work_slot(b->work, "positions of q", SXT_TYPE_I32, shape, copy);
    b->work->slots[*out_slot].owned = copy;
    return true;
}

// Binds one side, "q" or "k", of a fused norm and rotation, and replaces *side by its result.
static void bind_side(const sxt_builder *b, sxt_stage *stage, const char *name, int *side, int weight) {
    static const struct {
        const char *weight, *out, *slot;
    } names[2] = {{"q_weight", "q_out", "q normed and rotated"}, {"k_weight", "k_out", "k normed and rotated"}};
    int n = name[0] == 'k';
    int out = sxt_work_slot(b->work, names[n].slot, SXT_TYPE_F32, b->work->slots[*side].shape, NULL);
    sxt_stage_bind(stage, name, *side);
    sxt_stage_bind(stage, names[n].weight, weight);
    sxt_stage_bind(stage, names[n].out, out);
    *side = out;
}

static bool add_rotation(const sxt_builder *b, int *q, int *k, int q_weight, int k_weight) {
    const uint32_t *keys = b->work->slots[*k].shape;
    uint32_t tq = b->work->slots[*q].shape[1], tk = keys[1];
    int positions, q_positions;
    sxt_qk_norm_rope_desc desc = {
        .norm = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    if (tq > tk)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "q"), "at most as many tokens as k (with `pairing`)");
    if (!sxt_build_positions(b, "positions", keys[0], tk, &positions) || !sxt_build_rotation(b, keys[3], &desc.rope))
        return false;
    q_positions = positions;
    if (tq < tk && !last_positions(b, positions, tq, &q_positions)) return false;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = desc;
    bind_side(b, stage, "q", q, q_weight);
    sxt_stage_bind(stage, "positions", q_positions);
    if (tq < tk) {
        stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
        stage->desc.qk_norm_rope = desc;
        sxt_stage_bind(stage, "positions", positions);
    }
    bind_side(b, stage, "k", k, k_weight);
    return true;
}

static void add_norm(const sxt_builder *b, int *side, int weight, const char *name) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_NORM);
    int out = sxt_work_slot(b->work, name, SXT_TYPE_F32, b->work->slots[*side].shape, NULL);
    stage->desc.norm =
        (sxt_norm_desc){.kind = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    sxt_stage_bind(stage, "x", *side);
    sxt_stage_bind(stage, "weight", weight);
    sxt_stage_bind(stage, "y", out);
    *side = out;
}

static bool add_cache(const sxt_builder *b, int *k, int *v) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_KV_WRITE);
    sxt_type type = (sxt_type)b->params.kv_type;
    for (int i = 0; i < 2; i++) {
        int *side = i ? v : k;
        uint32_t channels = b->work->slots[*side].shape[3];
        if (channels % sxt_type_block(type) != 0)
            return sxt_build_fail(b, "key 'kv_type': %s has blocks of %u channels, and %s has %u", sxt_type_name(type),
                                  sxt_type_block(type), i ? "v" : "k", channels);
        int cache = sxt_work_slot(b->work, i ? "v cache" : "k cache", type, b->work->slots[*side].shape, NULL);
        sxt_stage_bind(stage, i ? "v" : "k", *side);
        sxt_stage_bind(stage, i ? "v_cache" : "k_cache", cache);
        *side = cache;
    }
    return true;
}

static bool add_per_head(const sxt_builder *b, sxt_stage *stage, const char *name, uint32_t heads) {
    const sxt_array *array = sxt_build_find(b, name);
    if (!array) return true;
    if (array->rank != 1 || array->shape[0] != heads) return sxt_build_wrong_shape(b, array, "[Hq]");
    sxt_stage_bind(stage, name, sxt_build_slot(b, array, (uint32_t[4]){1, 1, 1, heads}));
    return true;
}

static bool add_bias(const sxt_builder *b, sxt_stage *stage, const uint32_t q[4], uint32_t tk) {
    static const int places[3][4] = {{2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = sxt_build_find(b, "bias");
    uint32_t shape[4];
    if (!array) return true;
    if (array->rank < 2 || array->rank > 4) return sxt_build_wrong_shape(b, array, "[Tq, Tk] or [Hq, Tq, Tk]");
    if (!sxt_build_spread(b, array, places[array->rank - 2], shape)) return false;
    bool fits = (shape[0] == 1 || shape[0] == q[0]) && (shape[1] == 1 || shape[1] == q[2]) && shape[2] == q[1] &&
                shape[3] == tk;
    if (!fits) return sxt_build_wrong_shape(b, array, "[Tq, Tk] or [Hq, Tq, Tk]");
    sxt_stage_bind(stage, "bias", sxt_build_slot(b, array, shape));
    return true;
}

// The attention itself; `like` is q as the case has it.
static bool add_attention(const sxt_builder *b, const sxt_slot *like, int q, int k, int v) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ATTENTION);
    stage->desc.attention = (sxt_attention_desc){.scale = b->params.scale,
                                                 .softcap = b->params.softcap,
                                                 .causal = b->params.causal,
                                                 .windowed = b->params.windowed,
                                                 .window_left = b->params.window_left,
                                                 .window_right = b->params.window_right};
    sxt_type type = b->params.out_type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)b->params.out_type;
    uint32_t channels = b->work->slots[v].shape[3];
    uint32_t o_shape[4] = {like->shape[0], like->shape[1], like->shape[2], channels};
    uint32_t lse_shape[4] = {like->shape[0], like->shape[1], like->shape[2], 1};
    uint64_t dims[4];
    int o, lse;
    uint32_t rank = sxt_build_file_dims(like, like->shape[1], like->shape[2], channels, dims);
    if (!sxt_build_result(b, "o", type, o_shape, rank, dims, &o) ||
        !sxt_build_result(b, "lse", SXT_TYPE_F32, lse_shape, rank - 1, dims, &lse) ||
        !add_per_head(b, stage, "sinks", like->shape[2]) || !add_per_head(b, stage, "alibi_slopes", like->shape[2]) ||
        !add_bias(b, stage, like->shape, b->work->slots[k].shape[1])) {
        return false;
    }
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "o", o);
    sxt_stage_bind(stage, "lse", lse);
    return true;
}

static bool check_attention(const sxt_builder *b, int q, int k, int v) {
    const uint32_t *a = b->work->slots[q].shape, *c = b->work->slots[k].shape, *d = b->work->slots[v].shape;
    bool weights = sxt_build_find(b, "q_weight") || sxt_build_find(b, "k_weight");
    if (a[0] != c[0] || a[3] != c[3])
        return sxt_build_wrong_shape(b, sxt_build_find(b, "k"), "[Tk, Hk, D] with the D of q");
    if (memcmp(c, d, 3 * sizeof *c) != 0)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "v"), "[Tk, Hk, Dv] with the Tk and Hk of k");
    if (weights && !b->params.norm_given) {
        return sxt_build_fail(b, "tensor '%s' needs the key 'norm': rms, l2 or layer",
                              sxt_build_find(b, "q_weight") ? "q_weight" : "k_weight");
    }
    return true;
}

bool sxt_build_attention(const sxt_builder *b) {
    int q, k, v, q_weight, k_weight;
    bool norms = b->params.norm != SXT_NORM_NONE;
    if (!sxt_build_heads(b, "q", "[Tq, Hq, D]", &q) || !sxt_build_heads(b, "k", "[Tk, Hk, D]", &k) ||
        !sxt_build_heads(b, "v", "[Tk, Hk, Dv]", &v) || !check_attention(b, q, k, v) ||
        !sxt_build_repeated(b, "q_weight", q, &q_weight) || !sxt_build_repeated(b, "k_weight", k, &k_weight)) {
        return false;
    }
    const sxt_slot like = b->work->slots[q];
    if (b->params.rotate) {
        if (!add_rotation(b, &q, &k, norms ? q_weight : SXT_NO_SLOT, norms ? k_weight : SXT_NO_SLOT)) return false;
    } else if (norms) {
        add_norm(b, &q, q_weight, "q normed");
        add_norm(b, &k, k_weight, "k normed");
    }
    if (b->params.kv_type != SXT_TYPE_ABSENT && !add_cache(b, &k, &v)) return false;
    return add_attention(b, &like, q, k, v);
}
