// What core shares with the backends: the base of every handle, and the table of calls a kind of device provides.
// Core validates and resolves; a backend sees only descriptions that are right, with every default filled in.
#ifndef SXT_CORE_DEVICE_H
#define SXT_CORE_DEVICE_H

#include "sextant/sextant.h"

typedef struct sxt_backend sxt_backend;

typedef struct sxt_logger {
    sxt_log_fn fn; // may be NULL
    void *user;
} sxt_logger;

struct sxt_device {
    const sxt_backend *backend;
    sxt_logger logger;
    sxt_device_info info;
};

struct sxt_buffer {
    sxt_device *device;
    uint64_t bytes;
    void *mapped; // host pointer, or NULL
};

struct sxt_stream {
    sxt_device *device;
};

// A backend embeds the structs above as first member of its own.
struct sxt_backend {
    void (*device_close)(sxt_device *device);
    sxt_result (*device_memory)(sxt_device *device, uint64_t *out_used, uint64_t *out_budget);
    sxt_result (*device_wait)(sxt_device *device, uint64_t ticket, uint64_t timeout_ns);
    sxt_result (*device_faults)(sxt_device *device, bool clear, uint32_t *out_faults);
    sxt_result (*buffer_create)(sxt_device *device, const sxt_buffer_desc *desc, sxt_buffer **out_buffer);
    void (*buffer_destroy)(sxt_buffer *buffer);
    sxt_result (*buffer_write)(sxt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes);
    sxt_result (*buffer_read)(sxt_buffer *buffer, uint64_t offset, void *out_data, uint64_t bytes);
    sxt_result (*stream_create)(sxt_device *device, sxt_stream **out_stream);
    void (*stream_destroy)(sxt_stream *stream);
    sxt_result (*stream_record)(sxt_stream *stream, sxt_op op, const void *desc); // desc is resolved
    sxt_result (*stream_submit)(sxt_stream *stream, uint64_t *out_ticket);        // out_ticket is never NULL
    void (*stream_reset)(sxt_stream *stream);
    sxt_result (*stream_timestamp)(sxt_stream *stream, uint32_t *out_index);
    sxt_result (*stream_elapsed)(sxt_stream *stream, uint32_t from, uint32_t to, double *out_us);
    sxt_result (*prepare)(sxt_device *device, sxt_op op, const void *desc); // desc is resolved
    sxt_result (*scratch_size)(sxt_device *device, sxt_op op, const void *desc, uint64_t *out_bytes); // the same
    sxt_result (*describe)(sxt_device *device, sxt_op op, const void *desc, char *out_text, size_t size);
    // NULL: not for this kind of device; so are the next two.
    sxt_result (*measure_fma)(sxt_device *device, double *out_flops);
    sxt_result (*measure_matrix)(sxt_device *device, const sxt_matrix_shape *shape, double *out_flops);
    sxt_result (*tune)(sxt_device *device, sxt_op op, const void *desc, sxt_tuning *out_tuning); // desc is resolved
    sxt_result (*statistics)(sxt_device *device, sxt_op op, const void *desc, sxt_statistic *out_statistics,
                             uint32_t capacity, uint32_t *out_count);
};

// Logs one formatted line (cut at 512 bytes). A NULL logger or callback is silent.
void sxt_log(const sxt_logger *logger, sxt_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// A caller's mistake: log what is wrong and return INVALID.
#define SXT_REJECT(logger, ...) return (sxt_log((logger), SXT_LOG_ERROR, __VA_ARGS__), SXT_ERROR_INVALID)

#endif
