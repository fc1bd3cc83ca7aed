// The cases of the operations on caches.
#include "build.h"

#include <string.h>

// ── kv_write ──

const sxt_case_tensor sxt_kv_write_tensors[] = {
    {"k", SXT_OPTIONAL, SXT_IS_FLOAT, "[T, H, D]"},
    {"v", SXT_OPTIONAL, SXT_IS_FLOAT, "[T, H, Dv]; k or v or both"},
    {"slots", SXT_OPTIONAL, SXT_IS_I32, "[T] or [B, T]: row of each token, -1 = none"},
    {"block_table", SXT_OPTIONAL, SXT_IS_I32, "[P] or [B, P]: page of each page_size rows, -1 = none"},
    {"k_scale", SXT_OPTIONAL, SXT_IS_F32, "[H] or [1], of an fp8_e4m3 cache"},
    {"v_scale", SXT_OPTIONAL, SXT_IS_F32, "[H] or [1], of an fp8_e4m3 cache"},
    {"k_cache", SXT_EXPECTED, SXT_IS_STORED, "[rows, H, D], with block_table [page_count, page_size, H, D]"},
    {"v_cache", SXT_EXPECTED, SXT_IS_STORED, "the same with Dv; q8_0, q4_0 and fp8_e4m3 are bytes"},
    {"k_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as k_cache, decoded"},
    {"v_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as v_cache, decoded"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

bool sxt_build_kv_write(const sxt_builder *b) {
    int k, v;
    if (!sxt_build_heads(b, "k", "[T, H, D]", &k) || !sxt_build_heads(b, "v", "[T, H, Dv]", &v)) return false;
    if (k == SXT_NO_SLOT && v == SXT_NO_SLOT)
        return sxt_build_fail(b, "tensor 'k' is missing: kv_write needs k or v, [T, H, D]");
    return sxt_build_cache(b, sxt_work_stage(b->work, SXT_OP_KV_WRITE), k, v);
}

// ── kv_shift ──

const sxt_case_tensor sxt_kv_shift_tensors[] = {
    {"k", SXT_REQUIRED, SXT_IS_STORED, "[rows, H, D] or [B, rows, H, D]: the cache; U8: its bytes, of k_type"},
    {"deltas", SXT_REQUIRED, SXT_IS_I32, "[rows] or [B, rows]; with multi [planes, rows] or [planes, B, rows]"},
    {"k_scale", SXT_OPTIONAL, SXT_IS_F32, "[H] or [1], of an fp8_e4m3 cache"},
    {"freq_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2]"},
    {"short_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"long_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"k_cache", SXT_EXPECTED, SXT_IS_STORED, "like k; q8_0, q4_0 and fp8_e4m3 are bytes"},
    {"k_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as k_cache, decoded"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

bool sxt_build_kv_shift(const sxt_builder *b) {
    int type = sxt_build_cache_type(b, "k"), k, scale, deltas;
    const sxt_array *array = sxt_build_find(b, "k");
    uint64_t heads = array->rank >= 3 ? array->shape[array->rank - 2] : 0;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_KV_SHIFT);
    if (!sxt_build_scale(b, "k_scale", type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)type, (uint32_t)heads,
                         &scale) ||
        !sxt_build_stored(b, "k", "k", scale, &k)) {
        return false;
    }
    const uint32_t *shape = b->work->slots[k].shape;
    if (!sxt_build_positions(b, "deltas", shape[0], shape[1], &deltas) ||
        !sxt_build_rotation(b, shape[3], &stage->desc.kv_shift.rope) || !sxt_build_in_place(b, "k_cache", k)) {
        return false;
    }
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "k_scale", scale);
    sxt_stage_bind(stage, "deltas", deltas);
    return true;
}

// ── kv_copy ──

const sxt_case_tensor sxt_kv_copy_tensors[] = {
    {"k", SXT_REQUIRED, SXT_IS_STORED, "[rows, H, D] or [B or pages, rows, H, D]: the cache; U8: its bytes, of k_type"},
    {"v", SXT_OPTIONAL, SXT_IS_STORED, "the same with Dv, of v_type"},
    {"k_to", SXT_OPTIONAL, SXT_IS_STORED, "[rows, H, D] or with a leading dim: another cache; absent: k itself"},
    {"v_to", SXT_OPTIONAL, SXT_IS_STORED, "the same for v; with k_to"},
    {"from", SXT_REQUIRED, SXT_IS_I32, "[moves]: rows, counted over the batch, or whole pages; -1 = none"},
    {"to", SXT_REQUIRED, SXT_IS_I32, "[moves]"},
    {"k_cache", SXT_EXPECTED, SXT_IS_STORED, "like k, or k_to; q8_0, q4_0 and fp8_e4m3 are bytes"},
    {"v_cache", SXT_EXPECTED, SXT_IS_STORED, "like v, or v_to"},
    {"k_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as k_cache, decoded"},
    {"v_cache_f32", SXT_EXPECTED, SXT_IS_F32, "as v_cache, decoded"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

static bool add_copied(const sxt_builder *b, sxt_stage *stage, const char *side) {
    static const struct {
        const char *from, *to, *given, *result;
    } names[2] = {{"k_from", "k_to", "k_to", "k_cache"}, {"v_from", "v_to", "v_to", "v_cache"}};
    int n = side[0] == 'v', from, to;
    if (!sxt_build_stored(b, side, side, SXT_NO_SLOT, &from) ||
        !sxt_build_stored(b, names[n].given, side, SXT_NO_SLOT, &to)) {
        return false;
    }
    if (from == SXT_NO_SLOT) return true;
    if (to == SXT_NO_SLOT) to = from;
    const sxt_slot *source = &b->work->slots[from], *target = &b->work->slots[to];
    if (source->type != target->type || source->shape[2] != target->shape[2] || source->shape[3] != target->shape[3])
        return sxt_build_fail(b, "tensor '%s': type, heads and channels must be those of %s", target->name, side);
    sxt_stage_bind(stage, names[n].from, from);
    sxt_stage_bind(stage, names[n].to, to);
    return sxt_build_in_place(b, names[n].result, to);
}

bool sxt_build_kv_copy(const sxt_builder *b) {
    static const int last[4] = {3};
    const sxt_array *indices[2] = {sxt_build_find(b, "from"), sxt_build_find(b, "to")};
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_KV_COPY);
    stage->desc.kv_copy.pages = b->params.pages;
    if (!sxt_build_find(b, "v") && sxt_build_find(b, "v_to"))
        return sxt_build_fail(b, "tensor 'v' is missing: there is a v_to");
    if (sxt_build_find(b, "v") && !sxt_build_find(b, "k_to") != !sxt_build_find(b, "v_to"))
        return sxt_build_fail(b, "tensor '%s' is missing: k and v go to other caches both, or neither",
                              sxt_build_find(b, "k_to") ? "v_to" : "k_to");
    for (int i = 0; i < 2; i++) {
        uint32_t shape[4];
        if (indices[i]->rank != 1 || indices[i]->count != indices[0]->count)
            return sxt_build_wrong_shape(b, indices[i], i ? "[moves], as of from," : "[moves]");
        if (!sxt_build_spread(b, indices[i], last, shape)) return false;
        sxt_stage_bind(stage, i ? "to" : "from", sxt_build_slot(b, indices[i], shape));
    }
    return add_copied(b, stage, "k") && add_copied(b, stage, "v");
}
