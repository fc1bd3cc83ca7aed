// sextant verify: random cases of every operation against the reference.
#include "check.h"
#include "generate.h"
#include "program.h"
#include "rig.h"
#include "work.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CASES, SEED, FILTER, DUMP };
enum { DEFAULT_CASES = 500, DEFAULT_SEED = 1, LEAST_FORMS = 20, CASES_PER_FORM = 25 };

typedef struct tally {
    uint32_t run, failed, unsupported;
    double worst;
    char first_failure[400];
} tally;

typedef struct verification {
    const sxt_args *args;
    sxt_session device, reference;
    uint64_t cases, seed;
    const char *dump;
    sxt_progress progress;
} verification;

// What to tell about a case that failed its check.
static void describe_failure(const sxt_check *check, char *out_text, size_t size) {
    const sxt_check_line *worst = NULL;
    for (int i = 0; i < check->line_count; i++) {
        if (!check->lines[i].ok && !worst) worst = &check->lines[i];
    }
    if (*check->damage) {
        snprintf(out_text, size, "%s", check->damage);
    } else if (worst && worst->worst_share > 1) {
        snprintf(out_text, size, "%s[%llu] is %.9g, the reference has %.9g: %.3g times what is allowed", worst->slot,
                 (unsigned long long)worst->worst_index, worst->worst_value, worst->worst_reference,
                 worst->worst_share);
    } else if (worst) {
        snprintf(out_text, size, "%s: relative error %.2e against the %s, limit %.1e", worst->slot, worst->error,
                 worst->against, worst->limit);
    }
}

static int dump_case(const verification *v, const sxt_bundle *bundle, const char *family, uint64_t index) {
    char path[1024], error[SXT_ERROR_SIZE];
    snprintf(path, sizeof path, "%s/%s-%llu-%llu.safetensors", v->dump, family, (unsigned long long)v->seed,
             (unsigned long long)index);
    if (!sxt_bundle_write(path, bundle, error)) return sxt_fail(SXT_EXIT_BAD_INPUT, "--dump %s: %s", path, error);
    return SXT_EXIT_DONE;
}

// Runs and checks one case; a device's refusal is counted, and any other failure ends the run.
static int judge_case(verification *v, const sxt_bundle *bundle, const char *name, tally *count, bool *out_failed) {
    static sxt_check check;
    char error[SXT_ERROR_SIZE];
    sxt_work work;
    sxt_rig rig;
    *out_failed = false;
    if (!sxt_work_from_case(bundle, &work, error))
        return sxt_fail(SXT_EXIT_CHECK_FAILED, "verify: %s makes a bad case: %s", name, error);
    v->device.last[0] = '\0';
    sxt_result result = sxt_rig_init(&rig, &v->device, &work, true);
    if (result == SXT_OK) result = sxt_rig_run(&rig);
    if (result == SXT_OK) result = sxt_check_rig(&rig, &v->reference, false, &check);
    count->run++;
    int exit_code = SXT_EXIT_DONE;
    if (result == SXT_ERROR_UNSUPPORTED) {
        count->unsupported++;
    } else if (result == SXT_ERROR_INVALID) {
        // A description that the front door should have let in.
        *out_failed = true;
        snprintf(count->first_failure, sizeof count->first_failure, "%.390s", v->device.last);
    } else if (result != SXT_OK) {
        exit_code = sxt_session_fail(&v->device, result, name);
    } else {
        count->worst = fmax(count->worst, check.worst);
        *out_failed = !check.ok;
        if (!check.ok && !count->failed) describe_failure(&check, count->first_failure, sizeof count->first_failure);
    }
    sxt_rig_finish(&rig);
    sxt_work_finish(&work);
    return exit_code;
}

static void print_family(const sxt_family *family, const tally *count) {
    // A family in which nothing could run has shown nothing.
    bool ok = count->failed == 0 && count->unsupported < count->run;
    printf("%-13s %-5s %6u cases", family->name, ok ? "ok" : "FAIL", count->run);
    if (count->failed) printf(", %u failed", count->failed);
    if (count->unsupported) printf(", %u not supported by this device", count->unsupported);
    printf(", worst error %.3g of its bound", count->worst);
    if (*count->first_failure) printf("\n              first: %s", count->first_failure);
    putchar('\n');
    fflush(stdout);
}

static int verify_family(verification *v, const sxt_family *family, bool *out_ok) {
    tally count = {0};
    uint64_t forms = v->cases / CASES_PER_FORM > LEAST_FORMS ? v->cases / CASES_PER_FORM : LEAST_FORMS;
    int exit_code = SXT_EXIT_DONE;
    for (uint64_t i = 0; i < v->cases && exit_code == SXT_EXIT_DONE; i++) {
        // Each form and each case has a random stream of its own: one can be made again without those before it.
        uint64_t place = (uint64_t)(family - sxt_families) << 40;
        sxt_random form = sxt_random_seed(v->seed, place | 1u << 31 | i % forms),
                   random = sxt_random_seed(v->seed, place | i);
        sxt_bundle bundle = {0};
        bool failed = false;
        sxt_progress_show(&v->progress, "%s: %llu of %llu cases", family->name, (unsigned long long)i,
                          (unsigned long long)v->cases);
        if (!family->make(&form, &random, &bundle)) exit_code = sxt_fail(SXT_EXIT_NO_DEVICE, "verify: out of memory");
        if (exit_code == SXT_EXIT_DONE) exit_code = judge_case(v, &bundle, family->name, &count, &failed);
        count.failed += failed;
        if (failed && v->dump && exit_code == SXT_EXIT_DONE) exit_code = dump_case(v, &bundle, family->name, i);
        sxt_bundle_finish(&bundle);
    }
    sxt_progress_clear(&v->progress);
    if (exit_code == SXT_EXIT_DONE) print_family(family, &count);
    *out_ok = count.failed == 0 && count.unsupported < count.run;
    return exit_code;
}

static int verify_all(verification *v, const char *filter) {
    bool all_ok = true;
    int families = 0, exit_code = SXT_EXIT_DONE;
    printf("device        %s (%s)\nseed          %llu\n", v->device.info->name, v->device.info->driver,
           (unsigned long long)v->seed);
    for (int f = 0; f < SXT_FAMILY_COUNT && exit_code == SXT_EXIT_DONE; f++) {
        bool ok = true;
        if (filter && !strstr(sxt_families[f].name, filter)) continue;
        families++;
        exit_code = verify_family(v, &sxt_families[f], &ok);
        all_ok &= ok;
    }
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    printf("%s\n", all_ok ? "all ok" : "FAIL");
    return all_ok ? SXT_EXIT_DONE : SXT_EXIT_CHECK_FAILED;
}

static int read_options(verification *v) {
    const sxt_args *args = v->args;
    int64_t cases = DEFAULT_CASES, seed = DEFAULT_SEED;
    if (args->value[CASES] && !sxt_parse_int(args->value[CASES], 1, 100000000, &cases)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--cases %s: not a whole number from 1 to 100000000", args->value[CASES]);
    }
    if (args->value[SEED] && !sxt_parse_int(args->value[SEED], 0, INT64_MAX, &seed)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--seed %s: not a whole number from 0", args->value[SEED]);
    }
    v->cases = (uint64_t)cases;
    v->seed = (uint64_t)seed;
    v->dump = args->value[DUMP];
    bool known = !args->value[FILTER];
    for (int f = 0; f < SXT_FAMILY_COUNT; f++)
        known |= args->value[FILTER] && strstr(sxt_families[f].name, args->value[FILTER]);
    if (!known)
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--filter %s: in no family's name (see `sextant verify --help`)",
                        args->value[FILTER]);
    if (v->dump && mkdir(v->dump, 0777) != 0 && errno != EEXIST) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--dump %s: %s", v->dump, strerror(errno));
    }
    return SXT_EXIT_DONE;
}

static int run(const sxt_args *args) {
    verification v = {.args = args, .progress = {.every_line = args->verbose, .quiet = args->quiet}};
    int exit_code = read_options(&v);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    exit_code = sxt_session_open(args, &v.device);
    if (exit_code == SXT_EXIT_DONE) exit_code = sxt_session_open_reference(args, &v.reference);
    if (exit_code == SXT_EXIT_DONE) exit_code = verify_all(&v, args->value[FILTER]);
    sxt_session_close(&v.reference);
    sxt_session_close(&v.device);
    return exit_code;
}

static void print_families(void) {
    printf("\nFamilies:\n");
    for (int f = 0; f < SXT_FAMILY_COUNT; f++)
        printf("  %-13s %s\n", sxt_families[f].name, sxt_families[f].what);
}

const sxt_command sxt_verify_command = {
    .name = "verify",
    .summary = "Run random cases of every operation on the device, against the reference",
    .explanation =
        "Shapes (primes, 1, powers of two and their neighbours), strides, offsets, types and options are drawn from "
        "the\n"
        "seed; the same seed makes the same cases. A device compiles kernels for types and options, so each family "
        "draws\n"
        "those 20 times (or once in 25 cases, if that is more); every case has shapes, strides and data of its own.\n"
        "Every element is held to a bound derived from the types, and every result to a relative error; in q8_0, q4_0\n"
        "and fp8_e4m3, where an error may carry a value over an edge, one code off is just at its bound. Around and\n"
        "between the elements of all tensors lies NaN, which must neither be read into a result nor be overwritten;\n"
        "inputs must not change, nor rows of a cache that no token takes. What the device has no kernel for is\n"
        "counted apart. Exit 1 if anything fails.\n",
    .print_more = print_families,
    .options =
        {
            [CASES] = {0, "cases", "N", false, "cases of each family (default 500, 4000 in all)"},
            [SEED] = {0, "seed", "S", false, "seed of the cases (default 1)"},
            [FILTER] = {0, "filter", "SUBSTR", false, "only families with this in their name"},
            [DUMP] = {0, "dump", "DIR", false, "write each failing case there, for `sextant run --check`"},
        },
    .run = run,
};
