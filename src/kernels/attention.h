// What the files that plan attention share.
#ifndef SXT_KERNELS_ATTENTION_H
#define SXT_KERNELS_ATTENTION_H

#include "interface/attention_decode.h"
#include "kernels/kernels.h"

#include <string.h>

// Query heads of a KV head.
static inline uint32_t sxt_attention_group(const sxt_attention_desc *desc) {
    return desc->q.shape[SXT_HEAD] / desc->k.shape[SXT_HEAD];
}

// Whether the kernel for few queries may be worth trying: told by shapes, types and device.
bool sxt_attention_wants_decode(const sxt_caps *caps, const sxt_attention_desc *desc);

// Turns a plan of the software kernel, complete but for shader, its shape and name, into one with splits. False, and
// the plan is as before, where the kernel for few queries cannot do it or would not be quicker.
bool sxt_attention_plan_decode(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t head, sxt_plan *plan);

#endif
