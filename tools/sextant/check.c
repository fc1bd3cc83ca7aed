#include "check.h"

#include "bound.h"
#include "judge.h"
#include "number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sxt_data_free(void *data[SXT_MAX_SLOTS]) {
    for (int i = 0; i < SXT_MAX_SLOTS; i++) {
        free(data[i]);
        data[i] = NULL;
    }
}

sxt_result sxt_data_read(sxt_rig *rig, void *out_data[SXT_MAX_SLOTS], char *out_damage, size_t size) {
    sxt_result result = SXT_OK;
    memset(out_data, 0, SXT_MAX_SLOTS * sizeof *out_data);
    for (int i = 0; i < rig->work->slot_count && result == SXT_OK; i++) {
        bool damaged;
        out_data[i] = malloc(sxt_slot_bytes(&rig->work->slots[i]) + 1);
        result = out_data[i] ? sxt_rig_read(rig, i, out_data[i], &damaged) : SXT_ERROR_OUT_OF_MEMORY;
        if (result == SXT_OK && damaged && out_damage && !*out_damage) {
            snprintf(out_damage, size, "%s: %s", rig->work->slots[i].name,
                     sxt_work_writes(rig->work, i) ? "memory around or between its elements was written"
                                                   : "this input was changed");
        }
    }
    if (result != SXT_OK) sxt_data_free(out_data);
    return result;
}

float *sxt_data_decode(const sxt_work *work, int slot, void *const data[SXT_MAX_SLOTS]) {
    uint64_t count = sxt_slot_count(&work->slots[slot]);
    float *values = malloc(count * sizeof *values + 1);
    for (uint64_t i = 0; values && i < count; i++)
        values[i] = (float)sxt_slot_value(work, slot, data, i);
    return values;
}

double sxt_relative_error(const sxt_slot *slot, const void *values, sxt_type reference_type, const void *reference) {
    double difference = 0, size = 0;
    bool logarithm = strcmp(slot->name, "lse") == 0;
    uint64_t count = sxt_slot_count(slot);
    for (uint64_t i = 0; i < count; i++) {
        double value = sxt_number_get(slot->type, values, i), right = sxt_number_get(reference_type, reference, i);
        if (!isfinite(value) || !isfinite(right)) {
            if (value == right || (isnan(value) && isnan(right))) continue;
            return INFINITY;
        }
        difference += (value - right) * (value - right);
        size += logarithm ? fmax(1, right * right) : right * right;
    }
    return difference == 0 ? 0 : sqrt(difference / size);
}

sxt_check_line *sxt_check_add(sxt_check *check, const char *slot, const char *against, double error, double limit) {
    sxt_check_line *line = &check->lines[check->line_count++];
    *line = (sxt_check_line){.slot = slot, .against = against, .error = error, .limit = limit};
    line->ok = error <= limit;
    return line;
}

void sxt_check_count(sxt_check *check, const sxt_check_line *line) {
    check->ok &= line->ok;
    check->worst = fmax(check->worst, line->limit > 0 ? line->error / line->limit : line->error > 0 ? INFINITY : 0);
    if (line->elements) check->worst = fmax(check->worst, line->worst_share);
}

sxt_result sxt_check_reference(const sxt_session *reference, const sxt_work *work, void *out_data[SXT_MAX_SLOTS]) {
    sxt_rig rig;
    // Guarded, so that what a stage does not write is the same poison on both sides.
    sxt_result result = sxt_rig_init(&rig, reference, work, true);
    if (result == SXT_OK) result = sxt_rig_run(&rig);
    if (result == SXT_OK) result = sxt_data_read(&rig, out_data, NULL, 0);
    sxt_rig_finish(&rig);
    return result;
}

// The largest condition number of any stage, for relative limits (see bound.h).
static double work_condition(const sxt_work *work, void *const data[SXT_MAX_SLOTS]) {
    double condition = 1;
    void *before[SXT_MAX_SLOTS];
    for (int i = 0; i < work->slot_count; i++) {
        before[i] = (void *)(uintptr_t)(work->slots[i].initial ? work->slots[i].initial : data[i]);
    }
    for (int s = 0; s < work->stage_count; s++) {
        sxt_evidence evidence = {.work = work, .stage = &work->stages[s], .before = before};
        condition = fmax(condition, sxt_bound_condition(&evidence));
    }
    return condition;
}

// Results of several stages against the reference run of all of them.
static sxt_result judge_whole(const sxt_session *reference, const sxt_work *work, void *const data[SXT_MAX_SLOTS],
                              double condition, sxt_check *check) {
    sxt_work whole = *work;
    void *right[SXT_MAX_SLOTS] = {0};
    whole.layout = 0;
    sxt_result result = sxt_check_reference(reference, &whole, right);
    for (int i = 0; i < work->slot_count && result == SXT_OK; i++) {
        const sxt_slot *slot = &work->slots[i];
        if (!slot->result) continue;
        double error = sxt_relative_error(slot, data[i], slot->type, right[i]);
        sxt_check_count(check, sxt_check_add(check, slot->name, "reference, all stages", error,
                                             sxt_bound_relative(work, i) * condition));
    }
    sxt_data_free(right);
    return result;
}

// Codes and numbers are both compared by value; what blocks lose of a file's values, for which it expects its result, is
// allowed for.
static double judge_array(const sxt_slot *slot, const void *values, const sxt_array *expected, double *out_limit) {
    static const sxt_type types[] = {
        [SXT_DTYPE_F32] = SXT_TYPE_F32, [SXT_DTYPE_F16] = SXT_TYPE_F16, [SXT_DTYPE_BF16] = SXT_TYPE_BF16};
    sxt_type type = expected->dtype == SXT_DTYPE_U8 ? slot->type : types[expected->dtype];
    *out_limit = fmax(*out_limit, sxt_bound_relative_type(type));
    return sxt_relative_error(slot, values, type, expected->data);
}

static sxt_result judge_decoded(const sxt_work *work, int index, void *const data[SXT_MAX_SLOTS], double limit,
                                sxt_check *check) {
    sxt_slot decoded = work->slots[index];
    float *values = sxt_data_decode(work, index, data);
    if (!values) return SXT_ERROR_OUT_OF_MEMORY;
    decoded.type = SXT_TYPE_F32;
    double error = judge_array(&decoded, values, decoded.expected_decoded, &limit);
    sxt_check_count(check, sxt_check_add(check, decoded.name, "file's decoded values", error, limit));
    free(values);
    return SXT_OK;
}

static sxt_result judge_expected(const sxt_work *work, void *const data[SXT_MAX_SLOTS], double condition,
                                 sxt_check *check) {
    sxt_result result = SXT_OK;
    for (int i = 0; i < work->slot_count && result == SXT_OK; i++) {
        const sxt_slot *slot = &work->slots[i];
        double limit = sxt_bound_relative(work, i) * condition;
        if (!slot->result) continue;
        if (slot->expected) {
            double error = judge_array(slot, data[i], slot->expected, &limit);
            sxt_check_count(check, sxt_check_add(check, slot->name, "file", error, limit));
        }
        if (slot->expected_decoded) result = judge_decoded(work, i, data, limit, check);
    }
    return result;
}

sxt_result sxt_check_rig(sxt_rig *rig, const sxt_session *reference, bool expected, sxt_check *out_check) {
    void *data[SXT_MAX_SLOTS];
    sxt_work told = *rig->work;
    const sxt_work *work = &told;
    *out_check = (sxt_check){.ok = true};
    sxt_result result = sxt_rig_products(rig, &told);
    if (result == SXT_OK) result = sxt_data_read(rig, data, out_check->damage, sizeof out_check->damage);
    if (result != SXT_OK) return result;
    if (*out_check->damage) out_check->ok = false;
    double condition = work_condition(work, data);
    for (int s = 0; s < work->stage_count && result == SXT_OK; s++) {
        result = sxt_judge_stage(reference, work, s, data, condition, out_check);
    }
    if (work->stage_count > 1 && result == SXT_OK) result = judge_whole(reference, work, data, condition, out_check);
    if (expected && result == SXT_OK) result = judge_expected(work, data, condition, out_check);
    sxt_data_free(data);
    return result;
}
