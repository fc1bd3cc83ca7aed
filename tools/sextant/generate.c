#include "generate.h"

#include "number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ── Putting a case together ──

typedef struct maker {
    sxt_random *form, *random; // see generate.h
    sxt_bundle *bundle;
    bool failed; // no memory: looked at once, at the end
} maker;

static const char *const types[] = {"f32", "f16", "bf16"};

static uint32_t one_of(sxt_random *random, const uint32_t *from, uint32_t count) {
    return from[sxt_random_range(random, 0, count - 1)];
}

// Primes, 1, and powers of two with their neighbours, where kernels change their ways.
static uint32_t draw_size(sxt_random *random, uint32_t limit) {
    static const uint32_t interesting[] = {1,  1,  2,  3,  5,  7,  13,  15,  16,  17,  31,  32,  33,
                                           37, 61, 63, 64, 65, 97, 127, 128, 129, 131, 251, 256, 257};
    uint32_t size;
    do {
        size = sxt_random_once_in(random, 3) ? sxt_random_range(random, 1, limit)
                                             : one_of(random, interesting, sizeof interesting / sizeof *interesting);
    } while (size > limit);
    return size;
}

// As many tokens as keep a tensor of `elements` a token near `most` elements.
static uint32_t draw_tokens(sxt_random *random, uint64_t elements, uint32_t most) {
    uint64_t room = most / elements;
    return draw_size(random, room < 1 ? 1 : room < 300 ? (uint32_t)room : 300);
}

static sxt_dtype draw_float(sxt_random *form) {
    static const sxt_dtype dtypes[] = {SXT_DTYPE_F32, SXT_DTYPE_F32, SXT_DTYPE_F16, SXT_DTYPE_BF16};
    return dtypes[sxt_random_range(form, 0, 3)];
}

__attribute__((format(printf, 3, 4))) static void set(maker *m, const char *key, const char *format, ...) {
    char value[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    m->failed |= !sxt_bundle_set(m->bundle, key, value);
}

static sxt_array *add(maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape) {
    uint64_t dims[SXT_MAX_RANK];
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = shape[i];
    sxt_array *array = sxt_bundle_add(m->bundle, name, dtype, rank, dims);
    m->failed |= array == NULL;
    return array;
}

static void put(sxt_array *array, uint64_t index, double value) {
    static const sxt_type of[] = {[SXT_DTYPE_F32] = SXT_TYPE_F32,
                                  [SXT_DTYPE_F16] = SXT_TYPE_F16,
                                  [SXT_DTYPE_BF16] = SXT_TYPE_BF16,
                                  [SXT_DTYPE_I32] = SXT_TYPE_I32};
    sxt_number_put(of[array->dtype], array->data, index, value);
}

// Normally distributed values around `mean`; now and then a zero.
static void add_normal(maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape, double mean,
                       double size) {
    sxt_array *array = add(m, name, dtype, rank, shape);
    for (uint64_t i = 0; array && i < array->count; i++) {
        put(array, i, sxt_random_once_in(m->random, 500) ? 0 : mean + size * sxt_random_normal(m->random));
    }
}

// A gain or bias: per channel, of the full shape, or repeating in some dims.
static void add_repeated(maker *m, const char *name, uint32_t rank, const uint32_t *shape) {
    uint32_t own[4], skip = sxt_random_once_in(m->random, 2) ? rank - 1 : 0;
    sxt_dtype dtype = draw_float(m->form);
    memcpy(own, shape, rank * sizeof *own);
    if (sxt_random_once_in(m->form, 4)) own[rank - 1] = 1;
    for (uint32_t i = skip; i + 1 < rank; i++) {
        if (sxt_random_once_in(m->random, 2)) own[i] = 1;
    }
    add_normal(m, name, dtype, rank - skip, own + skip, 1, 0.4);
}

// ── Options ──

static void set_layout(maker *m) {
    if (sxt_random_once_in(m->random, 2)) set(m, "layout", "%u", sxt_random_range(m->random, 1, 1000000));
}

static void set_output(maker *m, bool in_place) {
    if (in_place && sxt_random_once_in(m->form, 5))
        set(m, "in_place", "true");
    else if (sxt_random_once_in(m->form, 2))
        set(m, "out_type", "%s", types[sxt_random_range(m->form, 0, 2)]);
}

static void set_norm(maker *m, const char *key, bool none) {
    static const char *const kinds[] = {"rms", "layer", "l2", "none"};
    set(m, key, "%s", kinds[sxt_random_range(m->form, 0, none ? 3 : 2)]);
    set(m, "eps", "%s", sxt_random_once_in(m->random, 2) ? "1e-6" : "1e-5");
    if (sxt_random_once_in(m->random, 4)) set(m, "offset", "1");
}

// Positions in order from somewhere, or anywhere up to a million, or negative. With `planes` above 1, that many axes.
static void add_positions(maker *m, uint32_t planes, bool batched, uint32_t batches, uint32_t tokens) {
    uint32_t full[3] = {planes, batches, tokens}, shape[3], rank = 0;
    bool shared = !batched || sxt_random_once_in(m->random, 2);
    for (int i = 0; i < 3; i++) {
        if ((i == 0 && planes == 1) || (i == 1 && shared)) continue;
        shape[rank++] = full[i];
    }
    uint32_t kind = sxt_random_range(m->random, 0, 3), start = sxt_random_range(m->random, 0, 5000);
    sxt_array *array = add(m, "positions", SXT_DTYPE_I32, rank, shape);
    for (uint64_t i = 0; array && i < array->count; i++) {
        double position = kind < 2 ? start + (double)(i % tokens) : sxt_random_range(m->random, 0, 1000000);
        put(array, i, kind == 3 ? -position : position);
    }
}

// Returns the number of position planes that the rotation needs.
static uint32_t set_rope(maker *m, uint32_t channels) {
    uint32_t rotary = channels & ~1u;
    if (channels % 2 || sxt_random_once_in(m->form, 3)) {
        rotary = 2 * sxt_random_range(m->form, 1, channels / 2);
        set(m, "rotary_dim", "%u", rotary);
        set(m, "rotary_offset", "%u", sxt_random_range(m->form, 0, channels - rotary));
    }
    set(m, "pairing", "%s", sxt_random_once_in(m->form, 2) ? "half" : "interleaved");
    set(m, "base", "%s", sxt_random_once_in(m->random, 2) ? "10000" : "1000000");
    if (sxt_random_once_in(m->random, 4)) set(m, "inverse", "true");
    if (sxt_random_once_in(m->random, 4)) {
        set(m, "ext_factor", "1");
        set(m, "freq_scale", "0.25");
        set(m, "original_context", "4096");
    } else if (sxt_random_once_in(m->random, 4)) {
        set(m, "freq_scale", "0.125");
        set(m, "attn_factor", "1.25");
    }
    if (sxt_random_once_in(m->random, 4)) {
        uint32_t pairs = rotary / 2;
        sxt_array *factors = add(m, "freq_factors", SXT_DTYPE_F32, 1, &pairs);
        for (uint32_t i = 0; factors && i < pairs; i++)
            put(factors, i, 1 + 7 * sxt_random_unit(m->random));
    }
    if (rotary < 16 || !sxt_random_once_in(m->random, 4)) return 1;
    static const char *const multis[] = {"mrope", "imrope", "vision"};
    uint32_t third = rotary / 6;
    set(m, "multi", "%s", multis[sxt_random_range(m->random, 0, 2)]);
    set(m, "sections", "%u,%u,%u", rotary / 2 - 2 * third, third, third);
    return 3;
}

// A batch in a third of the cases. Returns how many of the dims {batch, tokens, heads, channels} the file leaves out.
static uint32_t draw_batch(maker *m, uint32_t *out_batch) {
    *out_batch = sxt_random_once_in(m->random, 3) ? sxt_random_range(m->random, 2, 3) : 1;
    return *out_batch > 1 ? 0 : 1;
}

// ── Families ──

static bool make_norm(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    static const uint32_t common[] = {1, 2, 64, 127, 128, 129, 1024, 4096};
    maker m = {.form = form, .random = random, .bundle = out_case};
    uint32_t shape[4] = {1, 1, 1, 0}, skip = sxt_random_range(random, 0, 2);
    shape[3] = sxt_random_once_in(form, 2) ? sxt_random_range(form, 3, 1500) : one_of(form, common, 8);
    for (uint32_t i = skip; i < 3; i++)
        shape[i] = draw_tokens(random, (uint64_t)shape[0] * shape[1] * shape[2] * shape[3], 60000);
    set(&m, "op", "norm");
    set_norm(&m, "kind", false);
    add_normal(&m, "x", draw_float(form), 4 - skip, shape + skip, sxt_random_once_in(random, 3) ? 2 : 0, 1.5);
    if (sxt_random_once_in(form, 2)) add_repeated(&m, "weight", 4 - skip, shape + skip);
    if (sxt_random_once_in(form, 3)) add_repeated(&m, "bias", 4 - skip, shape + skip);
    if (sxt_random_once_in(form, 3)) add_normal(&m, "residual", draw_float(form), 4 - skip, shape + skip, 0, 1);
    set_output(&m, true);
    set_layout(&m);
    return !m.failed;
}

static uint32_t draw_rotary_head(sxt_random *form) {
    static const uint32_t common[] = {64, 80, 96, 128, 128, 256};
    return sxt_random_once_in(form, 2) ? 2 * sxt_random_range(form, 1, 160) : one_of(form, common, 6);
}

static bool make_rope(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    maker m = {.form = form, .random = random, .bundle = out_case};
    uint32_t shape[4], skip = draw_batch(&m, &shape[0]);
    shape[3] = draw_rotary_head(form);
    shape[2] = draw_size(random, 33);
    shape[1] = draw_tokens(random, (uint64_t)shape[0] * shape[2] * shape[3], 60000);
    set(&m, "op", "rope");
    add_normal(&m, "x", draw_float(form), 4 - skip, shape + skip, 0, 1);
    add_positions(&m, set_rope(&m, shape[3]), !skip, shape[0], shape[1]);
    set_output(&m, true);
    set_layout(&m);
    return !m.failed;
}

static bool make_qk_norm_rope(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    maker m = {.form = form, .random = random, .bundle = out_case};
    uint32_t q[4], k[4], skip = draw_batch(&m, &q[0]);
    q[3] = draw_rotary_head(form);
    q[2] = draw_size(random, 33);
    q[1] = draw_tokens(random, (uint64_t)q[0] * q[2] * q[3], 40000);
    memcpy(k, q, sizeof k);
    k[2] = draw_size(random, 17);
    set(&m, "op", "qk_norm_rope");
    set_norm(&m, "norm", true);
    add_normal(&m, "q", draw_float(form), 4 - skip, q + skip, 0, 2);
    add_normal(&m, "k", draw_float(form), 4 - skip, k + skip, 0, 2);
    if (sxt_random_once_in(form, 2)) add_repeated(&m, "q_weight", 4 - skip, q + skip);
    if (sxt_random_once_in(form, 2)) add_repeated(&m, "k_weight", 4 - skip, k + skip);
    add_positions(&m, set_rope(&m, q[3]), !skip, q[0], q[1]);
    set_output(&m, true);
    set_layout(&m);
    return !m.failed;
}

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b) {
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Rows for tokens: distinct and in a scrambled order; some tokens dropped, some sent outside the cache.
static void add_slots(maker *m, uint32_t tokens, uint32_t rows) {
    sxt_array *slots = add(m, "slots", SXT_DTYPE_I32, 1, &tokens);
    uint32_t first = sxt_random_range(m->random, 0, rows - 1), step = sxt_random_range(m->random, 1, rows);
    while (greatest_common_divisor(rows, step) != 1)
        step--;
    for (uint32_t t = 0; slots && t < tokens; t++) {
        double row = (double)((first + (uint64_t)t * step) % rows);
        if (sxt_random_once_in(m->random, 8)) row = -1;
        if (sxt_random_once_in(m->random, 40)) row = sxt_random_once_in(m->random, 2) ? rows : 2147483647.0;
        put(slots, t, row);
    }
}

static bool make_kv_write(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    // From far below the smallest f16 to above its largest.
    static const double sizes[] = {1, 1, 1e-7, 1e5};
    maker m = {.form = form, .random = random, .bundle = out_case};
    uint32_t k[4], v[4], skip = draw_batch(&m, &k[0]);
    k[3] = draw_size(form, 257);
    k[2] = draw_size(random, 17);
    k[1] = draw_tokens(random, (uint64_t)k[0] * k[2] * k[3], 60000);
    memcpy(v, k, sizeof v);
    if (sxt_random_once_in(form, 2)) v[3] = draw_size(form, 257);
    set(&m, "op", "kv_write");
    set(&m, "kv_type", "%s", types[sxt_random_range(form, 0, 2)]);
    add_normal(&m, "k", draw_float(form), 4 - skip, k + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    if (!sxt_random_once_in(form, 3))
        add_normal(&m, "v", draw_float(form), 4 - skip, v + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    uint32_t rows = k[1] + sxt_random_range(random, 0, 40);
    set(&m, "rows", "%u", rows);
    if (sxt_random_once_in(form, 2))
        add_slots(&m, k[1], rows);
    else
        set(&m, "first_row", "%u", sxt_random_range(random, 0, rows - k[1]));
    set_layout(&m);
    return !m.failed;
}

// q, k and v of an attention, small enough for the reference. `q8_0` lets the cache be of that type.
static void add_attention(maker *m, uint32_t limit, bool q8_0) {
    static const uint32_t common[] = {64, 64, 80, 96, 128, 128, 256, 4}, kv_heads[] = {1, 1, 2, 3},
                          groups[] = {1, 1, 2, 4, 7, 8};
    uint32_t d = sxt_random_once_in(m->form, 2) ? 4 * sxt_random_range(m->form, 1, 64) : one_of(m->form, common, 8);
    uint32_t dv = sxt_random_once_in(m->form, 2) ? d : 4 * sxt_random_range(m->form, 1, 64), batch;
    bool quantised = q8_0 && sxt_random_once_in(m->form, 4);
    if (quantised) d = 32 * ((d + 31) / 32), dv = 32 * ((dv + 31) / 32);
    uint32_t skip = draw_batch(m, &batch), heads = one_of(m->random, kv_heads, 4), group = one_of(m->random, groups, 6);
    uint32_t tk = draw_size(m->random, limit), tq = sxt_random_once_in(m->random, 4) ? 1 : draw_size(m->random, limit);
    if (sxt_random_once_in(m->random, 3)) tq = tk;
    // The reference does this many products; some millions take it a few milliseconds.
    double work = (double)batch * tq * tk * heads * group * (d + dv), most = 6e6;
    if (work > most) tq = (uint32_t)(tq * most / work) + 1;
    uint32_t q[4] = {batch, tq, heads * group, d}, k[4] = {batch, tk, heads, d}, v[4] = {batch, tk, heads, dv};
    set(m, "op", "attention");
    add_normal(m, "q", draw_float(m->form), 4 - skip, q + skip, 0, 1.5);
    add_normal(m, "k", draw_float(m->form), 4 - skip, k + skip, 0, 1);
    add_normal(m, "v", draw_float(m->form), 4 - skip, v + skip, 0.2, 1);
    if (quantised) set(m, "kv_type", "q8_0");
    if (sxt_random_once_in(m->form, 2)) set(m, "causal", "true");
    if (sxt_random_once_in(m->random, 4)) set(m, "scale", "%.4f", 0.02 + 0.2 * sxt_random_unit(m->random));
}

// What changes scores between the product and the softmax, and which keys are seen.
static void add_score_options(maker *m) {
    const sxt_array *q = sxt_bundle_array(m->bundle, "q"), *k = sxt_bundle_array(m->bundle, "k");
    if (!q || !k) return;
    uint32_t rank = q->rank, heads = (uint32_t)q->shape[rank - 2];
    uint32_t bias[4] = {rank == 4 ? (uint32_t)q->shape[0] : 1, heads, (uint32_t)q->shape[rank - 3],
                        (uint32_t)k->shape[rank - 3]};
    if (sxt_random_once_in(m->form, 5)) add_normal(m, "sinks", SXT_DTYPE_F32, 1, &heads, 0, 2);
    if (sxt_random_once_in(m->form, 5)) add_normal(m, "alibi_slopes", SXT_DTYPE_F32, 1, &heads, 0.1, 0.05);
    if (sxt_random_once_in(m->form, 5)) {
        uint32_t skip = sxt_random_range(m->random, 0, 2);
        if (sxt_random_once_in(m->random, 3)) bias[0] = 1;
        if (sxt_random_once_in(m->random, 3)) bias[1] = 1;
        add_normal(m, "bias", sxt_random_once_in(m->form, 2) ? SXT_DTYPE_F16 : SXT_DTYPE_F32, 4 - skip, bias + skip, 0,
                   1);
    }
    if (sxt_random_once_in(m->form, 5)) set(m, "softcap", "%u", sxt_random_range(m->random, 5, 50));
    if (sxt_random_once_in(m->form, 4)) {
        set(m, "window_left", "%d", (int)sxt_random_range(m->random, 0, 130) - 1);
        if (sxt_random_once_in(m->random, 2)) set(m, "window_right", "%d", (int)sxt_random_range(m->random, 0, 40) - 1);
    }
}

static bool make_attention(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    maker m = {.form = form, .random = random, .bundle = out_case};
    add_attention(&m, 600, true);
    add_score_options(&m);
    set_output(&m, false);
    set_layout(&m);
    return !m.failed;
}

// Norm and rotation, and mostly a cache, before attention.
static bool make_pipeline(sxt_random *form, sxt_random *random, sxt_bundle *out_case) {
    maker m = {.form = form, .random = random, .bundle = out_case};
    add_attention(&m, 130, false);
    const sxt_array *q = sxt_bundle_array(out_case, "q"), *k = sxt_bundle_array(out_case, "k");
    if (!q || !k) return false;
    uint32_t rank = k->rank, d = (uint32_t)k->shape[rank - 1], tokens = (uint32_t)k->shape[rank - 3];
    uint32_t batches = rank == 4 ? (uint32_t)k->shape[0] : 1;
    bool rotates = q->shape[rank - 3] <= tokens && !sxt_random_once_in(random, 4);
    if (!rotates || sxt_random_once_in(random, 2)) {
        set_norm(&m, "norm", false);
        if (sxt_random_once_in(form, 2)) add_normal(&m, "q_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
        if (sxt_random_once_in(form, 2)) add_normal(&m, "k_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
    }
    if (rotates) {
        add_positions(&m, set_rope(&m, d), rank == 4, batches, tokens);
    }
    if (!sxt_random_once_in(form, 4)) set(&m, "kv_type", "%s", types[sxt_random_range(form, 0, 2)]);
    set_output(&m, false);
    set_layout(&m);
    return !m.failed;
}

const sxt_family sxt_families[SXT_FAMILY_COUNT] = {
    {"norm", "rms, layer, l2; weight, bias, residual, in place", make_norm},
    {"rope", "half, interleaved; partial, YaRN, factors, axes, inverse", make_rope},
    {"qk_norm_rope", "norm and rotation of q and k in one", make_qk_norm_rope},
    {"kv_write", "conversions, slots, rows: every bit", make_kv_write},
    {"attention", "any Tq and Tk, GQA, causal, window, softcap, bias, ALiBi, sinks", make_attention},
    {"pipeline", "norm, rotation, cache, attention, one after the other", make_pipeline},
};
