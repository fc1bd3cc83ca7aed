// Which views share memory: never two that do taken for disjoint, and the layouts that engines use not refused.
#include "core/tensor.h"
#include "support/dense.h"

#include <criterion/criterion.h>
#include <string.h>

static sxt_tensor view(sxt_tensor of, uint64_t first, uint32_t tokens, uint32_t heads, uint32_t channels,
                       uint64_t token_stride, uint64_t head_stride) {
    of.offset_bytes = first * sxt_type_size(of.type);
    const uint32_t shape[4] = {1, tokens, heads, channels};
    const uint64_t strides[4] = {tokens * token_stride, token_stride, head_stride, 1};
    memcpy(of.shape, shape, sizeof shape);
    memcpy(of.strides, strides, sizeof strides);
    return of;
}

// q, k and v of a token lie side by side, token after token: their ranges of bytes cross, their elements do not.
Test(overlap, packed_q_and_k_may_be_in_place) {
    sxt_dense b;
    sxt_dense_init(&b, 1);
    enum { D = 8, QH = 4, KH = 2, T = 5, ROW = (QH + 2 * KH) * D };
    sxt_tensor packed = sxt_dense_make(&b, SXT_TYPE_F16, 1, T, 1, ROW), before = sxt_dense_copy(&b, &packed);
    sxt_qk_norm_rope_desc desc = {
        .q = view(packed, 0, T, QH, D, ROW, D),
        .k = view(packed, QH * D, T, KH, D, ROW, D),
        .positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T),
    };
    desc.q_out = desc.q, desc.k_out = desc.k;
    cr_assert_eq(sxt_qk_norm_rope(b.stream, &desc), SXT_OK, "%s", b.log.text);
    for (uint64_t i = 0; i < T * ROW; i++)
        if (i % ROW >= (QH + KH) * D)
            cr_assert_eq(sxt_dense_get(&packed, i), sxt_dense_get(&before, i), "v is not touched");

    desc.k = desc.k_out = view(packed, QH * D - 1, T, KH, D, ROW, D); // one element into q
    cr_assert_eq(sxt_qk_norm_rope(b.stream, &desc), SXT_ERROR_INVALID);
    cr_assert(strstr(b.log.text, "q_out overlaps k") != NULL);
    b.log.errors = 0;

    // Head by head: q, k, v of head 0, then of head 1 …
    desc.q = desc.q_out = view(packed, 0, T, 2, D, ROW, 3 * D);
    desc.k = desc.k_out = view(packed, D, T, 2, D, ROW, 3 * D);
    cr_assert_eq(sxt_qk_norm_rope(b.stream, &desc), SXT_OK, "%s", b.log.text);
    sxt_dense_finish(&b);
}

// A cache that keeps the keys and the values of a token together.
Test(overlap, keys_and_values_may_take_turns_in_a_cache) {
    sxt_dense b;
    sxt_dense_init(&b, 2);
    enum { D = 4, H = 3, ROWS = 7, T = 2 };
    sxt_tensor cache = sxt_dense_make(&b, SXT_TYPE_F32, 1, ROWS, 2 * H, D);
    sxt_kv_write_desc desc = {
        .k = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, D),
        .v = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, H, D),
        .cache.k = view(cache, 0, ROWS, H, D, 2 * H * D, D),
        .cache.v = view(cache, H * D, ROWS, H, D, 2 * H * D, D),
    };
    cr_assert_eq(sxt_kv_write(b.stream, &desc), SXT_OK, "%s", b.log.text);
    for (uint64_t i = 0; i < T * H * D; i++) {
        uint64_t row = i / (H * D), place = row * 2 * H * D + i % (H * D);
        cr_assert_eq(sxt_dense_get(&cache, place), sxt_dense_get(&desc.k, i));
        cr_assert_eq(sxt_dense_get(&cache, place + H * D), sxt_dense_get(&desc.v, i));
    }
    desc.cache.v = view(cache, H * D - 1, ROWS, H, D, 2 * H * D, D);
    cr_assert_eq(sxt_kv_write(b.stream, &desc), SXT_ERROR_INVALID);
    cr_assert(strstr(b.log.text, "cache.k overlaps cache.v") != NULL);
    b.log.errors = 0;
    sxt_dense_finish(&b);
}

// vLLM's pages: [page, k or v, row, head, channel]. Tokens come packed as q, k, v; q stays in place.
enum { PAGES = 3, PAGE_ROWS = 4, PAGE_HEADS = 2, PAGE_D = 8, ONE = PAGE_ROWS * PAGE_HEADS * PAGE_D };

static sxt_tensor half_of_pages(sxt_tensor memory, uint64_t first) {
    memory.offset_bytes = first * sxt_type_size(memory.type);
    memory.shape[0] = PAGES, memory.shape[1] = PAGE_ROWS, memory.shape[2] = PAGE_HEADS, memory.shape[3] = PAGE_D;
    memory.strides[0] = 2 * ONE, memory.strides[1] = PAGE_HEADS * PAGE_D, memory.strides[2] = PAGE_D;
    memory.strides[3] = 1;
    return memory;
}

Test(overlap, packed_tokens_go_into_woven_pages) {
    sxt_dense b;
    sxt_dense_init(&b, 3);
    enum { D = PAGE_D, H = PAGE_HEADS, Q = 4, T = 3, ROW = (Q + 2 * H) * D };
    sxt_tensor packed = sxt_dense_make(&b, SXT_TYPE_F32, 1, T, Q + 2 * H, D);
    sxt_tensor memory = sxt_dense_make(&b, SXT_TYPE_F32, PAGES, 2 * PAGE_ROWS, H, D),
               before = sxt_dense_copy(&b, &memory);
    sxt_tensor table = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, 2); // pages 0 and 1
    sxt_qk_norm_rope_desc desc = {
        .q = view(packed, 0, T, Q, D, ROW, D),
        .q_out = view(packed, 0, T, Q, D, ROW, D),
        .k = view(packed, Q * D, T, H, D, ROW, D),
        .v = view(packed, (Q + H) * D, T, H, D, ROW, D),
        .positions = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, T),
        .cache = {.k = half_of_pages(memory, 0), .v = half_of_pages(memory, ONE), .block_table = table, .first_row = 2},
    };
    cr_assert_eq(sxt_qk_norm_rope(b.stream, &desc), SXT_OK, "%s", b.log.text);
    for (uint64_t i = 0; i < 2 * ONE * PAGES; i++) {
        const uint64_t page = i / (2 * ONE), row = page * PAGE_ROWS + i % ONE / (H * D), c = i % (H * D);
        const bool written = row >= 2 && row < 2 + T, is_v = i / ONE % 2 == 1;
        if (!written)
            cr_assert_eq(sxt_dense_get(&memory, i), sxt_dense_get(&before, i), "element %u", (unsigned)i);
        else if (is_v)
            cr_assert_eq(sxt_dense_get(&memory, i), sxt_dense_get(&packed, (row - 2) * ROW + (Q + H) * D + c));
        else
            cr_assert_neq(sxt_dense_get(&memory, i), sxt_dense_get(&before, i), "element %u", (unsigned)i);
    }
    desc.cache.v = half_of_pages(memory, ONE - 1);
    cr_assert_eq(sxt_qk_norm_rope(b.stream, &desc), SXT_ERROR_INVALID);
    cr_assert(strstr(b.log.text, "cache.k overlaps cache.v") != NULL);
    b.log.errors = 0;
    sxt_dense_finish(&b);
}

Test(overlap, shifts_and_copies_keep_to_their_half_of_woven_pages) {
    sxt_dense b;
    sxt_dense_init(&b, 3);
    sxt_tensor memory = sxt_dense_make(&b, SXT_TYPE_F16, PAGES, 2 * PAGE_ROWS, PAGE_HEADS, PAGE_D),
               before = sxt_dense_copy(&b, &memory);
    sxt_tensor keys = half_of_pages(memory, 0), values = half_of_pages(memory, ONE);
    sxt_tensor deltas = sxt_dense_make(&b, SXT_TYPE_I32, 1, PAGES, 1, PAGE_ROWS);
    sxt_dense_fill(&deltas, 3);
    cr_assert_eq(sxt_kv_shift(b.stream, &(sxt_kv_shift_desc){.k = keys, .deltas = deltas}), SXT_OK, "%s", b.log.text);
    uint32_t turned = 0; // in f16 a small angle changes not every channel
    for (uint64_t i = 0; i < 2 * ONE * PAGES; i++) {
        const bool changed = sxt_dense_get(&memory, i) != sxt_dense_get(&before, i);
        cr_assert(!changed || i / ONE % 2 == 0, "element %u", (unsigned)i);
        turned += changed;
    }
    cr_assert_gt(turned, ONE * PAGES / 2);

    // Page 2 to page 0, values alone as the keys of the call.
    sxt_tensor from = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, 1), to = sxt_dense_make(&b, SXT_TYPE_I32, 1, 1, 1, 1);
    sxt_dense_fill(&from, 2), sxt_dense_fill(&to, 0);
    sxt_tensor shifted = sxt_dense_copy(&b, &memory);
    sxt_kv_copy_desc copy = {.k_from = values, .k_to = values, .from = from, .to = to, .pages = true};
    cr_assert_eq(sxt_kv_copy(b.stream, &copy), SXT_OK, "%s", b.log.text);
    for (uint64_t i = 0; i < 2 * ONE * PAGES; i++)
        cr_assert_eq(sxt_dense_get(&memory, i), sxt_dense_get(&shifted, i >= ONE && i < 2 * ONE ? i + 4 * ONE : i));
    copy = (sxt_kv_copy_desc){.k_from = keys, .k_to = keys, .v_from = values, .v_to = values, .from = from, .to = to};
    cr_assert_eq(sxt_kv_copy(b.stream, &copy), SXT_OK, "%s", b.log.text);
    copy.v_from = keys;
    cr_assert_eq(sxt_kv_copy(b.stream, &copy), SXT_ERROR_INVALID, "k_to is v_from");
    b.log.errors = 0;
    sxt_dense_finish(&b);
}

// ── Against the bytes themselves ──

enum { BYTES = 4096 };

// Adds the view's elements to `touched`, byte by byte. Returns whether two of them share one.
static bool touch(const sxt_tensor *t, uint8_t *touched) {
    bool twice = false;
    uint32_t size = sxt_type_size(t->type);
    for (uint64_t i = 0; i < sxt_tensor_count(t); i++) {
        uint64_t rest = i, at = t->offset_bytes;
        for (int dim = 3; dim >= 0; dim--) {
            at += rest % t->shape[dim] * t->strides[dim] * size;
            rest /= t->shape[dim];
        }
        for (uint32_t byte = 0; byte < size; byte++) {
            twice = twice || touched[at + byte] != 0;
            touched[at + byte] = 1;
        }
    }
    return twice;
}

// Dims nest in a random order with random gaps, or, where `wild`, have any stride.
static sxt_tensor random_view(sxt_test_rng *rng, sxt_buffer *buffer, bool wild) {
    for (;;) {
        sxt_tensor t = {.buffer = buffer, .type = sxt_test_chance(rng, 50) ? SXT_TYPE_F32 : SXT_TYPE_F16};
        t.shape[3] = sxt_test_between(rng, 1, 5), t.strides[3] = 1;
        uint64_t next = t.shape[3];
        int order[3] = {2, 1, 0};
        order[0] = (int)sxt_test_below(rng, 3), order[1] = (order[0] + 1) % 3, order[2] = (order[0] + 2) % 3;
        for (int i = 0; i < 3; i++) {
            t.shape[order[i]] = sxt_test_between(rng, 1, 4);
            t.strides[order[i]] = wild ? sxt_test_below(rng, 40) : next + SXT_TEST_PICK(rng, uint32_t, 0, 0, 1, 5, 12);
            next = t.shape[order[i]] * t.strides[order[i]];
        }
        t.offset_bytes = (uint64_t)sxt_test_below(rng, 128) * sxt_type_size(t.type);
        if (t.offset_bytes + sxt_tensor_extent(&t) <= BYTES) return t;
    }
}

static bool touch_each_other(const sxt_tensor *a, const sxt_tensor *b) {
    uint8_t of_a[BYTES] = {0}, of_b[BYTES] = {0};
    touch(a, of_a);
    touch(b, of_b);
    for (int i = 0; i < BYTES; i++)
        if (of_a[i] && of_b[i]) return true;
    return false;
}

Test(overlap, views_that_share_a_byte_are_never_called_disjoint) {
    sxt_dense b;
    sxt_dense_init(&b, sxt_test_first_seed());
    sxt_tensor memory = sxt_dense_make(&b, SXT_TYPE_F16, 1, 1, 1, BYTES / 2);
    uint32_t shared = 0, apart = 0, refused = 0;
    for (uint32_t i = 0; i < sxt_test_cases(20000); i++) {
        sxt_tensor x = random_view(&b.rng, memory.buffer, i % 4 == 0), y = random_view(&b.rng, memory.buffer, false);
        if (sxt_test_chance(&b.rng, 50)) { // the same strides elsewhere, as in packed tensors
            y = x;
            y.offset_bytes += (uint64_t)sxt_test_below(&b.rng, 64) * 4;
            if (y.offset_bytes + sxt_tensor_extent(&y) > BYTES) continue;
        }
        bool accepted = sxt_tensor_check_alias(b.device, "test", "x", &x, "y", &y, false) == SXT_OK;
        if (touch_each_other(&x, &y)) {
            shared++;
            cr_assert(!accepted, "case %u", i);
        } else {
            apart++;
            refused += !accepted;
        }
    }
    b.log.errors = 0;
    // Both kinds are seen, and what is refused without need (views woven by several strides) is the exception.
    cr_assert(shared > apart / 20 && apart > shared / 20, "%u share bytes, %u do not", shared, apart);
    cr_assert_lt(refused, apart / 5, "%u of %u disjoint pairs were refused", refused, apart);
    sxt_dense_finish(&b);
}

Test(overlap, an_output_on_itself_is_never_accepted) {
    sxt_dense b;
    sxt_dense_init(&b, sxt_test_first_seed());
    sxt_tensor memory = sxt_dense_make(&b, SXT_TYPE_F16, 1, 1, 1, BYTES / 2);
    for (uint32_t i = 0; i < sxt_test_cases(20000); i++) {
        sxt_tensor x = random_view(&b.rng, memory.buffer, i % 2 == 0);
        uint8_t touched[BYTES] = {0};
        bool twice = touch(&x, touched), accepted = sxt_tensor_check_output(b.device, "test", "x", &x) == SXT_OK;
        cr_assert(!(twice && accepted), "case %u overlaps itself", i);
        cr_assert(accepted || i % 2 == 0, "case %u nests, and was refused", i);
    }
    b.log.errors = 0;
    sxt_dense_finish(&b);
}
