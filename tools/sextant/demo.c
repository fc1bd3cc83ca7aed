// sextant demo: one attention layer from a fixed seed, run, checked, and shown to a newcomer.
#include "check.h"
#include "program.h"
#include "random.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 512, Q_HEADS = 16, KV_HEADS = 8, CHANNELS = 128, SHIFT = 1000, SEED = 7 };

// Qwen3-0.6B's layer: q and k as the projections leave them, gains as trained ones look.
typedef struct layer {
    float q[TOKENS * Q_HEADS * CHANNELS];
    float k[TOKENS * KV_HEADS * CHANNELS], v[TOKENS * KV_HEADS * CHANNELS];
    float q_gain[CHANNELS], k_gain[CHANNELS];
    int32_t positions[TOKENS], shifted[TOKENS];
} layer;

static void fill(sxt_random *random, float *values, size_t count, double size) {
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(size * sxt_random_normal(random));
}

static void make_layer(layer *out) {
    sxt_random random = sxt_random_seed(SEED, 0);
    fill(&random, out->q, sizeof out->q / sizeof *out->q, 3);
    fill(&random, out->k, sizeof out->k / sizeof *out->k, 3);
    fill(&random, out->v, sizeof out->v / sizeof *out->v, 1);
    for (int i = 0; i < CHANNELS; i++) {
        out->q_gain[i] = (float)exp(0.25 * sxt_random_normal(&random));
        out->k_gain[i] = (float)exp(0.25 * sxt_random_normal(&random));
    }
    for (int i = 0; i < TOKENS; i++) {
        out->positions[i] = i;
        out->shifted[i] = i + SHIFT;
    }
}

static const uint32_t gain_shape[4] = {1, 1, 1, CHANNELS}, position_shape[4] = {1, 1, 1, TOKENS};
static const uint32_t q_shape[4] = {1, TOKENS, Q_HEADS, CHANNELS}, kv_shape[4] = {1, TOKENS, KV_HEADS, CHANNELS};
static const sxt_rope_params rope = {.pairing = SXT_ROPE_HALF, .base = 1e6f};
static const float eps = 1e-6f;

// QK-norm → RoPE → KV write in one dispatch, then attention.
static void make_work(const layer *input, sxt_work *work) {
    *work = (sxt_work){0};
    int q = sxt_work_slot(work, "q", SXT_TYPE_F32, q_shape, input->q),
        k = sxt_work_slot(work, "k", SXT_TYPE_F32, kv_shape, input->k);
    int v = sxt_work_slot(work, "v", SXT_TYPE_F32, kv_shape, input->v);
    int q_gain = sxt_work_slot(work, "q_weight", SXT_TYPE_F32, gain_shape, input->q_gain);
    int k_gain = sxt_work_slot(work, "k_weight", SXT_TYPE_F32, gain_shape, input->k_gain);
    int positions = sxt_work_slot(work, "positions", SXT_TYPE_I32, position_shape, input->positions);
    int q_out = sxt_work_slot(work, "q_out", SXT_TYPE_F32, q_shape, NULL);
    int k_cache = sxt_work_slot(work, "k_cache", SXT_TYPE_F16, kv_shape, NULL);
    int v_cache = sxt_work_slot(work, "v_cache", SXT_TYPE_F16, kv_shape, NULL);
    int o = sxt_work_slot(work, "o", SXT_TYPE_F32, q_shape, NULL);
    work->slots[o].result = true;

    sxt_stage *stage = sxt_work_stage(work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){.norm = SXT_NORM_RMS, .eps = eps, .rope = rope};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "q_weight", q_gain);
    sxt_stage_bind(stage, "k_weight", k_gain);
    sxt_stage_bind(stage, "positions", positions);
    sxt_stage_bind(stage, "q_out", q_out);
    sxt_stage_bind(stage, "k_cache", k_cache);
    sxt_stage_bind(stage, "v_cache", v_cache);
    stage = sxt_work_stage(work, SXT_OP_ATTENTION);
    stage->desc.attention = (sxt_attention_desc){.causal = true};
    sxt_stage_bind(stage, "q", q_out);
    sxt_stage_bind(stage, "k", k_cache);
    sxt_stage_bind(stage, "v", v_cache);
    sxt_stage_bind(stage, "o", o);
}

// ── The facts about order ──

// Rotation and norm of q or k in the order that the library has no fused call for.
static void add_swapped(sxt_work *work, const char *name, int in, int gain, int positions, const uint32_t shape[4]) {
    int turned = sxt_work_slot(work, "rotated", SXT_TYPE_F32, shape, NULL),
        out = sxt_work_slot(work, name, SXT_TYPE_F32, shape, NULL);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_ROPE);
    stage->desc.rope.rope = rope;
    sxt_stage_bind(stage, "x", in);
    sxt_stage_bind(stage, "positions", positions);
    sxt_stage_bind(stage, "y", turned);
    stage = sxt_work_stage(work, SXT_OP_NORM);
    stage->desc.norm = (sxt_norm_desc){.kind = SXT_NORM_RMS, .eps = eps};
    sxt_stage_bind(stage, "x", turned);
    sxt_stage_bind(stage, "weight", gain);
    sxt_stage_bind(stage, "y", out);
}

// Logits of head 0 for every pair of tokens, q and k computed on the device, multiplied here in double.
static sxt_result find_logits(const sxt_session *session, const layer *input, bool swapped, const int32_t *at,
                              double *out_logits) {
    static const uint32_t shape[4] = {1, TOKENS, 1, CHANNELS};
    sxt_work work = {0};
    sxt_rig rig;
    float *q = malloc(sizeof(float) * TOKENS * CHANNELS), *k = malloc(sizeof(float) * TOKENS * CHANNELS);
    sxt_result result = q && k ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    for (int t = 0; t < TOKENS && result == SXT_OK; t++) {
        memcpy(q + (size_t)t * CHANNELS, input->q + (size_t)t * Q_HEADS * CHANNELS, CHANNELS * sizeof *q);
        memcpy(k + (size_t)t * CHANNELS, input->k + (size_t)t * KV_HEADS * CHANNELS, CHANNELS * sizeof *k);
    }
    int q_in = sxt_work_slot(&work, "q", SXT_TYPE_F32, shape, q),
        k_in = sxt_work_slot(&work, "k", SXT_TYPE_F32, shape, k);
    int q_gain = sxt_work_slot(&work, "q_weight", SXT_TYPE_F32, gain_shape, input->q_gain);
    int k_gain = sxt_work_slot(&work, "k_weight", SXT_TYPE_F32, gain_shape, input->k_gain);
    int positions = sxt_work_slot(&work, "positions", SXT_TYPE_I32, position_shape, at), q_out, k_out;
    if (swapped) {
        add_swapped(&work, "q_out", q_in, q_gain, positions, shape);
        q_out = work.slot_count - 1;
        add_swapped(&work, "k_out", k_in, k_gain, positions, shape);
        k_out = work.slot_count - 1;
    } else {
        q_out = sxt_work_slot(&work, "q_out", SXT_TYPE_F32, shape, NULL);
        k_out = sxt_work_slot(&work, "k_out", SXT_TYPE_F32, shape, NULL);
        sxt_stage *stage = sxt_work_stage(&work, SXT_OP_QK_NORM_ROPE);
        stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){.norm = SXT_NORM_RMS, .eps = eps, .rope = rope};
        sxt_stage_bind(stage, "q", q_in);
        sxt_stage_bind(stage, "k", k_in);
        sxt_stage_bind(stage, "q_weight", q_gain);
        sxt_stage_bind(stage, "k_weight", k_gain);
        sxt_stage_bind(stage, "positions", positions);
        sxt_stage_bind(stage, "q_out", q_out);
        sxt_stage_bind(stage, "k_out", k_out);
    }
    rig = (sxt_rig){0};
    if (result == SXT_OK) result = sxt_rig_init(&rig, session, &work, false);
    if (result == SXT_OK) result = sxt_rig_run(&rig);
    if (result == SXT_OK) result = sxt_rig_read(&rig, q_out, q, NULL);
    if (result == SXT_OK) result = sxt_rig_read(&rig, k_out, k, NULL);
    for (int i = 0; i < TOKENS && result == SXT_OK; i++) {
        for (int j = 0; j < TOKENS; j++) {
            double sum = 0;
            for (int c = 0; c < CHANNELS; c++)
                sum += (double)q[i * CHANNELS + c] * k[j * CHANNELS + c];
            out_logits[i * TOKENS + j] = sum / sqrt(CHANNELS);
        }
    }
    sxt_rig_finish(&rig);
    free(q);
    free(k);
    return result;
}

// By how much, relative to their size, the logits move when every position moves by SHIFT.
static sxt_result find_drift(const sxt_session *session, const layer *input, bool swapped, double *out_drift) {
    double *here = malloc(sizeof(double) * TOKENS * TOKENS), *there = malloc(sizeof(double) * TOKENS * TOKENS);
    double moved = 0, length = 0;
    sxt_result result = here && there ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    if (result == SXT_OK) result = find_logits(session, input, swapped, input->positions, here);
    if (result == SXT_OK) result = find_logits(session, input, swapped, input->shifted, there);
    for (int i = 0; i < TOKENS * TOKENS && result == SXT_OK; i++) {
        moved += (here[i] - there[i]) * (here[i] - there[i]);
        length += here[i] * here[i];
    }
    *out_drift = sqrt(moved / length);
    free(here);
    free(there);
    return result;
}

// ── What is shown ──

static sxt_result show_order(const sxt_session *session, const layer *input, bool *out_ok) {
    double right, swapped;
    sxt_result result = find_drift(session, input, false, &right);
    if (result == SXT_OK) result = find_drift(session, input, true, &swapped);
    if (result != SXT_OK) return result;
    printf("\nWhy the order is law: move every position by %d, and attention should not notice.\n", SHIFT);
    printf("  norm, then RoPE    logits move by %.1e of their size: rounding, no more\n", right);
    printf("  RoPE, then norm    logits move by %.1f %%: a learned gain no longer sees the same angle\n",
           100 * swapped);
    *out_ok = right <= 1e-5; // f32 rounding of q and k
    return SXT_OK;
}

static void show_times(const sxt_rig *rig, char variants[][128]) {
    static const char *const labels[] = {"norm, RoPE, write", "attention"};
    double total = 0;
    printf("  %-17s %10s   kernel\n", "", "time");
    for (int i = 0; i < rig->work->stage_count; i++) {
        printf("  %-17s %7.2f ms   %s\n", labels[i], rig->stage_us[i] / 1e3, variants[i]);
        total += rig->stage_us[i];
    }
    double flops = sxt_stage_flops(rig->work, &rig->work->stages[rig->work->stage_count - 1]);
    printf("  %-17s %7.2f ms   attention at %.1f GFLOP/s, by the %s\n", "in all", total / 1e3,
           flops / rig->stage_us[rig->work->stage_count - 1] * 1e-3,
           rig->device_clock ? "device's clock" : "wall clock");
}

static sxt_result show_check(const sxt_args *args, sxt_rig *rig, bool *out_ok, int *out_exit) {
    static sxt_check check;
    sxt_session reference;
    double worst = 0;
    *out_ok = false;
    *out_exit = sxt_session_open_reference(args, &reference);
    if (*out_exit != SXT_EXIT_DONE) return SXT_OK;
    sxt_result result = sxt_check_rig(rig, &reference, false, &check);
    sxt_session_close(&reference);
    if (result != SXT_OK) return result;
    printf("\nChecked against a double-precision reference, every element of every stage:\n");
    for (int i = 0; i < check.line_count; i++) {
        const sxt_check_line *line = &check.lines[i];
        if (!line->elements) continue;
        worst = fmax(worst, line->worst_share);
        printf("  %-17s relative error %.1e (limit %.0e)  %s\n", line->slot, line->error, line->limit,
               line->ok ? "ok" : "FAIL");
    }
    printf("  The worst element is at %.0f %% of its a-priori bound.\n", 100 * worst);
    *out_ok = check.ok;
    return SXT_OK;
}

static int show(const sxt_args *args, const sxt_session *session, const layer *input, const sxt_work *work,
                sxt_rig *rig) {
    char variants[SXT_MAX_STAGES][128] = {{0}};
    bool right = true, ordered = true;
    int exit_code = SXT_EXIT_DONE;
    printf("Sextant: one attention layer of Qwen3-0.6B's shape, %d tokens, %d query and %d key heads of %d channels,\n"
           "RMS QK-norm with gains, RoPE base 1e6, f16 cache, causal. Random input from seed %d.\n\n",
           TOKENS, Q_HEADS, KV_HEADS, CHANNELS, SEED);
    printf("  device           %s (%s)\n", session->info->name, session->info->driver);
    fflush(stdout);
    sxt_result result = sxt_rig_init(rig, session, work, true);
    for (int i = 0; i < work->stage_count && result == SXT_OK; i++) {
        result = sxt_rig_prepare(rig, i, variants[i], sizeof variants[i]);
    }
    if (result == SXT_OK) result = sxt_rig_run(rig); // once to warm up
    if (result == SXT_OK) result = sxt_rig_run(rig);
    if (result == SXT_OK) {
        show_times(rig, variants);
        fflush(stdout);
        result = show_check(args, rig, &right, &exit_code);
    }
    if (result == SXT_OK && exit_code == SXT_EXIT_DONE) result = show_order(session, input, &ordered);
    if (result != SXT_OK) return sxt_session_fail(session, result, "demo");
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    if (!right || !ordered) {
        printf("\nFAIL: this device's results are not right. `sextant verify` tells more.\n");
        return SXT_EXIT_CHECK_FAILED;
    }
    printf("\nAll right. Next: `sextant devices`, `sextant verify`, `sextant bench`.\n");
    return SXT_EXIT_DONE;
}

static int run(const sxt_args *args) {
    sxt_session session;
    sxt_work work;
    sxt_rig rig = {0};
    int exit_code = sxt_session_open(args, &session);
    if (exit_code != SXT_EXIT_DONE) return exit_code;
    layer *input = malloc(sizeof *input);
    if (input) {
        make_layer(input);
        make_work(input, &work);
        exit_code = show(args, &session, input, &work, &rig);
    } else {
        exit_code = sxt_fail(SXT_EXIT_NO_DEVICE, "out of memory");
    }
    sxt_rig_finish(&rig);
    sxt_session_close(&session);
    free(input);
    return exit_code;
}

const sxt_command sxt_demo_command = {
    .name = "demo",
    .summary = "Run one attention layer from a fixed seed, check it, and show why norm comes before RoPE",
    .run = run,
};
