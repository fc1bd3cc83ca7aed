// The work of standard cases: one maker an operation, on random data.
#include "bench.h"

#include "number.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>

// ── Slots ──

// Random data: a stretch of odd length (a prime number of blocks), repeated, so that no two rows are the same.
static void *make_noise(sxt_type type, uint64_t count) {
    enum { PERIOD = 2039 * 32 };
    uint64_t period_bytes = sxt_number_bytes(type, PERIOD), bytes = sxt_number_bytes(type, count);
    char *data = malloc(bytes + period_bytes);
    if (!data) return NULL;
    sxt_random random = sxt_random_seed(count, (uint64_t)type);
    for (uint64_t i = 0; i < PERIOD && i < count; i += 32) {
        float values[32];
        for (int j = 0; j < 32; j++)
            values[j] = (float)sxt_random_normal(&random);
        uint32_t here = count - i < 32 ? (uint32_t)(count - i) : 32;
        sxt_number_convert(type, data + sxt_number_bytes(type, i), here, values);
    }
    for (uint64_t at = period_bytes; at < bytes; at += period_bytes)
        memcpy(data + at, data, period_bytes);
    return data;
}

static int add_input(sxt_work *work, const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads,
                     uint32_t channels) {
    int slot = sxt_work_slot(work, name, type, (uint32_t[4]){batch, tokens, heads, channels}, NULL);
    work->slots[slot].owned = make_noise(type, sxt_slot_count(&work->slots[slot]));
    work->slots[slot].initial = work->slots[slot].owned;
    return slot;
}

static int add_output(sxt_work *work, const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads,
                      uint32_t channels) {
    return sxt_work_slot(work, name, type, (uint32_t[4]){batch, tokens, heads, channels}, NULL);
}

// Whole numbers: `shape` of them, the i-th of the last dim being first + i·step.
static int add_numbers(sxt_work *work, const char *name, const uint32_t shape[4], int32_t first, int32_t step) {
    int slot = sxt_work_slot(work, name, SXT_TYPE_I32, shape, NULL);
    uint64_t count = sxt_slot_count(&work->slots[slot]);
    int32_t *numbers = malloc(count * sizeof *numbers);
    for (uint64_t i = 0; numbers && i < count; i++)
        numbers[i] = first + (int32_t)(i % shape[3]) * step;
    work->slots[slot].owned = numbers;
    work->slots[slot].initial = numbers;
    return slot;
}

static int add_positions(sxt_work *work, const sxt_bench_case *c) {
    uint32_t planes = c->rope.multi == SXT_ROPE_SINGLE ? 1 : 3;
    return add_numbers(work, "positions", (uint32_t[4]){planes, 1, 1, c->tokens}, 0, 1);
}

static sxt_type cache_type(const sxt_bench_case *c) {
    return c->kv_type == SXT_TYPE_F32 ? SXT_TYPE_F16 : c->kv_type;
}

// ── By operation ──

void sxt_bench_norm(const sxt_bench_case *c, sxt_work *work) {
    int x = add_input(work, "x", c->type, 1, c->tokens, 1, c->channels);
    int y = add_output(work, "y", c->type, 1, c->tokens, 1, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_NORM);
    stage->desc.norm = (sxt_norm_desc){.kind = c->norm, .eps = 1e-6f, .offset = c->bias ? 1 : 0};
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "y", y);
    if (c->norm != SXT_NORM_L2)
        sxt_stage_bind(stage, "weight", add_input(work, "weight", SXT_TYPE_F32, 1, 1, 1, c->channels));
    if (c->bias) sxt_stage_bind(stage, "bias", add_input(work, "bias", SXT_TYPE_F32, 1, 1, 1, c->channels));
    if (!c->residual) return;
    sxt_stage_bind(stage, "residual", add_input(work, "residual", c->type, 1, c->tokens, 1, c->channels));
    sxt_stage_bind(stage, "residual_out", add_output(work, "residual_out", c->type, 1, c->tokens, 1, c->channels));
}

void sxt_bench_rope(const sxt_bench_case *c, sxt_work *work) {
    int x = add_input(work, "x", c->type, 1, c->tokens, c->heads, c->channels);
    int y = add_output(work, "y", c->type, 1, c->tokens, c->heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_ROPE);
    stage->desc.rope.rope = c->rope;
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "positions", add_positions(work, c));
    sxt_stage_bind(stage, "y", y);
}

// Caches of a thousand rows, or as many in pages that lie in no order.
static void add_cache(const sxt_bench_case *c, sxt_work *work, sxt_stage *stage) {
    enum { ROWS = 1024, ODD = 29 };
    uint32_t rows = c->page_size ? c->page_size : ROWS, pages = ROWS / rows;
    sxt_stage_bind(stage, "k_cache", add_output(work, "k_cache", cache_type(c), pages, rows, c->kv_heads, c->channels));
    sxt_stage_bind(stage, "v_cache", add_output(work, "v_cache", cache_type(c), pages, rows, c->kv_heads, c->channels));
    if (!c->page_size) return;
    int table = add_numbers(work, "block_table", (uint32_t[4]){1, 1, 1, pages}, 0, ODD);
    for (uint32_t i = 0; work->slots[table].owned && i < pages; i++)
        ((int32_t *)work->slots[table].owned)[i] %= (int32_t)pages;
    sxt_stage_bind(stage, "block_table", table);
}

void sxt_bench_qk_norm_rope(const sxt_bench_case *c, sxt_work *work) {
    int q = add_input(work, "q", c->type, 1, c->tokens, c->heads, c->channels);
    int k = add_input(work, "k", c->type, 1, c->tokens, c->kv_heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){.norm = SXT_NORM_RMS, .eps = 1e-6f, .rope = c->rope};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "q_weight", add_input(work, "q_weight", SXT_TYPE_F32, 1, 1, 1, c->channels));
    sxt_stage_bind(stage, "k_weight", add_input(work, "k_weight", SXT_TYPE_F32, 1, 1, 1, c->channels));
    sxt_stage_bind(stage, "positions", add_positions(work, c));
    sxt_stage_bind(stage, "q_out", add_output(work, "q_out", c->type, 1, c->tokens, c->heads, c->channels));
    if (!c->cached) {
        sxt_stage_bind(stage, "k_out", add_output(work, "k_out", c->type, 1, c->tokens, c->kv_heads, c->channels));
        return;
    }
    sxt_stage_bind(stage, "v", add_input(work, "v", c->type, 1, c->tokens, c->kv_heads, c->channels));
    add_cache(c, work, stage);
}

void sxt_bench_kv_write(const sxt_bench_case *c, sxt_work *work) {
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_KV_WRITE);
    sxt_stage_bind(stage, "k", add_input(work, "k", c->type, 1, c->tokens, c->kv_heads, c->channels));
    sxt_stage_bind(stage, "v", add_input(work, "v", c->type, 1, c->tokens, c->kv_heads, c->channels));
    add_cache(c, work, stage);
}

void sxt_bench_kv_shift(const sxt_bench_case *c, sxt_work *work) {
    enum { DROPPED = 512 };
    int k = add_input(work, "k_cache", cache_type(c), 1, c->tokens, c->kv_heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_KV_SHIFT);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "deltas", add_numbers(work, "deltas", (uint32_t[4]){1, 1, 1, c->tokens}, -DROPPED, 0));
}

// Compaction: every other row of the upper half moves into a hole of the lower half.
void sxt_bench_kv_copy(const sxt_bench_case *c, sxt_work *work) {
    uint32_t rows = 4 * c->tokens, shape[4] = {1, 1, 1, c->tokens};
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_KV_COPY);
    int k = add_input(work, "k_cache", cache_type(c), 1, rows, c->kv_heads, c->channels);
    int v = add_input(work, "v_cache", cache_type(c), 1, rows, c->kv_heads, c->channels);
    sxt_stage_bind(stage, "k_from", k);
    sxt_stage_bind(stage, "k_to", k);
    sxt_stage_bind(stage, "v_from", v);
    sxt_stage_bind(stage, "v_to", v);
    sxt_stage_bind(stage, "from", add_numbers(work, "from", shape, (int32_t)rows / 2 + 1, 2));
    sxt_stage_bind(stage, "to", add_numbers(work, "to", shape, 0, 2));
}

// ── Attention ──

// `head` rows of `count` numbers, to be filled.
static int32_t *add_table(sxt_work *work, sxt_stage *stage, const char *name, uint32_t head, uint32_t count) {
    int slot = add_numbers(work, name, (uint32_t[4]){1, 1, head, count}, 0, 0);
    sxt_stage_bind(stage, name, slot);
    return work->slots[slot].owned;
}

static void add_lengths(const sxt_bench_case *c, sxt_work *work, sxt_stage *stage, uint32_t batch) {
    int32_t *lengths = add_table(work, stage, "kv_lengths", 1, batch);
    for (uint32_t b = 0; lengths && b < batch; b++)
        lengths[b] = (int32_t)(c->lengths == SXT_LENGTHS_HALVED ? c->keys >> b : c->keys);
}

// Each sequence's pages lie far from each other, between those of all others.
static void add_pages(const sxt_bench_case *c, sxt_work *work, sxt_stage *stage, uint32_t batch) {
    enum { ODD = 29 };
    uint32_t pages = c->keys / c->page_size, all = pages * batch;
    int32_t *table = add_table(work, stage, "block_table", batch, pages);
    for (uint32_t i = 0; table && i < all; i++)
        table[i] = (int32_t)((uint64_t)i * ODD % all);
}

// Half, a quarter, an eighth, … of all tokens; the last sequence has the rest.
static void add_ragged(const sxt_bench_case *c, sxt_work *work, sxt_stage *stage) {
    static const char *const names[] = {"cu_seqlens_q", "cu_seqlens_k"};
    for (int side = 0; side < 2; side++) {
        int32_t *offsets = add_table(work, stage, names[side], 1, c->batch + 1);
        for (uint32_t b = 0, at = 0; offsets && b <= c->batch; b++) {
            offsets[b] = (int32_t)(b == c->batch ? c->tokens : at);
            at += (c->tokens - at) / 2;
        }
    }
    stage->desc.attention.max_q_tokens = stage->desc.attention.max_k_tokens = c->tokens / 2;
}

static bool keeps(const sxt_bench_case *c, uint32_t i, uint32_t j) {
    uint32_t context = c->keys - c->tokens;
    if (c->mask == SXT_BENCH_DOCUMENTS) return j <= i && j / (c->keys / 4) == i / (c->keys / 4);
    if (j < context) return true;
    for (j -= context; i > j;)
        i = (i - 1) / 2;
    return i == j;
}

static void add_mask(const sxt_bench_case *c, sxt_work *work, sxt_stage *stage) {
    uint32_t words = (c->keys + 31) / 32;
    int slot = add_numbers(work, "mask", (uint32_t[4]){1, 1, c->tokens, words}, 0, 0);
    uint32_t *bits = work->slots[slot].owned;
    sxt_stage_bind(stage, "mask", slot);
    for (uint32_t i = 0; bits && i < c->tokens; i++) {
        for (uint32_t j = 0; j < c->keys; j++)
            bits[i * words + j / 32] |= (uint32_t)keeps(c, i, j) << j % 32;
    }
}

static int add_values(const sxt_bench_case *c, sxt_work *work, int k) {
    const uint32_t *shape = work->slots[k].shape;
    if (!c->v_dim) return add_input(work, "v", cache_type(c), shape[0], shape[1], shape[2], shape[3]);
    int v = sxt_work_slot(work, "v", cache_type(c), (uint32_t[4]){shape[0], shape[1], shape[2], c->v_dim}, NULL);
    work->slots[v].part_of = k;
    return v;
}

void sxt_bench_attention(const sxt_bench_case *c, sxt_work *work) {
    work->heads_first = true; // as the peer is timed
    bool ragged = c->lengths == SXT_LENGTHS_RAGGED;
    uint32_t batch = c->batch && !ragged ? c->batch : 1, v_dim = c->v_dim ? c->v_dim : c->channels;
    uint32_t k_batch = c->page_size ? batch * (c->keys / c->page_size) : batch;
    int q = add_input(work, "q", c->type, batch, c->tokens, c->heads, c->channels);
    int k =
        add_input(work, "k", cache_type(c), k_batch, c->page_size ? c->page_size : c->keys, c->kv_heads, c->channels);
    int v = add_values(c, work, k);
    int o = add_output(work, "o", c->type, batch, c->tokens, c->heads, v_dim);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_ATTENTION);
    stage->desc.attention = (sxt_attention_desc){.causal = c->causal,
                                                 .logit_bound = c->logit_bound,
                                                 .windowed = c->window > 0,
                                                 .window_left = c->window ? (int32_t)c->window - 1 : 0,
                                                 .window_right = -1};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "o", o);
    if (ragged) add_ragged(c, work, stage);
    if (c->page_size || c->lengths == SXT_LENGTHS_HALVED) add_lengths(c, work, stage, batch);
    if (c->page_size) add_pages(c, work, stage, batch);
    if (c->mask != SXT_BENCH_NO_MASK) add_mask(c, work, stage);
    if (c->sinks) sxt_stage_bind(stage, "sinks", add_input(work, "sinks", SXT_TYPE_F32, 1, 1, 1, c->heads));
}

// ── All ──

static bool complete(sxt_work *work) {
    for (int i = 0; i < work->slot_count; i++) {
        if (work->slots[i].owned || work->slots[i].part_of != SXT_NO_SLOT || sxt_work_writes(work, i)) continue;
        sxt_work_finish(work);
        return false;
    }
    return true;
}

bool sxt_bench_make(const sxt_bench_case *from, sxt_work *out_work) {
    *out_work = (sxt_work){0};
    from->make(from, out_work);
    return complete(out_work);
}

bool sxt_bench_make_copy(uint64_t bytes, sxt_work *out_work) {
    enum { HEADS = 8, CHANNELS = 128 };
    uint32_t tokens = (uint32_t)(bytes / sizeof(float) / HEADS / CHANNELS);
    *out_work = (sxt_work){0};
    int from = add_input(out_work, "from", SXT_TYPE_F32, 1, tokens, HEADS, CHANNELS);
    int to = add_output(out_work, "to", SXT_TYPE_F32, 1, tokens, HEADS, CHANNELS);
    sxt_stage *stage = sxt_work_stage(out_work, SXT_OP_KV_WRITE);
    sxt_stage_bind(stage, "k", from);
    sxt_stage_bind(stage, "k_cache", to);
    return complete(out_work);
}
