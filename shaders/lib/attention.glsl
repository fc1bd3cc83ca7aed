// What the attention kernels share: push constants, buffers, packed rows, masks, and the terms added to a score.
#ifndef SXT_LIB_ATTENTION_GLSL
#define SXT_LIB_ATTENTION_GLSL

#include "interface/attention.h"

layout(push_constant) uniform push_block { sxt_attention_push pc; };

layout(constant_id = SXT_ATTENTION_SPEC_K_TYPE) const uint K_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_ATTENTION_SPEC_V_TYPE) const uint V_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_ATTENTION_SPEC_K_ALIGNED) const bool K_ALIGNED = true;
layout(constant_id = SXT_ATTENTION_SPEC_V_ALIGNED) const bool V_ALIGNED = true;
layout(constant_id = SXT_ATTENTION_SPEC_FEATURES) const bool FEATURES = false;

bool has(uint flag) {
    return (pc.flags & flag) != 0u;
}

uint type_at(uint shift) {
    return (pc.dims >> shift) & 3u;
}

#include "lib/logarithm.glsl"
#include "lib/storage.glsl"

// q, o and bias are touched once a row or seldom: their types stay dynamic, which keeps pipelines few.
SXT_INPUT(q, SXT_ATTENTION_Q, type_at(SXT_ATTENTION_Q_TYPE_SHIFT))
SXT_INPUT(k, SXT_ATTENTION_K, K_TYPE)
SXT_INPUT(v, SXT_ATTENTION_V, V_TYPE)
SXT_STORAGE_LOADS_Q8(k)
SXT_STORAGE_LOADS_Q8(v)
SXT_OUTPUT(o, SXT_ATTENTION_O, type_at(SXT_ATTENTION_O_TYPE_SHIFT))
SXT_INPUT(bias, SXT_ATTENTION_BIAS, type_at(SXT_ATTENTION_BIAS_TYPE_SHIFT))
SXT_BLOCK(lse_values, float, writeonly, SXT_ATTENTION_LSE)
SXT_BLOCK(sink_logits, float, readonly, SXT_ATTENTION_SINKS)
SXT_BLOCK(alibi_slopes, float, readonly, SXT_ATTENTION_ALIBI)

// Four channels of a key or a value.
vec4 k_quad(uint i) {
    return K_TYPE == SXT_STORE_Q8_0 ? k_load4_q8(i) : k_load4(i, K_ALIGNED);
}

vec4 v_quad(uint i) {
    return V_TYPE == SXT_STORE_Q8_0 ? v_load4_q8(i) : v_load4(i, V_ALIGNED);
}

// The running maximum starts from a finite floor and masked logits are finite and lower, so that no subtraction makes a
// NaN and no product with log2(e) an infinity.
const float FLOOR = -1.5e38, MASKED = -2.0e38;

// e^(s − maximum). log2(e) comes after the subtraction: folded into the logits it would cost large ones their last
// bits.
float weight_of(float s, float maximum) {
    return exp2((s - maximum) * LOG2_E);
}

struct place { // of one query head's KV work
    uint batch, kv_head;
};

struct row {
    uint token, head;
};

uint packed_rows() {
    return pc.q_tokens * pc.group;
}

// Rows past the end stand for the last one; they are computed and not stored.
row row_at(place at, uint packed) {
    packed = min(packed, packed_rows() - 1u);
    return row(packed / pc.group, at.kv_head * pc.group + packed % pc.group);
}

// The key at which query `token` stands, which may be negative.
int position_of(uint token) {
    return int(token) + int(pc.k_tokens) - int(pc.q_tokens);
}

int first_key(uint token) {
    return max(position_of(token) - pc.window_left, 0);
}

// One past the last.
int end_key(uint token) {
    return min(position_of(token) + pc.window_right + 1, int(pc.k_tokens));
}

uint offset_of(uint base, uint stride[3], uint a, uint b, uint c) {
    return base + a * stride[0] + b * stride[1] + c * stride[2];
}

uint main_row(uint base_shift, uint stride[3], uint batch, uint token, uint head) {
    return offset_of((pc.bases_main >> base_shift) & 0xffu, stride, batch, token, head);
}

uint extra_base(uint shift) {
    return (pc.bases_extra >> shift) & 0xffu;
}

uint extra_row(uint base_shift, uint stride[3], uint a, uint b, uint c) {
    return offset_of(extra_base(base_shift), stride, a, b, c);
}

// The base of a q8_0 tensor is in blocks of 32 elements: the other 31 parts of it are added here.
uint k_row(place at, uint key) {
    uint blocks = K_TYPE == SXT_STORE_Q8_0 ? 31u * ((pc.bases_main >> 8) & 0xffu) : 0u;
    return blocks + main_row(8u, pc.k_stride, at.batch, key, at.kv_head);
}

uint v_row(place at, uint key) {
    uint blocks = V_TYPE == SXT_STORE_Q8_0 ? 31u * ((pc.bases_main >> 16) & 0xffu) : 0u;
    return blocks + main_row(16u, pc.v_stride, at.batch, key, at.kv_head);
}

uint q_row(place at, row r) {
    return main_row(0u, pc.q_stride, at.batch, r.token, r.head);
}

uint o_row(place at, row r) {
    return main_row(24u, pc.o_stride, at.batch, r.token, r.head);
}

// Drivers' tanh is not held to any useful precision near 0: an odd polynomial there (error 2e-8 of x), exp2 elsewhere.
float capped(float x) {
    float a = abs(x), z = x * x;
    float near = x * (1.0 + z * (-0.333333333 + z * (0.133333333 + z * (-0.0539682540 + z * (0.0218694885 +
                 z * (-0.00886323553 + z * 0.00359212803))))));
    float e = exp2(-2.0 * LOG2_E * a);
    return a < 0.4 ? near : sign(x) * (1.0 - e) / (1.0 + e);
}

// A logit from the product of the scaled q with k.
float logit(float product, place at, row r, int key) {
    if (!FEATURES)
        return product;
    float s = product;
    if (has(SXT_ATTENTION_HAS_SOFTCAP))
        s = capped(s) * pc.softcap;
    if (has(SXT_ATTENTION_HAS_BIAS)) {
        uint offset = extra_row(8u, pc.bias_stride, at.batch, r.head, r.token);
        // Padding lanes may ask for keys that are not there.
        s += bias_load(offset + uint(clamp(key, 0, int(pc.k_tokens) - 1)));
    }
    if (has(SXT_ATTENTION_HAS_ALIBI))
        s -= SXT_AT(alibi_slopes, extra_base(24u) + r.head) * float(abs(position_of(r.token) - key));
    return s;
}

// Ends a row whose sum of e^(s − maximum) is `total`: writes lse, and returns the factor for the row's output.
// A sink joins the denominator only.
float finish_row(place at, row r, float maximum, float total, bool writes) {
    float factor = 1.0;
    if (has(SXT_ATTENTION_HAS_SINKS)) {
        float sink = SXT_AT(sink_logits, extra_base(16u) + r.head);
        float raised = max(maximum, sink);
        factor = weight_of(maximum, raised);
        total = total * factor + weight_of(sink, raised);
        maximum = raised;
    }
    if (writes && has(SXT_ATTENTION_HAS_LSE)) {
        uint offset = extra_row(0u, pc.lse_stride, at.batch, r.token, r.head);
        // A NaN total stays one.
        SXT_AT(lse_values, offset) = total == 0.0 ? uintBitsToFloat(0xff800000u) : maximum + precise_log(total);
    }
    return total == 0.0 ? 0.0 : factor / total;
}

#endif
