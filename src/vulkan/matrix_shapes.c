// Shapes of products that the device's matrix units take.
#include <stdlib.h>

#include "core/caps.h"
#include "vulkan/internal.h"

// By which kernels multiply.
static bool is_multiplied(VkComponentTypeKHR type) {
    return type == VK_COMPONENT_TYPE_FLOAT16_KHR || type == VK_COMPONENT_TYPE_BFLOAT16_KHR;
}

static void add_shape(sxt_caps *caps, const sxt_matrix_shape *shape) {
    if (caps->matrix_shape_count < SXT_MAX_MATRIX_SHAPES) caps->matrix_shapes[caps->matrix_shape_count++] = *shape;
}

// Those of f16 and bf16, or the others: only of one input type, and of types that caps allow; the rest no kernel could use.
static void add_fixed(const VkCooperativeMatrixPropertiesKHR *shapes, uint32_t count, bool multiplied, sxt_caps *caps) {
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        if (s->AType != s->BType || s->CType != s->ResultType || s->saturatingAccumulation) continue;
        if (!sxt_caps_has_component(caps, s->AType) || !sxt_caps_has_component(caps, s->CType) ||
            is_multiplied(s->AType) != multiplied)
            continue;
        add_shape(caps, &(sxt_matrix_shape){.m = s->MSize,
                                            .n = s->NSize,
                                            .k = s->KSize,
                                            .a_type = s->AType,
                                            .c_type = s->CType,
                                            .scope = s->scope});
    }
}

static VkCooperativeMatrixPropertiesKHR *query_fixed(const sxt_vulkan_instance *instance, VkPhysicalDevice device,
                                                     uint32_t *out_count) {
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR query =
        instance->vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    VkCooperativeMatrixPropertiesKHR *shapes = NULL;
    *out_count = 0;
    if (query != NULL && query(device, out_count, NULL) >= 0 && *out_count > 0)
        shapes = calloc(*out_count, sizeof *shapes);
    for (uint32_t i = 0; shapes != NULL && i < *out_count; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (shapes == NULL || query(device, out_count, shapes) < 0) *out_count = 0;
    return shapes;
}

// Those by which kernels multiply, with sums of f32. Returns whether there are any.
static bool query_flexible(const sxt_vulkan_instance *instance, VkPhysicalDevice device, bool workgroups,
                           sxt_caps *caps) {
    const PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV query =
        instance->vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV;
    uint32_t count = 0;
    if (query == NULL || query(device, &count, NULL) < 0 || count == 0) return false;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *shapes = calloc(count, sizeof *shapes);
    for (uint32_t i = 0; shapes != NULL && i < count; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (shapes == NULL || query(device, &count, shapes) < 0) count = 0;
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *s = &shapes[i];
        if (s->AType != s->BType || s->CType != VK_COMPONENT_TYPE_FLOAT32_KHR || s->ResultType != s->CType) continue;
        if (s->saturatingAccumulation || !is_multiplied(s->AType) || !sxt_caps_has_component(caps, s->AType)) continue;
        if (s->scope == VK_SCOPE_WORKGROUP_KHR && !workgroups) continue;
        any = true;
        add_shape(caps, &(sxt_matrix_shape){.m = s->MGranularity,
                                            .n = s->NGranularity,
                                            .k = s->KGranularity,
                                            .a_type = s->AType,
                                            .c_type = s->CType,
                                            .scope = s->scope,
                                            .threads = s->workgroupInvocations,
                                            .flexible = true});
    }
    free(shapes);
    return any;
}

static void query_limits(const sxt_vulkan_instance *instance, VkPhysicalDevice device, sxt_caps *caps) {
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV matrix2 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &matrix2, {0}};
    instance->vkGetPhysicalDeviceProperties2(device, &properties);
    caps->matrix2_most = matrix2.cooperativeMatrixFlexibleDimensionsMaxDimension;
    caps->matrix2_shared_bytes = matrix2.cooperativeMatrixWorkgroupScopeReservedSharedMemory;
}

void sxt_vulkan_matrix_shapes_query(const sxt_vulkan_instance *instance, VkPhysicalDevice device, bool workgroups,
                                    sxt_caps *caps) {
    uint32_t count;
    VkCooperativeMatrixPropertiesKHR *shapes = query_fixed(instance, device, &count);
    // What kernels multiply by comes first: a driver may list more than there is room for.
    add_fixed(shapes, count, true, caps);
    if (caps->matrix2) {
        query_limits(instance, device, caps);
        caps->matrix2 = query_flexible(instance, device, workgroups, caps);
    }
    add_fixed(shapes, count, false, caps);
    free(shapes);
    if (caps->matrix_shape_count == 0) caps->matrix = caps->matrix2 = false;
}
