// A case: one operation (or the pipeline around attention) on given input, as a safetensors file has it. Its tensors
// are the input, its metadata says what to do with it. The keys are listed in case.c, the tensors of each operation in
// its own file: case_norm.c and its like.
#ifndef SXT_TOOL_CASE_H
#define SXT_TOOL_CASE_H

#include "safetensors.h"
#include "sextant/sextant.h"

typedef enum sxt_case_op {
    SXT_CASE_NORM,
    SXT_CASE_ROPE,
    SXT_CASE_QK_NORM_ROPE,
    SXT_CASE_ATTENTION,
    SXT_CASE_KV_WRITE,
    SXT_CASE_KV_SHIFT,
    SXT_CASE_KV_COPY,
    SXT_CASE_ATTENTION_MERGE,
    SXT_CASE_OP_COUNT
} sxt_case_op;

typedef enum sxt_case_scaling {
    SXT_SCALING_NONE,
    SXT_SCALING_NTK,
    SXT_SCALING_DYNAMIC_NTK,
    SXT_SCALING_LLAMA3,
    SXT_SCALING_LONGROPE,
} sxt_case_scaling;

enum { SXT_TYPE_ABSENT = -1 };

// The metadata as values, defaults filled in.
typedef struct sxt_case_params {
    sxt_case_op op;
    int norm; // sxt_norm_kind; SXT_NORM_NONE if absent from an attention
    bool norm_given, normalise_v;
    float eps, offset;
    bool rotate;          // `pairing` was given, or the op has rotation anyway
    int pairing, multi;   // sxt_rope_pairing, sxt_rope_multi
    sxt_rope_params rope; // without pairing, multi, freq_factors
    int scaling;          // sxt_case_scaling
    float factor, low_freq_factor, high_freq_factor;
    uint32_t length, max_context;
    float scale, softcap, logit_bound;
    uint32_t split_keys, max_q_tokens, max_k_tokens;
    uint32_t v_dim; // of values that are a part of k; 0: there is a v
    bool lse;
    bool f32_products;
    int kernel; // sxt_attention_kernel
    bool causal;
    bool windowed;
    int32_t window_left, window_right;
    int kv_type, k_type, v_type, out_type; // sxt_type, or SXT_TYPE_ABSENT
    bool cached;                           // any key of a cache was given
    bool in_place;
    uint32_t layout;                // 0: tensors dense; else the seed of their strides and offsets
    bool heads_first;               // dense tensors are [batch, head, token, channel] in memory
    uint32_t rows, first_row;       // of a cache without block_table
    uint32_t page_size, page_count; // of one with it
    bool pages;                     // kv_copy moves whole pages
} sxt_case_params;

// ── Tensors of an operation ──

typedef enum sxt_tensor_role { SXT_REQUIRED, SXT_OPTIONAL, SXT_EXPECTED } sxt_tensor_role;

enum {
    SXT_IS_F32 = 1 << SXT_DTYPE_F32,
    SXT_IS_F16 = 1 << SXT_DTYPE_F16,
    SXT_IS_I32 = 1 << SXT_DTYPE_I32,
    SXT_IS_U8 = 1 << SXT_DTYPE_U8,
    SXT_IS_FLOAT = SXT_IS_F32 | SXT_IS_F16 | 1 << SXT_DTYPE_BF16,
    SXT_IS_STORED = SXT_IS_FLOAT | SXT_IS_U8, // as numbers, or as the bytes of a cache
};

typedef struct sxt_case_tensor {
    const char *name; // NULL ends the list
    sxt_tensor_role role;
    unsigned dtypes;
    const char *shape;
} sxt_case_tensor;

extern const sxt_case_tensor sxt_norm_tensors[], sxt_rope_tensors[], sxt_qk_norm_rope_tensors[],
    sxt_attention_tensors[], sxt_kv_write_tensors[], sxt_kv_shift_tensors[], sxt_kv_copy_tensors[],
    sxt_attention_merge_tensors[];

// Reads and checks every key of the metadata. False with one line in `error`: the key, and what would be right.
bool sxt_case_params_read(const sxt_bundle *bundle, sxt_case_params *out_params, char error[SXT_ERROR_SIZE]);

// Checks that each tensor is one that the operation knows, with a type it takes, and that none is missing.
bool sxt_case_tensors_check(const sxt_bundle *bundle, sxt_case_op op, char error[SXT_ERROR_SIZE]);

// Reads the name of a kernel of attention, as the key 'kernel' has it. False with one line in `error`.
bool sxt_case_kernel_read(const char *text, sxt_attention_kernel *out_kernel, char error[SXT_ERROR_SIZE]);

// Prints the tables of keys and tensors, for --help.
void sxt_case_print_help(void);

#endif
