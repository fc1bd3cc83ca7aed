// What attention plans for GPUs that are not here (shaders/attention.comp): made-up capabilities of several vendors.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support/plans.h"

static const sxt_test_made_up gpus[] = {NVIDIA, AMD, AMD_OLD, INTEL, MOBILE, SWIFTSHADER, BASELINE};

enum { GPUS = sizeof gpus / sizeof gpus[0] };

// What attention.comp declares in shared memory, from its specialisation constants.
static uint32_t shared_bytes(const sxt_dispatch *d, bool subgroup) {
    const uint32_t *spec = d->spec, rows = spec[SXT_ATTENTION_SPEC_ROWS], keys = spec[SXT_ATTENTION_SPEC_KEYS];
    const uint32_t forms = spec[SXT_ATTENTION_SPEC_FORMS];
    const uint32_t q_quads = spec[SXT_ATTENTION_SPEC_WHOLE_Q] ? spec[SXT_ATTENTION_SPEC_HEAD] / 4 : SXT_ATTENTION_CHUNK;
    const uint32_t k_tile = keys * (SXT_ATTENTION_CHUNK + 1), p_tile = rows * (keys / 4 + 1);
    uint32_t bytes = 16 * (rows * (q_quads + 1) + (k_tile > p_tile ? k_tile : p_tile)) + 4 * rows;
    if (!subgroup) bytes += 4 * rows * SXT_ATTENTION_LANES;
    bytes += forms & SXT_ATTENTION_FORM_PAGES ? 16 * keys : 4;
    return bytes + (forms & SXT_ATTENTION_FORM_MASK ? 4 * (rows * keys / 32 + 3) : 8);
}

// The tile covers what the shader takes for granted, and the grid all tiles.
static void expect_runnable(sxt_test_made_up device, const sxt_attention_desc *desc, const sxt_plan *plan) {
    const sxt_caps caps = sxt_test_caps_of(device);
    const sxt_dispatch *d = &plan->dispatches[0];
    const uint32_t *spec = d->spec, rows = spec[SXT_ATTENTION_SPEC_ROWS], keys = spec[SXT_ATTENTION_SPEC_KEYS];
    const char *shader = sxt_shaders[d->shader].name, *name = sxt_test_made_up_name(device);
    const bool subgroup = strstr(shader, "subgroup");
    cr_assert_eq(subgroup, caps.subgroup_size >= 16 && caps.subgroup_arithmetic, "%s: %s", name, plan->variant);
    cr_assert_eq(strstr(shader, "s16") != NULL, caps.storage16, "%s: %s", name, plan->variant);
    cr_assert_eq(d->subgroup_size, subgroup && caps.subgroup_size_control ? caps.subgroup_size : 0, "%s",
                 plan->variant);
    cr_assert(d->binding_count == SXT_ATTENTION_BINDINGS && d->spec_count == SXT_ATTENTION_TILE_SPEC_COUNT);
    cr_assert_leq(shared_bytes(d, subgroup), caps.shared_bytes, "%s: %s", name, plan->variant);
    cr_assert(rows % SXT_ATTENTION_ROW_GROUPS == 0 && keys % 32 == 0, "%s: %s", name, plan->variant);

    const uint32_t quads = desc->v.shape[SXT_CHANNEL] / 4, out_quads = spec[SXT_ATTENTION_SPEC_OUT_QUADS];
    const uint32_t groups = SXT_ATTENTION_THREADS / ((quads + out_quads - 1) / out_quads);
    cr_assert(groups > 0 && groups * spec[SXT_ATTENTION_SPEC_OUT_ROWS] >= rows, "%s: %s", name, plan->variant);
    cr_assert_leq(spec[SXT_ATTENTION_SPEC_OUT_ROWS] * out_quads, 12u, "%s: registers: %s", name, plan->variant);
    cr_assert_geq(spec[SXT_ATTENTION_SPEC_HEAD], desc->q.shape[SXT_CHANNEL]);
    const uint32_t values = spec[SXT_ATTENTION_SPEC_TILE_VALUES];
    cr_assert(values > 0 && values % 4 == 0 && keys % values == 0, "%s: %s", name, plan->variant);
    cr_assert_leq((2 * spec[SXT_ATTENTION_SPEC_OUT_ROWS] + values) * out_quads, 36u, "%s: registers: %s", name,
                  plan->variant);

    sxt_test_expect_covered(&caps, plan);
}

static sxt_plan plan_runnable(sxt_test_made_up device, const sxt_attention_desc *desc) {
    sxt_plan plan;
    sxt_test_plan_on(device, desc, &plan);
    expect_runnable(device, desc, &plan);
    return plan;
}

// ── Tiles ──

Test(attention_plan_tile, every_head_dim_and_row_count_runs_on_every_device) {
    static const uint32_t tokens[] = {1, 3, 17, 512, 20000};
    for (int i = 0; i < GPUS; i++)
        for (uint32_t d = 4; d <= 576; d += 4)
            for (uint32_t n = 0; n < 5 * 2; n++) {
                sxt_attention_desc desc = sxt_test_causal(tokens[n / 2], 300, 1 + d % 3, 1, d);
                const uint32_t v_dim = 580 - d;
                desc.v = sxt_test_tensor(SXT_TYPE_F16, 1, 300, 1, v_dim);
                desc.o = sxt_test_tensor(SXT_TYPE_F32, 1, tokens[n / 2], 1 + d % 3, v_dim);
                if (n % 2) desc.mask = sxt_test_tensor(SXT_TYPE_I32, 1, 1, tokens[n / 2], 10);
                const uint64_t range = sxt_test_caps_of(gpus[i]).storage_range;
                if (sxt_tensor_extent(&desc.q) > range || sxt_tensor_extent(&desc.o) > range) continue;
                plan_runnable(gpus[i], &desc);
            }
}

Test(attention_plan_tile, variant_tells_kernel_and_geometry) {
    const sxt_attention_desc prefill = sxt_test_causal(512, 512, 16, 8, 128);
    const sxt_attention_desc decode = sxt_test_causal(1, 8192, 32, 8, 128);
    static const struct {
        sxt_test_made_up device;
        const char *prefill, *decode;
    } rows[] = {
        {NVIDIA, "attention.subgroup d128 rows 32 keys 64 grid 256x1",
         "attention.subgroup d128 rows 8 keys 64 splits 32x256 grid 8x1"},
        {AMD_OLD, "attention.subgroup d128 rows 16 keys 32 grid 512x1",
         "attention.subgroup d128 rows 8 keys 32 splits 32x256 grid 8x1"},
        {INTEL, "attention.subgroup d128 rows 32 keys 64 grid 256x1",
         "attention.subgroup d128 rows 8 keys 64 splits 22x384 grid 8x1"},
        {MOBILE, "attention.subgroup d128 rows 32 keys 64 grid 256x1",
         "attention.subgroup d128 rows 8 keys 64 splits 22x384 grid 8x1"},
        {SWIFTSHADER, "attention.tile d128 rows 16 keys 32 grid 512x1", "attention.tile d128 rows 8 keys 32 grid 8x1"},
        {BASELINE, "attention.tile d128 rows 32 keys 64 grid 256x1",
         "attention.tile d128 rows 8 keys 64 splits 32x256 grid 8x1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_str_eq(plan_runnable(rows[i].device, &prefill).variant, rows[i].prefill);
        cr_expect_str_eq(plan_runnable(rows[i].device, &decode).variant, rows[i].decode);
    }
}

Test(attention_plan_tile, heads_of_a_kv_head_share_a_tile) {
    const sxt_attention_desc decode = sxt_test_causal(1, 4096, 32, 8, 128);
    const sxt_plan plan = plan_runnable(NVIDIA, &decode);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_ROWS], 8u);
    cr_expect_eq(sxt_test_planned_push(&plan).tiles, 8u);
}

Test(attention_plan_tile, wide_heads_stage_queries_where_they_fit) {
    sxt_attention_desc mla = sxt_test_causal(1, 4096, 128, 1, 576);
    mla.v = sxt_test_tensor(SXT_TYPE_F16, 1, 4096, 1, 512);
    mla.o = sxt_test_tensor(SXT_TYPE_F32, 1, 1, 128, 512);
    cr_expect(plan_runnable(NVIDIA, &mla).dispatches[0].spec[SXT_ATTENTION_SPEC_WHOLE_Q]);
    cr_expect_not(plan_runnable(MOBILE, &mla).dispatches[0].spec[SXT_ATTENTION_SPEC_WHOLE_Q]);
    cr_expect_not(plan_runnable(BASELINE, &mla).dispatches[0].spec[SXT_ATTENTION_SPEC_WHOLE_Q]);
}

Test(attention_plan_tile, subgroups_too_narrow_for_a_row_are_not_used) {
    const sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
    sxt_caps caps = sxt_test_caps_of(INTEL);
    caps.subgroup_size = 8;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_S16);
}

Test(attention_plan_tile, only_rare_terms_and_forms_make_another_pipeline) {
    sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
    desc.lse = sxt_test_tensor(SXT_TYPE_F32, 1, 64, 4, 1);
    desc.sinks = sxt_test_tensor(SXT_TYPE_F32, 1, 1, 1, 4);
    sxt_plan plan = plan_runnable(NVIDIA, &desc);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_FEATURES], 0u);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_FORMS], 0u);
    cr_expect(plan.dispatches[0].bindings[SXT_ATTENTION_LSE].written &&
              plan.dispatches[0].bindings[SXT_ATTENTION_O].written);
    cr_expect_not(plan.dispatches[0].bindings[SXT_ATTENTION_Q].written);
    desc.softcap = 30;
    plan = plan_runnable(NVIDIA, &desc);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_FEATURES], 1u);
}

Test(attention_plan_tile, without_keys_the_output_is_still_written) {
    const sxt_attention_desc desc = sxt_test_causal(5, 0, 4, 4, 64);
    const sxt_plan plan = plan_runnable(NVIDIA, &desc);
    cr_expect_eq(plan.dispatches[0].bindings[SXT_ATTENTION_K].kind, SXT_BINDING_NONE);
    cr_expect_eq(plan.dispatches[0].bindings[SXT_ATTENTION_O].kind, SXT_BINDING_BUFFER);
}

// ── What does not fit ──

Test(attention_plan_tile, what_the_device_cannot_hold_is_unsupported) {
    sxt_plan plan;
    sxt_caps caps = sxt_test_caps_of(BASELINE);
    sxt_attention_desc desc = sxt_test_causal(1, 1 << 20, 8, 8, 128); // a cache of 2 GiB, 128 MiB can be bound
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    desc = sxt_test_causal(64, 64, 4, 4, 64);
    caps.storage_buffers = SXT_ATTENTION_BINDINGS - 1;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(plan.dispatch_count, 0u);
    caps = sxt_test_caps_of(BASELINE);
    caps.shared_bytes = 4096;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_not_null(strstr(plan.variant, "shared memory"));
}

Test(attention_plan_tile, large_caches_are_reached_by_address_and_no_others) {
    sxt_caps caps = sxt_test_caps_of(MOBILE);
    caps.buffer_address = caps.int64 = true;
    sxt_plan plan;
    sxt_attention_desc desc = sxt_test_causal(1, 1 << 16, 8, 8, 64); // 64 MiB each
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_not(plan.dispatches[0].by_address);
    desc = sxt_test_causal(1, 1 << 20, 8, 8, 64);
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK, "%s", plan.variant);
    cr_expect(plan.dispatches[0].by_address);
    cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_SUBGROUP_ADDRESS);
    caps.int64 = false;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
}

// Rows of K and V have addresses of 64 bits, all other tensors indices of 32.
Test(attention_plan_tile, more_than_2_to_the_32_elements_are_for_caches_alone) {
    sxt_caps caps = sxt_test_caps_of(NVIDIA);
    caps.buffer_address = caps.int64 = true;
    sxt_plan plan;
    const sxt_tensor lengths = sxt_test_tensor(SXT_TYPE_I32, 1, 1, 1, 1);
    sxt_attention_desc desc = sxt_test_causal(1, 1 << 20, 8, 8, 64);
    desc.k = desc.v = sxt_test_tensor(SXT_TYPE_F16, 1 << 20, 16, 8, 64); // 2^33
    desc.kv_lengths = lengths;
    desc.block_table = sxt_test_tensor(SXT_TYPE_I32, 1, 1, 1, 1 << 16);
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK, "%s", plan.variant);
    cr_expect(plan.dispatches[0].by_address);
    desc.k.strides[SXT_BATCH] = UINT64_C(1) << 32;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    desc = sxt_test_causal(1 << 22, 1 << 10, 16, 16, 128); // 2^33 of q and o
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_not_null(strstr(plan.variant, "too large"));
}

// ── Splits and parts ──

Test(attention_plan_tile, few_tiles_are_split_and_many_are_not) {
    const sxt_attention_desc decode = sxt_test_causal(1, 4096, 32, 8, 128);
    sxt_plan plan = plan_runnable(NVIDIA, &decode);
    const struct sxt_attention_params params = sxt_test_planned_params(&plan.dispatches[0]);
    cr_expect_eq(plan.dispatch_count, 2u);
    cr_expect(params.splits == 16 && params.split_keys == 256, "%s", plan.variant);
    cr_expect_eq(plan.dispatches[0].groups[2], 16u);
    // 8 tiles of 8 rows, each with 16 partial results of 128 channels and an lse.
    cr_expect_eq(plan.scratch_bytes, UINT64_C(8) * 8 * 16 * (128 + 1) * 4);
    const sxt_attention_desc prefill = sxt_test_causal(2048, 2048, 32, 8, 128);
    plan = plan_runnable(NVIDIA, &prefill);
    cr_expect(plan.dispatch_count == 1 && plan.scratch_bytes == 0, "%s", plan.variant);
}

Test(attention_plan_tile, sequences_of_unknown_lengths_get_short_splits) {
    sxt_attention_desc desc = sxt_test_causal(1, 32768, 32, 8, 128);
    desc.q = desc.o = sxt_test_tensor(SXT_TYPE_F32, 32, 1, 32, 128);
    desc.k = desc.v = sxt_test_tensor(SXT_TYPE_F16, 32, 32768, 8, 128);
    sxt_plan plan = plan_runnable(AMD, &desc);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).split_keys, 8192u, "%s", plan.variant);
    desc.kv_lengths = sxt_test_tensor(SXT_TYPE_I32, 1, 1, 1, 32);
    plan = plan_runnable(AMD, &desc);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).split_keys, 1024u, "%s", plan.variant);
}

// What a caller chose holds on every device, whatever the number of queries, and with it the order of all sums.
Test(attention_plan_tile, a_split_that_the_caller_chose_is_kept) {
    static const uint32_t tokens[] = {1, 2, 9, 512};
    for (int i = 0; i < GPUS; i++)
        for (int n = 0; n < 4; n++) {
            sxt_attention_desc desc = sxt_test_causal(tokens[n], 5000, 8, 2, 64);
            desc.split_keys = 1024;
            const sxt_plan plan = plan_runnable(gpus[i], &desc);
            const struct sxt_attention_params params = sxt_test_planned_params(&plan.dispatches[0]);
            cr_expect(params.splits == 5 && params.split_keys == 1024, "%s", plan.variant);
            cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_KEYS], 32u, "%s", plan.variant);
            cr_expect_eq(plan.dispatch_count, 2u);
        }
}

Test(attention_plan_tile, windows_touch_one_split_more_than_they_fill) {
    sxt_attention_desc desc = sxt_test_causal(1, 32768, 8, 2, 64);
    desc.windowed = true;
    desc.window_left = 1023;
    desc.split_keys = 256;
    const sxt_plan plan = plan_runnable(NVIDIA, &desc);
    cr_expect_eq(sxt_test_planned_params(&plan.dispatches[0]).splits, 5u, "1024 keys: %s", plan.variant);
}

// Operations of a dispatch, of all its tiles with all the keys that they may see.
static double flops_of(const sxt_attention_desc *desc, const sxt_plan *plan) {
    const struct sxt_attention_params params = sxt_test_planned_params(&plan->dispatches[0]);
    return 2.0 * (desc->q.shape[SXT_CHANNEL] + desc->v.shape[SXT_CHANNEL]) * params.part_tiles *
           plan->dispatches[0].spec[SXT_ATTENTION_SPEC_ROWS] * desc->max_k_tokens * params.part_splits / params.splits;
}

Test(attention_plan_tile, no_part_is_longer_than_the_budget) {
    static const uint32_t keys[] = {4096, 32768, 131072, 1000000};
    for (int i = 0; i < GPUS; i++)
        for (int n = 0; n < 4 * 2; n++) {
            const uint32_t tokens = n % 2 ? 1 : 4096;
            const sxt_attention_desc desc = sxt_test_causal(tokens, keys[n / 2], 32, 8, 128);
            const sxt_caps caps = sxt_test_caps_of(gpus[i]);
            if (sxt_tensor_extent(&desc.k) > caps.storage_range) continue;
            const sxt_plan plan = plan_runnable(gpus[i], &desc);
            const double budget = caps.dispatch_flops ? (double)caps.dispatch_flops : INFINITY;
            cr_expect(flops_of(&desc, &plan) <= budget, "%u keys: %s", keys[n / 2], plan.variant);
            cr_expect_leq(plan.scratch_bytes, UINT64_C(256) << 20);
            // What is left of a part still keeps a device busy that is as slow as the budget takes it to be.
            cr_expect(plan.parts == 1 || plan.dispatches[0].groups[0] * plan.dispatches[0].groups[2] >= 32, "%s",
                      plan.variant);
        }
}

// ── Bounded logits ──

Test(attention_plan_tile, bounded_logits_need_no_maximum_up_to_40) {
    static const struct {
        float bound, softcap;
        sxt_type v;
        bool bias;
        float used;
    } rows[] = {
        {0, 0, SXT_TYPE_F16, false, 0},
        {12, 0, SXT_TYPE_F16, false, 12},
        {40, 0, SXT_TYPE_F32, false, 40},
        {40.1f, 0, SXT_TYPE_F16, false, 0},
        {12, 0, SXT_TYPE_F16, true, 0},
        // A softcap promises nothing about values.
        {0, 30, SXT_TYPE_F16, false, 30},
        {0, 30, SXT_TYPE_F32, false, 0},
        {0, 50, SXT_TYPE_F16, false, 0},
        // Both: the softcap of the bound.
        {50, 50, SXT_TYPE_F32, false, 38.0797f},
        {10, 30, SXT_TYPE_F32, false, 9.64538f},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_attention_desc desc = sxt_test_causal(64, 64, 4, 4, 64);
        desc.logit_bound = rows[i].bound;
        desc.softcap = rows[i].softcap;
        desc.v.type = rows[i].v;
        if (rows[i].bias) desc.bias = sxt_test_tensor(SXT_TYPE_F32, 1, 1, 64, 64);
        const sxt_plan plan = plan_runnable(NVIDIA, &desc);
        const float used = sxt_test_planned_params(&plan.dispatches[0]).bound;
        cr_expect(fabsf(used - rows[i].used) <= 1e-4f, "row %zu: %g", i, (double)used);
        cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_BOUNDED], used > 0, "row %zu", i);
        cr_expect_eq(strstr(plan.variant, "bounded") != NULL, used > 0, "row %zu: %s", i, plan.variant);
    }
}
