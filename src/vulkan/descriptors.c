// Descriptor sets: one for each dispatch of a recording, from pools that the recording keeps.
//
// Dispatches by address have, instead of storage buffers, a uniform buffer with their addresses; others may have one
// with their params. A pool has one buffer for all of these, a stretch for each set.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/internal.h"

// Of a set's stretch: addresses, then params. 256 is the largest minUniformBufferOffsetAlignment that there is.
enum { SETS_PER_POOL = 64, PARAMS_OFFSET = 256, STRETCH_BYTES = 512 };

_Static_assert(SXT_MAX_BINDINGS * sizeof(uint64_t) <= PARAMS_OFFSET, "addresses fit");
_Static_assert(SXT_MAX_PARAMS <= STRETCH_BYTES - PARAMS_OFFSET, "params fit");

struct sxt_vulkan_sets {
    sxt_vulkan_sets *next;
    VkDescriptorPool handle;
    sxt_buffer *uniforms; // NULL until the first set that wants some
    uint32_t sets_left;
};

void sxt_vulkan_sets_destroy(sxt_vulkan_device *device, sxt_vulkan_sets *pools) {
    const bool foreign = sxt_vulkan_foreign(device);
    while (pools != NULL) {
        sxt_vulkan_sets *next = pools->next;
        if (!foreign) device->vk.vkDestroyDescriptorPool(device->handle, pools->handle, NULL);
        sxt_vulkan_buffer_destroy(pools->uniforms);
        free(pools);
        pools = next;
    }
}

sxt_result sxt_vulkan_sets_reset(sxt_vulkan_device *device, sxt_vulkan_sets *pools) {
    sxt_result result = SXT_OK;
    for (; pools != NULL; pools = pools->next) {
        SXT_VK(device, vkResetDescriptorPool(device->handle, pools->handle, 0));
        pools->sets_left = SETS_PER_POOL;
    }
error:
    return result;
}

static sxt_result add_pool(sxt_vulkan_device *device, sxt_vulkan_sets **pools) {
    sxt_result result = SXT_OK;
    sxt_vulkan_sets *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    const VkDescriptorPoolSize sizes[] = {
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SETS_PER_POOL * SXT_MAX_BINDINGS},
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, SETS_PER_POOL * 2},
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = SETS_PER_POOL,
        .poolSizeCount = 2,
        .pPoolSizes = sizes,
    };
    SXT_VK(device, vkCreateDescriptorPool(device->handle, &info, NULL, &pool->handle));
    pool->sets_left = SETS_PER_POOL;
    pool->next = *pools;
    *pools = pool;
    return SXT_OK;
error:
    free(pool);
    return result;
}

sxt_result sxt_vulkan_set_allocate(sxt_vulkan_device *device, sxt_vulkan_sets **pools, const sxt_dispatch *dispatch,
                                   sxt_vulkan_set *out_set) {
    sxt_result result = SXT_OK;
    sxt_vulkan_sets *pool = *pools;
    while (pool != NULL && pool->sets_left == 0)
        pool = pool->next;
    if (pool == NULL) {
        result = add_pool(device, pools);
        if (result != SXT_OK) return result;
        pool = *pools;
        assert(pool != NULL);
    }
    if ((dispatch->by_address || dispatch->param_bytes > 0) && pool->uniforms == NULL) {
        result = sxt_vulkan_uniforms_create(device, SETS_PER_POOL * STRETCH_BYTES, &pool->uniforms);
        if (result != SXT_OK) return result;
    }
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool->handle,
        .descriptorSetCount = 1,
        .pSetLayouts = &device->pipelines.set_layouts[sxt_vulkan_layout(dispatch)],
    };
    SXT_VK(device, vkAllocateDescriptorSets(device->handle, &info, &out_set->handle));
    pool->sets_left--;
    out_set->uniforms = pool->uniforms;
    out_set->offset = pool->sets_left * STRETCH_BYTES;
error:
    return result;
}

// The buffer and range behind a binding.
static const sxt_vulkan_buffer *resolve_binding(const sxt_vulkan_device *device, const sxt_binding *binding,
                                                const sxt_vulkan_own_buffers *own, uint64_t *out_offset,
                                                uint64_t *out_bytes) {
    *out_offset = 0;
    *out_bytes = VK_WHOLE_SIZE;
    switch (binding->kind) {
    case SXT_BINDING_BUFFER:
    case SXT_BINDING_SCRATCH: {
        sxt_buffer *whole = binding->kind == SXT_BINDING_BUFFER ? binding->buffer : own->scratch;
        const sxt_vulkan_buffer *buffer = sxt_vulkan_buffer_of(whole);
        assert(whole->device == &device->base && binding->bytes > 0);
        assert(binding->offset + binding->bytes <= buffer->padded_bytes);
        assert(binding->offset % device->base.info.caps.storage_align == 0);
        *out_offset = binding->offset;
        *out_bytes = binding->bytes;
        return buffer;
    }
    case SXT_BINDING_TABLE:
        assert(own->table != NULL);
        return sxt_vulkan_buffer_of(own->table);
    case SXT_BINDING_FAULTS:
        return sxt_vulkan_buffer_of(device->faults);
    case SXT_BINDING_NONE:
        break;
    }
    return sxt_vulkan_buffer_of(binding->written ? device->dummy_written : device->dummy_read);
}

static VkWriteDescriptorSet write_of(const sxt_vulkan_set *set, uint32_t binding, VkDescriptorType type,
                                     const VkDescriptorBufferInfo *where) {
    return (VkWriteDescriptorSet){
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set->handle,
        .dstBinding = binding,
        .descriptorCount = 1,
        .descriptorType = type,
        .pBufferInfo = where,
    };
}

// Puts data into a set's stretch of uniform memory and gives its place. The memory may be write-combined: one copy.
static VkDescriptorBufferInfo put_uniforms(const sxt_vulkan_set *set, uint32_t offset, const void *data,
                                           uint32_t bytes) {
    memcpy((char *)set->uniforms->mapped + set->offset + offset, data, bytes);
    return (VkDescriptorBufferInfo){sxt_vulkan_buffer_of(set->uniforms)->handle, set->offset + offset, bytes};
}

void sxt_vulkan_set_write(sxt_vulkan_device *device, const sxt_dispatch *dispatch, const sxt_vulkan_own_buffers *own,
                          const sxt_vulkan_set *set) {
    uint64_t addresses[SXT_MAX_BINDINGS] = {0};
    VkDescriptorBufferInfo buffers[SXT_MAX_BINDINGS + 1];
    VkWriteDescriptorSet writes[SXT_MAX_BINDINGS + 1];
    uint32_t count = 0;
    for (uint32_t i = 0; i < dispatch->binding_count; i++) {
        VkDescriptorBufferInfo info;
        const sxt_vulkan_buffer *buffer =
            resolve_binding(device, &dispatch->bindings[i], own, &info.offset, &info.range);
        info.buffer = buffer->handle;
        addresses[i] = buffer->address + info.offset;
        if (dispatch->by_address) continue;
        assert(info.range == VK_WHOLE_SIZE || info.range <= device->base.info.caps.storage_range);
        buffers[count] = info;
        writes[count] = write_of(set, i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &buffers[count]);
        count++;
    }
    if (dispatch->by_address) {
        buffers[count] = put_uniforms(set, 0, addresses, sizeof addresses);
        writes[count] = write_of(set, 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, &buffers[count]);
        count++;
    }
    if (dispatch->param_bytes > 0) {
        // All of the room, whose rest is zero: std140 rounds a block's size up.
        buffers[count] = put_uniforms(set, PARAMS_OFFSET, dispatch->params, sizeof dispatch->params);
        writes[count] = write_of(set, SXT_PARAMS_BINDING, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, &buffers[count]);
        count++;
    }
    device->vk.vkUpdateDescriptorSets(device->handle, count, writes, 0, NULL);
}
