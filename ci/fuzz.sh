#!/usr/bin/env bash
# Builds the fuzz targets on stable and runs each for SECONDS (default 0: build only).
# With a nightly toolchain the runs are guided by coverage and use AddressSanitizer; without, they are blind.
# NIGHTLY names the toolchain. Usage: ci/fuzz.sh [SECONDS [TARGET...]]
# Coverage by source line, where the toolchain has the component llvm-tools: cargo +NIGHTLY fuzz coverage TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-0}
nightly=${NIGHTLY:-nightly}
if [ "$seconds" -eq 0 ] || ! rustup toolchain list | grep -q "^$nightly"; then
    cargo build --manifest-path fuzz/Cargo.toml
else
    # Not linked, so the fuzzer itself, which is C++, need not be compiled for it.
    CUSTOM_LIBFUZZER_PATH=/dev/null cargo check --manifest-path fuzz/Cargo.toml
fi
[ "$seconds" -gt 0 ] || exit 0

# What is found goes under the build folder, as do libFuzzer's words; the committed corpus is only read.
found=${CARGO_TARGET_DIR:-fuzz/target}/corpus
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml)
if rustup toolchain list | grep -q "^$nightly"; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    # As `cargo fuzz run` does, which takes longer to build than the targets.
    coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
    # A few seconds are over before an optimized build would have begun.
    [ "$seconds" -ge 60 ] || coverage="$coverage -Copt-level=1"
    RUSTFLAGS=$(echo -Zsanitizer=address $coverage -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing) \
        cargo "+$nightly" build --release --manifest-path fuzz/Cargo.toml --target "$host"
    run() { ASAN_OPTIONS=detect_odr_violation=0 "${CARGO_TARGET_DIR:-fuzz/target}/$host/release/$target" "$@" $limits -artifact_prefix=fuzz/artifacts/; }
else
    echo "fuzz: no $nightly toolchain: running without coverage or sanitizer"
    run() { "${CARGO_TARGET_DIR:-fuzz/target}/debug/$target" "$@" $limits -artifact_prefix=fuzz/artifacts/; }
fi
# Garbage outlives an input, so looking for leaks after each would find nothing and take most of the time: ci/sanitize.sh does it.
limits="-max_total_time=$seconds -timeout=60 -detect_leaks=0 -print_final_stats=1"

# The number that follows a word where libFuzzer says it last; 0 if it never does.
last() {
    grep -oE "$1 *[0-9]+" "$found/$target.log" | tail -n 1 | grep -oE '[0-9]+$' || echo 0
}

for target in "${targets[@]}"; do
    mkdir -p "$found/$target" "fuzz/corpus/$target" fuzz/artifacts
    run "$found/$target" "fuzz/corpus/$target" >"$found/$target.log" 2>&1 || { tail -n 100 "$found/$target.log" && exit 1; }
    echo "fuzz: $target: $(last number_of_executed_units:) executions, cov $(last cov:), features $(last ft:), corpus $(last corp:)"
done
