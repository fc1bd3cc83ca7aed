// The case of attention, and of the pipeline before it.
#include "build.h"

#include <stdlib.h>
#include <string.h>

const sxt_case_tensor sxt_attention_tensors[] = {
    {"q", SXT_REQUIRED, SXT_IS_FLOAT, "[Tq, Hq, D]"},
    {"k", SXT_REQUIRED, SXT_IS_STORED, "[Tk, Hk, D]; with block_table [pages, rows, Hk, D]; U8: bytes, of k_type"},
    {"v", SXT_OPTIONAL, SXT_IS_STORED, "likewise with Dv; needed without v_dim"},
    {"k_scale", SXT_OPTIONAL, SXT_IS_F32, "[Hk] or [1], of fp8_e4m3"},
    {"v_scale", SXT_OPTIONAL, SXT_IS_F32, "[Hk] or [1], of fp8_e4m3"},
    {"kv_lengths", SXT_OPTIONAL, SXT_IS_I32, "[B]: keys that each sequence has"},
    {"block_table", SXT_OPTIONAL, SXT_IS_I32, "[P] or [B, P]: pages of each sequence, -1 = none; with kv_lengths"},
    {"cu_seqlens_q", SXT_OPTIONAL, SXT_IS_I32, "[B + 1]: where each sequence starts in q, which has no batch"},
    {"cu_seqlens_k", SXT_OPTIONAL, SXT_IS_I32, "[B + 1]: likewise in k and v; with cu_seqlens_q"},
    {"positions", SXT_OPTIONAL, SXT_IS_I32, "[Tk] (or as for rope), with `pairing`; queries take the last Tq"},
    {"q_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hq, 1], [Hq, D]; with `norm`"},
    {"k_weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[D], or [Hk, 1], [Hk, D]; with `norm`"},
    {"freq_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2]"},
    {"short_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"long_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"sinks", SXT_OPTIONAL, SXT_IS_F32, "[Hq]"},
    {"alibi_slopes", SXT_OPTIONAL, SXT_IS_F32, "[Hq]"},
    {"bias", SXT_OPTIONAL, SXT_IS_F32 | SXT_IS_F16, "[Tq, Tk], [Hq, Tq, Tk] or [B, Hq, Tq, Tk], Tq and Tk the longest"},
    {"mask", SXT_OPTIONAL, SXT_IS_U8 | SXT_IS_I32,
     "likewise: U8 of 0 and 1, 1 = keep; I32: 32 keys to a word, low bit first"},
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

// k, v and their scales, on their way from the case to the attention.
typedef struct key_values {
    int k, v, k_scale, v_scale; // v: SXT_NO_SLOT where it is a part of k
} key_values;

static sxt_type type_of(const sxt_builder *b, const char *side) {
    int type = sxt_build_cache_type(b, side);
    return type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)type;
}

// Numbers as they are, or the bytes of a cache.
static bool read_side(const sxt_builder *b, const char *side, const char *scale_name, const char *wanted, int *out_slot,
                      int *out_scale) {
    const sxt_array *array = sxt_build_find(b, side);
    uint64_t heads = array && array->rank >= 3 ? array->shape[array->rank - 2] : 0;
    *out_slot = *out_scale = SXT_NO_SLOT;
    if (!array) return true;
    if (!sxt_build_scale(b, scale_name, type_of(b, side), (uint32_t)heads, out_scale)) return false;
    if (array->dtype != SXT_DTYPE_U8) return sxt_build_heads(b, side, wanted, out_slot);
    if (b->params.rotate || b->params.norm != SXT_NORM_NONE)
        return sxt_build_fail(b, "tensor '%s': the bytes of a cache are neither normalised nor rotated", side);
    return sxt_build_stored(b, side, side, *out_scale, out_slot);
}

// Writes a side to a cache of its type, unless it is one already, or as it should be.
static bool write_side(const sxt_builder *b, const char *side, sxt_stage **stage, int *slot, int scale) {
    bool is_k = side[0] == 'k';
    int wanted = sxt_build_cache_type(b, side);
    if (wanted == SXT_TYPE_ABSENT || *slot == SXT_NO_SLOT) return true;
    const sxt_array *array = sxt_build_find(b, side);
    if (array->dtype == SXT_DTYPE_U8) return true;
    sxt_slot from = b->work->slots[*slot];
    if (!sxt_build_check_blocks(b, side, side, (sxt_type)wanted, from.shape[3])) return false;
    if (!*stage) *stage = sxt_work_stage(b->work, SXT_OP_KV_WRITE);
    int cache = sxt_work_slot(b->work, is_k ? "k cache" : "v cache", (sxt_type)wanted, from.shape, NULL);
    b->work->slots[cache].scale = scale;
    b->work->slots[cache].rank = from.rank;
    sxt_stage_bind(*stage, side, *slot);
    sxt_stage_bind(*stage, is_k ? "k_scale" : "v_scale", scale);
    sxt_stage_bind(*stage, is_k ? "k_cache" : "v_cache", cache);
    *slot = cache;
    return true;
}

// Values that are the first channels of keys.
static bool take_part(const sxt_builder *b, key_values *kv) {
    sxt_slot k = b->work->slots[kv->k];
    if (b->params.v_dim > k.shape[3] || b->params.v_dim % sxt_type_block(k.type) != 0)
        return sxt_build_fail(b, "key 'v_dim': %u, where k has %u channels%s", b->params.v_dim, k.shape[3],
                              sxt_type_block(k.type) > 1 ? " in blocks of 32" : "");
    uint32_t shape[4] = {k.shape[0], k.shape[1], k.shape[2], b->params.v_dim};
    kv->v = sxt_work_slot(b->work, "v in k", k.type, shape, NULL);
    kv->v_scale = kv->k_scale;
    b->work->slots[kv->v].scale = k.scale;
    b->work->slots[kv->v].part_of = kv->k;
    return true;
}

static bool add_per_head(const sxt_builder *b, sxt_stage *stage, const char *name, uint32_t heads) {
    const sxt_array *array = sxt_build_find(b, name);
    if (!array) return true;
    if (array->rank != 1 || array->shape[0] != heads) return sxt_build_wrong_shape(b, array, "[Hq]");
    sxt_stage_bind(stage, name, sxt_build_slot(b, array, (uint32_t[4]){1, 1, 1, heads}));
    return true;
}

static bool add_outputs(const sxt_builder *b, sxt_stage *stage, const sxt_slot *like, uint32_t channels) {
    sxt_type type = b->params.out_type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)b->params.out_type;
    uint32_t o_shape[4] = {like->shape[0], like->shape[1], like->shape[2], channels};
    uint32_t lse_shape[4] = {like->shape[0], like->shape[1], like->shape[2], 1};
    uint64_t dims[4];
    int o, lse;
    uint32_t rank = sxt_build_file_dims(like, like->shape[1], like->shape[2], channels, dims);
    if (!sxt_build_result(b, "o", type, o_shape, rank, dims, &o)) return false;
    sxt_stage_bind(stage, "o", o);
    if (!b->params.lse && sxt_build_find(b, "lse"))
        return sxt_build_fail(b, "key 'lse': false, and there is a tensor 'lse' that is expected");
    if (!b->params.lse) return true;
    if (!sxt_build_result(b, "lse", SXT_TYPE_F32, lse_shape, rank - 1, dims, &lse)) return false;
    sxt_stage_bind(stage, "lse", lse);
    return true;
}

// The attention itself; `like` is q as the case has it.
static bool add_attention(const sxt_builder *b, const sxt_slot *like, int q, const key_values *kv) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ATTENTION);
    const sxt_case_params *p = &b->params;
    stage->desc.attention = (sxt_attention_desc){.scale = p->scale,
                                                 .softcap = p->softcap,
                                                 .logit_bound = p->logit_bound,
                                                 .split_keys = p->split_keys,
                                                 .f32_products = p->f32_products,
                                                 .kernel = (sxt_attention_kernel)p->kernel,
                                                 .causal = p->causal,
                                                 .windowed = p->windowed,
                                                 .window_left = p->window_left,
                                                 .window_right = p->window_right};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", kv->k);
    sxt_stage_bind(stage, "v", kv->v);
    sxt_stage_bind(stage, "k_scale", kv->k_scale);
    sxt_stage_bind(stage, "v_scale", kv->v_scale);
    return add_outputs(b, stage, like, b->work->slots[kv->v].shape[3]) &&
           add_per_head(b, stage, "sinks", like->shape[2]) && add_per_head(b, stage, "alibi_slopes", like->shape[2]) &&
           sxt_build_sequences(b, stage, q, kv->k) && sxt_build_bias(b, stage) && sxt_build_mask(b, stage);
}

static bool check_kv(const sxt_builder *b, int q, const key_values *kv) {
    const sxt_slot *slots = b->work->slots;
    const uint32_t *a = slots[q].shape, *c = slots[kv->k].shape;
    bool alone = !sxt_build_find(b, "block_table") && !sxt_build_find(b, "cu_seqlens_q");
    if ((alone && a[0] != c[0]) || a[3] != c[3])
        return sxt_build_wrong_shape(b, sxt_build_find(b, "k"), "[Tk, Hk, D] with the D (and batch) of q");
    if (kv->v != SXT_NO_SLOT && b->params.v_dim)
        return sxt_build_fail(b, "key 'v_dim': there is a tensor 'v', and so values are no part of k");
    if (kv->v == SXT_NO_SLOT && !b->params.v_dim)
        return sxt_build_fail(b, "tensor 'v' is missing: attention needs it, [Tk, Hk, Dv], or the key 'v_dim'");
    if (kv->v == SXT_NO_SLOT && (b->params.v_type != SXT_TYPE_ABSENT || sxt_build_find(b, "v_scale")))
        return sxt_build_fail(b, "%s: values are a part of k, and have its type and scale",
                              sxt_build_find(b, "v_scale") ? "tensor 'v_scale'" : "key 'v_type'");
    if (kv->v != SXT_NO_SLOT && memcmp(c, slots[kv->v].shape, 3 * sizeof *c) != 0)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "v"), "[Tk, Hk, Dv] with the Tk and Hk of k");
    return true;
}

// What comes before needs one row of keys in the order of their positions.
static bool check_steps(const sxt_builder *b) {
    static const char *const sequences[] = {"kv_lengths", "block_table", "cu_seqlens_q", "cu_seqlens_k"};
    bool weights = sxt_build_find(b, "q_weight") || sxt_build_find(b, "k_weight");
    if (weights && !b->params.norm_given) {
        return sxt_build_fail(b, "tensor '%s' needs the key 'norm': rms, l2 or layer",
                              sxt_build_find(b, "q_weight") ? "q_weight" : "k_weight");
    }
    for (int i = 0; i < 4 && b->params.rotate; i++) {
        if (sxt_build_find(b, sequences[i]))
            return sxt_build_fail(b, "key 'pairing': with %s q and k must be rotated already", sequences[i]);
    }
    return true;
}

bool sxt_build_attention(const sxt_builder *b) {
    int q, q_weight, k_weight;
    key_values kv;
    sxt_stage *write = NULL;
    bool norms = b->params.norm != SXT_NORM_NONE;
    if (!check_steps(b) || !sxt_build_heads(b, "q", "[Tq, Hq, D]", &q) ||
        !read_side(b, "k", "k_scale", "[Tk, Hk, D]", &kv.k, &kv.k_scale) ||
        !read_side(b, "v", "v_scale", "[Tk, Hk, Dv]", &kv.v, &kv.v_scale) || !check_kv(b, q, &kv) ||
        !sxt_build_repeated(b, "q_weight", q, &q_weight) || !sxt_build_repeated(b, "k_weight", kv.k, &k_weight)) {
        return false;
    }
    const sxt_slot like = b->work->slots[q];
    if (b->params.rotate) {
        if (!add_rotation(b, &q, &kv.k, norms ? q_weight : SXT_NO_SLOT, norms ? k_weight : SXT_NO_SLOT)) return false;
    } else if (norms) {
        add_norm(b, &q, q_weight, "q normed");
        add_norm(b, &kv.k, k_weight, "k normed");
    }
    if (!write_side(b, "k", &write, &kv.k, kv.k_scale) || !write_side(b, "v", &write, &kv.v, kv.v_scale)) return false;
    if (kv.v == SXT_NO_SLOT && !take_part(b, &kv)) return false;
    return add_attention(b, &like, q, &kv);
}
