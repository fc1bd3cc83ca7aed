// Optional features: asked for and enabled through one chain, so that the two cannot differ.
#include <string.h>

#include "vulkan/internal.h"

const char *const sxt_vulkan_extension_names[SXT_VULKAN_EXT_COUNT] = {
    [SXT_VULKAN_EXT_MEMORY_BUDGET] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME,
    [SXT_VULKAN_EXT_PORTABILITY_SUBSET] = "VK_KHR_portability_subset", // its header is a "beta" one
    [SXT_VULKAN_EXT_SUBGROUP_SIZE_CONTROL] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME,
    [SXT_VULKAN_EXT_INTEGER_DOT_PRODUCT] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME,
    [SXT_VULKAN_EXT_BFLOAT16] = VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME,
    [SXT_VULKAN_EXT_COOPERATIVE_MATRIX] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
    [SXT_VULKAN_EXT_COOPERATIVE_MATRIX2] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME,
    [SXT_VULKAN_EXT_PIPELINE_EXECUTABLE_PROPERTIES] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME,
};

static void chain(sxt_vulkan_features *features, void *structure) {
    VkBaseOutStructure *base = structure;
    base->pNext = features->core.pNext;
    features->core.pNext = base;
}

// Zeroes all, and chains the structures of versions and extensions that the device reports: validation layers and old
// drivers take offence at others.
static void link_chain(const sxt_vulkan_physical *physical, sxt_vulkan_features *features) {
    *features = (sxt_vulkan_features){
        .core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .size_control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .int_dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .bfloat16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
        .matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .matrix2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
        .executables.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
    };
    const bool *has = physical->extensions;
    chain(features, &features->v11);
    chain(features, &features->v12);
    if (physical->api_version >= VK_API_VERSION_1_3) {
        chain(features, &features->v13);
    } else {
        if (has[SXT_VULKAN_EXT_SUBGROUP_SIZE_CONTROL]) chain(features, &features->size_control);
        if (has[SXT_VULKAN_EXT_INTEGER_DOT_PRODUCT]) chain(features, &features->int_dot);
    }
    if (has[SXT_VULKAN_EXT_BFLOAT16]) chain(features, &features->bfloat16);
    if (has[SXT_VULKAN_EXT_COOPERATIVE_MATRIX]) chain(features, &features->matrix);
    if (has[SXT_VULKAN_EXT_COOPERATIVE_MATRIX2]) chain(features, &features->matrix2);
    if (has[SXT_VULKAN_EXT_PIPELINE_EXECUTABLE_PROPERTIES]) chain(features, &features->executables);
}

void sxt_vulkan_features_query(const sxt_vulkan_instance *instance, const sxt_vulkan_physical *physical,
                               sxt_vulkan_features *out_features, sxt_caps *caps) {
    link_chain(physical, out_features);
    instance->vkGetPhysicalDeviceFeatures2(physical->handle, &out_features->core);
    const sxt_vulkan_features *f = out_features;
    caps->subgroup_size_control = (f->v13.subgroupSizeControl && f->v13.computeFullSubgroups) ||
                                  (f->size_control.subgroupSizeControl && f->size_control.computeFullSubgroups);
    caps->storage16 = f->v11.storageBuffer16BitAccess;
    caps->fp16 = f->v12.shaderFloat16;
    caps->bf16 = f->bfloat16.shaderBFloat16Type;
    caps->storage8 = f->v12.storageBuffer8BitAccess;
    caps->int8 = f->v12.shaderInt8;
    caps->int16 = f->core.features.shaderInt16;
    caps->int64 = f->core.features.shaderInt64;
    caps->int_dot = f->v13.shaderIntegerDotProduct || f->int_dot.shaderIntegerDotProduct;
    caps->buffer_address = f->v12.bufferDeviceAddress;
    // SPIR-V with cooperative matrices must use the Vulkan memory model.
    caps->matrix = f->matrix.cooperativeMatrix && f->v12.vulkanMemoryModel;
    // What attention needs to keep its rows in registers. Matrices of workgroups are told by the shapes' scope.
    caps->matrix2 = caps->matrix && f->matrix2.cooperativeMatrixReductions && f->matrix2.cooperativeMatrixConversions &&
                    f->matrix2.cooperativeMatrixPerElementOperations && f->matrix2.cooperativeMatrixFlexibleDimensions;
}

static void set_features(const sxt_caps *caps, bool compile_only, bool v13, sxt_vulkan_features *f) {
    f->v12.timelineSemaphore = !compile_only;
    f->executables.pipelineExecutableInfo = compile_only;
    if (v13) {
        f->v13.subgroupSizeControl = f->v13.computeFullSubgroups = caps->subgroup_size_control;
        f->v13.shaderIntegerDotProduct = caps->int_dot;
    } else {
        f->size_control.subgroupSizeControl = f->size_control.computeFullSubgroups = caps->subgroup_size_control;
        f->int_dot.shaderIntegerDotProduct = caps->int_dot;
    }
    f->v11.storageBuffer16BitAccess = caps->storage16;
    f->v12.shaderFloat16 = caps->fp16;
    f->bfloat16.shaderBFloat16Type = caps->bf16;
    f->v12.storageBuffer8BitAccess = caps->storage8;
    f->v12.shaderInt8 = caps->int8;
    f->core.features.shaderInt16 = caps->int16;
    f->core.features.shaderInt64 = caps->int64;
    f->v12.bufferDeviceAddress = caps->buffer_address;
    f->v12.vulkanMemoryModel = f->matrix.cooperativeMatrix = caps->matrix;
    f->matrix2.cooperativeMatrixReductions = f->matrix2.cooperativeMatrixConversions =
        f->matrix2.cooperativeMatrixPerElementOperations = f->matrix2.cooperativeMatrixFlexibleDimensions =
            caps->matrix2;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        if (caps->matrix_shapes[i].a_type == VK_COMPONENT_TYPE_BFLOAT16_KHR)
            f->bfloat16.shaderBFloat16CooperativeMatrix = caps->bf16;
        if (caps->matrix_shapes[i].scope == VK_SCOPE_WORKGROUP_KHR)
            f->matrix2.cooperativeMatrixWorkgroupScope = VK_TRUE;
    }
}

uint32_t sxt_vulkan_features_enable(const sxt_vulkan_physical *physical, const sxt_caps *caps, bool compile_only,
                                    sxt_vulkan_features *out_features, const char *out_names[SXT_VULKAN_EXT_COUNT]) {
    // Structures of extensions that are not enabled must not be chained either.
    sxt_vulkan_physical wanted = *physical;
    bool *want = wanted.extensions;
    const bool v13 = physical->api_version >= VK_API_VERSION_1_3;
    want[SXT_VULKAN_EXT_SUBGROUP_SIZE_CONTROL] &= !v13 && caps->subgroup_size_control;
    want[SXT_VULKAN_EXT_INTEGER_DOT_PRODUCT] &= !v13 && caps->int_dot;
    want[SXT_VULKAN_EXT_BFLOAT16] &= caps->bf16;
    want[SXT_VULKAN_EXT_COOPERATIVE_MATRIX] &= caps->matrix;
    want[SXT_VULKAN_EXT_COOPERATIVE_MATRIX2] &= caps->matrix2;
    want[SXT_VULKAN_EXT_PIPELINE_EXECUTABLE_PROPERTIES] &= compile_only;
    link_chain(&wanted, out_features);
    set_features(caps, compile_only, v13, out_features);

    uint32_t count = 0;
    for (uint32_t i = 0; i < SXT_VULKAN_EXT_COUNT; i++)
        if (want[i]) out_names[count++] = sxt_vulkan_extension_names[i];
    return count;
}
