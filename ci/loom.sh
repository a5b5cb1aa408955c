#!/usr/bin/env bash
# Runs the models of both crates under loom: every interleaving with at most PREEMPTIONS (default 2) preemptions, and every value
# that the memory orderings let a load return. The tree three times: with full nodes only, with compact ones, and with compact ones that grow. A failure says in
# which execution. The long form: ci/loom.sh 3.
set -euo pipefail
cd "$(dirname "$0")/.."

export LOOM_MAX_PREEMPTIONS=${1:-2}

# Usage: explore BUILD_FOLDER FLAGS PACKAGE_AND_TESTS. The flags reach every crate, as in ci/shuttle.sh.
explore() {
    RUSTFLAGS=$2 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/$1 \
        cargo test --profile checker --features loom --package "${@:3}" -- --nocapture
}
explore loom "--cfg radix_loom" tagged-radix --lib --test loom
explore compact-loom "--cfg radix_loom --cfg radix_compact" tagged-radix --test loom
explore growth-loom "--cfg radix_loom --cfg radix_compact --cfg radix_wide" tagged-radix --test loom
explore pages-loom "--cfg writeback_loom" writeback --test loom
