#!/usr/bin/env bash
# Runs the models of all crates under loom: every interleaving with at most PREEMPTIONS preemptions, and every value that the memory
# orderings let a load return. The tree three times: with full nodes only, with compact ones, and with compact ones that grow. A failure
# says in which execution. Without PREEMPTIONS, the quick form: two, but of a model with more than 2,000 executions the first 2,000,
# and then all with one (of the page cache's, up to 8,000).
# With SECONDS a model that has not ended by then is left there, and named: some have more interleavings than can be played.
# Usage: ci/loom.sh [PREEMPTIONS [SECONDS]]; the long form: ci/loom.sh 3 60.
set -euo pipefail
cd "$(dirname "$0")/.."

export LOOM_MAX_PREEMPTIONS=${1:-2}
[ $# -gt 0 ] || export LOOM_QUICK=1
[ $# -lt 2 ] || export APART_SECONDS=$2
apart='target."cfg(all())".runner="ci/apart.sh"'

# Usage: explore "CFG..." PACKAGE TESTS...
explore() {
    ci/flavour.sh "$1" test --config "$apart" --profile checker --features loom --package "${@:2}" -- --nocapture
}
explore "radix_loom" tagged-radix --lib --test loom
explore "radix_loom radix_compact" tagged-radix --test loom
explore "radix_loom radix_compact radix_wide" tagged-radix --test loom
explore "writeback_loom" writeback --test loom
explore "frames_loom" page-frames --lib
explore "uring_loom" writeback-uring --lib
