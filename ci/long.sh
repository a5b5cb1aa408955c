#!/usr/bin/env bash
# The long forms of all checks: the same scripts with larger numbers, one after the other. Takes most of a day on two cores.
# A nightly toolchain (NIGHTLY names it) guides the fuzzers and runs the sanitizers, which are skipped without one.
# Usage: ci/long.sh [loom] [shuttle] [mutants] [fuzz] [chaos] [sanitize] [redb] [redb-own] [nbd] [objects] [packages] [targets] [churn]; all of them if none is named.
set -uo pipefail
cd "$(dirname "$0")/.."

forms=("$@")
[ ${#forms[@]} -gt 0 ] || forms=(mutants chaos sanitize redb redb-own nbd objects packages targets shuttle fuzz loom churn)

run() {
    case $1 in
        loom) ci/loom.sh 3 60 ;;
        shuttle) ci/shuttle.sh 100000 ;;
        mutants) ci/mutants.sh ;;
        fuzz) ci/fuzz.sh 1800 ;;
        chaos) TAGGED_RADIX_STRESS_SECONDS=60 ci/flavour.sh radix_chaos test --profile checker -p tagged-radix --test races --test stress --test linearizable ;;
        sanitize) ci/sanitize.sh 60 ;;
        redb) ci/redb.sh 100 1000 20 ;;
        redb-own) ci/redb-own.sh ;;
        nbd) ci/nbd.sh 500 ;;
        objects) ci/objects.sh long ;;
        packages) ci/package.sh run ;;
        targets) ci/targets.sh ;;
        churn) WRITEBACK_CHURN_SECONDS=3600 cargo test -p writeback --test resident -- --nocapture ;;
        *) echo "long: there is no $1" >&2 && return 2 ;;
    esac
}

failed=()
for form in "${forms[@]}"; do
    start=$SECONDS
    run "$form" || failed+=("$form")
    echo "=== $form took $((SECONDS - start)) s"
done
[ ${#failed[@]} -eq 0 ] || echo "long: failed: ${failed[*]}"
[ ${#failed[@]} -eq 0 ]
