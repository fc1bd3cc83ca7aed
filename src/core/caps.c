#include "core/caps.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} capabilities[] = {
#define CAPABILITY(name)                                                                                               \
    { #name, offsetof(sxt_caps, name) }
    CAPABILITY(subgroup_arithmetic),
    CAPABILITY(subgroup_shuffle),
    CAPABILITY(subgroup_size_control),
    CAPABILITY(storage16),
    CAPABILITY(fp16),
    CAPABILITY(bf16),
    CAPABILITY(storage8),
    CAPABILITY(int8),
    CAPABILITY(int16),
    CAPABILITY(int64),
    CAPABILITY(int_dot),
    CAPABILITY(buffer_address),
    CAPABILITY(matrix),
    CAPABILITY(matrix2),
#undef CAPABILITY
};

enum { CAPABILITY_COUNT = sizeof capabilities / sizeof capabilities[0] };

void sxt_caps_baseline(sxt_caps *out_caps) {
    *out_caps = (sxt_caps){
        .subgroup_size = 1,
        .subgroup_min = 1,
        .subgroup_max = 1,
        .max_invocations = 128,
        .max_group_size_x = 128,
        .max_group_count = {65535, 65535, 65535},
        .shared_bytes = 16384,
        .push_bytes = 128,
        .storage_align = 256,
        // Vulkan 1.2 alone asks for 4, its Roadmap profiles for 30; an operation that binds more is UNSUPPORTED.
        .storage_buffers = 16,
        .storage_range = UINT64_C(128) << 20,
        .memory_bytes = UINT64_C(1) << 30,
    };
}

bool sxt_caps_has_component(const sxt_caps *caps, uint32_t type) {
    return (type != SXT_COMPONENT_F16 || caps->fp16) && (type != SXT_COMPONENT_BF16 || caps->bf16);
}

static bool has_shape(const sxt_caps *caps, const sxt_matrix_shape *shape) {
    return caps->matrix && (!shape->flexible || caps->matrix2) && sxt_caps_has_component(caps, shape->a_type) &&
           sxt_caps_has_component(caps, shape->c_type);
}

static void drop_shapes(sxt_caps *caps) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sxt_matrix_shape shape = caps->matrix_shapes[i];
        if (has_shape(caps, &shape)) caps->matrix_shapes[kept++] = shape;
    }
    memset(&caps->matrix_shapes[kept], 0, (SXT_MAX_MATRIX_SHAPES - kept) * sizeof caps->matrix_shapes[0]);
    caps->matrix_shape_count = kept;
}

static void drop_dependents(sxt_caps *caps) {
    if (!caps->subgroup_size_control) caps->subgroup_min = caps->subgroup_max = caps->subgroup_size;
    if (!caps->matrix) caps->matrix2 = false;
    drop_shapes(caps);
}

static sxt_result reject_name(const sxt_logger *logger, const char *name, size_t length) {
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < CAPABILITY_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, i > 0 ? ", %s" : "%s", capabilities[i].name);
    const int shown = length < 64 ? (int)length : 64;
    SXT_REJECT(logger, "disable: no capability is called \"%.*s\"; there are %s", shown, name, known);
}

sxt_result sxt_caps_disable(const sxt_logger *logger, const char *list, sxt_caps *caps) {
    if (list == NULL || list[0] == '\0') return SXT_OK;
    sxt_caps result = *caps;
    for (const char *name = list;; name++) {
        name += strspn(name, " ");
        const char *end = name + strcspn(name, ",");
        size_t length = (size_t)(end - name);
        while (length > 0 && name[length - 1] == ' ')
            length--;

        size_t i = 0;
        while (i < CAPABILITY_COUNT &&
               (strlen(capabilities[i].name) != length || memcmp(capabilities[i].name, name, length) != 0))
            i++;
        if (i == CAPABILITY_COUNT) return reject_name(logger, name, length);
        *(bool *)((char *)&result + capabilities[i].offset) = false;

        if (*end == '\0') break;
        name = end;
    }
    drop_dependents(&result);
    *caps = result;
    return SXT_OK;
}

static int type_rank(const char *type) {
    static const char *const worst_to_best[] = {"CPU", "other", "virtual GPU", "integrated GPU", "discrete GPU"};
    for (int i = 4; i > 0; i--)
        if (type != NULL && strcmp(type, worst_to_best[i]) == 0) return i;
    return 0;
}

uint32_t sxt_device_best(const sxt_device_info *infos, uint32_t count) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (!infos[i].usable) continue;
        if (best == UINT32_MAX) {
            best = i;
            continue;
        }
        const int rank = type_rank(infos[i].type), best_rank = type_rank(infos[best].type);
        if (rank > best_rank || (rank == best_rank && infos[i].caps.memory_bytes > infos[best].caps.memory_bytes))
            best = i;
    }
    return best;
}
