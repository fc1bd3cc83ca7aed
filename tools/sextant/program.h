// What the subcommands of `sextant` share: the command line, messages, exit codes, opening devices.
#ifndef SXT_TOOL_PROGRAM_H
#define SXT_TOOL_PROGRAM_H

#include "sextant/sextant.h"

#include <stdio.h>

// Data goes to stdout, messages to stderr. These are the exit codes of every subcommand.
enum {
    SXT_EXIT_DONE = 0,
    SXT_EXIT_CHECK_FAILED = 1, // the work was done, and a check found it wrong
    SXT_EXIT_BAD_INPUT = 2,    // bad usage or input: one line says what, where, and what would be right
    SXT_EXIT_NO_DEVICE = 3,    // no device, or it failed
};

// ── Command line ──

enum { SXT_MAX_OPTIONS = 8, SXT_MAX_REPEATS = 64 };

typedef struct sxt_option {
    char letter;          // 0: long form only
    const char *name;     // NULL ends the list
    const char *argument; // what --help calls it; NULL: a flag
    bool repeats;         // may be given several times: see sxt_args.repeated
    const char *help;     // one line, or several separated by \n
} sxt_option;

typedef struct sxt_args sxt_args;

typedef struct sxt_command {
    const char *name;
    const char *summary;
    const char *operand;      // what --help calls the operand; NULL: takes none
    const char *explanation;  // paragraphs for --help; may be NULL
    void (*print_more)(void); // prints what --help says after the options; may be NULL
    sxt_option options[SXT_MAX_OPTIONS];
    int (*run)(const sxt_args *args); // returns the exit code
} sxt_command;

struct sxt_args {
    const char *operand;
    const char *device, *disable;
    bool quiet, verbose;
    // By the option's place in its command's list: the last argument given, "" for a flag, NULL if it was not given.
    const char *value[SXT_MAX_OPTIONS];
    const char *repeated[SXT_MAX_REPEATS];
    int repeated_count;
};

extern const sxt_command sxt_demo_command, sxt_devices_command, sxt_run_command, sxt_verify_command, sxt_bench_command,
    sxt_tune_command, sxt_shaders_command;

// Parses argv[1…] for a command; argv[0] is skipped. True: go on. False: end with `*out_exit` (help, or bad usage).
bool sxt_args_parse(const sxt_command *command, int argc, char **argv, sxt_args *out_args, int *out_exit);

// A whole string as a decimal number; false if it is anything else or outside [low, high].
bool sxt_parse_int(const char *text, int64_t low, int64_t high, int64_t *out_value);
bool sxt_parse_float(const char *text, double low, double high, double *out_value);

// ── Messages ──

// Prints "sextant: …" as one line on stderr, control characters replaced, and returns `exit_code`.
int sxt_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One line of progress that replaces the one before: shown when the work has taken over two seconds and stderr is a
// terminal, or with -v (then on lines of its own). NULL clears it.
typedef struct sxt_progress {
    double started, shown; // seconds; 0 = not yet
    bool every_line, quiet;
} sxt_progress;
void sxt_progress_show(sxt_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sxt_progress_clear(sxt_progress *progress);

double sxt_now(void); // seconds of a monotonic clock

// ── Devices ──

// A device and what its log said. Must not be moved while it is open.
typedef struct sxt_session {
    sxt_device *device;
    const sxt_device_info *info;
    bool quiet, verbose;
    char last[512]; // the latest error, for the one line that sxt_session_fail prints
} sxt_session;

// Fills in device parameters whose log goes to `session`.
sxt_device_params sxt_session_params(const sxt_args *args, sxt_session *session);

// Opens the device that the command line asks for. 0, or the exit code after a message.
int sxt_session_open(const sxt_args *args, sxt_session *out_session);
int sxt_session_open_cached(const sxt_args *args, const char *cache_path, sxt_session *out_session); // NULL: no file
int sxt_session_open_reference(const sxt_args *args, sxt_session *out_session);
void sxt_session_close(sxt_session *session);

// Prints "sextant: WHAT: the library's reason" and returns the exit code that belongs to `result`.
int sxt_session_fail(const sxt_session *session, sxt_result result, const char *what);

// ── Words ──

enum { SXT_SHAPE_SIZE = 80 };

// A shape of matrix products, such as 16x16x16 f16->f32: M, N, K, the type of A and B, and that of sums.
const char *sxt_shape_name(const sxt_matrix_shape *shape, char out_text[SXT_SHAPE_SIZE]);

#endif
