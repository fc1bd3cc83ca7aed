// What attention plans on devices that are not here: made-up capabilities of several vendors, no driver.
#include <criterion/criterion.h>
#include <string.h>

#include "core/tensor.h"
#include "interface/attention_decode.h"
#include "kernels/attention_split.h"
#include "kernels/kernels.h"

enum { NVIDIA, AMD, INTEL, LAVAPIPE_4, LAVAPIPE_8, LAVAPIPE_16, SWIFTSHADER, BASELINE, DEVICE_COUNT };

// subgroup_size_control and storage16 where the driver has them.
static const struct {
    const char *name;
    uint32_t driver_id, subgroup, invocations, shared_bytes, storage_align;
    uint64_t storage_range;
    bool has_storage16, is_software;
} devices[DEVICE_COUNT] = {
    [NVIDIA] = {"nvidia", 4, 32, 1024, 49152, 16, UINT32_MAX, true, false},
    [AMD] = {"amd", 3, 64, 1024, 65536, 4, UINT32_MAX, true, false},
    [INTEL] = {"intel", 6, 32, 1024, 65536, 64, UINT32_MAX, true, false},
    [LAVAPIPE_4] = {"lavapipe-128", 13, 4, 1024, 32768, 16, 1 << 27, true, true},
    [LAVAPIPE_8] = {"lavapipe-256", 13, 8, 1024, 32768, 16, 1 << 27, true, true},
    [LAVAPIPE_16] = {"lavapipe-512", 13, 16, 1024, 32768, 16, 1 << 27, true, true},
    [SWIFTSHADER] = {"swiftshader", 10, 4, 256, 32768, 256, 1 << 30, false, true},
    [BASELINE] = {"baseline", 0, 0, 0, 0, 0, 0, false, false},
};

static sxt_caps caps_of(int device) {
    sxt_caps caps;
    sxt_caps_baseline(&caps);
    if (device == BASELINE) return caps;
    caps.driver_id = devices[device].driver_id;
    caps.software = devices[device].is_software;
    caps.subgroup_size = caps.subgroup_min = caps.subgroup_max = devices[device].subgroup;
    caps.subgroup_arithmetic = caps.subgroup_shuffle = true;
    caps.subgroup_size_control = caps.storage16 = devices[device].has_storage16;
    caps.max_invocations = caps.max_group_size_x = devices[device].invocations;
    caps.shared_bytes = devices[device].shared_bytes;
    caps.storage_align = devices[device].storage_align;
    caps.storage_range = devices[device].storage_range;
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

static sxt_attention_desc causal(uint32_t q_tokens, uint32_t k_tokens, uint32_t q_heads, uint32_t kv_heads,
                                 uint32_t d) {
    return (sxt_attention_desc){
        .q = dense(SXT_TYPE_F32, 1, q_tokens, q_heads, d),
        .k = dense(SXT_TYPE_F16, 1, k_tokens, kv_heads, d),
        .v = dense(SXT_TYPE_F16, 1, k_tokens, kv_heads, d),
        .o = dense(SXT_TYPE_F32, 1, q_tokens, q_heads, d),
        .scale = 0.125f,
        .causal = true,
    };
}

static struct sxt_attention_push push_of(const sxt_plan *plan) {
    struct sxt_attention_push push;
    cr_assert_eq(plan->dispatches[0].push_bytes, sizeof push);
    memcpy(&push, plan->dispatches[0].push, sizeof push);
    return push;
}

static void plan_on(int device, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    sxt_caps caps = caps_of(device);
    cr_assert_eq(sxt_attention_plan(&caps, desc, out_plan), SXT_OK, "%s: %s", devices[device].name, out_plan->variant);
}

// What attention.comp declares in shared memory, from its specialisation constants.
static uint32_t shared_bytes(const sxt_dispatch *d, bool subgroup) {
    uint32_t head = d->spec[SXT_ATTENTION_SPEC_HEAD], rows = d->spec[SXT_ATTENTION_SPEC_ROWS];
    uint32_t keys = d->spec[SXT_ATTENTION_SPEC_KEYS];
    uint32_t q_tile = rows * (head + 4), k_tile = keys * 4 * (SXT_ATTENTION_CHUNK + 1), p_tile = rows * keys;
    return 4 * (q_tile + k_tile + p_tile + rows + (subgroup ? 0 : rows * SXT_ATTENTION_LANES));
}

static void expect_runnable(int device, const sxt_plan *plan) {
    const sxt_caps caps = caps_of(device);
    const sxt_dispatch *d = &plan->dispatches[0];
    const char *shader = sxt_shaders[d->shader].name, *name = devices[device].name;
    cr_assert_eq(plan->dispatch_count, 1u);
    cr_expect_eq(d->spec_count, (uint32_t)SXT_ATTENTION_SPEC_COUNT);
    cr_expect_eq(d->binding_count, (uint32_t)SXT_ATTENTION_BINDINGS);
    for (int axis = 0; axis < 3; axis++)
        cr_expect(d->groups[axis] > 0 && d->groups[axis] <= caps.max_group_count[axis], "%s: %s", name, plan->variant);
    bool subgroup = strstr(shader, "subgroup"), software = strstr(shader, "software");
    cr_expect_eq(software, devices[device].is_software, "%s: %s", name, plan->variant);
    cr_expect_eq(subgroup, caps.subgroup_size >= 16 && !software, "%s: %s", name, plan->variant);
    cr_expect_eq(strstr(shader, "s16") != NULL, caps.storage16, "%s: %s", name, plan->variant);
    cr_expect_eq(d->subgroup_size, caps.subgroup_size_control ? caps.subgroup_size : 0u, "%s: %s", name, plan->variant);
    uint32_t rows = d->spec[SXT_ATTENTION_SPEC_ROWS], head = d->spec[SXT_ATTENTION_SPEC_HEAD];
    struct sxt_attention_push push = push_of(plan);
    uint64_t tiles = ((uint64_t)push.q_tokens * push.group + rows - 1) / rows * push.kv_heads;
    cr_expect_eq(push.tiles, tiles);
    cr_expect_geq((uint64_t)d->groups[0] * d->groups[1], tiles);
    cr_expect(head / 4 >= (push.dims & 0xff) && head / 4 >= (push.dims >> 8 & 0xff), "%s: %s", name, plan->variant);
    if (software) {
        cr_expect_eq(d->spec[SXT_ATTENTION_SPEC_LANES], caps.subgroup_size);
        cr_expect_eq(rows % caps.subgroup_size, 0u);
        return;
    }
    cr_expect_leq((uint32_t)SXT_ATTENTION_THREADS, caps.max_invocations);
    cr_expect_leq(shared_bytes(d, subgroup), caps.shared_bytes, "%s: %s", name, plan->variant);
    cr_expect_eq(rows % SXT_ATTENTION_ROW_GROUPS, 0u);
    cr_expect_eq(rows * head % (4 * SXT_ATTENTION_THREADS), 0u, "%s: %s: a thread's share of the output", name,
                 plan->variant);
    cr_expect_eq(d->spec[SXT_ATTENTION_SPEC_KEYS] * SXT_ATTENTION_CHUNK % SXT_ATTENTION_THREADS, 0u);
}

Test(attention_plan, every_head_dim_and_row_count_runs_on_every_device) {
    static const uint32_t tokens[] = {1, 3, 17, 512, 70000};
    for (int device = 0; device < DEVICE_COUNT; device++)
        for (uint32_t d = 4; d <= 256; d += 12)
            for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
                sxt_attention_desc desc = causal(tokens[t], 300, 1 + d % 3, 1, d);
                if (sxt_tensor_extent(&desc.q) > caps_of(device).storage_range) continue;
                sxt_plan plan;
                plan_on(device, &desc, &plan);
                expect_runnable(device, &plan);
            }
}

Test(attention_plan, variant_tells_kernel_and_geometry) {
    sxt_attention_desc prefill = causal(512, 512, 16, 8, 128);
    static const struct {
        int device;
        const char *text;
    } rows[] = {
        {NVIDIA, "attention.subgroup d128 rows 32 keys 32 grid 256x1"},
        {AMD, "attention.subgroup d128 rows 32 keys 32 grid 256x1"},
        {BASELINE, "attention.tile d128 rows 16 keys 32 grid 512x1"},
        {LAVAPIPE_8, "attention.software d128 rows 16 keys 2 grid 512x1"},
        {SWIFTSHADER, "attention.software d128 rows 8 keys 2 grid 1024x1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sxt_plan plan;
        plan_on(rows[i].device, &prefill, &plan);
        cr_expect_str_eq(plan.variant, rows[i].text);
    }
}

Test(attention_plan, lavapipe_is_reached_by_address_where_it_can_be) {
    sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
    sxt_caps caps = caps_of(LAVAPIPE_8);
    sxt_plan plan;
    for (int address = 0; address < 2; address++) {
        caps.buffer_address = address;
        cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
        cr_expect_eq(plan.dispatches[0].by_address, address);
        cr_expect_eq(plan.dispatches[0].shader,
                     address ? SXT_SHADER_ATTENTION_SOFTWARE_ADDRESS : SXT_SHADER_ATTENTION_SOFTWARE_S16);
    }
}

Test(attention_plan, few_rows_get_a_small_tile) {
    sxt_attention_desc decode = causal(1, 4096, 32, 8, 128);
    sxt_plan plan;
    plan_on(NVIDIA, &decode, &plan);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_ROWS], 8u);
    cr_expect_eq(push_of(&plan).tiles, 8u, "the heads of a KV head share a tile");
}

Test(attention_plan, software_drivers_without_subgroups_take_the_tile_kernel) {
    sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
    sxt_caps caps = caps_of(LAVAPIPE_8);
    caps.subgroup_arithmetic = caps.storage16 = false;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION);
    cr_expect_eq(plan.dispatches[0].subgroup_size, 0u);
}

Test(attention_plan, subgroups_too_narrow_for_a_row_are_not_used) {
    sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
    sxt_caps caps = caps_of(INTEL);
    caps.subgroup_size = 8;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_S16);
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
        sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
        desc.causal = rows[i].causal;
        desc.windowed = rows[i].windowed;
        desc.window_left = rows[i].left;
        desc.window_right = rows[i].right;
        sxt_plan plan;
        plan_on(NVIDIA, &desc, &plan);
        struct sxt_attention_push push = push_of(&plan);
        cr_expect(push.window_left == rows[i].want_left && push.window_right == rows[i].want_right, "row %zu: %d, %d",
                  i, push.window_left, push.window_right);
        cr_expect(push.window_left <= open && push.window_right <= open);
    }
}

Test(attention_plan, offsets_become_bases_and_odd_rows_are_not_aligned) {
    sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
    desc.k.offset_bytes = 1024 + 8; // 4 elements of f16
    desc.v.offset_bytes = 1024 + 2;
    desc.q.strides[SXT_HEAD] = 65;
    sxt_plan plan;
    plan_on(NVIDIA, &desc, &plan);
    struct sxt_attention_push push = push_of(&plan);
    cr_expect_eq(push.bases_main, 4u << 8 | 1u << 16);
    const uint32_t *spec = plan.dispatches[0].spec;
    cr_expect(spec[SXT_ATTENTION_SPEC_K_ALIGNED] && !spec[SXT_ATTENTION_SPEC_V_ALIGNED]);
    cr_expect_eq(push.flags, (uint32_t)SXT_ATTENTION_O_ALIGNED);
}

Test(attention_plan, only_rare_terms_make_another_pipeline) {
    sxt_attention_desc desc = causal(64, 64, 4, 4, 64);
    desc.lse = dense(SXT_TYPE_F32, 1, 64, 4, 1);
    desc.sinks = dense(SXT_TYPE_F32, 1, 1, 1, 4);
    sxt_plan plan;
    plan_on(NVIDIA, &desc, &plan);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_FEATURES], 0u);
    desc.softcap = 30;
    plan_on(NVIDIA, &desc, &plan);
    cr_expect_eq(plan.dispatches[0].spec[SXT_ATTENTION_SPEC_FEATURES], 1u);
    cr_expect(plan.dispatches[0].bindings[SXT_ATTENTION_LSE].written &&
              plan.dispatches[0].bindings[SXT_ATTENTION_O].written);
    cr_expect_not(plan.dispatches[0].bindings[SXT_ATTENTION_Q].written);
}

Test(attention_plan, software_drivers_share_one_pipeline_among_mixed_types) {
    sxt_attention_desc a = causal(64, 64, 4, 4, 64), b = a;
    a.k.type = SXT_TYPE_F32;
    b.v.type = SXT_TYPE_BF16;
    sxt_plan plan_a, plan_b;
    plan_on(LAVAPIPE_8, &a, &plan_a);
    plan_on(LAVAPIPE_8, &b, &plan_b);
    cr_expect_arr_eq(plan_a.dispatches[0].spec, plan_b.dispatches[0].spec, sizeof plan_a.dispatches[0].spec);
    cr_expect_neq(push_of(&plan_a).dims, push_of(&plan_b).dims);
}

Test(attention_plan, without_queries_there_is_no_work) {
    sxt_attention_desc desc = causal(0, 64, 4, 4, 64);
    sxt_plan plan;
    plan_on(NVIDIA, &desc, &plan);
    cr_expect_eq(plan.dispatch_count, 0u);
}

Test(attention_plan, without_keys_the_output_is_still_written) {
    sxt_attention_desc desc = causal(5, 0, 4, 4, 64);
    sxt_plan plan;
    plan_on(NVIDIA, &desc, &plan);
    expect_runnable(NVIDIA, &plan);
    cr_expect_eq(plan.dispatches[0].bindings[SXT_ATTENTION_K].kind, SXT_BINDING_NONE);
    cr_expect_eq(plan.dispatches[0].bindings[SXT_ATTENTION_O].kind, SXT_BINDING_BUFFER);
}

Test(attention_plan, what_the_device_cannot_hold_is_unsupported) {
    sxt_plan plan;
    sxt_caps caps = caps_of(BASELINE);
    sxt_attention_desc desc = causal(1, 1 << 20, 8, 8, 128); // a cache of 2 GiB, 128 MiB can be bound
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    desc = causal(64, 64, 4, 4, 64);
    caps.storage_buffers = SXT_ATTENTION_BINDINGS - 1;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(plan.dispatch_count, 0u);
    caps = caps_of(BASELINE);
    caps.shared_bytes = 8192;
    cr_expect_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_not_null(strstr(plan.variant, "shared memory"));
}

// Until a kernel has them. What is empty needs none.
Test(attention_plan, forms_without_a_kernel_are_unsupported_by_name) {
    const sxt_attention_desc plain = causal(64, 64, 4, 4, 64);
    const sxt_tensor list = dense(SXT_TYPE_I32, 1, 1, 1, 2);
    sxt_attention_desc forms[8];
    for (int i = 0; i < 8; i++)
        forms[i] = plain;
    forms[0].mask = dense(SXT_TYPE_I32, 1, 1, 64, 2);
    forms[1].kv_lengths = list;
    forms[2].kv_lengths = forms[2].block_table = list;
    forms[3].cu_seqlens_q = list;
    forms[4].k.type = SXT_TYPE_Q4_0;
    forms[5].v.type = SXT_TYPE_FP8_E4M3;
    forms[6].q = forms[6].k = dense(SXT_TYPE_F32, 1, 64, 4, 260);
    forms[7].v = forms[7].o = dense(SXT_TYPE_F32, 1, 64, 4, 512);
    static const char *const words[] = {"mask", "kv_lengths", "block_table",  "cu_seqlens_q",
                                        "q4_0", "fp8",        "256 channels", "256 channels"};
    for (int device = 0; device < DEVICE_COUNT; device++)
        for (int i = 0; i < 8; i++) {
            const sxt_caps caps = caps_of(device);
            sxt_plan plan;
            cr_expect_eq(sxt_attention_plan(&caps, &forms[i], &plan), SXT_ERROR_UNSUPPORTED);
            cr_expect(strstr(plan.variant, words[i]) != NULL, "%s: %s", words[i], plan.variant);
            forms[i].o.shape[SXT_TOKEN] = 0;
            cr_expect_eq(sxt_attention_plan(&caps, &forms[i], &plan), SXT_OK);
            forms[i].o.shape[SXT_TOKEN] = 64;
        }
}

// ── Few queries, long caches ──

static sxt_caps lavapipe_by_address(void) {
    sxt_caps caps = caps_of(LAVAPIPE_8);
    caps.buffer_address = caps.int64 = true;
    return caps;
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

Test(attention_plan, decode_is_split_and_merged) {
    const sxt_caps caps = lavapipe_by_address();
    const sxt_attention_desc desc = causal(1, 4096, 32, 8, 128);
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_str_eq(plan.variant, "attention.decode d128 rows 4 splits 4 grid 8x4");
    cr_assert_eq(plan.dispatch_count, 2u);
    const sxt_dispatch *split = &plan.dispatches[0], *merge = &plan.dispatches[1];
    cr_expect_eq(split->shader, SXT_SHADER_ATTENTION_DECODE_SOFTWARE);
    cr_expect_eq(merge->shader, SXT_SHADER_ATTENTION_DECODE_MERGE);
    cr_expect(merge->groups[0] == 4 && merge->groups[1] == 8);
    const uint64_t partials = 4 * 32, o_bytes = partials * 128 * 4;
    cr_expect_eq(plan.scratch_bytes, o_bytes + partials * SXT_ATTENTION_STATS_BYTES);
    for (int i = 0; i < 2; i++) {
        const sxt_binding *o = &plan.dispatches[i].bindings[SXT_ATTENTION_PARTIAL_O];
        const sxt_binding *stats = &plan.dispatches[i].bindings[SXT_ATTENTION_PARTIAL_STATS];
        cr_expect(o->kind == SXT_BINDING_SCRATCH && stats->kind == SXT_BINDING_SCRATCH);
        cr_expect(o->written == (i == 0) && stats->written == (i == 0));
        cr_expect(o->offset + o->bytes <= stats->offset && stats->offset + stats->bytes <= plan.scratch_bytes);
    }
    // Each tensor is bound where it is touched.
    cr_expect_eq(split->bindings[SXT_ATTENTION_O].kind, SXT_BINDING_NONE);
    cr_expect_eq(merge->bindings[SXT_ATTENTION_O].kind, SXT_BINDING_BUFFER);
    cr_expect_eq(merge->bindings[SXT_ATTENTION_K].kind, SXT_BINDING_NONE);
}

Test(attention_plan, a_window_is_split_by_the_keys_in_it) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc desc = causal(1, 32768, 8, 2, 64);
    desc.windowed = true;
    desc.window_left = 1023;
    sxt_plan plan;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(push_of(&plan).tiles, 7u, "1024 keys: %s", plan.variant);
    desc.window_left = 200;
    cr_assert_eq(sxt_attention_plan(&caps, &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 1u, "too few keys: %s", plan.variant);
    cr_expect_eq(plan.scratch_bytes, 0u);
}

Test(attention_plan, what_decode_cannot_do_stays_with_the_kernel_for_all) {
    const sxt_caps caps = lavapipe_by_address();
    sxt_attention_desc rows[4];
    for (int i = 0; i < 4; i++)
        rows[i] = causal(1, 4096, 8, 2, 64);
    rows[0].v.type = SXT_TYPE_F32;  // types differ
    rows[1].k.offset_bytes = 2;     // odd rows
    rows[2] = causal(5, 4096, 8, 2, 64); // 20 packed rows
    rows[3] = causal(1, 255, 8, 2, 64);
    for (int i = 0; i < 4; i++) {
        sxt_plan plan;
        cr_assert_eq(sxt_attention_plan(&caps, &rows[i], &plan), SXT_OK);
        cr_expect_eq(plan.dispatches[0].shader, SXT_SHADER_ATTENTION_SOFTWARE_ADDRESS, "row %d: %s", i, plan.variant);
    }
}
