// The pipeline-cache file: what the driver gave us, in a frame that tells damage and other drivers' files.
//
// Little-endian: 8 bytes of magic, u32 format version, u32 vendor, u32 device, u32 driver id, u32 driver version,
// u32 0, 16 bytes of pipelineCacheUUID, u64 hash of all shaders, u64 payload length, u64 hash of the frame before and
// of the payload, payload: choices (see choices.c), and then the driver's data. Drivers check little of what they are given (a corrupt cache has crashed them: Vulkan-Docs
// issue 2516), so nothing reaches them that was not written by this code for the same driver and shaders.
#ifndef SXT_VULKAN_CACHE_FILE_H
#define SXT_VULKAN_CACHE_FILE_H

#include <stddef.h>

#include "core/device.h"

enum { SXT_CACHE_VERSION = 2, SXT_CACHE_HEADER_BYTES = 72, SXT_CACHE_UUID_BYTES = 16 };

typedef struct sxt_cache_identity {
    uint32_t vendor_id, device_id, driver_id, driver_version;
    uint8_t uuid[SXT_CACHE_UUID_BYTES];
    uint64_t shader_hash;
} sxt_cache_identity;

// FNV-1a; start with SXT_HASH_START.
#define SXT_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t sxt_hash(uint64_t hash, const void *data, size_t bytes);

// Numbers of a file, little-endian; `put` returns where the next one goes.
uint8_t *sxt_cache_put(uint8_t *at, uint64_t value, uint32_t bytes);
uint64_t sxt_cache_get(const uint8_t *at, uint32_t bytes);

// Writes SXT_CACHE_HEADER_BYTES.
void sxt_cache_serialise(const sxt_cache_identity *identity, const void *payload, size_t payload_bytes,
                         uint8_t *out_header);

// NULL if the file is whole and of this identity; `out_payload` then points into it. Else what is wrong, in a few
// words.
const char *sxt_cache_parse(const sxt_cache_identity *identity, const uint8_t *file, size_t file_bytes,
                            const uint8_t **out_payload, size_t *out_payload_bytes);

// Reads a file's payload into memory to be freed; NULL without a warning if there is no file, else with one if it
// cannot be used.
void *sxt_cache_read(const sxt_logger *logger, const char *path, const sxt_cache_identity *identity, size_t *out_bytes);

// Replaces the file in one step: a crash or another process leaves the old one or the new one. Logs a warning if it
// cannot.
bool sxt_cache_write(const sxt_logger *logger, const char *path, const sxt_cache_identity *identity,
                     const void *payload, size_t payload_bytes);

#endif
