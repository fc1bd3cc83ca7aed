// Random cases of attention: forms are the rows of a covering array, see attention_options.h.
#include "attention_options.h"
#include "check.h"
#include "maker.h"
#include "number.h"
#include "sequences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEQUENCES = 4, LEAST_LONG = 1000 };

typedef struct plan {
    int8_t option[SXT_COVER_OPTIONS];
    uint32_t sequences, heads, kv_heads, d, dv;
    uint32_t tq, tk; // the longest
    uint32_t page_rows;
} plan;

static bool is(const plan *p, sxt_attention_option option, int value) {
    return p->option[option] == value;
}

static bool has_cu_q(const plan *p) {
    return p->option[SXT_OPTION_SEQUENCES] >= SXT_SEQUENCES_CU_Q;
}

static bool is_paged(const plan *p) {
    return is(p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_PAGED) || is(p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_CU_Q_PAGED);
}

static bool has_lengths(const plan *p) {
    return is_paged(p) || is(p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_LENGTHS) ||
           is(p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_CU_Q_LENGTHS);
}

// ── Dims ──

// A multiple of 4 and not of 32 in [low, high].
static uint32_t draw_quad(sxt_random *form, uint32_t low, uint32_t high) {
    uint32_t quad;
    do {
        quad = 4 * sxt_random_range(form, low / 4, high / 4);
    } while (quad % 32 == 0);
    return quad;
}

static void draw_dims(sxt_random *form, plan *p) {
    static const uint32_t fixed[] = {64, 128, 256, 576}, blocks[] = {32, 96, 160, 192, 320, 512};
    // A part of k, narrower than it and of either kind, needs some room.
    bool part = is(p, SXT_OPTION_V_TYPE, SXT_V_IN_K);
    int dim = p->option[SXT_OPTION_DIM];
    p->d = dim == SXT_DIM_BLOCKS ? sxt_draw_one_of(form, blocks + part, 6 - (uint32_t)part)
           : dim == SXT_DIM_QUAD ? draw_quad(form, part ? 36 : 4, 252)
           : dim == SXT_DIM_WIDE ? draw_quad(form, 260, 572)
                                 : fixed[dim];
    uint32_t most = part ? p->d - 4 : 576;
    p->dv = p->d;
    while (p->dv == p->d && !is(p, SXT_OPTION_V_DIM, SXT_V_DIM_SAME)) {
        p->dv = is(p, SXT_OPTION_V_DIM, SXT_V_DIM_BLOCKS) ? 32 * sxt_random_range(form, 1, most / 32)
                                                          : draw_quad(form, 4, most < 300 ? most : 300);
    }
}

static uint32_t draw_edge(sxt_random *random, uint32_t most) {
    static const uint32_t edges[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257};
    uint32_t edge;
    do {
        edge = sxt_draw_one_of(random, edges, sizeof edges / sizeof *edges);
    } while (edge > most);
    return edge;
}

static void draw_lengths(sxt_random *random, plan *p) {
    switch (p->option[SXT_OPTION_LENGTH]) {
    case SXT_LENGTH_EMPTY:
        p->tq = sxt_random_once_in(random, 3) ? 0 : sxt_draw_size(random, 33);
        p->tk = p->tq == 0 ? sxt_draw_size(random, 65) : 0;
        break;
    case SXT_LENGTH_ONE:
        p->tq = sxt_random_once_in(random, 2) ? 1 : sxt_draw_size(random, 33);
        p->tk = 1;
        break;
    case SXT_LENGTH_DECODE:
        p->tq = sxt_random_once_in(random, 2) ? 1 : sxt_random_range(random, 1, 4);
        p->tk = sxt_draw_size(random, 900);
        break;
    case SXT_LENGTH_EDGES:
        p->tq = draw_edge(random, 129);
        p->tk = draw_edge(random, 257);
        break;
    case SXT_LENGTH_ANY:
        p->tk = sxt_draw_size(random, 600);
        p->tq = sxt_random_once_in(random, 3) ? p->tk : sxt_draw_size(random, 600);
        break;
    case SXT_LENGTH_LONG:
        p->tq = sxt_random_range(random, 1, 3);
        p->tk = sxt_random_range(random, LEAST_LONG, 3000);
        break;
    }
}

// The reference does this many products; some millions take it a few milliseconds.
static void shrink(sxt_random *random, plan *p) {
    bool is_long = is(p, SXT_OPTION_LENGTH, SXT_LENGTH_LONG);
    double most = is_long ? 2e7 : 5e6;
    for (;;) {
        double work = (double)p->sequences * p->tq * p->tk * p->heads * (p->d + p->dv);
        if (work <= most) return;
        if (p->kv_heads > 1)
            p->heads /= p->kv_heads, p->kv_heads = 1;
        else if (p->sequences > 1)
            p->sequences--;
        else if (p->tq > 1)
            p->tq = is(p, SXT_OPTION_LENGTH, SXT_LENGTH_EDGES) ? draw_edge(random, p->tq - 1) : p->tq * 2 / 3;
        else if (!is_long)
            p->tk = p->tk * 2 / 3;
        else if (p->tk > LEAST_LONG)
            p->tk = LEAST_LONG;
        else
            return;
    }
}

// Rows where all of these are off, as most callers have them, are rare.
static void thin_out(sxt_random *form, plan *p) {
    static const sxt_attention_option optional[] = {SXT_OPTION_BIAS, SXT_OPTION_BITS, SXT_OPTION_ALIBI,
                                                    SXT_OPTION_SINKS, SXT_OPTION_SOFTCAP};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        if (!sxt_random_once_in(form, 4)) p->option[optional[i]] = 0;
    }
}

static plan draw_plan(sxt_maker *m) {
    static const uint32_t some[] = {3, 4, 4, 5, 7, 8, 8}, many[] = {12, 16, 16, 20, 32}, kv_heads[] = {1, 1, 2, 3},
                          page_rows[] = {1, 2, 3, 7, 16, 16, 31, 32, 64, 128, 256};
    const sxt_cover *cover = sxt_attention_cover();
    plan p = {.sequences = 1};
    memcpy(p.option, cover->rows[m->number % (uint32_t)cover->row_count].value, sizeof p.option);
    if (m->thin) thin_out(m->form, &p);
    uint32_t group = is(&p, SXT_OPTION_GROUP, SXT_GROUP_1)   ? 1
                     : is(&p, SXT_OPTION_GROUP, SXT_GROUP_2) ? 2
                     : is(&p, SXT_OPTION_GROUP, SXT_GROUP_SOME)
                         ? sxt_draw_one_of(m->form, some, sizeof some / sizeof *some)
                         : sxt_draw_one_of(m->form, many, sizeof many / sizeof *many);
    draw_dims(m->form, &p);
    p.kv_heads = sxt_draw_one_of(m->random, kv_heads, 4);
    p.heads = p.kv_heads * group;
    p.sequences = sxt_random_range(m->random, 1, is(&p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_BATCH) ? 3 : MAX_SEQUENCES);
    p.page_rows = sxt_draw_one_of(m->random, page_rows, sizeof page_rows / sizeof *page_rows);
    draw_lengths(m->random, &p);
    shrink(m->random, &p);
    return p;
}

// ── Sequences ──

// Where sequences start that have up to `longest` tokens, the first of them all. Before and after may be tokens of
// none. Returns how many there are, all in all.
static uint32_t add_offsets(sxt_maker *m, const char *name, uint32_t sequences, uint32_t longest) {
    uint32_t count = sequences + 1, at = sxt_random_once_in(m->random, 4) ? sxt_random_range(m->random, 1, 3) : 0;
    sxt_array *offsets = sxt_make_tensor(m, name, SXT_DTYPE_I32, 1, &count);
    for (uint32_t n = 0; offsets && n <= sequences; n++) {
        sxt_make_element(offsets, n, at);
        if (n < sequences) at += n == 0 ? longest : sxt_random_range(m->random, 0, longest);
    }
    // A last offset past the end is as good as the end; a falling one makes the last sequence empty.
    uint32_t beyond = sxt_random_range(m->random, 0, 15), last = beyond == 0 ? at + 9 : 0;
    if (offsets && sequences > 1 && beyond < 2) sxt_make_element(offsets, sequences, last);
    return at + (beyond == 2 ? 3 : 0);
}

static void add_lengths(sxt_maker *m, const plan *p) {
    sxt_array *lengths = sxt_make_tensor(m, "kv_lengths", SXT_DTYPE_I32, 1, &p->sequences);
    for (uint32_t n = 0; lengths && n < p->sequences; n++) {
        double length = n == 0 ? p->tk : sxt_random_range(m->random, 0, p->tk);
        if (sxt_random_once_in(m->random, 24)) length = sxt_random_once_in(m->random, 2) ? -5 : 2147483647.0;
        sxt_make_element(lengths, n, length);
    }
}

// Pages in no order; in some cases some are missing. Returns how many there are.
static uint32_t add_table(sxt_maker *m, const plan *p) {
    uint32_t pages = (p->tk + p->page_rows - 1) / p->page_rows + sxt_random_range(m->random, 0, 2);
    uint32_t shared = sxt_random_once_in(m->random, 6), shape[2] = {p->sequences, pages ? pages : 1};
    uint32_t count = p->sequences * shape[1] + sxt_random_range(m->random, 0, 2);
    bool holes = sxt_random_once_in(m->random, 4);
    sxt_scramble order = sxt_draw_scramble(m->random, count);
    sxt_array *table = sxt_make_tensor(m, "block_table", SXT_DTYPE_I32, 2 - shared, shape + shared);
    for (uint64_t i = 0; table && i < table->count; i++) {
        double page = sxt_scrambled(&order, i);
        sxt_make_element(table, i, holes ? sxt_draw_or_nowhere(m->random, page, count) : page);
    }
    return count;
}

// ── Tensors ──

// Keys or values in their type: numbers, or bytes of codes.
static void add_stored(sxt_maker *m, const char *name, int type_index, const uint32_t *shape, uint32_t rank,
                       double mean) {
    static const sxt_dtype dtypes[] = {
        [SXT_TYPE_F32] = SXT_DTYPE_F32, [SXT_TYPE_F16] = SXT_DTYPE_F16, [SXT_TYPE_BF16] = SXT_DTYPE_BF16};
    sxt_type type = sxt_attention_kv_types[type_index];
    char key[16], scale_name[16];
    if (type_index < 3) {
        sxt_make_normal(m, name, dtypes[type], rank, shape, mean, 1);
        return;
    }
    snprintf(key, sizeof key, "%s_type", name);
    snprintf(scale_name, sizeof scale_name, "%s_scale", name);
    sxt_make_key(m, key, "%s", sxt_type_name(type));
    const uint32_t heads = shape[rank - 2], channels = shape[rank - 1];
    if (type == SXT_TYPE_FP8_E4M3 && sxt_random_once_in(m->form, 2)) sxt_make_scale(m, scale_name, heads);
    uint32_t bytes[4];
    memcpy(bytes, shape, rank * sizeof *bytes);
    bytes[rank - 1] = (uint32_t)sxt_number_bytes(type, channels);
    sxt_array *array = sxt_make_tensor(m, name, SXT_DTYPE_U8, rank, bytes);
    const sxt_array *scale = sxt_bundle_array(m->bundle, scale_name);
    array = (sxt_array *)(uintptr_t)sxt_bundle_array(m->bundle, name);
    float values[576];
    for (uint64_t row = 0; array && row < array->count / bytes[rank - 1]; row++) {
        float divisor = scale ? ((const float *)scale->data)[scale->count == 1 ? 0 : row % heads] : 1;
        for (uint32_t c = 0; c < channels; c++)
            values[c] = (float)(mean + sxt_random_normal(m->random)) / divisor;
        sxt_number_convert(type, (char *)array->data + row * bytes[rank - 1], channels, values);
    }
}

// q, k and v, and what says where their sequences are.
static void add_heads(sxt_maker *m, const plan *p) {
    static const sxt_dtype dtypes[] = {SXT_DTYPE_F32, SXT_DTYPE_F16, SXT_DTYPE_BF16};
    uint32_t q[4] = {p->sequences, p->tq, p->heads, p->d}, k[4] = {p->sequences, p->tk, p->kv_heads, p->d};
    bool part = is(p, SXT_OPTION_V_TYPE, SXT_V_IN_K);
    if (has_cu_q(p)) q[0] = 1, q[1] = add_offsets(m, "cu_seqlens_q", p->sequences, p->tq);
    if (is(p, SXT_OPTION_SEQUENCES, SXT_SEQUENCES_CU_BOTH))
        k[0] = 1, k[1] = add_offsets(m, "cu_seqlens_k", p->sequences, p->tk);
    if (has_lengths(p)) add_lengths(m, p);
    if (is_paged(p)) k[0] = add_table(m, p), k[1] = p->page_rows;
    uint32_t skip = q[0] == 1 && k[0] == 1 && !is_paged(p) && sxt_random_once_in(m->random, 2);
    uint32_t v[4] = {k[0], k[1], k[2], p->dv};
    sxt_make_normal(m, "q", dtypes[p->option[SXT_OPTION_Q_TYPE]], 4 - skip, q + skip, 0, 1.5);
    // Values around 0 would cancel in o, whose relative error then says nothing.
    add_stored(m, "k", p->option[SXT_OPTION_K_TYPE], k + skip, 4 - skip, part ? 0.2 : 0);
    if (part)
        sxt_make_key(m, "v_dim", "%u", p->dv);
    else
        add_stored(m, "v", p->option[SXT_OPTION_V_TYPE], v + skip, 4 - skip, 0.2);
}

// ── By query and key ──

// [batch|1, heads|1, Tq, `keys`]
static void draw_pair_shape(sxt_maker *m, const sxt_sequences *s, bool broadcast, uint32_t keys, uint32_t shape[4]) {
    bool one_batch = s->q->shape[2] == 1 || sxt_random_once_in(m->random, 2);
    bool one_head = s->count == 1 || !one_batch || sxt_random_once_in(m->random, 2);
    shape[0] = broadcast && one_batch ? 1 : s->count;
    shape[1] = broadcast && one_head ? 1 : s->q->shape[2];
    shape[2] = s->max_q;
    shape[3] = keys;
}

static void add_bias(sxt_maker *m, const plan *p, const sxt_sequences *s) {
    uint32_t shape[4];
    int kind = p->option[SXT_OPTION_BIAS];
    bool half = kind == SXT_BIAS_F16 || (kind == SXT_BIAS_BROADCAST && sxt_random_once_in(m->form, 2));
    if (kind == SXT_BIAS_NONE) return;
    draw_pair_shape(m, s, kind == SXT_BIAS_BROADCAST, s->max_k, shape);
    sxt_make_normal(m, "bias", half ? SXT_DTYPE_F16 : SXT_DTYPE_F32, 4, shape, 0, 1);
    // As a mask, the way ggml has them. Each row keeps key 0, if it sees any.
    bool keeps_first = p->option[SXT_OPTION_MASK] <= SXT_MASK_CAUSAL && is(p, SXT_OPTION_BITS, SXT_BITS_NONE);
    if (!keeps_first || is_paged(p) || !sxt_random_once_in(m->random, 3)) return;
    sxt_array *bias = (sxt_array *)(uintptr_t)sxt_bundle_array(m->bundle, "bias");
    for (uint64_t i = 0; bias && i < bias->count; i++) {
        if (i % shape[3] > 0 && sxt_random_once_in(m->random, 3)) sxt_make_element(bias, i, -INFINITY);
    }
}

// Three keys in four, all of them random or within a stretch; as bytes, or as words with whatever past the last key.
static void add_mask(sxt_maker *m, const plan *p, const sxt_sequences *s) {
    uint32_t shape[4], keys = s->max_k;
    bool bytes = sxt_random_once_in(m->random, 2), stretches = sxt_random_once_in(m->random, 2);
    if (is(p, SXT_OPTION_BITS, SXT_BITS_NONE)) return;
    draw_pair_shape(m, s, is(p, SXT_OPTION_BITS, SXT_BITS_BROADCAST), bytes ? keys : (keys + 31) / 32, shape);
    sxt_array *mask = sxt_make_tensor(m, "mask", bytes ? SXT_DTYPE_U8 : SXT_DTYPE_I32, 4, shape);
    uint64_t rows = (uint64_t)shape[0] * shape[1] * shape[2];
    for (uint64_t row = 0; mask && row < rows; row++) {
        uint32_t first = 0, end = keys;
        if (stretches) end = sxt_random_range(m->random, 0, keys), first = sxt_random_range(m->random, 0, end);
        for (uint32_t j = 0; bytes && j < keys; j++)
            ((uint8_t *)mask->data)[row * keys + j] = j >= first && j < end && sxt_random_bits(m->random) % 4 != 0;
        for (uint32_t word = 0; !bytes && word < shape[3]; word++) {
            uint32_t bits = sxt_random_bits(m->random) | sxt_random_bits(m->random);
            for (uint32_t j = word * 32; j < word * 32 + 32 && j < keys; j++)
                bits &= ~((uint32_t)(j < first || j >= end) << j % 32);
            ((uint32_t *)mask->data)[row * shape[3] + word] = bits;
        }
    }
}

// ── What needs to know who sees whom ──

// Tokens of k and v that no sequence has become NaN.
static void spoil_unused(const sxt_sequences *s, const sxt_slot *slot) {
    bool *used = sxt_sequences_used(s);
    uint64_t rows = (uint64_t)slot->shape[0] * slot->shape[1];
    uint64_t row_bytes = sxt_number_bytes(slot->type, (uint64_t)slot->shape[2] * slot->shape[3]);
    for (uint64_t row = 0; used && row < rows; row++) {
        if (!used[row]) memset((char *)(uintptr_t)slot->initial + row * row_bytes, 0xff, row_bytes);
    }
    free(used);
}

// The largest |q·k| of a key that a query sees.
static double find_largest(const sxt_sequences *s, const float *queries, const float *keys) {
    uint32_t d = s->q->shape[3], hq = s->q->shape[2], hk = s->k->shape[2];
    double largest = 0;
    for (uint32_t n = 0; n < s->count; n++) {
        sxt_sequence one = sxt_sequences_at(s, n);
        for (uint64_t row = 0; row < (uint64_t)one.queries * hq; row++) {
            uint32_t first, end, i = (uint32_t)(row / hq), head = (uint32_t)(row % hq);
            const float *query = queries + (one.first_q * hq + row) * d;
            sxt_sequence_range(s, &one, i, &first, &end);
            for (uint32_t j = first; j < end; j++) {
                if (!sxt_sequence_sees(s, &one, head, i, j)) continue;
                const float *key = keys + ((uint64_t)sxt_sequence_row(s, &one, j) * hk + head / (hq / hk)) * d;
                double product = 0;
                for (uint32_t c = 0; c < d; c++)
                    product += (double)query[c] * (double)key[c];
                largest = fmax(largest, fabs(product));
            }
        }
    }
    return largest;
}

// As tight as rounding lets it be.
static void add_bound(sxt_maker *m, const sxt_work *work, const sxt_sequences *s) {
    void *data[SXT_MAX_SLOTS];
    for (int i = 0; i < SXT_MAX_SLOTS; i++)
        data[i] = (void *)(uintptr_t)work->slots[i].initial;
    const sxt_stage *stage = &work->stages[0];
    float *queries = sxt_data_decode(work, sxt_stage_slot(stage, "q"), data),
          *keys = sxt_data_decode(work, sxt_stage_slot(stage, "k"), data);
    double scale = s->desc->scale != 0 ? fabs((double)s->desc->scale) : 1 / sqrt(s->q->shape[3]);
    double bound = queries && keys ? 1.001 * scale * find_largest(s, queries, keys) : 0;
    sxt_make_key(m, "logit_bound", "%.9g", bound > 0 ? bound : 1);
    m->failed |= !queries || !keys;
    free(queries);
    free(keys);
}

// Adds what depends on all else, with the case so far made into work. `work` must not outlive a change of the bundle.
static bool begin_work(sxt_maker *m, sxt_work *work, sxt_sequences *out_sequences) {
    char error[SXT_ERROR_SIZE];
    if (m->failed || !sxt_work_from_case(m->bundle, work, error)) return false; // verify tells why
    *out_sequences = sxt_sequences_of(work, &work->stages[0]);
    return true;
}

// Where keys nearby may be masked or a sink takes all, steep slopes would leave nothing of o.
static void add_slopes(sxt_maker *m, const plan *p) {
    bool steep = is(p, SXT_OPTION_BITS, SXT_BITS_NONE) && is(p, SXT_OPTION_SINKS, SXT_OFF);
    double most = steep && sxt_random_once_in(m->random, 2) ? 0.5 : 8.0 / (p->tk + 16);
    sxt_array *slopes = sxt_make_tensor(m, "alibi_slopes", SXT_DTYPE_F32, 1, &p->heads);
    for (uint32_t h = 0; slopes && h < p->heads; h++)
        sxt_make_element(slopes, h, most * sxt_random_unit(m->random));
}

static void add_keys(sxt_maker *m, const plan *p) {
    sxt_make_key(m, "op", "attention");
    int mask = p->option[SXT_OPTION_MASK];
    if (mask == SXT_MASK_CAUSAL || mask == SXT_MASK_CAUSAL_LEFT) sxt_make_key(m, "causal", "true");
    if (mask >= SXT_MASK_LEFT) sxt_make_key(m, "window_left", "%u", sxt_random_range(m->random, 0, 130));
    if (mask == SXT_MASK_BOTH) sxt_make_key(m, "window_right", "%u", sxt_random_range(m->random, 0, 40));
    if (is(p, SXT_OPTION_SOFTCAP, SXT_ON)) sxt_make_key(m, "softcap", "%u", sxt_random_range(m->random, 5, 50));
    if (is(p, SXT_OPTION_SCALE, SXT_ON))
        sxt_make_key(m, "scale", "%.4f", (0.3 + 2 * sxt_random_unit(m->random)) / sqrt(p->d));
    if (is(p, SXT_OPTION_LSE, SXT_OFF)) sxt_make_key(m, "lse", "false");
    if (is(p, SXT_OPTION_SPLIT, SXT_ON)) sxt_make_key(m, "split_keys", "256");
    sxt_make_key(m, "out_type", "%s", sxt_maker_types[p->option[SXT_OPTION_O_TYPE]]);
    if (is(p, SXT_OPTION_LAYOUT, SXT_LAYOUT_HEADS_FIRST)) sxt_make_key(m, "heads_first", "true");
    if (is(p, SXT_OPTION_LAYOUT, SXT_LAYOUT_ODD))
        sxt_make_key(m, "layout", "%u", sxt_random_range(m->random, 1, 1000000));
    if (is(p, SXT_OPTION_SINKS, SXT_ON)) sxt_make_normal(m, "sinks", SXT_DTYPE_F32, 1, &p->heads, 0, 2);
    if (is(p, SXT_OPTION_ALIBI, SXT_ON)) add_slopes(m, p);
}

void sxt_family_attention(sxt_maker *m) {
    plan p = draw_plan(m);
    sxt_work work;
    sxt_sequences s;
    add_keys(m, &p);
    add_heads(m, &p);
    const sxt_array *q = sxt_bundle_array(m->bundle, "q");
    // Fewer queries a sequence than the longest has: the others are of none.
    if (has_cu_q(&p) && q && p.tq > 1 && sxt_random_once_in(m->random, 6))
        sxt_make_key(m, "max_q_tokens", "%u", p.tq - 1);
    if (!begin_work(m, &work, &s)) return;
    bool spoilt = sxt_random_once_in(m->random, 2);
    if (spoilt) spoil_unused(&s, s.k);
    if (spoilt && !is(&p, SXT_OPTION_V_TYPE, SXT_V_IN_K))
        spoil_unused(&s, &work.slots[sxt_stage_slot(&work.stages[0], "v")]);
    add_bias(m, &p, &s);
    add_mask(m, &p, &s);
    sxt_work_finish(&work);
    if (is(&p, SXT_OPTION_BOUND, SXT_OFF) || !begin_work(m, &work, &s)) return;
    add_bound(m, &work, &s);
    sxt_work_finish(&work);
}
