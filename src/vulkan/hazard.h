// Which dispatches need a memory barrier between them, told from the byte ranges that they touch. Knows no Vulkan.
//
// Two accesses conflict if their ranges share a byte and at least one of them writes. A dispatch needs a barrier if it
// conflicts with anything since the last barrier; a barrier then covers all that came before it. (That is what
// vkCmdPipelineBarrier with a global VkMemoryBarrier does, and drivers implement the finer kinds no finer.)
#ifndef SXT_VULKAN_HAZARD_H
#define SXT_VULKAN_HAZARD_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sxt_hazard_range {
    const void *buffer; // two buffers never share memory
    uint64_t begin, end;
    bool written;
} sxt_hazard_range;

enum { SXT_HAZARD_RANGES = 128 };

// The ranges touched since the last barrier; overlapping or adjacent ones of one kind are kept as one. When there are
// more than fit, the next dispatch gets a barrier that it might not need: the only case of one.
typedef struct sxt_hazards {
    uint32_t count;
    sxt_hazard_range ranges[SXT_HAZARD_RANGES];
} sxt_hazards;

// As after a barrier.
void sxt_hazards_clear(sxt_hazards *hazards);

// Takes note of the next dispatch's ranges (empty ones are nothing; at most SXT_HAZARD_RANGES) and says whether it
// needs a barrier before it. If so, the caller puts one, and what came before is forgotten.
bool sxt_hazards_next(sxt_hazards *hazards, const sxt_hazard_range *ranges, uint32_t count);

#endif
