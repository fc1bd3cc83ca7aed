// sextant bench: times the standard cases.
#include "bench.h"

#include "case.h"

#include "replace.h"
#include "rig.h"

#include <stdlib.h>
#include <string.h>

enum { FILTER, KERNEL, CACHE, JSON, HTML, MIN_TIME, LIST };
enum { MAX_RUNS = 2000, LEAST_RUNS = 3, LONGEST_BATCH = SXT_MAX_TIMESTAMPS / 2 };

typedef struct samples {
    double us[MAX_RUNS];
    uint32_t count;
} samples;

// One submission of `batch` repetitions of the whole work, each between two timestamps.
static sxt_result time_batch(sxt_rig *rig, uint32_t batch, samples *out) {
    uint32_t from[LONGEST_BATCH], to[LONGEST_BATCH];
    uint64_t ticket;
    sxt_result result = SXT_OK;
    for (uint32_t i = 0; i < batch && result == SXT_OK; i++) {
        result = sxt_stream_timestamp(rig->stream, &from[i]);
        for (int s = 0; s < rig->work->stage_count && result == SXT_OK; s++)
            result = sxt_rig_record(rig, s);
        if (result == SXT_OK) result = sxt_stream_timestamp(rig->stream, &to[i]);
    }
    if (result == SXT_OK)
        result = sxt_stream_submit(rig->stream, &ticket);
    else
        sxt_stream_reset(rig->stream);
    if (result == SXT_OK) result = sxt_device_wait(rig->session->device, ticket, UINT64_MAX);
    for (uint32_t i = 0; i < batch && result == SXT_OK && out->count < MAX_RUNS; i++) {
        result = sxt_stream_elapsed(rig->stream, from[i], to[i], &out->us[out->count++]);
    }
    return result;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// A submission of `batch` repetitions; without a device clock a single run.
static sxt_result time_turn(sxt_rig *rig, uint32_t batch, samples *out) {
    if (rig->device_clock) return time_batch(rig, batch, out);
    double us = 0;
    sxt_result result = sxt_rig_run(rig);
    for (int s = 0; s < rig->work->stage_count; s++)
        us += rig->stage_us[s];
    out->us[out->count++] = us;
    return result;
}

// The same with the bound of an attention's logits unknown.
static sxt_result time_turn_unbounded(sxt_rig *rig, uint32_t batch, sxt_attention_desc *desc, samples *out) {
    const float bound = desc->logit_bound;
    desc->logit_bound = 0;
    sxt_result result = out->count == 0 ? sxt_rig_run(rig) : SXT_OK; // warms up
    if (result == SXT_OK) result = time_turn(rig, batch, out);
    desc->logit_bound = bound;
    return result;
}

// Warms up, then runs until `min_time` seconds have passed. Sorted samples. `bounded`, if any, is the rig's attention,
// whose bound is known: it is timed without it too, in turn, as what else a machine does changes by the second.
static sxt_result time_work(sxt_rig *rig, double min_time, sxt_attention_desc *bounded, samples *out,
                            samples *out_unbounded) {
    out->count = out_unbounded->count = 0;
    sxt_result result = sxt_rig_run(rig);
    double start = sxt_now();
    if (result == SXT_OK) result = sxt_rig_run(rig);
    double once = sxt_now() - start;
    // Several short repetitions share a submission, which alone takes a software device 0.2 ms.
    uint32_t batch = once < 0.001 ? LONGEST_BATCH / 2 : once < 0.01 ? 4 : 1;
    start = sxt_now();
    while (result == SXT_OK && out->count < MAX_RUNS && (out->count < LEAST_RUNS || sxt_now() - start < min_time)) {
        result = time_turn(rig, batch, out);
        if (result == SXT_OK && bounded) result = time_turn_unbounded(rig, batch, bounded, out_unbounded);
    }
    qsort(out->us, out->count, sizeof *out->us, compare);
    qsort(out_unbounded->us, out_unbounded->count, sizeof *out_unbounded->us, compare);
    return result;
}

static double median(const samples *from) {
    uint32_t n = from->count;
    return n % 2 ? from->us[n / 2] : (from->us[n / 2 - 1] + from->us[n / 2]) / 2;
}

typedef struct bench {
    const sxt_args *args;
    sxt_session session;
    double min_time;
    sxt_attention_kernel kernel;
    sxt_progress progress;
    samples samples, unbounded;
    sxt_bench_report report;
    sxt_bench_result *results;
} bench;

static sxt_result time_rig(bench *b, sxt_rig *rig, sxt_attention_desc *bounded, sxt_bench_result *out) {
    size_t used = 0;
    for (int s = 0; s < rig->work->stage_count; s++) {
        char variant[128] = "";
        sxt_result result = sxt_rig_prepare(rig, s, variant, sizeof variant);
        if (result != SXT_OK) return result;
        used += (size_t)snprintf(out->variant + used, sizeof out->variant - used, "%s%s", s ? " + " : "", variant);
        if (used >= sizeof out->variant) used = sizeof out->variant - 1;
        out->flops += sxt_stage_flops(rig->work, &rig->work->stages[s]);
        out->bytes += sxt_stage_bytes(rig->work, &rig->work->stages[s]);
        out->products |= rig->work->stages[s].op == SXT_OP_ATTENTION;
    }
    sxt_result result = time_work(rig, b->min_time, bounded, &b->samples, &b->unbounded);
    if (result != SXT_OK) return result;
    out->timed = true;
    out->runs = b->samples.count;
    out->median_us = median(&b->samples);
    out->min_us = b->samples.us[0];
    if (bounded) out->bound_gain = median(&b->unbounded) / out->median_us;
    return SXT_OK;
}

// Times one work. A device that lacks the kernel or the memory makes a row that says so; other failures end the bench.
static int time_one(bench *b, sxt_work *work, sxt_bench_result *out) {
    sxt_rig rig;
    sxt_stage *first = &work->stages[0];
    const bool is_bounded = first->op == SXT_OP_ATTENTION && first->desc.attention.logit_bound > 0;
    b->session.last[0] = '\0';
    sxt_result result = sxt_rig_init(&rig, &b->session, work, false);
    if (result == SXT_OK) result = time_rig(b, &rig, is_bounded ? &first->desc.attention : NULL, out);
    sxt_rig_finish(&rig);
    if (result == SXT_OK) return SXT_EXIT_DONE;
    if (result != SXT_ERROR_UNSUPPORTED && result != SXT_ERROR_OUT_OF_MEMORY)
        return sxt_session_fail(&b->session, result, out->name);
    snprintf(out->why_not, sizeof out->why_not, "%.150s", *b->session.last ? b->session.last : sxt_result_name(result));
    return SXT_EXIT_DONE;
}

// Whether the device is the host's own cores.
static bool on_host(const bench *b) {
    return b->session.info->caps.software || b->session.info->kind == SXT_DEVICE_REFERENCE;
}

static int measure_copy(bench *b) {
    enum { COPY_BYTES = 120 << 20 }; // well past any cache, and within the storage range of the baseline
    sxt_bench_result copy = {.name = "copy bandwidth"};
    sxt_work work;
    if (on_host(b)) {
        b->report.copy_gbs = sxt_bench_host_copy(COPY_BYTES);
        b->report.copy_way = "memcpy on all cores of the host";
        return SXT_EXIT_DONE;
    }
    b->report.copy_way = "kv_write f32 to f32";
    if (!sxt_bench_make_copy(COPY_BYTES, &work)) return sxt_fail(SXT_EXIT_NO_DEVICE, "bench: out of memory");
    int exit_code = time_one(b, &work, &copy);
    sxt_work_finish(&work);
    if (copy.timed) b->report.copy_gbs = copy.bytes / copy.median_us * 1e-3;
    return exit_code;
}

// Left out where the device has no clock or runs no kernels.
static int measure_fma(bench *b) {
    double flops = 0;
    sxt_result result = sxt_measure_fma(b->session.device, &flops);
    b->report.fma_gflops = flops * 1e-9;
    return result == SXT_OK || result == SXT_ERROR_UNSUPPORTED ? SXT_EXIT_DONE
                                                               : sxt_session_fail(&b->session, result, "FMA rate");
}

// Of the shapes that the library measures.
static int measure_matrix(bench *b) {
    const sxt_caps *caps = &b->report.device->caps;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        double flops = 0;
        sxt_result result = sxt_measure_matrix(b->session.device, &caps->matrix_shapes[i], &flops);
        if (result != SXT_OK && result != SXT_ERROR_UNSUPPORTED)
            return sxt_session_fail(&b->session, result, "rate of matrix products");
        b->report.matrix_gflops[i] = flops * 1e-9;
    }
    return SXT_EXIT_DONE;
}

static bool wanted(const bench *b, const sxt_bench_case *c) {
    const char *filter = b->args->value[FILTER];
    if (filter && !strstr(c->name, filter)) return false;
    return !c->gpu_only || b->args->value[LIST] || !on_host(b);
}

static int time_case(bench *b, const sxt_bench_case *c) {
    sxt_bench_result *out = &b->results[b->report.result_count];
    sxt_work work;
    int exit_code = SXT_EXIT_DONE;
    *out = (sxt_bench_result){.name = c->name};
    sxt_progress_show(&b->progress, "timing %s", c->name);
    if (!sxt_bench_make(c, &work)) {
        snprintf(out->why_not, sizeof out->why_not, "out of host memory");
    } else {
        for (int s = 0; s < work.stage_count; s++)
            if (work.stages[s].op == SXT_OP_ATTENTION) work.stages[s].desc.attention.kernel = b->kernel;
        exit_code = time_one(b, &work, out);
        sxt_work_finish(&work);
    }
    sxt_progress_clear(&b->progress);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    b->report.result_count++;
    sxt_bench_print_row(&b->report, out);
    return SXT_EXIT_DONE;
}

// Whether the device has timestamps.
static bool has_clock(const bench *b) {
    sxt_stream *stream = NULL;
    uint32_t index;
    bool has =
        sxt_stream_create(b->session.device, &stream) == SXT_OK && sxt_stream_timestamp(stream, &index) == SXT_OK;
    sxt_stream_destroy(&stream);
    return has;
}

static int time_all(bench *b) {
    b->report.device_clock = has_clock(b);
    int exit_code = measure_copy(b);
    if (exit_code == SXT_EXIT_DONE && b->report.device_clock) exit_code = measure_fma(b);
    if (exit_code == SXT_EXIT_DONE && b->report.device_clock) exit_code = measure_matrix(b);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    sxt_bench_print_head(&b->report);
    for (int i = 0; i < sxt_bench_case_count && exit_code == SXT_EXIT_DONE; i++) {
        if (wanted(b, &sxt_bench_cases[i])) exit_code = time_case(b, &sxt_bench_cases[i]);
    }
    return exit_code;
}

// Opens the files before the work, so that a wrong path costs no time.
static int time_into_files(bench *b) {
    static const struct {
        int option;
        const char *name;
        void (*write)(FILE *file, const sxt_bench_report *report);
    } formats[] = {{JSON, "--json", sxt_bench_write_json}, {HTML, "--html", sxt_bench_write_html}};
    enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };
    sxt_replace files[FORMAT_COUNT] = {{0}};
    char error[256];
    int exit_code = SXT_EXIT_DONE;
    for (int i = 0; i < FORMAT_COUNT && exit_code == SXT_EXIT_DONE; i++) {
        const char *path = b->args->value[formats[i].option];
        if (path && !sxt_replace_begin(&files[i], path, error, sizeof error)) {
            exit_code = sxt_fail(SXT_EXIT_BAD_INPUT, "%s %s: %s", formats[i].name, path, error);
        }
    }
    if (exit_code == SXT_EXIT_DONE) exit_code = time_all(b);
    for (int i = 0; i < FORMAT_COUNT; i++) {
        bool keep = exit_code == SXT_EXIT_DONE && files[i].file;
        if (keep) formats[i].write(files[i].file, &b->report);
        if (!sxt_replace_end(&files[i], keep, error, sizeof error) && keep) {
            exit_code =
                sxt_fail(SXT_EXIT_BAD_INPUT, "%s %s: %s", formats[i].name, b->args->value[formats[i].option], error);
        }
    }
    return exit_code;
}

static int list_cases(const bench *b) {
    for (int i = 0; i < sxt_bench_case_count; i++) {
        if (wanted(b, &sxt_bench_cases[i]))
            printf("%s%s\n", sxt_bench_cases[i].name, sxt_bench_cases[i].gpu_only ? " (GPU only)" : "");
    }
    return SXT_EXIT_DONE;
}

static int run(const sxt_args *args) {
    static bench b;
    b = (bench){.args = args, .min_time = 0.5, .progress = {.every_line = args->verbose, .quiet = args->quiet}};
    bool known = !args->value[FILTER];
    for (int i = 0; i < sxt_bench_case_count; i++)
        known |= args->value[FILTER] && strstr(sxt_bench_cases[i].name, args->value[FILTER]);
    if (!known)
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--filter %s: in no case's name (see `sextant bench --list`)",
                        args->value[FILTER]);
    if (args->value[MIN_TIME] && !sxt_parse_float(args->value[MIN_TIME], 0, 3600, &b.min_time)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--min-time %s: not a number of seconds from 0 to 3600",
                        args->value[MIN_TIME]);
    }
    char error[SXT_ERROR_SIZE];
    if (args->value[KERNEL] && !sxt_case_kernel_read(args->value[KERNEL], &b.kernel, error))
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--kernel %s: %s", args->value[KERNEL], error);
    if (args->value[LIST]) return list_cases(&b);
    b.results = calloc((size_t)sxt_bench_case_count, sizeof *b.results);
    if (!b.results) return sxt_fail(SXT_EXIT_NO_DEVICE, "bench: out of memory");
    int exit_code = sxt_session_open_cached(args, args->value[CACHE], &b.session);
    b.report = (sxt_bench_report){.device = b.session.info, .results = b.results};
    if (exit_code == SXT_EXIT_DONE) exit_code = time_into_files(&b);
    sxt_session_close(&b.session);
    free(b.results);
    return exit_code;
}

const sxt_command sxt_bench_command = {
    .name = "bench",
    .summary = "Time standard cases, and compare with the device's own copy bandwidth",
    .explanation =
        "Each case is warmed up, then run until its time is up, at least three times; the device's "
        "timestamps count, or\nwall time around submission and wait where it has none. Bytes count all that "
        "must be read or written, once:\nevery tensor, but of a cache the rows at hand alone. Activations are "
        "f32 and caches f16 where the name does not say\notherwise; tensors of attention lie head by head. "
        "Copy bandwidth is measured in the same run on 120 MiB: of a GPU by\na kv_write from f32 to f32, of a "
        "software device by memcpy on all cores of the host. Cases marked (GPU only) are\nleft out on software "
        "devices.\n\n"
        "fma and matrix are rates of kernels that do nothing else: f32 multiply-adds, and products of each shape "
        "that the\ndevice's matrix units take, with sums in f32.\n\n"
        "A case NAME.bounded is NAME with the bound of its logits known. It is timed without it too, in turn, and "
        "tells the gain.\n\n"
        "JSON: {\"device\": {…}, \"results\": [{\"name\", \"median_us\", \"min_us\", \"runs\", \"flops\", "
        "\"bytes\", \"variant\"}]}, with\n\"bound_gain\" where there is one; a case that the device cannot run "
        "has null times, and says why in \"not_run\".\n",
    .options =
        {
            [FILTER] = {0, "filter", "SUBSTR", false, "only cases with this in their name"},
            [KERNEL] = {0, "kernel", "NAME", false,
                        "of attention: tile, software, matrix or matrix2; default: the device's choice"},
            [JSON] = {0, "json", "FILE", false, "also write the results there as JSON"},
            [HTML] = {0, "html", "FILE", false, "also write them there as a page with bars"},
            [MIN_TIME] = {0, "min-time", "S", false, "seconds to spend on each case (default 0.5)"},
            [CACHE] = {0, "cache", "FILE", false, "pipeline-cache file, with what `sextant tune` found"},
            [LIST] = {0, "list", NULL, false, "print the names of the cases, and end"},
        },
    .run = run,
};
