#include "build.h"

#include "number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool sxt_build_fail(const sxt_builder *b, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b->error, SXT_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

bool sxt_build_wrong_shape(const sxt_builder *b, const sxt_array *array, const char *wanted) {
    char shape[128] = "";
    for (uint32_t i = 0; i < array->rank; i++) {
        size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%s%llu", i ? ", " : "", (unsigned long long)array->shape[i]);
    }
    return sxt_build_fail(b, "tensor '%s': shape [%s], where %s is right", array->name, shape, wanted);
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

const sxt_array *sxt_build_find(const sxt_builder *b, const char *name) {
    return sxt_bundle_array(b->bundle, name);
}

bool sxt_build_spread(const sxt_builder *b, const sxt_array *array, const int *places, uint32_t shape[4]) {
    for (int i = 0; i < 4; i++)
        shape[i] = 1;
    for (uint32_t i = 0; i < array->rank; i++) {
        if (array->shape[i] > UINT32_MAX) return sxt_build_fail(b, "tensor '%s': a dim above 4294967295", array->name);
        shape[places[i]] = (uint32_t)array->shape[i];
    }
    return true;
}

int sxt_build_slot(const sxt_builder *b, const sxt_array *array, const uint32_t shape[4]) {
    int index = sxt_work_slot(b->work, array->name, type_of(array), shape, array->data);
    sxt_slot *slot = &b->work->slots[index];
    slot->rank = array->rank;
    for (uint32_t i = 0; i < array->rank; i++)
        slot->file_shape[i] = array->shape[i];
    return index;
}

bool sxt_build_heads(const sxt_builder *b, const char *name, const char *wanted, int *out_slot) {
    static const int places[2][4] = {{1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = sxt_build_find(b, name);
    uint32_t shape[4];
    *out_slot = SXT_NO_SLOT;
    if (!array) return true;
    if (array->rank != 3 && array->rank != 4) return sxt_build_wrong_shape(b, array, wanted);
    if (!sxt_build_spread(b, array, places[array->rank - 3], shape)) return false;
    *out_slot = sxt_build_slot(b, array, shape);
    return true;
}

bool sxt_build_repeated(const sxt_builder *b, const char *name, int like, int *out_slot) {
    static const int places[5][4] = {{0}, {3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const sxt_array *array = sxt_build_find(b, name);
    const sxt_slot *target = &b->work->slots[like];
    uint32_t shape[4];
    *out_slot = SXT_NO_SLOT;
    if (!array) return true;
    if (array->rank == 0 || array->rank > target->rank)
        return sxt_build_wrong_shape(b, array, "at most the dims of its input");
    if (!sxt_build_spread(b, array, places[target->rank] + target->rank - array->rank, shape)) return false;
    for (int i = 0; i < 4; i++) {
        if (shape[i] != 1 && shape[i] != target->shape[i]) {
            return sxt_build_wrong_shape(b, array, "its input's, or 1 where it repeats,");
        }
    }
    *out_slot = sxt_build_slot(b, array, shape);
    return true;
}

// Whether what is expected has the dims of the output: blocks and fp8 as bytes, or decoded.
static bool fits(const sxt_slot *slot, const sxt_array *expected) {
    uint64_t shape[4];
    memcpy(shape, slot->file_shape, sizeof shape);
    if (expected->dtype == SXT_DTYPE_U8) shape[slot->rank - 1] = sxt_number_bytes(slot->type, shape[slot->rank - 1]);
    return expected->rank == slot->rank && memcmp(expected->shape, shape, slot->rank * sizeof *shape) == 0;
}

static bool expect(const sxt_builder *b, const char *name, sxt_slot *slot) {
    char decoded[64];
    bool coded = sxt_type_block(slot->type) > 1 || slot->type == SXT_TYPE_FP8_E4M3;
    snprintf(decoded, sizeof decoded, "%s_f32", name);
    slot->name = name;
    slot->result = true;
    slot->expected = sxt_build_find(b, name);
    slot->expected_decoded = sxt_build_find(b, decoded);
    if (slot->expected && slot->expected->dtype == SXT_DTYPE_U8 && !coded)
        return sxt_build_fail(b, "tensor '%s': bytes, where numbers are right for %s", name, sxt_type_name(slot->type));
    if (slot->expected && !fits(slot, slot->expected))
        return sxt_build_wrong_shape(b, slot->expected, "that of the output");
    if (slot->expected_decoded && !fits(slot, slot->expected_decoded))
        return sxt_build_wrong_shape(b, slot->expected_decoded, "that of the output");
    return true;
}

bool sxt_build_result(const sxt_builder *b, const char *name, sxt_type type, const uint32_t shape[4], uint32_t rank,
                      const uint64_t *file_shape, int *out_slot) {
    *out_slot = sxt_work_slot(b->work, name, type, shape, NULL);
    sxt_slot *slot = &b->work->slots[*out_slot];
    slot->rank = rank;
    memcpy(slot->file_shape, file_shape, rank * sizeof *file_shape);
    return expect(b, name, slot);
}

bool sxt_build_in_place(const sxt_builder *b, const char *name, int slot) {
    return expect(b, name, &b->work->slots[slot]);
}

bool sxt_build_like(const sxt_builder *b, const char *name, int input, int *out_slot) {
    const sxt_slot *from = &b->work->slots[input];
    int wanted = b->params.out_type;
    if (b->params.in_place) {
        if (wanted != SXT_TYPE_ABSENT && wanted != (int)from->type)
            return sxt_build_fail(b, "key 'out_type': in place, outputs have their inputs' type, here %s",
                                  sxt_type_name(from->type));
        *out_slot = input;
        return sxt_build_in_place(b, name, input);
    }
    sxt_type type = wanted == SXT_TYPE_ABSENT ? SXT_TYPE_F32 : (sxt_type)wanted;
    if (from->shape[3] % sxt_type_block(type) != 0)
        return sxt_build_fail(b, "key 'out_type': %s has blocks of %u channels, and %s has %u", sxt_type_name(type),
                              sxt_type_block(type), from->name, from->shape[3]);
    return sxt_build_result(b, name, type, from->shape, from->rank, from->file_shape, out_slot);
}

uint32_t sxt_build_file_dims(const sxt_slot *like, uint64_t tokens, uint64_t heads, uint64_t channels,
                             uint64_t out[4]) {
    uint32_t rank = 0;
    if (like->rank == 4) out[rank++] = like->shape[0];
    out[rank++] = tokens;
    out[rank++] = heads;
    if (channels) out[rank++] = channels;
    return rank;
}

bool sxt_work_from_case(const sxt_bundle *bundle, sxt_work *out_work, char error[SXT_ERROR_SIZE]) {
    static bool (*const build[SXT_CASE_OP_COUNT])(const sxt_builder *) = {
        [SXT_CASE_NORM] = sxt_build_norm,
        [SXT_CASE_ROPE] = sxt_build_rope,
        [SXT_CASE_QK_NORM_ROPE] = sxt_build_qk_norm_rope,
        [SXT_CASE_ATTENTION] = sxt_build_attention,
        [SXT_CASE_KV_WRITE] = sxt_build_kv_write,
        [SXT_CASE_KV_SHIFT] = sxt_build_kv_shift,
        [SXT_CASE_KV_COPY] = sxt_build_kv_copy,
        [SXT_CASE_ATTENTION_MERGE] = sxt_build_attention_merge,
    };
    sxt_builder b = {.bundle = bundle, .work = out_work, .error = error};
    *out_work = (sxt_work){0};
    if (!sxt_case_params_read(bundle, &b.params, error)) return false;
    if (!sxt_case_tensors_check(bundle, b.params.op, error)) return false;
    out_work->layout = b.params.layout;
    out_work->heads_first = b.params.heads_first;
    if (build[b.params.op](&b)) return true;
    sxt_work_finish(out_work);
    return false;
}
