// What tests of plans share: capabilities of devices that are not here, descriptions without memory, and what a plan
// hands to its kernels.
#ifndef SXT_TESTS_SUPPORT_PLANS_H
#define SXT_TESTS_SUPPORT_PLANS_H

#include "interface/attention.h"
#include "kernels/kernels.h"

typedef enum sxt_test_made_up {
    NVIDIA,
    AMD,
    AMD_OLD, // GCN: subgroups of 64 alone
    INTEL,
    MOBILE, // 16 KiB of shared memory
    LAVAPIPE_4,
    LAVAPIPE_8,
    LAVAPIPE_16,
    SWIFTSHADER,
    BASELINE,
    DEVICE_COUNT
} sxt_test_made_up;

const char *sxt_test_made_up_name(sxt_test_made_up device);
sxt_caps sxt_test_caps_of(sxt_test_made_up device);

sxt_tensor sxt_test_tensor(sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel);

// One sequence, k and v in f16, q and o in f32.
sxt_attention_desc sxt_test_causal(uint32_t q_tokens, uint32_t k_tokens, uint32_t q_heads, uint32_t kv_heads,
                                   uint32_t d);

// Fails the test if there is no plan.
void sxt_test_plan_on(sxt_test_made_up device, const sxt_attention_desc *desc, sxt_plan *out_plan);

// Of the first dispatch, and of any.
struct sxt_attention_push sxt_test_planned_push(const sxt_plan *plan);
struct sxt_attention_params sxt_test_planned_params(const sxt_dispatch *dispatch);

// Fails the test unless the parts of an attention's plan, and the grid of each, cover all tiles and splits, within what
// the device can dispatch.
void sxt_test_expect_covered(const sxt_caps *caps, const sxt_plan *plan);

#endif
