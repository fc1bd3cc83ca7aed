#include "vulkan/hazard.h"

#include <assert.h>

void sxt_hazards_clear(sxt_hazards *hazards) {
    hazards->count = 0;
}

static bool conflict(const sxt_hazard_range *a, const sxt_hazard_range *b) {
    return a->buffer == b->buffer && (a->written || b->written) && a->begin < b->end && b->begin < a->end;
}

static bool mergeable(const sxt_hazard_range *a, const sxt_hazard_range *b) {
    return a->buffer == b->buffer && a->written == b->written && a->begin <= b->end && b->begin <= a->end;
}

// False if there is no room.
static bool add(sxt_hazards *hazards, sxt_hazard_range range) {
    // Taking a range in may make it touch the next one: start over with the union.
    for (uint32_t i = 0; i < hazards->count;) {
        const sxt_hazard_range other = hazards->ranges[i];
        if (!mergeable(&other, &range)) {
            i++;
            continue;
        }
        if (other.begin <= range.begin && range.end <= other.end) return true;
        if (other.begin < range.begin) range.begin = other.begin;
        if (other.end > range.end) range.end = other.end;
        hazards->ranges[i] = hazards->ranges[--hazards->count];
        i = 0;
    }
    if (hazards->count == SXT_HAZARD_RANGES) return false;
    hazards->ranges[hazards->count++] = range;
    return true;
}

static bool add_all(sxt_hazards *hazards, const sxt_hazard_range *ranges, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (ranges[i].begin < ranges[i].end && !add(hazards, ranges[i])) return false;
    return true;
}

bool sxt_hazards_next(sxt_hazards *hazards, const sxt_hazard_range *ranges, uint32_t count) {
    assert(count <= SXT_HAZARD_RANGES);
    bool barrier = false;
    for (uint32_t i = 0; i < count && !barrier; i++) {
        if (ranges[i].begin >= ranges[i].end) continue;
        for (uint32_t j = 0; j < hazards->count && !barrier; j++)
            barrier = conflict(&hazards->ranges[j], &ranges[i]);
    }
    if (!barrier && add_all(hazards, ranges, count)) return false;

    sxt_hazards_clear(hazards);
    const bool fits = add_all(hazards, ranges, count);
    assert(fits);
    (void)fits;
    return true;
}
