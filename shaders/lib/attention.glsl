// What the attention kernels share: push constants, buffers, the terms added to a score, and the end of a row. Which
// rows and keys there are: lib/attention_place.glsl, which this includes.
#ifndef SXT_LIB_ATTENTION_GLSL
#define SXT_LIB_ATTENTION_GLSL

#include "interface/attention.h"

layout(push_constant) uniform push_block { sxt_attention_push pc; };
// For lib/address.glsl: tokens are at most SXT_ATTENTION_MAX_TOKENS.
#define SXT_LARGEST_UINT (~(pc.k_tokens >> 31))
layout(std140, set = 0, binding = SXT_PARAMS_BINDING) uniform params_block { sxt_attention_params params; };

layout(constant_id = SXT_ATTENTION_SPEC_K_TYPE) const uint K_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_ATTENTION_SPEC_V_TYPE) const uint V_TYPE = SXT_STORE_F32;
layout(constant_id = SXT_ATTENTION_SPEC_K_ALIGNED) const bool K_ALIGNED = true;
layout(constant_id = SXT_ATTENTION_SPEC_V_ALIGNED) const bool V_ALIGNED = true;
layout(constant_id = SXT_ATTENTION_SPEC_FEATURES) const bool FEATURES = false;
layout(constant_id = SXT_ATTENTION_SPEC_ROWS) const uint ROWS = 16;
layout(constant_id = SXT_ATTENTION_SPEC_FORMS) const uint FORMS = 0;
layout(constant_id = SXT_ATTENTION_SPEC_SPLIT) const bool SPLIT = false;
layout(constant_id = SXT_ATTENTION_SPEC_BOUNDED) const bool BOUNDED = false;

const bool SEQUENCES = (FORMS & SXT_ATTENTION_FORM_SEQUENCES) != 0, PAGES = (FORMS & SXT_ATTENTION_FORM_PAGES) != 0,
           MASK_BITS = (FORMS & SXT_ATTENTION_FORM_MASK) != 0;

bool has(uint flag) {
    return (pc.flags & flag) != 0u;
}

uint type_at(uint shift) {
    bool three = shift == SXT_ATTENTION_K_TYPE_SHIFT || shift == SXT_ATTENTION_V_TYPE_SHIFT;
    return (pc.dims >> shift) & (three ? 7u : 3u);
}

uint byte_of(uint bases, uint shift) {
    return (bases >> shift) & 0xffu;
}

#include "lib/logarithm.glsl"
#include "lib/storage.glsl"
#include "lib/storage_coded.glsl"

// q, o and bias are touched once a row or seldom: their types stay dynamic, which keeps pipelines few.
SXT_INPUT(q, SXT_ATTENTION_Q, type_at(SXT_ATTENTION_Q_TYPE_SHIFT))
SXT_INPUT(k, SXT_ATTENTION_K, K_TYPE)
SXT_INPUT(v, SXT_ATTENTION_V, V_TYPE)
SXT_STORAGE_LOADS_CODED(k)
SXT_STORAGE_LOADS_CODED(v)
SXT_OUTPUT(o, SXT_ATTENTION_O, type_at(SXT_ATTENTION_O_TYPE_SHIFT))
SXT_INPUT(bias, SXT_ATTENTION_BIAS, type_at(SXT_ATTENTION_BIAS_TYPE_SHIFT))
SXT_BLOCK(lse_values, float, writeonly, SXT_ATTENTION_LSE)
SXT_BLOCK(sink_logits, float, readonly, SXT_ATTENTION_SINKS)
SXT_BLOCK(alibi_slopes, float, readonly, SXT_ATTENTION_ALIBI)
SXT_BLOCK(k_scales, float, readonly, SXT_ATTENTION_K_SCALE)
SXT_BLOCK(v_scales, float, readonly, SXT_ATTENTION_V_SCALE)
SXT_BLOCK(faults, uint, , SXT_ATTENTION_FAULTS)

// Four channels of a key or a value, without the scale of fp8.
vec4 k_quad(uint i) {
    return sxt_is_coded(K_TYPE) ? k_load4_coded(i, K_TYPE, K_ALIGNED) : k_load4(i, K_ALIGNED);
}

vec4 v_quad(uint i) {
    return sxt_is_coded(V_TYPE) ? v_load4_coded(i, V_TYPE, V_ALIGNED) : v_load4(i, V_ALIGNED);
}

#include "lib/attention_place.glsl"

// fp8's scales: K's goes onto q, V's onto the sum.
float q_factor(place at) {
    float scale = has(SXT_ATTENTION_HAS_K_SCALE)
                      ? SXT_AT(k_scales, byte_of(params.bases_scales, 0u) + at.kv_head * params.k_scale_head)
                      : 1.0;
    return scale * pc.q_scale;
}

float v_factor(place at) {
    return has(SXT_ATTENTION_HAS_V_SCALE)
               ? SXT_AT(v_scales, byte_of(params.bases_scales, 8u) + at.kv_head * params.v_scale_head)
               : 1.0;
}

// The running maximum starts from a finite floor and masked logits are finite and lower, so that no subtraction makes a
// NaN and no product with log2(e) an infinity. With BOUNDED the maximum is 0 throughout.
const float FLOOR = -1.5e38, MASKED = -2.0e38;

// e^(s − maximum). log2(e) comes after the subtraction: folded into the logits it would cost large ones their last
// bits.
float weight_of(float s, float maximum) {
    return exp2((s - maximum) * LOG2_E);
}

// e^s of a logit that is held within the bound; `greatest` learns of those that were not. MASKED has weight 0, and a
// NaN stays one.
float bounded_weight(float s, inout float greatest) {
    bool seen = s != MASKED;
    greatest = max(greatest, seen ? abs(s) : 0.0);
    return isnan(s) ? s : seen ? exp2(clamp(s, -params.bound, params.bound) * LOG2_E) : 0.0;
}

// A few roundings above the bound are the arithmetic's own. Who rounds queries or keys too says how much more that is.
#ifndef SXT_BOUND_SLACK
#define SXT_BOUND_SLACK (1.0 / 4096.0)
#endif

// To be called once at the end by each invocation, with what bounded_weight left.
void report_bound(float greatest) {
    if (greatest > params.bound * (1.0 + SXT_BOUND_SLACK))
        atomicOr(SXT_AT(faults, 0), SXT_FAULT_BIT_LOGIT);
}

// Drivers' tanh is not held to any useful precision near 0: an odd polynomial there (error 2e-8 of x), exp2 elsewhere.
float capped(float x) {
    float a = abs(x), z = x * x;
    float near = x * (1.0 + z * (-0.333333333 + z * (0.133333333 + z * (-0.0539682540 + z * (0.0218694885 +
                 z * (-0.00886323553 + z * 0.00359212803))))));
    float e = exp2(-2.0 * LOG2_E * a);
    return a < 0.4 ? near : sign(x) * (1.0 - e) / (1.0 + e);
}

// A logit from the product of the scaled q with k, for a key that the row's window lets it see, but for the mask of
// bits.
float unmasked_logit(float product, place at, row r, int key) {
    float s = product;
    if (FEATURES) {
        if (has(SXT_ATTENTION_HAS_SOFTCAP))
            s = capped(s) * pc.softcap;
        if (has(SXT_ATTENTION_HAS_BIAS)) {
            uint offset = offset_of(byte_of(pc.bases_extra, 8u), pc.bias_stride, at.sequence, r.head, r.token);
            // Padding lanes may ask for keys that are not there.
            s += bias_load(offset + uint(clamp(key, 0, int(pc.k_tokens) - 1)));
        }
        if (has(SXT_ATTENTION_HAS_ALIBI)) {
            float slope = SXT_AT(alibi_slopes, byte_of(pc.bases_extra, 24u) + r.head);
            s -= slope * float(abs(position_of(at, r.token) - key));
        }
    }
    return s;
}

// The same with the mask.
float logit(float product, place at, row r, int key) {
    float s = unmasked_logit(product, at, r, key);
    if (MASK_BITS)
        s = kept(at, r, key) ? s : MASKED;
    return s;
}

// Ends a row whose sum of e^(s − maximum) is `total`: writes lse, and returns the factor for the row's output, but for
// `share`, which is to follow by a multiplication of its own: together they may be too small for f32.
// A sink joins the denominator only, of results that are not partial. `partial`: row of a partial result.
float finish_row(place at, row r, float maximum, float total, uint partial, bool writes, out float share) {
    float inverse = total == 0.0 ? 0.0 : 1.0 / total;
    share = v_factor(at);
    if (!SPLIT && has(SXT_ATTENTION_HAS_SINKS)) {
        float sink = SXT_AT(sink_logits, byte_of(pc.bases_extra, 16u) + r.head);
        if (BOUNDED && total > 0.0) { // from a maximum that bears comparison with the sink
            maximum += precise_log(total);
            total = 1.0;
        }
        float raised = max(maximum, sink), kept_total = total * weight_of(maximum, raised);
        total = kept_total + weight_of(sink, raised);
        maximum = raised;
        share *= total == 0.0 ? 0.0 : kept_total / total;
    }
    if (writes && (SPLIT || has(SXT_ATTENTION_HAS_LSE))) {
        uint offset = SPLIT ? partial : lse_row(at, r);
        // A NaN total stays one.
        SXT_AT(lse_values, offset) = total == 0.0 ? uintBitsToFloat(0xff800000u) : maximum + precise_log(total);
    }
    return inverse;
}

// Both factors in one, where nothing is that small.
float finish_row(place at, row r, float maximum, float total, uint partial, bool writes) {
    float share, factor = finish_row(at, r, maximum, total, partial, writes, share);
    return factor * share;
}

#endif
