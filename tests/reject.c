// Every mistake in a description that the CPU can see is refused, and the log names the operation, the field and the
// fault. One valid description an operation; each row changes it in one way.
#include "core/op.h"
#include "core/tensor.h"
#include "support/device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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

enum { SLOT_BYTES = 65536, SLOTS = 10 };

typedef struct bench {
    sxt_test_log log;
    sxt_device *device, *other;
    sxt_buffer *buffer, *foreign;
    sxt_stream *stream;
    int slots; // handed out
} bench;

static void bench_init(bench *b) {
    memset(b, 0, sizeof *b);
    b->device = sxt_test_open_reference(&b->log);
    b->other = sxt_test_open_reference(&b->log);
    const sxt_buffer_desc desc = {.bytes = SLOTS * SLOT_BYTES};
    cr_assert_eq(sxt_buffer_create(b->device, &desc, &b->buffer), SXT_OK);
    cr_assert_eq(sxt_buffer_create(b->other, &desc, &b->foreign), SXT_OK);
    cr_assert_eq(sxt_stream_create(b->device, &b->stream), SXT_OK);
    memset(sxt_buffer_map(b->buffer), 0, SLOTS * SLOT_BYTES);
}

static void bench_finish(bench *b) {
    sxt_stream_destroy(&b->stream);
    sxt_buffer_destroy(&b->buffer);
    sxt_buffer_destroy(&b->foreign);
    sxt_device_close(&b->device);
    sxt_device_close(&b->other);
}

static sxt_tensor place(bench *b, sxt_type type, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel) {
    cr_assert_lt(b->slots, SLOTS);
    return (sxt_tensor){.buffer = b->buffer,
                        .offset_bytes = (uint64_t)SLOT_BYTES * (uint64_t)b->slots++,
                        .type = type,
                        .shape = {batch, token, head, channel}};
}

static size_t size_of(sxt_op op) {
    const size_t sizes[] = {sizeof(sxt_norm_desc), sizeof(sxt_rope_desc), sizeof(sxt_qk_norm_rope_desc),
                            sizeof(sxt_kv_write_desc), sizeof(sxt_attention_desc)};
    return sizes[op];
}

static void expect_rejected(bench *b, sxt_op op, const void *desc, const char *expect) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "sxt_%s: ", sxt_op_name(op));
    b->log = (sxt_test_log){.length = 0};
    sxt_result result = sxt_op_record(b->stream, op, desc);
    cr_expect_eq(result, SXT_ERROR_INVALID, "%s\"%s\": got %s", prefix, expect, sxt_result_name(result));
    cr_expect_eq(b->log.errors, 1, "%s\"%s\": %u messages:\n%s", prefix, expect, b->log.errors, b->log.text);
    cr_expect(strncmp(b->log.text, prefix, strlen(prefix)) == 0 && strstr(b->log.text, expect) != NULL,
              "%s\"%s\" expected, and the log says: %s", prefix, expect, b->log.text);
    cr_expect_eq(sxt_prepare(b->device, op, desc), SXT_ERROR_INVALID);
}

static void expect_accepted(bench *b, sxt_op op, const void *desc, const char *what) {
    b->log = (sxt_test_log){.length = 0};
    sxt_result result = sxt_op_record(b->stream, op, desc);
    cr_expect(result == SXT_OK && b->log.errors == 0, "sxt_%s: %s: got %s, %s", sxt_op_name(op), what,
              sxt_result_name(result), b->log.text);
}

static void run_rows(bench *b, sxt_op op, const void *base, const rejection *rows, size_t count, bool rejected) {
    for (size_t i = 0; i < count; i++) {
        sxt_any_desc desc;
        memcpy(&desc, base, size_of(op));
        for (int k = 0; k < PATCHES; k++)
            memcpy((char *)&desc + rows[i].patches[k].offset, &rows[i].patches[k].value, rows[i].patches[k].bytes);
        if (rejected)
            expect_rejected(b, op, &desc, rows[i].expect);
        else
            expect_accepted(b, op, &desc, rows[i].expect);
    }
}

#define REJECT_ROWS(b, op, base, rows) run_rows((b), (op), (base), (rows), sizeof(rows) / sizeof((rows)[0]), true)
#define ACCEPT_ROWS(b, op, base, rows) run_rows((b), (op), (base), (rows), sizeof(rows) / sizeof((rows)[0]), false)

// ── What goes for every tensor of every operation ──

typedef struct tensor_row {
    const char *field;
    size_t offset;
    bool required, output;
} tensor_row;

#define TENSOR(type, member, required, output)                                                                         \
    { #member, offsetof(type, member), (required), (output) }

static void expect_tensor_rejected(bench *b, sxt_op op, const void *base, const tensor_row *row,
                                   const sxt_tensor *tensor, const char *suffix) {
    sxt_any_desc desc;
    char expect[96];
    memcpy(&desc, base, size_of(op));
    memcpy((char *)&desc + row->offset, tensor, sizeof *tensor);
    snprintf(expect, sizeof expect, "%s%s", row->field, suffix);
    expect_rejected(b, op, &desc, expect);
}

static void reject_tensor(bench *b, sxt_op op, const void *base, const tensor_row *row) {
    sxt_tensor good;
    memcpy(&good, (const char *)base + row->offset, sizeof good);
    const uint32_t size = sxt_type_size(good.type), *shape = good.shape;
    const uint64_t dense[4] = {(uint64_t)shape[1] * shape[2] * shape[3], (uint64_t)shape[2] * shape[3], shape[3], 1};
    sxt_tensor t = good;
    if (row->required) {
        t.buffer = NULL;
        expect_tensor_rejected(b, op, base, row, &t, ".buffer is NULL");
    }
    t = good;
    t.buffer = b->foreign;
    expect_tensor_rejected(b, op, base, row, &t, ".buffer belongs to another device");
    t = good;
    t.type = good.type == SXT_TYPE_I32 ? SXT_TYPE_F32 : SXT_TYPE_I32;
    expect_tensor_rejected(b, op, base, row, &t, ".type is ");
    t.type = (sxt_type)1234;
    expect_tensor_rejected(b, op, base, row, &t, ".type is unknown");
    t = good;
    t.offset_bytes += size / 2;
    expect_tensor_rejected(b, op, base, row, &t, ".offset_bytes is ");
    t = good;
    t.offset_bytes = (uint64_t)SLOTS * SLOT_BYTES - size; // ends one element late or more
    t.shape[1] += 1;
    expect_tensor_rejected(b, op, base, row, &t, " ends at byte ");
    t = good;
    t.offset_bytes = UINT64_MAX - size + 1;
    expect_tensor_rejected(b, op, base, row, &t, " reaches past 64 bits");
    t = good;
    t.shape[0] = 3;
    memcpy(t.strides, dense, sizeof dense);
    t.strides[0] = UINT64_MAX / 2 + 1;
    expect_tensor_rejected(b, op, base, row, &t, " reaches past 64 bits");
    t.strides[0] = UINT64_MAX / (2 * size) + 1; // elements fit, bytes do not
    expect_tensor_rejected(b, op, base, row, &t, " reaches past 64 bits");
    if (shape[3] > 1) {
        t = good;
        memcpy(t.strides, dense, sizeof dense);
        t.strides[3] = 2;
        expect_tensor_rejected(b, op, base, row, &t, ".strides[3] is 2");
    }
    for (int dim = 0; dim < 3 && row->output; dim++) {
        t = good;
        memcpy(t.strides, dense, sizeof dense);
        t.strides[dim] = 0;
        if (shape[dim] > 1) expect_tensor_rejected(b, op, base, row, &t, ".strides[");
    }
}

static void reject_tensors(bench *b, sxt_op op, const void *base, const tensor_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        reject_tensor(b, op, base, &rows[i]);
}

// ── sxt_norm ──

static sxt_norm_desc norm_base(bench *b) {
    return (sxt_norm_desc){
        .x = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .y = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .weight = place(b, SXT_TYPE_F32, 1, 1, 1, 8),
        .bias = place(b, SXT_TYPE_F32, 1, 3, 1, 8),
        .residual = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .residual_out = place(b, SXT_TYPE_F32, 2, 3, 4, 8),
        .eps = 1e-6f,
    };
}

Test(reject, norm) {
    bench b;
    bench_init(&b);
    const sxt_norm_desc base = norm_base(&b);
#define D sxt_norm_desc
    static const tensor_row tensors[] = {
        TENSOR(D, x, true, false),     TENSOR(D, y, true, true),         TENSOR(D, weight, false, false),
        TENSOR(D, bias, false, false), TENSOR(D, residual, true, false), TENSOR(D, residual_out, false, true),
    };
    static const rejection rows[] = {
        {"kind is 3", {U32(D, kind, SXT_NORM_NONE)}},
        {"kind is -1", {U32(D, kind, -1)}},
        {"eps is -1", {F32(D, eps, -1.0f)}},
        {"eps is nan", {F32(D, eps, NAN)}},
        {"eps is inf", {F32(D, eps, INFINITY)}},
        {"offset is nan", {F32(D, offset, NAN)}},
        {"offset is -inf", {F32(D, offset, -INFINITY)}},
        {"x.shape[3] is 0", {U32(D, x.shape[3], 0)}},
        {"y.shape[0] is 1, and must be 2", {U32(D, y.shape[0], 1)}},
        {"y.shape[1] is 2, and must be 3", {U32(D, y.shape[1], 2)}},
        {"y.shape[3] is 7, and must be 8", {U32(D, y.shape[3], 7)}},
        {"weight.shape[3] is 7, and must be 8 or 1", {U32(D, weight.shape[3], 7)}},
        {"weight.shape[2] is 2, and must be 4 or 1", {U32(D, weight.shape[2], 2)}},
        {"bias.shape[1] is 2, and must be 3 or 1", {U32(D, bias.shape[1], 2)}},
        {"residual.shape[2] is 1, and must be 4", {U32(D, residual.shape[2], 1)}},
        {"residual_out.shape[0] is 3, and must be 2", {U32(D, residual_out.shape[0], 3)}},
        // In memory: y begins inside x, over weight, over residual_out; x and y the same, but not in type.
        {"y overlaps x", {U64(D, y.offset_bytes, 4)}},
        {"y overlaps x", {U64(D, y.offset_bytes, 0), U32(D, y.type, SXT_TYPE_F16)}},
        {"y overlaps weight", {U64(D, y.offset_bytes, 2 * SLOT_BYTES)}},
        {"y overlaps bias", {U64(D, y.offset_bytes, 3 * SLOT_BYTES + 64)}},
        {"y overlaps residual", {U64(D, y.offset_bytes, 4 * SLOT_BYTES)}},
        {"y overlaps residual_out", {U64(D, y.offset_bytes, 5 * SLOT_BYTES)}},
        {"residual_out overlaps residual", {U64(D, residual_out.offset_bytes, 4 * SLOT_BYTES + 4)}},
        {"residual_out overlaps x", {U64(D, residual_out.offset_bytes, 4)}},
    };
    static const rejection fine[] = {
        {"in place", {U64(D, y.offset_bytes, 0)}},
        {"residual in place", {U64(D, residual_out.offset_bytes, 4 * SLOT_BYTES)}},
        {"residual_out may be x", {U64(D, residual_out.offset_bytes, 0)}},
        {"y right behind x", {U64(D, y.offset_bytes, 768)}},
        {"eps 0", {F32(D, eps, 0.0f)}},
        {"no weight", {POINTER(D, weight.buffer, NULL)}},
        {"no residual_out", {POINTER(D, residual_out.buffer, NULL)}},
    };
#undef D
    expect_accepted(&b, SXT_OP_NORM, &base, "the base");
    reject_tensors(&b, SXT_OP_NORM, &base, tensors, sizeof tensors / sizeof tensors[0]);
    REJECT_ROWS(&b, SXT_OP_NORM, &base, rows);
    ACCEPT_ROWS(&b, SXT_OP_NORM, &base, fine);
    bench_finish(&b);
}

// ── sxt_rope ──

static const float good_factors[4] = {1.0f, 2.0f, 3.0f, 4.0f};
static const float zero_factor[4] = {1.0f, 2.0f, 0.0f, 4.0f};
static const float nan_factor[4] = {1.0f, 2.0f, 3.0f, NAN};

#define ROPE_PARAM_REJECTIONS(D)                                                                                       \
    {"rope.pairing is 2", {U32(D, rope.pairing, 2)}}, {"rope.multi is 4", {U32(D, rope.multi, 4)}},                    \
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
        {"rope.freq_factors[2] is 0", {POINTER(D, rope.freq_factors, zero_factor)}},                                   \
        {"rope.freq_factors[3] is nan", {POINTER(D, rope.freq_factors, nan_factor)}},                                  \
        {"positions.shape[0] is 1, and must be from 2 to 4", {U32(D, rope.multi, SXT_ROPE_MROPE)}},                    \
        {"positions.shape[0] is 5, and must be from 2 to 4",                                                           \
         {U32(D, rope.multi, SXT_ROPE_MROPE), U32(D, positions.shape[0], 5)}},                                         \
        {"positions.shape[0] is 2, and must be 1", {U32(D, positions.shape[0], 2)}},                                   \
        {"positions.shape[0] is 0, and must be 1", {U32(D, positions.shape[0], 0)}},                                   \
        {"rope.sections count 0 pairs", {U32(D, rope.multi, SXT_ROPE_VISION), U32(D, positions.shape[0], 2)}},         \
        {"rope.sections count 3 pairs",                                                                                \
         {U32(D, rope.multi, SXT_ROPE_IMROPE), U32(D, positions.shape[0], 3), U32(D, rope.sections[0], 3)}},           \
        {"rope.sections[3] is 1",                                                                                      \
         {U32(D, rope.multi, SXT_ROPE_MROPE), U32(D, positions.shape[0], 3), U32(D, rope.sections[0], 4),              \
          U32(D, rope.sections[3], 1)}},                                                                               \
        {"positions.shape[1] is 3, and must be 2 or 1", {U32(D, positions.shape[1], 3)}},                              \
        {"positions.shape[2] is 2, and must be 1", {U32(D, positions.shape[2], 2)}},                                   \
        {"positions.shape[3] is 4, and must be 3", {U32(D, positions.shape[3], 4)}}, {                                 \
        "positions.shape[3] is 1, and must be 3", {                                                                    \
            U32(D, positions.shape[3], 1)                                                                              \
        }                                                                                                              \
    }

Test(reject, rope) {
    bench b;
    bench_init(&b);
    const sxt_rope_desc base = {
        .x = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .y = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .positions = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
    };
#define D sxt_rope_desc
    static const tensor_row tensors[] = {
        TENSOR(D, x, true, false),
        TENSOR(D, y, true, true),
        TENSOR(D, positions, true, false),
    };
    static const rejection rows[] = {
        ROPE_PARAM_REJECTIONS(D),
        {"x.shape[3] is 0", {U32(D, x.shape[3], 0)}},
        {"y.shape[2] is 3, and must be 4", {U32(D, y.shape[2], 3)}},
        {"y overlaps x", {U64(D, y.offset_bytes, 2)}},
        {"y overlaps positions", {U64(D, y.offset_bytes, 2 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"in place", {U64(D, y.offset_bytes, 0)}},
        {"positions shared by the batch", {U32(D, positions.shape[1], 1)}},
        {"part of the head", {U32(D, rope.rotary_dim, 4), U32(D, rope.rotary_offset, 2)}},
        {"factors", {POINTER(D, rope.freq_factors, good_factors)}},
        {"YaRN", {F32(D, rope.ext_factor, 1.0f), U32(D, rope.original_context, 4096)}},
        {"base 1", {F32(D, rope.base, 1.0f)}},
    };
#undef D
    expect_accepted(&b, SXT_OP_ROPE, &base, "the base");
    reject_tensors(&b, SXT_OP_ROPE, &base, tensors, sizeof tensors / sizeof tensors[0]);
    REJECT_ROWS(&b, SXT_OP_ROPE, &base, rows);
    ACCEPT_ROWS(&b, SXT_OP_ROPE, &base, fine);
    bench_finish(&b);
}

// ── sxt_qk_norm_rope ──

Test(reject, qk_norm_rope) {
    bench b;
    bench_init(&b);
    const sxt_qk_norm_rope_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 4, 8),
        .q_out = place(&b, SXT_TYPE_F16, 2, 3, 4, 8),
        .k = place(&b, SXT_TYPE_F32, 2, 3, 2, 8),
        .k_out = place(&b, SXT_TYPE_BF16, 2, 3, 2, 8),
        .q_weight = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .k_weight = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .positions = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
        .eps = 1e-6f,
    };
#define D sxt_qk_norm_rope_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),         TENSOR(D, q_out, true, true),      TENSOR(D, k, true, false),
        TENSOR(D, k_out, true, true),      TENSOR(D, q_weight, false, false), TENSOR(D, k_weight, false, false),
        TENSOR(D, positions, true, false),
    };
    static const rejection rows[] = {
        ROPE_PARAM_REJECTIONS(D),
        {"norm is 4", {U32(D, norm, 4)}},
        {"eps is nan", {F32(D, eps, NAN)}},
        {"eps is -0.5", {F32(D, eps, -0.5f)}},
        {"offset is inf", {F32(D, offset, INFINITY)}},
        {"q.buffer and k.buffer are NULL", {POINTER(D, q.buffer, NULL), POINTER(D, k.buffer, NULL)}},
        {"q_weight is given, and q is not", {POINTER(D, q.buffer, NULL), POINTER(D, q_out.buffer, NULL)}},
        {"k_weight is given, and k is not", {POINTER(D, k.buffer, NULL), POINTER(D, k_out.buffer, NULL)}},
        {"q_weight is given, and norm is none", {U32(D, norm, SXT_NORM_NONE)}},
        {"k_weight is given, and norm is none", {U32(D, norm, SXT_NORM_NONE), POINTER(D, q_weight.buffer, NULL)}},
        {"q.shape[3] is 0", {U32(D, q.shape[3], 0), U32(D, k.shape[3], 0)}},
        {"k.shape[0] is 1, and must be 2", {U32(D, k.shape[0], 1)}},
        {"k.shape[1] is 2, and must be 3", {U32(D, k.shape[1], 2)}},
        {"k.shape[3] is 4, and must be 8", {U32(D, k.shape[3], 4)}},
        {"q_out.shape[2] is 2, and must be 4", {U32(D, q_out.shape[2], 2)}},
        {"k_out.shape[2] is 4, and must be 2", {U32(D, k_out.shape[2], 4)}},
        {"q_weight.shape[3] is 4, and must be 8 or 1", {U32(D, q_weight.shape[3], 4)}},
        {"k_weight.shape[2] is 4, and must be 2 or 1", {U32(D, k_weight.shape[2], 4)}},
        {"q_out overlaps q", {U64(D, q_out.offset_bytes, 0)}},
        {"q_out overlaps k", {U64(D, q_out.offset_bytes, 2 * SLOT_BYTES)}},
        {"q_out overlaps k_out", {U64(D, q_out.offset_bytes, 3 * SLOT_BYTES + 10)}},
        {"k_out overlaps q", {U64(D, k_out.offset_bytes, 96)}},
        {"k_out overlaps positions", {U64(D, k_out.offset_bytes, 6 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"q in place", {U64(D, q_out.offset_bytes, 0), U32(D, q_out.type, SXT_TYPE_F32)}},
        {"k alone", {POINTER(D, q.buffer, NULL), POINTER(D, q_out.buffer, NULL), POINTER(D, q_weight.buffer, NULL)}},
        {"rotation alone",
         {U32(D, norm, SXT_NORM_NONE), POINTER(D, q_weight.buffer, NULL), POINTER(D, k_weight.buffer, NULL)}},
    };
#undef D
    expect_accepted(&b, SXT_OP_QK_NORM_ROPE, &base, "the base");
    reject_tensors(&b, SXT_OP_QK_NORM_ROPE, &base, tensors, sizeof tensors / sizeof tensors[0]);
    REJECT_ROWS(&b, SXT_OP_QK_NORM_ROPE, &base, rows);
    ACCEPT_ROWS(&b, SXT_OP_QK_NORM_ROPE, &base, fine);
    bench_finish(&b);
}

// ── sxt_kv_write ──

Test(reject, kv_write) {
    bench b;
    bench_init(&b);
    const sxt_kv_write_desc base = {
        .k = place(&b, SXT_TYPE_F32, 2, 3, 4, 8),
        .k_cache = place(&b, SXT_TYPE_F16, 2, 10, 4, 8),
        .v = place(&b, SXT_TYPE_F32, 2, 3, 4, 12),
        .v_cache = place(&b, SXT_TYPE_BF16, 2, 10, 4, 12),
        .slots = place(&b, SXT_TYPE_I32, 1, 2, 1, 3),
    };
#define D sxt_kv_write_desc
    static const tensor_row tensors[] = {
        TENSOR(D, k, true, false),      TENSOR(D, k_cache, true, true), TENSOR(D, v, true, false),
        TENSOR(D, v_cache, true, true), TENSOR(D, slots, false, false),
    };
    static const rejection rows[] = {
        {"k.shape[3] is 0", {U32(D, k.shape[3], 0)}},
        {"v.shape[3] is 0", {U32(D, v.shape[3], 0)}},
        {"k_cache.shape[0] is 1, and must be 2", {U32(D, k_cache.shape[0], 1)}},
        {"k_cache.shape[2] is 3, and must be 4", {U32(D, k_cache.shape[2], 3)}},
        {"k_cache.shape[3] is 16, and must be 8", {U32(D, k_cache.shape[3], 16)}},
        {"v.shape[1] is 2, and must be 3", {U32(D, v.shape[1], 2)}},
        {"v.shape[2] is 2, and must be 4", {U32(D, v.shape[2], 2)}},
        {"v_cache.shape[1] is 9, and must be 10", {U32(D, v_cache.shape[1], 9)}},
        {"v_cache.shape[3] is 8, and must be 12", {U32(D, v_cache.shape[3], 8)}},
        {"slots.shape[0] is 2, and must be 1", {U32(D, slots.shape[0], 2)}},
        {"slots.shape[1] is 3, and must be 2 or 1", {U32(D, slots.shape[1], 3)}},
        {"slots.shape[3] is 2, and must be 3", {U32(D, slots.shape[3], 2)}},
        {"first_row is 1, and must be 0 with slots", {U32(D, first_row, 1)}},
        {"first_row is 8, and 3 tokens", {U32(D, first_row, 8), POINTER(D, slots.buffer, NULL)}},
        {"first_row is 4294967295", {U32(D, first_row, UINT32_MAX), POINTER(D, slots.buffer, NULL)}},
        {"k_cache overlaps k", {U64(D, k_cache.offset_bytes, 0)}},
        {"k_cache overlaps v_cache", {U64(D, k_cache.offset_bytes, 3 * SLOT_BYTES)}},
        {"k_cache overlaps slots", {U64(D, k_cache.offset_bytes, 4 * SLOT_BYTES)}},
        {"v_cache overlaps k", {U64(D, v_cache.offset_bytes, 0)}},
    };
    static const rejection fine[] = {
        {"no slots", {U32(D, first_row, 7), POINTER(D, slots.buffer, NULL)}},
        {"no v", {POINTER(D, v.buffer, NULL), POINTER(D, v_cache.buffer, NULL)}},
        {"slots shared by the batch", {U32(D, slots.shape[1], 1)}},
    };
#undef D
    expect_accepted(&b, SXT_OP_KV_WRITE, &base, "the base");
    reject_tensors(&b, SXT_OP_KV_WRITE, &base, tensors, sizeof tensors / sizeof tensors[0]);
    REJECT_ROWS(&b, SXT_OP_KV_WRITE, &base, rows);
    ACCEPT_ROWS(&b, SXT_OP_KV_WRITE, &base, fine);
    bench_finish(&b);
}

// ── sxt_attention ──

Test(reject, attention) {
    bench b;
    bench_init(&b);
    const sxt_attention_desc base = {
        .q = place(&b, SXT_TYPE_F32, 2, 3, 8, 16),
        .k = place(&b, SXT_TYPE_F16, 2, 5, 2, 16),
        .v = place(&b, SXT_TYPE_BF16, 2, 5, 2, 12),
        .o = place(&b, SXT_TYPE_F32, 2, 3, 8, 12),
        .lse = place(&b, SXT_TYPE_F32, 2, 3, 8, 1),
        .bias = place(&b, SXT_TYPE_F16, 1, 8, 3, 5),
        .sinks = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
        .alibi_slopes = place(&b, SXT_TYPE_F32, 1, 1, 1, 8),
    };
#define D sxt_attention_desc
    static const tensor_row tensors[] = {
        TENSOR(D, q, true, false),      TENSOR(D, k, true, false),
        TENSOR(D, v, true, false),      TENSOR(D, o, true, true),
        TENSOR(D, lse, false, true),    TENSOR(D, bias, false, false),
        TENSOR(D, sinks, false, false), TENSOR(D, alibi_slopes, false, false),
    };
    static const rejection rows[] = {
        {"scale is nan", {F32(D, scale, NAN)}},
        {"scale is inf", {F32(D, scale, INFINITY)}},
        {"softcap is -1", {F32(D, softcap, -1.0f)}},
        {"softcap is nan", {F32(D, softcap, NAN)}},
        {"softcap is inf", {F32(D, softcap, INFINITY)}},
        {"window_left is -2", {BOOL(D, windowed, 1), U32(D, window_left, -2)}},
        {"window_right is -2147483648", {BOOL(D, windowed, 1), U32(D, window_right, INT32_MIN)}},
        {"q.shape[3] is 3, and must be a multiple of 4", {U32(D, q.shape[3], 3)}},
        {"q.shape[3] is 0", {U32(D, q.shape[3], 0)}},
        {"q.shape[3] is 260", {U32(D, q.shape[3], 260)}},
        {"v.shape[3] is 6", {U32(D, v.shape[3], 6)}},
        {"v.shape[3] is 512", {U32(D, v.shape[3], 512)}},
        {"k.shape[0] is 1, and must be 2", {U32(D, k.shape[0], 1)}},
        {"k.shape[3] is 12, and must be 16", {U32(D, k.shape[3], 12)}},
        {"k.shape[2] is 3, and q has 8 heads", {U32(D, k.shape[2], 3), U32(D, v.shape[2], 3)}},
        {"k.shape[2] is 0, and q has 8 heads", {U32(D, k.shape[2], 0), U32(D, v.shape[2], 0)}},
        {"v.shape[1] is 4, and must be 5", {U32(D, v.shape[1], 4)}},
        {"v.shape[2] is 1, and must be 2", {U32(D, v.shape[2], 1)}},
        {"o.shape[1] is 5, and must be 3", {U32(D, o.shape[1], 5)}},
        {"o.shape[2] is 2, and must be 8", {U32(D, o.shape[2], 2)}},
        {"o.shape[3] is 16, and must be 12", {U32(D, o.shape[3], 16)}},
        {"lse.type is f16, and must be f32", {U32(D, lse.type, SXT_TYPE_F16)}},
        {"lse.shape[3] is 12, and must be 1", {U32(D, lse.shape[3], 12)}},
        {"lse.shape[2] is 2, and must be 8", {U32(D, lse.shape[2], 2)}},
        {"bias.type is bf16, and must be f32 or f16", {U32(D, bias.type, SXT_TYPE_BF16)}},
        {"bias.shape[0] is 3, and must be 2 or 1", {U32(D, bias.shape[0], 3)}},
        {"bias.shape[1] is 2, and must be 8 or 1", {U32(D, bias.shape[1], 2)}},
        {"bias.shape[2] is 1, and must be 3", {U32(D, bias.shape[2], 1)}},
        {"bias.shape[3] is 4, and must be 5", {U32(D, bias.shape[3], 4)}},
        {"sinks.shape[3] is 2, and must be 8", {U32(D, sinks.shape[3], 2)}},
        {"sinks.shape[2] is 8, and must be 1", {U32(D, sinks.shape[2], 8), U32(D, sinks.shape[3], 1)}},
        {"alibi_slopes.shape[3] is 1, and must be 8", {U32(D, alibi_slopes.shape[3], 1)}},
        {"alibi_slopes.type is f16, and must be f32", {U32(D, alibi_slopes.type, SXT_TYPE_F16)}},
        {"o overlaps q", {U64(D, o.offset_bytes, 0)}},
        {"o overlaps k", {U64(D, o.offset_bytes, SLOT_BYTES)}},
        {"o overlaps lse", {U64(D, o.offset_bytes, 4 * SLOT_BYTES)}},
        {"o overlaps bias", {U64(D, o.offset_bytes, 5 * SLOT_BYTES)}},
        {"lse overlaps v", {U64(D, lse.offset_bytes, 2 * SLOT_BYTES)}},
        {"lse overlaps sinks", {U64(D, lse.offset_bytes, 6 * SLOT_BYTES)}},
        {"lse overlaps alibi_slopes", {U64(D, lse.offset_bytes, 7 * SLOT_BYTES)}},
    };
    static const rejection fine[] = {
        {"open window", {BOOL(D, windowed, 1), U32(D, window_left, -1), U32(D, window_right, -1)}},
        {"the window's numbers count only with windowed", {U32(D, window_left, -7)}},
        {"no lse", {POINTER(D, lse.buffer, NULL)}},
        {"a bias for all heads", {U32(D, bias.shape[1], 1)}},
        {"v may be a part of k", {U64(D, v.offset_bytes, SLOT_BYTES), U32(D, v.type, SXT_TYPE_F16)}},
    };
#undef D
    expect_accepted(&b, SXT_OP_ATTENTION, &base, "the base");
    reject_tensors(&b, SXT_OP_ATTENTION, &base, tensors, sizeof tensors / sizeof tensors[0]);
    REJECT_ROWS(&b, SXT_OP_ATTENTION, &base, rows);
    ACCEPT_ROWS(&b, SXT_OP_ATTENTION, &base, fine);
    bench_finish(&b);
}

// ── NULL, and ops that there are not ──

Test(reject, null_stream_device_and_description) {
    bench b;
    bench_init(&b);
    const sxt_norm_desc base = norm_base(&b);
    cr_expect_eq(sxt_norm(NULL, &base), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_norm(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_rope(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_qk_norm_rope(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_kv_write(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_attention(b.stream, NULL), SXT_ERROR_INVALID);
    cr_expect(strstr(b.log.text, "sxt_attention: desc is NULL") != NULL);
    cr_expect_eq(sxt_prepare(NULL, SXT_OP_NORM, &base), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_prepare(b.device, SXT_OP_COUNT, &base), SXT_ERROR_INVALID);
    cr_expect(strstr(b.log.text, "op is 5") != NULL);
    cr_expect_eq(sxt_prepare(b.device, (sxt_op)-1, &base), SXT_ERROR_INVALID);
    char text[64];
    cr_expect_eq(sxt_describe(NULL, SXT_OP_NORM, &base, text, sizeof text), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, NULL, 0), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, text, sizeof text), SXT_OK);
    cr_expect_str_eq(text, "norm.reference");
    cr_expect_eq(sxt_describe(b.device, SXT_OP_NORM, &base, text, 5), SXT_OK);
    cr_expect_str_eq(text, "norm");
    bench_finish(&b);
}

// Empty tensors are valid: nothing is read or written.
Test(reject, no_tokens_is_no_mistake) {
    bench b;
    bench_init(&b);
    sxt_norm_desc norm = {.x = place(&b, SXT_TYPE_F32, 2, 0, 4, 8), .y = place(&b, SXT_TYPE_F32, 2, 0, 4, 8)};
    expect_accepted(&b, SXT_OP_NORM, &norm, "no tokens");
    sxt_rope_desc rope = {.x = norm.x, .y = norm.y, .positions = place(&b, SXT_TYPE_I32, 1, 1, 1, 0)};
    expect_accepted(&b, SXT_OP_ROPE, &rope, "no tokens");
    sxt_kv_write_desc kv = {.k = norm.x, .k_cache = place(&b, SXT_TYPE_F16, 2, 6, 4, 8), .first_row = 6};
    expect_accepted(&b, SXT_OP_KV_WRITE, &kv, "no tokens");
    sxt_attention_desc attention = {.q = norm.x, .k = norm.x, .v = norm.x, .o = norm.y};
    expect_accepted(&b, SXT_OP_ATTENTION, &attention, "no tokens");
    norm.x.offset_bytes = (uint64_t)SLOTS * SLOT_BYTES + 4;
    expect_rejected(&b, SXT_OP_NORM, &norm, "x ends at byte");
    bench_finish(&b);
}
