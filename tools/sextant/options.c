// The command line: one table per command gives the parser and --help alike.
#include "program.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICE, DISABLE, QUIET, VERBOSE, HELP, COMMON_COUNT };

static const sxt_option common[COMMON_COUNT] = {
    [DEVICE] = {0, "device", "N|NAME|reference", false,
                "device by number or part of its name (see `sextant devices`); reference = the\n"
                "CPU reference in double precision; default: the best Vulkan device"},
    [DISABLE] = {0, "disable", "CAP,CAP", false,
                 "act as if the device lacked these, e.g. storage16,subgroup_arithmetic"},
    [QUIET] = {'q', "quiet", NULL, false, "no warnings and no progress on stderr"},
    [VERBOSE] = {'v', "verbose", NULL, false, "the library's whole log on stderr"},
    [HELP] = {'h', "help", NULL, false, "this text"},
};
// Ids for getopt: above any letter, and telling the tables apart.
enum { COMMON_BASE = 1000, OWN_BASE = 2000 };

static void print_option(const sxt_option *option) {
    char left[64];
    snprintf(left, sizeof left, "%c%c%c --%s%s%s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
             option->letter ? ',' : ' ', option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    printf("  %-28s", left);
    if (strlen(left) > 28) printf("\n  %-28s", "");
    for (const char *line = option->help; line; line = strchr(line, '\n')) {
        if (*line == '\n') printf("\n  %-28s", ""), line++;
        printf(" %.*s", (int)strcspn(line, "\n"), line);
    }
    putchar('\n');
}

static void print_help(const sxt_command *command) {
    printf("usage: sextant %s%s%s [options]\n\n%s\n", command->name, command->operand ? " " : "",
           command->operand ? command->operand : "", command->summary);
    if (command->explanation) printf("\n%s", command->explanation);
    printf("\nOptions:\n");
    for (const sxt_option *option = command->options; option->name; option++)
        print_option(option);
    for (int i = 0; i < COMMON_COUNT; i++)
        print_option(&common[i]);
    if (command->print_more) command->print_more();
    printf("\nExit status: 0 done, 1 a check failed, 2 bad usage or input, 3 no device or it failed.\n");
}

typedef struct tables {
    char letters[4 + 2 * (SXT_MAX_OPTIONS + COMMON_COUNT)];
    struct option longs[SXT_MAX_OPTIONS + COMMON_COUNT + 1];
    int count;
} tables;

static void add_option(tables *to, const sxt_option *option, int id) {
    to->longs[to->count++] =
        (struct option){option->name, option->argument ? required_argument : no_argument, NULL, id};
    if (!option->letter) return;
    size_t end = strlen(to->letters);
    to->letters[end] = option->letter;
    if (option->argument) to->letters[end + 1] = ':';
}

// The place in COMMON_BASE… or OWN_BASE… of what getopt returned, or 0.
static int find_option(const sxt_command *command, int found) {
    if (found >= COMMON_BASE) return found;
    for (int i = 0; i < COMMON_COUNT; i++) {
        if (common[i].letter == found) return COMMON_BASE + i;
    }
    for (int i = 0; command->options[i].name; i++) {
        if (command->options[i].letter && command->options[i].letter == found) return OWN_BASE + i;
    }
    return 0;
}

static bool take_own(const sxt_command *command, int place, sxt_args *args) {
    const char *value = optarg ? optarg : "";
    args->value[place] = value;
    if (!command->options[place].repeats) return true;
    if (args->repeated_count == SXT_MAX_REPEATS) return false;
    args->repeated[args->repeated_count++] = value;
    return true;
}

static void take_common(int place, sxt_args *args) {
    switch (place) {
    case DEVICE:
        args->device = optarg;
        break;
    case DISABLE:
        args->disable = optarg;
        break;
    case QUIET:
        args->quiet = true;
        break;
    case VERBOSE:
        args->verbose = true;
        break;
    }
}

static int bad_usage(const sxt_command *command, const char *what, const char *which) {
    return sxt_fail(SXT_EXIT_BAD_INPUT, "%s: %s%s%s (see `sextant %s --help`)", command->name, what, which ? " " : "",
                    which ? which : "", command->name);
}

bool sxt_args_parse(const sxt_command *command, int argc, char **argv, sxt_args *out_args, int *out_exit) {
    tables options = {.letters = ":"};
    *out_args = (sxt_args){0};
    for (int i = 0; command->options[i].name; i++)
        add_option(&options, &command->options[i], OWN_BASE + i);
    for (int i = 0; i < COMMON_COUNT; i++)
        add_option(&options, &common[i], COMMON_BASE + i);
    opterr = 0;
    for (;;) {
        int at = optind, found = getopt_long(argc, argv, options.letters, options.longs, NULL);
        if (found == -1) break;
        if (found == '?' || found == ':') {
            const char *what = found == ':' ? "this option needs an argument:" : "no such option:";
            *out_exit = bad_usage(command, what, argv[at < argc ? at : argc - 1]);
            return false;
        }
        int place = find_option(command, found);
        if (place >= OWN_BASE) {
            if (take_own(command, place - OWN_BASE, out_args)) continue;
            *out_exit = bad_usage(command, "given too often: --", command->options[place - OWN_BASE].name);
            return false;
        }
        if (place == COMMON_BASE + HELP) {
            print_help(command);
            *out_exit = SXT_EXIT_DONE;
            return false;
        }
        take_common(place - COMMON_BASE, out_args);
    }
    int operands = argc - optind;
    if (operands != (command->operand ? 1 : 0)) {
        *out_exit = operands ? bad_usage(command, "unexpected argument", argv[optind + (command->operand ? 1 : 0)])
                             : bad_usage(command, "missing", command->operand);
        return false;
    }
    if (command->operand) out_args->operand = argv[optind];
    return true;
}

bool sxt_parse_int(const char *text, int64_t low, int64_t high, int64_t *out_value) {
    char *end;
    if (strspn(text, "+-0123456789") != strlen(text) || *text == '\0') return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || errno || value < low || value > high) return false;
    *out_value = value;
    return true;
}

bool sxt_parse_float(const char *text, double low, double high, double *out_value) {
    char *end;
    if (strspn(text, "+-.0123456789eE") != strlen(text) || *text == '\0') return false;
    double value = strtod(text, &end);
    if (*end || !isfinite(value) || value < low || value > high) return false;
    *out_value = value;
    return true;
}
