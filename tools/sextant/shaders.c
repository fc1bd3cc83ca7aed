// sextant shaders: what the driver's compiler makes of every kernel variant.
#include "shaders.h"

#include "replace.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILTER, JSON };

enum { MAX_STATISTICS = 256 };

// ── Figures that drivers agree upon, under names of their own ──

typedef enum figure {
    REGISTERS,
    SCALARS,
    SPILLS,
    SHARED,
    SCRATCH,
    CODE,
    OCCUPANCY,
    INSTRUCTIONS,
    THROUGHPUT,
    FIGURES
} figure;

// Names as RADV, AMD's own drivers, ANV, NVIDIA's and Turnip (whose code size is in words of 4 bytes) have them. If one
// driver has several, they are added up.
static const struct {
    const char *key, *heading;
    const char *names[4];
} figures[FIGURES] = {
    [REGISTERS] = {"registers", "regs", {"VGPRs", "numUsedVgprs", "Register Count", "Registers used"}},
    [SCALARS] = {"scalar_registers", "sregs", {"SGPRs", "numUsedSgprs"}},
    [SPILLS] = {"spills", "spills", {"Spilled VGPRs", "Spilled SGPRs", "Spill Count", "Fill Count"}},
    [SHARED] = {"shared_bytes", "shared", {"LDS size", "ldsUsageSizeInBytes", "Workgroup Memory Size"}},
    [SCRATCH] = {"scratch_bytes",
                 "scratch",
                 {"Scratch size", "scratchMemUsageInBytes", "Scratch Memory Size", "Local Memory Size"}},
    [CODE] = {"code_size", "code", {"Code size", "Binary Size"}},
    [OCCUPANCY] = {"occupancy", "waves", {"Subgroups per SIMD", "Max Waves Per Core"}},
    [INSTRUCTIONS] = {"instructions", "instr", {"Instructions", "Instruction Count"}},
    [THROUGHPUT] = {"inverse_throughput", "cycles", {"Inverse Throughput", "Cycle Count"}},
};

static bool is_figure(figure f, const char *name) {
    for (int i = 0; i < 4 && figures[f].names[i]; i++)
        if (strcmp(figures[f].names[i], name) == 0) return true;
    return false;
}

// ── One walk ──

typedef struct walk {
    const sxt_args *args;
    sxt_session session;
    sxt_progress progress;
    sxt_statistic statistics[MAX_STATISTICS];
    json_t *results;
    int matches, variants, spilled, failed;
    int exit_code;
} walk;

static void print_head(const walk *w) {
    printf("device  %s (%s)\n\n%-56s %-26s %4s", w->session.info->name, w->session.info->driver, "variant", "shader",
           "lane");
    for (int f = 0; f < FIGURES; f++)
        printf(" %7s", figures[f].heading);
    putchar('\n');
}

static json_t *number(double value) {
    return value == floor(value) && fabs(value) < 9e15 ? json_integer((json_int_t)value) : json_real(value);
}

// The row of one executable: `count` figures from `first` on.
static void report(walk *w, json_t *common, const char *name, const sxt_statistic *first, uint32_t count) {
    double values[FIGURES];
    json_t *row = json_copy(common), *driver = json_object();
    for (int f = 0; f < FIGURES; f++) {
        values[f] = NAN;
        for (uint32_t i = 0; i < count; i++)
            if (is_figure((figure)f, first[i].name)) values[f] = (isnan(values[f]) ? 0 : values[f]) + first[i].value;
    }
    for (uint32_t i = 0; i < count; i++)
        json_object_set_new(driver, first[i].name, number(first[i].value));
    json_object_set_new(row, "dispatch", json_integer(first->dispatch));
    json_object_set_new(row, "executable", json_integer(first->executable));
    json_object_set_new(row, "shader", json_string(first->shader));
    json_object_set_new(row, "subgroup_size", json_integer(first->subgroup_size));
    char label[SXT_SHADER_NAME + 16];
    snprintf(label, sizeof label, first->dispatch ? "%s#%u" : "%s", name, first->dispatch);
    printf("%-56s %-26s %4u", label, first->shader, first->subgroup_size);
    for (int f = 0; f < FIGURES; f++) {
        if (isnan(values[f])) {
            printf(" %7s", "-");
            continue;
        }
        printf(" %7.0f", values[f]);
        json_object_set_new(row, figures[f].key, number(values[f]));
    }
    putchar('\n');
    json_object_set_new(row, "driver", driver);
    json_array_append_new(w->results, row);
    w->variants++;
    w->spilled += values[SPILLS] > 0 || values[SCRATCH] > 0;
}

static void report_all(walk *w, const char *name, sxt_op op, const char *variant, uint32_t count) {
    static const char *const ops[SXT_OP_COUNT] = {[SXT_OP_NORM] = "norm",
                                                  [SXT_OP_ROPE] = "rope",
                                                  [SXT_OP_QK_NORM_ROPE] = "qk_norm_rope",
                                                  [SXT_OP_KV_WRITE] = "kv_write",
                                                  [SXT_OP_ATTENTION] = "attention"};
    json_t *common = json_pack("{s:s, s:s, s:s}", "name", name, "op", ops[op], "variant", variant);
    if (count == 0) { // the driver compiles it, and tells nothing
        printf("%-56s %s\n", name, variant);
        json_array_append(w->results, common);
        w->variants++;
    }
    for (uint32_t first = 0, end; first < count; first = end) {
        const sxt_statistic *s = &w->statistics[first];
        for (end = first; end < count && w->statistics[end].dispatch == s->dispatch &&
                          w->statistics[end].executable == s->executable;)
            end++;
        report(w, common, name, s, end - first);
    }
    json_decref(common);
}

static bool visit(void *user, const char *name, sxt_op op, const sxt_work_desc *desc) {
    walk *w = user;
    const char *filter = w->args->value[FILTER];
    if (filter && !strstr(name, filter)) return true;
    w->matches++;
    sxt_progress_show(&w->progress, "compiling %s", name);
    char variant[160] = "";
    uint32_t count = 0;
    *w->session.last = '\0';
    sxt_result result = sxt_describe(w->session.device, op, desc, variant, sizeof variant);
    const bool planned = result == SXT_OK;
    if (planned) result = sxt_statistics(w->session.device, op, desc, w->statistics, MAX_STATISTICS, &count);
    sxt_progress_clear(&w->progress);
    if (result == SXT_OK) {
        report_all(w, name, op, variant, count < MAX_STATISTICS ? count : MAX_STATISTICS);
    } else if (result == SXT_ERROR_DEVICE_LOST || result == SXT_ERROR_OUT_OF_MEMORY) {
        w->exit_code = sxt_session_fail(&w->session, result, name);
    } else {
        // That a device has no kernel for a form is how it is; a kernel that does not compile is a fault.
        const bool fault = planned || result != SXT_ERROR_UNSUPPORTED;
        printf("%-56s %s: %s\n", name, fault ? "FAILED" : "no kernel",
               *w->session.last ? w->session.last : sxt_result_name(result));
        w->failed += fault;
    }
    fflush(stdout);
    return w->exit_code == SXT_EXIT_DONE;
}

static void write_json(const walk *w, FILE *file) {
    const sxt_device_info *info = w->session.info;
    json_t *root = json_pack("{s:{s:s, s:s, s:s}, s:O}", "device", "name", info->name, "driver", info->driver, "type",
                             info->type, "results", w->results);
    json_dumpf(root, file, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    fputc('\n', file);
    json_decref(root);
}

static int walk_all(walk *w) {
    const sxt_buffer_desc desc = {.bytes = SXT_SHADER_BUFFER_BYTES};
    sxt_buffer *buffer = NULL;
    const sxt_result result = sxt_buffer_create(w->session.device, &desc, &buffer);
    if (result != SXT_OK) return sxt_session_fail(&w->session, result, "shaders");
    print_head(w);
    sxt_shader_cases(buffer, visit, w);
    sxt_buffer_destroy(&buffer);
    if (w->exit_code != SXT_EXIT_DONE) return w->exit_code;
    printf("%d variants, %d with spills\n", w->variants, w->spilled);
    return w->failed > 0 ? SXT_EXIT_CHECK_FAILED : SXT_EXIT_DONE;
}

// Opens the file before the work, so that a wrong path costs no time.
static int walk_into_file(walk *w) {
    const char *path = w->args->value[JSON];
    char error[256];
    sxt_replace file = {0};
    if (path && !sxt_replace_begin(&file, path, error, sizeof error))
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--json %s: %s", path, error);
    int exit_code = walk_all(w);
    const bool keep = file.file && (exit_code == SXT_EXIT_DONE || exit_code == SXT_EXIT_CHECK_FAILED);
    if (keep) write_json(w, file.file);
    if (!sxt_replace_end(&file, keep, error, sizeof error) && keep)
        exit_code = sxt_fail(SXT_EXIT_BAD_INPUT, "--json %s: %s", path, error);
    return exit_code;
}

static bool match(void *user, const char *name, sxt_op op, const sxt_work_desc *desc) {
    (void)op, (void)desc;
    return !strstr(name, user);
}

static int run(const sxt_args *args) {
    static walk w;
    w = (walk){.args = args, .progress = {.every_line = args->verbose, .quiet = args->quiet}};
    char *filter = (char *)args->value[FILTER];
    if (filter && sxt_shader_cases(NULL, match, filter))
        return sxt_fail(SXT_EXIT_BAD_INPUT, "--filter %s: in no variant's name (`sextant shaders` prints them)",
                        filter);
    sxt_device_params params = sxt_session_params(args, &w.session);
    params.compile_only = true;
    const sxt_result result = sxt_device_open(&params, &w.session.device);
    if (result != SXT_OK) return sxt_session_fail(&w.session, result, "device");
    w.session.info = sxt_device_get_info(w.session.device);
    w.results = json_array();
    const int exit_code = walk_into_file(&w);
    json_decref(w.results);
    sxt_session_close(&w.session);
    return exit_code;
}

const sxt_command sxt_shaders_command = {
    .name = "shaders",
    .summary = "Compile every kernel variant, and print its registers, spills and occupancy",
    .explanation =
        "The device need not be able to run: a driver without a GPU behind it will do, such as RADV's null device\n"
        "(RADV_FORCE_FAMILY=navi31). The figures are the driver's own, by VK_KHR_pipeline_executable_properties; '-' "
        "is\n"
        "what it does not tell. A kernel that the driver compiles in several ways has a row for each.\n\n"
        "  lane     subgroup size                      scratch  bytes of private memory an invocation or subgroup\n"
        "  regs     (vector) registers                 code     size of the code\n"
        "  sregs    scalar registers                   waves    subgroups that fit a SIMD or core together\n"
        "  spills   registers, or moves of them        instr    instructions\n"
        "  shared   bytes of shared memory             cycles   the compiler's guess at inverse throughput\n\n"
        "The last line counts as spilled what has spills or scratch memory. Status 1: a kernel does not compile.\n"
        "JSON: {\"device\": {…}, \"results\": [{\"name\", \"op\", \"variant\", \"dispatch\", \"shader\", "
        "\"subgroup_size\",\n"
        "\"registers\", \"spills\", …, \"driver\": {every figure by the driver's own name}}]}.\n",
    .options =
        {
            [FILTER] = {0, "filter", "SUBSTR", false, "only variants with this in their name"},
            [JSON] = {0, "json", "FILE", false, "also write the results there as JSON"},
        },
    .run = run,
};
