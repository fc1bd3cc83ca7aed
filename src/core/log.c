#include <stdarg.h>
#include <stdio.h>

#include "core/device.h"

void sxt_log(const sxt_logger *logger, sxt_log_level level, const char *format, ...) {
    if (logger == NULL || logger->fn == NULL) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    logger->fn(logger->user, level, line);
}
