#include "maker.h"

#include "number.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const sxt_maker_types[] = {"f32", "f16", "bf16"};

uint32_t sxt_draw_one_of(sxt_random *random, const uint32_t *from, uint32_t count) {
    return from[sxt_random_range(random, 0, count - 1)];
}

uint32_t sxt_draw_size(sxt_random *random, uint32_t limit) {
    static const uint32_t interesting[] = {1,  1,  2,  3,  5,  7,  13,  15,  16,  17,  31,  32,  33,
                                           37, 61, 63, 64, 65, 97, 127, 128, 129, 131, 251, 256, 257};
    uint32_t size;
    do {
        size = sxt_random_once_in(random, 3)
                   ? sxt_random_range(random, 1, limit)
                   : sxt_draw_one_of(random, interesting, sizeof interesting / sizeof *interesting);
    } while (size > limit);
    return size;
}

uint32_t sxt_draw_tokens(sxt_random *random, uint64_t elements, uint32_t most) {
    uint64_t room = most / elements;
    return sxt_draw_size(random, room < 1 ? 1 : room < 300 ? (uint32_t)room : 300);
}

sxt_dtype sxt_draw_float(sxt_random *form) {
    static const sxt_dtype dtypes[] = {SXT_DTYPE_F32, SXT_DTYPE_F32, SXT_DTYPE_F16, SXT_DTYPE_BF16};
    return dtypes[sxt_random_range(form, 0, 3)];
}

uint32_t sxt_draw_rotary_head(sxt_random *form) {
    static const uint32_t common[] = {64, 80, 96, 128, 128, 256};
    return sxt_random_once_in(form, 2) ? 2 * sxt_random_range(form, 1, 160) : sxt_draw_one_of(form, common, 6);
}

const char *sxt_draw_cache_type(sxt_random *form, uint32_t channels) {
    static const char *const types[] = {"f32", "f16", "bf16", "fp8_e4m3", "q8_0", "q4_0"};
    return types[sxt_random_range(form, 0, channels % 32 == 0 ? 5 : 3)];
}

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b) {
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

sxt_scramble sxt_draw_scramble(sxt_random *random, uint32_t count) {
    sxt_scramble s = {sxt_random_range(random, 0, count - 1), sxt_random_range(random, 1, count), count};
    while (greatest_common_divisor(count, s.step) != 1)
        s.step--;
    return s;
}

double sxt_scrambled(const sxt_scramble *s, uint64_t i) {
    return (double)((s->first + i % s->count * s->step) % s->count);
}

double sxt_draw_or_nowhere(sxt_random *random, double index, uint32_t count) {
    static const double far[] = {2147483647.0, -2147483648.0, -2, 65536};
    if (sxt_random_once_in(random, 8)) return -1;
    if (!sxt_random_once_in(random, 40)) return index;
    uint32_t which = sxt_random_range(random, 0, 4);
    return which == 4 || far[which] < count ? count : far[which];
}

void sxt_make_key(sxt_maker *m, const char *key, const char *format, ...) {
    char value[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    m->failed |= !sxt_bundle_set(m->bundle, key, value);
}

sxt_array *sxt_make_tensor(sxt_maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape) {
    uint64_t dims[SXT_MAX_RANK];
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = shape[i];
    sxt_array *array = sxt_bundle_add(m->bundle, name, dtype, rank, dims);
    m->failed |= array == NULL;
    return array;
}

void sxt_make_element(sxt_array *array, uint64_t index, double value) {
    static const sxt_type of[] = {[SXT_DTYPE_F32] = SXT_TYPE_F32,
                                  [SXT_DTYPE_F16] = SXT_TYPE_F16,
                                  [SXT_DTYPE_BF16] = SXT_TYPE_BF16,
                                  [SXT_DTYPE_I32] = SXT_TYPE_I32};
    sxt_number_put(of[array->dtype], array->data, index, value);
}

// Normally distributed values around `mean`; now and then a zero.
void sxt_make_normal(sxt_maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape, double mean,
                     double size) {
    sxt_array *array = sxt_make_tensor(m, name, dtype, rank, shape);
    for (uint64_t i = 0; array && i < array->count; i++) {
        sxt_make_element(array, i, sxt_random_once_in(m->random, 500) ? 0 : mean + size * sxt_random_normal(m->random));
    }
}

// A gain or bias: per channel, of the full shape, or repeating in some dims.
void sxt_make_repeated(sxt_maker *m, const char *name, uint32_t rank, const uint32_t *shape) {
    uint32_t own[4], skip = sxt_random_once_in(m->random, 2) ? rank - 1 : 0;
    sxt_dtype dtype = sxt_draw_float(m->form);
    memcpy(own, shape, rank * sizeof *own);
    if (sxt_random_once_in(m->form, 4)) own[rank - 1] = 1;
    for (uint32_t i = skip; i + 1 < rank; i++) {
        if (sxt_random_once_in(m->random, 2)) own[i] = 1;
    }
    sxt_make_normal(m, name, dtype, rank - skip, own + skip, 1, 0.4);
}

void sxt_make_scale(sxt_maker *m, const char *name, uint32_t heads) {
    uint32_t count = sxt_random_once_in(m->form, 2) ? 1 : heads;
    sxt_array *scale = sxt_make_tensor(m, name, SXT_DTYPE_F32, 1, &count);
    for (uint32_t i = 0; scale && i < count; i++)
        sxt_make_element(scale, i, 0.01 + 4 * sxt_random_unit(m->random));
}

void sxt_make_spoilt(sxt_maker *m, const char *name) {
    const sxt_array *array = sxt_bundle_array(m->bundle, name);
    if (!array || array->count == 0 || !sxt_random_once_in(m->random, 6)) return;
    uint64_t channels = array->shape[array->rank - 1], rows = array->count / channels;
    uint64_t first = sxt_random_range(m->random, 0, (uint32_t)(rows - 1)) * channels;
    bool whole = sxt_random_once_in(m->random, 2);
    uint64_t one = sxt_random_range(m->random, 0, (uint32_t)(channels - 1));
    for (uint64_t i = 0; i < channels; i++) {
        if (whole || i == one)
            sxt_make_element((sxt_array *)(uintptr_t)array, first + i, whole ? NAN : first % 2 ? -INFINITY : INFINITY);
    }
}

// ── Options ──

void sxt_make_layout(sxt_maker *m) {
    if (sxt_random_once_in(m->random, 2)) sxt_make_key(m, "layout", "%u", sxt_random_range(m->random, 1, 1000000));
}

void sxt_make_output(sxt_maker *m, bool in_place) {
    if (in_place && sxt_random_once_in(m->form, 5))
        sxt_make_key(m, "in_place", "true");
    else if (sxt_random_once_in(m->form, 2))
        sxt_make_key(m, "out_type", "%s", sxt_maker_types[sxt_random_range(m->form, 0, 2)]);
}

void sxt_make_norm_keys(sxt_maker *m, const char *key, bool none) {
    static const char *const kinds[] = {"rms", "layer", "l2", "none"};
    sxt_make_key(m, key, "%s", kinds[sxt_random_range(m->form, 0, none ? 3 : 2)]);
    sxt_make_key(m, "eps", "%s", sxt_random_once_in(m->random, 2) ? "1e-6" : "1e-5");
    if (sxt_random_once_in(m->random, 4)) sxt_make_key(m, "offset", "1");
}

// One of: in order from somewhere; up to a million, of either sign; any that there is; one for all, at the very end.
static double draw_position(sxt_maker *m, uint32_t kind, uint32_t start, uint64_t index) {
    switch (kind) {
    case 0:
    case 1:
        return start + (double)index;
    case 2:
        return sxt_random_range(m->random, 0, 1000000);
    case 3:
        return -(double)sxt_random_range(m->random, 0, 1000000);
    case 4:
        return (double)sxt_random_range(m->random, 0, UINT32_MAX) - 2147483648.0;
    default:
        return start % 2 ? 2147483647.0 : -2147483648.0;
    }
}

void sxt_make_positions(sxt_maker *m, const char *name, uint32_t planes, bool batched, uint32_t batches,
                        uint32_t tokens) {
    uint32_t full[3] = {planes, batches, tokens}, shape[3], rank = 0;
    bool shared = !batched || sxt_random_once_in(m->random, 2);
    for (int i = 0; i < 3; i++) {
        if ((i == 0 && planes == 1) || (i == 1 && shared)) continue;
        shape[rank++] = full[i];
    }
    uint32_t kind = sxt_random_range(m->random, 0, 5), start = sxt_random_range(m->random, 0, 5000);
    bool deltas = strcmp(name, "deltas") == 0;
    sxt_array *array = sxt_make_tensor(m, name, SXT_DTYPE_I32, rank, shape);
    for (uint64_t i = 0; array && i < array->count; i++) {
        double position = draw_position(m, kind, start, i % tokens);
        sxt_make_element(array, i, deltas && sxt_random_once_in(m->random, 3) ? 0 : position);
    }
}

static void make_factors(sxt_maker *m, const char *name, uint32_t pairs) {
    sxt_array *factors = sxt_make_tensor(m, name, SXT_DTYPE_F32, 1, &pairs);
    for (uint32_t i = 0; factors && i < pairs; i++)
        sxt_make_element(factors, i, 1 + 7 * sxt_random_unit(m->random));
}

// Half of the cases have none; the others any of those that models have.
static void draw_scaling(sxt_maker *m, uint32_t rotary) {
    enum { YARN, LINEAR, FACTORS, LLAMA3, LONGROPE, NTK, DYNAMIC_NTK, LAST = NTK - 1 };
    if (sxt_random_once_in(m->random, 2)) return;
    switch (sxt_random_range(m->random, 0, rotary > 2 ? DYNAMIC_NTK : LAST)) {
    case YARN:
        sxt_make_key(m, "ext_factor", "1");
        sxt_make_key(m, "freq_scale", "0.25");
        sxt_make_key(m, "original_context", "4096");
        break;
    case LINEAR:
        sxt_make_key(m, "freq_scale", "0.125");
        sxt_make_key(m, "attn_factor", "1.25");
        break;
    case FACTORS:
        make_factors(m, "freq_factors", rotary / 2);
        break;
    case LLAMA3:
        sxt_make_key(m, "scaling", "llama3");
        sxt_make_key(m, "factor", "8");
        sxt_make_key(m, "low_freq_factor", "1");
        sxt_make_key(m, "high_freq_factor", "4");
        sxt_make_key(m, "original_context", "8192");
        break;
    case LONGROPE:
        sxt_make_key(m, "scaling", "longrope");
        sxt_make_key(m, "length", "%u", sxt_random_range(m->random, 1, 8192));
        sxt_make_key(m, "original_context", "4096");
        sxt_make_key(m, "max_context", "131072");
        make_factors(m, "short_factors", rotary / 2);
        make_factors(m, "long_factors", rotary / 2);
        break;
    case NTK:
        sxt_make_key(m, "scaling", "ntk");
        sxt_make_key(m, "factor", "4");
        break;
    case DYNAMIC_NTK:
        sxt_make_key(m, "scaling", "dynamic_ntk");
        sxt_make_key(m, "factor", "2");
        sxt_make_key(m, "length", "%u", sxt_random_range(m->random, 1, 16384));
        sxt_make_key(m, "original_context", "4096");
        break;
    }
}

uint32_t sxt_make_rope(sxt_maker *m, uint32_t channels) {
    uint32_t rotary = channels & ~1u;
    if (channels % 2 || sxt_random_once_in(m->form, 3)) {
        rotary = 2 * sxt_random_range(m->form, 1, channels / 2);
        sxt_make_key(m, "rotary_dim", "%u", rotary);
        sxt_make_key(m, "rotary_offset", "%u", sxt_random_range(m->form, 0, channels - rotary));
    }
    sxt_make_key(m, "pairing", "%s", sxt_random_once_in(m->form, 2) ? "half" : "interleaved");
    sxt_make_key(m, "base", "%s", sxt_random_once_in(m->random, 2) ? "10000" : "1000000");
    if (sxt_random_once_in(m->random, 4)) sxt_make_key(m, "inverse", "true");
    draw_scaling(m, rotary);
    if (rotary < 16 || !sxt_random_once_in(m->random, 4)) return 1;
    static const char *const multis[] = {"mrope", "imrope", "vision"};
    uint32_t third = rotary / 6;
    sxt_make_key(m, "multi", "%s", multis[sxt_random_range(m->random, 0, 2)]);
    sxt_make_key(m, "sections", "%u,%u,%u", rotary / 2 - 2 * third, third, third);
    return 3;
}

uint32_t sxt_draw_batch(sxt_maker *m, uint32_t *out_batch) {
    *out_batch = sxt_random_once_in(m->random, 3) ? sxt_random_range(m->random, 2, 3) : 1;
    return *out_batch > 1 ? 0 : 1;
}
