#include "support/random.h"

#include <math.h>

sxt_test_rng sxt_test_rng_make(uint64_t seed) {
    return (sxt_test_rng){.state = seed * 0xd1342543de82ef95u};
}

uint64_t sxt_test_bits(sxt_test_rng *rng) {
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t sxt_test_below(sxt_test_rng *rng, uint32_t count) {
    return (uint32_t)((sxt_test_bits(rng) >> 32) * count >> 32);
}

uint32_t sxt_test_between(sxt_test_rng *rng, uint32_t low, uint32_t high) {
    return low + sxt_test_below(rng, high - low + 1);
}

bool sxt_test_chance(sxt_test_rng *rng, uint32_t percent) {
    return sxt_test_below(rng, 100) < percent;
}

double sxt_test_uniform(sxt_test_rng *rng, double low, double high) {
    return low + (high - low) * (double)(sxt_test_bits(rng) >> 11) * 0x1p-53;
}

double sxt_test_normal(sxt_test_rng *rng) {
    const double radius = sqrt(-2 * log(1 - sxt_test_uniform(rng, 0, 1)));
    return radius * cos(6.283185307179586 * sxt_test_uniform(rng, 0, 1));
}

sxt_type sxt_test_float_type(sxt_test_rng *rng) {
    return SXT_TEST_PICK(rng, sxt_type, SXT_TYPE_F32, SXT_TYPE_F16, SXT_TYPE_BF16);
}
