#!/bin/sh
# shaders_radv.sh PROGRAM: every kernel variant compiles for this chip, and none spills a register or takes scratch
# memory; four subgroups of those of attention fit a SIMD; where the chip has matrix units (navi31), the kernel for them
# uses them. Skipped (77) where RADV has no null device: Mesa 25 has one, Mesa 26 does not.
program=$1
if ! "$program" devices 2> /dev/null | grep -q "RADV .*it only compiles"; then
    echo "this driver has no null device for $RADV_FORCE_FAMILY"
    exit 77
fi
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
"$program" shaders > "$out"
status=$?
tail -n 1 "$out"
if [ $status != 0 ]; then
    echo "FAIL: status $status"
    grep -E " (FAILED|no kernel): " "$out"
    exit 1
fi
# The list is long and the figures are there: registers of all rows are above 0.
if ! awk 'NR > 3 && / [0-9]+ /{ rows++; if ($4 <= 0) exit 1 } END { if (rows < 100) exit 1 }' "$out"; then
    echo "FAIL: too few variants, or rows without registers"
    exit 1
fi
if ! tail -n 1 "$out" | grep -q "^[0-9]* variants, 0 with spills$"; then
    echo "FAIL: these spill (columns 6 and 8):"
    awk 'NR > 3 && NF > 10 && ($6 > 0 || $8 > 0)' "$out"
    exit 1
fi
# Outputs of 512 channels, of MLA, take GCN twice the registers.
few=$(awk 'NR > 3 && NF > 10 && $1 ~ /^attention/ && $10 < 4 && !($1 ~ /\.mla\./ && $3 == 64)' "$out")
if [ -n "$few" ]; then
    echo "FAIL: fewer than four subgroups a SIMD (column 10):"
    echo "$few"
    exit 1
fi
if [ "$RADV_FORCE_FAMILY" = navi31 ]; then
    products=$(RADV_DEBUG=shaders,nocache "$program" shaders --filter attention.prefill.f16-f16.d128 2>&1 |
        grep -c "v_wmma_f32_16x16x16_f16 v")
    echo "$products matrix products in the code of attention.prefill.f16-f16.d128"
    if [ "$products" = 0 ]; then
        echo "FAIL: no matrix products"
        exit 1
    fi
fi
