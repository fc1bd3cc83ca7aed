#!/bin/sh
# radv_report.sh [PROGRAM [OUT]]: compiles every kernel variant for six AMD chips of five generations by the compiler of
# Mesa's RADV, whose null device needs no GPU (Mesa 25; Mesa 26 has dropped it), and writes registers, spills, shared
# memory, code size and occupancy to OUT. Status 1 if a kernel spills or does not compile.
#
# The kernels of devices with nothing optional are compiled too, and counted. In those for matrix units the instructions
# for matrix products (v_wmma) are counted; status 1 if one has none.
#
# PROGRAM is build/tools/sextant, OUT tools/results/TODAY-radv.json where not said; $RADV_ICD names another manifest.
root=$(cd "$(dirname "$0")/.." && pwd)
program=${1:-$root/build/tools/sextant}
out=${2:-$root/tools/results/$(date +%F)-radv.json}
icd=${RADV_ICD:-$(find /usr/share/vulkan/icd.d -name 'radeon_icd*.json' 2> /dev/null | sort | head -n 1)}
chips="navi31 navi21 vega10 polaris10 renoir gfx1201"

if [ -z "$icd" ]; then
    echo "radv_report.sh: RADV is not installed here (mesa-vulkan-drivers)" >&2
    exit 3
fi
work=$(mktemp -d) || exit 3
trap 'rm -rf "$work"' EXIT
failed=0
baseline=subgroup_arithmetic,subgroup_shuffle,subgroup_size_control,storage8,storage16,fp16,bf16,int8,int16,int64
baseline=$baseline,int_dot,buffer_address,matrix,matrix2

# on CHIP COMMAND...: with that chip's compiler
on() {
    chip=$1
    shift
    RADV_FORCE_FAMILY=$chip VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd "$@"
}

# count_products CHIP: a line for each kernel for matrix units, its name and its number of such instructions, to
# $work/CHIP.products. (Of kernels whose name begins with that name, the first is the one.)
count_products() {
    python3 -c 'import json, sys
for row in json.load(open(sys.argv[1]))["results"]:
    if row["shader"].startswith("attention_matrix"): print(row["name"])' "$work/$1.json" > "$work/names"
    while read -r name; do
        on "$1" env RADV_DEBUG=shaders,nocache "$program" shaders --filter "$name" < /dev/null 2>&1 |
            awk -v name="$name" '/^disasm:/ { kernel++ } kernel == 1 && /v_wmma/ { n++ } END { print name, n + 0 }'
    done < "$work/names" > "$work/$1.products"
    if grep -q " 0$" "$work/$1.products"; then
        echo "$1: no matrix products in:" && grep " 0$" "$work/$1.products"
        failed=1
    fi
}

# compile CHIP NAME [OPTIONS]: to $work/NAME.json
compile() {
    chip=$1
    name=$2
    shift 2
    on "$chip" "$program" shaders --json "$work/$name.json" "$@" > "$work/$name.txt" 2> "$work/$name.err"
    status=$?
    if [ ! -f "$work/$name.json" ]; then
        echo "$name: $(grep '^sextant: ' "$work/$name.err")" >&2
        exit 3
    fi
    last=$(tail -n 1 "$work/$name.txt")
    echo "$name: $last"
    grep -E " (FAILED|no kernel): " "$work/$name.txt"
    case "$status $last" in "0 "*" 0 with spills") ;; *) failed=1 ;; esac
}

for chip in $chips; do
    compile "$chip" "$chip"
    compile "$chip" "$chip-baseline" --disable "$baseline"
    count_products "$chip"
done
# shellcheck disable=SC2086 # a list
python3 "$root/tools/radv_report.py" "$work" "$out" $chips || exit 3
exit $failed
