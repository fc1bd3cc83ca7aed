// From a case to work: gives each tensor its four dims, checks that they fit together, and lays out the stages.
#include "work.h"

#include "number.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
    const sxt_bundle *bundle;
    sxt_case_params params;
    sxt_work *work;
    char *error;
} builder;

__attribute__((format(printf, 2, 3))) static bool fail(const builder *b, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b->error, SXT_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static bool wrong_shape(const builder *b, const sxt_array *array, const char *wanted) {
    char shape[128] = "";
    for (uint32_t i = 0; i < array->rank; i++) {
        size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%s%llu", i ? ", " : "", (unsigned long long)array->shape[i]);
    }
    return fail(b, "tensor '%s': shape [%s], where %s is right", array->name, shape, wanted);
}

static sxt_type type_of(const sxt_array *array) {
    switch (array->dtype) {
    case SXT_DTYPE_F16:
        return SXT_TYPE_F16;
    case SXT_DTYPE_BF16:
        return SXT_TYPE_BF16;
    case SXT_DTYPE_I32:
        return SXT_TYPE_I32;
    default:
        return SXT_TYPE_F32;
    }
}

static const sxt_array *find(const builder *b, const char *name) {
    return sxt_bundle_array(b->bundle, name);
}

static bool same(const uint32_t a[4], const uint32_t b[4]) {
    return memcmp(a, b, 4 * sizeof *a) == 0;
}

// Puts dim i of a tensor of `rank` dims at places[i] of the four.
static bool spread(const builder *b, const sxt_array *array, const int *places, uint32_t shape[4]) {
    for (int i = 0; i < 4; i++)
        shape[i] = 1;
    for (uint32_t i = 0; i < array->rank; i++) {
        if (array->shape[i] > UINT32_MAX) return fail(b, "tensor '%s': a dim above 4294967295", array->name);
        shape[places[i]] = (uint32_t)array->shape[i];
    }
    return true;
}

static int add_slot(const builder *b, const sxt_array *array, const uint32_t shape[4]) {
    int index = sxt_work_slot(b->work, array->name, type_of(array), shape, array->data);
    sxt_slot *slot = &b->work->slots[index];
    slot->rank = array->rank;
    for (uint32_t i = 0; i < array->rank; i++)
        slot->file_shape[i] = array->shape[i];
    return index;
}

// A required tensor [token, head, channel], or with a leading batch dim.
static bool add_heads(const builder *b, const char *name, const char *wanted, int *out_slot) {
    static const int places[2][4] = {{1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = find(b, name);
    uint32_t shape[4];
    if (array->rank != 3 && array->rank != 4) return wrong_shape(b, array, wanted);
    if (!spread(b, array, places[array->rank - 3], shape)) return false;
    *out_slot = add_slot(b, array, shape);
    return true;
}

// An optional tensor that repeats where it has a 1 or lacks leading dims, as against `like`. SXT_NO_SLOT if absent.
static bool add_repeated(const builder *b, const char *name, int like, int *out_slot) {
    static const int places[5][4] = {{0}, {3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = find(b, name);
    const sxt_slot *target = &b->work->slots[like];
    uint32_t shape[4];
    *out_slot = SXT_NO_SLOT;
    if (!array) return true;
    if (array->rank == 0 || array->rank > target->rank) return wrong_shape(b, array, "at most the dims of its input");
    if (!spread(b, array, places[target->rank] + target->rank - array->rank, shape)) return false;
    for (int i = 0; i < 4; i++) {
        if (shape[i] != 1 && shape[i] != target->shape[i]) {
            return wrong_shape(b, array, "its input's, or 1 where it repeats,");
        }
    }
    *out_slot = add_slot(b, array, shape);
    return true;
}

// An output of `shape`, and its form in a file. Ties it to the case's tensor of that name, which is what is expected.
static bool add_result(const builder *b, const char *name, sxt_type type, const uint32_t shape[4], uint32_t rank,
                       const uint64_t *file_shape, int *out_slot) {
    *out_slot = sxt_work_slot(b->work, name, type, shape, NULL);
    sxt_slot *slot = &b->work->slots[*out_slot];
    slot->result = true;
    slot->rank = rank;
    memcpy(slot->file_shape, file_shape, rank * sizeof *file_shape);
    slot->expected = find(b, name);
    if (!slot->expected) return true;
    bool fits =
        slot->expected->rank == rank && memcmp(slot->expected->shape, file_shape, rank * sizeof *file_shape) == 0;
    return fits || wrong_shape(b, slot->expected, "that of the output");
}

// The output of an operation that keeps its input's shape: a slot of its own, or with in_place the input's.
static bool add_like(const builder *b, const char *name, int input, int *out_slot) {
    sxt_slot *from = &b->work->slots[input];
    if (b->params.in_place) {
        if (b->params.out_type != SXT_TYPE_ABSENT && b->params.out_type != (int)from->type) {
            return fail(b, "key 'out_type': in place, outputs have their inputs' type, here %s",
                        sxt_type_name(from->type));
        }
        from->name = name;
        from->result = true;
        from->expected = find(b, name);
        *out_slot = input;
        bool fits = !from->expected || (from->expected->rank == from->rank &&
                                        memcmp(from->expected->shape, from->file_shape, sizeof from->file_shape) == 0);
        return fits || wrong_shape(b, from->expected, "that of the output");
    }
    sxt_type type = b->params.out_type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)b->params.out_type;
    return add_result(b, name, type, from->shape, from->rank, from->file_shape, out_slot);
}

// positions, i32 [plane, batch|1, 1, token]; 0 tokens asked for leaves the slot absent.
static bool add_positions(const builder *b, uint32_t batch, uint32_t tokens, int *out_slot) {
    static const int single[2][4] = {{3}, {1, 3}}, multi[2][4] = {{0, 3}, {0, 1, 3}};
    const sxt_array *array = find(b, "positions");
    bool planes = b->params.rope.multi != SXT_ROPE_SINGLE;
    const char *wanted = planes ? "[planes, tokens]" : "[tokens]";
    uint32_t shape[4], least = planes ? 2 : 1;
    if (!array) {
        return fail(b, "tensor 'positions' is missing: `pairing` asks for RoPE, which needs I32 %s",
                    planes ? "[planes, Tk]" : "[Tk]");
    }
    if (array->rank < least || array->rank > least + 1) return wrong_shape(b, array, wanted);
    if (!spread(b, array, (planes ? multi : single)[array->rank - least], shape)) return false;
    if (shape[3] != tokens || (shape[1] != 1 && shape[1] != batch)) return wrong_shape(b, array, wanted);
    *out_slot = add_slot(b, array, shape);
    return true;
}

// The rotation of a head of `channels`, with its factors.
static bool read_rope(const builder *b, uint32_t channels, sxt_rope_params *out_rope) {
    const sxt_array *factors = find(b, "freq_factors");
    *out_rope = b->params.rope;
    if (!factors) return true;
    uint64_t rotary = out_rope->rotary_dim ? out_rope->rotary_dim : channels - (uint64_t)out_rope->rotary_offset;
    if (factors->rank != 1 || factors->count * 2 != rotary) return wrong_shape(b, factors, "[rotary_dim/2]");
    out_rope->freq_factors = factors->data;
    return true;
}

static bool build_norm(const builder *b) {
    static const int places[5][4] = {{0}, {3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = find(b, "x"), *residual = find(b, "residual");
    uint32_t shape[4];
    int weight, bias, y, residual_out;
    if (array->rank == 0 || array->rank > 4) return wrong_shape(b, array, "[C], [T, C], [T, H, C] or [B, T, H, C]");
    if (!spread(b, array, places[array->rank], shape)) return false;
    int x = add_slot(b, array, shape);
    if (!add_repeated(b, "weight", x, &weight) || !add_repeated(b, "bias", x, &bias)) return false;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_NORM);
    stage->desc.norm =
        (sxt_norm_desc){.kind = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    if (residual) {
        uint32_t other[4];
        if (residual->rank != array->rank || !spread(b, residual, places[array->rank], other) || !same(shape, other)) {
            return wrong_shape(b, residual, "that of x");
        }
        int r = add_slot(b, residual, shape);
        sxt_stage_bind(stage, "residual", r);
        if (!add_like(b, "residual_out", r, &residual_out)) return false;
        sxt_stage_bind(stage, "residual_out", residual_out);
    }
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "weight", weight);
    sxt_stage_bind(stage, "bias", bias);
    if (!add_like(b, "y", x, &y)) return false;
    sxt_stage_bind(stage, "y", y);
    return true;
}

static bool build_rope(const builder *b) {
    int x, y, positions;
    if (!add_heads(b, "x", "[T, H, D]", &x)) return false;
    const uint32_t *shape = b->work->slots[x].shape;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ROPE);
    if (!add_positions(b, shape[0], shape[1], &positions) || !read_rope(b, shape[3], &stage->desc.rope.rope) ||
        !add_like(b, "y", x, &y)) {
        return false;
    }
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "positions", positions);
    sxt_stage_bind(stage, "y", y);
    return true;
}

static bool build_qk_norm_rope(const builder *b) {
    int q, k, q_weight, k_weight, positions, q_out, k_out;
    if (!add_heads(b, "q", "[T, Hq, D]", &q) || !add_heads(b, "k", "[T, Hk, D]", &k)) return false;
    const uint32_t *a = b->work->slots[q].shape, *c = b->work->slots[k].shape;
    if (a[0] != c[0] || a[1] != c[1] || a[3] != c[3])
        return wrong_shape(b, find(b, "k"), "[T, Hk, D] with the T and D of q");
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){
        .norm = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    if (!add_repeated(b, "q_weight", q, &q_weight) || !add_repeated(b, "k_weight", k, &k_weight) ||
        !add_positions(b, a[0], a[1], &positions) || !read_rope(b, a[3], &stage->desc.qk_norm_rope.rope) ||
        !add_like(b, "q_out", q, &q_out) || !add_like(b, "k_out", k, &k_out)) {
        return false;
    }
    bool weighs = b->params.norm != SXT_NORM_NONE;
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "q_weight", weighs ? q_weight : SXT_NO_SLOT);
    sxt_stage_bind(stage, "k_weight", weighs ? k_weight : SXT_NO_SLOT);
    sxt_stage_bind(stage, "positions", positions);
    sxt_stage_bind(stage, "q_out", q_out);
    sxt_stage_bind(stage, "k_out", k_out);
    return true;
}

// The file form of a tensor with tokens and heads: with the batch dim only if the input had it.
static uint32_t file_dims(const sxt_slot *like, uint64_t tokens, uint64_t heads, uint64_t channels, uint64_t out[4]) {
    uint32_t rank = 0;
    if (like->rank == 4) out[rank++] = like->shape[0];
    out[rank++] = tokens;
    out[rank++] = heads;
    if (channels) out[rank++] = channels;
    return rank;
}

enum { MAX_CACHE_ELEMS = 1 << 28 };

static bool build_kv_write(const builder *b) {
    static const int places[2][4] = {{3}, {1, 3}};
    int k, v = SXT_NO_SLOT, cache;
    if (!add_heads(b, "k", "[T, H, D]", &k)) return false;
    if (find(b, "v") && !add_heads(b, "v", "[T, H, Dv]", &v)) return false;
    const sxt_slot *keys = &b->work->slots[k];
    const uint32_t *shape = keys->shape;
    if (v != SXT_NO_SLOT && memcmp(shape, b->work->slots[v].shape, 3 * sizeof *shape) != 0) {
        return wrong_shape(b, find(b, "v"), "[T, H, Dv] with the T and H of k");
    }
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_KV_WRITE);
    const sxt_array *slots = find(b, "slots");
    if (slots) {
        uint32_t dims[4];
        if (slots->rank < 1 || slots->rank > 2) return wrong_shape(b, slots, "[T]");
        if (!spread(b, slots, places[slots->rank - 1], dims)) return false;
        if (dims[3] != shape[1] || (dims[1] != 1 && dims[1] != shape[0])) return wrong_shape(b, slots, "[T]");
        sxt_stage_bind(stage, "slots", add_slot(b, slots, dims));
    }
    stage->desc.kv_write.first_row = b->params.first_row;
    uint64_t rows = b->params.rows ? b->params.rows : (uint64_t)b->params.first_row + shape[1];
    for (uint64_t i = 0; slots && !b->params.rows && i < slots->count; i++) {
        int64_t row = ((const int32_t *)slots->data)[i];
        if (row >= (int64_t)rows) rows = (uint64_t)row + 1;
    }
    // A few bytes of a file must not ask for all memory.
    uint64_t row_elems = (uint64_t)shape[0] * shape[2] * shape[3];
    if (rows > UINT32_MAX || (row_elems && rows > MAX_CACHE_ELEMS / row_elems)) {
        return fail(b, "the cache would have %llu rows: too large for a case", (unsigned long long)rows);
    }
    sxt_type type = b->params.kv_type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)b->params.kv_type;
    for (int i = 0; i < (v == SXT_NO_SLOT ? 1 : 2); i++) {
        const uint32_t *from = b->work->slots[i ? v : k].shape;
        uint64_t dims[4];
        uint32_t rank = file_dims(keys, rows, from[2], from[3], dims);
        if (!add_result(b, i ? "v_cache" : "k_cache", type, (uint32_t[4]){from[0], (uint32_t)rows, from[2], from[3]},
                        rank, dims, &cache)) {
            return false;
        }
        sxt_stage_bind(stage, i ? "v" : "k", i ? v : k);
        sxt_stage_bind(stage, i ? "v_cache" : "k_cache", cache);
    }
    return true;
}

// ── Attention and the pipeline before it ──

// The positions of the last `tokens`, for queries that are fewer than keys.
static bool last_positions(const builder *b, int positions, uint32_t tokens, int *out_slot) {
    const sxt_slot *all = &b->work->slots[positions];
    uint32_t shape[4] = {all->shape[0], all->shape[1], 1, tokens};
    uint64_t rows = (uint64_t)shape[0] * shape[1];
    int32_t *copy = malloc(rows * tokens * sizeof *copy + 1);
    if (!copy) return fail(b, "out of memory");
    for (uint64_t row = 0; row < rows; row++) {
        memcpy(copy + row * tokens, (const int32_t *)all->initial + (row + 1) * all->shape[3] - tokens,
               tokens * sizeof *copy);
    }
    *out_slot = sxt_work_slot(b->work, "positions of q", SXT_TYPE_I32, shape, copy);
    b->work->slots[*out_slot].owned = copy;
    return true;
}

// Binds one side, "q" or "k", of a fused norm and rotation, and replaces *side by its result.
static void bind_side(const builder *b, sxt_stage *stage, const char *name, int *side, int weight) {
    static const struct {
        const char *weight, *out, *slot;
    } names[2] = {{"q_weight", "q_out", "q normed and rotated"}, {"k_weight", "k_out", "k normed and rotated"}};
    int n = name[0] == 'k';
    int out = sxt_work_slot(b->work, names[n].slot, SXT_TYPE_F32, b->work->slots[*side].shape, NULL);
    sxt_stage_bind(stage, name, *side);
    sxt_stage_bind(stage, names[n].weight, weight);
    sxt_stage_bind(stage, names[n].out, out);
    *side = out;
}

static bool add_rotation(const builder *b, int *q, int *k, int q_weight, int k_weight) {
    const uint32_t *keys = b->work->slots[*k].shape;
    uint32_t tq = b->work->slots[*q].shape[1], tk = keys[1];
    int positions, q_positions;
    sxt_qk_norm_rope_desc desc = {
        .norm = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    if (tq > tk) return wrong_shape(b, find(b, "q"), "at most as many tokens as k (with `pairing`)");
    if (!add_positions(b, keys[0], tk, &positions) || !read_rope(b, keys[3], &desc.rope)) return false;
    q_positions = positions;
    if (tq < tk && !last_positions(b, positions, tq, &q_positions)) return false;
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = desc;
    bind_side(b, stage, "q", q, q_weight);
    sxt_stage_bind(stage, "positions", q_positions);
    if (tq < tk) {
        stage = sxt_work_stage(b->work, SXT_OP_QK_NORM_ROPE);
        stage->desc.qk_norm_rope = desc;
        sxt_stage_bind(stage, "positions", positions);
    }
    bind_side(b, stage, "k", k, k_weight);
    return true;
}

static void add_norm(const builder *b, int *side, int weight, const char *name) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_NORM);
    int out = sxt_work_slot(b->work, name, SXT_TYPE_F32, b->work->slots[*side].shape, NULL);
    stage->desc.norm =
        (sxt_norm_desc){.kind = (sxt_norm_kind)b->params.norm, .eps = b->params.eps, .offset = b->params.offset};
    sxt_stage_bind(stage, "x", *side);
    sxt_stage_bind(stage, "weight", weight);
    sxt_stage_bind(stage, "y", out);
    *side = out;
}

static void add_cache(const builder *b, int *k, int *v) {
    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_KV_WRITE);
    sxt_type type = (sxt_type)b->params.kv_type;
    int k_cache = sxt_work_slot(b->work, "k cache", type, b->work->slots[*k].shape, NULL);
    int v_cache = sxt_work_slot(b->work, "v cache", type, b->work->slots[*v].shape, NULL);
    sxt_stage_bind(stage, "k", *k);
    sxt_stage_bind(stage, "v", *v);
    sxt_stage_bind(stage, "k_cache", k_cache);
    sxt_stage_bind(stage, "v_cache", v_cache);
    *k = k_cache;
    *v = v_cache;
}

// A q8_0 copy of keys or values, made here, since no operation writes one.
static bool quantise(const builder *b, int *side, const char *name) {
    const sxt_slot *from = &b->work->slots[*side];
    uint64_t count = sxt_slot_count(from);
    if (from->shape[3] % sxt_type_block(SXT_TYPE_Q8_0) != 0) {
        return fail(b, "key 'kv_type': q8_0 has blocks of 32 channels, and %s has %u", from->name, from->shape[3]);
    }
    float *values = malloc(count * sizeof *values + 1);
    void *blocks = malloc(sxt_number_bytes(SXT_TYPE_Q8_0, count) + 1);
    int to = sxt_work_slot(b->work, name, SXT_TYPE_Q8_0, from->shape, blocks);
    b->work->slots[to].owned = blocks;
    b->work->slots[to].quantised = true;
    for (uint64_t i = 0; values && i < count; i++)
        values[i] = (float)sxt_number_get(from->type, from->initial, i);
    if (values && blocks) sxt_number_put_q8_0(blocks, 0, count / sxt_type_block(SXT_TYPE_Q8_0), values);
    *side = to;
    free(values);
    return (values && blocks) || fail(b, "out of memory");
}

static bool add_per_head(const builder *b, sxt_stage *stage, const char *name, uint32_t heads) {
    const sxt_array *array = find(b, name);
    if (!array) return true;
    if (array->rank != 1 || array->shape[0] != heads) return wrong_shape(b, array, "[Hq]");
    sxt_stage_bind(stage, name, add_slot(b, array, (uint32_t[4]){1, 1, 1, heads}));
    return true;
}

static bool add_bias(const builder *b, sxt_stage *stage, const uint32_t q[4], uint32_t tk) {
    static const int places[3][4] = {{2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = find(b, "bias");
    uint32_t shape[4];
    if (!array) return true;
    if (array->rank < 2 || array->rank > 4) return wrong_shape(b, array, "[Tq, Tk] or [Hq, Tq, Tk]");
    if (!spread(b, array, places[array->rank - 2], shape)) return false;
    bool fits = (shape[0] == 1 || shape[0] == q[0]) && (shape[1] == 1 || shape[1] == q[2]) && shape[2] == q[1] &&
                shape[3] == tk;
    if (!fits) return wrong_shape(b, array, "[Tq, Tk] or [Hq, Tq, Tk]");
    sxt_stage_bind(stage, "bias", add_slot(b, array, shape));
    return true;
}

static bool check_attention(const builder *b, int q, int k, int v) {
    const uint32_t *a = b->work->slots[q].shape, *c = b->work->slots[k].shape, *d = b->work->slots[v].shape;
    bool weights = find(b, "q_weight") || find(b, "k_weight");
    if (a[0] != c[0] || a[3] != c[3]) return wrong_shape(b, find(b, "k"), "[Tk, Hk, D] with the D of q");
    if (memcmp(c, d, 3 * sizeof *c) != 0) return wrong_shape(b, find(b, "v"), "[Tk, Hk, Dv] with the Tk and Hk of k");
    if (weights && !b->params.norm_given) {
        return fail(b, "tensor '%s' needs the key 'norm': rms, l2 or layer",
                    find(b, "q_weight") ? "q_weight" : "k_weight");
    }
    return true;
}

static bool build_attention(const builder *b) {
    int q, k, v, q_weight, k_weight, o, lse;
    bool norms = b->params.norm != SXT_NORM_NONE;
    if (!add_heads(b, "q", "[Tq, Hq, D]", &q) || !add_heads(b, "k", "[Tk, Hk, D]", &k) ||
        !add_heads(b, "v", "[Tk, Hk, Dv]", &v) || !check_attention(b, q, k, v) ||
        !add_repeated(b, "q_weight", q, &q_weight) || !add_repeated(b, "k_weight", k, &k_weight)) {
        return false;
    }
    const sxt_slot like = b->work->slots[q];
    uint32_t tk = b->work->slots[k].shape[1], channels = b->work->slots[v].shape[3];
    if (b->params.rotate) {
        if (!add_rotation(b, &q, &k, norms ? q_weight : SXT_NO_SLOT, norms ? k_weight : SXT_NO_SLOT)) return false;
    } else if (norms) {
        add_norm(b, &q, q_weight, "q normed");
        add_norm(b, &k, k_weight, "k normed");
    }
    if (b->params.kv_type == SXT_TYPE_Q8_0) {
        if (b->params.rotate || norms)
            return fail(b, "key 'kv_type': q8_0 is not possible after norm or RoPE: no kv_write makes it");
        if (!quantise(b, &k, "k as q8_0") || !quantise(b, &v, "v as q8_0")) return false;
    } else if (b->params.kv_type != SXT_TYPE_ABSENT) {
        add_cache(b, &k, &v);
    }

    sxt_stage *stage = sxt_work_stage(b->work, SXT_OP_ATTENTION);
    stage->desc.attention = (sxt_attention_desc){.scale = b->params.scale,
                                                 .softcap = b->params.softcap,
                                                 .causal = b->params.causal,
                                                 .windowed = b->params.windowed,
                                                 .window_left = b->params.window_left,
                                                 .window_right = b->params.window_right};
    sxt_type type = b->params.out_type == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)b->params.out_type;
    uint32_t o_shape[4] = {like.shape[0], like.shape[1], like.shape[2], channels};
    uint32_t lse_shape[4] = {like.shape[0], like.shape[1], like.shape[2], 1};
    uint64_t dims[4];
    uint32_t rank = file_dims(&like, like.shape[1], like.shape[2], channels, dims);
    if (!add_result(b, "o", type, o_shape, rank, dims, &o) ||
        !add_result(b, "lse", SXT_TYPE_F32, lse_shape, rank - 1, dims, &lse) ||
        !add_per_head(b, stage, "sinks", like.shape[2]) || !add_per_head(b, stage, "alibi_slopes", like.shape[2]) ||
        !add_bias(b, stage, like.shape, tk)) {
        return false;
    }
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "o", o);
    sxt_stage_bind(stage, "lse", lse);
    return true;
}

bool sxt_work_from_case(const sxt_bundle *bundle, sxt_work *out_work, char error[SXT_ERROR_SIZE]) {
    static bool (*const build[SXT_CASE_OP_COUNT])(const builder *) = {
        [SXT_CASE_NORM] = build_norm,
        [SXT_CASE_ROPE] = build_rope,
        [SXT_CASE_QK_NORM_ROPE] = build_qk_norm_rope,
        [SXT_CASE_ATTENTION] = build_attention,
        [SXT_CASE_KV_WRITE] = build_kv_write,
    };
    builder b = {.bundle = bundle, .work = out_work, .error = error};
    *out_work = (sxt_work){0};
    if (!sxt_case_params_read(bundle, &b.params, error)) return false;
    if (!sxt_case_tensors_check(bundle, b.params.op, error)) return false;
    out_work->layout = b.params.layout;
    if (build[b.params.op](&b)) return true;
    sxt_work_finish(out_work);
    return false;
}
