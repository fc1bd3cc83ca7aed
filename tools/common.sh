# Shared by setup.sh, try.sh and test.sh: source it, do not run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps

say() { printf '==> %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# configure DIR [meson options]: makes the build directory, or brings an older one up to date with the options given.
# The private prefix is used if set-up had to make one; elsewhere the distribution's own packages serve.
configure() {
    local dir=$1 prefix=''
    shift
    [ -x "$deps/bin/glslang" ] && prefix=$deps
    local wanted="$prefix $*"
    if [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/configured-with" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    # A directory that lost its configuration half-way, or was made by another Meson, is made anew.
    if [ -e "$dir/meson-private/coredata.dat" ]; then
        meson setup --wipe "$dir" "$root" -Ddeps_prefix="$prefix" "$@"
    else
        meson setup "$dir" "$root" -Ddeps_prefix="$prefix" "$@"
    fi
    printf '%s\n' "$wanted" > "$dir/configured-with"
}
