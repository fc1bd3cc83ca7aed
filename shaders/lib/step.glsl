// The step's rows of every type (interface/step.h), for kernels that go by elements.
#ifndef SXT_LIB_STEP_GLSL
#define SXT_LIB_STEP_GLSL

#include "lib/cache.glsl"
#include "lib/step_place.glsl"

SXT_INPUT(q, SXT_STEP_BINDING_Q, Q_TYPE)
SXT_INPUT(k, SXT_STEP_BINDING_K, K_TYPE)
SXT_CACHE_LOADS(k, K_TYPE)
SXT_INPUT(v, SXT_STEP_BINDING_V, V_TYPE)
SXT_OUTPUT(q_out, SXT_STEP_BINDING_Q_OUT, Q_OUT_TYPE)
SXT_CACHE_STORES(q_out, Q_OUT_TYPE)
SXT_OUTPUT(k_out, SXT_STEP_BINDING_K_OUT, K_OUT_TYPE)
SXT_CACHE_STORES(k_out, K_OUT_TYPE)
SXT_OUTPUT(v_out, SXT_STEP_BINDING_V_OUT, V_OUT_TYPE)
SXT_CACHE_STORES(v_out, V_OUT_TYPE)
SXT_INPUT(q_weight, SXT_STEP_BINDING_Q_WEIGHT, Q_WEIGHT_TYPE)
SXT_INPUT(k_weight, SXT_STEP_BINDING_K_WEIGHT, K_WEIGHT_TYPE)
SXT_BLOCK(sxt_k_scale, float, readonly, SXT_STEP_BINDING_K_SCALE)
SXT_BLOCK(sxt_v_scale, float, readonly, SXT_STEP_BINDING_V_SCALE)

// First element of a row; of a cache, batch is the page or batch, and token the row.
#define SXT_STEP_ROW(name, stride, index, type)                                                                        \
    uint sxt_##name##_row(uint batch, uint token, uint head) {                                                         \
        return sxt_base(index) * (sxt_is_blocks(type) ? SXT_BLOCK_CHANNELS : 1u) + batch * stride[0] +                 \
               token * stride[1] + head * stride[2];                                                                   \
    }

SXT_STEP_ROW(q, push.q, SXT_STEP_BASE_Q, Q_TYPE)
SXT_STEP_ROW(k, push.k, SXT_STEP_BASE_K, K_TYPE)
SXT_STEP_ROW(v, push.v, SXT_STEP_BASE_V, V_TYPE)
SXT_STEP_ROW(q_out, push.q_out, SXT_STEP_BASE_Q_OUT, Q_OUT_TYPE)
SXT_STEP_ROW(k_out, push.k_out, SXT_STEP_BASE_K_OUT, K_OUT_TYPE)
SXT_STEP_ROW(v_out, push.v_out, SXT_STEP_BASE_V_OUT, V_OUT_TYPE)
SXT_STEP_ROW(q_weight, sxt_step.q_weight, SXT_STEP_BASE_Q_WEIGHT, Q_WEIGHT_TYPE)
SXT_STEP_ROW(k_weight, sxt_step.k_weight, SXT_STEP_BASE_K_WEIGHT, K_WEIGHT_TYPE)

float sxt_k_scale_of(uint head) {
    return SXT_AT(sxt_k_scale, sxt_base(SXT_STEP_BASE_K_SCALE) + head * sxt_step.k_scale);
}

float sxt_v_scale_of(uint head) {
    return SXT_AT(sxt_v_scale, sxt_base(SXT_STEP_BASE_V_SCALE) + head * sxt_step.v_scale);
}

// k comes out of a cache whose heads have scales.
bool sxt_k_is_scaled_cache() {
    return K_TYPE == SXT_STORE_FP8_E4M3 && (SCALED & 1u) != 0u;
}

#endif
