#include "vulkan/cache_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t magic[8] = {'S', 'X', 'T', 'C', 'A', 'C', 'H', 'E'};

enum { HASH_AT = SXT_CACHE_HEADER_BYTES - 8 };

// No driver's cache comes near it; a longer file is not ours.
enum { LARGEST_FILE_BYTES = 1 << 30 };

uint64_t sxt_hash(uint64_t hash, const void *data, size_t bytes) {
    const uint8_t *byte = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

uint8_t *sxt_cache_put(uint8_t *at, uint64_t value, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

uint64_t sxt_cache_get(const uint8_t *at, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static uint64_t frame_hash(const uint8_t *header, const void *payload, size_t payload_bytes) {
    return sxt_hash(sxt_hash(SXT_HASH_START, header, HASH_AT), payload, payload_bytes);
}

void sxt_cache_serialise(const sxt_cache_identity *identity, const void *payload, size_t payload_bytes,
                         uint8_t *out_header) {
    uint8_t *at = out_header;
    memcpy(at, magic, sizeof magic);
    at = sxt_cache_put(at + sizeof magic, SXT_CACHE_VERSION, 4);
    at = sxt_cache_put(at, identity->vendor_id, 4);
    at = sxt_cache_put(at, identity->device_id, 4);
    at = sxt_cache_put(at, identity->driver_id, 4);
    at = sxt_cache_put(at, identity->driver_version, 4);
    at = sxt_cache_put(at, 0, 4);
    memcpy(at, identity->uuid, SXT_CACHE_UUID_BYTES);
    at = sxt_cache_put(at + SXT_CACHE_UUID_BYTES, identity->shader_hash, 8);
    at = sxt_cache_put(at, payload_bytes, 8);
    sxt_cache_put(at, frame_hash(out_header, payload, payload_bytes), 8);
}

const char *sxt_cache_parse(const sxt_cache_identity *identity, const uint8_t *file, size_t file_bytes,
                            const uint8_t **out_payload, size_t *out_payload_bytes) {
    *out_payload = NULL;
    *out_payload_bytes = 0;
    if (file_bytes < SXT_CACHE_HEADER_BYTES) return "it is too short";
    if (memcmp(file, magic, sizeof magic) != 0) return "it is not a pipeline cache of Sextant";
    if (sxt_cache_get(file + sizeof magic, 4) != SXT_CACHE_VERSION) return "its format has another version";
    const uint8_t *payload = file + SXT_CACHE_HEADER_BYTES;
    const size_t payload_bytes = file_bytes - SXT_CACHE_HEADER_BYTES;
    if (sxt_cache_get(file + HASH_AT - 8, 8) != payload_bytes) return "its length is wrong";
    if (sxt_cache_get(file + HASH_AT, 8) != frame_hash(file, payload, payload_bytes)) return "its contents are damaged";

    // All that is left to differ is the identity: compare with the frame that we would write.
    uint8_t expected[SXT_CACHE_HEADER_BYTES];
    sxt_cache_serialise(identity, payload, payload_bytes, expected);
    if (memcmp(file, expected, HASH_AT) != 0) return "it is of another device, driver or version of Sextant";
    *out_payload = payload;
    *out_payload_bytes = payload_bytes;
    return NULL;
}

// Something is there, and it is no ordinary file.
static bool is_special(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

void *sxt_cache_read(const sxt_logger *logger, const char *path, const sxt_cache_identity *identity,
                     size_t *out_bytes) {
    *out_bytes = 0;
    struct stat status;
    if (stat(path, &status) != 0 && errno == ENOENT) return NULL;
    const char *fault = NULL;
    uint8_t *file = NULL;
    // Opening a pipe would wait for a writer.
    FILE *stream = is_special(path) ? NULL : fopen(path, "rb");
    if (stream == NULL || fstat(fileno(stream), &status) != 0)
        fault = "it cannot be read";
    else if (status.st_size > LARGEST_FILE_BYTES)
        fault = "it is too long";
    else if ((file = malloc((size_t)status.st_size + 1)) == NULL) // never 0
        fault = "out of memory";
    if (fault == NULL) {
        const uint8_t *payload;
        const size_t bytes = fread(file, 1, (size_t)status.st_size, stream);
        fault = sxt_cache_parse(identity, file, bytes, &payload, out_bytes);
        if (fault == NULL) memmove(file, payload, *out_bytes);
    }
    if (stream != NULL) fclose(stream);
    if (fault == NULL) return file;
    free(file);
    sxt_log(logger, SXT_LOG_WARNING, "pipeline cache %s ignored, and rebuilt: %s", path, fault);
    return NULL;
}

bool sxt_cache_write(const sxt_logger *logger, const char *path, const sxt_cache_identity *identity,
                     const void *payload, size_t payload_bytes) {
    if (is_special(path)) { // renaming over /dev/null would replace it
        sxt_log(logger, SXT_LOG_WARNING, "pipeline cache %s not written: it is not a file", path);
        return false;
    }
    static const char suffix[] = ".XXXXXX";
    const size_t length = strlen(path);
    char *temporary = malloc(length + sizeof suffix);
    if (temporary == NULL) return false;
    memcpy(temporary, path, length);
    memcpy(temporary + length, suffix, sizeof suffix);

    uint8_t header[SXT_CACHE_HEADER_BYTES];
    sxt_cache_serialise(identity, payload, payload_bytes, header);
    const int file = mkstemp(temporary);
    FILE *stream = file < 0 ? NULL : fdopen(file, "wb");
    bool ok = stream != NULL && fwrite(header, 1, sizeof header, stream) == sizeof header &&
              fwrite(payload, 1, payload_bytes, stream) == payload_bytes && fflush(stream) == 0 && fsync(file) == 0;
    int fault = errno;
    if (stream != NULL)
        ok = fclose(stream) == 0 && ok;
    else if (file >= 0)
        close(file);
    if (ok && rename(temporary, path) != 0) {
        fault = errno;
        ok = false;
    }
    if (!ok) {
        if (file >= 0) unlink(temporary);
        sxt_log(logger, SXT_LOG_WARNING, "pipeline cache %s not written: %s", path, strerror(fault));
    }
    free(temporary);
    return ok;
}
