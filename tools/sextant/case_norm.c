// The case of a norm.
#include "build.h"

#include <string.h>

const sxt_case_tensor sxt_norm_tensors[] = {
    {"x", SXT_REQUIRED, SXT_IS_FLOAT, "[T, C] or [C], [T, H, C], [B, T, H, C]"},
    {"weight", SXT_OPTIONAL, SXT_IS_FLOAT, "[C], or like x with 1 where it repeats"},
    {"bias", SXT_OPTIONAL, SXT_IS_FLOAT, "[C], or like x with 1 where it repeats"},
    {"residual", SXT_OPTIONAL, SXT_IS_FLOAT, "like x"},
    {"y", SXT_EXPECTED, SXT_IS_FLOAT, "like x"},
    {"residual_out", SXT_EXPECTED, SXT_IS_FLOAT, "like x"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

bool sxt_build_norm(const sxt_builder *b) {
    static const int places[5][4] = {{0}, {3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = sxt_build_find(b, "x"), *residual = sxt_build_find(b, "residual");
    uint32_t shape[4];
    int weight, bias, y, residual_out;
    if (array->rank == 0 || array->rank > 4)
        return sxt_build_wrong_shape(b, array, "[C], [T, C], [T, H, C] or [B, T, H, C]");
    if (!sxt_build_spread(b, array, places[array->rank], shape)) return false;
    int x = sxt_build_slot(b, array, shape);
    if (!sxt_build_repeated(b, "weight", x, &weight) || !sxt_build_repeated(b, "bias", x, &bias)) return false;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_NORM);
    stage->desc.norm =
        (sxt_norm_desc){.kind = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    if (residual) {
        uint32_t other[4];
        if (residual->rank != array->rank || !sxt_build_spread(b, residual, places[array->rank], other) ||
            memcmp(shape, other, sizeof other) != 0) {
            return sxt_build_wrong_shape(b, residual, "that of x");
        }
        int r = sxt_build_slot(b, residual, shape);
        sxt_stage_bind(stage, "residual", r);
        if (!sxt_build_like(b, "residual_out", r, &residual_out)) return false;
        sxt_stage_bind(stage, "residual_out", residual_out);
    }
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "weight", weight);
    sxt_stage_bind(stage, "bias", bias);
    if (!sxt_build_like(b, "y", x, &y)) return false;
    sxt_stage_bind(stage, "y", y);
    return true;
}
