// Compares what a rig computed with the reference and with expected results that a case brought along.
#ifndef SXT_TOOL_CHECK_H
#define SXT_TOOL_CHECK_H

#include "rig.h"

enum { SXT_MAX_CHECK_LINES = 4 * SXT_MAX_SLOTS };

// One comparison. It holds if `error` ≤ `limit` (both relative, ‖y − ref‖/‖ref‖) and, where elements are judged one by
// one, if the worst of them has at most SXT_BOUND_SLACK times its own bound.
typedef struct sxt_check_line {
    const char *slot, *against; // "reference" or "file"
    double error, limit;
    bool elements;      // judged by element too
    bool bits;          // and that to the bit
    double worst_share; // largest error of an element over its accepted bound: fine up to 1
    uint64_t worst_index;
    double worst_value, worst_reference;
    bool ok;
} sxt_check_line;

typedef struct sxt_check {
    sxt_check_line lines[SXT_MAX_CHECK_LINES];
    int line_count;
    char damage[160]; // not empty: something outside the outputs was changed
    double worst;     // the largest of error/limit and worst_share
    bool ok;
} sxt_check;

// Checks a rig that has run: every stage element by element against the reference run of that stage on the same input
// (kv_write, kv_copy: every bit), and every result against the reference run of the whole. With `expected`, results also against
// the case's own tensors. OK means that the comparison was made: see `out_check->ok`.
sxt_result sxt_check_rig(sxt_rig *rig, const sxt_session *reference, bool expected, sxt_check *out_check);

// ‖y − ref‖/‖ref‖; an lse counts as at least 1, since an error of a logarithm is relative already. Infinite where one
// is NaN or infinite and the other is not the same.
double sxt_relative_error(const sxt_slot *slot, const void *values, sxt_type reference_type, const void *reference);

// Reads all slots of a rig, dense, into new memory, for freeing by sxt_data_free.
sxt_result sxt_data_read(sxt_rig *rig, void *out_data[SXT_MAX_SLOTS], char *out_damage, size_t size);
void sxt_data_free(void *data[SXT_MAX_SLOTS]);

// A slot's elements as they are meant (see sxt_slot_value), in new memory, for freeing; NULL without.
float *sxt_data_decode(const sxt_work *work, int slot, void *const data[SXT_MAX_SLOTS]);

#endif
