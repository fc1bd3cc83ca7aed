// What the device's rates are measured to be: between a thousandth of one core and more than any device has, and not of
// a kernel that does nothing. A call that fails leaves the device usable.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/caps.h"
#include "kernels/kernels.h"
#include "support/fake_loader.h"

static sxt_device *open_device(void) {
    sxt_test_fake_reset();
    sxt_device *device = NULL;
    cr_assert_eq(
        sxt_vulkan_open_through(sxt_test_fake_loader(), &sxt_vulkan_backend, &(sxt_device_params){0}, 0, &device),
        SXT_OK);
    return device;
}

static void fail_next_submission(void) {
    sxt_test_fake.fail_call = SXT_FAKE_vkQueueSubmit;
    sxt_test_fake.fail_at = sxt_test_fake.calls[SXT_FAKE_vkQueueSubmit] + 1;
    sxt_test_fake.fail_result = VK_ERROR_OUT_OF_HOST_MEMORY;
}

static void expect_plausible(double flops) {
    cr_expect(flops > 1e6 && flops < 1e17, "%g", flops);
}

Test(rates, of_multiply_adds) {
    sxt_device *device = open_device();
    double flops = 0, unchanged = 7;
    cr_assert_eq(sxt_measure_fma(device, &flops), SXT_OK);
    expect_plausible(flops);
    fail_next_submission();
    cr_expect_eq(sxt_measure_fma(device, &unchanged), SXT_ERROR_OUT_OF_MEMORY);
    cr_expect_eq(unchanged, 7.0);
    cr_expect_eq(sxt_measure_fma(device, &flops), SXT_OK);
    sxt_device_close(&device);
}

static bool should_run(const sxt_matrix_shape *shape) {
    return (shape->a_type == SXT_COMPONENT_F16 || shape->a_type == SXT_COMPONENT_BF16) &&
           shape->c_type == SXT_COMPONENT_F32 && (shape->scope == SXT_SCOPE_SUBGROUP || shape->flexible);
}

Test(rates, of_matrix_products) {
    sxt_device *device = open_device();
    const sxt_caps *caps = &sxt_device_get_info(device)->caps;
    const bool wanted = strncmp(getenv("SEXTANT_TEST_DRIVER"), "matrix", 6) == 0;
    uint32_t measured = 0;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sxt_matrix_shape *shape = &caps->matrix_shapes[i];
        double flops = 7;
        const sxt_result result = sxt_measure_matrix(device, shape, &flops);
        cr_expect_eq(result, should_run(shape) ? SXT_OK : SXT_ERROR_UNSUPPORTED, "shape %u: %s", i,
                     sxt_result_name(result));
        if (result != SXT_OK) {
            cr_expect_eq(flops, 7.0);
            continue;
        }
        expect_plausible(flops);
        measured++;
        fail_next_submission();
        double unchanged = 7;
        cr_expect_eq(sxt_measure_matrix(device, shape, &unchanged), SXT_ERROR_OUT_OF_MEMORY);
        cr_expect_eq(unchanged, 7.0);
    }
    cr_expect_eq(measured > 0, wanted);
    const sxt_matrix_shape invented = {.m = 13,
                                       .n = 13,
                                       .k = 13,
                                       .a_type = SXT_COMPONENT_F16,
                                       .c_type = SXT_COMPONENT_F32,
                                       .scope = SXT_SCOPE_SUBGROUP};
    double unchanged = 7;
    cr_expect_eq(sxt_measure_matrix(device, &invented, &unchanged), SXT_ERROR_UNSUPPORTED);
    cr_expect_eq(unchanged, 7.0);
    sxt_device_close(&device);
}
