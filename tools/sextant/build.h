// From a case to work: what the builders of all operations share. Each gives its tensors their four dims, checks that
// they fit together, and lays out the stages. All return false with one line in the builder's `error`.
#ifndef SXT_TOOL_BUILD_H
#define SXT_TOOL_BUILD_H

#include "work.h"

typedef struct sxt_builder {
    const sxt_bundle *bundle;
    sxt_case_params params;
    sxt_work *work;
    char *error;
} sxt_builder;

// The builders themselves: case_*.c.
bool sxt_build_norm(const sxt_builder *b);
bool sxt_build_rope(const sxt_builder *b);
bool sxt_build_qk_norm_rope(const sxt_builder *b);
bool sxt_build_attention(const sxt_builder *b);
bool sxt_build_kv_write(const sxt_builder *b);
bool sxt_build_kv_shift(const sxt_builder *b);
bool sxt_build_kv_copy(const sxt_builder *b);
bool sxt_build_attention_merge(const sxt_builder *b);

// ── Messages ──

// Both return false.
bool sxt_build_fail(const sxt_builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool sxt_build_wrong_shape(const sxt_builder *b, const sxt_array *array, const char *wanted);

// ── Tensors: build.c ──

// NULL if the case has none of that name.
const sxt_array *sxt_build_find(const sxt_builder *b, const char *name);

// Puts dim i of a tensor at places[i] of the four; the others are 1.
bool sxt_build_spread(const sxt_builder *b, const sxt_array *array, const int *places, uint32_t out_shape[4]);

// A slot for a tensor of the case.
int sxt_build_slot(const sxt_builder *b, const sxt_array *array, const uint32_t shape[4]);

// A tensor [token, head, channel], or with a leading batch dim. SXT_NO_SLOT if absent.
bool sxt_build_heads(const sxt_builder *b, const char *name, const char *wanted, int *out_slot);

// An optional tensor that repeats where it has a 1 or lacks leading dims, as against `like`. SXT_NO_SLOT if absent.
bool sxt_build_repeated(const sxt_builder *b, const char *name, int like, int *out_slot);

// An output of `shape`, and its form in a file (blocks as channels). Ties it to the case's tensor of that name, which is
// what is expected.
bool sxt_build_result(const sxt_builder *b, const char *name, sxt_type type, const uint32_t shape[4], uint32_t rank,
                      const uint64_t *file_shape, int *out_slot);

// Makes an input that is worked on in place an output of that name.
bool sxt_build_in_place(const sxt_builder *b, const char *name, int slot);

// The output of an operation that keeps its input's shape: a slot of its own, or with in_place the input's.
bool sxt_build_like(const sxt_builder *b, const char *name, int input, int *out_slot);

// The file form of a tensor with tokens and heads: with the batch dim only if `like` had it. Returns the rank.
uint32_t sxt_build_file_dims(const sxt_slot *like, uint64_t tokens, uint64_t heads, uint64_t channels,
                             uint64_t out_dims[4]);

// ── Rotation: build_rope.c ──

// `name`: i32 [plane, batch|1, 1, token], positions or deltas.
bool sxt_build_positions(const sxt_builder *b, const char *name, uint32_t batch, uint32_t tokens, int *out_slot);

// The rotation of a head of `channels`, with its factors and scaling.
bool sxt_build_rotation(const sxt_builder *b, uint32_t channels, sxt_rope_params *out_rope);

// ── Sequences, and what is indexed by query and key: build_sequences.c ──

// Gives a stage of attention kv_lengths, block_table and cu_seqlens, and of those the longest.
bool sxt_build_sequences(const sxt_builder *b, sxt_stage *stage, int q, int k);

// bias and mask of a stage whose q, k and sequences are bound. A mask of bytes is packed into bits.
bool sxt_build_bias(const sxt_builder *b, sxt_stage *stage);
bool sxt_build_mask(const sxt_builder *b, sxt_stage *stage);

// ── Caches: build_cache.c ──

// The type of "k"'s or "v"'s cache; SXT_TYPE_ABSENT if the case does not say.
int sxt_build_cache_type(const sxt_builder *b, const char *side);

// Whether channels of `name` make whole blocks of the type of "k"'s or "v"'s cache.
bool sxt_build_check_blocks(const sxt_builder *b, const char *side, const char *name, sxt_type type, uint32_t channels);

// Gives a stage its cache for keys and values (either may be SXT_NO_SLOT) as tokens bring them.
bool sxt_build_cache(const sxt_builder *b, sxt_stage *stage, int k, int v);

// A cache that the case brings: numbers, converted to the cache's type, or its bytes. SXT_NO_SLOT if absent.
// `side`: "k" or "v"; `scale`: see sxt_build_scale, or SXT_NO_SLOT.
bool sxt_build_stored(const sxt_builder *b, const char *name, const char *side, int scale, int *out_slot);

// "k_scale" or "v_scale" for a cache of `type` with `heads`, or one for all heads if 0 are named. SXT_NO_SLOT if absent.
bool sxt_build_scale(const sxt_builder *b, const char *name, sxt_type type, uint32_t heads, int *out_slot);

#endif
