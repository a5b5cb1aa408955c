#!/usr/bin/env bash
# Tests under AddressSanitizer with LeakSanitizer, under ThreadSanitizer with a negative control, and under valgrind's memcheck.
# SECONDS (default 0: all in its quick form) is how long the one program runs that ThreadSanitizer watches; from 1 on it runs once more
# with few slots a node and atomics that hesitate, and all tests run under AddressSanitizer.
# NIGHTLY names the toolchain that the sanitizers need; without one, only memcheck runs. Usage: ci/sanitize.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-0}
nightly=${NIGHTLY:-nightly}
target=$(rustc -vV | sed -n 's/^host: //p')
build=$(realpath -m "${CARGO_TARGET_DIR:-target}")/sanitize
# Empty: for any processor of the kind, since valgrind does not know the latest.
export RUSTFLAGS='' RUST_BACKTRACE=0 TAGGED_RADIX_STRESS_SECONDS=0.2
tests=(--lib --test linearizable --test races --test stress)
if [ "$seconds" -gt 0 ]; then
    TAGGED_RADIX_STRESS_SECONDS=1
    tests=(--lib --tests)
fi
cfgs=
features=()

# Tests with a sanitizer, in a build folder of its own.
sanitized() {
    RUSTFLAGS="-Zsanitizer=$1 -Cunsafe-allow-abi-mismatch=sanitizer --cap-lints=allow $cfgs" CARGO_TARGET_DIR=$build/$1 \
        CARGO_PROFILE_DEV_DEBUG=line-tables-only cargo "+$nightly" test --target "$target" "${@:2}"
}

# Data races; with a mutant's name, of the tree with that mutant. The tree only: the cache has no unsafe code, so its races would be the
# tree's. One program only: the prebuilt standard library is not instrumented, and its channels, scoped threads and `Arc` look like races.
# All from one build of a copy with all mutants in it, of which at most one is on.
races() {
    MUTANT=${1:-} TEST_LIMIT_SECONDS=0 TAGGED_RADIX_STRESS_SECONDS=$((seconds + 3)) TSAN_OPTIONS="halt_on_error=1 exitcode=66" \
        sanitized thread --quiet --manifest-path "$build/source/Cargo.toml" --package tagged-radix "${features[@]}" --test tsan
}

# With one ordering weakened there are races: if the sanitizer does not say so, its silence means nothing.
control() {
    # The sanitizer sees what happens in a run; on a busy machine that may take more than one.
    for _ in 1 2 3; do
        races "$1" >"$build/log" 2>&1 || true
        if grep -q 'WARNING: ThreadSanitizer: data race' "$build/log"; then
            echo "sanitize: ThreadSanitizer reports the mutant $1"
            return
        fi
    done
    tail -n 50 "$build/log"
    echo "sanitize: ThreadSanitizer overlooks $1" >&2
    exit 1
}

mkdir -p "$build"
if rustup toolchain list | grep -q "^$nightly"; then
    # The memory that a sanitizer takes is not the cache's.
    sanitized address --package tagged-radix --package writeback "${tests[@]}" -- --skip a_cached_page_takes_its_bytes_once
    sanitized address --package page-frames --lib --test basic --test model --test stress
    # What a kernel, or a fake one, writes into memory that is not there any more. One test is about what is leaked on purpose.
    sanitized address --package writeback-uring --lib --test reopen --test ring --test limits --test processes -- --skip a_ring_that_breaks_
    ci/mutants.sh --weave "$build/source"
    races
    echo "sanitize: ThreadSanitizer has nothing to report of the tree"
    control value-store
    control edge-store
    if [ "$seconds" -gt 0 ]; then
        # Over the tree's own epochs, too.
        features=(--features asymmetric)
        sanitized address --package tagged-radix "${features[@]}" "${tests[@]}"
        races
        features=()
        cfgs="--cfg radix_stress --cfg radix_chaos"
        races
    fi
else
    echo "sanitize: no $nightly toolchain: AddressSanitizer, LeakSanitizer and ThreadSanitizer are skipped"
fi

# Reads of memory that was never written, which AddressSanitizer does not see. Some 50 times slower, so without the one test that is about
# sizes, in the quick form also without those that do the same at random again and again, and without the limit of time that tests have
# elsewhere.
skipped=(--skip a_million_lonely_indices)
[ "$seconds" -gt 0 ] || skipped+=(--skip whatever --skip both_ends)
command -v valgrind >/dev/null || { apt-get update -q && apt-get install -qy valgrind; }
cargo test --no-run --package tagged-radix --test basic --test tsan 2>&1 | tee "$build/log"
sed -n 's/.*Executable.*(\(.*\))/\1/p' "$build/log" | while read -r test; do
    TEST_LIMIT_SECONDS=0 valgrind --quiet --error-exitcode=1 --fair-sched=yes "$test" "${skipped[@]}"
done
echo "sanitize: all good"
