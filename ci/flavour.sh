#!/usr/bin/env bash
# Calls cargo with cfgs that only the crates of this workspace get: builds that differ in nothing else share what they depend on.
# Usage: ci/flavour.sh "CFG..." CARGO_ARGUMENT...
set -euo pipefail

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/checker
# Cargo keeps the builds apart by the path of the script that it calls in place of rustc.
wrapper=$target/flavours/${1// /+}
if [ ! -x "$wrapper" ]; then
    mkdir -p "$target/flavours"
    printf '#!/bin/sh\nexec "$@"%s\n' "$(printf ' --cfg %s' $1)" >"$wrapper.$$"
    chmod +x "$wrapper.$$"
    mv "$wrapper.$$" "$wrapper"
fi
RUSTC_WORKSPACE_WRAPPER=$wrapper CARGO_TARGET_DIR=$target exec cargo "${@:2}"
