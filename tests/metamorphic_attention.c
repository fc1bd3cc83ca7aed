// What must hold between results of attention, whatever the numbers are: no reference is asked, the device is compared
// with itself.
#include <criterion/criterion.h>
#include <math.h>

#include "support/attention_case.h"
#include "support/bound.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(metamorphic_attention, .init = setup, .fini = teardown);

static void begin(uint64_t seed) {
    sxt_test_trial_init(&trial, &bench, seed);
    trial.device_only = true;
    trial.layout = SXT_TEST_DENSE;
}

#define FOR_EACH_CASE(count)                                                                                           \
    for (uint64_t seed = sxt_test_first_seed(), last = seed + sxt_test_cases(count); seed < last;                      \
         sxt_test_trial_finish(&trial), seed++)

static void run(const sxt_attention_desc *descs, uint32_t count) {
    sxt_test_step steps[8];
    for (uint32_t i = 0; i < count; i++)
        steps[i] = (sxt_test_step){SXT_OP_ATTENTION, &descs[i]};
    sxt_test_attention_say(&trial, &descs[0]);
    cr_assert_eq(sxt_test_run(&trial, steps, count), SXT_OK, "%s", bench.log.text);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
}

static void require_close(const sxt_attention_desc *a, const sxt_attention_desc *b) {
    sxt_test_attention_require_close(&trial, a, b);
}

static void require_same(const sxt_attention_desc *a, const sxt_attention_desc *b) {
    sxt_test_attention_require_same(&trial, a, b);
}

enum { HEADS = 4, KV_HEADS = 2, D = 64, ROW = KV_HEADS * D };

static sxt_tensor normal(const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads) {
    const sxt_tensor t = sxt_test_dense(&trial, name, type, batch, tokens, heads, D);
    sxt_test_fill_normal(&trial, &t, 0, 1);
    return t;
}

static sxt_attention_desc make_typed(sxt_type type, uint32_t batch, uint32_t queries, uint32_t keys, uint32_t heads) {
    return (sxt_attention_desc){
        .q = normal("q", SXT_TYPE_F32, batch, queries, heads),
        .k = normal("k", type, batch, keys, KV_HEADS),
        .v = normal("v", type, batch, keys, KV_HEADS),
        .o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, batch, queries, heads, D),
        .lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, batch, queries, heads, 1),
    };
}

static sxt_attention_desc make(uint32_t batch, uint32_t queries, uint32_t keys) {
    return make_typed(SXT_TYPE_F16, batch, queries, keys, HEADS);
}

// The same inputs, other outputs.
static sxt_attention_desc again(const sxt_attention_desc *d) {
    sxt_attention_desc other = *d;
    other.o = sxt_test_like(&trial, "other o", &d->o);
    other.lse = sxt_test_like(&trial, "other lse", &d->lse);
    return other;
}

static uint32_t some_queries(void) {
    return sxt_test_between(&trial.rng, 1, 20);
}

static uint32_t some_keys(void) {
    return SXT_TEST_PICK(&trial.rng, uint32_t, 1, 2, 3, 17, 31, 32, 33, 64, 65, 100);
}

// Tokens first … first + count − 1 of a batch.
static sxt_tensor part(const sxt_tensor *t, uint32_t batch, uint32_t first, uint32_t count) {
    sxt_tensor view = *t;
    view.shape[0] = 1;
    view.shape[1] = count;
    view.offset_bytes +=
        (batch * t->strides[0] + first * t->strides[1]) / sxt_type_block(t->type) * sxt_type_size(t->type);
    return view;
}

// ── Sums over keys ──

Test(metamorphic_attention, permuted_keys_change_nothing) {
    FOR_EACH_CASE(120) {
        begin(seed);
        const uint32_t keys = some_keys(), step = keys > 1 ? sxt_test_between(&trial.rng, 1, keys - 1) : 0;
        sxt_attention_desc d[2] = {make(1, some_queries(), keys)};
        d[1] = again(&d[0]);
        d[1].k = sxt_test_like(&trial, "permuted k", &d[0].k);
        d[1].v = sxt_test_like(&trial, "permuted v", &d[0].v);
        for (uint32_t n = 0; n < keys * KV_HEADS; n++) { // a turn and, for odd cases, a reversal
            const uint32_t j = n / KV_HEADS, to = ((seed % 2 ? keys - 1 - j : j) + step) % keys;
            const uint32_t at = to * ROW + n % KV_HEADS * D;
            sxt_test_copy_row(&trial, &d[1].k, at, &d[0].k, n * D);
            sxt_test_copy_row(&trial, &d[1].v, at, &d[0].v, n * D);
        }
        run(d, 2);
        require_close(&d[0], &d[1]);
    }
}

// Σ p·1 / Σ p, where both sums are of the same terms: (Tk + 6)u; but for what weights are rounded to in products.
Test(metamorphic_attention, values_of_one_give_one) {
    FOR_EACH_CASE(120) {
        begin(seed);
        const sxt_attention_desc d = make(1, some_queries(), some_keys());
        sxt_test_fill(&trial, &d.v, 1);
        const double weights = sxt_test_products(&trial, &d) == SXT_TYPE_F16 ? 0x1p-11 : 0;
        run(&d, 1);
        for (uint64_t n = 0; n < sxt_test_count(&d.o); n++) {
            const double error = fabs(sxt_test_get(&trial, SXT_TEST_DEVICE, &d.o, n) - 1);
            cr_assert(error <= weights + 2 * (d.k.shape[1] + 6) * SXT_TEST_U, "seed %llu: off by %g",
                      (unsigned long long)seed, error);
        }
    }
}

// A promise about logits may make sums of another kind, to the same end.
Test(metamorphic_attention, a_kept_promise_changes_nothing) {
    FOR_EACH_CASE(60) {
        begin(seed);
        sxt_attention_desc d[2] = {make(1, seed % 2 ? 1 : some_queries(), seed % 3 ? some_keys() : 600)};
        d[0].causal = seed % 4 == 0;
        d[1] = again(&d[0]);
        d[1].logit_bound = (float)(1.001 * sxt_test_largest_logit(&trial, &d[0]) + 0.001);
        run(d, 2);
        require_close(&d[1], &d[0]);
        cr_assert_eq(trial.faults[SXT_TEST_DEVICE], 0);
    }
}

Test(metamorphic_attention, splits_join_into_the_whole) {
    FOR_EACH_CASE(40) {
        begin(seed);
        sxt_attention_desc d[4] = {
            make(1, sxt_test_between(&trial.rng, 1, 4), sxt_test_between(&trial.rng, 250, 1500))};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        for (uint32_t i = 1; i < 4; i++) {
            d[i] = again(&d[0]);
            d[i].split_keys = 256 << (i - 1);
        }
        run(d, 4);
        for (uint32_t i = 1; i < 4; i++)
            require_close(&d[0], &d[i]);
    }
}

// ── Masks ──

// Keys that a bias of −∞ or a mask hides are as good as absent, bit by bit.
Test(metamorphic_attention, masked_keys_added_change_no_bit) {
    FOR_EACH_CASE(100) {
        begin(seed);
        const uint32_t keys = some_keys(), more = keys + sxt_test_between(&trial.rng, 1, 40), queries = some_queries();
        sxt_attention_desc d[2] = {make(1, queries, more)};
        d[0].split_keys = 256;
        d[1] = again(&d[0]);
        if (seed % 2) {
            d[0].bias = sxt_test_dense(&trial, "bias", SXT_TYPE_F32, 1, 1, queries, more);
            for (uint64_t n = 0; n < sxt_test_count(&d[0].bias); n++)
                sxt_test_set(&trial, &d[0].bias, n, n % more < keys ? sxt_test_normal(&trial.rng) : -INFINITY);
            d[1].bias = d[0].bias;
            d[1].bias.shape[3] = keys;
        } else {
            const uint32_t words = (more + 31) / 32;
            d[0].mask = sxt_test_dense(&trial, "mask", SXT_TYPE_I32, 1, 1, queries, words);
            for (uint64_t n = 0; n < sxt_test_count(&d[0].mask); n++) {
                const uint32_t before = (uint32_t)(n % words) * 32, visible = keys > before ? keys - before : 0;
                const uint32_t kept = visible >= 32 ? UINT32_MAX : (1u << visible) - 1;
                sxt_test_set_bits(&trial, &d[0].mask, n, kept & (uint32_t)sxt_test_bits(&trial.rng));
            }
            d[1].mask = d[0].mask;
            d[1].mask.shape[3] = (keys + 31) / 32;
        }
        d[1].k.shape[1] = d[1].v.shape[1] = keys;
        run(d, 2);
        require_same(&d[0], &d[1]);
    }
}

Test(metamorphic_attention, a_mask_of_bits_equals_a_bias) {
    FOR_EACH_CASE(60) {
        begin(seed);
        const uint32_t keys = some_keys(), queries = some_queries(), words = (keys + 31) / 32;
        const uint32_t batch = sxt_test_between(&trial.rng, 1, 2), heads = sxt_test_chance(&trial.rng, 50) ? HEADS : 1;
        sxt_attention_desc d[2] = {make(2, queries, keys)};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        d[1] = again(&d[0]);
        d[0].mask = sxt_test_dense(&trial, "mask", SXT_TYPE_I32, batch, heads, queries, words);
        d[1].bias = sxt_test_dense(&trial, "bias", SXT_TYPE_F16, batch, heads, queries, keys);
        sxt_test_fill_bits(&trial, &d[0].mask);
        for (uint64_t n = 0; n < sxt_test_count(&d[1].bias); n++) {
            const uint64_t word = n / keys * words + n % keys / 32;
            const bool keeps = sxt_test_get_bits(&trial, SXT_TEST_INITIAL, &d[0].mask, word) >> n % keys % 32 & 1;
            sxt_test_set(&trial, &d[1].bias, n, keeps ? 0 : -INFINITY);
        }
        run(d, 2);
        require_close(&d[0], &d[1]);
    }
}

Test(metamorphic_attention, later_tokens_change_no_bit_of_earlier_ones) {
    FOR_EACH_CASE(60) {
        begin(seed);
        const uint32_t tokens = sxt_test_between(&trial.rng, 33, 64),
                       more = tokens + sxt_test_between(&trial.rng, 1, 40);
        sxt_attention_desc d[2] = {make(1, more, more)};
        d[0].causal = true;
        d[0].split_keys = 256;
        d[1] = again(&d[0]);
        sxt_tensor *views[] = {&d[1].q, &d[1].k, &d[1].v, &d[1].o, &d[1].lse};
        for (uint32_t i = 0; i < 5; i++)
            views[i]->shape[1] = tokens;
        run(d, 2);
        // Rows of the longer one that the shorter one has too.
        d[0].o.shape[1] = d[0].lse.shape[1] = tokens;
        require_same(&d[0], &d[1]);
    }
}

// ── Heads ──

Test(metamorphic_attention, grouped_heads_equal_repeated_ones) {
    FOR_EACH_CASE(80) {
        begin(seed);
        const uint32_t group = sxt_test_between(&trial.rng, 2, 5), heads = KV_HEADS * group, keys = some_keys();
        sxt_attention_desc d[2] = {make_typed(SXT_TYPE_F16, 1, some_queries(), keys, heads)};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        d[1] = again(&d[0]);
        d[1].k = sxt_test_dense(&trial, "repeated k", SXT_TYPE_F16, 1, keys, heads, D);
        d[1].v = sxt_test_dense(&trial, "repeated v", SXT_TYPE_F16, 1, keys, heads, D);
        for (uint32_t n = 0; n < keys * heads; n++) {
            const uint32_t from = n / heads * ROW + n % heads / group * D;
            sxt_test_copy_row(&trial, &d[1].k, n * D, &d[0].k, from);
            sxt_test_copy_row(&trial, &d[1].v, n * D, &d[0].v, from);
        }
        run(d, 2);
        require_close(&d[0], &d[1]);
    }
}

// MLA: values that are the first channels of the keys are as good as a copy of them.
Test(metamorphic_attention, values_within_keys_equal_a_copy) {
    FOR_EACH_CASE(40) {
        begin(seed);
        const uint32_t keys = some_keys(), v_dim = SXT_TEST_PICK(&trial.rng, uint32_t, 4, 36, D);
        sxt_attention_desc d[2] = {make(1, some_queries(), keys)};
        d[0].v = d[0].k;
        d[0].v.shape[3] = v_dim;
        d[0].o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, 1, d[0].q.shape[1], HEADS, v_dim);
        d[1] = again(&d[0]);
        d[1].v = sxt_test_dense(&trial, "copy", SXT_TYPE_F16, 1, keys, KV_HEADS, v_dim);
        sxt_test_fill_from(&trial, &d[1].v, &d[0].v);
        run(d, 2);
        require_close(&d[0], &d[1]);
    }
}

// ── Sequences ──

Test(metamorphic_attention, a_batch_equals_its_members_alone_bit_by_bit) {
    FOR_EACH_CASE(80) {
        begin(seed);
        sxt_attention_desc d[4] = {make(3, some_queries(), some_keys())};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        d[0].split_keys = 256;
        const sxt_attention_desc other = again(&d[0]);
        for (uint32_t b = 0; b < 3; b++) {
            d[b + 1] = other;
            sxt_tensor *views[] = {&d[b + 1].q, &d[b + 1].k, &d[b + 1].v, &d[b + 1].o, &d[b + 1].lse};
            for (uint32_t i = 0; i < 5; i++)
                *views[i] = part(views[i], b, 0, views[i]->shape[1]);
        }
        run(d, 4);
        require_same(&d[0], &other);
    }
}

Test(metamorphic_attention, lengths_equal_shorter_tensors) {
    FOR_EACH_CASE(60) {
        begin(seed);
        const uint32_t keys = seed % 3 ? some_keys() : sxt_test_between(&trial.rng, 300, 600);
        sxt_attention_desc d[3] = {make(2, seed % 2 ? 1 : some_queries(), keys)};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        const sxt_attention_desc other = again(&d[0]);
        int32_t lengths[2];
        for (uint32_t b = 0; b < 2; b++) {
            lengths[b] = (int32_t)sxt_test_below(&trial.rng, keys + 1);
            d[b + 1] = other;
            d[b + 1].q = part(&other.q, b, 0, other.q.shape[1]), d[b + 1].o = part(&other.o, b, 0, other.q.shape[1]);
            d[b + 1].lse = part(&other.lse, b, 0, other.q.shape[1]);
            d[b + 1].k = part(&other.k, b, 0, (uint32_t)lengths[b]);
            d[b + 1].v = part(&other.v, b, 0, (uint32_t)lengths[b]);
        }
        d[0].kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, 2, lengths);
        run(d, 3);
        require_close(&d[0], &other);
    }
}

// Batch invariance: at a fixed split, a sequence has the same bits whoever its neighbours are.
Test(metamorphic_attention, ragged_sequences_equal_each_alone_bit_by_bit) {
    enum { MOST = 4 };
    FOR_EACH_CASE(80) {
        begin(seed);
        const uint32_t count = sxt_test_between(&trial.rng, 2, MOST);
        int32_t q_at[MOST + 1] = {0}, k_at[MOST + 1] = {0};
        uint32_t longest = 0;
        for (uint32_t n = 0; n < count; n++) {
            q_at[n + 1] = q_at[n] + (int32_t)SXT_TEST_PICK(&trial.rng, uint32_t, 1, 1, 2, 5, 17, 40);
            k_at[n + 1] = k_at[n] + (int32_t)SXT_TEST_PICK(&trial.rng, uint32_t, 1, 17, 64, 65, 300, 700);
            if (k_at[n + 1] - k_at[n] > (int32_t)longest) longest = (uint32_t)(k_at[n + 1] - k_at[n]);
        }
        sxt_attention_desc d[MOST + 1] = {make(1, (uint32_t)q_at[count], (uint32_t)k_at[count])};
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        d[0].split_keys = 256;
        const sxt_attention_desc other = again(&d[0]);
        for (uint32_t n = 0; n < count; n++) {
            const uint32_t q = (uint32_t)q_at[n], queries = (uint32_t)q_at[n + 1] - q;
            const uint32_t k = (uint32_t)k_at[n], keys = (uint32_t)k_at[n + 1] - k;
            d[n + 1] = other;
            d[n + 1].q = part(&other.q, 0, q, queries), d[n + 1].o = part(&other.o, 0, q, queries);
            d[n + 1].lse = part(&other.lse, 0, q, queries);
            d[n + 1].k = part(&other.k, 0, k, keys), d[n + 1].v = part(&other.v, 0, k, keys);
        }
        d[0].cu_seqlens_q = sxt_test_ints(&trial, "cu_seqlens_q", 1, count + 1, q_at);
        d[0].cu_seqlens_k = sxt_test_ints(&trial, "cu_seqlens_k", 1, count + 1, k_at);
        d[0].max_q_tokens = (uint32_t)q_at[count] < 40 ? (uint32_t)q_at[count] : 40;
        d[0].max_k_tokens = longest;
        run(d, count + 1);
        require_same(&d[0], &other);
    }
}

// Pages in any order hold what contiguous rows do: the same bits at the same split.
Test(metamorphic_attention, pages_equal_contiguous_rows_bit_by_bit) {
    enum { SEQUENCES = 2, MOST = SEQUENCES * 700 };
    FOR_EACH_CASE(80) {
        begin(seed);
        const uint32_t rows = SXT_TEST_PICK(&trial.rng, uint32_t, 1, 3, 16, 16, 17, 64, 256);
        const uint32_t longest = seed % 3 ? some_keys() : sxt_test_between(&trial.rng, 300, 600);
        const uint32_t each = (longest + rows - 1) / rows, pages = SEQUENCES * each, keys = each * rows;
        const sxt_type type = seed / 8 % 2 ? SXT_TYPE_Q8_0 : SXT_TYPE_F16;
        sxt_attention_desc d[2] = {make_typed(type, SEQUENCES, seed % 2 ? 1 : some_queries(), keys, HEADS)};
        int32_t lengths[SEQUENCES] = {(int32_t)longest, (int32_t)sxt_test_below(&trial.rng, longest + 1)};
        static int32_t table[MOST];
        d[0].causal = sxt_test_chance(&trial.rng, 50);
        d[0].split_keys = 256;
        d[0].kv_lengths = sxt_test_ints(&trial, "kv_lengths", 1, SEQUENCES, lengths);
        d[1] = again(&d[0]);
        for (uint32_t n = 0; n < pages; n++) {
            const uint32_t place = sxt_test_below(&trial.rng, n + 1);
            table[n] = table[place];
            table[place] = (int32_t)n;
        }
        d[1].k = sxt_test_dense(&trial, "pages of k", type, pages, rows, KV_HEADS, D);
        d[1].v = sxt_test_dense(&trial, "pages of v", type, pages, rows, KV_HEADS, D);
        for (uint32_t n = 0; n < pages * rows * KV_HEADS; n++) {
            const uint32_t row = n / KV_HEADS, page = (uint32_t)table[row / rows];
            const uint64_t to = sxt_test_at(&d[1].k, page, row % rows, n % KV_HEADS, 0);
            sxt_test_copy_row(&trial, &d[1].k, to, &d[0].k, (uint64_t)n * D);
            sxt_test_copy_row(&trial, &d[1].v, to, &d[0].v, (uint64_t)n * D);
        }
        d[1].block_table = sxt_test_ints(&trial, "block_table", SEQUENCES, each, table);
        run(d, 2);
        require_same(&d[0], &d[1]);
    }
}

// ── Determinism ──

Test(metamorphic_attention, the_same_call_gives_the_same_bits) {
    FOR_EACH_CASE(72) {
        begin(seed);
        const sxt_test_form form = sxt_test_form_of(seed / 12);
        sxt_attention_desc d[3] = {sxt_test_attention_case(&trial, &form, (sxt_test_lengths){0})};
        trial.partial = true;
        for (uint32_t i = 1; i < 3; i++) {
            d[i] = d[0];
            d[i].o = sxt_test_like(&trial, "other o", &d[0].o);
            if (d[0].lse.buffer) d[i].lse = sxt_test_like(&trial, "other lse", &d[0].lse);
        }
        run(d, 3);
        for (uint32_t i = 1; i < 3; i++) {
            sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d[0].o, SXT_TEST_DEVICE, &d[i].o));
            if (!d[0].lse.buffer) continue;
            sxt_test_require(&trial,
                             sxt_test_check_bits(&trial, SXT_TEST_DEVICE, &d[0].lse, SXT_TEST_DEVICE, &d[i].lse));
        }
    }
}
