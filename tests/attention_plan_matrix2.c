// What attention plans by VK_NV_cooperative_matrix2 (shaders/attention_matrix2.comp): flexible shapes as drivers report them,
// on made-up capabilities.
#include <criterion/criterion.h>
#include <string.h>

#include "core/caps.h"
#include "interface/attention_matrix.h"
#include "kernels/attention.h"
#include "support/plans.h"

static sxt_matrix_shape flexible(uint32_t scope, uint32_t threads, uint32_t m, uint32_t n, uint32_t k, uint32_t type) {
    return (sxt_matrix_shape){.m = m,
                              .n = n,
                              .k = k,
                              .a_type = type,
                              .c_type = SXT_COMPONENT_F32,
                              .scope = scope,
                              .threads = threads,
                              .flexible = true};
}

static void add(sxt_caps *caps, sxt_matrix_shape shape) {
    caps->matrix_shapes[caps->matrix_shape_count++] = shape;
}

// With matrices of both scopes, workgroups of 128 and 256, f16 and bf16.
static sxt_caps caps_with(sxt_test_made_up device, uint32_t m, uint32_t n, uint32_t k) {
    static const uint32_t types[] = {SXT_COMPONENT_F16, SXT_COMPONENT_BF16};
    sxt_caps caps = sxt_test_caps_of(device);
    caps.matrix = caps.matrix2 = caps.fp16 = true;
    caps.matrix2_most = 1024;
    caps.matrix_shape_count = 0;
    for (int i = 0; i < 2; i++) {
        add(&caps, flexible(SXT_SCOPE_SUBGROUP, 0, m, n, k, types[i]));
        add(&caps, flexible(SXT_SCOPE_WORKGROUP, 128, m, n, k, types[i]));
        add(&caps, flexible(SXT_SCOPE_WORKGROUP, 256, m, n, k, types[i]));
    }
    return caps;
}

static sxt_attention_desc call_of(uint32_t tokens, uint32_t channels) {
    sxt_attention_desc desc = sxt_test_causal(tokens, 512, 16, 8, channels);
    desc.kernel = SXT_ATTENTION_MATRIX2;
    return desc;
}

static bool is_whole(const sxt_plan *plan) {
    const sxt_shader_id shader = plan->dispatches[0].shader;
    return shader == SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP || shader == SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP_BF16;
}

// What attention_matrix2.comp declares in shared memory, from its specialisation constants.
static uint32_t shared_bytes(const uint32_t *spec) {
    const uint32_t rows = spec[SXT_ATTENTION_SPEC_ROWS], keys = spec[SXT_ATTENTION_SPEC_KEYS];
    const uint32_t forms = spec[SXT_ATTENTION_SPEC_FORMS], held = spec[SXT_ATTENTION_SPEC_HELD_Q];
    const uint32_t k_row = 2 * spec[SXT_ATTENTION_SPEC_K_CHUNK] + 16, p = rows * (2 * keys + 16);
    uint32_t k = keys * k_row > p ? keys * k_row : p;
    if (held && rows * k_row > k) k = rows * k_row;
    const uint32_t q = held ? 16 : rows * (2 * spec[SXT_ATTENTION_SPEC_HEAD] + 16);
    uint32_t bytes = q + k + keys * (2 * spec[SXT_ATTENTION_SPEC_V_CHUNK] + 16);
    bytes += 8 * rows + 4 * rows * 3 + 4 + 8;
    bytes += forms & SXT_ATTENTION_FORM_PAGES ? 16 * keys : 4;
    return bytes + (forms & SXT_ATTENTION_FORM_MASK ? 4 * (rows * ((keys + 31) / 32) + 3) : 8);
}

// All matrices are multiples of a shape of the device's, of the shader's scope and the plan's threads.
static void expect_shape(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_plan *plan) {
    const uint32_t *spec = plan->dispatches[0].spec;
    const uint32_t type = desc->k.type == SXT_TYPE_BF16 ? SXT_COMPONENT_BF16 : SXT_COMPONENT_F16;
    const uint32_t rows = spec[SXT_ATTENTION_SPEC_ROWS] / spec[SXT_ATTENTION_SPEC_ROW_GROUPS];
    const uint32_t keys = spec[SXT_ATTENTION_SPEC_KEYS], k_chunk = spec[SXT_ATTENTION_SPEC_K_CHUNK];
    const uint32_t v_chunk = spec[SXT_ATTENTION_SPEC_V_CHUNK], threads = spec[SXT_ATTENTION_SPEC_THREADS];
    bool found = false;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sxt_matrix_shape *s = &caps->matrix_shapes[i];
        const bool scope =
            is_whole(plan) ? s->scope == SXT_SCOPE_WORKGROUP && s->threads == threads : s->scope == SXT_SCOPE_SUBGROUP;
        found |= scope && s->flexible && s->a_type == type && rows % s->m == 0 && keys % s->n == 0 &&
                 keys % s->k == 0 && k_chunk % s->k == 0 && v_chunk % s->n == 0;
    }
    cr_assert(found, "%s", plan->variant);
    cr_assert(rows <= caps->matrix2_most && keys <= caps->matrix2_most && k_chunk <= caps->matrix2_most &&
                  v_chunk <= caps->matrix2_most,
              "%s", plan->variant);
    cr_assert(!is_whole(plan) || spec[SXT_ATTENTION_SPEC_ROW_GROUPS] == 1, "%s", plan->variant);
}

static void expect_runnable(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_plan *plan) {
    const sxt_dispatch *d = &plan->dispatches[0];
    const uint32_t *spec = d->spec, keys = spec[SXT_ATTENTION_SPEC_KEYS], head = spec[SXT_ATTENTION_SPEC_HEAD];
    const uint32_t v_head = spec[SXT_ATTENTION_SPEC_V_HEAD], k_chunk = spec[SXT_ATTENTION_SPEC_K_CHUNK];
    const uint32_t v_chunk = spec[SXT_ATTENTION_SPEC_V_CHUNK], threads = spec[SXT_ATTENTION_SPEC_THREADS];
    const uint32_t lanes = spec[SXT_ATTENTION_SPEC_LANES], groups = spec[SXT_ATTENTION_SPEC_ROW_GROUPS];
    const char *text = plan->variant;
    expect_shape(caps, desc, plan);
    cr_assert_eq(d->spec_count, SXT_ATTENTION_SPEC_MATRIX_COUNT, "%s", text);
    cr_assert(head >= desc->q.shape[SXT_CHANNEL] && v_head >= desc->v.shape[SXT_CHANNEL], "%s", text);
    cr_assert(head % k_chunk == 0 && k_chunk % 8 == 0 && v_head % v_chunk == 0 && v_chunk % 8 == 0, "%s", text);
    cr_assert((keys & (keys - 1)) == 0 && keys % 8 == 0, "%s", text);
    cr_assert(is_whole(plan) ? threads % lanes == 0 : threads == lanes * groups, "%s", text);
    cr_assert(threads <= caps->max_invocations && threads <= caps->max_group_size_x, "%s", text);
    cr_assert_eq(d->subgroup_size, caps->subgroup_size_control ? lanes : 0, "%s", text);
    cr_assert_eq(spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS], 1, "%s", text);
    cr_assert_eq(spec[SXT_ATTENTION_SPEC_TURNED_V], 0, "%s", text);
    cr_assert_leq(shared_bytes(spec) + (is_whole(plan) ? caps->matrix2_shared_bytes : 0), caps->shared_bytes, "%s",
                  text);
    sxt_test_expect_covered(caps, plan);
}

Test(attention_plan_matrix2, every_shape_head_and_row_count_runs_or_says_why_not) {
    static const uint32_t shapes[][3] = {{16, 16, 16}, {32, 16, 16}, {64, 32, 16},
                                         {8, 8, 8},    {16, 8, 16},  {32, 32, 32}};
    static const uint32_t tokens[] = {1, 3, 17, 512};
    static const sxt_type types[] = {SXT_TYPE_F16, SXT_TYPE_BF16, SXT_TYPE_Q8_0};
    static const sxt_test_made_up gpus[] = {NVIDIA, AMD, MOBILE, LAVAPIPE_8};
    uint32_t ran = 0, planned = 0;
    for (size_t i = 0; i < sizeof gpus / sizeof gpus[0]; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (uint32_t d = 32; d <= 576; d += 32)
                for (uint32_t n = 0; n < 4 * 3; n++) {
                    const sxt_caps caps = caps_with(gpus[i], shapes[s][0], shapes[s][1], shapes[s][2]);
                    sxt_attention_desc desc = call_of(tokens[n / 3], d);
                    desc.k.type = desc.v.type = types[n % 3];
                    if (d % 64) desc.mask = sxt_test_tensor(SXT_TYPE_I32, 1, 1, tokens[n / 3], 16);
                    sxt_plan plan;
                    planned++;
                    if (sxt_attention_plan(&caps, &desc, &plan) == SXT_OK) {
                        expect_runnable(&caps, &desc, &plan);
                        ran++;
                    } else {
                        cr_assert_not_null(strstr(plan.variant, "no flexible matrices"), "%s", plan.variant);
                    }
                    for (desc.tile = 1; desc.tile <= sxt_attention_tiles(SXT_ATTENTION_MATRIX2); desc.tile++)
                        if (sxt_attention_plan(&caps, &desc, &plan) == SXT_OK) expect_runnable(&caps, &desc, &plan);
                }
    cr_expect_gt(ran, planned / 2, "%u of %u", ran, planned);
}

Test(attention_plan_matrix2, variant_tells_kernel_and_geometry) {
    static const struct {
        uint32_t tokens, head;
        const char *variant;
    } rows[] = {
        {512, 128, "attention.matrix2.workgroup d128 16x16x16 rows 64 keys 64 groups 1x1 q held splits 1 grid 128x1"},
        {512, 256, "attention.matrix2.workgroup d256 16x16x16 rows 64 keys 32 groups 1x1 q held splits 1 grid 128x1"},
        {1, 128, "attention.matrix2.workgroup d128 16x16x16 rows 16 keys 32 groups 1x1 q held splits 1 grid 8x1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
        const sxt_attention_desc desc = call_of(rows[i].tokens, rows[i].head);
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK, "%s", plan.variant);
        cr_expect_str_eq(plan.variant, rows[i].variant);
    }
}

Test(attention_plan_matrix2, matrices_are_of_a_scope_that_the_device_has) {
    const sxt_attention_desc desc = call_of(512, 128);
    sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(is_whole(&plan), "%s", plan.variant);
    caps.matrix_shape_count = 0;
    add(&caps, flexible(SXT_SCOPE_WORKGROUP, 512, 16, 16, 16, SXT_COMPONENT_F16)); // threads that no tile has
    add(&caps, flexible(SXT_SCOPE_SUBGROUP, 0, 16, 16, 16, SXT_COMPONENT_F16));
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(!is_whole(&plan), "%s", plan.variant);
    expect_runnable(&caps, &desc, &plan);
    caps.matrix_shapes[1].flexible = false;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED, "%s", plan.variant);
}

Test(attention_plan_matrix2, limits_of_the_device_are_kept) {
    const sxt_attention_desc desc = call_of(512, 128);
    sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
    sxt_plan before, plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &before), SXT_OK);
    // What matrices of a workgroup take is not there for tiles.
    caps.matrix2_shared_bytes = caps.shared_bytes - shared_bytes(before.dispatches[0].spec) + 4;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_str_neq(plan.variant, before.variant);
    expect_runnable(&caps, &desc, &plan);
    caps.matrix2_shared_bytes = 0;
    caps.matrix2_most = 32; // a chunk of 128 channels is too long, and so is one of 64
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED, "%s", plan.variant);
}

Test(attention_plan_matrix2, it_is_used_where_it_is_asked_for_alone) {
    sxt_attention_desc desc = call_of(512, 128);
    sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
    sxt_plan plan;
    caps.matrix2 = false;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    caps.matrix2 = true;
    desc.f32_products = true;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    desc.f32_products = false;
    desc.kernel = SXT_ATTENTION_AUTO;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_null(strstr(plan.variant, "matrix2"), "%s", plan.variant);
}

// A row's sums must not depend on how many queries there are beside it.
Test(attention_plan_matrix2, with_a_chosen_split_all_calls_get_one_tile) {
    static const uint32_t tokens[] = {1, 2, 9, 64, 512};
    for (uint32_t d = 64; d <= 576; d += 64) {
        const sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
        sxt_plan first, plan;
        for (int n = 0; n < 5; n++) {
            sxt_attention_desc desc = call_of(tokens[n], d);
            desc.split_keys = 256;
            cr_assert_eq(sxt_attention_plan(&caps, &desc, n == 0 ? &first : &plan), SXT_OK);
            if (n == 0) continue;
            const uint32_t *a = first.dispatches[0].spec, *b = plan.dispatches[0].spec;
            cr_expect_eq(a[SXT_ATTENTION_SPEC_ROWS], b[SXT_ATTENTION_SPEC_ROWS], "%s", plan.variant);
            cr_expect_eq(a[SXT_ATTENTION_SPEC_KEYS], b[SXT_ATTENTION_SPEC_KEYS], "%s", plan.variant);
            cr_expect_eq(a[SXT_ATTENTION_SPEC_THREADS], b[SXT_ATTENTION_SPEC_THREADS], "%s", plan.variant);
        }
    }
}
