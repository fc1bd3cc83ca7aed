// Work: named tensors on the host (slots) and the operations between them (stages), bound to no device yet. A case
// becomes work; `bench` and `demo` make theirs by hand. rig.h runs it.
#ifndef SXT_TOOL_WORK_H
#define SXT_TOOL_WORK_H

#include "case.h"
#include "safetensors.h"
#include "sextant/sextant.h"

enum { SXT_MAX_SLOTS = 32, SXT_MAX_STAGES = 5, SXT_MAX_FIELDS = 16, SXT_NO_SLOT = -1 };

typedef union sxt_work_desc {
    sxt_norm_desc norm;
    sxt_rope_desc rope;
    sxt_qk_norm_rope_desc qk_norm_rope;
    sxt_kv_write_desc kv_write;
    sxt_kv_shift_desc kv_shift;
    sxt_kv_copy_desc kv_copy;
    sxt_attention_desc attention;
    sxt_attention_merge_desc attention_merge;
} sxt_work_desc;

// A tensor of an operation's description.
typedef struct sxt_field {
    const char *name; // NULL ends the list
    size_t place;     // offset in the description
    bool written;
} sxt_field;

typedef struct sxt_slot {
    const char *name;
    sxt_type type;
    uint32_t shape[4];
    const void *initial; // dense; NULL: starts as poison (NaN), for outputs
    void *owned;         // freed with the work; may be what `initial` points at
    int scale;           // slot of the f32 scales, one a head or one for all, that an fp8 cache has; or SXT_NO_SLOT
    int part_of;         // slot whose first channels this one is, in memory too; or SXT_NO_SLOT
    bool result;         // an output that a user asked for, against what lies between stages
    uint32_t rank;       // as a file has it: the dims of file_shape
    uint64_t file_shape[4];
    const sxt_array *expected;         // from the case; may be NULL
    const sxt_array *expected_decoded; // f32 of what `expected` has as blocks or fp8; may be NULL
} sxt_slot;

typedef struct sxt_stage {
    sxt_op op;
    sxt_work_desc desc;        // without tensors
    int slots[SXT_MAX_FIELDS]; // by field, or SXT_NO_SLOT
    sxt_type products; // of attention: what queries and weights are rounded to; f32: nothing. See sxt_rig_products
} sxt_stage;

typedef struct sxt_work {
    sxt_slot slots[SXT_MAX_SLOTS];
    int slot_count;
    sxt_stage stages[SXT_MAX_STAGES];
    int stage_count;
    uint32_t layout; // see sxt_case_params
    bool heads_first;
    float *freq_factors; // of a scaled rotation; freed with the work
} sxt_work;

// ── Operations: ops.c ──

const sxt_field *sxt_op_fields(sxt_op op);

// Makes a description's call on a stream.
sxt_result sxt_op_record(sxt_stream *stream, sxt_op op, const sxt_work_desc *desc);

// The cache of an operation that writes one; NULL for all others.
sxt_kv_cache *sxt_op_cache(sxt_op op, sxt_work_desc *desc);

// ── Slots and stages: work.c ──

// By hand. Both abort on overflow of the arrays above (our own bug).
int sxt_work_slot(sxt_work *work, const char *name, sxt_type type, const uint32_t shape[4], const void *initial);
sxt_stage *sxt_work_stage(sxt_work *work, sxt_op op);
void sxt_stage_bind(sxt_stage *stage, const char *field, int slot);
int sxt_stage_slot(const sxt_stage *stage, const char *field); // SXT_NO_SLOT if nothing is bound

// Elements and bytes of a slot's dense data.
uint64_t sxt_slot_count(const sxt_slot *slot);
uint64_t sxt_slot_bytes(const sxt_slot *slot);

// An element as it is meant: decoded, and multiplied by its scale where the slot has one, for which `data` has the data
// of all slots.
double sxt_slot_value(const sxt_work *work, int slot, void *const data[SXT_MAX_SLOTS], uint64_t index);

// True if a stage writes the slot.
bool sxt_work_writes(const sxt_work *work, int slot);

void sxt_work_finish(sxt_work *work);

// ── Figures: traffic.c ──

// Useful arithmetic and least traffic of a stage: all that has to be read or written, once; of a cache the rows at hand.
// Attention has 4·(visible pairs)·Hq·D flops (of d and d_v that differ, their mean counts).
double sxt_stage_flops(const sxt_work *work, const sxt_stage *stage);
double sxt_stage_bytes(const sxt_work *work, const sxt_stage *stage);

// ── From a case: build.c ──

// Makes the work of a case, which must outlive it. False with one line in `error`.
bool sxt_work_from_case(const sxt_bundle *bundle, sxt_work *out_work, char error[SXT_ERROR_SIZE]);

#endif
