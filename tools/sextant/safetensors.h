// The safetensors format: 8 bytes of header length (little endian), a JSON header, the tensors' bytes without holes.
// Reading trusts nothing: see sxt_bundle_read. Little-endian hosts only, as the format is.
#ifndef SXT_TOOL_SAFETENSORS_H
#define SXT_TOOL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SXT_MAX_RANK = 8, SXT_ERROR_SIZE = 800 };

typedef enum sxt_dtype {
    SXT_DTYPE_F32,
    SXT_DTYPE_F16,
    SXT_DTYPE_BF16,
    SXT_DTYPE_I32,
    SXT_DTYPE_U8,
    SXT_DTYPE_COUNT
} sxt_dtype;

typedef struct sxt_array {
    char *name;
    sxt_dtype dtype;
    uint32_t rank;
    uint64_t shape[SXT_MAX_RANK];
    uint64_t count, bytes;
    void *data; // dense, aligned for any type; not NULL even if it holds 0 bytes
} sxt_array;

typedef struct sxt_pair {
    char *key, *value;
} sxt_pair;

// Tensors and metadata in the file's order. All memory is owned.
typedef struct sxt_bundle {
    sxt_array *arrays;
    size_t array_count;
    sxt_pair *pairs;
    size_t pair_count;
} sxt_bundle;

const char *sxt_dtype_name(sxt_dtype dtype);
uint32_t sxt_dtype_size(sxt_dtype dtype);

// Reads a whole file. False, with one line in `error`, unless: it is a regular file; the header lies inside it and is
// JSON without duplicate keys; each tensor has a known dtype, a shape without overflow, and as many bytes as shape and
// dtype ask for; the tensors cover the rest of the file without overlap or hole.
bool sxt_bundle_read(const char *path, sxt_bundle *out_bundle, char error[SXT_ERROR_SIZE]);

// Writes to a new file beside `path` and renames it, so that `path` holds all of it or what it held before.
bool sxt_bundle_write(const char *path, const sxt_bundle *bundle, char error[SXT_ERROR_SIZE]);

void sxt_bundle_finish(sxt_bundle *bundle);

// NULL if there is none of that name.
const sxt_array *sxt_bundle_array(const sxt_bundle *bundle, const char *name);
const char *sxt_bundle_value(const sxt_bundle *bundle, const char *key);

// Appends an array with zeroed data and returns it; NULL without memory. The pointer holds until the next call.
sxt_array *sxt_bundle_add(sxt_bundle *bundle, const char *name, sxt_dtype dtype, uint32_t rank, const uint64_t *shape);

// Adds a key or replaces its value. False without memory.
bool sxt_bundle_set(sxt_bundle *bundle, const char *key, const char *value);

#endif
