#include "bench.h"

#include "number.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>

#define ATTENTION .kind = SXT_BENCH_ATTENTION
#define GPU       .gpu_only = true

const sxt_bench_case sxt_bench_cases[] = {
    {"rms_norm.f32.4096x512", SXT_BENCH_RMS_NORM, .tokens = 512, .channels = 4096},
    {"rms_norm.f32.1024x4096", SXT_BENCH_RMS_NORM, .tokens = 4096, .channels = 1024},
    {"l2_norm.f32.128x16384", SXT_BENCH_L2_NORM, .tokens = 16384, .channels = 128},
    {"rope.half.f32.128x32x512", SXT_BENCH_ROPE_HALF, .tokens = 512, .heads = 32, .channels = 128},
    {"rope.interleaved.f32.128x32x512", SXT_BENCH_ROPE_INTERLEAVED, .tokens = 512, .heads = 32, .channels = 128},
    {"qk_norm_rope_kv.qwen3-8b.t512", SXT_BENCH_QK_NORM_ROPE_KV, .tokens = 512, .heads = 32, .kv_heads = 8,
     .channels = 128},
    {"qk_norm_rope_kv.qwen3-8b.t1", SXT_BENCH_QK_NORM_ROPE_KV, .tokens = 1, .heads = 32, .kv_heads = 8,
     .channels = 128},
    {"attn.qwen3-0.6b.prefill512", ATTENTION, .tokens = 512, .keys = 512, .heads = 16, .kv_heads = 8, .channels = 128,
     .causal = true},
    {"attn.qwen3-0.6b.prefill1k", ATTENTION, .tokens = 1024, .keys = 1024, .heads = 16, .kv_heads = 8, .channels = 128,
     .causal = true},
    {"attn.llama3-8b.chunk128@2k", ATTENTION, .tokens = 128, .keys = 2048, .heads = 32, .kv_heads = 8, .channels = 128,
     .causal = true},
    {"attn.flux.full1k", ATTENTION, .tokens = 1024, .keys = 1024, .heads = 8, .kv_heads = 8, .channels = 128},
    {"attn.vit-l.full577", ATTENTION, .tokens = 577, .keys = 577, .heads = 16, .kv_heads = 16, .channels = 64},
    {"attn.gemma3-4b.prefill256", ATTENTION, .tokens = 256, .keys = 256, .heads = 8, .kv_heads = 4, .channels = 256,
     .causal = true},
    {"attn.qwen3-8b.decode@4k", ATTENTION, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8, .channels = 128},
    {"attn.qwen3-8b.decode@32k", ATTENTION, .tokens = 1, .keys = 32768, .heads = 32, .kv_heads = 8, .channels = 128},
    {"attn.qwen3-8b.decode@4k.q8", ATTENTION, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8, .channels = 128,
     .kv_type = SXT_TYPE_Q8_0},
    {"attn.gptoss.decode@4k.d64", ATTENTION, .tokens = 1, .keys = 4096, .heads = 64, .kv_heads = 8, .channels = 64},

    {"attn.qwen3-8b.prefill4k", ATTENTION, GPU, .tokens = 4096, .keys = 4096, .heads = 32, .kv_heads = 8,
     .channels = 128, .causal = true},
    {"attn.qwen3-8b.prefill32k", ATTENTION, GPU, .tokens = 32768, .keys = 32768, .heads = 32, .kv_heads = 8,
     .channels = 128, .causal = true},
    {"attn.qwen3-8b.chunk512@32k", ATTENTION, GPU, .tokens = 512, .keys = 32768, .heads = 32, .kv_heads = 8,
     .channels = 128, .causal = true},
    {"attn.qwen3-8b.decode@8k", ATTENTION, GPU, .tokens = 1, .keys = 8192, .heads = 32, .kv_heads = 8, .channels = 128},
    {"attn.qwen3-8b.decode@128k", ATTENTION, GPU, .tokens = 1, .keys = 131072, .heads = 32, .kv_heads = 8,
     .channels = 128},
    {"attn.llama3-8b.decode.b32@4k", ATTENTION, GPU, .batch = 32, .tokens = 1, .keys = 4096, .heads = 32, .kv_heads = 8,
     .channels = 128},
    {"attn.gemma3-12b.prefill8k", ATTENTION, GPU, .tokens = 8192, .keys = 8192, .heads = 16, .kv_heads = 8,
     .channels = 256, .causal = true},
    {"attn.gemma3-12b.prefill8k.window1024", ATTENTION, GPU, .tokens = 8192, .keys = 8192, .heads = 16, .kv_heads = 8,
     .channels = 256, .causal = true, .window = 1024},
    {"attn.gptoss.prefill4k", ATTENTION, GPU, .tokens = 4096, .keys = 4096, .heads = 64, .kv_heads = 8, .channels = 64,
     .causal = true, .sinks = true},
    {"attn.flux.full4608", ATTENTION, GPU, .tokens = 4608, .keys = 4608, .heads = 24, .kv_heads = 24, .channels = 128},
    {"attn.sdxl.full4096", ATTENTION, GPU, .batch = 2, .tokens = 4096, .keys = 4096, .heads = 10, .kv_heads = 10,
     .channels = 64},
    {"attn.vit.full5776", ATTENTION, GPU, .tokens = 5776, .keys = 5776, .heads = 16, .kv_heads = 16, .channels = 72},
    {"qk_norm_rope.flux.t4608", SXT_BENCH_QK_NORM_ROPE, GPU, .tokens = 4608, .heads = 24, .kv_heads = 24,
     .channels = 128},
    {"rms_norm.f16.4096x4096", SXT_BENCH_RMS_NORM, GPU, .type = SXT_TYPE_F16, .tokens = 4096, .channels = 4096},
};
const int sxt_bench_case_count = sizeof sxt_bench_cases / sizeof sxt_bench_cases[0];

// ── Slots ──

// Random data: a stretch of odd length (a prime number of q8_0's blocks), repeated, so that no two rows are the same.
static void *make_noise(sxt_type type, uint64_t count) {
    enum { PERIOD = 2039 * 32 };
    uint64_t period_bytes = sxt_number_bytes(type, PERIOD), bytes = sxt_number_bytes(type, count);
    char *data = malloc(bytes + period_bytes);
    if (!data) return NULL;
    sxt_random random = sxt_random_seed(count, (uint64_t)type);
    for (uint64_t i = 0; i < PERIOD && i < count; i += 32) {
        float values[32];
        for (int j = 0; j < 32; j++)
            values[j] = (float)sxt_random_normal(&random);
        if (type == SXT_TYPE_Q8_0) sxt_number_put_q8_0(data, i / 32, 1, values);
        for (uint64_t j = 0; type != SXT_TYPE_Q8_0 && j < 32; j++)
            sxt_number_put(type, data, i + j, values[j]);
    }
    for (uint64_t at = period_bytes; at < bytes; at += period_bytes)
        memcpy(data + at, data, period_bytes);
    return data;
}

static int add_input(sxt_work *work, const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads,
                     uint32_t channels) {
    int slot = sxt_work_slot(work, name, type, (uint32_t[4]){batch, tokens, heads, channels}, NULL);
    work->slots[slot].owned = make_noise(type, sxt_slot_count(&work->slots[slot]));
    work->slots[slot].initial = work->slots[slot].owned;
    return slot;
}

static int add_output(sxt_work *work, const char *name, sxt_type type, uint32_t batch, uint32_t tokens, uint32_t heads,
                      uint32_t channels) {
    return sxt_work_slot(work, name, type, (uint32_t[4]){batch, tokens, heads, channels}, NULL);
}

static int add_positions(sxt_work *work, uint32_t tokens) {
    int slot = sxt_work_slot(work, "positions", SXT_TYPE_I32, (uint32_t[4]){1, 1, 1, tokens}, NULL);
    int32_t *positions = malloc(tokens * sizeof *positions);
    for (uint32_t i = 0; positions && i < tokens; i++)
        positions[i] = (int32_t)i;
    work->slots[slot].owned = positions;
    work->slots[slot].initial = positions;
    return slot;
}

// ── Kinds ──

static void make_norm(const sxt_bench_case *c, sxt_work *work) {
    bool rms = c->kind == SXT_BENCH_RMS_NORM;
    int x = add_input(work, "x", c->type, 1, c->tokens, 1, c->channels);
    int y = add_output(work, "y", c->type, 1, c->tokens, 1, c->channels);
    int weight = rms ? add_input(work, "weight", SXT_TYPE_F32, 1, 1, 1, c->channels) : SXT_NO_SLOT;
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_NORM);
    stage->desc.norm = (sxt_norm_desc){.kind = rms ? SXT_NORM_RMS : SXT_NORM_L2, .eps = 1e-6f};
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "weight", weight);
    sxt_stage_bind(stage, "y", y);
}

static void make_rope(const sxt_bench_case *c, sxt_work *work) {
    int x = add_input(work, "x", c->type, 1, c->tokens, c->heads, c->channels);
    int y = add_output(work, "y", c->type, 1, c->tokens, c->heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_ROPE);
    stage->desc.rope.rope.pairing = c->kind == SXT_BENCH_ROPE_HALF ? SXT_ROPE_HALF : SXT_ROPE_INTERLEAVED;
    sxt_stage_bind(stage, "x", x);
    sxt_stage_bind(stage, "positions", add_positions(work, c->tokens));
    sxt_stage_bind(stage, "y", y);
}

static void make_qk_norm_rope(const sxt_bench_case *c, sxt_work *work) {
    enum { CACHE_ROWS = 1024 };
    int q = add_input(work, "q", c->type, 1, c->tokens, c->heads, c->channels);
    int k = add_input(work, "k", c->type, 1, c->tokens, c->kv_heads, c->channels);
    int q_out = add_output(work, "q_out", c->type, 1, c->tokens, c->heads, c->channels);
    int k_out = add_output(work, "k_out", c->type, 1, c->tokens, c->kv_heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_QK_NORM_ROPE);
    stage->desc.qk_norm_rope = (sxt_qk_norm_rope_desc){.norm = SXT_NORM_RMS, .eps = 1e-6f, .rope.base = 1e6f};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "q_weight", add_input(work, "q_weight", SXT_TYPE_F32, 1, 1, 1, c->channels));
    sxt_stage_bind(stage, "k_weight", add_input(work, "k_weight", SXT_TYPE_F32, 1, 1, 1, c->channels));
    sxt_stage_bind(stage, "positions", add_positions(work, c->tokens));
    sxt_stage_bind(stage, "q_out", q_out);
    sxt_stage_bind(stage, "k_out", k_out);
    if (c->kind == SXT_BENCH_QK_NORM_ROPE) return;
    stage = sxt_work_stage(work, SXT_OP_KV_WRITE);
    sxt_stage_bind(stage, "k", k_out);
    sxt_stage_bind(stage, "v", add_input(work, "v", c->type, 1, c->tokens, c->kv_heads, c->channels));
    sxt_stage_bind(stage, "k_cache",
                   add_output(work, "k_cache", SXT_TYPE_F16, 1, CACHE_ROWS, c->kv_heads, c->channels));
    sxt_stage_bind(stage, "v_cache",
                   add_output(work, "v_cache", SXT_TYPE_F16, 1, CACHE_ROWS, c->kv_heads, c->channels));
}

static void make_attention(const sxt_bench_case *c, sxt_work *work) {
    uint32_t batch = c->batch ? c->batch : 1;
    int q = add_input(work, "q", c->type, batch, c->tokens, c->heads, c->channels);
    sxt_type kv_type = c->kv_type == SXT_TYPE_F32 ? SXT_TYPE_F16 : c->kv_type;
    int k = add_input(work, "k", kv_type, batch, c->keys, c->kv_heads, c->channels);
    int v = add_input(work, "v", kv_type, batch, c->keys, c->kv_heads, c->channels);
    int o = add_output(work, "o", c->type, batch, c->tokens, c->heads, c->channels);
    sxt_stage *stage = sxt_work_stage(work, SXT_OP_ATTENTION);
    stage->desc.attention = (sxt_attention_desc){.causal = c->causal,
                                                 .windowed = c->window > 0,
                                                 .window_left = c->window ? (int32_t)c->window - 1 : 0,
                                                 .window_right = -1};
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "o", o);
    if (c->sinks) sxt_stage_bind(stage, "sinks", add_input(work, "sinks", SXT_TYPE_F32, 1, 1, 1, c->heads));
}

static bool complete(sxt_work *work) {
    for (int i = 0; i < work->slot_count; i++) {
        if (work->slots[i].owned || sxt_work_writes(work, i)) continue;
        sxt_work_finish(work);
        return false;
    }
    return true;
}

bool sxt_bench_make(const sxt_bench_case *from, sxt_work *out_work) {
    *out_work = (sxt_work){0};
    switch (from->kind) {
    case SXT_BENCH_RMS_NORM:
    case SXT_BENCH_L2_NORM:
        make_norm(from, out_work);
        break;
    case SXT_BENCH_ROPE_HALF:
    case SXT_BENCH_ROPE_INTERLEAVED:
        make_rope(from, out_work);
        break;
    case SXT_BENCH_QK_NORM_ROPE:
    case SXT_BENCH_QK_NORM_ROPE_KV:
        make_qk_norm_rope(from, out_work);
        break;
    case SXT_BENCH_ATTENTION:
        make_attention(from, out_work);
        break;
    }
    return complete(out_work);
}

bool sxt_bench_make_copy(uint64_t bytes, sxt_work *out_work) {
    enum { HEADS = 8, CHANNELS = 128 };
    uint32_t tokens = (uint32_t)(bytes / sizeof(float) / HEADS / CHANNELS);
    *out_work = (sxt_work){0};
    int from = add_input(out_work, "from", SXT_TYPE_F32, 1, tokens, HEADS, CHANNELS);
    int to = add_output(out_work, "to", SXT_TYPE_F32, 1, tokens, HEADS, CHANNELS);
    sxt_stage *stage = sxt_work_stage(out_work, SXT_OP_KV_WRITE);
    sxt_stage_bind(stage, "k", from);
    sxt_stage_bind(stage, "k_cache", to);
    return complete(out_work);
}
