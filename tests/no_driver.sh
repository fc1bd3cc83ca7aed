#!/bin/sh
# no_driver.sh PROGRAM FAKE_ICD: where there is no usable Vulkan device, `sextant demo` ends with status 3 and says in
# one line of what it lacks; one that is merely slow to say so, crashes, or prints a page fails here.
program=$(realpath "$1")
fake=$(realpath "$2")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# expect NAME WORDS: the demo, in the environment as it is, gives status 3, nothing but whole lines on stderr of which
# exactly one is an error, and that contains WORDS (a grep pattern).
expect() {
    timeout 120 "$program" demo > "$work/out" 2> "$work/err"
    status=$?
    errors=$(grep -c . "$work/err")
    if [ "$status" = 3 ] && [ "$errors" = 1 ] && grep -Eqi "$2" "$work/err"; then
        echo "ok: $1: $(cat "$work/err")"
    else
        echo "FAIL: $1: status $status, $errors lines, looked for '$2' in:"
        cat "$work/err"
        failed=1
    fi
}

use() { export VK_DRIVER_FILES="$1" VK_ICD_FILENAMES="$1"; }

use /nonexistent
expect "no driver" "driver"

# The library of the real driver, as its manifest names it: a path, or a name that the linker knows.
if [ -z "$SEXTANT_TEST_LAVAPIPE_ICD" ]; then
    echo "lavapipe is not installed here: no driver to stand before"
    [ $failed = 0 ] && exit 77
    exit 1
fi
real=$(sed -n 's/.*"library_path" *: *"\([^"]*\)".*/\1/p' "$SEXTANT_TEST_LAVAPIPE_ICD")
case $real in
/*) ;;
*/*) real=$(dirname "$SEXTANT_TEST_LAVAPIPE_ICD")/$real ;;
esac
export SEXTANT_FAKE_REAL="$real"
cat > "$work/fake.json" << END
{"file_format_version": "1.0.0", "ICD": {"library_path": "$fake", "api_version": "1.3.0"}}
END
use "$work/fake.json"

# The control: told no lie, the demo runs through the fake driver.
export SEXTANT_FAKE_MODE=truth
if timeout 300 "$program" demo > "$work/out" 2> "$work/err"; then
    echo "ok: the fake driver alone does no harm"
else
    echo "FAIL: the demo fails with the fake driver that tells the truth:"
    cat "$work/err"
    failed=1
fi
export SEXTANT_FAKE_MODE=old
expect "a device of Vulkan 1.0" "1\.0"
export SEXTANT_FAKE_MODE=broken
expect "devices cannot be enumerated" "driver|device|enumerate"
export SEXTANT_FAKE_MODE=none
expect "a driver without devices" "device|driver"
export SEXTANT_FAKE_MODE=lost
expect "a device that is lost" "lost"
export SEXTANT_FAKE_MODE=memory
expect "no memory" "memory"
exit $failed
