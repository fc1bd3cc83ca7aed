// A case: one operation (or the pipeline around attention) on given input, as a safetensors file has it. Its tensors
// are the input, its metadata says what to do with it. The tables in case.c are the whole list of what is understood.
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
    SXT_CASE_OP_COUNT
} sxt_case_op;

enum { SXT_TYPE_ABSENT = -1 };

// The metadata as values, defaults filled in.
typedef struct sxt_case_params {
    sxt_case_op op;
    int norm; // sxt_norm_kind; SXT_NORM_NONE if absent from an attention
    bool norm_given;
    float eps, offset;
    bool rotate;          // `pairing` was given, or the op has rotation anyway
    int pairing, multi;   // sxt_rope_pairing, sxt_rope_multi
    sxt_rope_params rope; // without pairing, multi, freq_factors
    float scale, softcap;
    bool causal;
    bool windowed;
    int32_t window_left, window_right;
    int kv_type, out_type; // sxt_type, or SXT_TYPE_ABSENT
    bool in_place;
    uint32_t layout;          // 0: tensors dense; else the seed of their strides and offsets
    uint32_t rows, first_row; // of the cache of a kv_write
} sxt_case_params;

// Reads and checks every key of the metadata. False with one line in `error`: the key, and what would be right.
bool sxt_case_params_read(const sxt_bundle *bundle, sxt_case_params *out_params, char error[SXT_ERROR_SIZE]);

// Checks that each tensor is one that the operation knows, with a type it takes, and that none is missing.
bool sxt_case_tensors_check(const sxt_bundle *bundle, sxt_case_op op, char error[SXT_ERROR_SIZE]);

// Prints the tables of keys and tensors, for --help.
void sxt_case_print_help(void);

#endif
