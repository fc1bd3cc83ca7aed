// A trial runs descriptions on the device under test and, with the same bytes in memory, on the reference, and watches
// every byte around: tensors lie at odd places, rows apart, in buffers whose every other byte belongs to a canary.
//
// The canary and all outputs start as one NaN pattern. After a run, each byte that is no element of an output must be
// as it was (inputs, gaps between rows, 4 KiB before and after), and no element of an output may still hold the
// pattern.
#ifndef SXT_TESTS_SUPPORT_TRIAL_H
#define SXT_TESTS_SUPPORT_TRIAL_H

#include "core/op.h"
#include "support/device.h"
#include "support/random.h"

// A NaN as f16, as bf16, as either half of an f32, as the scale of a block, and as an i32 an index far outside of
// everything.
enum { SXT_TEST_POISON = 0x7fe5, SXT_TEST_CANARY_BYTES = 4096, SXT_TEST_BLOCKS = 32 };

typedef enum sxt_test_side {
    SXT_TEST_DEVICE = 0, // what the device under test left in memory
    SXT_TEST_REFERENCE,  // what the reference left
    SXT_TEST_INITIAL,    // what was there before
} sxt_test_side;

// How sxt_test_place lays tensors out: kernels have variants for rows that start at multiples of four elements.
typedef enum sxt_test_layout {
    SXT_TEST_ANY = 0, // each tensor in one of the ways below
    SXT_TEST_DENSE,
    SXT_TEST_QUADS, // any order of dims, gaps between rows, all in steps of four elements
    SXT_TEST_ODD,   // in steps of one; blocks start at any even byte
} sxt_test_layout;

// The two devices, for as many trials as a test likes.
typedef struct sxt_test_bench {
    sxt_test_log log; // of both devices
    sxt_device *devices[2];
    sxt_stream *streams[2];
} sxt_test_bench;

void sxt_test_bench_init(sxt_test_bench *bench);
void sxt_test_bench_finish(sxt_test_bench *bench);

// The memory of one tensor.
typedef struct sxt_test_block {
    const char *name;
    uint64_t bytes;
    sxt_buffer *buffers[2];
    uint8_t *images[3]; // by side; those of the devices are valid after a run
    uint8_t *outputs;   // for each byte: 0, or a sxt_test_byte
    uint32_t element_bytes;
} sxt_test_block;

typedef struct sxt_test_trial {
    sxt_test_bench *bench;
    uint64_t seed;
    sxt_test_rng rng;
    sxt_test_layout layout;
    bool device_only; // do without the reference: for large trials that compare the device with itself
    bool partial;     // what is run may leave elements of its outputs as they were: the test knows which
    uint32_t block_count;
    sxt_test_block blocks[SXT_TEST_BLOCKS];
    uint32_t faults[2]; // of the last run, by side: what sxt_device_faults says of that run alone
    char what[768];     // what is run, for messages
    char problem[512];  // what the last check found
} sxt_test_trial;

void sxt_test_trial_init(sxt_test_trial *trial, sxt_test_bench *bench, uint64_t seed);
void sxt_test_trial_finish(sxt_test_trial *trial);

// Adds to the text that a failure prints.
void sxt_test_say(sxt_test_trial *trial, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Makes a tensor full of poison. Its buffers are the device's; sxt_test_run finds the reference's by itself. `place`
// follows trial->layout. `dense` is dense and aligned.
sxt_tensor sxt_test_place(sxt_test_trial *trial, const char *name, sxt_type type, uint32_t batch, uint32_t token,
                          uint32_t head, uint32_t channel);
sxt_tensor sxt_test_dense(sxt_test_trial *trial, const char *name, sxt_type type, uint32_t batch, uint32_t token,
                          uint32_t head, uint32_t channel);

// Another tensor of the same shape, type and place, with the same initial elements.
sxt_tensor sxt_test_like(sxt_test_trial *trial, const char *name, const sxt_tensor *like);

// Random cases come in groups of neighbouring seeds, which share what is compiled into a pipeline (types, layout, …):
// on lavapipe a pipeline costs a second, a case a millisecond. The numbers that a group shares.
sxt_test_rng sxt_test_group_rng(uint64_t seed);

// The group's number: 0 for the first SXT_TEST_GROUP seeds from 1 on. Those of a suite are counted through for what it
// must not leave to chance: 18 groups, 2052 cases.
enum { SXT_TEST_GROUP = 114 };
uint64_t sxt_test_group(uint64_t seed);

// Elements of a tensor are numbered in dense order, whatever its strides. Strides must be explicit.
uint64_t sxt_test_count(const sxt_tensor *tensor);
uint64_t sxt_test_element(const sxt_tensor *tensor, uint64_t n);
uint64_t sxt_test_at(const sxt_tensor *tensor, uint32_t batch, uint32_t token, uint32_t head, uint32_t channel);

// Where element n is in memory: of types with blocks, its block.
uint8_t *sxt_test_bytes(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n);

// Set elements before a run; floats are rounded to the tensor's type. Not for types with blocks, but for the fills.
void sxt_test_set(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, double value);
void sxt_test_set_int(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, int32_t value);
void sxt_test_set_bits(sxt_test_trial *trial, const sxt_tensor *tensor, uint64_t n, uint32_t bits);
void sxt_test_fill_normal(sxt_test_trial *trial, const sxt_tensor *tensor, double mean,
                          double deviation); // types with blocks: mean 0
void sxt_test_fill(sxt_test_trial *trial, const sxt_tensor *tensor, double value);

// Any bits in every element: all NaNs, all codes, all scales of blocks.
void sxt_test_fill_bits(sxt_test_trial *trial, const sxt_tensor *tensor);

// Copies an element for element from `from`, of the same count, as it was initially.
void sxt_test_fill_from(sxt_test_trial *trial, const sxt_tensor *tensor, const sxt_tensor *from);

// All elements in dense order, to be freed.
double *sxt_test_values(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor);

double sxt_test_get(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n);
int32_t sxt_test_get_int(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n);
uint32_t sxt_test_get_bits(const sxt_test_trial *trial, sxt_test_side side, const sxt_tensor *tensor, uint64_t n);

typedef struct sxt_test_step {
    sxt_op op;
    const void *desc; // of tensors of this trial
} sxt_test_step;

// Writes all memory, records the steps in one recording, runs them, and reads all memory: on the device, and, unless
// device_only, on the reference. Fails the test on any error but UNSUPPORTED, which it returns.
sxt_result sxt_test_run(sxt_test_trial *trial, const sxt_test_step *steps, uint32_t count);

// The same for one description, and everything that holds for any operation: see sxt_test_check_memory. UNSUPPORTED
// fails the test too. Faults must be the reference's, but for attention, whose kernels may look at pages that no query
// sees.
void sxt_test_run_op(sxt_test_trial *trial, sxt_op op, const void *desc);

// A step's description with the buffers of one side.
void sxt_test_translate(sxt_test_trial *trial, sxt_test_side side, const sxt_test_step *step, sxt_any_desc *out_desc);

// The pieces of sxt_test_run, for tests that record on streams of their own, on the device alone: write all memory,
// record, then read all memory once the work is done. What sxt_test_record records counts as run for
// sxt_test_check_memory.
void sxt_test_upload(sxt_test_trial *trial);
sxt_result sxt_test_record(sxt_test_trial *trial, sxt_stream *stream, sxt_op op, const void *desc);
void sxt_test_download(sxt_test_trial *trial);

// Problem: the last run's faults on the device are not those on the reference. NULL if they are, or there was none.
const char *sxt_test_check_faults(sxt_test_trial *trial);

// The kernel of attention that sxt_test_run takes for this description: what sxt_describe says of it.
void sxt_test_describe(const sxt_test_trial *trial, const sxt_attention_desc *attention, char *out_text, size_t size);

// The type that the device rounds queries and weights of this description to, to multiply them; f32: none.
sxt_type sxt_test_products(const sxt_test_trial *trial, const sxt_attention_desc *attention);

// A problem found in the memory of either side after a run, or NULL if there is none.
const char *sxt_test_check_memory(sxt_test_trial *trial);

// Problem: the two tensors, of the same shape and type, differ in the bits of an element, or of a block. NULL if they do
// not.
const char *sxt_test_check_bits(sxt_test_trial *trial, sxt_test_side side_a, const sxt_tensor *a, sxt_test_side side_b,
                                const sxt_tensor *b);

// Fails the test with `problem`, what was run, and how to run it again; does nothing if `problem` is NULL.
void sxt_test_require(const sxt_test_trial *trial, const char *problem);

#endif
