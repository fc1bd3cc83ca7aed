// Messages, progress and devices: what every subcommand says and opens in the same way.
#include "program.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double sxt_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int sxt_fail(int exit_code, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?'; // names come from files
    }
    fprintf(stderr, "sextant: %s\n", line);
    return exit_code;
}

void sxt_progress_show(sxt_progress *progress, const char *format, ...) {
    double now = sxt_now();
    if (progress->started == 0) progress->started = now;
    if (progress->quiet || now - progress->started < 2 || now - progress->shown < 0.2) return;
    if (!progress->every_line && !isatty(STDERR_FILENO)) return;
    progress->shown = now;
    va_list arguments;
    va_start(arguments, format);
    if (!progress->every_line) fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    if (progress->every_line) fputc('\n', stderr);
    va_end(arguments);
}

void sxt_progress_clear(sxt_progress *progress) {
    if (progress->shown > 0 && !progress->every_line) fputs("\r\033[K", stderr);
    progress->shown = 0;
}

static void log_line(void *user, sxt_log_level level, const char *message) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    sxt_session *session = user;
    if (level == SXT_LOG_ERROR) snprintf(session->last, sizeof session->last, "%s", message);
    // An error is printed once, by whoever fails because of it.
    if (session->verbose || (level == SXT_LOG_WARNING && !session->quiet)) {
        fprintf(stderr, "sextant: %s: %s\n", names[level], message);
    }
}

sxt_device_params sxt_session_params(const sxt_args *args, sxt_session *session) {
    *session = (sxt_session){.quiet = args->quiet, .verbose = args->verbose};
    return (sxt_device_params){.select = args->device, .disable = args->disable, .log = log_line, .log_user = session};
}

static int open_session(const sxt_device_params *params, sxt_session *session) {
    sxt_result result = sxt_device_open(params, &session->device);
    if (result != SXT_OK) return sxt_session_fail(session, result, "device");
    session->info = sxt_device_get_info(session->device);
    return SXT_EXIT_DONE;
}

int sxt_session_open(const sxt_args *args, sxt_session *out_session) {
    return sxt_session_open_cached(args, NULL, out_session);
}

int sxt_session_open_cached(const sxt_args *args, const char *cache_path, sxt_session *out_session) {
    sxt_device_params params = sxt_session_params(args, out_session);
    params.cache_path = cache_path;
    return open_session(&params, out_session);
}

int sxt_session_open_reference(const sxt_args *args, sxt_session *out_session) {
    sxt_device_params params = sxt_session_params(args, out_session);
    params.kind = SXT_DEVICE_REFERENCE;
    params.select = params.disable = NULL;
    return open_session(&params, out_session);
}

void sxt_session_close(sxt_session *session) {
    sxt_device_close(&session->device);
}

int sxt_session_fail(const sxt_session *session, sxt_result result, const char *what) {
    int exit_code = result == SXT_ERROR_INVALID ? SXT_EXIT_BAD_INPUT : SXT_EXIT_NO_DEVICE;
    return sxt_fail(exit_code, "%s: %s", what, *session->last ? session->last : sxt_result_name(result));
}
