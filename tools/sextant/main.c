// The program: picks the subcommand. Contracts of all of them: exit codes in program.h, options in options.c.
#include "program.h"

#include <stdlib.h>
#include <string.h>

static const sxt_command *const commands[] = {
    &sxt_demo_command,  &sxt_devices_command, &sxt_run_command,     &sxt_verify_command,
    &sxt_bench_command, &sxt_tune_command,    &sxt_shaders_command,
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(void) {
    printf("usage: sextant COMMAND [options]\n\n"
           "Transformer attention as Vulkan compute shaders: norm, RoPE, QK-norm, KV-cache write and attention,\n"
           "run and timed on any Vulkan device, and checked against a double-precision reference.\n\nCommands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  %-9s %s\n", commands[i]->name, commands[i]->summary);
    printf("\n`sextant COMMAND --help` tells more. New here? `sextant demo` needs no file and no GPU.\n"
           "\nData goes to stdout, messages to stderr.\n"
           "Exit status: 0 done, 1 a check failed, 2 bad usage or input, 3 no device or it failed.\n");
}

static int run_command(int argc, char **argv) {
    const char *wanted = argc > 1 ? argv[1] : NULL;
    if (!wanted) return sxt_fail(SXT_EXIT_BAD_INPUT, "missing command: try `sextant demo`, or `sextant --help`");
    if (strcmp(wanted, "--help") == 0 || strcmp(wanted, "-h") == 0 || strcmp(wanted, "help") == 0) {
        print_help();
        return SXT_EXIT_DONE;
    }
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(wanted, commands[i]->name) != 0) continue;
        sxt_args args;
        int exit_code;
        if (!sxt_args_parse(commands[i], argc - 1, argv + 1, &args, &exit_code)) return exit_code;
        return commands[i]->run(&args);
    }
    return sxt_fail(
        SXT_EXIT_BAD_INPUT,
        "no such command: '%.100s' (demo, devices, run, verify, bench, tune or shaders; see `sextant --help`)", wanted);
}

int main(int argc, char **argv) {
    int exit_code = run_command(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) return sxt_fail(SXT_EXIT_NO_DEVICE, "stdout: cannot be written");
    return exit_code;
}
