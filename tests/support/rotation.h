// Random rotations, for the tests of rope and qk_norm_rope.
#ifndef SXT_TESTS_SUPPORT_ROTATION_H
#define SXT_TESTS_SUPPORT_ROTATION_H

#include "support/trial.h"

enum { SXT_TEST_MAX_PAIRS = 256 };

typedef struct sxt_test_rotation {
    sxt_rope_params params;
    uint32_t planes; // of positions
    float freq_factors[SXT_TEST_MAX_PAIRS];
} sxt_test_rotation;

// Parameters for heads of `channels` channels, at least 2 and at most twice SXT_TEST_MAX_PAIRS. `out_rotation` must
// stay where it is while they are used.
void sxt_test_random_rotation(sxt_test_rng *rng, uint32_t channels, sxt_test_rotation *out_rotation);

// A tensor of positions, one row of tokens a batch or one for all, each position of either sign and of any magnitude up
// to `most`.
sxt_tensor sxt_test_positions(sxt_test_trial *trial, uint32_t planes, uint32_t batch, uint32_t tokens, int32_t most);

// Adds the parameters to what a failure prints.
void sxt_test_say_rotation(sxt_test_trial *trial, const sxt_rope_params *rope);

#endif
