// Plans are pure functions: made-up devices of several vendors get geometry that they can run, without any driver.
#include <criterion/criterion.h>
#include <string.h>

#include "interface/attention_merge.h"
#include "interface/norm.h"
#include "interface/step.h"
#include "kernels/kernels.h"

enum { NVIDIA, AMD, INTEL, LAVAPIPE, SWIFTSHADER, BASELINE, DEVICE_COUNT };

static const char *const device_names[] = {"nvidia", "amd", "intel", "lavapipe", "swiftshader", "baseline"};

static sxt_caps caps_of(int device) {
    sxt_caps caps;
    sxt_caps_baseline(&caps);
    if (device == BASELINE) return caps;
    caps.subgroup_arithmetic = caps.subgroup_shuffle = true;
    caps.subgroup_size_control = caps.storage16 = device != SWIFTSHADER;
    caps.software = device == LAVAPIPE || device == SWIFTSHADER;
    static const uint32_t subgroups[][3] = {{32, 32, 32}, {64, 32, 64}, {32, 8, 32}, {8, 8, 8}, {4, 4, 4}};
    caps.subgroup_size = subgroups[device][0];
    caps.subgroup_min = subgroups[device][1];
    caps.subgroup_max = subgroups[device][2];
    caps.max_invocations = caps.max_group_size_x = device == SWIFTSHADER ? 256 : 1024;
    caps.shared_bytes = device == SWIFTSHADER ? 16384 : 32768;
    caps.storage_align = device == AMD ? 4 : 16;
    caps.fp16 = caps.int64 = caps.buffer_address = device != SWIFTSHADER;
    caps.storage_range = device == LAVAPIPE || device == SWIFTSHADER ? UINT64_C(1) << 27 : UINT32_MAX;
    caps.storage_buffers = 32;
    caps.max_group_count[0] = device == NVIDIA ? 0x7fffffff : 65535;
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

// A gain per channel, as the front door hands it on.
static sxt_tensor gain(const sxt_tensor *like) {
    sxt_tensor t = *like;
    memset(t.strides, 0, sizeof t.strides);
    t.strides[SXT_CHANNEL] = 1;
    return t;
}

static void expect_runnable(const sxt_caps *caps, const char *device, const sxt_plan *plan) {
    for (uint32_t i = 0; i < plan->dispatch_count; i++) {
        const sxt_dispatch *d = &plan->dispatches[i];
        const char *text = plan->variant;
        cr_expect_lt((unsigned)d->shader, (unsigned)SXT_SHADER_COUNT, "%s: %s", device, text);
        cr_expect(d->spec[0] > 0 && d->spec[0] <= caps->max_invocations && d->spec[0] <= caps->max_group_size_x,
                  "%s: %s: %u invocations", device, text, d->spec[0]);
        cr_expect_leq(d->push_bytes, caps->push_bytes, "%s: %s", device, text);
        cr_expect_leq(d->binding_count, caps->storage_buffers, "%s: %s", device, text);
        for (int axis = 0; axis < 3; axis++)
            cr_expect(d->groups[axis] > 0 && d->groups[axis] <= caps->max_group_count[axis], "%s: %s: groups[%d] is %u",
                      device, text, axis, d->groups[axis]);
        for (uint32_t b = 0; b < d->binding_count; b++) {
            const sxt_binding *binding = &d->bindings[b];
            if (binding->kind != SXT_BINDING_BUFFER) continue;
            cr_expect_eq(binding->offset % caps->storage_align, 0u, "%s: %s", device, text);
            cr_expect_leq(binding->bytes, caps->storage_range, "%s: %s", device, text);
            cr_expect(binding->hazard_offset >= binding->offset &&
                          binding->hazard_offset + binding->hazard_bytes <= binding->offset + binding->bytes,
                      "%s: %s: binding %u does not hold what is touched", device, text, b);
        }
        if (!caps->subgroup_arithmetic)
            cr_expect_null(strstr(sxt_shaders[d->shader].name, "subgroup"), "%s: %s", device, text);
        if (!caps->storage16) cr_expect_null(strstr(sxt_shaders[d->shader].name, "s16"), "%s: %s", device, text);
        cr_expect(d->subgroup_size == 0 || (caps->subgroup_size_control && d->spec[0] % d->subgroup_size == 0),
                  "%s: %s: asks for subgroups of %u in a workgroup of %u", device, text, d->subgroup_size, d->spec[0]);
    }
}

static const sxt_caps *each_device(int i) {
    static sxt_caps caps;
    caps = caps_of(i);
    return &caps;
}

static uint64_t groups_of(const sxt_dispatch *d) {
    return (uint64_t)d->groups[0] * d->groups[1];
}

// ── The helpers ──

Test(plan, grid_covers_the_count_within_limits) {
    sxt_caps caps = caps_of(BASELINE);
    static const uint64_t counts[] = {0, 1, 65535, 65536, 65537, 131071, 1000003, UINT64_C(65535) * 65535};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint32_t groups[3];
        sxt_plan_grid(&caps, counts[i], groups);
        uint64_t there = (uint64_t)groups[0] * groups[1];
        cr_expect(there >= counts[i] && there - counts[i] < groups[1] + (counts[i] == 0), "%llu: %u x %u",
                  (unsigned long long)counts[i], groups[0], groups[1]);
        cr_expect(groups[0] <= 65535 && groups[1] <= 65535 && groups[2] == 1);
    }
}

Test(plan, binding_is_aligned_and_the_base_makes_up_for_it) {
    sxt_caps caps = caps_of(BASELINE);
    sxt_tensor tensor = dense(SXT_TYPE_F16, 1, 1, 1, 5);
    tensor.offset_bytes = 256 * 3 + 6;
    sxt_dispatch dispatch = {0};
    uint32_t base;
    cr_assert_eq(sxt_plan_bind(&caps, &tensor, true, &dispatch, &base), SXT_OK);
    const sxt_binding *binding = &dispatch.bindings[0];
    cr_expect_eq(binding->offset, 256u * 3);
    cr_expect_eq(base, 3u);
    cr_expect_eq(binding->bytes, 16u, "6 + 10 bytes, already whole words");
    cr_expect_eq(binding->hazard_offset, tensor.offset_bytes);
    cr_expect_eq(binding->hazard_bytes, 10u);
    cr_expect(binding->written);
}

Test(plan, storage_range_and_binding_count_are_limits) {
    sxt_caps caps = caps_of(BASELINE);
    sxt_dispatch dispatch = {0};
    uint32_t base;
    sxt_tensor fits = dense(SXT_TYPE_F32, 1, 1, 1, (128u << 20) / 4),
               past = dense(SXT_TYPE_F32, 1, 1, 1, (128u << 20) / 4 + 1);
    cr_expect_eq(sxt_plan_bind(&caps, &fits, false, &dispatch, &base), SXT_OK);
    cr_expect_eq(sxt_plan_bind(&caps, &past, false, &dispatch, &base), SXT_ERROR_UNSUPPORTED);
    caps.storage_buffers = dispatch.binding_count;
    sxt_tensor one = dense(SXT_TYPE_F32, 1, 1, 1, 1);
    cr_expect_eq(sxt_plan_bind(&caps, &one, false, &dispatch, &base), SXT_ERROR_UNSUPPORTED);
}

// ── Each operation on each device ──

Test(plan, norm_shares_a_row_among_as_many_lanes_as_it_keeps_busy) {
    static const struct {
        int device;
        uint32_t channels, lanes, rows;
    } table[] = {
        {NVIDIA, 128, 32, 4},     {NVIDIA, 64, 16, 8},  {NVIDIA, 4096, 256, 1}, {NVIDIA, 1, 1, 128},
        {AMD, 128, 32, 4},        {AMD, 512, 64, 2},    {AMD, 1024, 64, 2},     {AMD, 4096, 256, 1},
        {LAVAPIPE, 128, 8, 1},    {LAVAPIPE, 16, 8, 1}, {SWIFTSHADER, 8, 2, 2}, {BASELINE, 128, 32, 4},
        {BASELINE, 4096, 128, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sxt_norm_desc desc = {.x = dense(SXT_TYPE_F32, 1, 512, 1, table[i].channels), .eps = 1e-6f};
        desc.y = desc.x;
        sxt_plan plan;
        cr_assert_eq(sxt_norm_plan(each_device(table[i].device), &desc, &plan), SXT_OK);
        const sxt_dispatch *d = &plan.dispatches[0];
        uint32_t lanes = d->spec[SXT_NORM_SPEC_LANES];
        cr_expect(lanes == table[i].lanes && d->spec[SXT_NORM_SPEC_GROUP] == lanes * table[i].rows,
                  "%s, %u channels: %u lanes of %u", device_names[table[i].device], table[i].channels, lanes,
                  d->spec[SXT_NORM_SPEC_GROUP]);
    }
}

Test(plan, norm_is_runnable_and_covers_its_rows_on_every_device) {
    static const uint32_t channels[] = {1, 3, 4, 31, 64, 100, 128, 513, 4096, 70000};
    static const uint32_t tokens[] = {1, 7, 512, 70001};
    for (int device = 0; device < DEVICE_COUNT; device++) {
        for (int i = 0; i < 40; i++) {
            uint32_t c = channels[i % 10], t = tokens[i / 10];
            sxt_norm_desc desc = {.x = dense(SXT_TYPE_F16, 1, t, 1, c), .kind = SXT_NORM_LAYER};
            desc.y = desc.x;
            desc.y.type = SXT_TYPE_BF16;
            desc.weight = gain(&desc.x);
            sxt_plan plan;
            const sxt_caps *caps = each_device(device);
            sxt_result result = sxt_norm_plan(caps, &desc, &plan);
            if ((uint64_t)t * c * 2 > caps->storage_range) {
                cr_expect_eq(result, SXT_ERROR_UNSUPPORTED);
                cr_expect_eq(plan.dispatch_count, 0u);
                continue;
            }
            cr_assert_eq(result, SXT_OK);
            expect_runnable(caps, device_names[device], &plan);
            const sxt_dispatch *d = &plan.dispatches[0];
            uint32_t rows = d->spec[SXT_NORM_SPEC_GROUP] / d->spec[SXT_NORM_SPEC_LANES];
            if (!d->by_address) cr_expect_geq(groups_of(d) * rows, t); // else each walks several
            cr_expect_eq(d->spec[SXT_NORM_SPEC_ALIGNED], (uint32_t)(c % 4 == 0));
        }
    }
}

// What shaders/norm_software.comp relies on: a bit for each row of a workgroup, and blocks that fill their lanes.
Test(plan, norm_by_address_shares_rows_out_evenly) {
    static const uint32_t channels[] = {1, 3, 32, 64, 100, 128, 513, 768, 4096, 65536};
    static const uint32_t tokens[] = {1, 7, 40, 61};
    for (int i = 0; i < 40; i++) {
        sxt_caps caps = caps_of(LAVAPIPE);
        caps.buffer_address = caps.int64 = true;
        caps.subgroup_size = i % 3 == 0 ? 4 : 8;
        uint32_t c = channels[i % 10], t = tokens[i / 10];
        sxt_norm_desc desc = {.x = dense(SXT_TYPE_F32, 2, t, 3, c), .kind = SXT_NORM_LAYER};
        desc.y = desc.x;
        if (i % 2) desc.weight = gain(&desc.x);
        if (i % 4 == 3) desc.weight.strides[SXT_HEAD] = c;
        sxt_plan plan;
        cr_assert_eq(sxt_norm_plan(&caps, &desc, &plan), SXT_OK);
        expect_runnable(&caps, "lavapipe by address", &plan);
        const sxt_dispatch *d = &plan.dispatches[0];
        struct sxt_norm_push push;
        memcpy(&push, d->push, sizeof push);
        cr_assert_eq(d->shader, SXT_SHADER_NORM_SOFTWARE);
        cr_expect_eq(push.rows, 6 * t);
        cr_expect((6 * t + groups_of(d) - 1) / groups_of(d) <= 32);

        bool flat = d->spec[SXT_NORM_SPEC_FLAT];
        cr_expect_eq(flat, i % 4 != 3, "a gain of each head repeats: its rows are not all one stride apart");
        cr_expect_eq(push.heads, flat ? push.rows : 3);
        cr_expect_eq(push.x.head, c);
        cr_expect_eq(d->spec[SXT_NORM_SPEC_SHARED], (uint32_t)(i % 4 != 3));

        uint32_t lanes = d->spec[SXT_NORM_SPEC_GROUP], rows = d->spec[SXT_NORM_SPEC_ROWS];
        uint32_t pieces = c % 4 == 0 ? c / 4 : c, step = lanes * d->spec[SXT_NORM_SPEC_STEPS];
        cr_expect(lanes == caps.subgroup_size && rows >= 1 && rows <= lanes);
        cr_expect_eq(d->spec[SXT_NORM_SPEC_FULL], (uint32_t)(pieces % step == 0));
        if (d->spec[SXT_NORM_SPEC_HELD]) cr_expect(pieces <= step && pieces + lanes > step);
    }
}

static sxt_rope_params rope_of(uint32_t rotary_dim) {
    return (sxt_rope_params){.rotary_dim = rotary_dim, .base = 10000, .freq_scale = 1, .attn_factor = 1};
}

static sxt_tensor positions_of(const sxt_tensor *x) {
    sxt_tensor t = dense(SXT_TYPE_I32, 1, x->shape[SXT_BATCH], 1, x->shape[SXT_TOKEN]);
    t.strides[1] = 0;
    return t;
}

// The lanes of a head have room for all its channels, and not for many more.
static void expect_channels(const sxt_dispatch *d, uint32_t channels) {
    uint32_t room = d->spec[SXT_STEP_SPEC_LANES] * d->spec[SXT_STEP_SPEC_UNITS] * SXT_UNIT_CHANNELS;
    cr_expect_geq(room, channels);
    cr_expect_lt(room, 2 * channels + 2 * SXT_UNIT_CHANNELS, "%u channels in room for %u", channels, room);
    cr_expect_leq(d->spec[SXT_STEP_SPEC_UNITS], 8u);
}

Test(plan, rope_is_runnable_on_every_device) {
    static const uint32_t dims[][2] = {{128, 128}, {64, 32}, {80, 20}, {2, 2}, {576, 64}};
    for (int device = 0; device < DEVICE_COUNT; device++) {
        for (int i = 0; i < 10; i++) {
            const uint32_t *dim = dims[i % 5];
            sxt_rope_desc desc = {.x = dense(SXT_TYPE_F32, 2, i < 5 ? 1 : 700, 8, dim[0]), .rope = rope_of(dim[1])};
            desc.y = desc.x;
            desc.y.offset_bytes = 1u << 30;
            desc.positions = positions_of(&desc.x);
            sxt_plan plan;
            cr_assert_eq(sxt_rope_plan(each_device(device), &desc, &plan), SXT_OK);
            expect_runnable(each_device(device), device_names[device], &plan);
            const sxt_dispatch *d = &plan.dispatches[0];
            if (device != LAVAPIPE) cr_expect_eq(groups_of(d), (uint64_t)desc.x.shape[SXT_TOKEN] * 2);
            expect_channels(d, dim[0]);
            cr_expect_leq(d->groups[2], 8u);
        }
    }
}

Test(plan, rope_in_place_leaves_out_what_it_does_not_rotate) {
    sxt_rope_desc desc = {.x = dense(SXT_TYPE_F32, 1, 4, 2, 128), .rope = rope_of(64)};
    desc.y = desc.x;
    desc.positions = positions_of(&desc.x);
    sxt_plan plan;
    cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &plan), SXT_OK);
    const uint32_t *spec = plan.dispatches[0].spec;
    cr_expect_eq(spec[SXT_STEP_SPEC_ROTARY_ONLY], 1u);
    cr_expect_eq(spec[SXT_STEP_SPEC_LANES] * spec[SXT_STEP_SPEC_UNITS], 8u);
}

Test(plan, rope_tables_are_shared_exactly_when_their_contents_are) {
    float factors[32];
    for (int i = 0; i < 32; i++)
        factors[i] = 1;
    sxt_rope_desc desc = {.x = dense(SXT_TYPE_F32, 1, 4, 2, 64), .rope = rope_of(64)};
    desc.rope.freq_factors = factors;
    desc.y = desc.x;
    desc.positions = positions_of(&desc.x);
    sxt_plan one, same, other;
    cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &one), SXT_OK);
    desc.x.shape[SXT_TOKEN] = desc.y.shape[SXT_TOKEN] = 3;
    cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &same), SXT_OK);
    cr_expect(one.table.key_bytes == same.table.key_bytes &&
              memcmp(one.table.key, same.table.key, one.table.key_bytes) == 0);
    factors[31] = 2;
    cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &other), SXT_OK);
    cr_expect_neq(memcmp(one.table.key, other.table.key, one.table.key_bytes), 0);
    factors[31] = 1;
    desc.rope.inverse = true;
    cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &other), SXT_OK);
    cr_expect_neq(memcmp(one.table.key, other.table.key, one.table.key_bytes), 0);
}

Test(plan, rope_table_holds_turns_in_fixed_point) {
    sxt_rope_desc desc = {.x = dense(SXT_TYPE_F32, 1, 4, 2, 4), .rope = rope_of(4)};
    desc.y = desc.x;
    desc.positions = positions_of(&desc.x);
    sxt_plan plan;
    uint8_t data[sizeof(struct sxt_step_header) + sizeof(struct sxt_step_unit)];
    for (int inverse = 0; inverse < 2; inverse++) {
        desc.rope.inverse = inverse == 1;
        cr_assert_eq(sxt_rope_plan(each_device(NVIDIA), &desc, &plan), SXT_OK);
        cr_assert_eq(plan.table.bytes, sizeof data);
        plan.table.fill(plan.table.context, data);
        struct sxt_step_unit unit;
        memcpy(&unit, data + sizeof(struct sxt_step_header), sizeof unit);
        // 1 / 2π = 0x0.28be60db9391054a…; its complement for the other direction
        cr_expect_eq(unit.hi[0], inverse ? ~0x28be60dbu : 0x28be60dbu);
        uint32_t lo = inverse ? ~unit.lo[0] + 1 : unit.lo[0];
        cr_expect(lo - 0x93910500u < 0x100u, "%08x", lo);
        cr_expect(unit.lo[2] == 0 && unit.hi[3] == 0, "there are two pairs");
    }
}

Test(plan, qk_norm_rope_is_runnable_on_every_device) {
    static const uint32_t dims[] = {2, 64, 72, 128, 256, 576, 1024};
    for (int device = 0; device < DEVICE_COUNT; device++) {
        for (int i = 0; i < 14; i++) {
            uint32_t d = dims[i % 7];
            sxt_qk_norm_rope_desc desc = {.q = dense(SXT_TYPE_F32, 1, i < 7 ? 1 : 300, 32, d), .rope = rope_of(d)};
            desc.k = dense(SXT_TYPE_F16, 1, i < 7 ? 1 : 300, 8, d);
            desc.q_out = desc.q;
            desc.k_out = desc.k;
            desc.q_weight = gain(&desc.q);
            desc.positions = positions_of(&desc.q);
            sxt_plan plan;
            cr_assert_eq(sxt_qk_norm_rope_plan(each_device(device), &desc, &plan), SXT_OK, "%s", plan.variant);
            cr_assert_eq(plan.dispatch_count, 1u, "q and k go in one dispatch");
            expect_runnable(each_device(device), device_names[device], &plan);
            expect_channels(&plan.dispatches[0], d);
            cr_expect_leq(plan.dispatches[0].groups[2], 40u);
        }
    }
}

Test(plan, a_head_too_wide_for_a_workgroup_is_unsupported) {
    sxt_qk_norm_rope_desc desc = {.q = dense(SXT_TYPE_F32, 1, 1, 1, 1u << 20), .rope = rope_of(64)};
    desc.q_out = desc.q;
    desc.positions = positions_of(&desc.q);
    sxt_plan plan;
    cr_expect_eq(sxt_qk_norm_rope_plan(each_device(NVIDIA), &desc, &plan), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(plan.dispatch_count, 0u);
    cr_expect_not_null(strstr(plan.variant, "1048576"));
}

Test(plan, kv_write_is_runnable_and_covers_keys_and_values) {
    for (int device = 0; device < DEVICE_COUNT; device++) {
        for (uint32_t channels = 1; channels < 200; channels += 33) {
            sxt_kv_write_desc desc = {.k = dense(SXT_TYPE_F32, 2, 100, 8, channels),
                                      .v = dense(SXT_TYPE_F16, 2, 100, 8, 64)};
            desc.cache.k = dense(SXT_TYPE_F16, 2, 4096, 8, channels);
            desc.cache.v = dense(SXT_TYPE_F16, 2, 4096, 8, 64);
            sxt_plan plan;
            cr_assert_eq(sxt_kv_write_plan(each_device(device), &desc, &plan), SXT_OK);
            expect_runnable(each_device(device), device_names[device], &plan);
            const sxt_dispatch *d = &plan.dispatches[0];
            expect_channels(d, channels > 64 ? channels : 64);
            if (device != LAVAPIPE) cr_expect_eq(groups_of(d), 200u, "a workgroup a token");
            cr_expect_eq(d->spec[SXT_STEP_SPEC_ALIGNED], (uint32_t)(channels % 4 == 0));
        }
    }
}

static sxt_attention_merge_desc merge_of(uint32_t tokens, uint32_t channels) {
    sxt_attention_merge_desc desc = {
        .o_a = dense(SXT_TYPE_F16, 2, tokens, 8, channels),
        .lse_a = dense(SXT_TYPE_F32, 2, tokens, 8, 1),
        .lse = dense(SXT_TYPE_F32, 2, tokens, 8, 1),
    };
    desc.o_b = desc.o = desc.o_a;
    desc.lse_b = desc.lse_a;
    desc.o.type = SXT_TYPE_BF16;
    return desc;
}

Test(plan, attention_merge_is_runnable_and_covers_its_rows_on_every_device) {
    static const uint32_t channels[] = {1, 3, 4, 12, 64, 100, 128, 511, 576};
    static const uint32_t tokens[] = {1, 7, 512, 70001};
    for (int device = 0; device < DEVICE_COUNT; device++)
        for (int i = 0; i < 36; i++) {
            const uint32_t c = channels[i % 9], t = tokens[i / 9];
            const sxt_attention_merge_desc desc = merge_of(t, c);
            const sxt_caps *caps = each_device(device);
            sxt_plan plan;
            sxt_result result = sxt_attention_merge_plan(caps, &desc, &plan);
            if (UINT64_C(2) * t * 8 * c * 2 > caps->storage_range) {
                cr_expect_eq(result, SXT_ERROR_UNSUPPORTED);
                continue;
            }
            cr_assert_eq(result, SXT_OK, "%s: %s", device_names[device], plan.variant);
            expect_runnable(caps, device_names[device], &plan);
            const sxt_dispatch *d = &plan.dispatches[0];
            const uint32_t group = d->spec[SXT_MERGE_SPEC_GROUP], lanes = d->spec[SXT_MERGE_SPEC_LANES];
            cr_expect(lanes > 0 && group % lanes == 0, "%s: %s", device_names[device], plan.variant);
            cr_expect_geq(groups_of(d) * d->spec[SXT_MERGE_SPEC_ROWS], UINT64_C(2) * t * 8);
            cr_expect_leq(d->spec[SXT_MERGE_SPEC_ROWS] * 8, caps->shared_bytes, "two weights a row");
            cr_expect_eq(d->spec[SXT_MERGE_SPEC_ALIGNED], (uint32_t)(c % 4 == 0));
            cr_expect_eq(plan.scratch_bytes, 0u);
        }
}

// A row of each tensor that is off by one element, and one lse that is not there.
Test(plan, attention_merge_moves_quads_only_where_all_rows_have_them) {
    sxt_plan plan;
    for (int i = 0; i < 4; i++) {
        sxt_attention_merge_desc desc = merge_of(5, 64);
        sxt_tensor *tensors[] = {&desc.o_a, &desc.o_b, &desc.o, &desc.lse_a};
        tensors[i]->offset_bytes += sxt_type_size(tensors[i]->type);
        cr_assert_eq(sxt_attention_merge_plan(each_device(BASELINE), &desc, &plan), SXT_OK);
        cr_expect_eq(plan.dispatches[0].spec[SXT_MERGE_SPEC_ALIGNED], (uint32_t)(i == 3), "%d", i);
        cr_expect_eq(plan.dispatches[0].spec[SXT_MERGE_SPEC_LSE_TYPE], (uint32_t)SXT_STORE_F32);
    }
    sxt_attention_merge_desc desc = merge_of(5, 64);
    desc.lse = (sxt_tensor){0};
    cr_assert_eq(sxt_attention_merge_plan(each_device(BASELINE), &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatches[0].spec[SXT_MERGE_SPEC_LSE_TYPE], (uint32_t)SXT_STORE_NONE);
    cr_expect_str_eq(plan.variant, "attention_merge f16,f16->bf16 lanes 16 rows 8 grid 10x1");
}

// ── All operations alike ──

Test(plan, the_same_question_gets_the_same_answer) {
    sxt_norm_desc desc = {.x = dense(SXT_TYPE_F32, 1, 5, 3, 96)};
    desc.y = desc.x;
    sxt_plan a, b;
    memset(&a, 0x55, sizeof a);
    memset(&b, 0xaa, sizeof b);
    for (int device = 0; device < DEVICE_COUNT; device++) {
        cr_assert_eq(sxt_norm_plan(each_device(device), &desc, &a), SXT_OK);
        cr_assert_eq(sxt_norm_plan(each_device(device), &desc, &b), SXT_OK);
        cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    }
}

Test(plan, empty_tensors_are_no_work) {
    sxt_norm_desc desc = {.x = dense(SXT_TYPE_F32, 1, 0, 3, 96)};
    desc.y = desc.x;
    sxt_plan plan;
    cr_expect_eq(sxt_norm_plan(each_device(NVIDIA), &desc, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 0u);
    sxt_rope_desc rope = {.x = desc.x, .y = desc.y, .positions = positions_of(&desc.x), .rope = rope_of(96)};
    cr_expect_eq(sxt_rope_plan(each_device(NVIDIA), &rope, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 0u);
    const sxt_attention_merge_desc merge = merge_of(0, 64);
    cr_expect_eq(sxt_attention_merge_plan(each_device(NVIDIA), &merge, &plan), SXT_OK);
    cr_expect_eq(plan.dispatch_count, 0u);
}

Test(plan, the_variant_tells_kernel_types_and_geometry) {
    sxt_norm_desc desc = {.x = dense(SXT_TYPE_F32, 1, 512, 1, 128)};
    desc.y = desc.x;
    desc.y.type = SXT_TYPE_F16;
    sxt_plan plan;
    cr_assert_eq(sxt_norm_plan(each_device(NVIDIA), &desc, &plan), SXT_OK);
    cr_expect_str_eq(plan.variant, "norm_subgroup_s16 f32->f16 lanes 32 rows 4 grid 128x1");
    cr_assert_eq(sxt_norm_plan(each_device(BASELINE), &desc, &plan), SXT_OK);
    cr_expect_str_eq(plan.variant, "norm f32->f16 lanes 32 rows 4 grid 128x1");
}
