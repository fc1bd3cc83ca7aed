// sxt_attention in all forms at once: sequences of different lengths, pages, masks of bits, coded keys and values, large
// and latent heads, each with each. What no query sees is NaN in every case.
#include <criterion/criterion.h>

#include "support/attention_case.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(attention_forms, .init = setup, .fini = teardown);

// Cases that share what is compiled; and 36 of these have each kind of sequences with each type of keys.
enum { GROUP = 12, FORMS = 36 };

Test(attention_forms, random_forms_match_double_precision) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(GROUP * FORMS);
    for (uint64_t seed = first; seed < first + cases; seed++) {
        sxt_test_trial_init(&trial, &bench, seed);
        const sxt_test_form form = sxt_test_form_of(seed / GROUP);
        const sxt_attention_desc d = sxt_test_attention_case(&trial, &form, (sxt_test_lengths){0});
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}

// Forms in the shapes that serve models: batches of one or few new tokens a sequence on caches of hundreds.
Test(attention_forms, decode_steps_match_double_precision) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(FORMS);
    for (uint64_t seed = first; seed < first + cases; seed++) {
        sxt_test_trial_init(&trial, &bench, seed);
        sxt_test_form form = sxt_test_form_of(7 * (seed / 4)); // another kind and type each
        if (form.dim > 256) form.dim = 256;
        if (form.v_dim > 256) form.v_dim = 256;
        const sxt_test_lengths most = {.sequences = 3, .queries = seed % 3 + 1, .keys = 800};
        const sxt_attention_desc d = sxt_test_attention_case(&trial, &form, most);
        sxt_test_attention_check(&trial, &d, 5e-6);
        sxt_test_trial_finish(&trial);
    }
}
