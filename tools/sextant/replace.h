// Writing a file as a whole: it is written beside its name and renamed at the end, so that the name holds all of it or
// what it held before.
#ifndef SXT_TOOL_REPLACE_H
#define SXT_TOOL_REPLACE_H

#include <stdbool.h>
#include <stdio.h>

typedef struct sxt_replace {
    FILE *file; // to write to
    char *path, *temporary;
} sxt_replace;

// False, with the reason in `error` (of `size` bytes), if there is no writing there.
bool sxt_replace_begin(sxt_replace *replace, const char *path, char *error, size_t size);

// Puts the file in place if `keep` is true and all of it was written; otherwise drops it. True if it is in place.
// Does nothing, and returns false, if the beginning failed or there was none (zeroed).
bool sxt_replace_end(sxt_replace *replace, bool keep, char *error, size_t size);

#endif
