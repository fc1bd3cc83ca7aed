#!/bin/sh
# data.sh PROGRAM: real q, k and v of trained language models, with the o and lse that an independent float64 program found.
# They are not part of this repository: SEXTANT_SHARED names the folder that has data/*.safetensors, by default ../shared.
root=$(cd "$(dirname "$0")/.." && pwd)
program=$1
data=${SEXTANT_SHARED-$root/../shared}/data
failed=0 count=0

for case in "$data"/*.safetensors; do
    [ -f "$case" ] || continue
    count=$((count + 1))
    if ! output=$("$program" run --check ${SEXTANT_TEST_DEVICE:+--device "$SEXTANT_TEST_DEVICE"} "$case" 2>&1); then
        echo "FAIL $case"
        echo "$output"
        failed=$((failed + 1))
    elif ! echo "$output" | grep -q '^check *o ok: .* against the file'; then
        echo "FAIL $case: o was not compared with what the file expects"
        failed=$((failed + 1))
    fi
done
if [ $count -eq 0 ]; then
    echo "skipped: no cases in $data (set SEXTANT_SHARED)"
    exit 77
fi
echo "$count cases, $failed failed"
[ $failed -eq 0 ]
