#!/usr/bin/env bash
#
# Installs what Sextant needs on Debian 12 or later and Ubuntu 24.04 or later.
#
#   tools/setup.sh build    compilers, Meson, a shader compiler, Vulkan headers, lavapipe (Vulkan on the CPU)
#   tools/setup.sh test     the same, and Criterion, the validation layers, SwiftShader (another Vulkan on the CPU) and, on
#                           Debian 12 and 13, a lavapipe with cooperative matrices (from Debian 13's backports)
#
# Ordinary packages are installed with apt-get, as root or through sudo. Where the distribution's shader compiler or Vulkan
# headers are too old (Debian 12, Debian 13, Ubuntu 24.04), newer ones are unpacked into .deps/ in this checkout: nothing
# else on the system sees them, and deleting .deps/ undoes it. The lists of packages for that live in .deps/ too, so that
# the system's own apt configuration stays as it is. A second run finds everything in place and ends at once.

set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

level=${1:-build}
case $level in build | test) ;; *) die "usage: tools/setup.sh build|test" ;; esac

# Raise a number to have that part of .deps/ made anew on machines that have an older one.
toolchain_version=1
swiftshader_version=1
matrix_version=1

build_packages=(gcc g++ meson ninja-build pkg-config python3 libvulkan1 libjansson-dev)
test_packages=(libcriterion-dev vulkan-validationlayers patchelf)
driver_package=mesa-vulkan-drivers driver_oldest=25
shader_packages=(glslang-tools spirv-tools)
header_packages=(libvulkan-dev libvulkan-volk-dev libvulkan-memory-allocator-dev)
glslang_oldest=15.3 # the first with GL_EXT_bfloat16

command -v apt-get > /dev/null || die "this script needs apt-get; on other systems install what README.md lists"
# shellcheck source=/dev/null
. /etc/os-release

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed_version() { dpkg-query -W -f '${db:Status-Abbrev} ${Version}' "$1" 2> /dev/null | sed -n 's/^ii *//p'; }
candidate_version() { apt-cache policy "$1" | sed -n 's/^ *Candidate: *//p' | grep -v '(none)' || true; }
at_least() { [ -n "$1" ] && dpkg --compare-versions "$1" ge "$2"; }

# The lists are brought up to date once, and only if something is missing. A broken source of somebody else's is no reason to stop.
refresh() {
    [ -z "${refreshed:-}" ] || return 0
    refreshed=yes
    say "Updating the lists of packages"
    as_root apt-get update -q || say "Some lists could not be updated; going on with what there is"
}

# install WHY PACKAGE...: those that are missing.
install() {
    local why=$1 missing=() p
    shift
    for p in "$@"; do [ -n "$(installed_version "$p")" ] || missing+=("$p"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    refresh
    say "Installing ${missing[*]} ($why)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# own_sources: this machine's entries for its distribution as 'uri release component', whatever files and formats they came from.
own_sources() {
    # shellcheck disable=SC2016 # the dollars are for apt
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v id="$ID" 'tolower($1) == id { print $2, $3, $4 }' | sort -u
}

# suite_view NAME SUITE... [own]: a private apt configuration that sees suites of the machine's own mirror (and, with "own",
# all that the machine sees too). Leaves the options for apt in the array "view".
suite_view() {
    local dir=$deps/apt/$1 suite key='' k uri
    shift
    refresh
    for k in "/usr/share/keyrings/$ID-archive-keyring".{gpg,pgp}; do
        [ -e "$k" ] && key="[signed-by=$k]" && break
    done
    uri=$(own_sources | awk -v r="$VERSION_CODENAME" '$2 == r { print $1; exit }')
    [ -n "$uri" ] || die "found no mirror for $PRETTY_NAME in this machine's apt configuration"
    mkdir -p "$dir"/{lists,cache/archives}/partial "$dir/none"
    for suite in "$@"; do
        if [ "$suite" = own ]; then
            own_sources | sed "s|^|deb $key |"
        else
            own_sources | awk -v r="$VERSION_CODENAME" -v s="$suite" -v k="$key" '$2 == r { print "deb", k, $1, s, $3 }'
        fi
    done > "$dir/sources.list"
    view=(-o "Dir::Etc::SourceList=$dir/sources.list" -o "Dir::Etc::SourceParts=$dir/none"
        -o "Dir::Etc::Preferences=$dir/none/none" -o "Dir::Etc::PreferencesParts=$dir/none"
        -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
        # Signatures are checked; that a list is young is not, since a mirror may stand still at a chosen day.
        -o Acquire::Check-Valid-Until=false)
    say "Fetching the list of packages of $1 (kept in .deps/)"
    apt-get "${view[@]}" update -q -o APT::Update::Error-Mode=any && return
    say "That failed; once more, with the newest keys of the archive"
    [ "$ID" = ubuntu ] && k=ubuntu-keyring || k=debian-archive-keyring
    as_root apt-get install -q -y --no-install-recommends "$k"
    apt-get "${view[@]}" update -q -o APT::Update::Error-Mode=any || die "no list of packages of $1 from $uri"
}

# unpack DIR PACKAGE...: downloads the packages of the current view and unpacks them into DIR.
unpack() {
    local dir=$1 deb
    shift
    rm -rf "$dir"
    mkdir -p "$dir/debs"
    (cd "$dir/debs" && apt-get "${view[@]}" download -q "$@")
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
    rm -rf "$dir/debs"
}

stamped() { [ "$(cat "$deps/$1.stamp" 2> /dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" > "$deps/$1.stamp"; }

# The shader compiler and the Vulkan headers, from the distribution if they are new enough there, else from its next release.
# Programs of another release need that release's C library: each is started through its own dynamic loader by a small script.
toolchain() {
    local from=testing tmp=$deps/toolchain.tmp p loader
    stamped toolchain "$toolchain_version" && return
    if at_least "$(installed_version glslang-tools)" "$glslang_oldest" && [ -n "$(installed_version "${header_packages[1]}")" ]; then
        return
    fi
    refresh
    if at_least "$(candidate_version glslang-tools)" "$glslang_oldest" && [ -n "$(candidate_version "${header_packages[1]}")" ]; then
        install "shader compiler and Vulkan headers" "${shader_packages[@]}" "${header_packages[@]}"
        return
    fi
    [ "$ID" != ubuntu ] || from=devel
    say "glslang here is $(candidate_version glslang-tools), older than $glslang_oldest: unpacking that of $ID's $from into .deps/"
    suite_view toolchain "$from"
    unpack "$tmp" "${shader_packages[@]}" "${header_packages[@]}" libc6 libstdc++6 libgcc-s1

    rm -rf "${deps:?}"/{bin,lib,libexec,include}
    mkdir -p "$deps"/{bin,lib,libexec}
    mv "$tmp/usr/include" "$deps/include"
    for p in libc.so.6 libm.so.6 libstdc++.so.6 libgcc_s.so.1; do
        cp -L "$tmp"/usr/lib/*-linux-*/"$p" "$deps/lib/"
    done
    loader=$(find "$tmp" -name 'ld-linux*.so*' | head -n 1)
    cp -L "$loader" "$deps/lib/ld-linux.so"
    for p in glslang spirv-val spirv-opt spirv-dis spirv-as; do
        cp -L "$tmp/usr/bin/$p" "$deps/libexec/"
        cat > "$deps/bin/$p" << END
#!/bin/sh
d=\$(dirname "\$0")/..
exec "\$d/lib/ld-linux.so" --library-path "\$d/lib" "\$d/libexec/$p" "\$@"
END
        chmod +x "$deps/bin/$p"
    done
    rm -rf "$tmp"
    "$deps/bin/glslang" --version | head -n 1
    stamp toolchain "$toolchain_version"
}

# lavapipe, which runs Vulkan on the CPU. Debian 12's is too old (Mesa 22.3); its backports have 25.0.
lavapipe() {
    at_least "$(installed_version $driver_package)" $driver_oldest && return
    refresh
    if at_least "$(candidate_version $driver_package)" $driver_oldest || [ "$ID" != debian ]; then
        install "Vulkan on the CPU, and drivers for GPUs" $driver_package
        return
    fi
    say "Installing $driver_package of $VERSION_CODENAME-backports (Vulkan on the CPU; $(candidate_version $driver_package) is too old)"
    suite_view backports "$VERSION_CODENAME-backports" own
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "${view[@]}" install -q -y --no-install-recommends \
        -t "$VERSION_CODENAME-backports" $driver_package
}

# SwiftShader, a second Vulkan on the CPU with small limits: one library out of Debian's chromium, which is not installed.
swiftshader() {
    local tmp=$deps/swiftshader.tmp
    stamped swiftshader "$swiftshader_version" && return
    refresh
    if ! apt-cache show chromium-common > /dev/null 2>&1; then
        say "No chromium-common here, so no SwiftShader: its tests will be skipped"
        return
    fi
    say "Unpacking SwiftShader out of chromium-common (32 MB to fetch) into .deps/swiftshader"
    view=(-o APT::Sandbox::User=root)
    unpack "$tmp" chromium-common
    rm -rf "$deps/swiftshader"
    mkdir -p "$deps/swiftshader"
    mv "$tmp"/usr/lib/chromium/{libvk_swiftshader.so,vk_swiftshader_icd.json} "$deps/swiftshader/"
    rm -rf "$tmp"
    stamp swiftshader "$swiftshader_version"
}

# lavapipe with VK_KHR_cooperative_matrix and VK_NV_cooperative_matrix2, to check the kernels for matrix units: with all the
# libraries that it needs, its own C library among them, since it is another release's. Nothing there is installed; a test
# runs with them by its own dynamic loader (see tests/on_driver.sh).
matrix_driver() {
    local from=trixie dir=$deps/matrix tmp=$deps/matrix.tmp deb manifest
    stamped matrix "$matrix_version" && return
    [ "$ID" = debian ] || return 0 # elsewhere the tests say that they are skipped
    suite_view matrix $from $from-backports
    say "Unpacking lavapipe 26.1 and its libraries (60 MB to fetch) into .deps/matrix"
    rm -rf "$tmp" "$dir"
    mkdir -p "$tmp" "$dir/lib"
    : > "$deps/apt/matrix/status" # as if nothing were installed: all that is needed is fetched
    if ! apt-get "${view[@]}" -o Dir::State::status="$deps/apt/matrix/status" -o Debug::NoLocking=1 -q -y --download-only \
        install --no-install-recommends -t $from-backports $driver_package libvulkan1; then
        say "It is not to be had here, so the tests of matrix units will be skipped"
        return
    fi
    for deb in "$deps"/apt/matrix/cache/archives/*.deb; do dpkg-deb -x "$deb" "$tmp"; done
    find "$tmp/usr/lib" -path '*-linux-*' -name '*.so*' ! -path '*/gconv/*' ! -name 'libvulkan_*' -exec cp -d {} "$dir/lib/" \;
    cp "$(find "$tmp" -name libvulkan_lvp.so)" "$dir/lib/"
    cp -L "$(find "$tmp" -name 'ld-linux*.so*' | head -n 1)" "$dir/lib/ld-linux.so"
    manifest=$(find "$tmp" -name 'lvp_icd*.json' | head -n 1)
    sed "s|\(\"library_path\": *\"\)[^\"]*|\1$dir/lib/libvulkan_lvp.so|" "$manifest" > "$dir/lvp_icd.json"
    rm -rf "$tmp"
    stamp matrix "$matrix_version"
}

mkdir -p "$deps"
exec 9> "$deps/lock" # two runs at once take turns
flock 9
install "compilers and libraries to build with" "${build_packages[@]}"
toolchain
lavapipe
if [ "$level" = test ]; then
    install "unit tests, and checks of how Vulkan is used" "${test_packages[@]}"
    swiftshader
    matrix_driver
fi
rm -rf "${deps:?}/apt"
say "Set-up for '$level' is complete"
