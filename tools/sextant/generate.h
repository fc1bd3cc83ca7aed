// Random cases, by family: what `verify` runs.
#ifndef SXT_TOOL_GENERATE_H
#define SXT_TOOL_GENERATE_H

#include "cover.h"
#include "random.h"
#include "safetensors.h"

typedef struct sxt_maker sxt_maker;

typedef struct sxt_family {
    const char *name;
    const char *what;
    // Adds tensors and metadata of one case. A maker's `form` decides what a device compiles a kernel for: types,
    // options, head dims; its `random` decides all else: counts, strides, positions, data. So a run can draw few forms
    // and many cases of each, and spends its time on computing and not on compiling.
    void (*make)(sxt_maker *m);
    // Forms by number: rows of a covering array of options, over and over. NULL: all forms are random.
    const sxt_cover *(*cover)(void);
} sxt_family;

enum { SXT_FAMILY_COUNT = 9 };
extern const sxt_family sxt_families[SXT_FAMILY_COUNT];

// The makers: family_*.c.
void sxt_family_norm(sxt_maker *m);
void sxt_family_rope(sxt_maker *m);
void sxt_family_qk_norm_rope(sxt_maker *m);
void sxt_family_kv_write(sxt_maker *m);
void sxt_family_kv_shift(sxt_maker *m);
void sxt_family_kv_copy(sxt_maker *m);
void sxt_family_attention(sxt_maker *m);
void sxt_family_attention_merge(sxt_maker *m);
void sxt_family_pipeline(sxt_maker *m);

#endif
