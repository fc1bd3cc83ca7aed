// Positions, and the parameters of a rotation with the scalings that come down to a base or to factors.
#include "build.h"

#include <stdlib.h>

bool sxt_build_positions(const sxt_builder *b, const char *name, uint32_t batch, uint32_t tokens, int *out_slot) {
    static const int single[2][4] = {{3}, {1, 3}}, multi[2][4] = {{0, 3}, {0, 1, 3}};
    const sxt_array *array = sxt_build_find(b, name);
    bool planes = b->params.rope.multi != SXT_ROPE_SINGLE;
    const char *wanted = planes ? "[planes, tokens]" : "[tokens]";
    uint32_t shape[4], least = planes ? 2 : 1;
    if (!array) return sxt_build_fail(b, "tensor '%s' is missing: RoPE needs I32 %s", name, wanted);
    if (array->rank < least || array->rank > least + 1) return sxt_build_wrong_shape(b, array, wanted);
    if (!sxt_build_spread(b, array, (planes ? multi : single)[array->rank - least], shape)) return false;
    if (shape[3] != tokens || (shape[1] != 1 && shape[1] != batch)) return sxt_build_wrong_shape(b, array, wanted);
    *out_slot = sxt_build_slot(b, array, shape);
    return true;
}

// An f32 tensor with one factor a pair; NULL, which is no error, if the case has none.
static bool find_factors(const sxt_builder *b, const char *name, uint64_t rotary, const float **out_factors) {
    const sxt_array *factors = sxt_build_find(b, name);
    *out_factors = NULL;
    if (!factors) return true;
    if (factors->rank != 1 || factors->count * 2 != rotary) return sxt_build_wrong_shape(b, factors, "[rotary_dim/2]");
    *out_factors = factors->data;
    return true;
}

static bool scale_by_base(const sxt_builder *b, uint32_t rotary, sxt_rope_params *rope) {
    const sxt_case_params *p = &b->params;
    float base = rope->base != 0 ? rope->base : 10000;
    sxt_result result =
        p->scaling == SXT_SCALING_NTK
            ? sxt_rope_ntk_base(base, p->factor, rotary, &rope->base)
            : sxt_rope_dynamic_ntk_base(base, p->factor, rotary, p->length, p->rope.original_context, &rope->base);
    if (result == SXT_OK) return true;
    if (p->scaling == SXT_SCALING_NTK)
        return sxt_build_fail(b, "key 'scaling': ntk needs base from 1, factor above 0 and rotary_dim above 2");
    return sxt_build_fail(b, "key 'scaling': dynamic_ntk needs base from 1, factor above 0, rotary_dim above 2, length "
                             "and original_context");
}

static bool scale_by_factors(const sxt_builder *b, uint32_t rotary, sxt_rope_params *rope) {
    const sxt_case_params *p = &b->params;
    const float *short_factors, *long_factors;
    float base = rope->base != 0 ? rope->base : 10000;
    if (!find_factors(b, "short_factors", rotary, &short_factors) ||
        !find_factors(b, "long_factors", rotary, &long_factors)) {
        return false;
    }
    if (p->scaling == SXT_SCALING_LONGROPE && (!short_factors || !long_factors))
        return sxt_build_fail(b, "tensor '%s' is missing: scaling = longrope needs F32 [rotary_dim/2]",
                              short_factors ? "long_factors" : "short_factors");
    float *factors = b->work->freq_factors = malloc((rotary / 2 + 1) * sizeof *factors);
    if (!factors) return sxt_build_fail(b, "out of memory");
    rope->freq_factors = factors;
    if (p->scaling == SXT_SCALING_LLAMA3) {
        return sxt_rope_llama3_factors(base, rotary, p->factor, p->low_freq_factor, p->high_freq_factor,
                                       p->rope.original_context, factors) == SXT_OK ||
               sxt_build_fail(b, "key 'scaling': llama3 needs factor above 0, high_freq_factor above low_freq_factor "
                                 "above 0, original_context, base from 1 and an even rotary_dim");
    }
    return sxt_rope_longrope_factors(short_factors, long_factors, rotary, p->length, p->rope.original_context,
                                     p->max_context, factors, &rope->attn_factor) == SXT_OK ||
           sxt_build_fail(b, "key 'scaling': longrope needs original_context above 1, max_context, factors above 0 and "
                             "an even rotary_dim");
}

bool sxt_build_rotation(const sxt_builder *b, uint32_t channels, sxt_rope_params *out_rope) {
    int scaling = b->params.scaling;
    *out_rope = b->params.rope;
    uint64_t rotary = out_rope->rotary_dim ? out_rope->rotary_dim : channels - (uint64_t)out_rope->rotary_offset;
    // The library tells it better, but the helpers count on it.
    if (scaling != SXT_SCALING_NONE && rotary + out_rope->rotary_offset > channels)
        return sxt_build_fail(b, "key 'rotary_dim': %u channels have no %llu from %u", channels,
                              (unsigned long long)rotary, out_rope->rotary_offset);
    if (!find_factors(b, "freq_factors", rotary, &out_rope->freq_factors)) return false;
    bool by_factors = scaling == SXT_SCALING_LLAMA3 || scaling == SXT_SCALING_LONGROPE;
    if (by_factors && out_rope->freq_factors)
        return sxt_build_fail(b, "tensor 'freq_factors': scaling makes its own factors");
    if (scaling != SXT_SCALING_LONGROPE && (sxt_build_find(b, "short_factors") || sxt_build_find(b, "long_factors")))
        return sxt_build_fail(b, "tensor '%s' needs the key 'scaling': longrope",
                              sxt_build_find(b, "short_factors") ? "short_factors" : "long_factors");
    if (by_factors) return scale_by_factors(b, (uint32_t)rotary, out_rope);
    return scaling == SXT_SCALING_NONE || scale_by_base(b, (uint32_t)rotary, out_rope);
}
