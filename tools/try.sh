#!/usr/bin/env bash
#
# From a fresh checkout to a first look: installs what is missing, builds, and runs `sextant demo`.
# Arguments go to the program instead: tools/try.sh devices

set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$root/tools/setup.sh" build
configure "$root/build"
say "Building"
ninja -C "$root/build" --quiet tools/sextant
[ $# -gt 0 ] || set -- demo
say "build/tools/sextant $*"
exec "$root/build/tools/sextant" "$@"
