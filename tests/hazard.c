// Barriers: each conflict is separated by one, and there is none without a conflict. Against an oracle that keeps one
// flag for every byte.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/hazard.h"

enum { BUFFERS = 3, BYTES = 64 };

typedef struct oracle {
    bool read[BUFFERS][BYTES], written[BUFFERS][BYTES];
} oracle;

static char buffers[BUFFERS]; // their addresses stand for buffers

static bool oracle_conflict(const oracle *o, const sxt_hazard_range *range) {
    const size_t b = (size_t)((const char *)range->buffer - buffers);
    for (uint64_t i = range->begin; i < range->end; i++)
        if (o->written[b][i] || (range->written && o->read[b][i])) return true;
    return false;
}

static void oracle_add(oracle *o, const sxt_hazard_range *range) {
    const size_t b = (size_t)((const char *)range->buffer - buffers);
    for (uint64_t i = range->begin; i < range->end; i++) {
        if (range->written)
            o->written[b][i] = true;
        else
            o->read[b][i] = true;
    }
}

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static sxt_hazard_range random_range(uint32_t *state) {
    const uint64_t begin = next_random(state) % BYTES;
    const uint64_t longest =
        next_random(state) % 4 == 0 ? BYTES - begin : 6; // mostly short: long runs without conflict
    uint64_t length = next_random(state) % (longest + 1);
    if (length > BYTES - begin) length = BYTES - begin;
    return (sxt_hazard_range){
        .buffer = &buffers[next_random(state) % BUFFERS],
        .begin = begin,
        .end = begin + length,
        .written = next_random(state) % 3 == 0,
    };
}

Test(hazard, equals_the_oracle_on_random_sequences) {
    uint32_t barriers = 0, dispatches = 0;
    for (uint32_t seed = 1; seed <= 3000; seed++) {
        uint32_t state = seed * 2654435761u;
        sxt_hazards hazards;
        sxt_hazards_clear(&hazards);
        oracle o = {0};
        for (uint32_t step = 0; step < 60; step++) {
            sxt_hazard_range ranges[6];
            const uint32_t count = next_random(&state) % 7;
            bool expected = false;
            for (uint32_t i = 0; i < count; i++) {
                ranges[i] = random_range(&state);
                expected |= oracle_conflict(&o, &ranges[i]);
            }
            if (expected) o = (oracle){0};
            for (uint32_t i = 0; i < count; i++)
                oracle_add(&o, &ranges[i]);
            const bool barrier = sxt_hazards_next(&hazards, ranges, count);
            cr_assert_eq(barrier, expected, "seed %u, step %u: barrier %d, the oracle says %d", seed, step, barrier,
                         expected);
            barriers += barrier;
            dispatches++;
        }
    }
    cr_assert_gt(barriers, dispatches / 20, "the sequences hardly ever conflict");
    cr_assert_lt(barriers, dispatches / 2, "the sequences hardly ever agree");
}

typedef struct pair {
    const char *name;
    sxt_hazard_range first, second;
    bool barrier;
} pair;

Test(hazard, of_two_dispatches) {
    const void *a = &buffers[0], *b = &buffers[1];
    const pair pairs[] = {
        {"read after write", {a, 0, 16, true}, {a, 8, 24, false}, true},
        {"write after read", {a, 0, 16, false}, {a, 8, 24, true}, true},
        {"write after write", {a, 0, 16, true}, {a, 15, 16, true}, true},
        {"read after read", {a, 0, 16, false}, {a, 0, 16, false}, false},
        {"neighbours", {a, 0, 16, true}, {a, 16, 32, true}, false},
        {"other buffer", {a, 0, 16, true}, {b, 0, 16, true}, false},
        {"empty first", {a, 8, 8, true}, {a, 0, 16, true}, false},
        {"empty second", {a, 0, 16, true}, {a, 8, 8, false}, false},
        {"inside", {a, 0, UINT64_MAX, true}, {a, 1000, 1001, false}, true},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        sxt_hazards hazards;
        sxt_hazards_clear(&hazards);
        cr_expect_not(sxt_hazards_next(&hazards, &pairs[i].first, 1), "%s: the first needs none", pairs[i].name);
        cr_expect_eq(sxt_hazards_next(&hazards, &pairs[i].second, 1), pairs[i].barrier, "%s", pairs[i].name);
    }
}

Test(hazard, in_place_dispatch_does_not_conflict_with_itself) {
    sxt_hazards hazards;
    sxt_hazards_clear(&hazards);
    const sxt_hazard_range in_place[] = {{&buffers[0], 0, 64, false}, {&buffers[0], 0, 64, true}};
    cr_expect_not(sxt_hazards_next(&hazards, in_place, 2));
    cr_expect(sxt_hazards_next(&hazards, in_place, 2));
}

// Appending to a cache token by token must not fill the list, and one barrier forgets everything before it.
Test(hazard, neighbouring_writes_take_one_entry) {
    sxt_hazards hazards;
    sxt_hazards_clear(&hazards);
    for (uint64_t i = 0; i < 10 * SXT_HAZARD_RANGES; i++) {
        const sxt_hazard_range row = {&buffers[0], 16 * i, 16 * (i + 1), true};
        cr_assert_not(sxt_hazards_next(&hazards, &row, 1));
    }
    cr_expect_eq(hazards.count, 1);
    const sxt_hazard_range whole = {&buffers[0], 0, 160, false};
    cr_expect(sxt_hazards_next(&hazards, &whole, 1));
    cr_expect_eq(hazards.count, 1);
    cr_expect_not(sxt_hazards_next(&hazards, &whole, 1));
}

Test(hazard, a_full_list_gives_a_barrier_and_goes_on) {
    sxt_hazards hazards;
    sxt_hazards_clear(&hazards);
    uint64_t at = 0;
    for (uint32_t i = 0; i < SXT_HAZARD_RANGES; i++, at += 2) {
        const sxt_hazard_range far_apart = {&buffers[0], at, at + 1, true};
        cr_assert_not(sxt_hazards_next(&hazards, &far_apart, 1));
    }
    const sxt_hazard_range one_more = {&buffers[0], at, at + 1, true};
    cr_expect(sxt_hazards_next(&hazards, &one_more, 1));
    cr_expect_eq(hazards.count, 1);
    cr_expect(sxt_hazards_next(&hazards, &one_more, 1), "what came after the barrier is remembered");
}
