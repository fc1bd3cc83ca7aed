// What must hold between results of the step and of its parts, bit by bit: no reference is asked, the device is compared
// with itself.
#include <criterion/criterion.h>
#include <string.h>

#include "support/cache.h"
#include "support/rotation.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(metamorphic_step, .init = setup, .fini = teardown);

// Six groups of cases: each type of cache.
#define FOR_EACH_CASE                                                                                                  \
    for (uint64_t seed = sxt_test_first_seed(), last = seed + sxt_test_cases(6 * SXT_TEST_GROUP); seed < last;         \
         sxt_test_trial_finish(&trial), seed++)

// A step of q, k and v, with a contiguous cache that its tokens do not fill.
typedef struct whole {
    sxt_qk_norm_rope_desc d;
    sxt_test_rotation rotation;
    uint32_t tokens, rows;
} whole;

static sxt_tensor normal(const char *name, sxt_type type, uint32_t tokens, uint32_t heads, uint32_t channels) {
    const sxt_tensor t = sxt_test_dense(&trial, name, type, 1, tokens, heads, channels);
    sxt_test_fill_normal(&trial, &t, 0, 2);
    return t;
}

static sxt_tensor cache_of(const char *name, sxt_type type, uint32_t rows, uint32_t heads, uint32_t channels) {
    const sxt_tensor t = sxt_test_dense(&trial, name, type, 1, rows, heads, channels);
    sxt_test_fill(&trial, &t, 0);
    return t;
}

static void begin(uint64_t seed, whole *w) {
    sxt_test_trial_init(&trial, &bench, seed);
    trial.device_only = true;
    sxt_test_rng group = sxt_test_group_rng(seed), *rng = &trial.rng;
    const uint64_t g = sxt_test_group(seed);
    sxt_type k, k_cache, v, v_cache;
    sxt_test_type_pair(g, &k, &k_cache);
    sxt_test_type_pair(5 * g + 2, &v, &v_cache);
    *w = (whole){.tokens = sxt_test_between(rng, 2, 6)};
    w->rows = w->tokens + sxt_test_between(rng, 0, 6);
    const bool blocks = sxt_type_block(k_cache) > 1;
    const uint32_t channels = SXT_TEST_PICK(&group, uint32_t, 64, 96, 128, 128), heads = sxt_test_between(rng, 1, 3);
    const uint32_t odd = blocks || g % 2 ? channels : channels - 2;
    const uint32_t v_channels = sxt_type_block(v_cache) > 1 ? channels : odd;
    sxt_test_group_rotation(&group, rng, odd, odd % 8 ? 2 : 8, &w->rotation);
    sxt_qk_norm_rope_desc *d = &w->d;
    *d = (sxt_qk_norm_rope_desc){.norm = (sxt_norm_kind)(g % 4), .eps = 1e-6f, .rope = w->rotation.params};
    d->q = normal("q", k, w->tokens, 4, odd);
    d->q_out = sxt_test_dense(&trial, "q_out", SXT_TYPE_F16, 1, w->tokens, 4, odd);
    d->k = normal("k", k, w->tokens, heads, odd);
    d->v = normal("v", v, w->tokens, heads, v_channels);
    if (d->norm != SXT_NORM_NONE) {
        d->q_weight = normal("q_weight", SXT_TYPE_F32, 1, 1, odd);
        d->k_weight = normal("k_weight", SXT_TYPE_F32, 1, 1, odd);
    }
    d->positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, w->rotation.planes, 1, 1, w->tokens);
    for (uint64_t n = 0; n < sxt_test_count(&d->positions); n++)
        sxt_test_set_int(&trial, &d->positions, n, (int32_t)sxt_test_below(rng, 1 << 20));
    d->cache.k = cache_of("cache.k", k_cache, w->rows, heads, odd);
    d->cache.v = cache_of("cache.v", v_cache, w->rows, heads, v_channels);
    if (k_cache == SXT_TYPE_FP8_E4M3) d->cache.k_scale = sxt_test_make_scale(&trial, "k_scale", heads);
    if (v_cache == SXT_TYPE_FP8_E4M3) d->cache.v_scale = sxt_test_make_scale(&trial, "v_scale", heads);
    d->cache.first_row = sxt_test_below(rng, w->rows - w->tokens + 1);
    sxt_test_say(&trial, "step of %u tokens, k %s -> %s, v %s -> %s, ", w->tokens, sxt_type_name(k),
                 sxt_type_name(k_cache), sxt_type_name(v), sxt_type_name(v_cache));
    sxt_test_say_rotation(&trial, &d->rope);
}

static void run(const sxt_test_step *steps, uint32_t count) {
    cr_assert_eq(sxt_test_run(&trial, steps, count), SXT_OK, "%s\n%s", trial.what, bench.log.text);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
}

static void require_same_bits(const sxt_tensor *a, const sxt_tensor *b) {
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, a, SXT_TEST_DEVICE, b));
}

// The same inputs, and other outputs, in which nothing is either.
static sxt_qk_norm_rope_desc again(const sxt_qk_norm_rope_desc *d) {
    sxt_qk_norm_rope_desc other = *d;
    other.q_out = sxt_test_like(&trial, "other q_out", &d->q_out);
    other.cache.k = sxt_test_like(&trial, "other cache.k", &d->cache.k);
    other.cache.v = sxt_test_like(&trial, "other cache.v", &d->cache.v);
    return other;
}

static void require_same_step(const sxt_qk_norm_rope_desc *a, const sxt_qk_norm_rope_desc *b) {
    require_same_bits(&a->q_out, &b->q_out);
    require_same_bits(&a->cache.k, &b->cache.k);
    require_same_bits(&a->cache.v, &b->cache.v);
}

// Whether the two go by the same kernel, of the same shape: others may add and fuse in another order. (The reference has
// doubles where a kernel has f32.)
static bool same_kernel(const sxt_qk_norm_rope_desc *a, const sxt_qk_norm_rope_desc *b) {
    char names[2][128] = {{0}};
    sxt_describe(bench.devices[SXT_TEST_DEVICE], SXT_OP_QK_NORM_ROPE, a, names[0], sizeof names[0]);
    sxt_describe(bench.devices[SXT_TEST_DEVICE], SXT_OP_QK_NORM_ROPE, b, names[1], sizeof names[1]);
    sxt_test_say(&trial, "\n%s\n%s", names[0], names[1]);
    return !sxt_test_is_reference(bench.devices[SXT_TEST_DEVICE]) &&
           strncmp(names[0], names[1], strcspn(names[0], " ") + 1) == 0;
}

// f32 in between is what the step itself has in registers.
Test(metamorphic_step, one_step_equals_qk_norm_rope_and_kv_write) {
    FOR_EACH_CASE {
        static whole w;
        begin(seed, &w);
        sxt_qk_norm_rope_desc rope = again(&w.d);
        sxt_kv_write_desc write = {.v = w.d.v, .cache = rope.cache};
        write.k = sxt_test_dense(&trial, "k_out", SXT_TYPE_F32, 1, w.tokens, w.d.k.shape[2], w.d.k.shape[3]);
        const sxt_kv_cache none = {0};
        const sxt_kv_cache cache = rope.cache;
        rope.cache = none;
        rope.v = (sxt_tensor){0};
        rope.k_out = write.k;
        run((sxt_test_step[]){{SXT_OP_QK_NORM_ROPE, &w.d}, {SXT_OP_QK_NORM_ROPE, &rope}, {SXT_OP_KV_WRITE, &write}}, 3);
        const bool bits = same_kernel(&w.d, &rope);
        rope.cache = cache;
        if (bits) require_same_step(&w.d, &rope);
        require_same_bits(&w.d.cache.v, &rope.cache.v);
    }
}

Test(metamorphic_step, tokens_in_two_calls_equal_one) {
    FOR_EACH_CASE {
        static whole w;
        begin(seed, &w);
        const sxt_qk_norm_rope_desc other = again(&w.d);
        sxt_qk_norm_rope_desc parts[2] = {other, other};
        const uint32_t first = sxt_test_between(&trial.rng, 1, w.tokens - 1);
        for (uint32_t i = 0; i < 2; i++) {
            sxt_tensor *const rows[] = {&parts[i].q, &parts[i].q_out, &parts[i].k, &parts[i].v};
            for (uint32_t j = 0; j < 4; j++) {
                rows[j]->shape[1] = i ? w.tokens - first : first;
                if (i) rows[j]->offset_bytes += first * rows[j]->strides[1] * sxt_type_size(rows[j]->type);
            }
            parts[i].positions.shape[3] = i ? w.tokens - first : first;
            if (i) parts[i].positions.offset_bytes += first * sizeof(int32_t);
            if (i) parts[i].cache.first_row += first;
        }
        run((sxt_test_step[]){{SXT_OP_QK_NORM_ROPE, &w.d},
                              {SXT_OP_QK_NORM_ROPE, &parts[0]},
                              {SXT_OP_QK_NORM_ROPE, &parts[1]}},
            3);
        require_same_step(&w.d, &other);
    }
}

// One row of a cache, and of pages.
static sxt_tensor row_of(const sxt_tensor *cache, uint32_t batch, uint32_t row) {
    sxt_tensor view = *cache;
    view.shape[0] = view.shape[1] = 1;
    view.offset_bytes += (batch * cache->strides[0] + row * cache->strides[1]) / sxt_type_block(cache->type) *
                         sxt_type_size(cache->type);
    return view;
}

static void require_same_rows(const sxt_tensor *cache, const sxt_tensor *pages, const sxt_tensor *table) {
    for (uint32_t row = 0; row < cache->shape[1]; row++) {
        const uint32_t size = pages->shape[1];
        const int32_t page = sxt_test_get_int(&trial, SXT_TEST_INITIAL, table, row / size);
        const sxt_tensor a = row_of(cache, 0, row), b = row_of(pages, (uint32_t)page, row % size);
        require_same_bits(&a, &b);
    }
}

Test(metamorphic_step, pages_equal_a_contiguous_cache) {
    FOR_EACH_CASE {
        static whole w;
        begin(seed, &w);
        sxt_qk_norm_rope_desc paged = again(&w.d);
        const uint32_t size = sxt_test_between(&trial.rng, 1, 5), pages = (w.rows + size - 1) / size;
        sxt_tensor *const caches[] = {&paged.cache.k, &paged.cache.v};
        for (uint32_t i = 0; i < 2; i++) {
            const sxt_tensor *c = caches[i];
            *caches[i] = sxt_test_dense(&trial, "pages", c->type, pages, size, c->shape[2], c->shape[3]);
            sxt_test_fill(&trial, caches[i], 0);
        }
        paged.cache.block_table = sxt_test_dense(&trial, "block_table", SXT_TYPE_I32, 1, 1, 1, pages);
        const uint32_t turn = sxt_test_below(&trial.rng, pages);
        for (uint32_t i = 0; i < pages; i++)
            sxt_test_set_int(&trial, &paged.cache.block_table, i, (int32_t)((pages - 1 - i + turn) % pages));
        run((sxt_test_step[]){{SXT_OP_QK_NORM_ROPE, &w.d}, {SXT_OP_QK_NORM_ROPE, &paged}}, 2);
        require_same_bits(&w.d.q_out, &paged.q_out);
        require_same_rows(&w.d.cache.k, &paged.cache.k, &paged.cache.block_table);
        require_same_rows(&w.d.cache.v, &paged.cache.v, &paged.cache.block_table);
    }
}
