#!/usr/bin/env bash
#
# Builds and runs every test: on lavapipe and SwiftShader (both run Vulkan on the CPU, no GPU is needed), then a reduced set
# under AddressSanitizer and UndefinedBehaviorSanitizer.  --quick leaves the sanitizers out.
#
# One test alone, after this has run once:  meson test -C build NAME

set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

quick=no
case ${1:-} in --quick) quick=yes ;; '') ;; *) die "usage: tools/test.sh [--quick]" ;; esac

"$root/tools/setup.sh" test

logs=()
# run_tests DIR [options of meson test]
run_tests() {
    local dir=$1 log=$1/meson-logs/testlog.json
    shift
    rm -f "$log"
    ninja -C "$dir" --quiet
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" || true # the summary below is the judge
    [ -f "$log" ] || die "meson test left no results in $dir"
    logs+=("$log")
}

say "Building and testing"
configure "$root/build"
run_tests "$root/build"

if [ $quick = no ]; then
    say "Building and testing with AddressSanitizer and UndefinedBehaviorSanitizer"
    configure "$root/build-asan" -Db_sanitize=address,undefined -Db_lundef=false
    SEXTANT_TEST_QUICK=1 run_tests "$root/build-asan" --suite sanitize
fi

python3 - "${logs[@]}" << 'END'
import json
import sys

passed, failed, skipped = 0, [], 0
for log in sys.argv[1:]:
    for line in open(log, encoding="utf-8"):
        test = json.loads(line)
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif test["result"] == "SKIP":
            skipped += 1
        else:
            failed.append(f"{log}: {test['name']}: {test['result']}")
for name in failed:
    print("FAILED", name)
print(f"{passed} passed, {len(failed)} failed, {skipped} skipped")
sys.exit(bool(failed) or passed == 0)
END
