// Random numbers for tests: the same on every machine, one stream a seed, so that a case can be run again by its seed.
#ifndef SXT_TESTS_SUPPORT_RANDOM_H
#define SXT_TESTS_SUPPORT_RANDOM_H

#include "sextant/sextant.h"

// SplitMix64 (Steele, Lea, Flood 2014): neighbouring seeds give unrelated streams.
typedef struct sxt_test_rng {
    uint64_t state;
} sxt_test_rng;

sxt_test_rng sxt_test_rng_make(uint64_t seed);
uint64_t sxt_test_bits(sxt_test_rng *rng);

// From 0 to count − 1; count > 0.
uint32_t sxt_test_below(sxt_test_rng *rng, uint32_t count);

// From `low` to `high`, both included.
uint32_t sxt_test_between(sxt_test_rng *rng, uint32_t low, uint32_t high);

bool sxt_test_chance(sxt_test_rng *rng, uint32_t percent);
double sxt_test_uniform(sxt_test_rng *rng, double low, double high);
double sxt_test_normal(sxt_test_rng *rng);

// f32, f16 or bf16.
sxt_type sxt_test_float_type(sxt_test_rng *rng);

// One of the listed values.
#define SXT_TEST_PICK(rng, type, ...)                                                                                  \
    (((const type[]){__VA_ARGS__})[sxt_test_below((rng), sizeof((const type[]){__VA_ARGS__}) / sizeof(type))])

#endif
