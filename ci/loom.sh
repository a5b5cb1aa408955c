#!/usr/bin/env bash
# Runs the models under loom: every interleaving with at most PREEMPTIONS (default 2) preemptions, and every value that the
# memory orderings let a load return. A failure says in which execution. The long form: ci/loom.sh 3.
set -euo pipefail
cd "$(dirname "$0")/.."

export LOOM_MAX_PREEMPTIONS=${1:-2}
# A folder of its own for each: the flags reach every crate, which would otherwise be built again and again.
RUSTFLAGS="--cfg radix_loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" \
    cargo test --profile checker --package tagged-radix --features loom --lib --test loom -- --nocapture
