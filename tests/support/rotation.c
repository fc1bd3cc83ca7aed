#include "support/rotation.h"

#include <math.h>

static void random_sections(sxt_test_rng *rng, uint32_t pairs, uint32_t planes, uint32_t sections[4]) {
    for (uint32_t axis = 0; axis < planes; axis++) {
        sections[axis] = axis + 1 < planes ? sxt_test_between(rng, 0, pairs) : pairs;
        pairs -= sections[axis];
    }
}

void sxt_test_random_rotation(sxt_test_rng *rng, uint32_t channels, sxt_test_rotation *out_rotation) {
    *out_rotation = (sxt_test_rotation){.planes = 1};
    sxt_rope_params *p = &out_rotation->params;
    p->pairing = SXT_TEST_PICK(rng, sxt_rope_pairing, SXT_ROPE_HALF, SXT_ROPE_INTERLEAVED);
    p->inverse = sxt_test_chance(rng, 20);
    p->base = SXT_TEST_PICK(rng, float, 0, 10000, 500000, 1e6f);
    if (sxt_test_chance(rng, 30)) p->freq_scale = SXT_TEST_PICK(rng, float, 0.25f, 0.125f, 0.7f);
    if (sxt_test_chance(rng, 20)) p->attn_factor = SXT_TEST_PICK(rng, float, 0.5f, 1.19f);
    if (sxt_test_chance(rng, 30)) {
        p->ext_factor = SXT_TEST_PICK(rng, float, 1, 1, 0.5f);
        p->original_context = SXT_TEST_PICK(rng, uint32_t, 2048, 4096, 32768);
        p->beta_fast = SXT_TEST_PICK(rng, float, 0, 32, 16);
        p->beta_slow = SXT_TEST_PICK(rng, float, 0, 1, 2);
    }
    if (channels % 2 || sxt_test_chance(rng, 30)) {
        p->rotary_dim = 2 * sxt_test_between(rng, 1, channels / 2);
        p->rotary_offset = sxt_test_below(rng, channels - p->rotary_dim + 1);
    }
    const uint32_t pairs = (p->rotary_dim ? p->rotary_dim : channels) / 2;
    if (sxt_test_chance(rng, 25)) {
        p->freq_factors = out_rotation->freq_factors;
        for (uint32_t i = 0; i < pairs; i++)
            out_rotation->freq_factors[i] = (float)sxt_test_uniform(rng, 0.5, 8);
    }
    if (sxt_test_chance(rng, 20)) {
        p->multi = SXT_TEST_PICK(rng, sxt_rope_multi, SXT_ROPE_MROPE, SXT_ROPE_IMROPE, SXT_ROPE_VISION);
        out_rotation->planes = sxt_test_between(rng, 2, 4);
        random_sections(rng, pairs, out_rotation->planes, p->sections);
    }
}

sxt_tensor sxt_test_positions(sxt_test_trial *trial, uint32_t planes, uint32_t batch, uint32_t tokens, int32_t most) {
    sxt_test_rng *rng = &trial->rng;
    const uint32_t rows = sxt_test_chance(rng, 50) ? 1 : batch;
    const sxt_tensor positions = sxt_test_place(trial, "positions", SXT_TYPE_I32, planes, rows, 1, tokens);
    for (uint64_t n = 0; n < sxt_test_count(&positions); n++) {
        const double magnitude = exp2(sxt_test_uniform(rng, 0, log2((double)most + 1))) - 1;
        sxt_test_set_int(trial, &positions, n, (int32_t)(sxt_test_chance(rng, 30) ? -magnitude : magnitude));
    }
    return positions;
}

void sxt_test_say_rotation(sxt_test_trial *trial, const sxt_rope_params *p) {
    sxt_test_say(trial, "%s, rotary_dim %u, offset %u, base %g, freq_scale %g, ext_factor %g, attn_factor %g%s%s",
                 p->pairing == SXT_ROPE_HALF ? "half" : "interleaved", p->rotary_dim, p->rotary_offset, p->base,
                 p->freq_scale, p->ext_factor, p->attn_factor, p->freq_factors ? ", freq_factors" : "",
                 p->inverse ? ", inverse" : "");
    if (p->multi != SXT_ROPE_SINGLE)
        sxt_test_say(trial, ", multi %d, sections %u %u %u %u", (int)p->multi, p->sections[0], p->sections[1],
                     p->sections[2], p->sections[3]);
}
