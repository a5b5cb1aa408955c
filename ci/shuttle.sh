#!/usr/bin/env bash
# Plays the races of both crates on their real code under shuttle, SCHEDULES (default 2000) schedules a race, with few slots a node:
# the tree with fan-out 2, then 4, then both with compact nodes; the page cache on a tree with fan-out 2. A failure names its race
# and keeps its schedule in a file: SHUTTLE_RACE=NAME SHUTTLE_SCHEDULE=FILE replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-2000} WRITEBACK_SCHEDULES=${1:-2000} SHUTTLE_SILENCE_WARNINGS=1
how=(--profile checker --config 'target."cfg(all())".runner="ci/apart.sh"')
# The page cache's races take 70 seconds of a processor longer to build optimized; so many schedules are needed to make up for that.
[ "${1:-2000}" -ge 1000 ] || how+=(--config profile.checker.package.writeback.opt-level=0)

# Usage: play PACKAGE "CFG..."
play() {
    ci/flavour.sh "$2" test "${how[@]}" --package "$1" --features shuttle --test shuttle
}
play tagged-radix "radix_shuttle"
play tagged-radix "radix_shuttle radix_wide"
play tagged-radix "radix_shuttle radix_compact"
play tagged-radix "radix_shuttle radix_compact radix_wide"
play writeback "writeback_shuttle radix_shuttle radix_all_tags"
