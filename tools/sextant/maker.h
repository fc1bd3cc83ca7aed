// Drawing random cases: what all families share.
#ifndef SXT_TOOL_MAKER_H
#define SXT_TOOL_MAKER_H

#include "generate.h"

struct sxt_maker {
    sxt_random *form, *random; // see generate.h
    uint32_t number;           // of the form
    bool thin;                 // every other case of a form: without most of what is optional
    sxt_bundle *bundle;
    bool failed; // no memory: looked at once, at the end
};

extern const char *const sxt_maker_types[]; // f32, f16, bf16

// ── Sizes and types ──

uint32_t sxt_draw_one_of(sxt_random *random, const uint32_t *from, uint32_t count);

// Primes, 1, and powers of two with their neighbours, where kernels change their ways.
uint32_t sxt_draw_size(sxt_random *random, uint32_t limit);

// As many tokens as keep a tensor of `elements` a token near `most` elements.
uint32_t sxt_draw_tokens(sxt_random *random, uint64_t elements, uint32_t most);

sxt_dtype sxt_draw_float(sxt_random *form);

// Channels of a head that is rotated: even.
uint32_t sxt_draw_rotary_head(sxt_random *form);

// A type that rows of `channels` can have; every type is as likely.
const char *sxt_draw_cache_type(sxt_random *form, uint32_t channels);

// Distinct numbers below `count` in a scrambled order: the i-th is (first + i·step) mod count.
typedef struct sxt_scramble {
    uint32_t first, step, count;
} sxt_scramble;
sxt_scramble sxt_draw_scramble(sxt_random *random, uint32_t count);
double sxt_scrambled(const sxt_scramble *scramble, uint64_t i);

// Instead of an index now and then one that is not there.
double sxt_draw_or_nowhere(sxt_random *random, double index, uint32_t count);

// A batch in a third of the cases. Returns how many of the dims {batch, tokens, heads, channels} the file leaves out.
uint32_t sxt_draw_batch(sxt_maker *m, uint32_t *out_batch);

// ── Tensors ──

sxt_array *sxt_make_tensor(sxt_maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape);
void sxt_make_element(sxt_array *array, uint64_t index, double value);

// Normally distributed values around `mean`; now and then a zero.
void sxt_make_normal(sxt_maker *m, const char *name, sxt_dtype dtype, uint32_t rank, const uint32_t *shape, double mean,
                     double size);

// A gain or bias: per channel, of the full shape, or repeating in some dims.
void sxt_make_repeated(sxt_maker *m, const char *name, uint32_t rank, const uint32_t *shape);

// Scales of an fp8 cache: one, or one a head.
void sxt_make_scale(sxt_maker *m, const char *name, uint32_t heads);

// Now and then, a row of NaN or with an infinity, which must stay in its row.
void sxt_make_spoilt(sxt_maker *m, const char *name);

// `name`: positions, or deltas, of which some are 0. With `planes` above 1, that many axes.
void sxt_make_positions(sxt_maker *m, const char *name, uint32_t planes, bool batched, uint32_t batches,
                        uint32_t tokens);

// ── Keys ──

void sxt_make_key(sxt_maker *m, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
void sxt_make_layout(sxt_maker *m);
void sxt_make_output(sxt_maker *m, bool in_place);
void sxt_make_norm_keys(sxt_maker *m, const char *key, bool none);

// A rotation of a head of `channels`. Returns the number of position planes that it needs.
uint32_t sxt_make_rope(sxt_maker *m, uint32_t channels);

#endif
