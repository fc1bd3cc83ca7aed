// The case of joining two attentions.
#include "build.h"

#include <string.h>

const sxt_case_tensor sxt_attention_merge_tensors[] = {
    {"o_a", SXT_REQUIRED, SXT_IS_FLOAT, "[T, H, D]"},
    {"lse_a", SXT_REQUIRED, SXT_IS_F32, "[T, H]; -inf where o_a does not count"},
    {"o_b", SXT_REQUIRED, SXT_IS_FLOAT, "[T, H, D]"},
    {"lse_b", SXT_REQUIRED, SXT_IS_F32, "[T, H]"},
    {"o", SXT_EXPECTED, SXT_IS_FLOAT, "[T, H, D]"},
    {"lse", SXT_EXPECTED, SXT_IS_F32, "[T, H]"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

// The logarithms beside o of shape `like`.
static bool build_lse(const sxt_builder *b, const char *name, const sxt_slot *like, int *out_slot) {
    static const int places[2][4] = {{1, 2}, {0, 1, 2}};
    const sxt_array *array = sxt_build_find(b, name);
    uint32_t shape[4];
    if (array->rank + 1 != like->rank) return sxt_build_wrong_shape(b, array, "[T, H], as of o_a,");
    if (!sxt_build_spread(b, array, places[array->rank - 2], shape)) return false;
    if (memcmp(shape, like->shape, 3 * sizeof *shape) != 0)
        return sxt_build_wrong_shape(b, array, "[T, H], as of o_a,");
    *out_slot = sxt_build_slot(b, array, shape);
    return true;
}

static bool build_lse_out(const sxt_builder *b, sxt_stage *stage, int lse_a) {
    const sxt_slot from = b->work->slots[lse_a];
    int lse = lse_a;
    if (!b->params.lse && sxt_build_find(b, "lse"))
        return sxt_build_fail(b, "key 'lse': false, and there is a tensor 'lse' that is expected");
    if (!b->params.lse) return true;
    if (b->params.in_place ? !sxt_build_in_place(b, "lse", lse)
                           : !sxt_build_result(b, "lse", SXT_TYPE_F32, from.shape, from.rank, from.file_shape, &lse)) {
        return false;
    }
    sxt_stage_bind(stage, "lse", lse);
    return true;
}

bool sxt_build_attention_merge(const sxt_builder *b) {
    int o_a, o_b, lse_a, lse_b, o;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ATTENTION_MERGE);
    if (!sxt_build_heads(b, "o_a", "[T, H, D]", &o_a) || !sxt_build_heads(b, "o_b", "[T, H, D]", &o_b)) return false;
    const sxt_slot like = b->work->slots[o_a];
    if (memcmp(like.shape, b->work->slots[o_b].shape, sizeof like.shape) != 0)
        return sxt_build_wrong_shape(b, sxt_build_find(b, "o_b"), "that of o_a");
    if (!build_lse(b, "lse_a", &like, &lse_a) || !build_lse(b, "lse_b", &like, &lse_b)) return false;
    sxt_stage_bind(stage, "o_a", o_a);
    sxt_stage_bind(stage, "o_b", o_b);
    sxt_stage_bind(stage, "lse_a", lse_a);
    sxt_stage_bind(stage, "lse_b", lse_b);
    if (!sxt_build_like(b, "o", o_a, &o) || !build_lse_out(b, stage, lse_a)) return false;
    sxt_stage_bind(stage, "o", o);
    return true;
}
