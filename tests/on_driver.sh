#!/bin/sh
# on_driver.sh DRIVER PROGRAM [arguments]: runs a test where only that Vulkan driver can be seen. Exit status 77 means
# skipped.
#
#   none           no driver at all: for what must work without Vulkan
#   lavapipe       Mesa's driver for the CPU, subgroups of its default width, 8;  lavapipe-128, -512: of 4, 16
#   baseline       lavapipe without anything that Vulkan 1.2 leaves optional, and with the smallest limits there are
#   gpu            lavapipe with subgroups of 16, as if it were a GPU: the kernels that one gets
#   swiftshader    Google's, with small limits: subgroups of 4, no 16-bit types
#   validation     lavapipe under the validation layer, for its synchronisation checks without buffer_address, of which
#                  they see nothing; any message fails the test
#   matrix         a lavapipe with cooperative matrices: attention by these, where it can; matrix2: by NVIDIA's extension
#   radv-CHIP      Mesa's driver for AMD without a GPU: it compiles for that chip (navi31, …), and runs nothing
#   reference      no driver: the CPU reference stands in for the device
#
# lavapipe itself compiles as it does for everybody; in its other guises without LLVM's optimisation, which halves the
# time that their tests take.
#
# The suites of random cases run in full on the reference and on lavapipe, a quarter of them on SwiftShader, and fewer on
# drivers that differ in what they offer alone. A test may
# set VK_DRIVER_FILES by itself, to one of these manifests. Set but empty, that driver counts as not installed.
root=$(cd "$(dirname "$0")/.." && pwd)
manifest() { find "$1" -name "$2" 2> /dev/null | sort | head -n 1; }
export SEXTANT_TEST_LAVAPIPE_ICD="${SEXTANT_TEST_LAVAPIPE_ICD-$(manifest /usr/share/vulkan/icd.d 'lvp_icd*.json')}"
export SEXTANT_TEST_SWIFTSHADER_ICD="${SEXTANT_TEST_SWIFTSHADER_ICD-$(manifest "$root/.deps/swiftshader" '*_icd.json')}"
export SEXTANT_TEST_MATRIX_ICD="${SEXTANT_TEST_MATRIX_ICD-$(manifest "$root/.deps/matrix" 'lvp_icd*.json')}"
export SEXTANT_TEST_RADV_ICD="${SEXTANT_TEST_RADV_ICD-$(manifest /usr/share/vulkan/icd.d 'radeon_icd*.json')}"

driver=$1
shift
case $driver in
none | reference) VK_DRIVER_FILES=/nonexistent ;;
lavapipe* | baseline | gpu | validation) VK_DRIVER_FILES=$SEXTANT_TEST_LAVAPIPE_ICD ;;
swiftshader) VK_DRIVER_FILES=$SEXTANT_TEST_SWIFTSHADER_ICD ;;
matrix | matrix2) VK_DRIVER_FILES=$SEXTANT_TEST_MATRIX_ICD ;;
radv-*) VK_DRIVER_FILES=$SEXTANT_TEST_RADV_ICD ;;
*)
    echo "on_driver.sh: unknown driver '$driver'" >&2
    exit 2
    ;;
esac
if [ -z "$VK_DRIVER_FILES" ]; then
    echo "$driver is not installed here"
    exit 77
fi
case $driver in
reference) export SEXTANT_TEST_DEVICE=reference ;;
matrix | matrix2)
    export SEXTANT_TEST_KERNEL="$driver" SEXTANT_TEST_PERCENT="${SEXTANT_TEST_PERCENT-3}"
    ;;
radv-*) export RADV_FORCE_FAMILY="${driver#radv-}" ;;
lavapipe-*) export LP_NATIVE_VECTOR_WIDTH="${driver#lavapipe-}" ;;
baseline)
    caps=subgroup_arithmetic,subgroup_shuffle,subgroup_size_control,storage8,storage16,fp16,bf16,int8,int16,int64
    export SEXTANT_TEST_DISABLE="$caps,int_dot,buffer_address,matrix,matrix2" SEXTANT_TEST_LIMITS=yes
    ;;
gpu) # these kernels take lavapipe seconds to compile
    export LP_NATIVE_VECTOR_WIDTH=512 SEXTANT_TEST_AS_GPU=yes SEXTANT_TEST_PERCENT="${SEXTANT_TEST_PERCENT-2}"
    ;;
validation)
    layer=$(manifest /usr/share/vulkan/explicit_layer.d VkLayer_khronos_validation.json)
    if [ -z "$layer" ]; then
        echo "the validation layer is not installed here"
        exit 77
    fi
    export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
    export VK_LAYER_SETTINGS_PATH="$root/tests/support/vk_layer_settings.txt"
    export SEXTANT_TEST_DISABLE=buffer_address SEXTANT_TEST_PERCENT="${SEXTANT_TEST_PERCENT-5}"
    ;;
esac
case $driver in lavapipe-* | baseline | gpu | validation) export GALLIVM_PERF=nopt ;; esac
case $driver in
lavapipe-* | baseline) export SEXTANT_TEST_PERCENT="${SEXTANT_TEST_PERCENT-12}" ;;
swiftshader) export SEXTANT_TEST_PERCENT="${SEXTANT_TEST_PERCENT-25}" ;;
esac
# Both names: loaders before 1.3.207 know the second only.
export VK_DRIVER_FILES VK_ICD_FILENAMES="$VK_DRIVER_FILES" SEXTANT_TEST_DRIVER="$driver"

reports=$(mktemp -d) || exit 1
trap 'rm -rf "$reports"' EXIT

# A driver of another release of the distribution, and so of another C library: a copy of the program asks for that
# library's loader, and looks there first for all others. (Started by that loader, a program could not start itself, as
# Criterion's do.)
if [ "${driver#matrix}" != "$driver" ] && [ -e "$root/.deps/matrix/lib/ld-linux.so" ]; then
    program=$reports/$(basename "$1")
    own=$(patchelf --print-rpath "$1" | sed "s|\$ORIGIN|$(cd "$(dirname "$1")" && pwd)|g")
    cp "$1" "$program" || exit 1
    patchelf --set-interpreter "$root/.deps/matrix/lib/ld-linux.so" --force-rpath \
        --set-rpath "$root/.deps/matrix/lib:$own" "$program" || exit 1
    shift
    set -- "$program" "$@"
fi

# For sanitized builds. A finding of UBSan ends the program as one of ASan does; leaks inside drivers are not ours.
# Criterion takes no notice of a worker that ends with a report of leaks, so reports go to files, and any file is a
# failure.
export UBSAN_OPTIONS="${UBSAN_OPTIONS-halt_on_error=1:print_stacktrace=1}"
export LSAN_OPTIONS="${LSAN_OPTIONS-suppressions=$root/tests/lsan.supp:print_suppressions=0}"
export ASAN_OPTIONS="${ASAN_OPTIONS+$ASAN_OPTIONS:}log_path=$reports/report"
"$@"
status=$?
for report in "$reports"/report*; do
    [ -s "$report" ] || continue
    cat "$report" >&2
    [ $status != 0 ] || status=1
done
exit $status
