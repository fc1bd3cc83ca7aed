// sextant tune: finds the fastest kernels for the standard cases, and keeps them in a pipeline-cache file.
#include "bench.h"
#include "rig.h"

#include <string.h>

enum { CACHE, FILTER };

typedef struct tuner {
    const sxt_args *args;
    sxt_session session;
    sxt_progress progress;
    uint32_t rejected;
} tuner;

static bool is_meant(const sxt_args *args, const sxt_bench_case *c) {
    const char *filter = args->value[FILTER];
    return c->make == sxt_bench_attention && (!filter || strstr(c->name, filter));
}

static bool wanted(const tuner *t, const sxt_bench_case *c) {
    return is_meant(t->args, c) && (!c->gpu_only || !t->session.info->caps.software);
}

static void print(const sxt_bench_case *c, const sxt_tuning *tuning) {
    printf("%-38s %10.1f %10.1f %6.2fx %6u %6u  %s\n", c->name, tuning->default_us, tuning->best_us,
           tuning->default_us / tuning->best_us, tuning->candidates, tuning->rejected, tuning->best_variant);
    fflush(stdout);
}

// A device that lacks the kernel or the memory for a case makes a row that says so.
static int tune_case(tuner *t, const sxt_bench_case *c) {
    sxt_work work;
    sxt_rig rig;
    sxt_tuning tuning;
    sxt_work_desc desc;
    t->session.last[0] = '\0';
    sxt_progress_show(&t->progress, "tuning %s", c->name);
    if (!sxt_bench_make(c, &work)) return sxt_fail(SXT_EXIT_NO_DEVICE, "tune: out of memory");
    sxt_result result = sxt_rig_init(&rig, &t->session, &work, false);
    if (result == SXT_OK) {
        sxt_rig_desc(&rig, &work.stages[0], &desc);
        result = sxt_tune(t->session.device, SXT_OP_ATTENTION, &desc, &tuning);
    }
    sxt_rig_finish(&rig);
    sxt_work_finish(&work);
    sxt_progress_clear(&t->progress);
    if (result == SXT_OK) {
        print(c, &tuning);
        t->rejected += tuning.rejected;
        return SXT_EXIT_DONE;
    }
    if (result != SXT_ERROR_UNSUPPORTED && result != SXT_ERROR_OUT_OF_MEMORY)
        return sxt_session_fail(&t->session, result, c->name);
    printf("%-38s %s\n", c->name, *t->session.last ? t->session.last : sxt_result_name(result));
    return SXT_EXIT_DONE;
}

static int tune_all(tuner *t) {
    int exit_code = SXT_EXIT_DONE;
    printf("%-38s %10s %10s %7s %6s %6s  %s\n", "case", "default us", "best us", "gain", "tried", "wrong",
           "best kernel");
    for (int i = 0; i < sxt_bench_case_count && exit_code == SXT_EXIT_DONE; i++)
        if (wanted(t, &sxt_bench_cases[i])) exit_code = tune_case(t, &sxt_bench_cases[i]);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    return t->rejected > 0 ? SXT_EXIT_CHECK_FAILED : SXT_EXIT_DONE;
}

static int run(const sxt_args *args) {
    static tuner t;
    t = (tuner){.args = args, .progress = {.quiet = args->quiet, .every_line = args->verbose}};
    if (!args->value[CACHE])
        return sxt_fail(SXT_EXIT_BAD_INPUT, "tune: --cache FILE is missing: it keeps what is found");
    bool known = false;
    for (int i = 0; i < sxt_bench_case_count; i++)
        known |= is_meant(args, &sxt_bench_cases[i]);
    if (!known)
        return sxt_fail(SXT_EXIT_BAD_INPUT,
                        "--filter %s: in no name of a case of attention (see `sextant bench --list`)",
                        args->value[FILTER]);
    int exit_code = sxt_session_open_cached(args, args->value[CACHE], &t.session);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    if (t.session.info->kind == SXT_DEVICE_REFERENCE)
        exit_code = sxt_fail(SXT_EXIT_BAD_INPUT, "tune: the reference has one way to compute, and nothing to tune");
    else
        exit_code = tune_all(&t);
    sxt_session_close(&t.session);
    return exit_code;
}

const sxt_command sxt_tune_command = {
    .name = "tune",
    .summary = "Find the fastest attention kernels for this device by running them, and keep them in a file",
    .explanation =
        "For each standard case of attention (see `sextant bench --list`), runs every kernel and tile that the device\n"
        "has for it, drops those whose result is not that of the kernel for any device, and keeps the fastest of the\n"
        "others in a pipeline-cache file: for calls with the same types, channels and options, and about as many\n"
        "tokens, keys and heads. Programs that open the device with this file as cache_path then have them\n"
        "(`sextant bench --cache FILE` shows it). The file holds for this device, driver and version of Sextant "
        "alone.\n"
        "Exit 1 if a result was wrong.\n",
    .options =
        {
            [CACHE] = {0, "cache", "FILE", false, "the file: made, or added to"},
            [FILTER] = {0, "filter", "SUBSTR", false, "only cases with this in their name"},
        },
    .run = run,
};
