// Pipelines, one for each shader with its constants, made on first use; and the driver's cache of them, on disk if
// asked.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/cache_file.h"
#include "vulkan/internal.h"

static sxt_cache_identity cache_identity(const sxt_vulkan_device *device) {
    const sxt_vulkan_physical *physical = &device->physical;
    sxt_cache_identity identity = {
        .vendor_id = physical->info.caps.vendor_id,
        .device_id = physical->info.caps.device_id,
        .driver_id = physical->info.caps.driver_id,
        .driver_version = physical->driver_version,
        .shader_hash = SXT_HASH_START,
    };
    memcpy(identity.uuid, physical->cache_uuid, sizeof identity.uuid);
    for (unsigned i = 0; i < sxt_shader_count; i++)
        identity.shader_hash = sxt_hash(identity.shader_hash, &sxt_shaders[i].hash, sizeof sxt_shaders[i].hash);
    return identity;
}

sxt_result sxt_vulkan_pipelines_init(sxt_vulkan_device *device, const char *cache_path) {
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    sxt_result result = SXT_OK;
    uint8_t *loaded = NULL, *data = NULL;
    size_t loaded_bytes = 0, data_bytes = 0;
    if (cache_path != NULL) {
        pipelines->cache_path = strdup(cache_path);
        if (pipelines->cache_path == NULL) return SXT_ERROR_OUT_OF_MEMORY;
        const sxt_cache_identity identity = cache_identity(device);
        loaded = sxt_cache_read(&device->base.logger, cache_path, &identity, &loaded_bytes);
        pipelines->cache_loaded_hash = sxt_hash(SXT_HASH_START, loaded, loaded_bytes);
        const size_t choices_bytes = sxt_vulkan_choices_load(&device->choices, loaded, loaded_bytes);
        data_bytes = choices_bytes > 0 ? loaded_bytes - choices_bytes : 0;
        if (data_bytes > 0) data = loaded + choices_bytes;
    }
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = data_bytes,
        .pInitialData = data,
    };
    if (data != NULL && device->vk.vkCreatePipelineCache(device->handle, &info, NULL, &pipelines->cache) < 0) {
        sxt_log(&device->base.logger, SXT_LOG_WARNING, "pipeline cache %s ignored, and rebuilt: the driver refuses it",
                cache_path);
        pipelines->cache = VK_NULL_HANDLE;
    }
    if (pipelines->cache == VK_NULL_HANDLE) {
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        SXT_VK(device, vkCreatePipelineCache(device->handle, &info, NULL, &pipelines->cache));
    }
error:
    free(loaded);
    return result;
}

static void write_cache(sxt_vulkan_device *device) {
    const sxt_vulkan_pipelines *pipelines = &device->pipelines;
    if (pipelines->cache_path == NULL || atomic_load(&device->lost)) return;
    size_t bytes = 0;
    uint8_t *data = NULL;
    const size_t choices_bytes = sxt_vulkan_choices_save(&device->choices, NULL);
    VkResult vk = device->vk.vkGetPipelineCacheData(device->handle, pipelines->cache, &bytes, NULL);
    if (vk >= 0 && bytes > 0 && (data = malloc(choices_bytes + bytes)) != NULL) {
        sxt_vulkan_choices_save(&device->choices, data);
        vk = device->vk.vkGetPipelineCacheData(device->handle, pipelines->cache, &bytes, data + choices_bytes);
        bytes += choices_bytes;
    }
    if (vk != VK_SUCCESS) {
        sxt_log(&device->base.logger, SXT_LOG_WARNING, "pipeline cache %s not written: %s from vkGetPipelineCacheData",
                pipelines->cache_path, sxt_vulkan_result_name(vk));
    } else if (data != NULL && sxt_hash(SXT_HASH_START, data, bytes) != pipelines->cache_loaded_hash) {
        const sxt_cache_identity identity = cache_identity(device);
        sxt_cache_write(&device->base.logger, pipelines->cache_path, &identity, data, bytes);
    }
    free(data);
}

void sxt_vulkan_pipelines_finish(sxt_vulkan_device *device) {
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    if (pipelines->cache != VK_NULL_HANDLE) {
        write_cache(device);
        device->vk.vkDestroyPipelineCache(device->handle, pipelines->cache, NULL);
    }
    for (uint32_t i = 0; i < SXT_VULKAN_PIPELINE_BUCKETS; i++) {
        for (sxt_vulkan_pipeline *pipeline = pipelines->buckets[i]; pipeline != NULL;) {
            sxt_vulkan_pipeline *next = pipeline->next;
            device->vk.vkDestroyPipeline(device->handle, pipeline->handle, NULL);
            free(pipeline);
            pipeline = next;
        }
    }
    for (uint32_t i = 0; i < SXT_VULKAN_LAYOUTS; i++) {
        if (pipelines->layouts[i] != VK_NULL_HANDLE)
            device->vk.vkDestroyPipelineLayout(device->handle, pipelines->layouts[i], NULL);
        if (pipelines->set_layouts[i] != VK_NULL_HANDLE)
            device->vk.vkDestroyDescriptorSetLayout(device->handle, pipelines->set_layouts[i], NULL);
    }
    free(pipelines->cache_path);
}

static uint32_t bucket_of(const sxt_dispatch *dispatch) {
    uint64_t hash = sxt_hash(SXT_HASH_START, &dispatch->shader, sizeof dispatch->shader);
    hash = sxt_hash(hash, &dispatch->subgroup_size, sizeof dispatch->subgroup_size);
    hash = sxt_hash(hash, dispatch->spec, dispatch->spec_count * sizeof dispatch->spec[0]);
    return (uint32_t)(hash >> 32) % SXT_VULKAN_PIPELINE_BUCKETS;
}

static sxt_vulkan_pipeline *find(sxt_vulkan_pipelines *pipelines, uint32_t bucket, const sxt_dispatch *dispatch) {
    pthread_mutex_lock(&pipelines->lock);
    sxt_vulkan_pipeline *pipeline = pipelines->buckets[bucket];
    while (pipeline != NULL &&
           (pipeline->shader != dispatch->shader || pipeline->layout != sxt_vulkan_layout(dispatch) ||
            pipeline->subgroup_size != dispatch->subgroup_size || pipeline->spec_count != dispatch->spec_count ||
            memcmp(pipeline->spec, dispatch->spec, dispatch->spec_count * sizeof dispatch->spec[0]) != 0))
        pipeline = pipeline->next;
    pthread_mutex_unlock(&pipelines->lock);
    return pipeline;
}

static VkDescriptorSetLayoutBinding layout_binding(uint32_t binding, VkDescriptorType type) {
    return (VkDescriptorSetLayoutBinding){
        .binding = binding,
        .descriptorType = type,
        .descriptorCount = 1,
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
    };
}

// Under the compile lock; recording threads read a layout only after they have found a pipeline that needs it.
static sxt_result create_layouts(sxt_vulkan_device *device, uint32_t layout) {
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    sxt_result result = SXT_OK;
    if (pipelines->set_layouts[layout] == VK_NULL_HANDLE) {
        const uint32_t buffers = layout / 2;
        uint32_t count = 0;
        VkDescriptorSetLayoutBinding bindings[SXT_MAX_BINDINGS + 1];
        for (; count < buffers; count++)
            bindings[count] = layout_binding(count, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER);
        if (buffers == 0) bindings[count++] = layout_binding(0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER);
        if (layout % 2 > 0) bindings[count++] = layout_binding(SXT_PARAMS_BINDING, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER);
        const VkDescriptorSetLayoutCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
            .bindingCount = count,
            .pBindings = bindings,
        };
        SXT_VK(device, vkCreateDescriptorSetLayout(device->handle, &info, NULL, &pipelines->set_layouts[layout]));
    }
    if (pipelines->layouts[layout] == VK_NULL_HANDLE) {
        const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = SXT_MAX_PUSH};
        const VkPipelineLayoutCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
            .setLayoutCount = 1,
            .pSetLayouts = &pipelines->set_layouts[layout],
            .pushConstantRangeCount = 1,
            .pPushConstantRanges = &range,
        };
        SXT_VK(device, vkCreatePipelineLayout(device->handle, &info, NULL, &pipelines->layouts[layout]));
    }
error:
    return result;
}

sxt_result sxt_vulkan_pipeline_compile(sxt_vulkan_device *device, const sxt_dispatch *dispatch,
                                       VkPipeline *out_handle) {
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    VkShaderModule module = VK_NULL_HANDLE;
    sxt_result result = create_layouts(device, sxt_vulkan_layout(dispatch));
    if (result != SXT_OK) return result;

    VkSpecializationMapEntry entries[SXT_MAX_SPEC];
    for (uint32_t i = 0; i < dispatch->spec_count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof(uint32_t), sizeof(uint32_t)};
    const VkSpecializationInfo specialization = {
        .mapEntryCount = dispatch->spec_count,
        .pMapEntries = entries,
        .dataSize = dispatch->spec_count * sizeof(uint32_t),
        .pData = dispatch->spec,
    };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = dispatch->subgroup_size,
    };
    const bool required = dispatch->subgroup_size != 0 && device->base.info.caps.subgroup_size_control;
    const VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = sxt_shaders[dispatch->shader].bytes,
        .pCode = sxt_shaders[dispatch->shader].words,
    };
    SXT_VK(device, vkCreateShaderModule(device->handle, &module_info, NULL, &module));
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = device->statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = required ? &subgroup : NULL,
                .flags = required ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &specialization,
            },
        .layout = pipelines->layouts[sxt_vulkan_layout(dispatch)],
    };
    SXT_VK(device, vkCreateComputePipelines(device->handle, pipelines->cache, 1, &info, NULL, out_handle));
error:
    if (module != VK_NULL_HANDLE) device->vk.vkDestroyShaderModule(device->handle, module, NULL);
    if (result != SXT_OK)
        sxt_log(&device->base.logger, SXT_LOG_ERROR, "no pipeline for shader %s", sxt_shaders[dispatch->shader].name);
    return result;
}

static sxt_result create(sxt_vulkan_device *device, const sxt_dispatch *dispatch, uint32_t bucket,
                         sxt_vulkan_pipeline **out_pipeline) {
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    sxt_vulkan_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL) return SXT_ERROR_OUT_OF_MEMORY;
    pipeline->shader = dispatch->shader;
    pipeline->layout = sxt_vulkan_layout(dispatch);
    pipeline->subgroup_size = dispatch->subgroup_size;
    pipeline->spec_count = dispatch->spec_count;
    memcpy(pipeline->spec, dispatch->spec, sizeof pipeline->spec);
    const sxt_result result = sxt_vulkan_pipeline_compile(device, dispatch, &pipeline->handle);
    if (result != SXT_OK) {
        free(pipeline);
        return result;
    }
    pthread_mutex_lock(&pipelines->lock);
    pipeline->next = pipelines->buckets[bucket];
    pipelines->buckets[bucket] = pipeline;
    pthread_mutex_unlock(&pipelines->lock);
    *out_pipeline = pipeline;
    return SXT_OK;
}

sxt_result sxt_vulkan_pipeline_get(sxt_vulkan_device *device, const sxt_dispatch *dispatch,
                                   sxt_vulkan_pipeline **out_pipeline) {
    const sxt_caps *caps = &device->base.info.caps;
    assert((unsigned)dispatch->shader < sxt_shader_count && dispatch->spec_count <= SXT_MAX_SPEC);
    assert(dispatch->binding_count > 0 && dispatch->binding_count <= SXT_MAX_BINDINGS);
    assert(dispatch->param_bytes <= SXT_MAX_PARAMS);
    assert(dispatch->by_address ? caps->buffer_address : dispatch->binding_count <= caps->storage_buffers);
    assert(dispatch->subgroup_size == 0 || dispatch->subgroup_size == caps->subgroup_size ||
           (caps->subgroup_size_control && dispatch->subgroup_size >= caps->subgroup_min &&
            dispatch->subgroup_size <= caps->subgroup_max));
    (void)caps;
    sxt_vulkan_pipelines *pipelines = &device->pipelines;
    const uint32_t bucket = bucket_of(dispatch);
    *out_pipeline = find(pipelines, bucket, dispatch);
    if (*out_pipeline != NULL) return SXT_OK;

    sxt_result result = SXT_OK;
    pthread_mutex_lock(&pipelines->compile);
    *out_pipeline = find(pipelines, bucket, dispatch); // another thread may have been first
    if (*out_pipeline == NULL) result = create(device, dispatch, bucket, out_pipeline);
    pthread_mutex_unlock(&pipelines->compile);
    return result;
}
