#!/usr/bin/env bash
# What cargo calls a checker's tests with: each in a process of its own, as many at a time as there are processors. A checker maps stacks
# for each execution, and threads of one process wait for each other whenever one does that.
# Usage: ci/apart.sh BINARY ARGUMENT...
set -euo pipefail

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
export output

# Usage: alone TEST BINARY ARGUMENT...
alone() {
    local status=0
    "$2" --exact "$1" "${@:3}" >"$output/$$" 2>&1 || status=1
    flock "$output" cat "$output/$$"
    return "$status"
}
export -f alone
"$@" --list | sed -n 's/: test$//p' | xargs -P "$(nproc)" -I TEST bash -c 'alone "$@"' - TEST "$@"
