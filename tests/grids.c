// Work of more than 65 535 workgroups, which is all that many devices take on an axis: every operation's plan covers it
// (attention's: see tests/attention_plan.c). Made-up devices; how it runs, tests under SEXTANT_TEST_LIMITS show.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "interface/attention_merge.h"
#include "interface/norm.h"
#include "kernels/kernels.h"

enum { BASELINE, GPU, NARROW, SOFTWARE, DEVICES };

static sxt_caps caps_of(int device) {
    sxt_caps caps;
    sxt_caps_baseline(&caps);
    if (device == BASELINE) return caps;
    caps.subgroup_arithmetic = caps.subgroup_shuffle = caps.subgroup_size_control = caps.storage16 = true;
    caps.subgroup_size = caps.subgroup_min = caps.subgroup_max = device == GPU ? 32 : 8;
    caps.max_invocations = caps.max_group_size_x = 1024;
    caps.fp16 = caps.int64 = caps.buffer_address = true;
    caps.software = device == SOFTWARE;
    if (device == NARROW) caps.max_group_count[0] = 65535 / 64;
    return caps;
}

static sxt_buffer memory = {.bytes = UINT64_MAX};

static sxt_tensor dense(sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    return (sxt_tensor){
        .buffer = &memory,
        .type = type,
        .shape = {batch, token, head, channel},
        .strides = {(uint64_t)token * head * channel, (uint64_t)head * channel, channel, 1},
    };
}

// Units of work that a workgroup of the plan does; 0: as many as it takes, since it divides them by the number of
// workgroups.
static uint64_t units_of_group(sxt_op op, const sxt_dispatch *dispatch) {
    if (dispatch->shader == SXT_SHADER_NORM_SOFTWARE || dispatch->shader == SXT_SHADER_STEP_SOFTWARE) return 0;
    if (op == SXT_OP_NORM) return dispatch->spec[SXT_NORM_SPEC_GROUP] / dispatch->spec[SXT_NORM_SPEC_LANES];
    if (op == SXT_OP_ATTENTION_MERGE) return dispatch->spec[SXT_MERGE_SPEC_ROWS];
    return 1;
}

static void expect_covered(sxt_op op, const void *desc, uint64_t units) {
    for (int d = 0; d < DEVICES; d++) {
        const sxt_device device = {.info.caps = caps_of(d)};
        sxt_plan plan;
        cr_assert_eq(sxt_plan_make(&device, op, desc, &plan), SXT_OK, "%s on device %d", sxt_op_name(op), d);
        cr_assert_eq(plan.dispatch_count, 1);
        const sxt_dispatch *dispatch = &plan.dispatches[0];
        const uint64_t groups = (uint64_t)dispatch->groups[0] * dispatch->groups[1];
        const uint64_t each = units_of_group(op, dispatch);
        for (int axis = 0; axis < 3; axis++)
            cr_expect(dispatch->groups[axis] > 0 && dispatch->groups[axis] <= device.info.caps.max_group_count[axis],
                      "%s: %u groups on axis %d", plan.variant, dispatch->groups[axis], axis);
        if (each == 0) continue;
        cr_expect_geq(groups * each, units, "%s: %llu groups", plan.variant, (unsigned long long)groups);
        cr_expect_gt(groups, 65535, "%s: too few to tell anything", plan.variant);
    }
}

// As much as the least storage range holds: 2^26 elements of f16.
enum { ROWS = 20000000, TOKENS = 1000003 };

Test(grids, norm) {
    sxt_norm_desc desc = {.x = dense(SXT_TYPE_F16, 1, ROWS, 1, 2), .y = dense(SXT_TYPE_F16, 1, ROWS, 1, 2)};
    expect_covered(SXT_OP_NORM, &desc, ROWS);
    desc.x = desc.y = dense(SXT_TYPE_F16, 1, 7, ROWS / 7, 2);
    expect_covered(SXT_OP_NORM, &desc, ROWS / 7 * 7);
}

Test(grids, attention_merge) {
    const sxt_tensor o = dense(SXT_TYPE_F16, 1, ROWS, 1, 2), lse = dense(SXT_TYPE_F32, 1, ROWS, 1, 1);
    const sxt_attention_merge_desc desc = {.o_a = o, .o_b = o, .o = o, .lse_a = lse, .lse_b = lse, .lse = lse};
    expect_covered(SXT_OP_ATTENTION_MERGE, &desc, ROWS);
}

Test(grids, rope) {
    const sxt_rope_desc desc = {
        .x = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8),
        .y = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8),
        .positions = dense(SXT_TYPE_I32, 1, 1, 1, TOKENS),
        .rope = {.rotary_dim = 8, .base = 10000, .freq_scale = 1, .attn_factor = 1},
    };
    expect_covered(SXT_OP_ROPE, &desc, TOKENS);
}

Test(grids, qk_norm_rope) {
    const sxt_tensor rows = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8);
    const sxt_qk_norm_rope_desc desc = {
        .q = rows,
        .q_out = rows,
        .k = rows,
        .v = rows,
        .cache = {.k = rows, .v = rows},
        .rope = {.pairing = SXT_ROPE_NONE, .base = 1, .freq_scale = 1, .attn_factor = 1},
    };
    expect_covered(SXT_OP_QK_NORM_ROPE, &desc, TOKENS);
}

Test(grids, kv_write) {
    const sxt_tensor rows = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8);
    const sxt_kv_write_desc desc = {.k = rows, .v = rows, .cache = {.k = rows, .v = rows}};
    expect_covered(SXT_OP_KV_WRITE, &desc, TOKENS);
}

Test(grids, kv_shift) {
    const sxt_kv_shift_desc desc = {
        .k = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8),
        .deltas = dense(SXT_TYPE_I32, 1, 1, 1, TOKENS),
        .rope = {.rotary_dim = 8, .base = 10000, .freq_scale = 1, .attn_factor = 1},
    };
    expect_covered(SXT_OP_KV_SHIFT, &desc, TOKENS);
}

Test(grids, kv_copy) {
    const sxt_tensor rows = dense(SXT_TYPE_F16, 1, TOKENS, 1, 8), index = dense(SXT_TYPE_I32, 1, 1, 1, TOKENS);
    sxt_kv_copy_desc desc = {.k_from = rows, .k_to = rows, .v_from = rows, .v_to = rows, .from = index, .to = index};
    expect_covered(SXT_OP_KV_COPY, &desc, UINT64_C(2) * TOKENS);
    desc.pages = true;
    desc.k_from = desc.k_to = desc.v_from = desc.v_to = dense(SXT_TYPE_F16, TOKENS / 16, 16, 1, 8);
    desc.from = desc.to = dense(SXT_TYPE_I32, 1, 1, 1, TOKENS / 16);
    expect_covered(SXT_OP_KV_COPY, &desc, UINT64_C(2) * 16 * (TOKENS / 16));
}
