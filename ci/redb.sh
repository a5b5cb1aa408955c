#!/usr/bin/env bash
# A real engine on top of the cache: redb at work by several threads for a few seconds, then killed with SIGKILL in the middle of
# its commits, with power cuts after some of the kills, then cut off from power at any event, then given a store whose operations fail. Every commit that was acknowledged must be there after
# each, and none in part. Usage: ci/redb.sh [KILLS [CLONES [FAULTS]]], default 30, 100 and 1; the long form: ci/redb.sh 100 1000 20.
# REDB names the program, if it is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

redb() {
    if [ -n "${REDB:-}" ]; then "$REDB" "$@"; else cargo run --release --example redb -- "$@"; fi
}
redb --seconds 3
redb kill-loop --kills "${1:-30}"
redb power-cuts --clones "${2:-100}"
redb faults --databases "${3:-1}"
echo "redb: all good"
