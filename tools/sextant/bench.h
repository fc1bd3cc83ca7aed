// What `bench` times, and what it has to say about it.
#ifndef SXT_TOOL_BENCH_H
#define SXT_TOOL_BENCH_H

#include "program.h"
#include "work.h"

typedef struct sxt_bench_case sxt_bench_case;

// Sequences of an attention.
typedef enum sxt_bench_lengths {
    SXT_LENGTHS_ALIKE = 0,
    SXT_LENGTHS_HALVED, // each sequence has half the keys of the one before it (kv_lengths)
    SXT_LENGTHS_RAGGED, // `tokens` and `keys`, which are alike, are of all sequences, in uneven parts (cu_seqlens)
} sxt_bench_lengths;

// Masks of bits.
typedef enum sxt_bench_mask {
    SXT_BENCH_NO_MASK = 0,
    SXT_BENCH_DOCUMENTS, // four texts in one row: a query sees its own text up to itself
    SXT_BENCH_TREE, // queries are the nodes of a binary tree, the last keys too: one sees the context and its ancestors
} sxt_bench_mask;

// A standard case. Its name is a contract with whoever compares figures.
struct sxt_bench_case {
    const char *name;
    void (*make)(const sxt_bench_case *from, sxt_work *work); // one of those below
    bool gpu_only;                                            // too much for a software device
    sxt_type type;                                            // of activations
    uint32_t batch, tokens;   // 0 batch = 1; tokens: rows of a norm, queries of an attention, rows or moves of a cache
    uint32_t keys;            // of an attention
    uint32_t heads, kv_heads; // 0 = 1
    uint32_t channels;
    sxt_norm_kind norm;
    bool residual, bias; // of a norm
    sxt_rope_params rope;
    bool cached; // a fused norm and rotation takes v too, and writes k and v to a cache
    bool causal, sinks;
    uint32_t window;    // 0 = none; else each query sees this many keys, its own among them
    sxt_type kv_type;   // of a cache; F32, the zero, stands for f16
    uint32_t page_size; // of a cache; 0 = no pages
    float logit_bound;  // known of an attention; 0 = unknown
    uint32_t v_dim;     // values are so many first channels of keys (MLA); 0 = they are tensors of their own
    sxt_bench_lengths lengths;
    sxt_bench_mask mask;
};

// Makers, by operation: bench_make.c.
void sxt_bench_norm(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_rope(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_qk_norm_rope(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_attention(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_kv_write(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_kv_shift(const sxt_bench_case *from, sxt_work *work);
void sxt_bench_kv_copy(const sxt_bench_case *from, sxt_work *work);

extern const sxt_bench_case sxt_bench_cases[];
extern const int sxt_bench_case_count;

// Makes a case's work with random data. False without memory.
bool sxt_bench_make(const sxt_bench_case *from, sxt_work *out_work);

// The work by which a GPU's copy bandwidth is measured: a kv_write from f32 to f32 of `bytes` bytes.
bool sxt_bench_make_copy(uint64_t bytes, sxt_work *out_work);

// Copy bandwidth of the host's own cores on `bytes` bytes, in GB/s read and written. 0 without memory.
double sxt_bench_host_copy(size_t bytes);

typedef struct sxt_bench_result {
    const char *name;
    bool timed;
    char why_not[160];
    double median_us, min_us;
    double bound_gain; // how many times as fast the known bound of its logits makes it; 0: it has none
    uint32_t runs;
    double flops, bytes;
    bool products; // of matrices, which matrix units could make
    char variant[300];
} sxt_bench_result;

typedef struct sxt_bench_report {
    const sxt_device_info *device;
    bool device_clock;
    double copy_gbs;      // measured copy bandwidth, bytes read and written; 0 = not measured
    const char *copy_way; // how it was measured
    double fma_gflops;    // measured rate of f32 multiply-adds, two operations each; 0 = not measured
    double matrix_gflops[SXT_MAX_MATRIX_SHAPES]; // the same of products of the device's matrix shapes
    const sxt_bench_result *results;
    int result_count;
} sxt_bench_report;

void sxt_bench_print_head(const sxt_bench_report *report);
void sxt_bench_print_row(const sxt_bench_report *report, const sxt_bench_result *result);
void sxt_bench_write_json(FILE *file, const sxt_bench_report *report);
void sxt_bench_write_html(FILE *file, const sxt_bench_report *report);

#endif
