// Constant tables that kernels want on the device, one for each content, kept until the device is closed.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

struct sxt_vulkan_table {
    sxt_vulkan_table *next;
    sxt_buffer *buffer;
    uint32_t key_bytes;
    uint8_t key[SXT_MAX_TABLE_KEY];
};

static sxt_result create(sxt_vulkan_device *device, const sxt_table *table, sxt_vulkan_table **out_entry) {
    sxt_vulkan_table *entry = calloc(1, sizeof *entry);
    void *data = calloc(1, table->bytes);
    sxt_result result = SXT_ERROR_OUT_OF_MEMORY;
    if (entry == NULL || data == NULL) goto error;
    table->fill(table->context, data);
    const sxt_buffer_desc desc = {.bytes = table->bytes, .name = "sextant table"};
    result = sxt_vulkan_buffer_create(&device->base, &desc, &entry->buffer);
    if (result != SXT_OK) goto error;
    // No work uses a new buffer yet, so there is nothing to wait for.
    if (entry->buffer->mapped != NULL)
        memcpy(entry->buffer->mapped, data, table->bytes);
    else
        result = sxt_vulkan_buffer_write(entry->buffer, 0, data, table->bytes);
    if (result != SXT_OK) goto error;
    entry->key_bytes = table->key_bytes;
    memcpy(entry->key, table->key, table->key_bytes);
    *out_entry = entry;
    entry = NULL;
error:
    if (entry != NULL) sxt_vulkan_buffer_destroy(entry->buffer);
    free(entry);
    free(data);
    return result;
}

sxt_result sxt_vulkan_table_get(sxt_vulkan_device *device, const sxt_table *table, sxt_buffer **out_buffer) {
    assert(table->key_bytes <= SXT_MAX_TABLE_KEY);
    *out_buffer = NULL;
    if (table->bytes == 0) return SXT_OK;
    sxt_result result = SXT_OK;
    pthread_mutex_lock(&device->tables_lock);
    sxt_vulkan_table *entry = device->tables;
    while (entry != NULL && (entry->buffer->bytes != table->bytes || entry->key_bytes != table->key_bytes ||
                             memcmp(entry->key, table->key, table->key_bytes) != 0))
        entry = entry->next;
    if (entry == NULL) {
        result = create(device, table, &entry);
        if (result == SXT_OK) {
            entry->next = device->tables;
            device->tables = entry;
        }
    }
    if (result == SXT_OK) *out_buffer = entry->buffer;
    pthread_mutex_unlock(&device->tables_lock);
    return result;
}

void sxt_vulkan_tables_finish(sxt_vulkan_device *device) {
    for (sxt_vulkan_table *entry = device->tables; entry != NULL;) {
        sxt_vulkan_table *next = entry->next;
        sxt_vulkan_buffer_destroy(entry->buffer);
        free(entry);
        entry = next;
    }
    device->tables = NULL;
}
