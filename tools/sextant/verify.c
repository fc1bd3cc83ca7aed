// sextant verify: random cases of every operation against the reference.
#include "case.h"
#include "check.h"
#include "maker.h"
#include "program.h"
#include "rig.h"
#include "sequences.h"
#include "work.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CASES, FORMS, SEED, FILTER, KERNEL, DUMP, ALL };
enum { DEFAULT_CASES = 500, DEFAULT_SEED = 1, LEAST_FORMS = 20, CASES_PER_FORM = 25, MAX_REASONS = 10 };

// Why the device has no kernel for some cases, in the library's words.
typedef struct reason {
    char text[160];
    uint32_t cases;
} reason;

typedef struct tally {
    uint32_t run, failed, unsupported;
    double worst;
    char first_failure[400];
    reason reasons[MAX_REASONS]; // the last one: all others
    int reason_count;
} tally;

typedef struct verification {
    const sxt_args *args;
    sxt_session device, reference;
    uint64_t cases, forms, seed;
    const char *dump;
    bool dump_all;
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

static void count_unsupported(tally *count, const char *text) {
    int i = 0;
    while (i < count->reason_count && strncmp(count->reasons[i].text, text, sizeof count->reasons[i].text - 1) != 0)
        i++;
    if (i == MAX_REASONS) i--;
    if (i == count->reason_count) {
        count->reason_count++;
        snprintf(count->reasons[i].text, sizeof count->reasons[i].text, "%s",
                 i == MAX_REASONS - 1 ? "for other reasons" : text);
    }
    count->reasons[i].cases++;
    count->unsupported++;
}

static int dump_case(const verification *v, const sxt_bundle *bundle, const char *family, uint64_t index) {
    char path[1024], error[SXT_ERROR_SIZE];
    snprintf(path, sizeof path, "%s/%s-%llu-%llu.safetensors", v->dump, family, (unsigned long long)v->seed,
             (unsigned long long)index);
    if (!sxt_bundle_write(path, bundle, error)) return sxt_fail(SXT_EXIT_BAD_INPUT, "--dump %s: %s", path, error);
    return SXT_EXIT_DONE;
}

// What the device reports must have a cause. (All bounds of logits that are promised are kept.)
static sxt_result check_faults(const verification *v, const sxt_work *work, tally *count, bool *out_failed) {
    uint32_t faults = 0;
    const sxt_stage *last = &work->stages[work->stage_count - 1];
    sxt_result result = sxt_device_faults(v->device.device, true, &faults);
    if (result != SXT_OK || last->op != SXT_OP_ATTENTION) return result;
    sxt_sequences sequences = sxt_sequences_of(work, last);
    if (sxt_sequences_stray(&sequences)) faults &= ~(uint32_t)SXT_FAULT_INDEX;
    if (faults && !count->failed)
        snprintf(count->first_failure, sizeof count->first_failure, "the device reports faults (%u) without a cause",
                 faults);
    *out_failed |= faults != 0;
    return SXT_OK;
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
        count_unsupported(count, v->device.last);
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
        result = check_faults(v, &work, count, out_failed);
        if (result != SXT_OK) exit_code = sxt_session_fail(&v->device, result, name);
    }
    sxt_rig_finish(&rig);
    sxt_work_finish(&work);
    return exit_code;
}

// A family in which something has no kernel is not ok, and one in which all has none has shown nothing.
static const char *verdict(const tally *count) {
    if (count->failed > 0 || (count->run > 0 && count->unsupported == count->run)) return "FAIL";
    return count->unsupported > 0 ? "part" : "ok";
}

static void print_cover(const verification *v, const sxt_family *family) {
    if (!family->cover) return;
    const sxt_cover *cover = family->cover();
    uint64_t forms = v->forms < v->cases ? v->forms : v->cases;
    if (forms >= (uint64_t)cover->row_count)
        printf(", all %u pairs of options", cover->pair_count);
    else
        printf(", %u of %u pairs of options", cover->pairs[forms - 1], cover->pair_count);
}

static void print_family(const verification *v, const sxt_family *family, const tally *count) {
    printf("%-15s %-5s %6u cases", family->name, verdict(count), count->run);
    if (count->failed) printf(", %u failed", count->failed);
    if (count->unsupported) printf(", %u without a kernel", count->unsupported);
    print_cover(v, family);
    printf(", worst error %.3g of its bound\n", count->worst);
    if (*count->first_failure) printf("                first: %s\n", count->first_failure);
    for (int i = 0; i < count->reason_count; i++)
        printf("                no kernel for %u: %s\n", count->reasons[i].cases, count->reasons[i].text);
    fflush(stdout);
}

static int verify_family(verification *v, const sxt_family *family, tally *count) {
    uint64_t forms = v->forms;
    int exit_code = SXT_EXIT_DONE;
    for (uint64_t i = 0; i < v->cases && exit_code == SXT_EXIT_DONE; i++) {
        // Each form and each case has a random stream of its own: one can be made again without those before it.
        uint64_t place = (uint64_t)(family - sxt_families) << 40;
        sxt_random form = sxt_random_seed(v->seed, place | 1u << 31 | i % forms),
                   random = sxt_random_seed(v->seed, place | i);
        sxt_bundle bundle = {0};
        sxt_maker maker = {.form = &form,
                           .random = &random,
                           .number = (uint32_t)(i % forms),
                           .thin = i / forms % 2,
                           .bundle = &bundle};
        bool failed = false;
        sxt_progress_show(&v->progress, "%s: %llu of %llu cases", family->name, (unsigned long long)i,
                          (unsigned long long)v->cases);
        family->make(&maker);
        const char *op = sxt_bundle_value(&bundle, "op");
        if (v->args->value[KERNEL] && op && strcmp(op, "attention") == 0)
            sxt_make_key(&maker, "kernel", "%s", v->args->value[KERNEL]);
        if (maker.failed) exit_code = sxt_fail(SXT_EXIT_NO_DEVICE, "verify: out of memory");
        if (exit_code == SXT_EXIT_DONE) exit_code = judge_case(v, &bundle, family->name, count, &failed);
        count->failed += failed;
        if ((failed || v->dump_all) && v->dump && exit_code == SXT_EXIT_DONE)
            exit_code = dump_case(v, &bundle, family->name, i);
        sxt_bundle_finish(&bundle);
    }
    sxt_progress_clear(&v->progress);
    if (exit_code == SXT_EXIT_DONE) print_family(v, family, count);
    return exit_code;
}

static int verify_all(verification *v, const char *filter) {
    bool failed = false;
    uint32_t unsupported = 0;
    int exit_code = SXT_EXIT_DONE;
    printf("device          %s (%s)\nseed            %llu\n", v->device.info->name, v->device.info->driver,
           (unsigned long long)v->seed);
    for (int f = 0; f < SXT_FAMILY_COUNT && exit_code == SXT_EXIT_DONE; f++) {
        tally count = {0};
        if (filter && !strstr(sxt_families[f].name, filter)) continue;
        exit_code = verify_family(v, &sxt_families[f], &count);
        failed |= strcmp(verdict(&count), "FAIL") == 0;
        unsupported += count.unsupported;
    }
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    if (failed)
        printf("FAIL\n");
    else if (unsupported)
        printf("ok where there is a kernel: %u cases have none\n", unsupported);
    else
        printf("all ok\n");
    return failed ? SXT_EXIT_CHECK_FAILED : SXT_EXIT_DONE;
}

static int read_options(verification *v) {
    const sxt_args *args = v->args;
    int64_t cases = DEFAULT_CASES, seed = DEFAULT_SEED, forms;
    if (args->value[CASES] && !sxt_parse_int(args->value[CASES], 1, 100000000, &cases)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--cases %s: not a whole number from 1 to 100000000", args->value[CASES]);
    }
    forms = cases / CASES_PER_FORM > LEAST_FORMS ? cases / CASES_PER_FORM : LEAST_FORMS;
    if (args->value[FORMS] && !sxt_parse_int(args->value[FORMS], 1, 1000000, &forms)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--forms %s: not a whole number from 1 to 1000000", args->value[FORMS]);
    }
    if (args->value[SEED] && !sxt_parse_int(args->value[SEED], 0, INT64_MAX, &seed)) {
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--seed %s: not a whole number from 0", args->value[SEED]);
    }
    sxt_attention_kernel kernel;
    char error[SXT_ERROR_SIZE];
    if (args->value[KERNEL] && !sxt_case_kernel_read(args->value[KERNEL], &kernel, error))
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--kernel %s: %s", args->value[KERNEL], error);
    v->cases = (uint64_t)cases;
    v->forms = (uint64_t)forms;
    v->seed = (uint64_t)seed;
    v->dump = args->value[DUMP];
    v->dump_all = args->value[ALL] != NULL;
    if (v->dump_all && !v->dump) return sxt_fail(SXT_EXIT_BAD_INPUT, "--all: there is no --dump that it could go with");
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
        printf("  %-15s %s\n", sxt_families[f].name, sxt_families[f].what);
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
        "Options of attention are drawn so that each two that may be together are, from 66 draws on.\n"
        "Every element is held to a bound derived from the types, and every result to a relative error; in q8_0, q4_0\n"
        "and fp8_e4m3, where an error may carry a value over an edge, one code off is just at its bound. Around and\n"
        "between the elements of all tensors lies NaN, which must neither be read into a result nor be overwritten;\n"
        "so may it in keys and values of no sequence. Inputs must not change, nor what no token takes. Cases that the\n"
        "device has no kernel for are counted apart, with the reason: their family is `part`, not ok. Exit 1 if "
        "anything\n"
        "fails, or all of a family has no kernel.\n",
    .print_more = print_families,
    .options =
        {
            [CASES] = {0, "cases", "N", false, "cases of each family (default 500; before a release 5000)"},
            [FORMS] = {0, "forms", "N", false,
                       "draws of types and options of each family (default cases/25, at least 20)"},
            [SEED] = {0, "seed", "S", false, "seed of the cases (default 1)"},
            [FILTER] = {0, "filter", "SUBSTR", false, "only families with this in their name"},
            [KERNEL] = {0, "kernel", "NAME", false,
                        "of attention: tile, software, matrix or matrix2; where it can't, the case has none"},
            [DUMP] = {0, "dump", "DIR", false, "write each failing case there, for `sextant run --check`"},
            [ALL] = {0, "all", NULL, false, "with --dump: each case, failing or not"},
        },
    .run = run,
};
