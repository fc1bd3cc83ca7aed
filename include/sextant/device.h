// Sextant: results, devices, buffers, tensors and streams. Part of sextant.h, which includes it and says how all hangs
// together.
#ifndef SEXTANT_DEVICE_H
#define SEXTANT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(SXT_STATIC)
#define SXT_API
#elif defined(_WIN32)
#define SXT_API __declspec(dllimport)
#else
#define SXT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// ── Results and messages ───────────────────────────────────────────────────────────────────────────────────────────

typedef enum sxt_result {
    SXT_OK = 0,
    SXT_TIMEOUT = 1,              // a wait ran out of time; the work goes on
    SXT_ERROR_INVALID = -1,       // an argument is wrong: the log names the field and the fault
    SXT_ERROR_UNSUPPORTED = -2,   // valid, but this device has no kernel for it
    SXT_ERROR_NO_DEVICE = -3,     // no Vulkan loader, no driver, or no device that fits
    SXT_ERROR_OUT_OF_MEMORY = -4, // host or device memory; the device stays usable
    SXT_ERROR_DEVICE_LOST = -5,   // sticky: close the device and open a new one
    SXT_ERROR_DRIVER = -6,        // the driver returned an error that it should not have; the log has its name
} sxt_result;

// "SXT_OK", "SXT_ERROR_INVALID", … Never NULL.
SXT_API const char *sxt_result_name(sxt_result result);

typedef enum sxt_log_level {
    SXT_LOG_ERROR = 0,
    SXT_LOG_WARNING = 1,
    SXT_LOG_INFO = 2,
    SXT_LOG_DEBUG = 3
} sxt_log_level;

// Called with one line of text without a newline, valid during the call only. May be called from any thread that is
// inside a Sextant call, and never calls back into the library.
typedef void (*sxt_log_fn)(void *user, sxt_log_level level, const char *message);

// ── Devices ────────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct sxt_device sxt_device;
typedef struct sxt_buffer sxt_buffer;
typedef struct sxt_stream sxt_stream;

typedef enum sxt_device_kind {
    SXT_DEVICE_ANY = 0,   // whatever `select` says; without it the best Vulkan device
    SXT_DEVICE_VULKAN,    // Vulkan only
    SXT_DEVICE_REFERENCE, // the CPU reference: host memory, double precision, needs no driver
} sxt_device_kind;

// One shape D = A·B + C that the device's matrix units take, as VK_KHR_cooperative_matrix reports it; or a flexible one,
// as VK_NV_cooperative_matrix2 does, of whose sides all multiples are taken.
typedef struct sxt_matrix_shape {
    uint32_t m, n, k;
    uint32_t a_type, c_type; // VkComponentTypeKHR: 0 f16, 1 f32, 1000141000 bf16, …
    uint32_t scope;          // VkScopeKHR: 3 subgroup, 2 workgroup
    uint32_t threads;        // of a workgroup that has matrices of its own; 0 with scope subgroup
    bool flexible;
} sxt_matrix_shape;

enum { SXT_MAX_MATRIX_SHAPES = 48, SXT_MAX_NAME = 256 };

// What a device can do, as plain data: plans are functions of this struct, of the description, and of
// what sxt_tune found.
// All sizes in bytes. Zeroed, it is less than the baseline; see sxt_caps_baseline for the least that Sextant runs on.
typedef struct sxt_caps {
    uint32_t vendor_id, device_id;
    uint32_t driver_id;     // VkDriverId: 13 is llvmpipe (lavapipe), 10 SwiftShader, 3 RADV, 4 NVIDIA, …
    bool software;          // VK_PHYSICAL_DEVICE_TYPE_CPU
    uint32_t cpu_registers; // of a software device: vector registers of the CPU; 0: not known
    bool unified_memory;    // device-local memory is host-visible
    uint32_t subgroup_size; // the size a shader gets if it does not ask
    uint32_t subgroup_min, subgroup_max;
    uint32_t max_invocations; // per workgroup
    uint32_t max_group_size_x;
    uint32_t max_group_count[3];
    uint32_t shared_bytes;
    uint32_t push_bytes;
    uint32_t storage_align;   // minStorageBufferOffsetAlignment
    uint32_t storage_buffers; // maxPerStageDescriptorStorageBuffers
    uint64_t storage_range;   // maxStorageBufferRange
    uint64_t memory_bytes;    // the largest device-local heap
    float timestamp_ns;       // nanoseconds a tick; 0 = no timestamps
    uint64_t dispatch_flops;  // operations that a dispatch may hold, from sxt_device_params.budget_us; 0 = any number
    // Capabilities that `disable` can switch off, under these names.
    bool subgroup_arithmetic, subgroup_shuffle, subgroup_size_control;
    bool storage16;  // 16-bit storage buffers
    bool fp16, bf16; // arithmetic in shaders
    bool storage8, int8, int16, int64, int_dot;
    bool buffer_address;
    bool matrix, matrix2;          // VK_KHR_cooperative_matrix, VK_NV_cooperative_matrix2
    uint32_t matrix2_most;         // the longest side of a flexible shape's matrices
    uint32_t matrix2_shared_bytes; // what matrices of scope workgroup take of shared_bytes
    uint32_t matrix_shape_count;
    sxt_matrix_shape matrix_shapes[SXT_MAX_MATRIX_SHAPES];
} sxt_caps;

// Fills `out_caps` with the baseline: Vulkan 1.2 with nothing optional, 16 KiB of shared memory, 128 invocations,
// a storage range of 128 MiB.
SXT_API void sxt_caps_baseline(sxt_caps *out_caps);

typedef struct sxt_device_info {
    char name[SXT_MAX_NAME];
    char driver[SXT_MAX_NAME]; // driver's name and version
    sxt_device_kind kind;      // SXT_DEVICE_VULKAN or SXT_DEVICE_REFERENCE
    const char *type;          // "discrete GPU", "integrated GPU", "virtual GPU", "CPU", "other"
    uint32_t api_version;      // as VK_MAKE_API_VERSION
    bool usable;               // false: see `why_not`
    char why_not[SXT_MAX_NAME];
    bool compiles; // a Vulkan device that can be opened with `compile_only`, be it usable or not
    sxt_caps caps;
} sxt_device_info;

typedef struct sxt_device_params {
    sxt_device_kind kind;
    // Which device: NULL or "" = the best one (discrete, integrated, virtual, CPU); a decimal number = that index in
    // sxt_device_list's order; "reference" = the CPU reference; anything else = a part of the name or driver, any case.
    const char *select;
    // Capabilities to act as if the device had not, comma-separated, by their names in sxt_caps ("storage16,fp16").
    const char *disable;
    // Pipeline-cache file, read at opening and written at closing; NULL = memory only. A file that is damaged or of
    // another driver is ignored with a warning and rebuilt.
    const char *cache_path;
    // Opens a Vulkan device to compile for it and not to run: no memory is taken and nothing is submitted, so that a
    // driver without a GPU behind it (RADV's null device) will do. sxt_describe, sxt_scratch_size and sxt_statistics
    // work there; buffers can be made, to stand in descriptions, and have a size but no memory; all else returns
    // UNSUPPORTED. cache_path is not used.
    bool compile_only;
    // The longest that one dispatch should take, in microseconds, by an estimate from the kind of device: longer work is
    // cut. 0 = 100 000 on a GPU and no limit on a CPU. (Systems reset a GPU that is busy for a second or two.)
    uint32_t budget_us;
    sxt_log_fn log; // NULL = silent
    void *log_user;
} sxt_device_params;

// Lists Vulkan devices in the driver's order, then the reference. Writes at most `capacity` infos and the number that
// there is to `out_count`. `params` may be NULL; kind and select are ignored. A missing loader or driver is no
// error here: the list then holds the reference alone, and the log says what to install.
SXT_API sxt_result sxt_device_list(const sxt_device_params *params, sxt_device_info *infos, uint32_t capacity,
                                   uint32_t *out_count);

// Opens a device. `params` may be NULL (the best Vulkan device).
// Errors: INVALID (unknown name in `disable`; the reference with compile_only), NO_DEVICE (the log says what was found
// and what to install), DRIVER, OUT_OF_MEMORY.
SXT_API sxt_result sxt_device_open(const sxt_device_params *params, sxt_device **out_device);

// Waits for the device's work, then frees everything. Buffers and streams must have been destroyed before. NULL and
// pointer to NULL are fine; clears the pointer.
SXT_API void sxt_device_close(sxt_device **device);

// Valid as long as the device. `caps` is what remains after `disable`.
SXT_API const sxt_device_info *sxt_device_get_info(const sxt_device *device);

// Bytes of device memory that this process uses and may use, as VK_EXT_memory_budget has it (or an estimate).
SXT_API sxt_result sxt_device_memory(sxt_device *device, uint64_t *out_used_bytes, uint64_t *out_budget_bytes);

// What kernels met in device memory that should not be there, as bits. It is never fatal: the operation's comment says
// what is done instead.
typedef enum sxt_fault {
    SXT_FAULT_INDEX = 1, // a length, an offset or a page outside of what there is (a page or a slot of −1 is none)
    SXT_FAULT_LOGIT = 2, // a logit above the promised sxt_attention_desc.logit_bound
} sxt_fault;

// Waits for all work submitted so far, and writes the faults that were met up to then; with `clear` forgets them: they
// stay until then. `out_faults` may be NULL. Thread-safe. Errors: UNSUPPORTED (compile_only), DEVICE_LOST.
SXT_API sxt_result sxt_device_faults(sxt_device *device, bool clear, uint32_t *out_faults);

// The device's rate of f32 multiply-adds, measured: operations a second, two each. Takes some 50 ms, and what is
// submitted at the same time makes it less. Errors: UNSUPPORTED (the reference, compile_only, or no timestamps),
// OUT_OF_MEMORY, DEVICE_LOST.
SXT_API sxt_result sxt_measure_fma(sxt_device *device, double *out_flops);

// The same of products of matrices on matrix units: of a shape that sxt_caps lists, with A and B of f16 or bf16, sums in
// f32, and the scope of a subgroup, or a flexible one (a multiple of it is measured then). 2·M·N·K operations for each
// product; registers hold all matrices, with numbers from −1 to 1. Errors: those above; UNSUPPORTED for other shapes too.
SXT_API sxt_result sxt_measure_matrix(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops);

// ── Buffers and tensors ────────────────────────────────────────────────────────────────────────────────────────────

typedef enum sxt_memory {
    SXT_MEMORY_DEVICE = 0, // fastest for the device; mapped only where memory is unified
    SXT_MEMORY_HOST,       // host-visible, cached, always mapped
} sxt_memory;

typedef struct sxt_buffer_desc {
    uint64_t bytes; // > 0
    sxt_memory memory;
    const char *name; // for debuggers and messages; may be NULL; copied
} sxt_buffer_desc;

// Contents are undefined. Errors: INVALID (0 bytes), OUT_OF_MEMORY.
SXT_API sxt_result sxt_buffer_create(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer);

// Work already submitted keeps the memory alive until it is done. The buffer must not be in a recording that is not yet
// submitted. NULL is fine; clears the pointer.
SXT_API void sxt_buffer_destroy(sxt_buffer **buffer);

SXT_API uint64_t sxt_buffer_size(const sxt_buffer *buffer);

// Host pointer to the whole buffer, coherent, or NULL if it is not mapped. The caller synchronises by sxt_device_wait.
SXT_API void *sxt_buffer_map(sxt_buffer *buffer);

// Copy host memory to or from the buffer, in order with all work submitted to the device before; return when done.
// Errors: INVALID (range outside the buffer), OUT_OF_MEMORY, DEVICE_LOST.
SXT_API sxt_result sxt_buffer_write(sxt_buffer *buffer, uint64_t offset_bytes, const void *data, uint64_t bytes);
SXT_API sxt_result sxt_buffer_read(sxt_buffer *buffer, uint64_t offset_bytes, void *out_data, uint64_t bytes);

typedef enum sxt_type {
    SXT_TYPE_F32 = 0,
    SXT_TYPE_F16,
    SXT_TYPE_BF16,
    SXT_TYPE_I32,
    SXT_TYPE_Q8_0,     // ggml's: 32 channels as an f16 scale and 32 int8
    SXT_TYPE_Q4_0,     // ggml's: 32 channels as an f16 scale and 32 times 4 bits, less 8
    SXT_TYPE_FP8_E4M3, // 1.4.3 bits without infinities, as OCP and PyTorch's float8_e4m3fn have it; past ±448 saturates
} sxt_type;

// Bytes of one block of elements, and elements of a block: 34 and 32 for q8_0, 18 and 32 for q4_0, and one element for
// all others. 0 for an unknown type.
//
// Conversions round to nearest even, f16 and bf16 overflow to infinity. Blocks are made with ggml's own arithmetic in
// f32, to the bit: q8_0: d = max|x|/127, q = round(x·(1/d)), half away from zero; q4_0: d = m/−8 for the first m with
// |m| = max|x|, q = min(15, trunc(x·(1/d) + 8.5)), of element j < 16 in the low half of byte j, of j + 16 in the high
// one. d is then rounded to f16. A block whose |d| is below f32's normal range gets d = +0 (ggml's q4_0 has −0 there),
// and one with a NaN or an infinity a NaN (0x7e00), both with the code of 0 for all values (q4_0: 8).
// A NaN's sign and upper payload survive between f32, f16 and bf16 (a signalling one may turn quiet); fp8 has one of each sign.
SXT_API uint32_t sxt_type_size(sxt_type type);
SXT_API uint32_t sxt_type_block(sxt_type type);
SXT_API const char *sxt_type_name(sxt_type type);

// A view into a buffer: up to four dims [batch, token, head, channel]. A tensor of fewer dims has leading 1s:
// {1, 1, 1, channels} is a vector. A zeroed tensor (buffer NULL) means "none" where a tensor is optional.
typedef struct sxt_tensor {
    sxt_buffer *buffer;
    uint64_t offset_bytes; // multiple of the element's size (q8_0 and q4_0: of 2)
    sxt_type type;
    uint32_t shape[4]; // all > 0, but batch, token and head may be 0 (an empty tensor: nothing is done)
    uint64_t strides
        [4]; // in elements (q8_0, q4_0: whole blocks); all 0 = dense. Channels are contiguous: strides[3] is 1 (or 0 with shape[3] 1)
} sxt_tensor;

// ── Streams ────────────────────────────────────────────────────────────────────────────────────────────────────────

// Records operations in order; puts a barrier between two of them where the ranges they touch need it, and only there.
SXT_API sxt_result sxt_stream_create(sxt_device *device, sxt_stream **out_stream);
SXT_API void sxt_stream_destroy(sxt_stream **stream);

// Hands what was recorded to the device; it runs after everything submitted before on this device. `out_ticket`, which
// may be NULL, gets the value to wait for. On an error the recording is dropped.
SXT_API sxt_result sxt_stream_submit(sxt_stream *stream, uint64_t *out_ticket);

// Waits until the device has passed `ticket`: SXT_OK, or SXT_TIMEOUT after `timeout_ns` (UINT64_MAX = no limit),
// or SXT_ERROR_DEVICE_LOST.
SXT_API sxt_result sxt_device_wait(sxt_device *device, uint64_t ticket, uint64_t timeout_ns);

// Drops what was recorded since the last submission.
SXT_API void sxt_stream_reset(sxt_stream *stream);

enum { SXT_MAX_TIMESTAMPS = 128 };

// Records a device timestamp at this point of the recording; `out_index` numbers them from 0 in each submission.
// Errors: UNSUPPORTED (the device has none), INVALID (more than SXT_MAX_TIMESTAMPS).
SXT_API sxt_result sxt_stream_timestamp(sxt_stream *stream, uint32_t *out_index);

// Microseconds between two timestamps of the stream's latest submission, which must be done (sxt_device_wait).
SXT_API sxt_result sxt_stream_elapsed(sxt_stream *stream, uint32_t from, uint32_t to, double *out_us);

#ifdef __cplusplus
}
#endif

#endif
