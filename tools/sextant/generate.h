// Random cases, by family: what `verify` runs.
#ifndef SXT_TOOL_GENERATE_H
#define SXT_TOOL_GENERATE_H

#include "random.h"
#include "safetensors.h"

typedef struct sxt_family {
    const char *name;
    const char *what;
    // Adds tensors and metadata of one case. `form` decides what a device compiles a kernel for: types, options, head
    // dims; `random` decides all else: counts, strides, positions, data. So a run can draw few forms and many cases of
    // each, and spends its time on computing and not on compiling. False without memory.
    bool (*make)(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
} sxt_family;

enum { SXT_FAMILY_COUNT = 8 };
extern const sxt_family sxt_families[SXT_FAMILY_COUNT];

// The makers: family_*.c.
bool sxt_family_norm(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_rope(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_qk_norm_rope(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_kv_write(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_kv_shift(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_kv_copy(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_attention(sxt_random *form, sxt_random *random, sxt_bundle *out_case);
bool sxt_family_pipeline(sxt_random *form, sxt_random *random, sxt_bundle *out_case);

#endif
