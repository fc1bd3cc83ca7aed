// Capabilities as data: switching them off by name, and choosing a device.
#include <criterion/criterion.h>
#include <string.h>

#include "core/caps.h"

enum { F16 = 0, F32 = 1, BF16 = 1000141000 }; // VkComponentTypeKHR

static char message[600];

static void remember(void *user, sxt_log_level level, const char *text) {
    (void)user;
    (void)level;
    strncpy(message, text, sizeof message - 1);
}

static const sxt_logger logger = {remember, NULL};

static sxt_matrix_shape shape_of(uint32_t operands, uint32_t sums) {
    return (sxt_matrix_shape){.m = 16, .n = 16, .k = 16, .a_type = operands, .c_type = sums, .scope = 3};
}

static sxt_caps able(void) {
    sxt_caps caps;
    sxt_caps_baseline(&caps);
    caps.subgroup_size = 32;
    caps.subgroup_min = 16;
    caps.subgroup_max = 64;
    caps.subgroup_arithmetic = caps.subgroup_shuffle = caps.subgroup_size_control = true;
    caps.storage16 = caps.fp16 = caps.bf16 = caps.storage8 = caps.int8 = caps.int16 = caps.int64 = caps.int_dot = true;
    caps.buffer_address = caps.matrix = caps.matrix2 = true;
    caps.matrix_shapes[0] = shape_of(F16, F32);
    caps.matrix_shapes[1] = shape_of(BF16, F32);
    caps.matrix_shapes[2] = shape_of(F16, F16);
    caps.matrix_shapes[3] = shape_of(BF16, F32);
    caps.matrix_shapes[3].flexible = true;
    caps.matrix_shape_count = 4;
    return caps;
}

#define NAMES(X)                                                                                                       \
    X(subgroup_arithmetic)                                                                                             \
    X(subgroup_shuffle)                                                                                                \
    X(subgroup_size_control)                                                                                           \
    X(storage16)                                                                                                       \
    X(fp16)                                                                                                            \
    X(bf16)                                                                                                            \
    X(storage8)                                                                                                        \
    X(int8)                                                                                                            \
    X(int16)                                                                                                           \
    X(int64)                                                                                                           \
    X(int_dot)                                                                                                         \
    X(buffer_address)                                                                                                  \
    X(matrix)                                                                                                          \
    X(matrix2)

static bool equal(const sxt_caps *a, const sxt_caps *b) {
    bool same = a->matrix_shape_count == b->matrix_shape_count && a->subgroup_size == b->subgroup_size &&
                a->subgroup_min == b->subgroup_min && a->subgroup_max == b->subgroup_max;
#define COMPARE(name) same &= a->name == b->name;
    NAMES(COMPARE)
#undef COMPARE
    return same;
}

Test(caps, every_name_switches_off_its_capability){
#define CHECK(name)                                                                                                    \
    {                                                                                                                  \
        sxt_caps caps = able();                                                                                        \
        cr_expect_eq(sxt_caps_disable(&logger, #name, &caps), SXT_OK);                                                 \
        cr_expect_not(caps.name, #name);                                                                               \
    }
    NAMES(CHECK)
#undef CHECK
}

Test(caps, all_names_at_once_leave_nothing_optional) {
    sxt_caps caps = able();
#define WITH_COMMA(name) #name " , "
    cr_assert_eq(sxt_caps_disable(&logger, NAMES(WITH_COMMA) "matrix", &caps), SXT_OK);
#undef WITH_COMMA
    sxt_caps expected;
    sxt_caps_baseline(&expected);
    expected.subgroup_size = expected.subgroup_min = expected.subgroup_max = 32;
    cr_expect(equal(&caps, &expected));
}

Test(caps, what_rests_on_a_capability_goes_with_it) {
    sxt_caps caps = able();
    cr_assert_eq(sxt_caps_disable(&logger, "fp16", &caps), SXT_OK);
    cr_expect_eq(caps.matrix_shape_count, 2);
    cr_expect_eq(caps.matrix_shapes[0].a_type, (uint32_t)BF16);
    cr_expect_eq(caps.matrix_shapes[2].m, 0);
    cr_assert_eq(sxt_caps_disable(&logger, "matrix2", &caps), SXT_OK);
    cr_expect_eq(caps.matrix_shape_count, 1);
    cr_expect_not(caps.matrix_shapes[0].flexible);
    cr_assert_eq(sxt_caps_disable(&logger, "matrix", &caps), SXT_OK);
    cr_expect_not(caps.matrix2);
    cr_expect_eq(caps.matrix_shape_count, 0);
}

Test(caps, unknown_names_are_named_and_change_nothing) {
    static const char *const lists[] = {"fp61", "fp16,storage61", ",", "fp16,",    ",fp16", "fp16x",
                                        "fp1",  "FP16",           " ", "fp16;int8"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        sxt_caps caps = able();
        const sxt_caps before = caps;
        message[0] = '\0';
        cr_expect_eq(sxt_caps_disable(&logger, lists[i], &caps), SXT_ERROR_INVALID, "\"%s\"", lists[i]);
        cr_expect(equal(&caps, &before));
        cr_expect(strstr(message, "subgroup_arithmetic, ") != NULL && strstr(message, "matrix2") != NULL, "%s",
                  message);
    }
    sxt_caps caps = able();
    sxt_caps_disable(&logger, "fp16, storage61", &caps);
    cr_expect(strstr(message, "\"storage61\"") != NULL, "%s", message);
}

Test(caps, no_list_changes_nothing) {
    sxt_caps caps = able();
    const sxt_caps before = caps;
    cr_expect_eq(sxt_caps_disable(NULL, NULL, &caps), SXT_OK);
    cr_expect_eq(sxt_caps_disable(NULL, "", &caps), SXT_OK);
    cr_expect(equal(&caps, &before));
}

Test(caps, the_best_device_is_usable_and_of_the_best_type) {
    sxt_device_info infos[] = {
        {.type = "CPU", .usable = true, .caps.memory_bytes = 1000},
        {.type = "integrated GPU", .usable = true, .caps.memory_bytes = 100},
        {.type = "discrete GPU", .usable = true, .caps.memory_bytes = 8},
        {.type = "discrete GPU", .usable = true, .caps.memory_bytes = 16},
        {.type = "discrete GPU", .usable = true, .caps.memory_bytes = 16},
        {.type = "discrete GPU", .usable = false, .caps.memory_bytes = 80},
        {.type = "virtual GPU", .usable = true, .caps.memory_bytes = 99},
    };
    cr_expect_eq(sxt_device_best(infos, 7), 3);
    infos[2].usable = infos[3].usable = infos[4].usable = false;
    cr_expect_eq(sxt_device_best(infos, 7), 1);
    infos[1].usable = false;
    cr_expect_eq(sxt_device_best(infos, 7), 6);
    infos[6].usable = false;
    cr_expect_eq(sxt_device_best(infos, 7), 0);
    infos[0].usable = false;
    cr_expect_eq(sxt_device_best(infos, 7), UINT32_MAX);
    cr_expect_eq(sxt_device_best(infos, 0), UINT32_MAX);
}
