// PCG32 (O'Neill 2014): small, seedable, the same numbers on every machine.
#ifndef SXT_TOOL_RANDOM_H
#define SXT_TOOL_RANDOM_H

#include <math.h>
#include <stdint.h>

typedef struct sxt_random {
    uint64_t state, stream;
} sxt_random;

static inline uint32_t sxt_random_bits(sxt_random *random) {
    uint64_t old = random->state;
    random->state = old * 6364136223846793005u + (random->stream | 1);
    uint32_t shifted = (uint32_t)(((old >> 18) ^ old) >> 27), rotation = (uint32_t)(old >> 59);
    return shifted >> rotation | shifted << (-rotation & 31);
}

static inline sxt_random sxt_random_seed(uint64_t seed, uint64_t stream) {
    sxt_random random = {.state = 0, .stream = stream << 1};
    sxt_random_bits(&random);
    random.state += seed;
    sxt_random_bits(&random);
    return random;
}

// Uniform in [low, high], both included.
static inline uint32_t sxt_random_range(sxt_random *random, uint32_t low, uint32_t high) {
    return low + (uint32_t)(((uint64_t)sxt_random_bits(random) * ((uint64_t)high - low + 1)) >> 32);
}

// True once in `n` times.
static inline int sxt_random_once_in(sxt_random *random, uint32_t n) {
    return sxt_random_range(random, 0, n - 1) == 0;
}

// Uniform in (0, 1).
static inline double sxt_random_unit(sxt_random *random) {
    return (sxt_random_bits(random) + 0.5) / 4294967296.0;
}

// Normally distributed, mean 0, variance 1 (Box & Muller 1958).
static inline double sxt_random_normal(sxt_random *random) {
    double radius = sqrt(-2 * log(sxt_random_unit(random)));
    return radius * cos(6.283185307179586 * sxt_random_unit(random));
}

#endif
