#!/usr/bin/env bash
# Builds the fuzz targets on stable and runs each for SECONDS (default 0: build only).
# With a nightly toolchain the runs are guided by coverage and use AddressSanitizer; without, they are blind.
# NIGHTLY names the toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-0}
nightly=${NIGHTLY:-nightly}
cargo build --manifest-path fuzz/Cargo.toml
[ "$seconds" -gt 0 ] || exit 0

# What is found goes under the build folder; the committed corpus is only read.
found=${CARGO_TARGET_DIR:-fuzz/target}/corpus
targets=$(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml)
if rustup toolchain list | grep -q "^$nightly"; then
    cargo fuzz --version 2>/dev/null | grep -q ' 0\.13\.2$' || cargo install --locked cargo-fuzz@0.13.2
    run() { cargo "+$nightly" fuzz run "$target" "$@" -- $limits; }
else
    echo "fuzz: no $nightly toolchain: running without coverage or sanitizer"
    run() { "${CARGO_TARGET_DIR:-fuzz/target}/debug/$target" "$@" $limits -artifact_prefix=fuzz/artifacts/; }
fi
limits="-max_total_time=$seconds -timeout=60"
for target in $targets; do
    mkdir -p "$found/$target" "fuzz/corpus/$target" fuzz/artifacts
    run "$found/$target" "fuzz/corpus/$target"
done
