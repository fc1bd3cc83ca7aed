#include "support/rotation.h"

#include <criterion/criterion.h>
#include <math.h>

static void random_sections(sxt_test_rng *rng, uint32_t pairs, uint32_t planes, uint32_t sections[4]) {
    for (uint32_t axis = 0; axis < planes; axis++) {
        sections[axis] = axis + 1 < planes ? sxt_test_between(rng, 0, pairs) : pairs;
        pairs -= sections[axis];
    }
}

static void random_frequencies(sxt_test_rng *rng, uint32_t pairs, sxt_test_rotation *r) {
    sxt_rope_params *p = &r->params;
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
    if (!sxt_test_chance(rng, 25)) return;
    p->freq_factors = r->freq_factors;
    for (uint32_t i = 0; i < pairs; i++)
        r->freq_factors[i] = (float)sxt_test_uniform(rng, 0.5, 8);
}

void sxt_test_group_rotation(sxt_test_rng *group, sxt_test_rng *rng, uint32_t channels, uint32_t unit,
                             sxt_test_rotation *out_rotation) {
    *out_rotation = (sxt_test_rotation){.planes = 1};
    sxt_rope_params *p = &out_rotation->params;
    p->pairing = SXT_TEST_PICK(group, sxt_rope_pairing, SXT_ROPE_HALF, SXT_ROPE_INTERLEAVED);
    if (channels % unit || sxt_test_chance(group, 30)) {
        p->rotary_dim = unit * sxt_test_between(group, 1, channels / unit);
        p->rotary_offset = unit / 2 * sxt_test_below(rng, (channels - p->rotary_dim) / (unit / 2) + 1);
    }
    const uint32_t pairs = (p->rotary_dim ? p->rotary_dim : channels) / 2;
    random_frequencies(rng, pairs, out_rotation);
    if (sxt_test_chance(group, 20)) {
        p->multi = SXT_TEST_PICK(rng, sxt_rope_multi, SXT_ROPE_MROPE, SXT_ROPE_IMROPE, SXT_ROPE_VISION);
        out_rotation->planes = sxt_test_between(rng, 2, 4);
        random_sections(rng, pairs, out_rotation->planes, p->sections);
    }
}

void sxt_test_random_rotation(sxt_test_rng *rng, uint32_t channels, sxt_test_rotation *out_rotation) {
    sxt_test_group_rotation(rng, rng, channels, 2, out_rotation);
}

const char *sxt_test_form_name(sxt_test_form form) {
    static const char *const names[SXT_TEST_FORMS] = {"plain",  "linear",  "NTK",      "dynamic NTK",
                                                      "YaRN",   "Llama 3", "longrope", "mrope",
                                                      "imrope", "vision",  "partial",  "inverse"};
    return names[form];
}

static void longrope(uint32_t channels, sxt_test_rotation *r) {
    float short_factors[SXT_TEST_MAX_PAIRS], long_factors[SXT_TEST_MAX_PAIRS];
    for (uint32_t i = 0; i < channels / 2; i++) {
        short_factors[i] = 1 + 0.01f * (float)i;
        long_factors[i] = 1 + 0.9f * (float)i;
    }
    cr_assert_eq(sxt_rope_longrope_factors(short_factors, long_factors, channels, 100000, 4096, 131072, r->freq_factors,
                                           &r->params.attn_factor),
                 SXT_OK);
    r->params.freq_factors = r->freq_factors;
}

// Sections that end in no round numbers, and imrope's as Qwen3-VL has them: more of the first axis.
static void multi(sxt_rope_multi kind, uint32_t pairs, sxt_test_rotation *r) {
    const uint32_t third = pairs / 3, first = pairs - 2 * third;
    r->params.multi = kind;
    r->planes = kind == SXT_ROPE_VISION ? 2 : 3;
    const uint32_t sections[3] = {kind == SXT_ROPE_VISION ? pairs / 2 + 1 : first,
                                  kind == SXT_ROPE_VISION ? pairs - pairs / 2 - 1 : third,
                                  kind == SXT_ROPE_VISION ? 0 : third};
    for (uint32_t axis = 0; axis < 3; axis++)
        r->params.sections[axis] = sections[axis];
}

void sxt_test_rotation_of(sxt_test_form form, uint32_t channels, sxt_test_rotation *out_rotation) {
    *out_rotation = (sxt_test_rotation){.planes = 1, .params.base = 500000};
    sxt_rope_params *p = &out_rotation->params;
    if (form == SXT_TEST_LINEAR) p->freq_scale = 0.3f;
    if (form == SXT_TEST_NTK) cr_assert_eq(sxt_rope_ntk_base(10000, 8, channels, &p->base), SXT_OK);
    if (form == SXT_TEST_DYNAMIC_NTK)
        cr_assert_eq(sxt_rope_dynamic_ntk_base(10000, 2, channels, 123456, 4096, &p->base), SXT_OK);
    if (form == SXT_TEST_YARN) {
        p->freq_scale = 0.25f;
        p->ext_factor = 1;
        p->original_context = 32768;
    }
    if (form == SXT_TEST_LLAMA3) {
        cr_assert_eq(sxt_rope_llama3_factors(p->base, channels, 8, 1, 4, 8192, out_rotation->freq_factors), SXT_OK);
        p->freq_factors = out_rotation->freq_factors;
    }
    if (form == SXT_TEST_LONGROPE) longrope(channels, out_rotation);
    if (form == SXT_TEST_MROPE) multi(SXT_ROPE_MROPE, channels / 2, out_rotation);
    if (form == SXT_TEST_IMROPE) multi(SXT_ROPE_IMROPE, channels / 2, out_rotation);
    if (form == SXT_TEST_VISION) multi(SXT_ROPE_VISION, channels / 2, out_rotation);
    if (form == SXT_TEST_PARTIAL) {
        p->rotary_dim = channels / 2;
        p->rotary_offset = channels / 4;
    }
    p->inverse = form == SXT_TEST_INVERSE;
}

// ── In extended precision ──

static long double yarn(const sxt_rope_params *p, uint32_t pair, long double dim, long double own) {
    static const long double two_pi = 6.28318530717958647692528676655900577L;
    const long double per_turn = dim / (2 * logl(p->base));
    const long double fast = per_turn * logl(p->original_context / (p->beta_fast * two_pi));
    const long double slow = per_turn * logl(p->original_context / (p->beta_slow * two_pi));
    const long double low = fmaxl(0, floorl(fast)), high = fminl(dim - 1, ceill(slow));
    const long double place = ((long double)pair - low) / fmaxl(0.001L, high - low);
    const long double ramp = p->ext_factor * (1 - fminl(1, fmaxl(0, place)));
    return p->freq_scale * own * (1 - ramp) + own * ramp;
}

// The axis of a pair, and its index there: sections in a row, or, of imrope, axes taking turns. What nobody owns goes
// with the fourth plane, or else with the first.
static uint32_t axis_of(const sxt_rope_params *p, uint32_t planes, uint32_t pair, uint32_t *out_index) {
    *out_index = pair;
    if (p->multi == SXT_ROPE_SINGLE) return 0;
    if (p->multi == SXT_ROPE_IMROPE) return pair / 3 < p->sections[pair % 3] ? pair % 3 : planes == 4 ? 3 : 0;
    uint32_t axis = 0, index = pair;
    while (axis + 1 < 4 && index >= p->sections[axis])
        index -= p->sections[axis++];
    if (p->multi == SXT_ROPE_VISION) *out_index = index;
    return axis;
}

static void fill_defaults(sxt_rope_params *p, uint32_t channels) {
    if (p->rotary_dim == 0) p->rotary_dim = channels - p->rotary_offset;
    if (p->base == 0) p->base = 10000;
    if (p->freq_scale == 0) p->freq_scale = 1;
    if (p->attn_factor == 0) p->attn_factor = 1;
    if (p->beta_fast == 0) p->beta_fast = 32;
    if (p->beta_slow == 0) p->beta_slow = 1;
}

void sxt_test_turns_init(sxt_test_turns *turns, const sxt_rope_params *rope, uint32_t channels, uint32_t planes) {
    turns->params = *rope;
    turns->pairs = 0;
    if (rope->pairing == SXT_ROPE_NONE) return;
    sxt_rope_params *p = &turns->params;
    fill_defaults(p, channels);
    turns->pairs = p->rotary_dim / 2;
    turns->m = p->attn_factor;
    if (p->ext_factor != 0) turns->m *= 1 + 0.1L * logl(1 / (long double)p->freq_scale);
    const long double dim = p->multi == SXT_ROPE_VISION ? p->rotary_dim / 2 : p->rotary_dim;
    for (uint32_t i = 0; i < turns->pairs; i++) {
        uint32_t index;
        turns->axes[i] = axis_of(p, planes, i, &index);
        long double own = powl(p->base, -2.0L * index / dim);
        if (p->freq_factors) own /= p->freq_factors[i];
        const long double scaled = p->ext_factor != 0 ? yarn(p, i, dim, own) : p->freq_scale * own;
        turns->frequencies[i] = p->inverse ? -scaled : scaled;
    }
}

void sxt_test_turns_at(sxt_test_turns *turns, const int32_t positions[4], bool with_m) {
    for (uint32_t i = 0; i < turns->pairs; i++) {
        const long double angle = turns->frequencies[i] * positions[turns->axes[i]], m = with_m ? turns->m : 1;
        turns->cosine[i] = (double)(m * cosl(angle));
        turns->sine[i] = (double)(m * sinl(angle));
    }
}

void sxt_test_turn(const sxt_test_turns *turns, double *row) {
    const bool half = turns->params.pairing == SXT_ROPE_HALF;
    for (uint32_t i = 0; i < turns->pairs; i++) {
        double *a = row + turns->params.rotary_offset + (half ? i : 2 * i), *b = a + (half ? turns->pairs : 1);
        const double turned = *a * turns->cosine[i] - *b * turns->sine[i];
        *b = *a * turns->sine[i] + *b * turns->cosine[i];
        *a = turned;
    }
}

sxt_tensor sxt_test_positions(sxt_test_trial *trial, uint32_t planes, uint32_t batch, uint32_t tokens, int32_t most) {
    sxt_test_rng *rng = &trial->rng;
    const uint32_t rows = sxt_test_chance(rng, 50) ? 1 : batch;
    const sxt_tensor positions = sxt_test_place(trial, "positions", SXT_TYPE_I32, planes, rows, 1, tokens);
    for (uint64_t n = 0; n < sxt_test_count(&positions); n++) {
        const double magnitude = exp2(sxt_test_uniform(rng, 0, log2((double)most + 1))) - 1;
        const int32_t any = (int32_t)(sxt_test_chance(rng, 30) ? -magnitude : magnitude);
        const bool extreme = most == INT32_MAX && sxt_test_chance(rng, 5);
        sxt_test_set_int(trial, &positions, n, extreme ? SXT_TEST_PICK(rng, int32_t, INT32_MIN, INT32_MAX) : any);
    }
    return positions;
}

void sxt_test_say_rotation(sxt_test_trial *trial, const sxt_rope_params *p) {
    sxt_test_say(trial, "%s, rotary_dim %u, offset %u, base %g, freq_scale %g, ext_factor %g, attn_factor %g%s%s",
                 p->pairing == SXT_ROPE_HALF   ? "half"
                 : p->pairing == SXT_ROPE_NONE ? "no rotation"
                                               : "interleaved",
                 p->rotary_dim, p->rotary_offset, p->base, p->freq_scale, p->ext_factor, p->attn_factor,
                 p->freq_factors ? ", freq_factors" : "", p->inverse ? ", inverse" : "");
    if (p->multi != SXT_ROPE_SINGLE)
        sxt_test_say(trial, ", multi %d, sections %u %u %u %u", (int)p->multi, p->sections[0], p->sections[1],
                     p->sections[2], p->sections[3]);
}
