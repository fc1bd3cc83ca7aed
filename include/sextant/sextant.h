// Sextant: Vulkan compute shaders for the attention path of transformers, with a CPU reference.
//
//     x ──► norm ──► (your matmuls give q, k, v) ──► QK-norm ──► RoPE ──► KV write ──► attention ──► o, lse
//                                                  └────── one fused dispatch ──────┘
//
// Every operation is a plain struct (a *description*) handed to a *stream*; zero in a field means the sensible default,
// so descriptions are best written with designated initialisers. Tensors are views into buffers. The same calls run on
// a Vulkan device or on the CPU reference, which computes in double precision.
//
// Promises. The library never aborts, exits, prints, reads the environment, touches files (but the cache file that you
// name) or installs handlers, and has no static constructors. Every failure returns a code; the log callback says in
// one line which field is at fault and why. Everything the CPU can see is validated before any Vulkan call. The same
// call on the same device gives the same bits.
//
// Here are the operations; devices, buffers and streams are in device.h.
//
// Threads. A device may be used from any thread. A buffer may be used from any thread, but not written or destroyed by
// one while another uses it. A stream belongs to one thread at a time. sxt_device_close needs the device to itself.
#ifndef SEXTANT_SEXTANT_H
#define SEXTANT_SEXTANT_H

#include <sextant/device.h>

#ifdef __cplusplus
extern "C" {
#endif

// ── Operations ─────────────────────────────────────────────────────────────────────────────────────────────────────
// Each returns INVALID if the description is wrong (the log names the field), UNSUPPORTED if the device has no kernel
// for it, OUT_OF_MEMORY, or DEVICE_LOST; the stream is then as it was before the call. Descriptions are copied.

typedef enum sxt_norm_kind {
    SXT_NORM_RMS = 0, // Zhang & Sennrich 2019
    SXT_NORM_LAYER,   // Ba et al. 2016
    SXT_NORM_L2,      // onto the unit sphere
    SXT_NORM_NONE,    // qk_norm_rope only: rotate alone
} sxt_norm_kind;

// Normalises each row of channels, with r = x (+ residual):
//   rms    y = r / sqrt(mean(r²) + eps) · (offset + weight) + bias
//   layer  y = (r − mean(r)) / sqrt(var(r) + eps) · (offset + weight) + bias
//   l2     y = r / max(‖r‖₂, eps) · (offset + weight) + bias
// A row of zeros gives `bias` (0 without), also with eps 0.
//
// x, y, residual, residual_out: [batch, token, head, channel], same shape, each with its own strides and type (f32, f16, bf16);
// any number of channels from 1. y may be x, and residual_out may be residual or x (the very same view, or disjoint).
// weight, bias: each dim that of x or 1 (repeated): [1,1,1,C] is a gain per channel, [1,T,1,C] is adaLN's scale,
// [1,1,H,1] is a temperature per head. `offset` applies only with weight: 0 for Llama and Qwen, 1 for Gemma and adaLN.
// To normalise across all heads (OLMo 2, Wan) view the token as one head of H·D channels.
typedef struct sxt_norm_desc {
    sxt_tensor x, y;
    sxt_tensor weight, bias;           // optional
    sxt_tensor residual, residual_out; // optional; residual_out gets x + residual, rounded to its type
    sxt_norm_kind kind;
    float eps; // ≥ 0, taken as it is: models use 1e-5 or 1e-6
    float offset;
} sxt_norm_desc;
SXT_API sxt_result sxt_norm(sxt_stream *stream, const sxt_norm_desc *desc);

typedef enum sxt_rope_pairing {
    SXT_ROPE_HALF = 0,    // channels i and i + rotary_dim/2 ("NeoX": Llama in HF form, Qwen, Gemma)
    SXT_ROPE_INTERLEAVED, // channels 2i and 2i + 1 ("GPT-J", Llama as published)
    SXT_ROPE_NONE,        // qk_norm_rope only: no rotation, no positions (NoPE layers; learned positions)
} sxt_rope_pairing;

typedef enum sxt_rope_multi {
    SXT_ROPE_SINGLE = 0, // one position a token
    SXT_ROPE_MROPE,      // sections of pairs, contiguous, index runs on (Qwen2-VL)
    SXT_ROPE_IMROPE, // axes 0, 1, 2 in turn (Qwen3-VL); pair i ≥ 3·sections[i mod 3]: axis 3 if there are 4 planes, else 0
    SXT_ROPE_VISION, // sections contiguous, the frequency index j restarts in each: base^(−2j/(rotary_dim/2)) (ViT 2D)
} sxt_rope_multi;

// Rotary position embedding (Su et al. 2021). For pair i of rotary_dim/2, at position p:
//   θ = p · base^(−2i/rotary_dim) / freq_factors[i], scaled as below; (a, b) ← m·(a·cos θ − b·sin θ, a·sin θ + b·cos θ)
// Angles are right to 1e-6 rad for every position an int32 can hold, negative ones too.
// Scaling (Peng et al. 2023): with ext_factor 0, θ ← freq_scale·θ and m = attn_factor. Otherwise YaRN, s = freq_scale:
//   ramp_i = ext_factor·(1 − clamp((i − low)/max(0.001, high − low), 0, 1)); θ ← s·θ·(1 − ramp_i) + θ·ramp_i;
//   m = attn_factor·(1 + 0.1·ln(1/s)); corr(n) = rotary_dim·ln(original_context/(n·2π)) / (2·ln base);
//   low = max(0, floor(corr(beta_fast))), high = min(rotary_dim − 1, ceil(corr(beta_slow))).
// Other scalings come down to `base` or `freq_factors`: see the helpers below. With pairing NONE all other fields are
// ignored.
typedef struct sxt_rope_params {
    sxt_rope_pairing pairing;
    uint32_t rotary_dim;       // even; 0 = all channels after rotary_offset
    uint32_t rotary_offset;    // first rotated channel; channels outside are copied
    float base;                // 0 = 10000
    float freq_scale;          // 0 = 1; linear scaling by 1/freq_scale
    float ext_factor;          // 0 = no YaRN, 1 = YaRN
    float attn_factor;         // 0 = 1
    float beta_fast;           // 0 = 32
    float beta_slow;           // 0 = 1
    uint32_t original_context; // trained context; needed with ext_factor ≠ 0
    const float *freq_factors; // host memory, [rotary_dim/2], all > 0; NULL = 1; read during the call
    sxt_rope_multi multi;
    uint32_t
        sections[4]; // pairs per axis, with multi, together at least rotary_dim/2; axis n follows plane n of positions
    bool inverse;    // rotates by −θ
} sxt_rope_params;

// ── Scalings of RoPE by other models: plain arithmetic in double precision, no device needed. Each returns INVALID for
//    arguments out of range, and leaves its outputs alone then.

// "NTK-aware": out_base = base · factor^(rotary_dim/(rotary_dim − 2)) (bloc97 2023). base ≥ 1, factor > 0, rotary_dim
// even and above 2; out_base must come out finite and at least 1.
SXT_API sxt_result sxt_rope_ntk_base(float base, float factor, uint32_t rotary_dim, float *out_base);

// Dynamic NTK, as transformers has it: `base` itself up to original_context tokens; beyond, NTK-aware by
// factor·length/original_context − (factor − 1). length: tokens of the whole sequence.
SXT_API sxt_result sxt_rope_dynamic_ntk_base(float base, float factor, uint32_t rotary_dim, uint32_t length,
                                             uint32_t original_context, float *out_base);

// Llama 3.1's: with wavelength w = 2π·base^(2i/rotary_dim) and L = original_context, factor_i is 1 for w < L/high,
// `factor` for w > L/low, and between them 1/((1 − s)/factor + s), s = (L/w − low)/(high − low).
// Llama 3.1: factor 8, low 1, high 4, L 8192. Writes rotary_dim/2 factors, for sxt_rope_params.freq_factors.
// base ≥ 1, rotary_dim even and at least 2, factor > 0, 0 < low < high, L > 0.
SXT_API sxt_result sxt_rope_llama3_factors(float base, uint32_t rotary_dim, float factor, float low_freq_factor,
                                           float high_freq_factor, uint32_t original_context, float *out_freq_factors);

// Longrope (Ding et al. 2024; Phi-3): the model's short factors up to original_context tokens, its long ones beyond,
// copied to out_freq_factors (rotary_dim/2 of them), and out_attn_factor = sqrt(1 + ln s / ln original_context) for
// s = max_context/original_context > 1, else 1. rotary_dim even and at least 2, all factors > 0 and finite,
// original_context > 1, max_context > 0. out_freq_factors may be either list.
SXT_API sxt_result sxt_rope_longrope_factors(const float *short_factors, const float *long_factors, uint32_t rotary_dim,
                                             uint32_t length, uint32_t original_context, uint32_t max_context,
                                             float *out_freq_factors, float *out_attn_factor);

// Rotates each head of each token. x, y: [batch, token, head, channel], f32, f16 or bf16; y may be x.
// positions: i32 [plane, batch|1, 1, token]: 1 plane, or with `multi` 2 to 4, one per axis.
typedef struct sxt_rope_desc {
    sxt_tensor x, y;
    sxt_tensor positions;
    sxt_rope_params rope;
} sxt_rope_desc;
SXT_API sxt_result sxt_rope(sxt_stream *stream, const sxt_rope_desc *desc);

// A KV cache, or one layer's part of it, and the rows that the tokens at hand take in it.
//
// k, v: [batch, row, head, channel]; with block_table [page, row of the page, head, channel], as in vLLM (Kwon et al.
// 2023). f32, f16, bf16, q8_0, q4_0 or fp8_e4m3, each of its own. v is optional, has k's shape but for channels.
// Token t of batch b goes to row r = slots[b][t], or first_row + t without slots. With block_table and pages of n rows:
// to row r mod n of page block_table[b][r / n]. A token is dropped where its row is −1 (or any that is not there), and
// where its page is not; memory outside the cache is never touched. What a row holds that two tokens
// name is unspecified. Views of one buffer may be woven, but no two rows may share memory.
// k_scale, v_scale: of fp8 caches only: x / scale is what is stored, correctly rounded. They lie on the device, so that
// nothing checks them: each must be positive and finite.
typedef struct sxt_kv_cache {
    sxt_tensor k, v;
    sxt_tensor k_scale, v_scale; // optional: f32 [1, 1, head|1, 1]; 1 without
    sxt_tensor block_table;      // optional: i32 [1, 1, batch|1, pages of a sequence]
    sxt_tensor slots;            // optional: i32 [1, batch|1, 1, token]
    uint32_t first_row;          // without slots; first_row + tokens ≤ rows, or pages of a sequence · rows of a page
} sxt_kv_cache;

// The whole step from the matmuls' q, k and v to attention, in one dispatch: normalises each head of q and k, then
// rotates it: in that order, which is law; writes q out, and k and v into the cache. (With a learned gain, rotating
// first would make logits depend on more than the distance between positions.)
// q, q_out: [batch, token, q heads, channel]; k, k_out: [batch, token, k heads, channel]; v: as k, but for channels.
// Any of q, k and v may be missing (with its output). k goes to k_out or to cache.k, one of the two; v to cache.v.
// q_out and k_out may be in place, and of any type that a cache may have (fp8 with scale 1).
// q_weight, k_weight: optional, broadcast like sxt_norm_desc.weight. positions as for sxt_rope, absent with pairing
// NONE. norm NONE rotates only. v is neither normalised (but see normalise_v) nor rotated: where it is alone, pairing is
// NONE.
typedef struct sxt_qk_norm_rope_desc {
    sxt_tensor q, q_out, k, k_out, v;
    sxt_tensor q_weight, k_weight;
    sxt_tensor positions;
    sxt_norm_kind norm;
    float eps, offset;
    bool normalise_v; // by `norm`, without a gain (Gemma 3n)
    sxt_rope_params rope;
    sxt_kv_cache cache; // optional: cache.k and cache.v NULL without
} sxt_qk_norm_rope_desc;
SXT_API sxt_result sxt_qk_norm_rope(sxt_stream *stream, const sxt_qk_norm_rope_desc *desc);

// Writes keys and values into their caches as they are, converted to the caches' types. Where a type stays the same,
// bits are copied.
// k: [batch, token, head, channel], v: as k, but for channels; f32, f16 or bf16. Either may be missing, with its cache.
typedef struct sxt_kv_write_desc {
    sxt_tensor k, v;
    sxt_kv_cache cache;
} sxt_kv_write_desc;
SXT_API sxt_result sxt_kv_write(sxt_stream *stream, const sxt_kv_write_desc *desc);

// Context shift ("K-shift"): turns cached keys on by deltas[row] positions, in place, after tokens before them were
// dropped (delta < 0) or put in. Rows whose deltas are 0 on all planes keep their bits, and so do blocks and channels
// outside of the rotary range. Quantised keys are decoded, turned and encoded anew.
// k: a cache as in sxt_kv_cache.k; pages are just its batch. deltas: i32 [plane, batch|1, 1, row], as positions.
// rope: as when the keys were written; only the angles count: attn_factor and YaRN's m are in the keys already.
typedef struct sxt_kv_shift_desc {
    sxt_tensor k;
    sxt_tensor k_scale; // optional, fp8 only: f32 [1, 1, head|1, 1]
    sxt_tensor deltas;
    sxt_rope_params rope;
} sxt_kv_shift_desc;
SXT_API sxt_result sxt_kv_shift(sxt_stream *stream, const sxt_kv_shift_desc *desc);

// Copies rows of a cache, bits as they are: compaction, branching a sequence, copy-on-write of pages, moving to a larger
// cache. Move i takes row from[i] to row to[i], counted over the batch: batch·rows + row (page·rows of a page + row);
// with `pages`, from and to count whole batches or pages. A move with an index that is not there (−1) is dropped.
// Moves have no order: a row that one of them reads and another writes may arrive old or new, so compact into holes, or
// into another cache. What a row holds that two moves write is unspecified. (A move of a row onto itself does nothing.)
// k_to, v_to: may be k_from, v_from (the very same view); of the same type, heads and channels (and with `pages` rows).
// v has k's batch, rows and heads, on either side.
typedef struct sxt_kv_copy_desc {
    sxt_tensor k_from, k_to; // any type that a cache may have
    sxt_tensor v_from, v_to; // optional
    sxt_tensor from, to;     // i32 [1, 1, 1, moves]
    bool pages;
} sxt_kv_copy_desc;
SXT_API sxt_result sxt_kv_copy(sxt_stream *stream, const sxt_kv_copy_desc *desc);

// Attention (Vaswani et al. 2017), computed in one pass over keys (Milakov & Gimelshein 2018; Dao et al. 2022):
//   s = scale·(q·k); softcap c > 0: s = c·tanh(s/c); s += bias; s −= slope_h·|i + Tk − Tq − j|; masked: s = −∞;
//   lse = ln(Σ exp s (+ exp sink_h)); o = Σ exp(s − lse)·v
// q: [batch, Tq, Hq, D], k: [batch, Tk, Hkv, D], v: [batch, Tk, Hkv, Dv], o: [batch, Tq, Hq, Dv]; Hq mod Hkv = 0,
// head h reads h / (Hq/Hkv); D and Dv multiples of 4 from 4 to 576. q and o in f32, f16 or bf16, k and v in these,
// q8_0, q4_0 or fp8_e4m3, any mix; scores, sums and o are accumulated in f32. v may be a part of k (MLA).
// Masks are aligned bottom-right: query i stands at key i + (Tk − Tq). causal: it sees keys up to its own. With
// `windowed`, it also sees only the window_left keys before its own and the window_right after, inclusive; −1 = open.
// A row that sees no key gives o = 0 and lse = −∞ (with a sink: lse = sink).
//
// Sequences of different lengths. Tq and Tk above are then each sequence's own, and every mask goes by them.
//   kv_lengths    sequence b has the first kv_lengths[b] keys of Tk. Not with cu_seqlens_k.
//   block_table   k and v are pages [page, row, Hkv, D]; key j of sequence b is row j mod rows of page
//                 block_table[b][j / rows]; Tk = pages of a sequence · rows, below 2^31. kv_lengths must be there.
//   cu_seqlens_q  q, o and lse are [1, all queries, …]; sequence b has queries cu_seqlens_q[b] to
//                 cu_seqlens_q[b + 1] − 1, of these at most the first max_q_tokens. o and lse of queries of no sequence
//                 stay as they are. The batch of k and v is the number of sequences, unless they are pages or there is
//   cu_seqlens_k  likewise for k and v: [1, all keys, …], at most max_k_tokens a sequence. Not with block_table.
// Lengths, tables and offsets lie in device memory, and memory outside the tensors is never touched whatever they are:
// lengths and offsets are clamped to what there is, an offset below the one before it gives an empty sequence (a query
// that two sequences then claim has the result of either), and keys on a page that is not there are seen by no query.
// Products may be made by matrix units: of f16 where k and v are of 16 bits or less, of bf16 where both are bf16. q and the
// weights exp(s − …) are then rounded to that type; sums are f32 all the same. With f32_products they never are.
// logit_bound: your promise that |scale·(q·k)| is no larger, for every key that a query sees, and no |v| above 1e12. A
// softmax of bounded logits needs no running maximum, which is faster; it is used where it is sound (see
// sxt_qk_norm_logit_bound). Where it is, a logit that breaks the promise by more than what q and k are rounded by is
// clamped to it and sets SXT_FAULT_LOGIT.
// split_keys: devices may cut the keys of a sequence into splits and join the results. Which cut they choose depends on
// all shapes of the call; with so many keys to a split (a multiple of 256) a sequence's result has the same bits
// whatever is computed beside it.
// bias and mask are indexed by the sequence, and by the numbers of query and key within it; they follow the longest:
// their Tq is max_q_tokens, their Tk max_k_tokens (or Tk).
//
// kernel, tile: for tests and measurements. What this device or these tensors do not allow is UNSUPPORTED.
typedef enum sxt_attention_kernel {
    SXT_ATTENTION_AUTO = 0,
    SXT_ATTENTION_TILE,     // plain arithmetic: any device
    SXT_ATTENTION_SOFTWARE, // for drivers that run on the CPU
    SXT_ATTENTION_MATRIX,   // matrix units by VK_KHR_cooperative_matrix
    SXT_ATTENTION_MATRIX2, // and VK_NV_cooperative_matrix2: no device's choice by itself, but sxt_tune's where it is faster
    SXT_ATTENTION_KERNELS
} sxt_attention_kernel;
typedef struct sxt_attention_desc {
    sxt_tensor q, k, v, o;
    sxt_tensor k_scale, v_scale; // optional, fp8 only: f32 [1, 1, Hkv|1, 1], as in sxt_kv_cache
    sxt_tensor lse;              // optional: f32 [batch, Tq, Hq, 1], natural logarithm
    sxt_tensor bias;             // optional: f32 or f16 [batch|1, Hq|1, Tq, Tk]
    sxt_tensor mask;         // optional: i32 [batch|1, Hq|1, Tq, ⌈Tk/32⌉]: bit j mod 32 of word j / 32 keeps key j;
                             // bits from Tk on do not count
    sxt_tensor sinks;        // optional: f32 [1, 1, 1, Hq], logits that join the denominator only
    sxt_tensor alibi_slopes; // optional: f32 [1, 1, 1, Hq]
    sxt_tensor kv_lengths;   // optional: i32 [1, 1, 1, batch]
    sxt_tensor block_table;  // optional: i32 [1, 1, batch|1, pages of a sequence]
    sxt_tensor cu_seqlens_q; // optional: i32 [1, 1, 1, batch + 1], not falling
    sxt_tensor cu_seqlens_k; // optional, with cu_seqlens_q: likewise
    uint32_t max_q_tokens, max_k_tokens; // with cu_seqlens_q, cu_seqlens_k: from 1 to all of them; 0 without
    float scale;                         // 0 = 1/sqrt(D)
    float softcap;                       // 0 = none
    float logit_bound;                   // 0 = unknown; see above
    uint32_t split_keys;                 // 0 = the device's choice; see above
    bool f32_products;                   // see above
    sxt_attention_kernel kernel;         // 0 = the device's choice
    uint32_t tile;                       // of that kernel, from 1; 0 = the device's choice
    bool causal;
    bool windowed;
    int32_t window_left, window_right;
} sxt_attention_desc;
SXT_API sxt_result sxt_attention(sxt_stream *stream, const sxt_attention_desc *desc);

// A bound of |scale·(q·k)| for q and k as sxt_qk_norm_rope leaves them, for sxt_attention_desc.logit_bound. It holds
// for every input, with all roundings: on the way, in q_type and k_type, and in q·k. For rms and layer norm it is close
// to scale·D·m²·max(|gain of q|·|gain of k|), for l2 to the same without D; the maximum is over channels, or over the
// pairs that are rotated together. Heads with gains (or temperatures) of their own: take the largest bound of all. It
// does not hold for keys that sxt_kv_shift has turned since, which rounds them again.
// Needs no device. `out_bound` is 0 (unknown) where gains are so large that no finite bound holds. Returns INVALID for
// arguments out of range, and leaves out_bound alone then.
typedef struct sxt_logit_bound_desc {
    sxt_norm_kind norm;               // NONE has no bound
    uint32_t channels;                // D, from 1 to 2^20
    const float *q_weight, *k_weight; // host memory, [D]; NULL = gains of 1
    float offset;                     // added to weights, as in sxt_qk_norm_rope_desc
    const sxt_rope_params *rope;      // NULL or pairing NONE = no rotation
    sxt_type q_type;                  // that attention reads: f32, f16 or bf16
    sxt_type k_type;                  // any that a cache may have
    float k_scale;                    // of fp8_e4m3: the largest of all heads; 0 = 1
    float scale;                      // 0 = 1/sqrt(D)
} sxt_logit_bound_desc;
SXT_API sxt_result sxt_qk_norm_logit_bound(const sxt_logit_bound_desc *desc, float *out_bound);

// Joins what two calls of sxt_attention found over two sets of keys (a shared prefix and the rest, halves of a long
// context): lse = ln(e^lse_a + e^lse_b), o = o_a·e^(lse_a − lse) + o_b·e^(lse_b − lse).
// A side whose lse is −∞ does not count, whatever its o is; where both are: 0 and −∞.
// o_a, o_b, o: [batch, token, head, channel], f32, f16 or bf16, any number of channels from 1; lse_a, lse_b, lse: f32
// [batch, token, head, 1]. o may be o_a or o_b, and lse may be lse_a or lse_b (the very same view, or disjoint). Sinks
// belong into one of the two calls only.
typedef struct sxt_attention_merge_desc {
    sxt_tensor o_a, lse_a, o_b, lse_b;
    sxt_tensor o;
    sxt_tensor lse; // optional
} sxt_attention_merge_desc;
SXT_API sxt_result sxt_attention_merge(sxt_stream *stream, const sxt_attention_merge_desc *desc);

typedef enum sxt_op {
    SXT_OP_NORM = 0,        // sxt_norm_desc
    SXT_OP_ROPE,            // sxt_rope_desc
    SXT_OP_QK_NORM_ROPE,    // sxt_qk_norm_rope_desc
    SXT_OP_KV_WRITE,        // sxt_kv_write_desc
    SXT_OP_KV_SHIFT,        // sxt_kv_shift_desc
    SXT_OP_KV_COPY,         // sxt_kv_copy_desc
    SXT_OP_ATTENTION,       // sxt_attention_desc
    SXT_OP_ATTENTION_MERGE, // sxt_attention_merge_desc
    SXT_OP_COUNT
} sxt_op;

// Creates ahead of time all that recording `desc` will need (pipelines, tables), so that it causes no hitch later.
SXT_API sxt_result sxt_prepare(sxt_device *device, sxt_op op, const void *desc);

// Bytes of device memory that recording `desc` needs besides its tensors, for partial results; 0 where there are none,
// and on the reference. The stream has them and keeps them for the next call; they are taken when `desc` is recorded (or
// prepared, with sxt_prepare). Errors: as of recording `desc`.
SXT_API sxt_result sxt_scratch_size(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes);

// Writes the name of the kernel variant and its geometry that this device takes for `desc`, e.g.
// "attention.subgroup d128 8x32 grid 64x16": for logs and benchmarks. Truncates to `size` bytes.
SXT_API sxt_result sxt_describe(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size);

// What sxt_tune found.
typedef struct sxt_tuning {
    uint32_t candidates;        // kernels and tiles that the device has for the call, each once
    uint32_t rejected;          // of these, by a wrong result
    double default_us, best_us; // medians; the same where nothing was clearly faster
    char default_variant[SXT_MAX_NAME], best_variant[SXT_MAX_NAME]; // as sxt_describe has them
} sxt_tuning;

// Finds the fastest kernel and tile for calls like `desc`, by running all that the device has for it, each several times,
// on the tensors of `desc`: o and lse are written and then put back, and the inputs must hold what they would in use. A candidate counts
// only if its result is that of the kernel for any device, within the rounding of its products. What wins, by 3 % or more,
// is taken from then on for calls with the same types, channels, heads to a group and options, and as many tokens, keys,
// and heads to within a power of two; with sxt_device_params.cache_path it is kept in that file. Calls with `kernel` or
// split_keys are left as they are. Results of tuned calls may differ from untuned ones in their last bits.
// So far op must be SXT_OP_ATTENTION. Takes seconds, nearly all of it compiling. `out_tuning` may be NULL.
// Errors: INVALID (also where o comes out all zeros, or not finite), UNSUPPORTED (any other op; the reference, compile_only,
// or no timestamps), as of recording `desc`.
SXT_API sxt_result sxt_tune(sxt_device *device, sxt_op op, const void *desc, sxt_tuning *out_tuning);

// One figure that a driver's compiler gives of a kernel: registers, spills, shared memory, occupancy, …
typedef struct sxt_statistic {
    uint32_t dispatch;       // which of the operation's dispatches, from 0
    uint32_t executable;     // a driver may compile a kernel in several ways, and choose later: which of them, from 0
    uint32_t subgroup_size;  // that the executable is compiled for; 0 = the driver does not say
    const char *shader;      // name of the kernel's SPIR-V module; valid for ever
    char name[SXT_MAX_NAME]; // the driver's own word for the figure: RADV's "VGPRs", NVIDIA's "Register Count", …
    double value;            // integers above 2^53, which are hashes, lose their last bits; booleans are 0 and 1
} sxt_statistic;

// Compiles all kernels of `desc`, as this device takes them, and gives what the driver tells of each through
// VK_KHR_pipeline_executable_properties. Needs a device opened with `compile_only`, since keeping such figures is a cost
// that pipelines made to run should not bear. Nothing is kept: each call compiles anew.
//
// Writes at most `capacity` figures, ordered by dispatch and executable, and to `out_count` the number that there is: 0
// where the driver tells nothing, or where nothing is to be done. 256 are more than any driver is known to give.
// Errors: INVALID, UNSUPPORTED (no kernel for the description, or a device that is not compile-only), OUT_OF_MEMORY,
// DEVICE_LOST, DRIVER (a kernel does not compile; the log names its shader).
SXT_API sxt_result sxt_statistics(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                                  uint32_t capacity, uint32_t *out_count);

#ifdef __cplusplus
}
#endif

#endif
