#!/usr/bin/env bash
# What cargo calls a checker's tests with: each in a process of its own, as many at a time as there are processors. A checker maps stacks
# for each execution, and threads of one process wait for each other whenever one does that.
# With APART_SECONDS, one that takes longer is left there, and named.
# Usage: ci/apart.sh BINARY ARGUMENT...
set -euo pipefail

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
export output

# Usage: alone TEST BINARY ARGUMENT...
alone() {
    local status=0
    ${APART_SECONDS:+timeout "$APART_SECONDS"} "$2" --exact "$1" "${@:3}" >"$output/$$" 2>&1 || status=$?
    if [ -n "${APART_SECONDS:-}" ] && [ "$status" -eq 124 ]; then
        echo "left after $APART_SECONDS s: $1" >>"$output/$$"
        status=0
    fi
    flock "$output" cat "$output/$$"
    return "$status"
}
export -f alone
"$@" --list | sed -n 's/: test$//p' | xargs -P "$(nproc)" -I TEST bash -c 'alone "$@"' - TEST "$@"
