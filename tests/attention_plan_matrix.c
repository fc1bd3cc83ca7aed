// What attention plans for matrix units that are not here (shaders/attention_matrix.comp): shapes of products as drivers
// report them, on made-up capabilities of several vendors.
#include <criterion/criterion.h>
#include <string.h>

#include "interface/attention_matrix.h"
#include "kernels/attention.h"
#include "support/plans.h"

enum { F16 = 0, F32 = 1, BF16 = 1000141000, WORKGROUP = 2, SUBGROUP = 3 }; // of Vulkan

static const sxt_test_made_up gpus[] = {NVIDIA, AMD, AMD_OLD, INTEL, MOBILE, LAVAPIPE_8};

enum { GPUS = sizeof gpus / sizeof gpus[0] };

static sxt_matrix_shape shape_of(uint32_t m, uint32_t n, uint32_t k, uint32_t operands) {
    return (sxt_matrix_shape){.m = m, .n = n, .k = k, .a_type = operands, .c_type = F32, .scope = SUBGROUP};
}

static sxt_caps caps_with(sxt_test_made_up device, uint32_t m, uint32_t n, uint32_t k) {
    sxt_caps caps = sxt_test_caps_of(device);
    caps.matrix = caps.fp16 = true;
    caps.matrix_shapes[0] = shape_of(m, n, k, F16);
    caps.matrix_shapes[1] = shape_of(m, n, k, BF16);
    caps.matrix_shape_count = 2;
    return caps;
}

static bool is_matrix(const sxt_plan *plan) {
    return strncmp(plan->variant, "attention.matrix", 16) == 0;
}

// What attention_matrix.comp declares in shared memory, from its specialisation constants.
static uint32_t shared_bytes(const uint32_t *spec) {
    const uint32_t rows = spec[SXT_ATTENTION_SPEC_ROWS], keys = spec[SXT_ATTENTION_SPEC_KEYS];
    const uint32_t fragment = spec[SXT_ATTENTION_SPEC_MATRIX_M] * spec[SXT_ATTENTION_SPEC_MATRIX_N];
    const uint32_t columns = spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS], forms = spec[SXT_ATTENTION_SPEC_FORMS];
    const uint32_t scratch = spec[SXT_ATTENTION_SPEC_ROW_GROUPS] * columns * fragment * 4;
    const uint32_t v_chunk = spec[SXT_ATTENTION_SPEC_V_CHUNK];
    const uint32_t q = spec[SXT_ATTENTION_SPEC_HELD_Q] ? 16 : rows * (2 * spec[SXT_ATTENTION_SPEC_HEAD] + 16);
    const uint32_t k = keys * (2 * spec[SXT_ATTENTION_SPEC_K_CHUNK] + 16), p = rows * (2 * keys + 16);
    const uint32_t v = spec[SXT_ATTENTION_SPEC_TURNED_V] ? v_chunk * (2 * keys + 16) : keys * (2 * v_chunk + 16);
    uint32_t bytes = q + (k > scratch ? k : scratch) + v + (p > scratch ? p : scratch);
    bytes += 4 * fragment + 8 * rows + 4 * rows * (columns + 2) + 4 + 8;
    bytes += forms & SXT_ATTENTION_FORM_PAGES ? 16 * keys : 4;
    return bytes + (forms & SXT_ATTENTION_FORM_MASK ? 4 * (rows * ((keys + 31) / 32) + 3) : 8);
}

// The tile covers what the shader takes for granted, and the grid all tiles.
static void expect_runnable(const sxt_caps *caps, const sxt_attention_desc *desc, const sxt_plan *plan) {
    const sxt_dispatch *d = &plan->dispatches[0];
    const uint32_t *spec = d->spec, rows = spec[SXT_ATTENTION_SPEC_ROWS], keys = spec[SXT_ATTENTION_SPEC_KEYS];
    const uint32_t m = spec[SXT_ATTENTION_SPEC_MATRIX_M], n = spec[SXT_ATTENTION_SPEC_MATRIX_N];
    const uint32_t k = spec[SXT_ATTENTION_SPEC_MATRIX_K], lanes = spec[SXT_ATTENTION_SPEC_LANES];
    const uint32_t row_groups = spec[SXT_ATTENTION_SPEC_ROW_GROUPS], columns = spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS];
    const uint32_t threads = spec[SXT_ATTENTION_SPEC_THREADS], head = spec[SXT_ATTENTION_SPEC_HEAD];
    const uint32_t v_head = spec[SXT_ATTENTION_SPEC_V_HEAD], k_chunk = spec[SXT_ATTENTION_SPEC_K_CHUNK];
    const uint32_t v_chunk = spec[SXT_ATTENTION_SPEC_V_CHUNK];
    const char *text = plan->variant;
    cr_assert_eq(d->spec_count, SXT_ATTENTION_SPEC_MATRIX_COUNT, "%s", text);
    cr_assert_eq(d->binding_count, SXT_ATTENTION_BINDINGS, "%s", text);

    bool reported = false;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sxt_matrix_shape *s = &caps->matrix_shapes[i];
        reported |= s->m == m && s->n == n && s->k == k;
    }
    cr_assert(reported, "a shape of the device's: %s", text);
    cr_assert(rows % (m * row_groups) == 0 && keys % (n * columns) == 0 && keys % k == 0, "fragments: %s", text);
    cr_assert(head >= desc->q.shape[SXT_CHANNEL] && v_head >= desc->v.shape[SXT_CHANNEL], "%s", text);
    cr_assert(head % k_chunk == 0 && k_chunk % k == 0, "channels of K: %s", text);
    cr_assert(v_head % v_chunk == 0 && v_chunk % (n * columns) == 0, "channels of V: %s", text);
    cr_assert(!spec[SXT_ATTENTION_SPEC_HELD_Q] || k_chunk == head, "held queries are of one chunk: %s", text);
    cr_assert(rows / row_groups * (2 * keys + 16) >= 4 * m * n, "an accumulator among a group's weights: %s", text);
    cr_assert((keys & (keys - 1)) == 0 && keys % 8 == 0, "%s", text);

    cr_assert_eq(threads, lanes * row_groups * columns, "%s", text);
    cr_assert(threads <= caps->max_invocations && threads <= caps->max_group_size_x, "%s", text);
    cr_assert_eq(d->subgroup_size, caps->subgroup_size_control ? lanes : 0, "%s", text);
    cr_assert(lanes >= caps->subgroup_min && lanes <= caps->subgroup_max, "%s", text);
    cr_assert_leq(shared_bytes(spec), caps->shared_bytes, "%s", text);
    cr_assert(columns == 1 || spec[SXT_ATTENTION_SPEC_TOGETHER], "subgroups that share rows wait: %s", text);

    sxt_test_expect_covered(caps, plan);
}

// ── Tiles ──

Test(attention_plan_matrix, every_shape_head_and_row_count_runs_or_is_left_to_the_tile_kernel) {
    static const uint32_t shapes[][3] = {{16, 16, 16}, {8, 16, 16}, {16, 8, 16},  {8, 8, 16},
                                         {8, 8, 8},    {16, 16, 8}, {32, 16, 16}, {16, 8, 8}};
    static const uint32_t tokens[] = {1, 3, 17, 512, 20000};
    static const sxt_type types[] = {SXT_TYPE_F16, SXT_TYPE_BF16, SXT_TYPE_Q8_0};
    uint32_t ran = 0, planned = 0;
    for (int i = 0; i < GPUS; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (uint32_t d = 32; d <= 576; d += 32)
                for (uint32_t n = 0; n < 5 * 3; n++) {
                    const sxt_caps caps = caps_with(gpus[i], shapes[s][0], shapes[s][1], shapes[s][2]);
                    sxt_attention_desc desc = sxt_test_causal(tokens[n / 3], 320, 1 + d % 3, 1, d);
                    desc.kernel = SXT_ATTENTION_MATRIX;
                    desc.k.type = desc.v.type = types[n % 3];
                    if (d % 64) desc.mask = sxt_test_tensor(SXT_TYPE_I32, 1, 1, tokens[n / 3], 10);
                    if (sxt_tensor_extent(&desc.q) > caps.storage_range) continue;
                    sxt_plan plan;
                    planned++;
                    if (sxt_attention_plan(&caps, &desc, &plan) == SXT_OK) {
                        cr_assert(is_matrix(&plan), "%s", plan.variant);
                        expect_runnable(&caps, &desc, &plan);
                        ran++;
                        continue;
                    }
                    cr_assert_not_null(strstr(plan.variant, "shared memory"), "%s", plan.variant);
                    desc.kernel = SXT_ATTENTION_AUTO;
                    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK, "%s", plan.variant);
                }
    // All but some with the 16 KiB of MOBILE.
    cr_expect_gt(ran, planned * 3 / 4, "%u of %u", ran, planned);
}

Test(attention_plan_matrix, every_tile_that_may_be_asked_for_is_sound) {
    for (int i = 0; i < GPUS; i++)
        for (uint32_t tile = 1; tile <= sxt_attention_tiles(SXT_ATTENTION_MATRIX); tile++)
            for (uint32_t d = 64; d <= 576; d += 64) {
                const sxt_caps caps = caps_with(gpus[i], 16, 16, 16);
                sxt_attention_desc desc = sxt_test_causal(300, 320, 4, 2, d);
                desc.kernel = SXT_ATTENTION_MATRIX;
                desc.tile = tile;
                sxt_plan plan;
                if (sxt_attention_plan(&caps, &desc, &plan) == SXT_OK) expect_runnable(&caps, &desc, &plan);
            }
}

Test(attention_plan_matrix, variant_tells_kernel_and_geometry) {
    static const struct {
        sxt_test_made_up device;
        uint32_t m, tokens, head;
        const char *variant;
    } rows[] = {
        {AMD, 16, 512, 64, "attention.matrix d64 16x16x16 rows 64 keys 32 groups 4x1 q held splits 1 grid 128x1"},
        {AMD, 16, 512, 128, "attention.matrix d128 16x16x16 rows 64 keys 32 groups 4x1 q held splits 1 grid 128x1"},
        {AMD, 16, 512, 256, "attention.matrix d256 16x16x16 rows 64 keys 32 groups 4x2 splits 1 grid 128x1"},
        {NVIDIA, 16, 512, 128, "attention.matrix d128 16x16x16 rows 64 keys 64 groups 4x1 q held splits 1 grid 128x1"},
        {NVIDIA, 16, 1, 128, "attention.matrix d128 16x16x16 rows 16 keys 64 groups 1x4 splits 1 grid 8x1"},
        {INTEL, 8, 512, 128, "attention.matrix d128 8x16x16 rows 64 keys 32 groups 4x1 q held splits 1 grid 128x1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sxt_caps caps = caps_with(rows[i].device, rows[i].m, 16, 16);
        sxt_attention_desc desc = sxt_test_causal(rows[i].tokens, 512, rows[i].tokens == 1 ? 64 : 16, 8, rows[i].head);
        if (rows[i].tokens == 1) desc.kernel = SXT_ATTENTION_MATRIX;
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect_str_eq(plan.variant, rows[i].variant);
    }
}

// ── When ──

Test(attention_plan_matrix, shapes_that_the_kernel_cannot_take_are_passed_over) {
    const sxt_attention_desc desc = sxt_test_causal(512, 512, 16, 8, 128);
    sxt_caps caps = caps_with(NVIDIA, 16, 16, 16);
    static const sxt_matrix_shape wrong[] = {
        {.m = 16, .n = 16, .k = 16, .c_type = F16, .scope = SUBGROUP},  // sums of f16
        {.m = 16, .n = 16, .k = 16, .c_type = F32, .scope = WORKGROUP}, // of a workgroup
        {.m = 64, .n = 16, .k = 16, .c_type = F32, .scope = SUBGROUP},  // too tall
        {.m = 16, .n = 64, .k = 16, .c_type = F32, .scope = SUBGROUP},  // wider than a tile of keys
        {.m = 16, .n = 16, .k = 64, .c_type = F32, .scope = SUBGROUP},
        {.m = 12, .n = 16, .k = 16, .c_type = F32, .scope = SUBGROUP},
    };
    enum { WRONG = sizeof wrong / sizeof wrong[0] };
    for (int i = 0; i < WRONG; i++)
        caps.matrix_shapes[i] = wrong[i];
    caps.matrix_shape_count = WRONG;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(!is_matrix(&plan), "%s", plan.variant);
    caps.matrix_shapes[caps.matrix_shape_count++] = shape_of(16, 8, 16, F16);
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_not_null(strstr(plan.variant, "16x8x16"), "%s", plan.variant);
}

Test(attention_plan_matrix, types_go_with_the_operands_that_hold_them) {
    static const struct {
        sxt_type k, v;
        bool f32_products, want;
    } rows[] = {
        {SXT_TYPE_F16, SXT_TYPE_F16, false, true},   {SXT_TYPE_F16, SXT_TYPE_F16, true, false},
        {SXT_TYPE_BF16, SXT_TYPE_BF16, false, true}, {SXT_TYPE_F32, SXT_TYPE_F32, false, false},
        {SXT_TYPE_F16, SXT_TYPE_BF16, false, false}, {SXT_TYPE_BF16, SXT_TYPE_F16, false, false},
        {SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, false, true}, {SXT_TYPE_FP8_E4M3, SXT_TYPE_F16, false, true},
        {SXT_TYPE_Q8_0, SXT_TYPE_F32, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_attention_desc desc = sxt_test_causal(512, 512, 16, 8, 128);
        desc.k.type = rows[i].k;
        desc.v.type = rows[i].v;
        desc.f32_products = rows[i].f32_products;
        sxt_caps caps = caps_with(AMD, 16, 16, 16);
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect_eq(is_matrix(&plan), rows[i].want, "row %zu: %s", i, plan.variant);
        // Without bf16 operands, or f16 ones, what wants them goes elsewhere.
        caps.matrix_shapes[0] = caps.matrix_shapes[rows[i].k == SXT_TYPE_BF16 ? 0 : 1];
        caps.matrix_shape_count = 1;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect(!is_matrix(&plan), "row %zu: %s", i, plan.variant);
    }
}

Test(attention_plan_matrix, lavapipe_and_few_rows_take_other_kernels_unless_asked) {
    sxt_attention_desc desc = sxt_test_causal(512, 512, 16, 8, 128);
    sxt_caps caps = caps_with(LAVAPIPE_8, 8, 8, 8);
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(!is_matrix(&plan), "%s", plan.variant);
    caps = caps_with(AMD, 16, 16, 16);
    desc = sxt_test_causal(1, 4096, 28, 4, 128); // 7 rows share a key
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(!is_matrix(&plan), "%s", plan.variant);
    desc = sxt_test_causal(1, 4096, 32, 4, 128); // 8 do
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(is_matrix(&plan), "%s", plan.variant);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_ROWS], 16u, "%s", plan.variant);
    caps.matrix = false;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect(!is_matrix(&plan), "%s", plan.variant);
    desc.kernel = SXT_ATTENTION_MATRIX;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
}

// ── Bounded logits, and the order of sums ──

Test(attention_plan_matrix, weights_of_f16_bear_a_bound_of_16_and_beyond_10_they_are_looked_at) {
    static const struct {
        sxt_type type;
        float bound;
        bool bounded, second_look;
    } rows[] = {
        {SXT_TYPE_F16, 0, false, false},   {SXT_TYPE_F16, 10, true, false},     {SXT_TYPE_F16, 10.1f, true, true},
        {SXT_TYPE_F16, 16, true, true},    {SXT_TYPE_F16, 16.1f, false, false}, {SXT_TYPE_Q8_0, 10, true, false},
        {SXT_TYPE_Q8_0, 12, true, true},   {SXT_TYPE_BF16, 10.1f, true, false}, {SXT_TYPE_BF16, 40, true, false},
        {SXT_TYPE_BF16, 41, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_attention_desc desc = sxt_test_causal(512, 512, 16, 8, 128);
        desc.k.type = desc.v.type = rows[i].type;
        desc.logit_bound = rows[i].bound;
        const sxt_caps caps = caps_with(AMD, 16, 16, 16);
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_assert(is_matrix(&plan), "%s", plan.variant);
        const uint32_t *spec = plan.dispatches[0].spec;
        cr_expect_eq(spec[SXT_ATTENTION_SPEC_BOUNDED], rows[i].bounded, "row %zu: %s", i, plan.variant);
        cr_expect_eq(spec[SXT_ATTENTION_SPEC_SECOND_LOOK], rows[i].second_look, "row %zu: %s", i, plan.variant);
    }
}

// The tile for second looks is not for calls that get none.
Test(attention_plan_matrix, a_bound_beyond_the_largest_is_planned_as_none) {
    const sxt_caps caps = caps_with(AMD, 16, 16, 16);
    sxt_attention_desc desc = sxt_test_causal(512, 512, 16, 8, 128);
    sxt_plan none, beyond;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &none), SXT_OK);
    desc.logit_bound = 50;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &beyond), SXT_OK);
    cr_expect_str_eq(beyond.variant, none.variant);
}

// A row's sums must not depend on how many queries there are beside it: tiles of keys, and the subgroups among which
// they are shared out, are the same for all.
Test(attention_plan_matrix, with_a_chosen_split_sums_have_one_order) {
    static const uint32_t tokens[] = {1, 2, 9, 64, 512};
    for (int i = 0; i < GPUS; i++)
        for (uint32_t d = 64; d <= 576; d += 64) {
            const sxt_caps caps = caps_with(gpus[i], 16, 16, 16);
            uint32_t keys = 0, columns = 0, planned = 0;
            for (int n = 0; n < 5; n++) {
                sxt_attention_desc desc = sxt_test_causal(tokens[n], 5000, 8, 2, d);
                desc.kernel = SXT_ATTENTION_MATRIX;
                desc.split_keys = 1024;
                sxt_plan plan;
                if (sxt_attention_plan(&caps, &desc, &plan) != SXT_OK) continue;
                expect_runnable(&caps, &desc, &plan);
                const uint32_t *spec = plan.dispatches[0].spec;
                cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).split_keys, 1024u, "%s", plan.variant);
                if (planned++ == 0) {
                    keys = spec[SXT_ATTENTION_SPEC_KEYS];
                    columns = spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS];
                }
                cr_expect(spec[SXT_ATTENTION_SPEC_KEYS] == keys && spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS] == columns,
                          "%u tokens, %u keys and %u groups before: %s", tokens[n], keys, columns, plan.variant);
            }
        }
}
