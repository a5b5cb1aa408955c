#!/usr/bin/env bash
# Everything that can be said without running a test: format, lints, documentation, packages, oldest compiler, layering.
# Usage: ci/check.sh [published]; with it without lints and documentation of what is not published: the crates that are compared in
# benches/ take longer to check than all else (.ci/run lints those crates where it builds their tests).
set -euo pipefail
cd "$(dirname "$0")/.."

some=(--workspace)
[ "${1:-}" != published ] || some=(--workspace --exclude benches --exclude engines)

cargo fmt --all --check
for tool in fuzz objects ci/mutants/tool; do
    cargo fmt --manifest-path "$tool/Cargo.toml" --check
done
# A change of code that a mutant no longer fits is told at once.
ci/mutants.sh --check
cargo clippy "${some[@]}" --all-targets --all-features -- -D warnings
cargo clippy --manifest-path ci/mutants/tool/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/tools" -- -D warnings
cargo check --package tagged-radix --package writeback --package page-frames --package writeback-uring --no-default-features
for feature in arena asymmetric rayon serde; do
    cargo check --package tagged-radix --features "$feature"
done
for feature in crc32c fault metrics tracing; do
    cargo check --package writeback --features "$feature"
done
RUSTDOCFLAGS="-D warnings" cargo doc "${some[@]}" --no-deps --all-features
# As it is read by who asks for no feature.
for package in tagged-radix writeback page-frames writeback-uring; do
    RUSTDOCFLAGS="-D warnings" cargo doc --package "$package" --no-deps
done
ci/package.sh
ci/names.sh
ci/rooms.sh

msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if toolchain=$(rustup toolchain list | grep -oE "^${msrv//./\\.}[.-][^ ]*"); then
    cargo "+$toolchain" check --package tagged-radix --package writeback --package page-frames --package writeback-uring --all-features
else
    echo "check: Rust $msrv is not installed: the oldest supported compiler was not tried"
fi

# Prints the lines of tracked and new files that match, and fails if there are any.
stray() {
    if git grep --untracked -nE "$2" -- "${@:3}"; then
        echo "check: $1" >&2
        exit 1
    fi
}
code='^[[:space:]]*(([^/[:space:]]|/[^/]).*)?' # comments may name anything
# The oracle that stands in for the epochs under a model checker keeps its books where the checker does not look.
stray "atomics, locks and threads come from radix/src/sync.rs" \
    "$code"'((std|core)::(sync::(atomic|\{|Mutex|RwLock|Condvar|Once|Barrier)|thread|hint)|loom::|shuttle::)' \
    radix/src ':!radix/src/sync.rs' ':!radix/src/sync' ':!radix/src/reclaim/oracle.rs' ':!radix/src/reclaim/epochs/models.rs' \
    ':!radix/src/arena/tests.rs'
stray "the cache's come from writeback/src/primitives.rs, but for reference counts" \
    "$code"'((std|core)::(sync::(atomic|Mutex|RwLock|Condvar|Once|Barrier)|thread)|parking_lot::|loom::|shuttle::)' \
    writeback/src ':!writeback/src/primitives.rs' ':!writeback/src/primitives'
stray "those of the frames come from frames/src/sync.rs" \
    "$code"'((std|core)::(sync::(atomic|\{|Mutex|RwLock|Condvar|Once|Barrier)|thread|hint)|loom::)' \
    frames/src ':!frames/src/sync.rs' ':!frames/src/models.rs' ':!frames/src/latch_models.rs'
stray "the kernel's ring is spoken with in uring/src/system.rs" "$code"'(io_uring::|opcode::)' uring/src ':!uring/src/system.rs'
stray "the system is called from frames/src/system" "$code"'(rustix::|std::alloc)' frames/src ':!frames/src/system'
stray "crossbeam-epoch is called from radix/src/reclaim/thread.rs" "$code"crossbeam_epoch radix/src ':!radix/src/reclaim/thread.rs'
stray "no paths of one machine" '(^|[^[:alnum:]_.~-])/(home|root|work|Users)/' .
echo "check: all good"
