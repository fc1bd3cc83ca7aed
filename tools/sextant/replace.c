#include "replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sxt_replace_begin(sxt_replace *replace, const char *path, char *error, size_t size) {
    struct stat status;
    size_t length = strlen(path);
    *replace = (sxt_replace){.path = malloc(length + 1), .temporary = malloc(length + 32)};
    if (!replace->path || !replace->temporary) {
        snprintf(error, size, "out of memory");
    } else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        snprintf(error, size, "exists, and is not a regular file");
    } else {
        memcpy(replace->path, path, length + 1);
        sprintf(replace->temporary, "%s.%ld.tmp", path, (long)getpid());
        replace->file = fopen(replace->temporary, "wbx");
        if (replace->file) return true;
        snprintf(error, size, "%s", strerror(errno));
    }
    sxt_replace_end(replace, false, error, size);
    return false;
}

bool sxt_replace_end(sxt_replace *replace, bool keep, char *error, size_t size) {
    bool done = false;
    if (replace->file) {
        bool whole = fflush(replace->file) == 0 && !ferror(replace->file);
        whole = fclose(replace->file) == 0 && whole;
        done = keep && whole && rename(replace->temporary, replace->path) == 0;
        if (keep && !done) snprintf(error, size, "%s", strerror(errno));
        if (!done) remove(replace->temporary);
    }
    free(replace->path);
    free(replace->temporary);
    *replace = (sxt_replace){0};
    return done;
}
