#include "generate.h"

#include "attention_options.h"

const sxt_family sxt_families[SXT_FAMILY_COUNT] = {
    {"norm", "rms, layer, l2; weight, bias, residual, in place; 1 to 65536 channels", sxt_family_norm, NULL},
    {"rope", "half, interleaved; partial, every scaling, axes, inverse; any position", sxt_family_rope, NULL},
    {"qk_norm_rope", "norm and rotation of q and k in one, with and without v and caches", sxt_family_qk_norm_rope,
     NULL},
    {"kv_write", "conversions, slots, pages with holes: every bit", sxt_family_kv_write, NULL},
    {"kv_shift", "every type and scaling; rows that stay keep their bits", sxt_family_kv_shift, NULL},
    {"kv_copy", "rows and pages, within a cache and to another: every bit", sxt_family_kv_copy, NULL},
    {"attention", "every form of sextant.h, each two options together", sxt_family_attention, sxt_attention_cover},
    {"attention_merge", "two results joined; sides that saw no key; in place", sxt_family_attention_merge, NULL},
    {"pipeline", "norm, rotation, cache, attention, one after the other", sxt_family_pipeline, NULL},
};
