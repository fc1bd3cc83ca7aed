// Random rotations, for the tests of rope and qk_norm_rope.
#ifndef SXT_TESTS_SUPPORT_ROTATION_H
#define SXT_TESTS_SUPPORT_ROTATION_H

#include "support/trial.h"

enum { SXT_TEST_MAX_PAIRS = 288 };

typedef struct sxt_test_rotation {
    sxt_rope_params params;
    uint32_t planes; // of positions
    float freq_factors[SXT_TEST_MAX_PAIRS];
} sxt_test_rotation;

// Parameters for heads of `channels` channels, at least 2 and at most twice SXT_TEST_MAX_PAIRS. `out_rotation` must
// stay where it is while they are used.
void sxt_test_random_rotation(sxt_test_rng *rng, uint32_t channels, sxt_test_rotation *out_rotation);

// The same, but what is compiled into a pipeline (pairing, rotary_dim, whether there are several axes) is drawn from
// `group`. Partial rotations have a multiple of
// `unit` channels, an even number, and start at a multiple of half of it.
void sxt_test_group_rotation(sxt_test_rng *group, sxt_test_rng *rng, uint32_t channels, uint32_t unit,
                             sxt_test_rotation *out_rotation);

// One rotation of each form that models use, of heads of `channels`, a multiple of 16.
typedef enum sxt_test_form {
    SXT_TEST_PLAIN = 0,
    SXT_TEST_LINEAR,
    SXT_TEST_NTK,
    SXT_TEST_DYNAMIC_NTK,
    SXT_TEST_YARN,
    SXT_TEST_LLAMA3,
    SXT_TEST_LONGROPE,
    SXT_TEST_MROPE,
    SXT_TEST_IMROPE,
    SXT_TEST_VISION,
    SXT_TEST_PARTIAL,
    SXT_TEST_INVERSE,
    SXT_TEST_FORMS
} sxt_test_form;
const char *sxt_test_form_name(sxt_test_form form);
void sxt_test_rotation_of(sxt_test_form form, uint32_t channels, sxt_test_rotation *out_rotation);

// The rotation of one token in extended precision, for heads of one size: written from sextant.h, not taken from the
// library. cosine, sine: of each pair, with the factor m.
typedef struct sxt_test_turns {
    sxt_rope_params params; // as given, with the defaults filled in
    uint32_t pairs;
    uint32_t axes[SXT_TEST_MAX_PAIRS]; // the plane of positions that each pair follows
    long double frequencies[SXT_TEST_MAX_PAIRS], m;
    double cosine[SXT_TEST_MAX_PAIRS], sine[SXT_TEST_MAX_PAIRS];
} sxt_test_turns;

void sxt_test_turns_init(sxt_test_turns *turns, const sxt_rope_params *rope, uint32_t channels, uint32_t planes);

// Sets the token's positions, one for each plane; with `m`, or without.
void sxt_test_turns_at(sxt_test_turns *turns, const int32_t positions[4], bool with_m);

// Rotates a row in place.
void sxt_test_turn(const sxt_test_turns *turns, double *row);

// A tensor of positions, one row of tokens a batch or one for all, each position of either sign and of any magnitude up
// to `most`.
sxt_tensor sxt_test_positions(sxt_test_trial *trial, uint32_t planes, uint32_t batch, uint32_t tokens, int32_t most);

// Adds the parameters to what a failure prints.
void sxt_test_say_rotation(sxt_test_trial *trial, const sxt_rope_params *rope);

#endif
