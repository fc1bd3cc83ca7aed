// One description for each way in which a kernel can be specialised, by the forms that models use. Names are
// op.form.types.size; sizes are those of common models, since plans depend on them.
#include "shaders.h"

#include <stdarg.h>
#include <string.h>

typedef struct maker {
    sxt_buffer *buffer;
    uint64_t used;
    uint32_t odd; // elements by which the next tensors stand off their alignment
    sxt_shader_visit visit;
    void *user;
    bool going;
} maker;

static const sxt_type float_types[] = {SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16};
enum { FLOAT_TYPES = sizeof float_types / sizeof float_types[0] };

static sxt_tensor place(maker *m, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads, uint32_t channels) {
    const uint32_t odd = type == SXT_TYPE_I32 ? 0 : m->odd;
    sxt_tensor tensor = {.buffer = m->buffer,
                         .offset_bytes = m->used + (uint64_t)odd * sxt_type_size(type),
                         .type = type,
                         .shape = {batch, tokens, heads, channels}};
    uint64_t elements = (uint64_t)batch * tokens * heads * channels;
    uint64_t bytes = (elements / sxt_type_block(type) + odd) * sxt_type_size(type);
    m->used += (bytes + 255) / 256 * 256;
    return tensor;
}

static void visit(maker *m, sxt_op op, const sxt_work_desc *desc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// Hands a description on, and frees its place.
static void visit(maker *m, sxt_op op, const sxt_work_desc *desc, const char *format, ...) {
    char name[SXT_SHADER_NAME];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (m->going) m->going = m->visit(m->user, name, op, desc);
    m->used = 0;
    m->odd = 0;
}

// ── norm ──

typedef struct norm_form {
    const char *name;
    sxt_norm_kind kind;
    bool weight, bias, residual, rows; // rows: weight and bias for each token, as adaLN has them
} norm_form;

static void norm(maker *m, const norm_form *form, sxt_type x, sxt_type y, sxt_type weight, uint32_t channels,
                 uint32_t tokens) {
    const bool odd = m->odd != 0;
    sxt_work_desc desc = {.norm = {.kind = form->kind, .eps = 1e-6f}};
    desc.norm.x = place(m, x, 1, tokens, 1, channels);
    desc.norm.y = place(m, y, 1, tokens, 1, channels);
    const uint32_t rows = form->rows ? tokens : 1;
    if (form->weight) desc.norm.weight = place(m, weight, 1, rows, 1, channels);
    if (form->bias) desc.norm.bias = place(m, weight, 1, rows, 1, channels);
    if (form->residual) desc.norm.residual = place(m, x, 1, tokens, 1, channels);
    if (form->residual) desc.norm.residual_out = place(m, x, 1, tokens, 1, channels);
    visit(m, SXT_OP_NORM, &desc, "norm.%s.%s-%s-%s.%ux%u%s", form->name, sxt_type_name(x), sxt_type_name(weight),
          sxt_type_name(y), channels, tokens, odd ? ".unaligned" : "");
}

static void norms(maker *m) {
    static const norm_form forms[] = {
        {"rms", SXT_NORM_RMS, true, false, false, false},
        {"layer", SXT_NORM_LAYER, true, true, false, false},
        {"l2", SXT_NORM_L2, false, false, false, false},
        {"rms+residual", SXT_NORM_RMS, true, false, true, false},
        {"layer.ada", SXT_NORM_LAYER, true, true, false, true},
    };
    static const uint32_t sizes[][2] = {{64, 16384}, {128, 16384}, {1024, 4096}, {4096, 1}, {16384, 512}, {65536, 64}};
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++)
        for (int t = 0; t < FLOAT_TYPES; t++)
            norm(m, &forms[f], float_types[t], float_types[t], SXT_TYPE_F32, 4096, 512);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int t = 0; t < 2; t++)
            norm(m, &forms[0], float_types[t], float_types[t], float_types[t], sizes[s][0], sizes[s][1]);
    norm(m, &forms[0], SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_F32, 4096, 512);
    norm(m, &forms[0], SXT_TYPE_BF16, SXT_TYPE_F32, SXT_TYPE_BF16, 4096, 512);
    for (int t = 0; t < FLOAT_TYPES; t++) {
        m->odd = 1;
        norm(m, &forms[3], float_types[t], float_types[t], float_types[t], 4096, 512);
    }
    norm(m, &forms[1], SXT_TYPE_F32, SXT_TYPE_F32, SXT_TYPE_F32, 577, 512);
}

// ── rope, qk_norm_rope ──

typedef struct rope_form {
    const char *name;
    sxt_rope_params params;
    uint32_t planes; // of positions
} rope_form;

enum { WHOLE_FORMS = 2 }; // of those below

static const rope_form rope_forms[] = {
    {"half", {.pairing = SXT_ROPE_HALF}, 1},
    {"interleaved", {.pairing = SXT_ROPE_INTERLEAVED}, 1},
    {"half.partial", {.pairing = SXT_ROPE_HALF, .rotary_dim = 64}, 1},
    {"interleaved.partial", {.pairing = SXT_ROPE_INTERLEAVED, .rotary_dim = 64, .rotary_offset = 64}, 1},
    {"half.mrope", {.pairing = SXT_ROPE_HALF, .multi = SXT_ROPE_MROPE, .sections = {16, 24, 24}}, 3},
    {"half.imrope", {.pairing = SXT_ROPE_HALF, .multi = SXT_ROPE_IMROPE, .sections = {24, 20, 20}}, 3},
    {"half.vision", {.pairing = SXT_ROPE_HALF, .multi = SXT_ROPE_VISION, .sections = {32, 32}}, 2},
    {"half.yarn", {.pairing = SXT_ROPE_HALF, .freq_scale = 0.25f, .ext_factor = 1, .original_context = 4096}, 1},
};
enum { ROPE_FORMS = sizeof rope_forms / sizeof rope_forms[0] };

static void rope(maker *m, const rope_form *form, sxt_type x, sxt_type y, uint32_t channels, uint32_t tokens,
                 bool in_place) {
    const bool odd = m->odd != 0;
    sxt_work_desc desc = {.rope = {.rope = form->params}};
    desc.rope.x = place(m, x, 1, tokens, 32, channels);
    desc.rope.y = in_place ? desc.rope.x : place(m, y, 1, tokens, 32, channels);
    desc.rope.positions = place(m, SXT_TYPE_I32, form->planes, 1, 1, tokens);
    visit(m, SXT_OP_ROPE, &desc, "rope.%s.%s-%s.d%u.t%u%s%s", form->name, sxt_type_name(x), sxt_type_name(y), channels,
          tokens, in_place ? ".in-place" : "", odd ? ".unaligned" : "");
}

static void ropes(maker *m) {
    static const uint32_t dims[] = {64, 72, 80, 96, 256};
    for (int f = 0; f < ROPE_FORMS; f++)
        for (int t = 0; t < FLOAT_TYPES; t++)
            rope(m, &rope_forms[f], float_types[t], float_types[t], 128, 512, false);
    for (int f = 0; f < WHOLE_FORMS; f++) {
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            rope(m, &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, dims[d], 512, false);
        rope(m, &rope_forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 128, 1, false);
        rope(m, &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, 128, 512, true);
        m->odd = 1;
        rope(m, &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, 128, 512, false);
    }
    rope(m, &rope_forms[2], SXT_TYPE_F16, SXT_TYPE_F16, 128, 512, true);
}

typedef struct qk_form {
    const char *name;
    sxt_norm_kind norm;
    bool weight, temperature; // temperature: one gain a head
} qk_form;

static void qk(maker *m, const qk_form *form, const rope_form *rotation, sxt_type in, sxt_type out, uint32_t channels,
               uint32_t tokens) {
    const bool odd = m->odd != 0;
    sxt_work_desc desc = {.qk_norm_rope = {.norm = form->norm, .eps = 1e-6f, .rope = rotation->params}};
    desc.qk_norm_rope.q = place(m, in, 1, tokens, 32, channels);
    desc.qk_norm_rope.k = place(m, in, 1, tokens, 8, channels);
    desc.qk_norm_rope.q_out = place(m, out, 1, tokens, 32, channels);
    desc.qk_norm_rope.k_out = place(m, out, 1, tokens, 8, channels);
    if (form->weight || form->temperature) {
        const uint32_t gains = form->temperature ? 1 : channels;
        desc.qk_norm_rope.q_weight = place(m, SXT_TYPE_F32, 1, 1, form->temperature ? 32 : 1, gains);
        desc.qk_norm_rope.k_weight = place(m, SXT_TYPE_F32, 1, 1, form->temperature ? 8 : 1, gains);
    }
    desc.qk_norm_rope.positions = place(m, SXT_TYPE_I32, rotation->planes, 1, 1, tokens);
    visit(m, SXT_OP_QK_NORM_ROPE, &desc, "qk_norm_rope.%s.%s.%s-%s.d%u.t%u%s", form->name, rotation->name,
          sxt_type_name(in), sxt_type_name(out), channels, tokens, odd ? ".unaligned" : "");
}

static void qk_norm_ropes(maker *m) {
    static const qk_form forms[] = {{"rms", SXT_NORM_RMS, true, false},
                                    {"layer", SXT_NORM_LAYER, true, false},
                                    {"l2.temp", SXT_NORM_L2, false, true},
                                    {"none", SXT_NORM_NONE, false, false}};
    enum { FORMS = sizeof forms / sizeof forms[0] };
    static const uint32_t dims[] = {64, 72, 80, 96, 256};
    for (int n = 0; n < FORMS; n++)
        for (int f = 0; f < WHOLE_FORMS; f++)
            for (int t = 0; t < FLOAT_TYPES; t++)
                qk(m, &forms[n], &rope_forms[f], float_types[t], float_types[t], 128, 512);
    for (int f = WHOLE_FORMS; f < ROPE_FORMS; f++)
        qk(m, &forms[0], &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, 128, 512);
    for (int f = 0; f < WHOLE_FORMS; f++) {
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            qk(m, &forms[0], &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, dims[d], 512);
        qk(m, &forms[0], &rope_forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 128, 1);
        m->odd = 1;
        qk(m, &forms[0], &rope_forms[f], SXT_TYPE_F16, SXT_TYPE_F16, 128, 512);
    }
}

// ── The whole step, and caches ──

static const sxt_type cache_types[] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                       SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};
enum { CACHE_TYPES = sizeof cache_types / sizeof cache_types[0], CACHE_HEADS = 8, CACHE_ROWS = 4096, PAGE_ROWS = 16 };

typedef enum cache_form { CACHE_ROW, CACHE_SLOTS, CACHE_PAGES } cache_form;

static const char *const cache_names[] = {"row", "slots", "pages"};

static sxt_kv_cache cache(maker *m, sxt_type k, sxt_type v, uint32_t channels, uint32_t tokens, cache_form form) {
    const uint32_t batch = form == CACHE_PAGES ? CACHE_ROWS / PAGE_ROWS : 1, rows = CACHE_ROWS / batch;
    sxt_kv_cache c = {
        .k = place(m, k, batch, rows, CACHE_HEADS, channels),
        .v = place(m, v, batch, rows, CACHE_HEADS, channels),
    };
    if (form != CACHE_ROW) c.slots = place(m, SXT_TYPE_I32, 1, 1, 1, tokens);
    if (form == CACHE_PAGES) c.block_table = place(m, SXT_TYPE_I32, 1, 1, 1, batch);
    if (k == SXT_TYPE_FP8_E4M3) c.k_scale = place(m, SXT_TYPE_F32, 1, 1, CACHE_HEADS, 1);
    if (v == SXT_TYPE_FP8_E4M3) c.v_scale = place(m, SXT_TYPE_F32, 1, 1, CACHE_HEADS, 1);
    return c;
}

static void step(maker *m, const rope_form *rotation, sxt_type in, sxt_type k, sxt_type v, uint32_t channels,
                 uint32_t tokens, cache_form form) {
    const bool odd = m->odd != 0;
    sxt_work_desc desc = {.qk_norm_rope = {.norm = SXT_NORM_RMS, .eps = 1e-6f, .rope = rotation->params}};
    sxt_qk_norm_rope_desc *d = &desc.qk_norm_rope;
    d->q = place(m, in, 1, tokens, 32, channels);
    d->q_out = place(m, in, 1, tokens, 32, channels);
    d->k = place(m, in, 1, tokens, CACHE_HEADS, channels);
    d->v = place(m, in, 1, tokens, CACHE_HEADS, channels);
    d->q_weight = place(m, SXT_TYPE_F32, 1, 1, 1, channels);
    d->k_weight = place(m, SXT_TYPE_F32, 1, 1, 1, channels);
    d->positions = place(m, SXT_TYPE_I32, rotation->planes, 1, 1, tokens);
    d->cache = cache(m, k, v, channels, tokens, form);
    visit(m, SXT_OP_QK_NORM_ROPE, &desc, "step.%s.%s-%s-%s.d%u.t%u.%s%s", rotation->name, sxt_type_name(in),
          sxt_type_name(k), sxt_type_name(v), channels, tokens, cache_names[form], odd ? ".unaligned" : "");
}

static void steps(maker *m) {
    for (int f = 0; f < WHOLE_FORMS; f++)
        for (int t = 0; t < CACHE_TYPES; t++)
            step(m, &rope_forms[f], SXT_TYPE_F16, cache_types[t], cache_types[t], 128, 512, CACHE_ROW);
    for (int t = 0; t < CACHE_TYPES; t++)
        step(m, &rope_forms[0], SXT_TYPE_F32, cache_types[t], cache_types[t], 256, 1, CACHE_PAGES);
    step(m, &rope_forms[0], SXT_TYPE_F32, SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, 64, 512, CACHE_SLOTS);
    step(m, &rope_forms[2], SXT_TYPE_BF16, SXT_TYPE_FP8_E4M3, SXT_TYPE_BF16, 128, 512, CACHE_SLOTS);
    m->odd = 1;
    step(m, &rope_forms[0], SXT_TYPE_F16, SXT_TYPE_Q8_0, SXT_TYPE_F16, 128, 512, CACHE_PAGES);
}

static void kv_write(maker *m, sxt_type from, sxt_type k, sxt_type v, uint32_t channels, cache_form form) {
    enum { TOKENS = 512 };
    const bool odd = m->odd != 0;
    sxt_work_desc desc = {0};
    desc.kv_write.k = place(m, from, 1, TOKENS, CACHE_HEADS, channels);
    desc.kv_write.v = place(m, from, 1, TOKENS, CACHE_HEADS, channels);
    desc.kv_write.cache = cache(m, k, v, channels, TOKENS, form);
    visit(m, SXT_OP_KV_WRITE, &desc, "kv_write.%s-%s-%s.d%u.%s%s", sxt_type_name(from), sxt_type_name(k),
          sxt_type_name(v), channels, cache_names[form], odd ? ".unaligned" : "");
}

static void kv_writes(maker *m) {
    for (int from = 0; from < FLOAT_TYPES; from++)
        for (int to = 0; to < CACHE_TYPES; to++)
            kv_write(m, float_types[from], cache_types[to], cache_types[to], 128, CACHE_SLOTS);
    kv_write(m, SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_F16, 128, CACHE_ROW);
    kv_write(m, SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16, 128, CACHE_PAGES);
    kv_write(m, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F16, 72, CACHE_SLOTS);
    m->odd = 1;
    kv_write(m, SXT_TYPE_F16, SXT_TYPE_F16, SXT_TYPE_F16, 128, CACHE_SLOTS);
}

static void kv_shift_and_copy(maker *m, sxt_type type) {
    sxt_work_desc desc = {.kv_shift = {.rope = rope_forms[0].params}};
    sxt_kv_cache c = cache(m, type, type, 128, 1, CACHE_ROW);
    desc.kv_shift.k = c.k;
    desc.kv_shift.k_scale = c.k_scale;
    desc.kv_shift.deltas = place(m, SXT_TYPE_I32, 1, 1, 1, CACHE_ROWS);
    visit(m, SXT_OP_KV_SHIFT, &desc, "kv_shift.%s.d128", sxt_type_name(type));

    c = cache(m, type, type, 128, 1, CACHE_ROW);
    desc = (sxt_work_desc){.kv_copy = {.k_from = c.k, .k_to = c.k, .v_from = c.v, .v_to = c.v}};
    desc.kv_copy.from = place(m, SXT_TYPE_I32, 1, 1, 1, 1024);
    desc.kv_copy.to = place(m, SXT_TYPE_I32, 1, 1, 1, 1024);
    visit(m, SXT_OP_KV_COPY, &desc, "kv_copy.%s.d128", sxt_type_name(type));
}

// ── attention ──

typedef struct attention_form {
    const char *name;
    uint32_t batch, tokens, keys, heads, kv_heads;
    sxt_attention_desc params;
    bool sinks, bias, alibi, lse, mask;
    bool lengths, ragged; // ragged: `tokens` and `keys` are those of all sequences
    uint32_t page_rows;   // 0: no pages
    bool v_in_k;
} attention_form;

static void add_sequences(maker *m, const attention_form *form, sxt_attention_desc *a) {
    if (form->lengths) a->kv_lengths = place(m, SXT_TYPE_I32, 1, 1, 1, form->batch);
    if (form->page_rows) a->block_table = place(m, SXT_TYPE_I32, 1, 1, form->batch, form->keys / form->page_rows);
    if (!form->ragged) return;
    a->cu_seqlens_q = place(m, SXT_TYPE_I32, 1, 1, 1, form->batch + 1);
    a->cu_seqlens_k = place(m, SXT_TYPE_I32, 1, 1, 1, form->batch + 1);
    a->max_q_tokens = form->tokens / 2;
    a->max_k_tokens = form->keys / 2;
}

static void attention_of(maker *m, const attention_form *form, sxt_type q, sxt_type k, sxt_type v, uint32_t channels,
                         uint32_t v_channels) {
    const bool odd = m->odd != 0;
    const uint32_t batch = form->ragged ? 1 : form->batch, rows = form->page_rows ? form->page_rows : form->keys;
    const uint32_t k_batch = form->page_rows ? batch * (form->keys / rows) : batch;
    sxt_work_desc desc = {.attention = form->params};
    sxt_attention_desc *a = &desc.attention;
    a->q = place(m, q, batch, form->tokens, form->heads, channels);
    a->k = place(m, k, k_batch, rows, form->kv_heads, channels);
    if (!form->v_in_k) {
        a->v = place(m, v, k_batch, rows, form->kv_heads, v_channels);
    } else {
        a->v = a->k;
        a->v.shape[3] = v_channels;
        for (uint64_t stride = channels, dim = 3; dim-- > 0; stride *= a->k.shape[dim])
            a->v.strides[dim] = stride;
        a->v.strides[3] = 1;
    }
    a->o = place(m, q, batch, form->tokens, form->heads, v_channels);
    if (form->lse) a->lse = place(m, SXT_TYPE_F32, batch, form->tokens, form->heads, 1);
    if (form->bias) a->bias = place(m, SXT_TYPE_F16, 1, 1, form->tokens, form->keys);
    if (form->mask) a->mask = place(m, SXT_TYPE_I32, 1, 1, form->tokens, (form->keys + 31) / 32);
    if (form->sinks) a->sinks = place(m, SXT_TYPE_F32, 1, 1, 1, form->heads);
    if (form->alibi) a->alibi_slopes = place(m, SXT_TYPE_F32, 1, 1, 1, form->heads);
    add_sequences(m, form, a);
    visit(m, SXT_OP_ATTENTION, &desc, "attention.%s.%s-%s%s%s.d%u%s", form->name, sxt_type_name(q), sxt_type_name(k),
          k == v ? "" : "-", k == v ? "" : sxt_type_name(v), channels, odd ? ".unaligned" : "");
}

static void attention(maker *m, const attention_form *form, sxt_type q, sxt_type kv, uint32_t channels,
                      uint32_t v_channels) {
    attention_of(m, form, q, kv, kv, channels, v_channels);
}

// Sequences of different lengths, pages, masks of bits, bounded logits, values in keys, mixed codes.
static void attention_sequences(maker *m) {
#define PREFILL .tokens = 512, .keys = 512, .heads = 32, .kv_heads = 8
#define DECODE  .batch = 8, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8
    static const attention_form forms[] = {
        {.name = "prefill.ragged", .batch = 4, PREFILL, .params = {.causal = true}, .ragged = true},
        {.name = "prefill.mask", .batch = 1, PREFILL, .mask = true},
        {.name = "prefill.bounded", .batch = 1, PREFILL, .params = {.causal = true, .logit_bound = 12}},
        {.name = "prefill.pages", .batch = 1, PREFILL, .params = {.causal = true}, .lengths = true, .page_rows = 16},
        {.name = "decode.lengths", DECODE, .lengths = true},
        {.name = "decode.pages", DECODE, .lengths = true, .page_rows = 16},
        {.name = "decode.bounded", DECODE, .params = {.logit_bound = 12}},
        {.name = "decode.mask", DECODE, .mask = true},
    };
    static const attention_form mla = {
        .name = "decode.mla", .batch = 1, .tokens = 1, .keys = 4096, .heads = 128, .kv_heads = 1, .v_in_k = true};
#undef PREFILL
#undef DECODE
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        attention(m, &forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 128, 128);
        attention(m, &forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 256, 256);
    }
    for (int k = 0; k < CACHE_TYPES; k++) {
        attention_of(m, &forms[0], SXT_TYPE_F32, cache_types[k], cache_types[(k + 1) % CACHE_TYPES], 128, 128);
        if (cache_types[k] != SXT_TYPE_F16) attention(m, &forms[5], SXT_TYPE_F32, cache_types[k], 128, 128);
        attention_of(m, &forms[5], SXT_TYPE_F32, cache_types[k], cache_types[(k + 1) % CACHE_TYPES], 128, 128);
    }
    attention(m, &mla, SXT_TYPE_F32, SXT_TYPE_F16, 576, 512);
    attention(m, &mla, SXT_TYPE_F32, SXT_TYPE_Q8_0, 576, 512);
}

static void attentions(maker *m) {
    static const attention_form steps[] = {
        {.name = "prefill",
         .batch = 1,
         .tokens = 512,
         .keys = 512,
         .heads = 32,
         .kv_heads = 8,
         .params = {.causal = true}},
        {.name = "decode", .batch = 1, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8},
    };
    static const attention_form forms[] = {
        {.name = "prefill4k.gqa8.sinks.window",
         .batch = 1,
         .tokens = 4096,
         .keys = 4096,
         .heads = 64,
         .kv_heads = 8,
         .params = {.causal = true, .windowed = true, .window_left = 127, .window_right = -1},
         .sinks = true,
         .lse = true},
        {.name = "prefill.softcap",
         .batch = 1,
         .tokens = 512,
         .keys = 512,
         .heads = 16,
         .kv_heads = 8,
         .params = {.causal = true, .softcap = 50}},
        {.name = "prefill.bias", .batch = 1, .tokens = 512, .keys = 512, .heads = 16, .kv_heads = 8, .bias = true},
        {.name = "prefill.alibi",
         .batch = 1,
         .tokens = 512,
         .keys = 512,
         .heads = 32,
         .kv_heads = 32,
         .params = {.causal = true},
         .alibi = true},
        {.name = "decode.softcap",
         .batch = 1,
         .tokens = 1,
         .keys = 4096,
         .heads = 16,
         .kv_heads = 8,
         .params = {.softcap = 50}},
        {.name = "decode.mha", .batch = 1, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 32},
        {.name = "decode.b32", .batch = 32, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8},
        {.name = "decode.128k", .batch = 1, .tokens = 1, .keys = 131072, .heads = 32, .kv_heads = 8},
        {.name = "full.b2", .batch = 2, .tokens = 4096, .keys = 4096, .heads = 10, .kv_heads = 10},
    };
    static const uint32_t dims[] = {64, 80, 96, 128, 256};
    static const sxt_type kv_types[] = {SXT_TYPE_F16,  SXT_TYPE_BF16, SXT_TYPE_F32,
                                        SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};
    for (int step = 0; step < 2; step++) {
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            for (size_t t = 0; t < sizeof kv_types / sizeof kv_types[0]; t++)
                if (dims[d] % sxt_type_block(kv_types[t]) == 0)
                    attention(m, &steps[step], SXT_TYPE_F32, kv_types[t], dims[d], dims[d]);
        attention(m, &steps[step], SXT_TYPE_F16, SXT_TYPE_F16, 128, 128);
        attention(m, &steps[step], SXT_TYPE_BF16, SXT_TYPE_BF16, 128, 128);
        attention(m, &steps[step], SXT_TYPE_F32, SXT_TYPE_F16, 192, 128);
        m->odd = 1;
        attention(m, &steps[step], SXT_TYPE_F16, SXT_TYPE_F16, 128, 128);
    }
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        attention(m, &forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 64, 64);
        attention(m, &forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 128, 128);
        attention(m, &forms[f], SXT_TYPE_F32, SXT_TYPE_F16, 256, 256);
    }
    attention(m, &forms[8], SXT_TYPE_F16, SXT_TYPE_F16, 40, 40);
    attention(m, &forms[8], SXT_TYPE_F16, SXT_TYPE_F16, 72, 72);
    attention_sequences(m);
}

static void attention_merges(maker *m) {
    for (int t = 0; t < FLOAT_TYPES; t++) {
        const sxt_type type = float_types[t];
        sxt_work_desc desc = {0};
        sxt_attention_merge_desc *d = &desc.attention_merge;
        d->o_a = place(m, type, 1, 512, 32, 128);
        d->o_b = place(m, type, 1, 512, 32, 128);
        d->o = place(m, type, 1, 512, 32, 128);
        d->lse_a = place(m, SXT_TYPE_F32, 1, 512, 32, 1);
        d->lse_b = place(m, SXT_TYPE_F32, 1, 512, 32, 1);
        d->lse = place(m, SXT_TYPE_F32, 1, 512, 32, 1);
        visit(m, SXT_OP_ATTENTION_MERGE, &desc, "attention_merge.%s.d128", sxt_type_name(type));
    }
}

bool sxt_shader_cases(sxt_buffer *buffer, sxt_shader_visit visitor, void *user) {
    maker m = {.buffer = buffer, .visit = visitor, .user = user, .going = true};
    norms(&m);
    ropes(&m);
    qk_norm_ropes(&m);
    steps(&m);
    kv_writes(&m);
    for (int t = 0; t < CACHE_TYPES; t++)
        kv_shift_and_copy(&m, cache_types[t]);
    attentions(&m);
    attention_merges(&m);
    return m.going;
}
