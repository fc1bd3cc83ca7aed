#include "safetensors.h"

#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_HEADER_BYTES = 100000000, MAX_ARRAYS = 100000 }; // the first is the format's own limit

static const struct {
    const char *name;
    uint32_t size;
} dtypes[SXT_DTYPE_COUNT] = {
    [SXT_DTYPE_F32] = {"F32", 4}, [SXT_DTYPE_F16] = {"F16", 2}, [SXT_DTYPE_BF16] = {"BF16", 2},
    [SXT_DTYPE_I32] = {"I32", 4}, [SXT_DTYPE_U8] = {"U8", 1},
};

const char *sxt_dtype_name(sxt_dtype dtype) {
    return dtypes[dtype].name;
}

uint32_t sxt_dtype_size(sxt_dtype dtype) {
    return dtypes[dtype].size;
}

__attribute__((format(printf, 2, 3))) static bool fail(char error[SXT_ERROR_SIZE], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, SXT_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

// ── The bundle in memory ──

static char *copy_text(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

// Elements and bytes of a shape; false if either does not fit 63 bits. A 0 in the shape does not excuse the rest of it.
static bool measure(sxt_array *array) {
    uint64_t count = 1, nonzero = 1;
    for (uint32_t i = 0; i < array->rank; i++) {
        uint64_t n = array->shape[i] ? array->shape[i] : 1;
        if (n > (uint64_t)INT64_MAX / 8 / nonzero) return false;
        nonzero *= n;
        count *= array->shape[i];
    }
    array->count = count;
    array->bytes = count * dtypes[array->dtype].size;
    return true;
}

static sxt_array *append_array(sxt_bundle *bundle, const char *name) {
    sxt_array *grown = realloc(bundle->arrays, (bundle->array_count + 1) * sizeof *grown);
    if (!grown) return NULL;
    bundle->arrays = grown;
    sxt_array *array = &grown[bundle->array_count];
    *array = (sxt_array){.name = copy_text(name)};
    if (!array->name) return NULL;
    bundle->array_count++;
    return array;
}

sxt_array *sxt_bundle_add(sxt_bundle *bundle, const char *name, sxt_dtype dtype, uint32_t rank, const uint64_t *shape) {
    sxt_array *array = append_array(bundle, name);
    if (!array) return NULL;
    array->dtype = dtype;
    array->rank = rank;
    memcpy(array->shape, shape, rank * sizeof *shape);
    if (measure(array)) array->data = calloc(array->bytes ? array->bytes : 1, 1);
    if (array->data) return array;
    free(array->name);
    bundle->array_count--;
    return NULL;
}

bool sxt_bundle_set(sxt_bundle *bundle, const char *key, const char *value) {
    sxt_pair *pair = NULL;
    for (size_t i = 0; i < bundle->pair_count; i++) {
        if (strcmp(bundle->pairs[i].key, key) == 0) pair = &bundle->pairs[i];
    }
    if (!pair) {
        sxt_pair *grown = realloc(bundle->pairs, (bundle->pair_count + 1) * sizeof *grown);
        if (!grown) return false;
        bundle->pairs = grown;
        pair = &grown[bundle->pair_count];
        *pair = (sxt_pair){.key = copy_text(key)};
        if (!pair->key) return false;
        bundle->pair_count++;
    }
    char *copy = copy_text(value);
    if (!copy) return false;
    free(pair->value);
    pair->value = copy;
    return true;
}

const sxt_array *sxt_bundle_array(const sxt_bundle *bundle, const char *name) {
    for (size_t i = 0; i < bundle->array_count; i++) {
        if (strcmp(bundle->arrays[i].name, name) == 0) return &bundle->arrays[i];
    }
    return NULL;
}

const char *sxt_bundle_value(const sxt_bundle *bundle, const char *key) {
    for (size_t i = 0; i < bundle->pair_count; i++) {
        if (strcmp(bundle->pairs[i].key, key) == 0) return bundle->pairs[i].value;
    }
    return NULL;
}

void sxt_bundle_finish(sxt_bundle *bundle) {
    for (size_t i = 0; i < bundle->array_count; i++) {
        free(bundle->arrays[i].name);
        free(bundle->arrays[i].data);
    }
    for (size_t i = 0; i < bundle->pair_count; i++) {
        free(bundle->pairs[i].key);
        free(bundle->pairs[i].value);
    }
    free(bundle->arrays);
    free(bundle->pairs);
    *bundle = (sxt_bundle){0};
}

// ── Reading ──

// Where a tensor's bytes are said to lie, counted from the end of the header.
typedef struct span {
    uint64_t begin, end;
    size_t array;
} span;

static bool read_shape(json_t *shape, sxt_array *array, char *error) {
    if (!json_is_array(shape)) return fail(error, "tensor '%s': 'shape' is not an array", array->name);
    if (json_array_size(shape) > SXT_MAX_RANK) {
        return fail(error, "tensor '%s': %zu dims, at most %d are understood", array->name, json_array_size(shape),
                    SXT_MAX_RANK);
    }
    array->rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < array->rank; i++) {
        json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            return fail(error, "tensor '%s': shape[%u] is not a whole number from 0", array->name, i);
        }
        array->shape[i] = (uint64_t)json_integer_value(size);
    }
    if (!measure(array)) return fail(error, "tensor '%s': its shape is too large for any file", array->name);
    return true;
}

static bool read_span(json_t *offsets, const sxt_array *array, uint64_t data_bytes, span *out_span, char *error) {
    json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
        return fail(error, "tensor '%s': 'data_offsets' is not [begin, end] with 0 <= begin <= end", array->name);
    }
    out_span->begin = (uint64_t)json_integer_value(begin);
    out_span->end = (uint64_t)json_integer_value(end);
    if (out_span->end > data_bytes) {
        return fail(error, "tensor '%s': data_offsets end at %llu, but only %llu bytes follow the header", array->name,
                    (unsigned long long)out_span->end, (unsigned long long)data_bytes);
    }
    if (out_span->end - out_span->begin != array->bytes) {
        return fail(error, "tensor '%s': data_offsets span %llu bytes, but shape and dtype %s make %llu", array->name,
                    (unsigned long long)(out_span->end - out_span->begin), dtypes[array->dtype].name,
                    (unsigned long long)array->bytes);
    }
    return true;
}

static bool read_array(sxt_bundle *bundle, const char *name, json_t *entry, uint64_t data_bytes, span *out_span,
                       char *error) {
    sxt_array *array = append_array(bundle, name);
    if (!array) return fail(error, "out of memory");
    json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    json_t *offsets = json_object_get(entry, "data_offsets");
    if (!dtype || !shape || !offsets || json_object_size(entry) != 3) {
        return fail(error, "tensor '%s': its entry is not an object of dtype, shape and data_offsets", name);
    }
    array->dtype = SXT_DTYPE_COUNT;
    for (int i = 0; i < SXT_DTYPE_COUNT && json_is_string(dtype); i++) {
        if (strcmp(json_string_value(dtype), dtypes[i].name) == 0) array->dtype = (sxt_dtype)i;
    }
    if (array->dtype == SXT_DTYPE_COUNT) {
        return fail(error, "tensor '%s': dtype %.20s is none of F32, F16, BF16, I32, U8", name,
                    json_is_string(dtype) ? json_string_value(dtype) : "(no string)");
    }
    out_span->array = bundle->array_count - 1;
    return read_shape(shape, array, error) && read_span(offsets, array, data_bytes, out_span, error);
}

static bool read_metadata(sxt_bundle *bundle, json_t *metadata, char *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return fail(error, "__metadata__ is not an object");
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) return fail(error, "__metadata__: the value of '%s' is not a string", key);
        if (!sxt_bundle_set(bundle, key, json_string_value(value))) return fail(error, "out of memory");
    }
    return true;
}

static int compare_spans(const void *a, const void *b) {
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static bool check_cover(const sxt_bundle *bundle, span *spans, uint64_t data_bytes, char *error) {
    uint64_t at = 0;
    qsort(spans, bundle->array_count, sizeof *spans, compare_spans);
    for (size_t i = 0; i < bundle->array_count; i++) {
        const char *name = bundle->arrays[spans[i].array].name;
        if (spans[i].begin < at) {
            return fail(error, "tensor '%s': its data_offsets overlap those of '%s'", name,
                        bundle->arrays[spans[i - 1].array].name);
        }
        if (spans[i].begin > at) {
            return fail(error, "tensor '%s': %llu bytes before it belong to no tensor", name,
                        (unsigned long long)(spans[i].begin - at));
        }
        at = spans[i].end;
    }
    if (at != data_bytes) {
        return fail(error, "%llu bytes at the end belong to no tensor", (unsigned long long)(data_bytes - at));
    }
    return true;
}

static bool read_data(sxt_bundle *bundle, FILE *file, uint64_t data_start, const span *spans, char *error) {
    for (size_t i = 0; i < bundle->array_count; i++) {
        sxt_array *array = &bundle->arrays[spans[i].array];
        array->data = malloc(array->bytes ? array->bytes : 1);
        if (!array->data)
            return fail(error, "tensor '%s': no memory for its %llu bytes", array->name,
                        (unsigned long long)array->bytes);
        if (fseeko(file, (off_t)(data_start + spans[i].begin), SEEK_SET) != 0 ||
            fread(array->data, 1, array->bytes, file) != array->bytes) {
            return fail(error, "tensor '%s': its bytes cannot be read", array->name);
        }
    }
    return true;
}

static bool read_header(sxt_bundle *bundle, json_t *header, FILE *file, uint64_t data_start, uint64_t data_bytes,
                        char *error) {
    const char *name;
    json_t *entry;
    if (!json_is_object(header)) return fail(error, "the header is not a JSON object");
    if (json_object_size(header) > MAX_ARRAYS) return fail(error, "more than %d tensors", MAX_ARRAYS);
    span *spans = calloc(json_object_size(header) + 1, sizeof *spans);
    bool ok = spans != NULL || fail(error, "out of memory");
    if (ok) {
        json_object_foreach(header, name, entry) {
            if (!ok) break;
            ok = strcmp(name, "__metadata__") == 0
                     ? read_metadata(bundle, entry, error)
                     : read_array(bundle, name, entry, data_bytes, &spans[bundle->array_count], error);
        }
    }
    ok = ok && check_cover(bundle, spans, data_bytes, error) && read_data(bundle, file, data_start, spans, error);
    free(spans);
    return ok;
}

static bool read_file(FILE *file, sxt_bundle *bundle, char *error) {
    struct stat status;
    uint64_t length;
    if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) return fail(error, "not a regular file");
    uint64_t file_bytes = (uint64_t)status.st_size;
    if (fread(&length, 1, sizeof length, file) != sizeof length) {
        return fail(error, "not a safetensors file: %llu bytes, shorter than the 8 of its header length",
                    (unsigned long long)file_bytes);
    }
    if (length > file_bytes - sizeof length) {
        return fail(error,
                    "header length %llu is more than the %llu bytes that follow it: truncated, or not safetensors",
                    (unsigned long long)length, (unsigned long long)(file_bytes - sizeof length));
    }
    if (length > MAX_HEADER_BYTES) {
        return fail(error, "header length %llu is above the limit of %d", (unsigned long long)length, MAX_HEADER_BYTES);
    }
    char *text = malloc(length ? length : 1);
    if (!text || fread(text, 1, length, file) != length) {
        free(text);
        return fail(error, "the header cannot be read");
    }
    json_error_t trouble = {0};
    json_t *header = length && text[0] == '{' ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &trouble) : NULL;
    free(text);
    if (!header) {
        return fail(error, "the header is not the JSON of a safetensors file%s%s", *trouble.text ? ": " : "",
                    trouble.text);
    }
    bool ok = read_header(bundle, header, file, sizeof length + length, file_bytes - sizeof length - length, error);
    json_decref(header);
    return ok;
}

bool sxt_bundle_read(const char *path, sxt_bundle *out_bundle, char error[SXT_ERROR_SIZE]) {
    *out_bundle = (sxt_bundle){0};
    // Not blocking, so that a pipe without a writer is refused and not waited for.
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "rb");
    if (!file) {
        fail(error, "%s", strerror(errno));
        if (descriptor >= 0) close(descriptor);
        return false;
    }
    bool ok = read_file(file, out_bundle, error);
    fclose(file);
    if (!ok) sxt_bundle_finish(out_bundle);
    return ok;
}

// ── Writing ──

static json_t *make_header(const sxt_bundle *bundle) {
    json_t *header = json_object(), *metadata = json_object();
    uint64_t at = 0;
    bool ok = header && metadata;
    for (size_t i = 0; ok && i < bundle->pair_count; i++) {
        ok = json_object_set_new(metadata, bundle->pairs[i].key, json_string(bundle->pairs[i].value)) == 0;
    }
    ok = ok && (bundle->pair_count == 0 || json_object_set(header, "__metadata__", metadata) == 0);
    for (size_t i = 0; ok && i < bundle->array_count; i++) {
        const sxt_array *array = &bundle->arrays[i];
        json_t *shape = json_array();
        for (uint32_t d = 0; ok && d < array->rank; d++) {
            ok = json_array_append_new(shape, json_integer((json_int_t)array->shape[d])) == 0;
        }
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[array->dtype].name, "shape", shape,
                                  "data_offsets", (json_int_t)at, (json_int_t)(at + array->bytes));
        ok = ok && json_object_set_new(header, array->name, entry) == 0;
        at += array->bytes;
    }
    json_decref(metadata);
    if (ok) return header;
    json_decref(header);
    return NULL;
}

// Errors stay in the stream, where sxt_replace_end finds them.
static void write_all(FILE *file, const sxt_bundle *bundle, const char *header) {
    uint64_t length = strlen(header), padded = (length + 7) & ~(uint64_t)7; // data starts at a multiple of 8
    fwrite(&padded, sizeof padded, 1, file);
    fwrite(header, 1, length, file);
    fwrite("       ", 1, padded - length, file);
    for (size_t i = 0; i < bundle->array_count; i++)
        fwrite(bundle->arrays[i].data, 1, bundle->arrays[i].bytes, file);
}

bool sxt_bundle_write(const char *path, const sxt_bundle *bundle, char error[SXT_ERROR_SIZE]) {
    sxt_replace replace = {0};
    json_t *header = make_header(bundle);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text) return fail(error, "out of memory");
    bool ok = sxt_replace_begin(&replace, path, error, SXT_ERROR_SIZE);
    if (ok) {
        write_all(replace.file, bundle, text);
        ok = sxt_replace_end(&replace, true, error, SXT_ERROR_SIZE);
    }
    free(text);
    return ok;
}
