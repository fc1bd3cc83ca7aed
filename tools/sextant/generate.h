// Random cases, by family: what `verify` runs.
#ifndef SXT_TOOL_GENERATE_H
#define SXT_TOOL_GENERATE_H

#include "random.h"
#include "safetensors.h"

enum { SXT_POOL_COUNT = 12 };

// Sizes for which a device compiles kernels of their own. They are drawn once a run, from the seed, so that a long run
// spends its time on computing; another seed draws others.
typedef struct sxt_pools {
    uint32_t head_dims[SXT_POOL_COUNT], value_dims[SXT_POOL_COUNT]; // of attention: multiples of 4 to 256
    uint32_t channels[SXT_POOL_COUNT];                              // of norms
    uint32_t rope_dims[SXT_POOL_COUNT];
} sxt_pools;

typedef struct sxt_family {
    const char *name;
    const char *what;
    // Adds tensors and metadata of one case. False without memory.
    bool (*make)(sxt_random *random, const sxt_pools *pools, sxt_bundle *out_case);
} sxt_family;

enum { SXT_FAMILY_COUNT = 6 };
extern const sxt_family sxt_families[SXT_FAMILY_COUNT];

void sxt_pools_draw(sxt_random *random, sxt_pools *out_pools);

#endif
