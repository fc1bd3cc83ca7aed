#include "rig.h"

#include "number.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 4096 };

// ── Where a tensor lies in its buffer ──

// Chooses strides and offset, and returns the buffer's size. Layout 0 is dense, with heads outside of tokens if they
// come first; others leave gaps of 0 to 9 elements (or blocks) after rows and heads, may put heads outside of tokens,
// and start at any element.
static uint64_t place(sxt_tensor *tensor, bool guarded, const sxt_work *work, int slot) {
    uint32_t layout = work->layout;
    uint64_t offset = guarded ? GUARD_BYTES : 0;
    uint32_t pads[3] = {0, 0, 0}, block = sxt_type_block(tensor->type),
             step = block > 1 ? 2 : sxt_type_size(tensor->type);
    int inner = work->heads_first ? 1 : 2, outer = 3 - inner; // dims by growing stride: channel, inner, outer, batch
    if (layout) {
        sxt_random random = sxt_random_seed(layout, (uint64_t)slot);
        for (int i = 0; i < 3; i++)
            pads[i] = sxt_random_once_in(&random, 2) ? block * sxt_random_range(&random, 0, 9) : 0;
        if (sxt_random_once_in(&random, 3)) outer = inner, inner = 3 - outer;
        offset += (uint64_t)step * sxt_random_range(&random, 0, 31);
    }
    tensor->offset_bytes = offset;
    tensor->strides[3] = 1;
    tensor->strides[inner] = tensor->shape[3] + (uint64_t)pads[0];
    tensor->strides[outer] = tensor->strides[inner] * tensor->shape[inner] + pads[1];
    tensor->strides[0] = tensor->strides[outer] * tensor->shape[outer] + pads[2];
    uint64_t bytes =
        offset + sxt_number_bytes(tensor->type, tensor->strides[0] * tensor->shape[0]) + (guarded ? GUARD_BYTES : 0);
    return bytes ? bytes : 4;
}

static bool is_dense(const sxt_tensor *t) {
    return t->strides[2] == t->shape[3] && t->strides[1] == t->strides[2] * t->shape[2] &&
           t->strides[0] == t->strides[1] * t->shape[1];
}

// Copies between dense data and the tensor's place in an image of its buffer.
static void copy_elements(const sxt_tensor *t, void *image, void *dense, bool to_image) {
    uint64_t row_bytes = sxt_number_bytes(t->type, t->shape[3]);
    char *at = dense;
    for (uint32_t b = 0; b < t->shape[0]; b++) {
        for (uint32_t i = 0; i < t->shape[1]; i++) {
            for (uint32_t h = 0; h < t->shape[2]; h++, at += row_bytes) {
                uint64_t index = b * t->strides[0] + i * t->strides[1] + h * t->strides[2];
                char *row = (char *)image + t->offset_bytes + sxt_number_bytes(t->type, index);
                memcpy(to_image ? row : at, to_image ? at : row, row_bytes);
            }
        }
    }
}

static sxt_result upload(sxt_rig *rig, int index, uint64_t bytes) {
    const sxt_slot *slot = &rig->work->slots[index];
    const sxt_tensor *tensor = &rig->tensors[index];
    if (!rig->guarded && slot->initial && is_dense(tensor)) {
        return sxt_buffer_write(rig->buffers[index], tensor->offset_bytes, slot->initial, sxt_slot_bytes(slot));
    }
    if (!rig->guarded && !slot->initial) return SXT_OK;
    void *image = malloc(bytes);
    if (!image) return SXT_ERROR_OUT_OF_MEMORY;
    memset(image, SXT_POISON, bytes);
    // The dense side is only read in this direction.
    if (slot->initial) copy_elements(tensor, image, (void *)(uintptr_t)slot->initial, true);
    sxt_result result = sxt_buffer_write(rig->buffers[index], 0, image, bytes);
    if (rig->guarded)
        rig->images[index] = image;
    else
        free(image);
    return result;
}

sxt_result sxt_rig_init(sxt_rig *rig, const sxt_session *session, const sxt_work *work, bool guarded) {
    *rig = (sxt_rig){.session = session, .work = work, .guarded = guarded};
    sxt_result result = sxt_stream_create(session->device, &rig->stream);
    for (int i = 0; i < work->slot_count && result == SXT_OK; i++) {
        const sxt_slot *slot = &work->slots[i];
        rig->tensors[i].type = slot->type;
        memcpy(rig->tensors[i].shape, slot->shape, sizeof slot->shape);
        if (slot->part_of != SXT_NO_SLOT) {
            memcpy(rig->tensors[i].strides, rig->tensors[slot->part_of].strides, sizeof rig->tensors[i].strides);
            rig->tensors[i].offset_bytes = rig->tensors[slot->part_of].offset_bytes;
            rig->tensors[i].buffer = rig->tensors[slot->part_of].buffer;
            continue;
        }
        uint64_t bytes = place(&rig->tensors[i], guarded, work, i);
        result = sxt_buffer_create(session->device, &(sxt_buffer_desc){.bytes = bytes, .name = slot->name},
                                   &rig->buffers[i]);
        rig->tensors[i].buffer = rig->buffers[i];
        if (result == SXT_OK) result = upload(rig, i, bytes);
    }
    return result;
}

void sxt_rig_finish(sxt_rig *rig) {
    sxt_stream_destroy(&rig->stream);
    for (int i = 0; i < SXT_MAX_SLOTS; i++) {
        sxt_buffer_destroy(&rig->buffers[i]);
        free(rig->images[i]);
        rig->images[i] = NULL;
    }
}

// ── Running ──

void sxt_rig_desc(const sxt_rig *rig, const sxt_stage *stage, sxt_work_desc *out_desc) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    *out_desc = stage->desc;
    for (int i = 0; fields[i].name; i++) {
        if (stage->slots[i] == SXT_NO_SLOT) continue;
        memcpy((char *)out_desc + fields[i].place, &rig->tensors[stage->slots[i]], sizeof(sxt_tensor));
    }
}

sxt_result sxt_rig_prepare(sxt_rig *rig, int stage, char *out_text, size_t size) {
    sxt_work_desc desc;
    const sxt_stage *at = &rig->work->stages[stage];
    sxt_rig_desc(rig, at, &desc);
    sxt_result result = sxt_prepare(rig->session->device, at->op, &desc);
    return result == SXT_OK ? sxt_describe(rig->session->device, at->op, &desc, out_text, size) : result;
}

sxt_result sxt_rig_products(const sxt_rig *rig, sxt_work *work) {
    sxt_result result = SXT_OK;
    for (int i = 0; i < work->stage_count && result == SXT_OK; i++) {
        sxt_stage *stage = &work->stages[i];
        sxt_work_desc desc;
        char kernel[128] = "";
        if (stage->op != SXT_OP_ATTENTION) continue;
        sxt_rig_desc(rig, stage, &desc);
        result = sxt_describe(rig->session->device, stage->op, &desc, kernel, sizeof kernel);
        bool matrix = strncmp(kernel, "attention.matrix", strlen("attention.matrix")) == 0;
        if (matrix) stage->products = desc.attention.k.type == SXT_TYPE_BF16 ? SXT_TYPE_BF16 : SXT_TYPE_F16;
    }
    return result;
}

sxt_result sxt_rig_record(sxt_rig *rig, int stage) {
    sxt_work_desc desc;
    const sxt_stage *at = &rig->work->stages[stage];
    sxt_rig_desc(rig, at, &desc);
    return sxt_op_record(rig->stream, at->op, &desc);
}

static sxt_result submit_and_wait(sxt_rig *rig) {
    uint64_t ticket;
    sxt_result result = sxt_stream_submit(rig->stream, &ticket);
    return result == SXT_OK ? sxt_device_wait(rig->session->device, ticket, UINT64_MAX) : result;
}

static sxt_result run_by_wall_clock(sxt_rig *rig) {
    sxt_result result = SXT_OK;
    for (int i = 0; i < rig->work->stage_count && result == SXT_OK; i++) {
        double start = sxt_now();
        result = sxt_rig_record(rig, i);
        if (result == SXT_OK) result = submit_and_wait(rig);
        rig->stage_us[i] = 1e6 * (sxt_now() - start);
    }
    return result;
}

sxt_result sxt_rig_run(sxt_rig *rig) {
    uint32_t stamps[SXT_MAX_STAGES + 1];
    sxt_result result = sxt_stream_timestamp(rig->stream, &stamps[0]);
    rig->device_clock = result == SXT_OK;
    if (result == SXT_ERROR_UNSUPPORTED) return run_by_wall_clock(rig);
    for (int i = 0; i < rig->work->stage_count && result == SXT_OK; i++) {
        result = sxt_rig_record(rig, i);
        if (result == SXT_OK) result = sxt_stream_timestamp(rig->stream, &stamps[i + 1]);
    }
    if (result != SXT_OK) {
        sxt_stream_reset(rig->stream);
        return result;
    }
    result = submit_and_wait(rig);
    for (int i = 0; i < rig->work->stage_count && result == SXT_OK; i++) {
        result = sxt_stream_elapsed(rig->stream, stamps[i], stamps[i + 1], &rig->stage_us[i]);
    }
    return result;
}

// Whether anything in a buffer but the elements of a written tensor differs from what was there at first. Puts the first
// contents of those elements back into `image`, by way of `scratch`, which holds the tensor's dense data.
static bool is_damaged(const sxt_rig *rig, int slot, void *image, void *scratch) {
    if (sxt_work_writes(rig->work, slot)) {
        copy_elements(&rig->tensors[slot], rig->images[slot], scratch, false);
        copy_elements(&rig->tensors[slot], image, scratch, true);
    }
    return memcmp(image, rig->images[slot], sxt_buffer_size(rig->buffers[slot])) != 0;
}

sxt_result sxt_rig_read(sxt_rig *rig, int slot, void *out_data, bool *out_damaged) {
    const sxt_tensor *tensor = &rig->tensors[slot];
    bool checked = rig->guarded && out_damaged && rig->buffers[slot]; // of a part the whole is
    uint64_t bytes = sxt_buffer_size(tensor->buffer), dense_bytes = sxt_slot_bytes(&rig->work->slots[slot]);
    if (out_damaged) *out_damaged = false;
    if (!rig->guarded && is_dense(tensor)) {
        if (dense_bytes == 0) return SXT_OK;
        return sxt_buffer_read(tensor->buffer, tensor->offset_bytes, out_data, dense_bytes);
    }
    void *image = malloc(bytes), *scratch = malloc(dense_bytes + 1);
    sxt_result result = image && scratch ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    if (result == SXT_OK) result = sxt_buffer_read(tensor->buffer, 0, image, bytes);
    if (result == SXT_OK) {
        copy_elements(tensor, image, out_data, false);
        if (checked) *out_damaged = is_damaged(rig, slot, image, scratch);
    }
    free(image);
    free(scratch);
    return result;
}
