#include "check.h"

#include "bound.h"
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

static sxt_check_line *add_line(sxt_check *check, const char *slot, const char *against, double error, double limit) {
    sxt_check_line *line = &check->lines[check->line_count++];
    *line = (sxt_check_line){.slot = slot, .against = against, .error = error, .limit = limit};
    line->ok = error <= limit;
    return line;
}

// Tells off a line in the check's totals, once it is complete.
static void count_line(sxt_check *check, const sxt_check_line *line) {
    check->ok &= line->ok;
    check->worst = fmax(check->worst, line->limit > 0 ? line->error / line->limit : line->error > 0 ? INFINITY : 0);
    if (line->elements) check->worst = fmax(check->worst, line->worst_share);
}

static void judge_elements(sxt_check_line *line, const sxt_slot *slot, const void *values, sxt_type reference_type,
                           const void *reference, const double *bound) {
    uint64_t count = sxt_slot_count(slot);
    line->elements = true;
    for (uint64_t i = 0; i < count; i++) {
        double value = sxt_number_get(slot->type, values, i), right = sxt_number_get(reference_type, reference, i),
               share;
        if (!isfinite(value) || !isfinite(right))
            share = value == right || (isnan(value) && isnan(right)) ? 0 : INFINITY;
        else if (value == right)
            share = bound[i] == 0 && signbit(value) != signbit(right) ? INFINITY : 0;
        else
            share = bound[i] > 0 ? fabs(value - right) / (SXT_BOUND_SLACK * bound[i]) : INFINITY;
        if (share > line->worst_share) {
            line->worst_share = share;
            line->worst_index = i;
            line->worst_value = value;
            line->worst_reference = right;
        }
    }
    line->ok &= line->worst_share <= 1;
}

// Runs work on the reference and reads all of it.
static sxt_result run_reference(const sxt_session *reference, const sxt_work *work, void *out_data[SXT_MAX_SLOTS]) {
    sxt_rig rig;
    // Guarded, so that what a stage does not write is the same poison on both sides.
    sxt_result result = sxt_rig_init(&rig, reference, work, true);
    if (result == SXT_OK) result = sxt_rig_run(&rig);
    if (result == SXT_OK) result = sxt_data_read(&rig, out_data, NULL, 0);
    sxt_rig_finish(&rig);
    return result;
}

// Work of a single stage, on input that `data` holds where a stage before made it.
static void isolate(const sxt_work *work, int stage, void *const data[SXT_MAX_SLOTS], sxt_work *out_work) {
    *out_work = *work;
    out_work->layout = 0;
    out_work->stages[0] = work->stages[stage];
    out_work->stage_count = 1;
    for (int i = 0; i < work->slot_count; i++) {
        if (!work->slots[i].initial && !sxt_work_writes(out_work, i)) out_work->slots[i].initial = data[i];
    }
}

// Σ p·|v| for each element of o: what the reference makes of the attention with |v| in v's place.
static sxt_result run_magnitude(const sxt_session *reference, const sxt_work *single, void *const before[SXT_MAX_SLOTS],
                                double **out_magnitude) {
    sxt_work work = *single;
    int v = sxt_stage_slot(&work.stages[0], "v"),
        o = sxt_stage_slot(&work.stages[0], "o"); // o is f32: see widen_outputs
    uint64_t v_count = sxt_slot_count(&work.slots[v]), o_count = sxt_slot_count(&work.slots[o]);
    void *data[SXT_MAX_SLOTS] = {0}, *absolute = malloc(v_count * sizeof(float) + 1);
    double *magnitude = malloc(o_count * sizeof *magnitude + 1);
    sxt_result result = absolute && magnitude ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    if (result == SXT_OK) {
        for (uint64_t i = 0; i < v_count; i++) {
            ((float *)absolute)[i] = (float)fabs(sxt_number_get(work.slots[v].type, before[v], i));
        }
        work.slots[v].type = SXT_TYPE_F32;
        work.slots[v].initial = absolute;
        result = run_reference(reference, &work, data);
    }
    for (uint64_t i = 0; result == SXT_OK && i < o_count; i++)
        magnitude[i] = ((const float *)data[o])[i];
    sxt_data_free(data);
    free(absolute);
    *out_magnitude = magnitude;
    return result;
}

// Gives each output of the single stage an f32 slot of its own, so that the reference is not rounded to the output's
// type and an operation in place keeps its input. kv_write stays: its rounding is what is checked.
static void widen_outputs(sxt_work *single) {
    sxt_stage *stage = &single->stages[0];
    const sxt_field *fields = sxt_op_fields(stage->op);
    if (stage->op == SXT_OP_KV_WRITE) return;
    for (int f = 0; fields[f].name; f++) {
        if (!fields[f].written || stage->slots[f] == SXT_NO_SLOT) continue;
        const sxt_slot *from = &single->slots[stage->slots[f]];
        stage->slots[f] = sxt_work_slot(single, from->name, SXT_TYPE_F32, from->shape, NULL);
    }
}

// Judges one output of a stage. `slot` is where the device wrote it, `right` what the reference has.
static bool judge_field(const sxt_evidence *evidence, const char *field, const sxt_slot *slot, const void *values,
                        double limit, sxt_check *check) {
    int at = sxt_stage_slot(evidence->stage, field);
    sxt_type type = evidence->work->slots[at].type;
    const void *right = evidence->reference[at];
    double *bound = malloc(sxt_slot_count(slot) * sizeof *bound + 1);
    if (!bound) return false;
    sxt_bound(evidence, field, slot->type, bound);
    sxt_check_line *line =
        add_line(check, slot->name, "reference", sxt_relative_error(slot, values, type, right), limit);
    judge_elements(line, slot, values, type, right, bound);
    count_line(check, line);
    free(bound);
    return true;
}

static sxt_result judge_stage(const sxt_session *reference, const sxt_work *work, int stage,
                              void *const data[SXT_MAX_SLOTS], double condition, sxt_check *check) {
    sxt_work single;
    void *right[SXT_MAX_SLOTS] = {0}, *before[SXT_MAX_SLOTS] = {0};
    double *magnitude = NULL;
    isolate(work, stage, data, &single);
    widen_outputs(&single);
    for (int i = 0; i < single.slot_count; i++)
        before[i] = (void *)(uintptr_t)single.slots[i].initial;
    sxt_result result = run_reference(reference, &single, right);
    const sxt_stage *alone = &single.stages[0];
    if (result == SXT_OK && alone->op == SXT_OP_ATTENTION)
        result = run_magnitude(reference, &single, before, &magnitude);
    sxt_evidence evidence = {
        .work = &single, .stage = alone, .before = before, .reference = right, .magnitude = magnitude};
    const sxt_field *fields = sxt_op_fields(alone->op);
    for (int f = 0; fields[f].name && result == SXT_OK; f++) {
        int slot = work->stages[stage].slots[f];
        if (!fields[f].written || slot == SXT_NO_SLOT) continue;
        double limit = alone->op == SXT_OP_KV_WRITE ? 0
                                                    : fmax(sxt_bound_relative(&single, alone->slots[f]),
                                                           sxt_bound_relative_type(work->slots[slot].type));
        if (!judge_field(&evidence, fields[f].name, &work->slots[slot], data[slot], limit * condition, check))
            result = SXT_ERROR_OUT_OF_MEMORY;
    }
    free(magnitude);
    sxt_data_free(right);
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
    sxt_result result = run_reference(reference, &whole, right);
    for (int i = 0; i < work->slot_count && result == SXT_OK; i++) {
        const sxt_slot *slot = &work->slots[i];
        if (!slot->result) continue;
        double error = sxt_relative_error(slot, data[i], slot->type, right[i]);
        count_line(check, add_line(check, slot->name, "reference, all stages", error,
                                   sxt_bound_relative(work, i) * condition));
    }
    sxt_data_free(right);
    return result;
}

static sxt_type expected_type(const sxt_array *array) {
    return array->dtype == SXT_DTYPE_F16 ? SXT_TYPE_F16 : array->dtype == SXT_DTYPE_BF16 ? SXT_TYPE_BF16 : SXT_TYPE_F32;
}

static void judge_expected(const sxt_work *work, void *const data[SXT_MAX_SLOTS], double condition, sxt_check *check) {
    for (int i = 0; i < work->slot_count; i++) {
        const sxt_slot *slot = &work->slots[i];
        if (!slot->result || !slot->expected) continue;
        sxt_type type = expected_type(slot->expected);
        double error = sxt_relative_error(slot, data[i], type, slot->expected->data);
        double limit = fmax(sxt_bound_relative(work, i), sxt_bound_relative_type(type));
        for (int s = 0; s < work->slot_count; s++) {
            // Quantised from the file's values, for which the file expects its result.
            if (work->slots[s].quantised) limit = fmax(limit, sxt_bound_relative_type(SXT_TYPE_Q8_0));
        }
        count_line(check, add_line(check, slot->name, "file", error, limit * condition));
    }
}

sxt_result sxt_check_rig(sxt_rig *rig, const sxt_session *reference, bool expected, sxt_check *out_check) {
    void *data[SXT_MAX_SLOTS];
    const sxt_work *work = rig->work;
    *out_check = (sxt_check){.ok = true};
    sxt_result result = sxt_data_read(rig, data, out_check->damage, sizeof out_check->damage);
    if (result != SXT_OK) return result;
    if (*out_check->damage) out_check->ok = false;
    double condition = work_condition(work, data);
    for (int s = 0; s < work->stage_count && result == SXT_OK; s++) {
        result = judge_stage(reference, work, s, data, condition, out_check);
    }
    if (work->stage_count > 1 && result == SXT_OK) result = judge_whole(reference, work, data, condition, out_check);
    if (expected) judge_expected(work, data, condition, out_check);
    sxt_data_free(data);
    return result;
}
