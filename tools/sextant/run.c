// sextant run: one case on one device.
#include "check.h"
#include "number.h"
#include "program.h"
#include "rig.h"
#include "work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT, SET, CHECK };

// Reads the case and applies --set.
static int load_case(const sxt_args *args, sxt_bundle *out_bundle) {
    char error[SXT_ERROR_SIZE];
    if (!sxt_bundle_read(args->operand, out_bundle, error)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "%s: %s", args->operand, error);
    }
    for (int i = 0; i < args->repeated_count; i++) {
        const char *text = args->repeated[i], *equals = strchr(text, '=');
        char key[64] = "";
        size_t length = equals ? (size_t)(equals - text) : 0;
        if (length == 0 || length >= sizeof key) {
            return sxt_fail(SXT_EXIT_BAD_INPUT, "--set %s: not of the form key=value", text);
        }
        memcpy(key, text, length);
        if (!sxt_bundle_set(out_bundle, key, equals + 1)) return sxt_fail(SXT_EXIT_NO_DEVICE, "out of memory");
    }
    return SXT_EXIT_DONE;
}

static void print_times(const sxt_rig *rig, char variants[][128]) {
    double total = 0;
    for (int i = 0; i < rig->work->stage_count; i++) {
        const sxt_stage *stage = &rig->work->stages[i];
        double us = rig->stage_us[i], flops = sxt_stage_flops(rig->work, stage),
               bytes = sxt_stage_bytes(rig->work, stage);
        printf("kernel    %s\n", variants[i]);
        printf("time      %.1f us (%s)", us,
               rig->device_clock ? "device clock" : "wall clock: this device has no timestamps");
        if (us > 0 && flops > 0) printf(", %.2f GFLOP/s", flops / us * 1e-3);
        if (us > 0) printf(", %.2f GB/s", bytes / us * 1e-3);
        putchar('\n');
        total += us;
    }
    if (rig->work->stage_count > 1) printf("total     %.1f us\n", total);
}

// What the kernels met in the input that should not be there.
static void print_faults(const sxt_session *session) {
    uint32_t faults = 0;
    if (sxt_device_faults(session->device, true, &faults) != SXT_OK) return;
    if (faults & SXT_FAULT_INDEX) printf("fault     a length, an offset or a page outside of what there is\n");
    if (faults & SXT_FAULT_LOGIT) printf("fault     a logit above logit_bound, which was taken for the bound\n");
}

static void print_check(const sxt_check *check) {
    for (int i = 0; i < check->line_count; i++) {
        const sxt_check_line *line = &check->lines[i];
        if (line->bits)
            printf("check     %s %s: %s", line->slot, line->ok ? "ok" : "FAIL",
                   line->ok ? "bit for bit what the reference has" : "not bit for bit what the reference has");
        else
            printf("check     %s %s: relative error %.2e against the %s (limit %.1e)", line->slot,
                   line->ok ? "ok" : "FAIL", line->error, line->against, line->limit);
        if (line->elements && !line->bits) printf("; worst element at %.0f%% of its bound", 100 * line->worst_share);
        putchar('\n');
        if (line->elements && line->worst_share > 1) {
            printf("          element %llu is %.9g, the reference has %.9g\n", (unsigned long long)line->worst_index,
                   line->worst_value, line->worst_reference);
        }
    }
    if (*check->damage) printf("check     FAIL %s\n", check->damage);
}

static bool is_coded(sxt_type type) {
    return sxt_type_block(type) > 1 || type == SXT_TYPE_FP8_E4M3;
}

// Adds a result to a file: as it is, and what is coded once more as `name`_f32, decoded.
static sxt_result add_result(sxt_rig *rig, int index, void *const data[SXT_MAX_SLOTS], sxt_bundle *results) {
    static const sxt_dtype dtypes[] = {
        [SXT_TYPE_F32] = SXT_DTYPE_F32,    [SXT_TYPE_F16] = SXT_DTYPE_F16, [SXT_TYPE_BF16] = SXT_DTYPE_BF16,
        [SXT_TYPE_I32] = SXT_DTYPE_I32,    [SXT_TYPE_Q8_0] = SXT_DTYPE_U8, [SXT_TYPE_Q4_0] = SXT_DTYPE_U8,
        [SXT_TYPE_FP8_E4M3] = SXT_DTYPE_U8};
    const sxt_slot *slot = &rig->work->slots[index];
    bool coded = is_coded(slot->type);
    char name[64];
    uint64_t shape[4];
    memcpy(shape, slot->file_shape, sizeof shape);
    if (coded) shape[slot->rank - 1] = sxt_number_bytes(slot->type, shape[slot->rank - 1]);
    sxt_array *array = sxt_bundle_add(results, slot->name, dtypes[slot->type], slot->rank, shape);
    if (!array) return SXT_ERROR_OUT_OF_MEMORY;
    memcpy(array->data, data[index], array->bytes);
    if (!coded) return SXT_OK;
    snprintf(name, sizeof name, "%s_f32", slot->name);
    array = sxt_bundle_add(results, name, SXT_DTYPE_F32, slot->rank, slot->file_shape);
    for (uint64_t i = 0; array && i < array->count; i++)
        ((float *)array->data)[i] = (float)sxt_slot_value(rig->work, index, data, i);
    return array ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
}

static int write_results(sxt_rig *rig, const char *path) {
    sxt_bundle results = {0};
    void *data[SXT_MAX_SLOTS];
    char error[SXT_ERROR_SIZE];
    int exit_code = SXT_EXIT_DONE;
    sxt_result result = sxt_data_read(rig, data, NULL, 0);
    for (int i = 0; i < rig->work->slot_count && result == SXT_OK; i++) {
        if (rig->work->slots[i].result) result = add_result(rig, i, data, &results);
    }
    if (result != SXT_OK) {
        exit_code = sxt_session_fail(rig->session, result, "-o");
    } else if (!sxt_bundle_write(path, &results, error)) {
        exit_code = sxt_fail(SXT_EXIT_BAD_INPUT, "-o %s: %s", path, error);
    }
    sxt_data_free(data);
    sxt_bundle_finish(&results);
    return exit_code;
}

static int check_rig(const sxt_args *args, sxt_rig *rig) {
    sxt_session reference;
    sxt_check check;
    int exit_code = sxt_session_open_reference(args, &reference);
    if (exit_code == SXT_EXIT_DONE) {
        sxt_result result = sxt_check_rig(rig, &reference, true, &check);
        if (result != SXT_OK) {
            exit_code = sxt_session_fail(rig->session, result, "check");
        } else {
            print_check(&check);
            exit_code = check.ok ? SXT_EXIT_DONE : SXT_EXIT_CHECK_FAILED;
        }
    }
    sxt_session_close(&reference);
    return exit_code;
}

static int run_work(const sxt_args *args, const sxt_session *session, const sxt_work *work) {
    sxt_rig rig;
    char variants[SXT_MAX_STAGES][128] = {{0}};
    sxt_result result = sxt_rig_init(&rig, session, work, true);
    for (int i = 0; i < work->stage_count && result == SXT_OK; i++) {
        result = sxt_rig_prepare(&rig, i, variants[i], sizeof variants[i]);
    }
    if (result == SXT_OK) result = sxt_rig_run(&rig);
    int exit_code = SXT_EXIT_DONE;
    if (result != SXT_OK) {
        exit_code = sxt_session_fail(session, result, args->operand);
    } else {
        printf("device    %s\n", session->info->name);
        print_times(&rig, variants);
        print_faults(session);
        if (args->value[OUTPUT]) exit_code = write_results(&rig, args->value[OUTPUT]);
        if (exit_code == SXT_EXIT_DONE && args->value[CHECK]) exit_code = check_rig(args, &rig);
    }
    sxt_rig_finish(&rig);
    return exit_code;
}

static int run(const sxt_args *args) {
    sxt_bundle bundle = {0};
    sxt_session session = {0};
    sxt_work work = {0};
    char error[SXT_ERROR_SIZE];
    int exit_code = load_case(args, &bundle);
    if (exit_code == SXT_EXIT_DONE && !sxt_work_from_case(&bundle, &work, error)) {
        exit_code = sxt_fail(SXT_EXIT_BAD_INPUT, "%s: %s", args->operand, error);
    }
    if (exit_code == SXT_EXIT_DONE) exit_code = sxt_session_open(args, &session);
    if (exit_code == SXT_EXIT_DONE) exit_code = run_work(args, &session, &work);
    sxt_session_close(&session);
    sxt_work_finish(&work);
    sxt_bundle_finish(&bundle);
    return exit_code;
}

const sxt_command sxt_run_command = {
    .name = "run",
    .summary = "Run a case: one operation on the tensors of a safetensors file",
    .operand = "CASE.safetensors",
    .explanation =
        "The file's tensors are the input, its __metadata__ says what to compute; both are listed below.\n"
        "Prints the device, each kernel variant, its time, effective GFLOP/s and GB/s (every tensor moved once), and "
        "what\n"
        "the device found wrong with lengths, offsets, pages and a promised logit_bound.\n"
        "q8_0, q4_0 and fp8_e4m3 outputs are written as their bytes (U8), and decoded as NAME_f32. Caches written and\n"
        "copied are checked to the bit, codes of computed values to the one that rounding allows.\n"
        "An attention case with `norm` or `pairing` first norms and rotates q and k, in that order; with `kv_type`\n"
        "it writes k and v to a cache of that type. All stages are timed and checked one by one.\n",
    .print_more = sxt_case_print_help,
    .options =
        {
            [OUTPUT] = {'o', "output", "OUT.safetensors", false,
                        "write the outputs to this file (replaced as a whole, or not at all)"},
            [SET] = {0, "set", "KEY=VALUE", true, "override or add a key of __metadata__; may be given several times"},
            [CHECK] = {0, "check", NULL, false,
                       "compare with the double-precision reference, element by element with bounds\n"
                       "from the types, and with output tensors that the file has; exit 1 past a bound"},
        },
    .run = run,
};
