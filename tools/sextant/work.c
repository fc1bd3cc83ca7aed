#include "work.h"

#include "number.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int sxt_work_slot(sxt_work *work, const char *name, sxt_type type, const uint32_t shape[4], const void *initial) {
    assert(work->slot_count < SXT_MAX_SLOTS);
    sxt_slot *slot = &work->slots[work->slot_count];
    *slot = (sxt_slot){.name = name, .type = type, .initial = initial, .scale = SXT_NO_SLOT, .part_of = SXT_NO_SLOT};
    memcpy(slot->shape, shape, sizeof slot->shape);
    return work->slot_count++;
}

sxt_stage *sxt_work_stage(sxt_work *work, sxt_op op) {
    assert(work->stage_count < SXT_MAX_STAGES);
    sxt_stage *stage = &work->stages[work->stage_count++];
    *stage = (sxt_stage){.op = op};
    for (int i = 0; i < SXT_MAX_FIELDS; i++)
        stage->slots[i] = SXT_NO_SLOT;
    return stage;
}

static int find_field(const sxt_stage *stage, const char *name) {
    const sxt_field *fields = sxt_op_fields(stage->op);
    int i = 0;
    while (strcmp(fields[i].name, name) != 0)
        i++;
    return i;
}

void sxt_stage_bind(sxt_stage *stage, const char *field, int slot) {
    stage->slots[find_field(stage, field)] = slot;
}

int sxt_stage_slot(const sxt_stage *stage, const char *field) {
    return stage->slots[find_field(stage, field)];
}

uint64_t sxt_slot_count(const sxt_slot *slot) {
    return (uint64_t)slot->shape[0] * slot->shape[1] * slot->shape[2] * slot->shape[3];
}

uint64_t sxt_slot_bytes(const sxt_slot *slot) {
    return sxt_number_bytes(slot->type, sxt_slot_count(slot));
}

double sxt_slot_value(const sxt_work *work, int slot, void *const data[SXT_MAX_SLOTS], uint64_t index) {
    const sxt_slot *at = &work->slots[slot];
    double value = sxt_number_get(at->type, data[slot], index);
    if (at->scale == SXT_NO_SLOT) return value;
    uint64_t head = index / at->shape[3] % at->shape[2];
    return value * ((const float *)data[at->scale])[work->slots[at->scale].shape[2] == 1 ? 0 : head];
}

bool sxt_work_writes(const sxt_work *work, int slot) {
    for (int s = 0; s < work->stage_count; s++) {
        const sxt_field *fields = sxt_op_fields(work->stages[s].op);
        for (int i = 0; fields[i].name; i++) {
            if (fields[i].written && work->stages[s].slots[i] == slot) return true;
        }
    }
    return false;
}

void sxt_work_finish(sxt_work *work) {
    for (int i = 0; i < work->slot_count; i++)
        free(work->slots[i].owned);
    free(work->freq_factors);
    *work = (sxt_work){0};
}
