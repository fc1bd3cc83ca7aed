#include "generate.h"

#include "number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ── Drawing ──

static uint32_t one_of(sxt_random *random, const uint32_t *from, uint32_t count) {
    return from[sxt_random_range(random, 0, count - 1)];
}

// Primes, 1, and powers of two with their neighbours, where kernels change their ways.
static uint32_t draw_size(sxt_random *random, uint32_t limit) {
    static const uint32_t interesting[] = {1,  1,  2,  3,  5,  7,  13, 15, 16,  17,  31,  32,  33,
                                           37, 61, 63, 64, 65, 97, 127, 128, 129, 131, 251, 256, 257};
    uint32_t size;
    do {
        size = sxt_random_once_in(random, 3) ? sxt_random_range(random, 1, limit)
                                             : one_of(random, interesting, sizeof interesting / sizeof *interesting);
    } while (size > limit);
    return size;
}

void sxt_pools_draw(sxt_random *random, sxt_pools *out_pools) {
    static const uint32_t heads[] = {4, 64, 128, 256, 80, 96}, channels[] = {1, 2, 64, 127, 128, 129, 4096}, rotary[] = {2, 64, 128, 256};
    for (uint32_t i = 0; i < SXT_POOL_COUNT; i++) {
        bool fixed = i < sizeof heads / sizeof *heads;
        out_pools->head_dims[i] = fixed ? heads[i] : 4 * sxt_random_range(random, 1, 64);
        out_pools->value_dims[i] = sxt_random_once_in(random, 2) ? out_pools->head_dims[i] : 4 * sxt_random_range(random, 1, 64);
        out_pools->channels[i] = i < sizeof channels / sizeof *channels ? channels[i] : sxt_random_range(random, 3, 1500);
        out_pools->rope_dims[i] = i < sizeof rotary / sizeof *rotary ? rotary[i] : 2 * sxt_random_range(random, 1, 160);
    }
}

static sxt_dtype draw_float(sxt_random *random) {
    static const sxt_dtype types[] = {SXT_DTYPE_F32, SXT_DTYPE_F32, SXT_DTYPE_F16, SXT_DTYPE_BF16};
    return types[sxt_random_range(random, 0, 3)];
}

// ── Putting a case together ──

typedef struct maker {
    sxt_random *random;
    const sxt_pools *pools;
    sxt_bundle *bundle;
    bool failed; // no memory: checked once, at the end
} maker;

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
    for (uint32_t i = 0; i < rank; i++) dims[i] = shape[i];
    sxt_array *array = sxt_bundle_add(m->bundle, name, dtype, rank, dims);
    m->failed |= array == NULL;
    return array;
}

static void put(sxt_array *array, uint64_t index, double value) {
    static const sxt_type types[] = {[SXT_DTYPE_F32] = SXT_TYPE_F32, [SXT_DTYPE_F16] = SXT_TYPE_F16,
                                     [SXT_DTYPE_BF16] = SXT_TYPE_BF16, [SXT_DTYPE_I32] = SXT_TYPE_I32};
    sxt_number_put(types[array->dtype], array->data, index, value);
}

// Normally distributed values around `mean`; now and then a zero.
static void add_normal(maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape, double mean, double size) {
    sxt_array *array = add(m, name, dtype, rank, shape);
    for (uint64_t i = 0; array && i < array->count; i++) {
        put(array, i, sxt_random_once_in(m->random, 500) ? 0 : mean + size * sxt_random_normal(m->random));
    }
}

// The last dim of `shape` alone, the whole shape, or with 1 where it repeats.
static void add_repeated(maker *m, const char *name, uint32_t rank, const uint32_t *shape) {
    uint32_t own[4];
    memcpy(own, shape, rank * sizeof *own);
    uint32_t form = sxt_random_range(m->random, 0, 3), skip = form < 2 ? rank - 1 : 0;
    for (uint32_t i = skip; i < rank && form == 3; i++) {
        if (sxt_random_once_in(m->random, 2)) own[i] = 1;
    }
    add_normal(m, name, draw_float(m->random), rank - skip, own + skip, 1, 0.4);
}

static void set_common(maker *m, bool outputs, bool in_place) {
    static const char *const types[] = {"f32", "f16", "bf16"};
    if (sxt_random_once_in(m->random, 2)) set(m, "layout", "%u", sxt_random_range(m->random, 1, 1000000));
    if (in_place && sxt_random_once_in(m->random, 5)) set(m, "in_place", "true");
    else if (outputs && sxt_random_once_in(m->random, 3)) set(m, "out_type", "%s", types[sxt_random_range(m->random, 0, 2)]);
}

static void set_norm(maker *m, const char *key, bool none) {
    static const char *const kinds[] = {"rms", "layer", "l2", "none"};
    set(m, key, "%s", kinds[sxt_random_range(m->random, 0, none ? 3 : 2)]);
    set(m, "eps", "%s", sxt_random_once_in(m->random, 2) ? "1e-6" : "1e-5");
    if (sxt_random_once_in(m->random, 4)) set(m, "offset", "1");
}

// positions of a batch: in order, or anywhere up to a million, or negative.
static void add_positions(maker *m, bool batch, uint32_t batches, uint32_t tokens) {
    uint32_t shape[2] = {batches, tokens}, skip = batch && sxt_random_once_in(m->random, 2) ? 0 : 1;
    uint32_t kind = sxt_random_range(m->random, 0, 3), start = sxt_random_range(m->random, 0, 5000);
    sxt_array *array = add(m, "positions", SXT_DTYPE_I32, 2 - skip, shape + skip);
    for (uint64_t i = 0; array && i < array->count; i++) {
        double position = kind < 2 ? start + (double)(i % tokens) : sxt_random_range(m->random, 0, 1000000);
        put(array, i, kind == 3 ? -position : position);
    }
}

static void set_rope(maker *m, uint32_t channels) {
    uint32_t rotary = channels & ~1u;
    if (channels % 2 || sxt_random_once_in(m->random, 3)) {
        rotary = 2 * sxt_random_range(m->random, 1, channels / 2);
        set(m, "rotary_dim", "%u", rotary);
        set(m, "rotary_offset", "%u", sxt_random_range(m->random, 0, channels - rotary));
    }
    set(m, "pairing", "%s", sxt_random_once_in(m->random, 2) ? "half" : "interleaved");
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
        for (uint32_t i = 0; factors && i < pairs; i++) put(factors, i, 1 + 7 * sxt_random_unit(m->random));
    }
}

// A leading batch dim in a third of the cases: returns how many dims of {batch, tokens, heads, channels} to leave out.
static uint32_t draw_batch(maker *m, uint32_t *batch) {
    *batch = sxt_random_once_in(m->random, 3) ? sxt_random_range(m->random, 1, 3) : 1;
    return *batch > 1 ? 0 : 1;
}

// ── Families ──

static bool make_norm(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    uint32_t shape[4] = {1, 1, 1, one_of(random, pools->channels, SXT_POOL_COUNT)};
    uint32_t skip = sxt_random_range(random, 0, 2), room = 60000 / shape[3];
    for (uint32_t i = skip; i < 3; i++) {
        shape[i] = draw_size(random, room < 1 ? 1 : room < 300 ? room : 300);
        room /= shape[i];
    }
    set(&m, "op", "norm");
    set_norm(&m, "kind", false);
    double mean = sxt_random_once_in(random, 3) ? 2 : 0;
    add_normal(&m, "x", draw_float(random), 4 - skip, shape + skip, mean, 1.5);
    if (sxt_random_once_in(random, 2)) add_repeated(&m, "weight", 4 - skip, shape + skip);
    if (sxt_random_once_in(random, 3)) add_repeated(&m, "bias", 4 - skip, shape + skip);
    if (sxt_random_once_in(random, 3)) add_normal(&m, "residual", draw_float(random), 4 - skip, shape + skip, 0, 1);
    set_common(&m, true, true);
    return !m.failed;
}

static bool make_rope(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    uint32_t shape[4] = {1, 1, 1, one_of(random, pools->rope_dims, SXT_POOL_COUNT)};
    uint32_t skip = draw_batch(&m, &shape[0]);
    shape[2] = draw_size(random, 33);
    shape[1] = draw_size(random, 1 + 60000 / (shape[0] * shape[2] * shape[3]) % 300);
    set(&m, "op", "rope");
    add_normal(&m, "x", draw_float(random), 4 - skip, shape + skip, 0, 1);
    add_positions(&m, !skip, shape[0], shape[1]);
    set_rope(&m, shape[3]);
    set_common(&m, true, true);
    return !m.failed;
}

static bool make_qk_norm_rope(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    uint32_t q[4] = {1, 1, 1, one_of(random, pools->rope_dims, SXT_POOL_COUNT)}, k[4];
    uint32_t skip = draw_batch(&m, &q[0]);
    q[2] = draw_size(random, 33);
    q[1] = draw_size(random, 1 + 40000 / (q[0] * q[2] * q[3]) % 200);
    memcpy(k, q, sizeof k);
    k[2] = draw_size(random, 17);
    set(&m, "op", "qk_norm_rope");
    set_norm(&m, "norm", true);
    add_normal(&m, "q", draw_float(random), 4 - skip, q + skip, 0, 2);
    add_normal(&m, "k", draw_float(random), 4 - skip, k + skip, 0, 2);
    if (sxt_random_once_in(random, 2)) add_repeated(&m, "q_weight", 4 - skip, q + skip);
    if (sxt_random_once_in(random, 2)) add_repeated(&m, "k_weight", 4 - skip, k + skip);
    add_positions(&m, !skip, q[0], q[1]);
    set_rope(&m, q[3]);
    set_common(&m, true, true);
    return !m.failed;
}

static bool make_kv_write(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    static const char *const types[] = {"f32", "f16", "bf16"};
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    uint32_t k[4] = {1, 1, 1, draw_size(random, 257)}, v[4];
    uint32_t skip = draw_batch(&m, &k[0]);
    k[2] = draw_size(random, 17);
    k[1] = draw_size(random, 1 + 60000 / (k[0] * k[2] * k[3]) % 300);
    memcpy(v, k, sizeof v);
    if (sxt_random_once_in(random, 2)) v[3] = draw_size(random, 257);
    set(&m, "op", "kv_write");
    set(&m, "kv_type", "%s", types[sxt_random_range(random, 0, 2)]);
    // From far below the smallest f16 to above its largest.
    static const double sizes[] = {1, 1, 1e-7, 1e5};
    add_normal(&m, "k", draw_float(random), 4 - skip, k + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    if (!sxt_random_once_in(random, 3)) add_normal(&m, "v", draw_float(random), 4 - skip, v + skip, 0, sizes[sxt_random_range(random, 0, 3)]);
    uint32_t rows = k[1] + sxt_random_range(random, 0, 40), first = sxt_random_range(random, 0, rows - k[1]);
    set(&m, "rows", "%u", rows);
    if (sxt_random_once_in(random, 2)) {
        set(&m, "first_row", "%u", first);
    } else {
        sxt_array *slots = add(&m, "slots", SXT_DTYPE_I32, 1, &k[1]);
        // Distinct rows, in a scrambled order; some dropped, some outside the cache.
        uint32_t step = rows > 1 ? sxt_random_range(random, 1, rows - 1) : 1;
        while (rows > 1) {
            uint32_t a = rows, b = step;
            while (b) a %= b, a ^= b, b ^= a, a ^= b;
            if (a == 1) break;
            step = step % (rows - 1) + 1;
        }
        for (uint32_t t = 0; slots && t < k[1]; t++) {
            double row = (double)((first + (uint64_t)t * step) % rows);
            if (sxt_random_once_in(random, 8)) row = -1;
            if (sxt_random_once_in(random, 40)) row = sxt_random_once_in(random, 2) ? rows : 2147483647.0;
            put(slots, t, row);
        }
    }
    set_common(&m, false, false);
    return !m.failed;
}

// q, k and v of an attention, small enough for the reference.
static void add_attention(maker *m, uint32_t limit) {
    uint32_t at = sxt_random_range(m->random, 0, SXT_POOL_COUNT - 1), batch;
    static const uint32_t kv_heads[] = {1, 1, 2, 3}, groups[] = {1, 1, 2, 4, 7, 8};
    uint32_t skip = draw_batch(m, &batch), heads = one_of(m->random, kv_heads, 4), group = one_of(m->random, groups, 6);
    uint32_t tk = draw_size(m->random, limit), tq = sxt_random_once_in(m->random, 4) ? 1 : draw_size(m->random, limit);
    if (sxt_random_once_in(m->random, 3)) tq = tk;
    uint32_t d = m->pools->head_dims[at], dv = m->pools->value_dims[at];
    // The reference does batch·tq·tk·heads·(d + dv) products; keep a case near ten million.
    double work = (double)batch * tq * tk * heads * group * (d + dv);
    if (work > 1e7) tq = (uint32_t)(tq * 1e7 / work) + 1;
    uint32_t q[4] = {batch, tq, heads * group, d}, k[4] = {batch, tk, heads, d}, v[4] = {batch, tk, heads, dv};
    set(m, "op", "attention");
    add_normal(m, "q", draw_float(m->random), 4 - skip, q + skip, 0, 1.5);
    add_normal(m, "k", draw_float(m->random), 4 - skip, k + skip, 0, 1);
    add_normal(m, "v", draw_float(m->random), 4 - skip, v + skip, 0.2, 1);
    if (sxt_random_once_in(m->random, 2)) set(m, "causal", "true");
    if (sxt_random_once_in(m->random, 4)) set(m, "scale", "%.4f", 0.02 + 0.2 * sxt_random_unit(m->random));
}

static bool make_attention(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    add_attention(&m, 600);
    set_common(&m, true, false);
    return !m.failed;
}

// Norm and rotation, and mostly a cache, before attention.
static bool make_pipeline(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case) {
    static const char *const types[] = {"f32", "f16", "bf16"};
    maker m = {.random = random, .pools = pools, .bundle = out_case};
    add_attention(&m, 130);
    const sxt_array *q = sxt_bundle_array(out_case, "q"), *k = sxt_bundle_array(out_case, "k");
    if (!q || !k) return false;
    uint32_t rank = k->rank, d = (uint32_t)k->shape[rank - 1], tokens = (uint32_t)k->shape[rank - 3];
    uint32_t batches = rank == 4 ? (uint32_t)k->shape[0] : 1;
    bool rotates = q->shape[rank - 3] <= tokens && !sxt_random_once_in(random, 4);
    if (!rotates || sxt_random_once_in(random, 2)) {
        // L2 brings logits down to a few hundredths, layer leaves them as large as RMS does.
        set(&m, "norm", "%s", sxt_random_once_in(random, 2) ? "rms" : sxt_random_once_in(random, 2) ? "l2" : "layer");
        set(&m, "eps", "1e-6");
        if (sxt_random_once_in(random, 2)) add_normal(&m, "q_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
        if (sxt_random_once_in(random, 2)) add_normal(&m, "k_weight", SXT_DTYPE_F32, 1, &d, 1, 0.3);
    }
    if (rotates) {
        add_positions(&m, rank == 4, batches, tokens);
        set_rope(&m, d);
    }
    if (!sxt_random_once_in(random, 4)) set(&m, "kv_type", "%s", types[sxt_random_range(random, 0, 2)]);
    set_common(&m, true, false);
    return !m.failed;
}

const sxt_family sxt_families[SXT_FAMILY_COUNT] = {
    {"norm", "rms, layer, l2; weight, bias, residual, in place", make_norm},
    {"rope", "half, interleaved; partial, YaRN, factors, inverse", make_rope},
    {"qk_norm_rope", "norm and rotation of q and k in one", make_qk_norm_rope},
    {"kv_write", "conversions, slots, rows", make_kv_write},
    {"attention", "any Tq and Tk, GQA, causal, d and dv", make_attention},
    {"pipeline", "norm, rotation, cache, attention", make_pipeline},
};
