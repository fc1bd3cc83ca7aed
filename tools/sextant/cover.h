// Covering arrays: rows of options such that any two values of any two options stand together in some row, unless they
// exclude each other (Cohen et al. 1997: most faults of software come from one option or from two together).
#ifndef SXT_TOOL_COVER_H
#define SXT_TOOL_COVER_H

#include <stdbool.h>
#include <stdint.h>

enum { SXT_COVER_OPTIONS = 24, SXT_COVER_VALUES = 8, SXT_COVER_ROWS = 200, SXT_COVER_UNSET = -1 };

typedef struct sxt_cover_row {
    int8_t value[SXT_COVER_OPTIONS];
} sxt_cover_row;

typedef struct sxt_cover_space {
    int option_count;
    int value_counts[SXT_COVER_OPTIONS];
    // Whether the values that are set can stand together. True of a row must mean true of every part of it.
    bool (*allowed)(const sxt_cover_row *row);
} sxt_cover_space;

typedef struct sxt_cover {
    sxt_cover_row rows[SXT_COVER_ROWS]; // each has most of what those before it lack
    int row_count;
    uint32_t pairs[SXT_COVER_ROWS]; // that the rows up to this one have
    uint32_t pair_count;            // that are allowed
} sxt_cover;

// Greedy, and the same for the same space.
void sxt_cover_make(const sxt_cover_space *space, sxt_cover *out_cover);

#endif
