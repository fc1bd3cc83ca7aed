// The case of a rotation.
#include "build.h"

const sxt_case_tensor sxt_rope_tensors[] = {
    {"x", SXT_REQUIRED, SXT_IS_FLOAT, "[T, H, D]"},
    {"positions", SXT_REQUIRED, SXT_IS_I32, "[T] or [B, T]; with multi [planes, T] or [planes, B, T]"},
    {"freq_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2]"},
    {"short_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"long_factors", SXT_OPTIONAL, SXT_IS_F32, "[rotary_dim/2], with scaling = longrope"},
    {"y", SXT_EXPECTED, SXT_IS_FLOAT, "[T, H, D]"},
    {NULL, SXT_OPTIONAL, 0, NULL},
};

bool sxt_build_rope(const sxt_builder *b) {
    int x, y, positions;
    if (!sxt_build_heads(b, "x", "[T, H, D]", &x)) return false;
    const uint32_t *shape = b->work->slots[x].shape;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ROPE);
    if (!sxt_build_positions(b, "positions", shape[0], shape[1], &positions) ||
        !sxt_build_rotation(b, shape[3], &stage->desc.rope.rope) || !sxt_build_like(b, "y", x, &y)) {
        return false;
    }
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "positions", positions);
    sxt_stage_bind(stage, "y", y);
    return true;
}
