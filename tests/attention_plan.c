// What attention plans on devices that are not here, whatever the kernel, and on llvmpipe. The rest is in
// attention_plan_tile.c.
#include <criterion/criterion.h>
#include <string.h>

#include "interface/attention_decode.h"
#include "kernels/attention_split.h"
#include "support/plans.h"

Test(attention_plan, lavapipe_is_reached_by_address_where_it_can_be) {
    sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
    sxt_caps caps = sxt_test_caps_of(LAVAPIPE_8);
    sxt_plan plan;
    for (int address = 0; address < 2; address++) {
        caps.buffer_address = caps.int64 = address;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect_eq(plan.dispatches[0].by_address, address);
        cr_expect_eq(plan.dispatches[0].shader == SXT_SHADER_ATTENTION_PREFILL_SOFTWARE, address, "%s", plan.variant);
    }
}

Test(attention_plan, software_drivers_without_subgroups_take_the_tile_kernel) {
    sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
    sxt_caps caps = sxt_test_caps_of(LAVAPIPE_8);
    caps.subgroup_arithmetic = caps.storage16 = false;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION);
    cr_expect_eq(plan.dispatches[0].subgroup_size, 0u);
}

Test(attention_plan, masks_are_one_window) {
    const int32_t open = SXT_ATTENTION_OPEN;
    static const struct {
        bool causal, windowed;
        int32_t left, right, want_left, want_right;
    } rows[] = {
        {false, false, 5, 5, SXT_ATTENTION_OPEN, SXT_ATTENTION_OPEN},
        {true, false, 5, 5, SXT_ATTENTION_OPEN, 0},
        {false, true, 5, 7, 5, 7},
        {false, true, -1, 0, SXT_ATTENTION_OPEN, 0},
        {true, true, 5, 7, 5, 0},
        {true, true, 0, -1, 0, 0},
        {false, true, INT32_MAX, INT32_MAX, SXT_ATTENTION_OPEN, SXT_ATTENTION_OPEN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
        desc.causal = rows[i].causal;
        desc.windowed = rows[i].windowed;
        desc.window_left = rows[i].left;
        desc.window_right = rows[i].right;
        sxt_plan plan;
        sxt_test_plan_on(NVIDIA, &desc, &plan);
        struct sxt_attention_push push = sxt_test_planned_push(&plan);
        cr_expect(push.window_left == rows[i].want_left && push.window_right == rows[i].want_right, "row %zu: %d, %d",
                  i, push.window_left, push.window_right);
        cr_expect(push.window_left <= open && push.window_right <= open);
    }
}

Test(attention_plan, offsets_become_bases_and_odd_rows_are_not_aligned) {
    sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
    desc.k.offset_bytes = 1024 + 8; // 4 elements of f16
    desc.v.offset_bytes = 1024 + 2;
    desc.q.strides[SXT_HEAD] = 65;
    sxt_plan plan;
    sxt_test_plan_on(NVIDIA, &desc, &plan);
    struct sxt_attention_push push = sxt_test_planned_push(&plan);
    cr_expect_eq(push.bases_main, 4u << 8 | 1u << 16);
    const uint32_t *spec = plan.dispatches[0].spec;
    cr_expect(spec[SXT_ATTENTION_SPEC_K_ALIGNED] && !spec[SXT_ATTENTION_SPEC_V_ALIGNED]);
    cr_expect_eq(push.flags, (uint32_t)(SXT_ATTENTION_O_ALIGNED | SXT_ATTENTION_ROWS_OUTER));
}

Test(attention_plan, without_queries_there_is_no_work) {
    sxt_attention_desc desc = sxt_test_causal(0, 64, 4, 4, 64);
    sxt_plan plan;
    sxt_test_plan_on(NVIDIA, &desc, &plan);
    cr_expect_eq(plan.dispatch_count, 0u);
}

// ── Few queries, long caches ──

static sxt_caps lavapipe_by_address(void) {
    sxt_caps caps = sxt_test_caps_of(LAVAPIPE_8);
    caps.buffer_address = caps.int64 = true;
    return caps;
}

Test(attention_plan, software_drivers_share_one_pipeline_among_mixed_types) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc a = sxt_test_causal(64, 64, 4, 4, 64), b = a;
    a.k.type = SXT_TYPE_F32;
    b.v.type = SXT_TYPE_BF16;
    sxt_plan plan_a, plan_b;
    cr_assert_eq(sxt_attention_plan(&caps, &a, &plan_a), SXT_OK);
    cr_assert_eq(sxt_attention_plan(&caps, &b, &plan_b), SXT_OK);
    cr_expect_arr_eq(plan_a.dispatches[0].spec, plan_b.dispatches[0].spec, sizeof plan_a.dispatches[0].spec);
    cr_expect_neq(sxt_test_planned_push(&plan_a).dims, sxt_test_planned_push(&plan_b).dims);
}

Test(attention_plan, splits_fill_the_device_and_no_more) {
    static const struct {
        sxt_attention_work work;
        uint32_t slots, splits;
    } rows[] = {
        {{8, 4096, 128}, 32, 4},      // lavapipe, 8 KV heads
        {{8, 32768, 128}, 32, 4},     // longer caches do not need more
        {{1, 32768, 128}, 32, 28},    // 28 of 32 are 87 %
        {{1, 1024, 128}, 32, 7},      // at least 128 keys each
        {{8, 512, 128}, 32, 1},       // four blocks
        {{26, 4096, 128}, 32, 1},     // 81 % busy without
        {{24, 4096, 128}, 32, 4},     // 75 %: 96 are three full waves
        {{64, 131072, 128}, 132, 2},  // an H100: 128 of 132
        {{8, 131072, 128}, 132, 15},  // 120 of 132, 91 %; 16 would be 97 %
        {{1, 131072, 128}, 132, 109}, // the best is 128 of 132
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(sxt_attention_splits(&rows[i].work, rows[i].slots), rows[i].splits, "row %zu: %u splits", i,
                     sxt_attention_splits(&rows[i].work, rows[i].slots));
}

Test(attention_plan, splits_are_never_more_than_keys_allow) {
    for (uint32_t keys = 0; keys < 5000; keys += 97)
        for (uint64_t tiles = 1; tiles < 200; tiles += 7) {
            const sxt_attention_work work = {tiles, keys, 128};
            const uint32_t splits = sxt_attention_splits(&work, 132);
            cr_expect(splits >= 1 && (splits == 1 || splits * 128 <= keys), "%u keys, %u splits", keys, splits);
        }
}

Test(attention_plan, splits_are_whole_blocks_of_keys) {
    static const struct {
        sxt_attention_work work;
        uint32_t split_keys;
    } rows[] = {
        {{8, 4096, 256}, 1024}, {{8, 4097, 256}, 1280}, {{8, 1280, 256}, 512},
        {{8, 1024, 256}, 0},    {{32, 65536, 256}, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(sxt_attention_split_keys(&rows[i].work, 32), rows[i].split_keys, "row %zu: %u keys", i,
                     sxt_attention_split_keys(&rows[i].work, 32));
}

Test(attention_plan, decode_is_split_and_merged) {
    const sxt_caps caps = lavapipe_by_address();
    const sxt_attention_desc desc = sxt_test_causal(1, 4096, 32, 8, 128);
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_str_eq(plan.variant, "attention.decode d128 rows 4 splits 4x1024 grid 8x1x4");
    cr_assert_eq(plan.dispatch_count, 2u);
    const sxt_dispatch *split = &plan.dispatches[0], *merge = &plan.dispatches[1];
    cr_expect_eq(split->shader, SXT_SHADER_ATTENTION_DECODE_SOFTWARE);
    cr_expect_eq(merge->shader, SXT_SHADER_ATTENTION_DECODE_MERGE_ADDRESS);
    cr_expect_eq(merge->groups[0], 32u * 32 / 8, "32 rows of 32 quads, 8 lanes");
    cr_expect_eq(merge->spec[SXT_ATTENTION_SPEC_ROWS], 4u);
    cr_expect(sxt_test_planned_params(split).split_keys == 1024 && sxt_test_planned_params(merge).split_keys == 1024);
    const uint64_t partials = 4 * 32, o_bytes = partials * 128 * 4;
    cr_expect_eq(plan.scratch_bytes, o_bytes + partials * 4);
    const int o_at[2] = {SXT_ATTENTION_O, SXT_ATTENTION_PARTIAL_O};
    const int lse_at[2] = {SXT_ATTENTION_LSE, SXT_ATTENTION_PARTIAL_LSE};
    for (int i = 0; i < 2; i++) {
        const sxt_binding *o = &plan.dispatches[i].bindings[o_at[i]];
        const sxt_binding *lse = &plan.dispatches[i].bindings[lse_at[i]];
        cr_expect(o->kind == SXT_BINDING_SCRATCH && lse->kind == SXT_BINDING_SCRATCH);
        cr_expect(o->written == (i == 0) && lse->written == (i == 0));
        cr_expect(o->offset + o->bytes <= lse->offset && lse->offset + lse->bytes <= plan.scratch_bytes);
    }
    // Each tensor is bound where it is touched.
    cr_expect_eq(merge->bindings[SXT_ATTENTION_O].kind, SXT_BINDING_BUFFER);
    cr_expect_eq(merge->bindings[SXT_ATTENTION_V].kind, SXT_BINDING_NONE);
}

Test(attention_plan, a_window_is_split_by_the_keys_in_it) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc desc = sxt_test_causal(1, 32768, 8, 2, 64);
    desc.windowed = true;
    desc.window_left = 2047;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).split_keys, 512u, "2048 keys: %s", plan.variant);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).splits, 5u, "4 full ones may lie across 5: %s",
                 plan.variant);
    desc.window_left = 200;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 1u, "too few keys: %s", plan.variant);
    cr_expect_eq(plan.scratch_bytes, 0u);
}

Test(attention_plan, a_split_that_the_caller_chose_is_kept) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc desc = sxt_test_causal(1, 512, 64, 64, 128);
    desc.split_keys = 1024;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 2u, "one split is merged too, by the same arithmetic: %s", plan.variant);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).split_keys, 1024u);
}

Test(attention_plan, every_type_of_cache_is_decoded) {
    static const sxt_type types[] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                     SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};
    enum { TYPES = sizeof types / sizeof types[0] };
    const sxt_caps caps = lavapipe_by_address();
    for (int i = 0; i < TYPES * TYPES; i++) {
        sxt_attention_desc desc = sxt_test_causal(1, 4096, 8, 2, 64);
        desc.k.type = types[i % TYPES];
        desc.v.type = types[i / TYPES];
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_DECODE_SOFTWARE, "%s, %s: %s",
                     sxt_type_name(desc.k.type), sxt_type_name(desc.v.type), plan.variant);
    }
}

Test(attention_plan, what_decode_cannot_do_stays_with_the_kernel_for_all) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc rows[5];
    for (int i = 0; i < 5; i++)
        rows[i] = sxt_test_causal(1, 4096, 8, 2, 64);
    rows[0].k.type = SXT_TYPE_FP8_E4M3; // units of 8 channels
    rows[0].k.offset_bytes = 4;
    rows[1].k.offset_bytes = 2; // odd rows
    rows[2].q.offset_bytes = 4;
    rows[3] = sxt_test_causal(5, 4096, 8, 2, 64); // 20 packed rows
    rows[4] = sxt_test_causal(1, 255, 8, 2, 64);
    for (int i = 0; i < 5; i++) {
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &rows[i], &plan), SXT_OK);
        cr_expect_neq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_DECODE_SOFTWARE, "row %d: %s", i, plan.variant);
    }
}
