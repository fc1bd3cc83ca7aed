// The reference of what reads and writes KV caches is right: against rows placed and converted here, and against the
// operations that the fused one consists of.
#include "core/number.h"
#include "support/dense.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const sxt_type cache_types[] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                       SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};
enum { CACHE_TYPES = sizeof cache_types / sizeof cache_types[0] };

static void ok(const sxt_dense *b, sxt_result result) {
    cr_assert_eq(result, SXT_OK, "%s", b->log.text);
}

static uint8_t *bytes_of(const sxt_tensor *tensor) {
    return sxt_buffer_map(tensor->buffer);
}

static bool same_bytes(const sxt_tensor *a, const sxt_tensor *b) {
    return memcmp(bytes_of(a), bytes_of(b), sxt_dense_bytes(a)) == 0;
}

// Bytes of one row of channels of a dense tensor, and where row n of them begins.
static size_t row_bytes(const sxt_tensor *tensor) {
    return tensor->shape[3] / sxt_type_block(tensor->type) * sxt_type_size(tensor->type);
}

static uint8_t *row_at(const sxt_tensor *tensor, uint64_t n) {
    return bytes_of(tensor) + n * row_bytes(tensor);
}

// All bits at random: NaNs of every kind, scales of any sign.
static void fill_bits(sxt_dense *b, const sxt_tensor *tensor) {
    for (uint64_t i = 0; i < sxt_dense_bytes(tensor); i++)
        bytes_of(tensor)[i] = (uint8_t)sxt_test_bits(&b->rng);
}

static sxt_tensor ints(sxt_dense *b, uint32_t token, uint32_t head, uint32_t channel, const int32_t *values) {
    sxt_tensor tensor = sxt_dense_make(b, SXT_TYPE_I32, 1, token, head, channel);
    memcpy(bytes_of(&tensor), values, sxt_dense_bytes(&tensor));
    return tensor;
}

// ── Where tokens go ──

Test(reference_cache, slots_name_the_rows_of_the_cache) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { T = 5, ROWS = 4, H = 2, D = 3 };
    static const int32_t places[T] = {2, -1, 0, ROWS, INT32_MIN};
    sxt_tensor k = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, D), v = sxt_dense_make(&b, SXT_TYPE_BF16, 1, T, H, D + 1);
    sxt_tensor k_cache = sxt_dense_make(&b, SXT_TYPE_F16, 1, ROWS, H, D),
               v_cache = sxt_dense_make(&b, SXT_TYPE_F32, 1, ROWS, H, D + 1);
    sxt_tensor slots = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T);
    for (uint64_t t = 0; t < T; t++)
        sxt_dense_set(&slots, t, places[t]);
    sxt_dense_fill(&k_cache, 77), sxt_dense_fill(&v_cache, 77);
    sxt_kv_write_desc desc = {.k = k, .v = v, .cache = {.k = k_cache, .v = v_cache, .slots = slots}};
    cr_assert_eq(sxt_kv_write(b.stream, &desc), SXT_OK);
    const int source[ROWS] = {2, -1, 0, -1};
    for (uint64_t row = 0; row < ROWS; row++) {
        for (uint64_t c = 0; c < H * D; c++) {
            double want = source[row] < 0 ? 77 : sxt_dense_get(&k, (uint64_t)source[row] * H * D + c);
            cr_assert_eq(sxt_dense_get(&k_cache, row * H * D + c), sxt_f16_to_double(sxt_f16_from_double(want)));
        }
        for (uint64_t c = 0; c < H * (D + 1); c++)
            cr_assert_eq(sxt_dense_get(&v_cache, row * H * (D + 1) + c),
                         source[row] < 0 ? 77 : sxt_dense_get(&v, (uint64_t)source[row] * H * (D + 1) + c));
    }
    sxt_dense_finish(&b);
}

Test(reference_cache, without_slots_rows_follow_first_row) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    enum { T = 2, ROWS = 6, D = 4 };
    sxt_tensor k = sxt_dense_make(&b, SXT_TYPE_F16, 2, T, 1, D),
               cache = sxt_dense_make(&b, SXT_TYPE_F16, 2, ROWS, 1, D);
    sxt_dense_fill(&cache, 9);
    cr_assert_eq(sxt_kv_write(b.stream, &(sxt_kv_write_desc){.k = k, .cache = {.k = cache, .first_row = 3}}), SXT_OK);
    for (uint64_t i = 0; i < 2 * ROWS * D; i++) {
        uint64_t batch = i / (ROWS * D), row = i / D % ROWS;
        double want = row < 3 || row >= 3 + T ? 9 : sxt_dense_get(&k, (batch * T + row - 3) * D + i % D);
        cr_assert_eq(sxt_dense_get(&cache, i), want);
    }
    sxt_dense_finish(&b);
}

// Two sequences of three pages each, of four rows; page 4 belongs to none. Some pages, and some rows, are not there.
Test(reference_cache, block_tables_lead_to_pages) {
    enum { PAGES = 5, ROWS = 4, T = 6, H = 2, D = 3 };
    static const int32_t table[2][3] = {{3, -1, 0}, {2, PAGES, 1}};
    static const int32_t slots[2][T] = {{0, 11, 5, 9, 13, -1}, {3, INT32_MAX, 8, 4, 0, INT32_MIN}};
    for (int with_slots = 0; with_slots < 2; with_slots++) {
        sxt_dense b;
        sxt_dense_init(&b, 7);
        sxt_tensor k = sxt_dense_make(&b, SXT_TYPE_F32, 2, T, H, D);
        // Memory goes on past the last page.
        sxt_tensor cache = sxt_dense_make(&b, SXT_TYPE_F32, PAGES + 1, ROWS, H, D), want = sxt_dense_copy(&b, &cache);
        sxt_kv_write_desc desc = {.k = k, .cache = {.k = cache, .block_table = ints(&b, 1, 2, 3, &table[0][0])}};
        desc.cache.k.shape[0] = PAGES;
        desc.cache.first_row = with_slots ? 0 : 5;
        if (with_slots) desc.cache.slots = ints(&b, 2, 1, T, &slots[0][0]), desc.cache.slots.shape[0] = 1;
        for (int s = 0; s < 2; s++)
            for (int t = 0; t < T; t++) {
                const int32_t row = with_slots ? slots[s][t] : 5 + t;
                const int32_t page = row < 0 || row >= 12 ? -1 : table[s][row / ROWS];
                if (page < 0 || page >= PAGES) continue;
                memcpy(row_at(&want, (uint64_t)((page * ROWS + row % ROWS) * H)), row_at(&k, (uint64_t)(s * T + t) * H),
                       H * row_bytes(&k));
            }
        ok(&b, sxt_kv_write(b.stream, &desc));
        cr_assert(same_bytes(&cache, &want), "%s", with_slots ? "slots" : "first_row");
        sxt_dense_finish(&b);
    }
}

Test(reference_cache, one_block_table_may_serve_the_batch) {
    enum { T = 2, D = 4 };
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor v = sxt_dense_make(&b, SXT_TYPE_F16, 2, T, 1, D), cache = sxt_dense_make(&b, SXT_TYPE_F16, 3, 2, 1, D);
    const int32_t slots[2][T] = {{0, 3}, {2, 1}};
    sxt_kv_write_desc desc = {.v = v, .cache = {.v = cache, .block_table = ints(&b, 1, 1, 2, (int32_t[]){2, 0})}};
    desc.cache.slots = ints(&b, 2, 1, T, &slots[0][0]);
    ok(&b, sxt_kv_write(b.stream, &desc));
    static const int source[6] = {2, 1, -1, -1, 0, 3}; // of v's rows, by the cache's
    for (uint64_t row = 0; row < 6; row++)
        if (source[row] >= 0)
            cr_assert_eq(memcmp(row_at(&cache, row), row_at(&v, (uint64_t)source[row]), row_bytes(&v)), 0);
    sxt_dense_finish(&b);
}

// ── What they are stored as ──

Test(reference_cache, rows_become_the_type_of_the_cache) {
    enum { T = 3, H = 2, D = 64 };
    const sxt_type sources[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16};
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < CACHE_TYPES; to++) {
            sxt_dense b;
            sxt_dense_init(&b, 7);
            sxt_tensor k = sxt_dense_make(&b, sources[from], 1, T, H, D),
                       cache = sxt_dense_make(&b, cache_types[to], 1, T, H, D);
            fill_bits(&b, &k);
            ok(&b, sxt_kv_write(b.stream, &(sxt_kv_write_desc){.k = k, .cache.k = cache}));
            for (uint64_t row = 0; row < T * H; row++) {
                double values[D];
                uint8_t want[4 * D];
                sxt_decode(k.type, row_at(&k, row), D, values);
                sxt_encode(cache.type, values, D, want);
                if (k.type == cache.type) memcpy(want, row_at(&k, row), row_bytes(&k));
                cr_assert_eq(memcmp(row_at(&cache, row), want, row_bytes(&cache)), 0, "%s to %s", sxt_type_name(k.type),
                             sxt_type_name(cache.type));
            }
            sxt_dense_finish(&b);
        }
}

// The quotient in long double, which has 11 bits more, and of all values of fp8 the nearest one.
static double nearest_quotient(double x, double scale) {
    const long double quotient = fminl(448, fmaxl(-448, (long double)x / scale));
    double best = 0;
    for (uint32_t code = 0; code < 0xff; code++) {
        const double value = sxt_fp8_to_double((uint8_t)code);
        if (isnan(value)) continue;
        const long double is = fabsl(value - quotient), was = fabsl(best - quotient);
        if (is < was || (is == was && code % 2 == 0 && value != best)) best = value;
    }
    return best;
}

Test(reference_cache, fp8_caches_hold_the_nearest_quotient) {
    enum { T = 40, H = 3, D = 16 };
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, D), k = sxt_dense_make(&b, SXT_TYPE_FP8_E4M3, 1, T, H, D),
               v = sxt_dense_make(&b, SXT_TYPE_FP8_E4M3, 1, T, H, D);
    sxt_tensor each = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, H, 1), one = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 1);
    sxt_dense_set(&each, 0, 0.01), sxt_dense_set(&each, 1, 3), sxt_dense_set(&each, 2, 1e-30);
    sxt_dense_set(&one, 0, 0.3);
    // Half of them near a tie of v.
    for (uint64_t i = 0; i < T * H * D; i += 2) {
        const double low = sxt_fp8_to_double((uint8_t)(i / 2 % 126)),
                     high = sxt_fp8_to_double((uint8_t)(i / 2 % 126 + 1));
        const float tie = (float)((low + high) / 2 * sxt_dense_get(&one, 0));
        sxt_dense_set(&x, i, i % 4 ? tie : nextafterf(tie, 0));
    }
    const sxt_kv_write_desc desc = {.k = x, .v = x, .cache = {.k = k, .v = v, .k_scale = each, .v_scale = one}};
    ok(&b, sxt_kv_write(b.stream, &desc));
    for (uint64_t i = 0; i < T * H * D; i++) {
        const double value = sxt_dense_get(&x, i), scale = sxt_dense_get(&each, i / D % H);
        cr_assert_eq(sxt_dense_get(&k, i), nearest_quotient(value, scale), "%a / %a", value, scale);
        cr_assert_eq(sxt_dense_get(&v, i), nearest_quotient(value, sxt_dense_get(&one, 0)), "%a", value);
    }
    sxt_dense_finish(&b);
}

// ── The fused operation ──

// Rotated keys and plain or normalised values in a cache are what the fused operation writes to f32, stored: to the bit
// where a type is made from f32, else within half of its step.
Test(reference_cache, the_fused_operation_writes_what_its_parts_would) {
    enum { T = 3, D = 32, DV = 64, H = 2, ROWS = 5 };
    const double half_steps[] = {0, 0x1p-11, 0x1p-8, 0, 0, 0x1p-4}; // of cache_types
    for (int type = 0; type < CACHE_TYPES; type++)
        for (int normalised = 0; normalised < 2; normalised++) {
            sxt_dense b;
            sxt_dense_init(&b, 7);
            const sxt_type stored = cache_types[type];
            sxt_qk_norm_rope_desc fused = {
                .q = sxt_dense_make(&b, SXT_TYPE_F16, 2, T, 4, D),
                .q_out = sxt_dense_make(&b, stored, 2, T, 4, D),
                .k = sxt_dense_make(&b, SXT_TYPE_F32, 2, T, H, D),
                .v = sxt_dense_make(&b, SXT_TYPE_BF16, 2, T, H, DV),
                .k_weight = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, D),
                .positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T),
                .normalise_v = normalised == 1,
                .eps = 1e-6f,
                .cache = {.k = sxt_dense_make(&b, stored, 2, ROWS, H, D),
                          .v = sxt_dense_make(&b, stored, 2, ROWS, H, DV),
                          .slots = ints(&b, 1, 1, T, (int32_t[]){4, -1, 0})},
            };
            sxt_kv_write_desc parts = {.cache = fused.cache};
            parts.cache.k = sxt_dense_copy(&b, &fused.cache.k), parts.cache.v = sxt_dense_copy(&b, &fused.cache.v);
            parts.k = sxt_dense_make(&b, SXT_TYPE_F32, 2, T, H, D);
            parts.v = sxt_dense_make(&b, SXT_TYPE_F32, 2, T, H, DV);
            sxt_tensor q_parts = sxt_dense_make(&b, SXT_TYPE_F32, 2, T, 4, D);
            sxt_tensor q_stored = sxt_dense_make(&b, stored, 2, T, 4, D);
            ok(&b, sxt_qk_norm_rope(b.stream, &fused));
            sxt_qk_norm_rope_desc apart = fused;
            apart.v = (sxt_tensor){.buffer = NULL}, apart.cache = (sxt_kv_cache){.first_row = 0};
            apart.normalise_v = false;
            apart.q_out = q_parts, apart.k_out = parts.k;
            ok(&b, sxt_qk_norm_rope(b.stream, &apart));
            if (normalised)
                ok(&b, sxt_norm(b.stream, &(sxt_norm_desc){.x = fused.v, .y = parts.v, .eps = 1e-6f}));
            else
                parts.v = fused.v;
            ok(&b, sxt_kv_write(b.stream, &parts));
            ok(&b, sxt_kv_write(b.stream, &(sxt_kv_write_desc){.k = q_parts, .cache.k = q_stored}));
            const sxt_tensor *pairs[3][2] = {
                {&fused.cache.k, &parts.cache.k}, {&fused.cache.v, &parts.cache.v}, {&fused.q_out, &q_stored}};
            for (int i = 0; i < 3; i++) {
                if (half_steps[type] == 0) cr_assert(same_bytes(pairs[i][0], pairs[i][1]), "%s", sxt_type_name(stored));
                for (uint64_t n = 0; n < sxt_dense_count(pairs[i][0]); n++) {
                    const double got = sxt_dense_get(pairs[i][0], n), want = sxt_dense_get(pairs[i][1], n);
                    cr_assert(fabs(got - want) <= 2 * half_steps[type] * fmax(fabs(want), 0x1p-6), "%s: %g, not %g",
                              sxt_type_name(stored), got, want);
                }
            }
            sxt_dense_finish(&b);
        }
}

Test(reference_cache, without_rotation_only_the_norm_remains) {
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor q = sxt_dense_make(&b, SXT_TYPE_F32, 2, 3, 4, 8), fused = sxt_dense_copy(&b, &q),
               apart = sxt_dense_copy(&b, &q), weight = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, 1, 8);
    ok(&b, sxt_qk_norm_rope(b.stream, &(sxt_qk_norm_rope_desc){
                                          .q = q, .q_out = fused, .q_weight = weight, .rope.pairing = SXT_ROPE_NONE}));
    ok(&b, sxt_norm(b.stream, &(sxt_norm_desc){.x = q, .y = apart, .weight = weight}));
    cr_assert(same_bytes(&fused, &apart));
    sxt_dense_finish(&b);
}

// ── Context shift ──

// Keys of a type, decoded to f32, which holds them all.
static sxt_tensor decoded(sxt_dense *b, const sxt_tensor *keys) {
    const uint32_t *shape = keys->shape;
    sxt_tensor wide = sxt_dense_make(b, SXT_TYPE_F32, shape[0], shape[1], shape[2], shape[3]);
    for (uint64_t i = 0; i < sxt_dense_count(keys); i++)
        sxt_dense_set(&wide, i, sxt_dense_get(keys, i));
    return wide;
}

Test(reference_cache, a_shift_turns_keys_on_and_leaves_the_rest) {
    enum { BATCH = 2, ROWS = 4, H = 2, D = 96 };
    static const int32_t deltas[BATCH * ROWS] = {0, -5, 100000, 0, 7, 0, -1, 1};
    for (int type = 0; type < CACHE_TYPES; type++)
        for (int part = 0; part < 2; part++) {
            sxt_dense b;
            sxt_dense_init(&b, 7);
            sxt_tensor k = sxt_dense_make(&b, cache_types[type], BATCH, ROWS, H, D), before = sxt_dense_copy(&b, &k),
                       wide = decoded(&b, &k), again = sxt_dense_copy(&b, &k);
            sxt_kv_shift_desc shift = {.k = k, .deltas = ints(&b, BATCH, 1, ROWS, deltas)};
            // The magnitude, which the rotation of new keys has, must not come in twice.
            sxt_rope_desc turn = {.x = wide, .y = wide, .positions = shift.deltas};
            if (part) turn.rope = (sxt_rope_params){.rotary_dim = 32, .rotary_offset = 32, .base = 500};
            shift.rope = turn.rope;
            shift.rope.attn_factor = 3;
            ok(&b, sxt_kv_shift(b.stream, &shift));
            ok(&b, sxt_rope(b.stream, &turn));
            ok(&b, sxt_kv_write(b.stream, &(sxt_kv_write_desc){.k = wide, .cache.k = again}));
            const size_t step = row_bytes(&k);
            for (uint64_t row = 0; row < BATCH * ROWS * H; row++) {
                const bool turned = deltas[row / H] != 0;
                size_t first = part ? step / 3 : 0, end = part ? 2 * step / 3 : step;
                if (!turned) first = end = 0;
                cr_assert_eq(memcmp(row_at(&k, row), row_at(&before, row), first), 0, "before the range");
                cr_assert_eq(memcmp(row_at(&k, row) + end, row_at(&before, row) + end, step - end), 0, "past it");
                if (turned) cr_assert_neq(memcmp(row_at(&k, row), row_at(&before, row), step), 0, "it turns");
                if (cache_types[type] == SXT_TYPE_F32 || sxt_type_block(cache_types[type]) > 1)
                    cr_assert_eq(memcmp(row_at(&k, row) + first, row_at(&again, row) + first, end - first), 0, "%s",
                                 sxt_type_name(cache_types[type]));
                for (uint64_t c = row * D; c < row * D + D; c++)
                    cr_assert(fabs(sxt_dense_get(&k, c) - sxt_dense_get(&again, c)) <=
                                  0x1p-3 * fmax(fabs(sxt_dense_get(&again, c)), 0x1p-6),
                              "%s", sxt_type_name(cache_types[type]));
            }
            sxt_dense_finish(&b);
        }
}

// Keys written at positions p and then shifted by d are keys written at p + d, with YaRN's magnitude in them once.
Test(reference_cache, shifted_keys_are_keys_of_other_positions) {
    enum { T = 3, D = 16 };
    const sxt_rope_params rope = {
        .pairing = SXT_ROPE_INTERLEAVED, .freq_scale = 0.25f, .ext_factor = 1, .original_context = 64};
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor x = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, 1, D), shifted = sxt_dense_copy(&b, &x),
               direct = sxt_dense_copy(&b, &x);
    const sxt_tensor from = ints(&b, 1, 1, T, (int32_t[]){100, 7, 3}), by = ints(&b, 1, 1, T, (int32_t[]){-60, 0, 9}),
                     to = ints(&b, 1, 1, T, (int32_t[]){40, 7, 12});
    ok(&b, sxt_rope(b.stream, &(sxt_rope_desc){.x = x, .y = shifted, .positions = from, .rope = rope}));
    ok(&b, sxt_kv_shift(b.stream, &(sxt_kv_shift_desc){.k = shifted, .deltas = by, .rope = rope}));
    ok(&b, sxt_rope(b.stream, &(sxt_rope_desc){.x = x, .y = direct, .positions = to, .rope = rope}));
    for (uint64_t i = 0; i < T * D; i++)
        cr_assert(fabs(sxt_dense_get(&shifted, i) - sxt_dense_get(&direct, i)) < 1e-6);
    sxt_dense_finish(&b);
}

// Only the planes in use count, and only where they are not 0; fp8's scale comes off and on again.
Test(reference_cache, shifts_of_several_axes_and_of_scaled_keys) {
    enum { ROWS = 3, H = 2, D = 8 };
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor k = sxt_dense_make(&b, SXT_TYPE_F32, 1, ROWS, H, D), before = sxt_dense_copy(&b, &k);
    sxt_tensor deltas = sxt_dense_make(&b, SXT_TYPE_I32, 3, 1, 1, ROWS);
    const int32_t planes[3][ROWS] = {{0, 0, 2}, {0, 1, 0}, {9, 9, 9}}; // no pair follows the third
    memcpy(bytes_of(&deltas), planes, sizeof planes);
    fill_bits(&b, &k);
    memcpy(bytes_of(&before), bytes_of(&k), sxt_dense_bytes(&k));
    const sxt_rope_params two = {.multi = SXT_ROPE_MROPE, .sections = {1, 3, 0, 0}};
    ok(&b, sxt_kv_shift(b.stream, &(sxt_kv_shift_desc){.k = k, .deltas = deltas, .rope = two}));
    cr_assert_eq(memcmp(row_at(&k, 0), row_at(&before, 0), H * row_bytes(&k)), 0, "row 0 does not turn");
    cr_assert_neq(memcmp(row_at(&k, H), row_at(&before, H), H * row_bytes(&k)), 0, "row 1 turns");

    sxt_tensor keys = sxt_dense_make(&b, SXT_TYPE_F32, 1, ROWS, H, D),
               small = sxt_dense_make(&b, SXT_TYPE_FP8_E4M3, 1, ROWS, H, D),
               scale = sxt_dense_make(&b, SXT_TYPE_F32, 1, 1, H, 1);
    sxt_dense_set(&scale, 0, 0.001), sxt_dense_set(&scale, 1, 40);
    ok(&b, sxt_kv_write(b.stream, &(sxt_kv_write_desc){.k = keys, .cache = {.k = small, .k_scale = scale}}));
    for (uint64_t i = 0; i < ROWS * H * D; i++)
        sxt_dense_set(&keys, i, sxt_dense_get(&small, i) * sxt_dense_get(&scale, i / D % H));
    const sxt_tensor by = ints(&b, 1, 1, ROWS, (int32_t[]){3, 0, -4});
    ok(&b, sxt_kv_shift(b.stream, &(sxt_kv_shift_desc){.k = small, .k_scale = scale, .deltas = by}));
    ok(&b, sxt_rope(b.stream, &(sxt_rope_desc){.x = keys, .y = keys, .positions = by}));
    for (uint64_t i = 0; i < ROWS * H * D; i++) {
        const double unit = sxt_dense_get(&scale, i / D % H), want = sxt_dense_get(&keys, i) / unit;
        const double most = 0x1.0001p-4 * fmax(fabs(want), 0x1p-6);
        cr_assert(fabs(sxt_dense_get(&small, i) - fmin(448, fmax(-448, want))) <= most, "%g, and should be %g",
                  sxt_dense_get(&small, i), want);
    }
    sxt_dense_finish(&b);
}

// ── Copies ──

Test(reference_cache, copies_move_bits_of_rows) {
    enum { H = 2, D = 32, DV = 64, MOVES = 8 };
    static const int32_t from[MOVES] = {0, 5, -1, 3, 6, 1, INT32_MIN, 4}, to[MOVES] = {8, 0, 2, 9, 1, -1, 3, 4};
    for (int type = 0; type < CACHE_TYPES; type++) {
        sxt_dense b;
        sxt_dense_init(&b, 7);
        sxt_kv_copy_desc copy = {.k_from = sxt_dense_make(&b, cache_types[type], 2, 3, H, D),
                                 .k_to = sxt_dense_make(&b, cache_types[type], 1, 9, H, D),
                                 .v_from = sxt_dense_make(&b, SXT_TYPE_F16, 2, 3, H, DV),
                                 .v_to = sxt_dense_make(&b, SXT_TYPE_F16, 1, 9, H, DV),
                                 .from = ints(&b, 1, 1, MOVES, from),
                                 .to = ints(&b, 1, 1, MOVES, to)};
        fill_bits(&b, &copy.k_from), fill_bits(&b, &copy.v_from);
        sxt_tensor k = sxt_dense_copy(&b, &copy.k_to), v = sxt_dense_copy(&b, &copy.v_to);
        for (int i = 0; i < MOVES; i++) {
            if (from[i] < 0 || from[i] >= 6 || to[i] < 0 || to[i] >= 9) continue;
            memcpy(row_at(&k, (uint64_t)to[i] * H), row_at(&copy.k_from, (uint64_t)from[i] * H), H * row_bytes(&k));
            memcpy(row_at(&v, (uint64_t)to[i] * H), row_at(&copy.v_from, (uint64_t)from[i] * H), H * row_bytes(&v));
        }
        ok(&b, sxt_kv_copy(b.stream, &copy));
        cr_assert(same_bytes(&copy.k_to, &k) && same_bytes(&copy.v_to, &v), "%s", sxt_type_name(cache_types[type]));
        sxt_dense_finish(&b);
    }
}

Test(reference_cache, copies_move_pages_and_fill_holes) {
    enum { PAGES = 4, ROWS = 3, D = 8 };
    sxt_dense b;
    sxt_dense_init(&b, 7);
    sxt_tensor cache = sxt_dense_make(&b, SXT_TYPE_BF16, PAGES, ROWS, 1, D), before = sxt_dense_copy(&b, &cache);
    const size_t page = ROWS * row_bytes(&cache);
    sxt_kv_copy_desc copy = {.k_from = cache, .k_to = cache, .pages = true};
    copy.from = ints(&b, 1, 1, 5, (int32_t[]){3, 1, 0, PAGES, -1});
    copy.to = ints(&b, 1, 1, 5, (int32_t[]){0, 1, PAGES, 2, 2});
    ok(&b, sxt_kv_copy(b.stream, &copy));
    static const int source[PAGES] = {3, 1, 2, 3};
    for (int i = 0; i < PAGES; i++)
        cr_assert_eq(memcmp(bytes_of(&cache) + (size_t)i * page, bytes_of(&before) + (size_t)source[i] * page, page), 0,
                     "page %d", i);
    // The last row into the first hole, counted over all pages.
    copy.pages = false;
    copy.from = ints(&b, 1, 1, 1, (int32_t[]){PAGES * ROWS - 1}), copy.to = ints(&b, 1, 1, 1, (int32_t[]){4});
    ok(&b, sxt_kv_copy(b.stream, &copy));
    cr_assert_eq(memcmp(row_at(&cache, 4), row_at(&before, PAGES * ROWS - 1), row_bytes(&cache)), 0);
    cr_assert_eq(memcmp(row_at(&cache, 5), row_at(&before, 5), row_bytes(&cache)), 0);
    sxt_dense_finish(&b);
}
