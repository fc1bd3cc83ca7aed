// Choices that were measured, by key: a short list, searched from end to end. In the cache file, little-endian: u32
// count, u32 0, and for each a u64 key, u32 value, u32 0.
#include "vulkan/cache_file.h"
#include "vulkan/internal.h"

enum { HEAD_BYTES = 8, ROW_BYTES = 16 };

static sxt_vulkan_choices *choices_of(const sxt_device *device) {
    return &sxt_vulkan_device_of((sxt_device *)device)->choices;
}

static uint32_t find(const sxt_vulkan_choices *choices, uint64_t key) {
    uint32_t i = 0;
    while (i < choices->count && choices->rows[i].key != key)
        i++;
    return i;
}

bool sxt_vulkan_choice_get(const sxt_device *device, uint64_t key, uint32_t *out_value) {
    sxt_vulkan_choices *choices = choices_of(device);
    pthread_mutex_lock(&choices->lock);
    const uint32_t i = find(choices, key);
    const bool found = i < choices->count;
    if (found) *out_value = choices->rows[i].value;
    pthread_mutex_unlock(&choices->lock);
    return found;
}

void sxt_vulkan_choice_put(sxt_device *device, uint64_t key, uint32_t value) {
    sxt_vulkan_choices *choices = choices_of(device);
    pthread_mutex_lock(&choices->lock);
    uint32_t i = find(choices, key);
    if (i == SXT_VULKAN_CHOICES) {
        i = choices->next;
        choices->next = (choices->next + 1) % SXT_VULKAN_CHOICES;
    }
    if (i == choices->count) choices->count++;
    choices->rows[i].key = key;
    choices->rows[i].value = value;
    pthread_mutex_unlock(&choices->lock);
}

size_t sxt_vulkan_choices_load(sxt_vulkan_choices *choices, const uint8_t *payload, size_t bytes) {
    if (bytes < HEAD_BYTES) return 0;
    const uint32_t count = (uint32_t)sxt_cache_get(payload, 4);
    if (count > SXT_VULKAN_CHOICES || bytes - HEAD_BYTES < (size_t)count * ROW_BYTES) return 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *row = payload + HEAD_BYTES + (size_t)i * ROW_BYTES;
        choices->rows[i].key = sxt_cache_get(row, 8);
        choices->rows[i].value = (uint32_t)sxt_cache_get(row + 8, 4);
    }
    choices->count = count;
    return HEAD_BYTES + (size_t)count * ROW_BYTES;
}

size_t sxt_vulkan_choices_save(sxt_vulkan_choices *choices, uint8_t *out_payload) {
    pthread_mutex_lock(&choices->lock);
    const size_t bytes = HEAD_BYTES + (size_t)choices->count * ROW_BYTES;
    if (out_payload != NULL) {
        uint8_t *at = sxt_cache_put(out_payload, choices->count, HEAD_BYTES);
        for (uint32_t i = 0; i < choices->count; i++) {
            at = sxt_cache_put(at, choices->rows[i].key, 8);
            at = sxt_cache_put(at, choices->rows[i].value, 8);
        }
    }
    pthread_mutex_unlock(&choices->lock);
    return bytes;
}
