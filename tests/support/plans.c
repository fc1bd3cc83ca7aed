#include "support/plans.h"

#include <criterion/criterion.h>
#include <string.h>

// subgroup_size_control and storage16 where the driver has them.
static const struct {
    const char *name;
    uint32_t driver_id, vendor_id, subgroup, invocations, shared_bytes, storage_align;
    uint64_t storage_range, dispatch_flops;
    bool has_storage16, is_software, is_unified;
} devices[DEVICE_COUNT] = {
    [NVIDIA] = {"nvidia", 4, 0x10de, 32, 1024, 49152, 16, UINT32_MAX, 30000000000, true, false, false},
    [AMD] = {"amd", 3, 0x1002, 64, 1024, 65536, 4, UINT32_MAX, 30000000000, true, false, false},
    [AMD_OLD] = {"amd, old", 3, 0x1002, 64, 1024, 65536, 4, UINT32_MAX, 30000000000, true, false, false},
    [INTEL] = {"intel", 6, 0x8086, 32, 1024, 65536, 64, UINT32_MAX, 5000000000, true, false, true},
    [MOBILE] = {"mobile", 18, 0x5143, 64, 256, 16384, 64, 1 << 27, 5000000000, true, false, true},
    [LAVAPIPE_4] = {"lavapipe-128", 13, 0x10005, 4, 1024, 32768, 16, 1 << 27, 0, true, true, true},
    [LAVAPIPE_8] = {"lavapipe-256", 13, 0x10005, 8, 1024, 32768, 16, 1 << 27, 0, true, true, true},
    [LAVAPIPE_16] = {"lavapipe-512", 13, 0x10005, 16, 1024, 32768, 16, 1 << 27, 0, true, true, true},
    [SWIFTSHADER] = {"swiftshader", 10, 0x1ae0, 4, 256, 32768, 256, 1 << 30, 0, false, true, true},
    [BASELINE] = {.name = "baseline"},
};

const char *sxt_test_made_up_name(sxt_test_made_up device) {
    return devices[device].name;
}

sxt_caps sxt_test_caps_of(sxt_test_made_up device) {
    sxt_caps caps;
    sxt_caps_baseline(&caps);
    if (device == BASELINE) return caps;
    caps.driver_id = devices[device].driver_id;
    caps.vendor_id = devices[device].vendor_id;
    caps.software = devices[device].is_software;
    caps.cpu_registers = caps.software ? 32 : 0;
    caps.unified_memory = devices[device].is_unified;
    caps.subgroup_size = caps.subgroup_min = caps.subgroup_max = devices[device].subgroup;
    if (device == AMD) caps.subgroup_min = 32;
    caps.subgroup_arithmetic = caps.subgroup_shuffle = true;
    caps.subgroup_size_control = caps.storage16 = devices[device].has_storage16;
    caps.max_invocations = caps.max_group_size_x = devices[device].invocations;
    caps.shared_bytes = devices[device].shared_bytes;
    caps.storage_align = devices[device].storage_align;
    caps.storage_range = devices[device].storage_range;
    caps.dispatch_flops = devices[device].dispatch_flops;
    return caps;
}

static sxt_buffer memory = {.bytes = UINT64_MAX};

sxt_tensor sxt_test_tensor(sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    return (sxt_tensor){
        .buffer = &memory,
        .type = type,
        .shape = {batch, token, head, channel},
        .strides = {(uint64_t)token * head * channel, (uint64_t)head * channel, channel, 1},
    };
}

sxt_attention_desc sxt_test_causal(uint32_t q_tokens, uint32_t k_tokens, uint32_t q_heads, uint32_t kv_heads,
                                   uint32_t d) {
    return (sxt_attention_desc){
        .q = sxt_test_tensor(SXT_TYPE_F32, 1, q_tokens, q_heads, d),
        .k = sxt_test_tensor(SXT_TYPE_F16, 1, k_tokens, kv_heads, d),
        .v = sxt_test_tensor(SXT_TYPE_F16, 1, k_tokens, kv_heads, d),
        .o = sxt_test_tensor(SXT_TYPE_F32, 1, q_tokens, q_heads, d),
        .max_q_tokens = q_tokens,
        .max_k_tokens = k_tokens,
        .scale = 0.125f,
        .causal = true,
    };
}

void sxt_test_plan_on(sxt_test_made_up device, const sxt_attention_desc *desc, sxt_plan *out_plan) {
    sxt_caps caps = sxt_test_caps_of(device);
    cr_assert_eq(sxt_attention_plan(&caps, desc, out_plan), SXT_OK, "%s: %s", devices[device].name, out_plan->variant);
}

struct sxt_attention_push sxt_test_planned_push(const sxt_plan *plan) {
    struct sxt_attention_push push;
    cr_assert_eq(plan->dispatches[0].push_bytes, sizeof push);
    memcpy(&push, plan->dispatches[0].push, sizeof push);
    return push;
}

struct sxt_attention_params sxt_test_planned_params(const sxt_dispatch *dispatch) {
    struct sxt_attention_params params;
    cr_assert_eq(dispatch->param_bytes, sizeof params);
    memcpy(&params, dispatch->params, sizeof params);
    return params;
}

void sxt_test_expect_covered(const sxt_caps *caps, const sxt_plan *plan) {
    const sxt_dispatch *d = &plan->dispatches[0];
    const struct sxt_attention_push push = sxt_test_planned_push(plan);
    const struct sxt_attention_params params = sxt_test_planned_params(d);
    const uint32_t rows = d->spec[SXT_ATTENTION_SPEC_ROWS];
    const uint64_t tiles = ((uint64_t)push.q_tokens * push.group + rows - 1) / rows * push.kv_heads * params.sequences;
    cr_assert_eq(push.tiles, tiles, "%s", plan->variant);
    cr_assert_geq((uint64_t)d->groups[0] * d->groups[1], params.part_tiles, "%s", plan->variant);
    const uint64_t turns = (params.splits + params.part_splits - 1) / params.part_splits;
    cr_assert_eq(plan->parts, (tiles + params.part_tiles - 1) / params.part_tiles * turns, "%s", plan->variant);
    cr_assert_eq(d->groups[2], params.part_splits, "%s", plan->variant);
    for (uint32_t n = 0; n < plan->dispatch_count; n++)
        for (int axis = 0; axis < 3; axis++) {
            const uint32_t count = plan->dispatches[n].groups[axis];
            cr_assert(count > 0 && count <= caps->max_group_count[axis], "%s", plan->variant);
        }
}
