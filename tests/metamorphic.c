// What must hold between results of norms and rotations, whatever the numbers are: no reference is asked, the device is
// compared with itself. (metamorphic_attention.c has what holds of attention.)
#include <criterion/criterion.h>
#include <math.h>

#include "support/bound.h"
#include "support/rotation.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
}

static void teardown(void) {
    sxt_test_bench_finish(&bench);
}

TestSuite(metamorphic, .init = setup, .fini = teardown);

static void begin(uint64_t seed) {
    sxt_test_trial_init(&trial, &bench, seed);
    trial.device_only = true;
}

static void run(const sxt_test_step *steps, uint32_t count) {
    cr_assert_eq(sxt_test_run(&trial, steps, count), SXT_OK, "%s", bench.log.text);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
}

#define FOR_EACH_CASE(count)                                                                                           \
    for (uint64_t seed = sxt_test_first_seed(), last = seed + sxt_test_cases(count); seed < last;                      \
         sxt_test_trial_finish(&trial), seed++)

static sxt_tensor normal(const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads,
                         uint32_t channels) {
    const sxt_tensor t = sxt_test_dense(&trial, name, type, batch, tokens, heads, channels);
    sxt_test_fill_normal(&trial, &t, 0, 1);
    return t;
}

static sxt_tensor output_like(const char *name, const sxt_tensor *like) {
    return sxt_test_dense(&trial, name, like->type, like->shape[0], like->shape[1], like->shape[2], like->shape[3]);
}

static void require_same_bits(const sxt_tensor *a, const sxt_tensor *b) {
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, a, SXT_TEST_DEVICE, b));
}

// ── The order of norm and rotation ──

enum { SHIFT_TOKENS = 5, SHIFT_DIM = 64 };

// Logits of query tokens and one key, read from lse: with a single key, lse is its score.
typedef struct logits {
    sxt_rope_desc rope_q, rope_k;
    sxt_norm_desc norm_q, norm_k;
    sxt_attention_desc attention;
} logits;

static sxt_tensor positions_from(const char *name, uint32_t tokens, const int32_t *at, int32_t shift) {
    const sxt_tensor t = sxt_test_dense(&trial, name, SXT_TYPE_I32, 1, 1, 1, tokens);
    for (uint32_t i = 0; i < tokens; i++)
        sxt_test_set_int(&trial, &t, i, at[i] + shift);
    return t;
}

typedef struct shift_inputs {
    sxt_tensor q, k, gain_q, gain_k, v;
    int32_t at[SHIFT_TOKENS];
} shift_inputs;

// Steps for norm, then rotation (in two ops here, so that the other order is the same two swapped), then logits.
static uint32_t make_logits(const shift_inputs *in, int32_t shift, bool swapped, logits *out, sxt_test_step steps[5]) {
    const sxt_tensor q1 = output_like("q1", &in->q), q2 = output_like("q2", &in->q);
    const sxt_tensor k1 = output_like("k1", &in->k), k2 = output_like("k2", &in->k);
    const sxt_tensor at_q = positions_from("positions of q", SHIFT_TOKENS, in->at, shift);
    const sxt_tensor at_k = positions_from("positions of k", 1, in->at + 1, shift);
    *out = (logits){
        .rope_q = {.x = swapped ? in->q : q1, .y = swapped ? q1 : q2, .positions = at_q},
        .rope_k = {.x = swapped ? in->k : k1, .y = swapped ? k1 : k2, .positions = at_k},
        .norm_q = {.x = swapped ? q1 : in->q, .y = swapped ? q2 : q1, .weight = in->gain_q, .eps = 1e-6f},
        .norm_k = {.x = swapped ? k1 : in->k, .y = swapped ? k2 : k1, .weight = in->gain_k, .eps = 1e-6f},
    };
    out->attention = (sxt_attention_desc){.q = q2, .k = k2, .v = in->v};
    out->attention.o = output_like("o", &in->q);
    out->attention.lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, 1, SHIFT_TOKENS, 1, 1);
    steps[swapped ? 2 : 0] = (sxt_test_step){SXT_OP_NORM, &out->norm_q};
    steps[swapped ? 3 : 1] = (sxt_test_step){SXT_OP_NORM, &out->norm_k};
    steps[swapped ? 0 : 2] = (sxt_test_step){SXT_OP_ROPE, &out->rope_q};
    steps[swapped ? 1 : 3] = (sxt_test_step){SXT_OP_ROPE, &out->rope_k};
    steps[4] = (sxt_test_step){SXT_OP_ATTENTION, &out->attention};
    return 5;
}

static shift_inputs make_shift_inputs(void) {
    shift_inputs in = {.q = normal("q", SXT_TYPE_F32, 1, SHIFT_TOKENS, 1, SHIFT_DIM),
                       .k = normal("k", SXT_TYPE_F32, 1, 1, 1, SHIFT_DIM),
                       .gain_q = sxt_test_dense(&trial, "gain_q", SXT_TYPE_F32, 1, 1, 1, SHIFT_DIM),
                       .gain_k = sxt_test_dense(&trial, "gain_k", SXT_TYPE_F32, 1, 1, 1, SHIFT_DIM),
                       .v = normal("v", SXT_TYPE_F32, 1, 1, 1, SHIFT_DIM)};
    for (uint32_t c = 0; c < SHIFT_DIM; c++) {
        sxt_test_set(&trial, &in.gain_q, c, sxt_test_uniform(&trial.rng, 0.25, 2));
        sxt_test_set(&trial, &in.gain_k, c, sxt_test_uniform(&trial.rng, 0.25, 2));
    }
    for (uint32_t t = 0; t < SHIFT_TOKENS; t++)
        in.at[t] = (int32_t)sxt_test_below(&trial.rng, 1000);
    return in;
}

// The most that logits move when all positions are shifted.
static double movement(bool swapped) {
    const shift_inputs in = make_shift_inputs();
    const int32_t shift = (int32_t)sxt_test_between(&trial.rng, 1, 100000);
    logits here, there;
    sxt_test_step steps[10];
    const uint32_t count = make_logits(&in, 0, swapped, &here, steps);
    make_logits(&in, shift, swapped, &there, steps + count);
    run(steps, 2 * count);
    double most = 0;
    for (uint32_t i = 0; i < SHIFT_TOKENS; i++)
        most = fmax(most, fabs(sxt_test_get(&trial, SXT_TEST_DEVICE, &here.attention.lse, i) -
                               sxt_test_get(&trial, SXT_TEST_DEVICE, &there.attention.lse, i)));
    return most;
}

// With norm before rotation logits depend on distances alone. Rotated channels are off by (|a| + |b|)·1e-6 at most,
// twice for two runs, on either side: Σ over pairs ≤ 2·‖q̂‖‖k̂‖·1e-6 each, ‖q̂‖ ≤ 2√d with gains to 2:
// 4·2·(2√d)²·1e-6/√d.
Test(metamorphic, logits_stay_under_a_shift_of_all_positions) {
    const double bound = 32 * sqrt(SHIFT_DIM) * 1e-6;
    FOR_EACH_CASE(150) {
        begin(seed);
        const double moved = movement(false);
        cr_assert(moved <= bound, "seed %llu: logits moved by %g", (unsigned long long)seed, moved);
    }
}

// The control: in the other order, gains make them move, by thousands of times as much.
Test(metamorphic, logits_move_if_rotation_comes_first) {
    double least = INFINITY;
    FOR_EACH_CASE(20) {
        begin(seed);
        least = fmin(least, movement(true));
    }
    cr_assert(least > 0.01, "logits moved by %g only", least);
}

// ── Norm and rotation ──

// Powers of two change exponents only: without eps, rms and l2 norm do not notice.
Test(metamorphic, norm_ignores_a_power_of_two) {
    FOR_EACH_CASE(150) {
        begin(seed);
        sxt_norm_desc d = {.kind = seed % 2 ? SXT_NORM_RMS : SXT_NORM_L2};
        d.x = normal("x", SXT_TYPE_F32, 1, 5, 1, SXT_TEST_PICK(&trial.rng, uint32_t, 64, 96, 128));
        d.y = output_like("y", &d.x);
        sxt_norm_desc other = d;
        other.x = output_like("scaled x", &d.x);
        other.y = output_like("other y", &d.x);
        const double factor = exp2((double)sxt_test_between(&trial.rng, 0, 100) - 50);
        for (uint64_t n = 0; n < sxt_test_count(&d.x); n++)
            sxt_test_set(&trial, &other.x, n, factor * sxt_test_get(&trial, SXT_TEST_INITIAL, &d.x, n));
        run((sxt_test_step[]){{SXT_OP_NORM, &d}, {SXT_OP_NORM, &other}}, 2);
        require_same_bits(&d.y, &other.y);
    }
}

// Rotating forth and back: each way errs by (|a| + |b|)·(ε_trig + 2u), and no length grows.
Test(metamorphic, inverse_rotation_undoes_a_rotation) {
    static sxt_test_rotation rotation;
    FOR_EACH_CASE(150) {
        begin(seed);
        sxt_test_random_rotation(&trial.rng, 64, &rotation);
        rotation.params.attn_factor = 1;
        if (rotation.params.ext_factor != 0) rotation.params.freq_scale = 1; // so that m is 1
        rotation.params.inverse = false;
        sxt_rope_desc forth = {.rope = rotation.params};
        forth.x = normal("x", SXT_TYPE_F32, 2, 5, 3, 64);
        forth.y = output_like("y", &forth.x);
        forth.positions = sxt_test_positions(&trial, rotation.planes, 2, 5, INT32_MAX);
        sxt_rope_desc back = forth;
        back.x = back.y;
        back.rope.inverse = true;
        run((sxt_test_step[]){{SXT_OP_ROPE, &forth}, {SXT_OP_ROPE, &back}}, 2);
        for (uint64_t n = 0; n < sxt_test_count(&forth.x); n += 64) {
            double length = 0;
            for (uint32_t c = 0; c < 64; c++)
                length += pow(sxt_test_get(&trial, SXT_TEST_INITIAL, &forth.x, n + c), 2);
            for (uint32_t c = 0; c < 64; c++) {
                const double error = sxt_test_get(&trial, SXT_TEST_DEVICE, &forth.y, n + c) -
                                     sxt_test_get(&trial, SXT_TEST_INITIAL, &forth.x, n + c);
                cr_assert(fabs(error) <= 4 * 1e-6 * sqrt(2 * length), "seed %llu: off by %g", (unsigned long long)seed,
                          error);
            }
        }
    }
}

// ── Determinism ──

Test(metamorphic, the_same_call_gives_the_same_bits) {
    FOR_EACH_CASE(40) {
        begin(seed);
        sxt_norm_desc norm[2] = {{.kind = (sxt_norm_kind)(seed % 3), .eps = 1e-6f}};
        norm[0].x = normal("x", SXT_TYPE_F32, 1, 9, 2, 300);
        norm[0].y = output_like("y", &norm[0].x);
        norm[1] = norm[0];
        norm[1].y = output_like("other y", &norm[0].x);
        sxt_qk_norm_rope_desc rope[2] = {{.eps = 1e-6f}};
        rope[0].q = normal("q", SXT_TYPE_F32, 2, 17, 4, 64);
        rope[0].positions = sxt_test_positions(&trial, 1, 2, 17, 100000);
        rope[0].q_out = output_like("q_out", &rope[0].q);
        rope[1] = rope[0];
        rope[1].q_out = output_like("other q_out", &rope[0].q);
        run((sxt_test_step[]){{SXT_OP_NORM, &norm[0]},
                              {SXT_OP_QK_NORM_ROPE, &rope[0]},
                              {SXT_OP_QK_NORM_ROPE, &rope[1]},
                              {SXT_OP_NORM, &norm[1]}},
            4);
        require_same_bits(&norm[0].y, &norm[1].y);
        require_same_bits(&rope[0].q_out, &rope[1].q_out);
    }
}
