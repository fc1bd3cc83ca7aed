// What the tests of refusals share: one valid description an operation, rows that each change it in one way, and what
// the log has to say of it.
#ifndef SXT_TESTS_SUPPORT_REJECT_H
#define SXT_TESTS_SUPPORT_REJECT_H

#include <math.h>
#include <stddef.h>

#include "core/op.h"
#include "support/device.h"

// ── A change to a description ──

typedef struct patch {
    size_t offset, bytes; // bytes 0: no change
    union {
        uint64_t u64;
        uint32_t u32;
        float f32;
        const void *pointer;
    } value;
} patch;

enum { PATCHES = 4 };

#define U32(type, member, v)                                                                                           \
    {                                                                                                                  \
        offsetof(type, member), 4, {                                                                                   \
            .u32 = (uint32_t)(v)                                                                                       \
        }                                                                                                              \
    }
#define U64(type, member, v)                                                                                           \
    {                                                                                                                  \
        offsetof(type, member), 8, {                                                                                   \
            .u64 = (v)                                                                                                 \
        }                                                                                                              \
    }
#define F32(type, member, v)                                                                                           \
    {                                                                                                                  \
        offsetof(type, member), 4, {                                                                                   \
            .f32 = (v)                                                                                                 \
        }                                                                                                              \
    }
#define BOOL(type, member, v)                                                                                          \
    {                                                                                                                  \
        offsetof(type, member), 1, {                                                                                   \
            .u32 = (v)                                                                                                 \
        }                                                                                                              \
    }
#define POINTER(type, member, v)                                                                                       \
    {                                                                                                                  \
        offsetof(type, member), sizeof(void *), {                                                                      \
            .pointer = (v)                                                                                             \
        }                                                                                                              \
    }

typedef struct rejection {
    const char *expect; // part of the message
    patch patches[PATCHES];
} rejection;
// ── The bench: a device, a buffer in which every tensor has a slot of its own ──

enum { SLOT_BYTES = 65536, SLOTS = 16 };

typedef struct bench {
    sxt_test_log log;
    sxt_device *device, *other;
    sxt_buffer *buffer, *foreign;
    sxt_stream *stream;
    int slots; // handed out
} bench;

void bench_init(bench *b);
void bench_finish(bench *b);

// A tensor in the next slot: the first is at offset 0, the next at SLOT_BYTES, …
sxt_tensor place(bench *b, sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel);

// The description is refused with one message, which begins with the operation's name and contains `expect`.
void expect_rejected(bench *b, sxt_op op, const void *desc, const char *expect);
void expect_accepted(bench *b, sxt_op op, const void *desc, const char *what);

// ── Tables ──

// What goes for every tensor of every operation.
typedef struct tensor_row {
    const char *field;
    size_t offset;
    bool required, output;
} tensor_row;

#define TENSOR(type, member, required, output)                                                                         \
    { #member, offsetof(type, member), (required), (output) }

// A base, which is accepted, and its rows.
typedef struct rejections {
    sxt_op op;
    const void *base;
    size_t bytes;
    const tensor_row *tensors;
    const rejection *rejected, *accepted;
    size_t tensor_count, rejected_count, accepted_count;
} rejections;

void check_rejections(bench *b, const rejections *all);

// check_rejections of local arrays `base`, `tensors`, `rows` and `fine`.
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CHECK_REJECTIONS(b, operation)                                                                                 \
    check_rejections((b), &(rejections){.op = (operation),                                                             \
                                        .base = &base,                                                                 \
                                        .bytes = sizeof base,                                                          \
                                        .tensors = tensors,                                                            \
                                        .rejected = rows,                                                              \
                                        .accepted = fine,                                                              \
                                        .tensor_count = COUNT_OF(tensors),                                             \
                                        .rejected_count = COUNT_OF(rows),                                              \
                                        .accepted_count = COUNT_OF(fine)})

// ── Rotations ──

extern const float sxt_test_good_factors[4], sxt_test_zero_factor[4], sxt_test_nan_factor[4];

// Of a member `rope` for heads of 8 channels, and a tensor `at` of positions [1, 2, 1, 3] for 2 batches of 3 tokens.
#define ROPE_PARAM_REJECTIONS(D, at)                                                                                   \
    {"rope.pairing is 3", {U32(D, rope.pairing, 3)}}, {"rope.multi is 4", {U32(D, rope.multi, 4)}},                    \
        {"rope.rotary_dim is 5, and must be even", {U32(D, rope.rotary_dim, 5)}},                                      \
        {"rope.rotary_dim is 10, and must be at most 8", {U32(D, rope.rotary_dim, 10)}},                               \
        {"rope.rotary_dim is 8, and must be at most 6", {U32(D, rope.rotary_dim, 8), U32(D, rope.rotary_offset, 2)}},  \
        {"rope.rotary_dim is 7, and must be even", {U32(D, rope.rotary_offset, 1)}},                                   \
        {"rope.rotary_offset is 8", {U32(D, rope.rotary_offset, 8)}},                                                  \
        {"rope.rotary_offset is 4294967295", {U32(D, rope.rotary_offset, UINT32_MAX)}},                                \
        {"rope.base is 0.5", {F32(D, rope.base, 0.5f)}}, {"rope.base is nan", {F32(D, rope.base, NAN)}},               \
        {"rope.base is -10000", {F32(D, rope.base, -10000.0f)}}, {"rope.base is inf", {F32(D, rope.base, INFINITY)}},  \
        {"rope.freq_scale is -1", {F32(D, rope.freq_scale, -1.0f)}},                                                   \
        {"rope.freq_scale is nan", {F32(D, rope.freq_scale, NAN)}},                                                    \
        {"rope.ext_factor is nan", {F32(D, rope.ext_factor, NAN)}},                                                    \
        {"rope.ext_factor is -1", {F32(D, rope.ext_factor, -1.0f)}},                                                   \
        {"rope.attn_factor is inf", {F32(D, rope.attn_factor, INFINITY)}},                                             \
        {"rope.beta_fast is nan", {F32(D, rope.beta_fast, NAN)}},                                                      \
        {"rope.beta_slow is -2", {F32(D, rope.beta_slow, -2.0f)}},                                                     \
        {"rope.original_context is 0", {F32(D, rope.ext_factor, 1.0f)}},                                               \
        {"rope.base is 1,",                                                                                            \
         {F32(D, rope.ext_factor, 1.0f), U32(D, rope.original_context, 4096), F32(D, rope.base, 1.0f)}},               \
        {"rope.freq_factors[2] is 0", {POINTER(D, rope.freq_factors, sxt_test_zero_factor)}},                          \
        {"rope.freq_factors[3] is nan", {POINTER(D, rope.freq_factors, sxt_test_nan_factor)}},                         \
        {#at ".shape[0] is 1, and must be from 2 to 4", {U32(D, rope.multi, SXT_ROPE_MROPE)}},                         \
        {#at ".shape[0] is 5, and must be from 2 to 4", {U32(D, rope.multi, SXT_ROPE_MROPE), U32(D, at.shape[0], 5)}}, \
        {#at ".shape[0] is 2, and must be 1", {U32(D, at.shape[0], 2)}},                                               \
        {#at ".shape[0] is 0, and must be 1", {U32(D, at.shape[0], 0)}},                                               \
        {"rope.sections count 0 pairs", {U32(D, rope.multi, SXT_ROPE_VISION), U32(D, at.shape[0], 2)}},                \
        {"rope.sections count 3 pairs",                                                                                \
         {U32(D, rope.multi, SXT_ROPE_IMROPE), U32(D, at.shape[0], 3), U32(D, rope.sections[0], 3)}},                  \
        {"rope.sections[3] is 1",                                                                                      \
         {U32(D, rope.multi, SXT_ROPE_MROPE), U32(D, at.shape[0], 3), U32(D, rope.sections[0], 4),                     \
          U32(D, rope.sections[3], 1)}},                                                                               \
        {#at ".shape[1] is 3, and must be 2 or 1", {U32(D, at.shape[1], 3)}},                                          \
        {#at ".shape[2] is 2, and must be 1", {U32(D, at.shape[2], 2)}},                                               \
        {#at ".shape[3] is 4, and must be 3", {U32(D, at.shape[3], 4)}}, {                                             \
#at ".shape[3] is 1, and must be 3", {                                                                         \
            U32(D, at.shape[3], 1)                                                                                     \
        }                                                                                                              \
    }

#endif
