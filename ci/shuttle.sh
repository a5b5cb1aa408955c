#!/usr/bin/env bash
# Plays the races of both crates on their real code under shuttle, SCHEDULES (default 2000) schedules a race, with few slots a node:
# the tree with fan-out 2, then 4, then both with compact nodes; the page cache on a tree with fan-out 2. A failure names its race
# and keeps its schedule in a file: SHUTTLE_RACE=NAME SHUTTLE_SCHEDULE=FILE replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-2000} WRITEBACK_SCHEDULES=${1:-2000} SHUTTLE_SILENCE_WARNINGS=1
apart='target."cfg(all())".runner="ci/apart.sh"'

# Usage: play PACKAGE "CFG..."
play() {
    ci/flavour.sh "$2" test --config "$apart" --profile checker --package "$1" --features shuttle --test shuttle
}
play tagged-radix "radix_shuttle"
play tagged-radix "radix_shuttle radix_wide"
play tagged-radix "radix_shuttle radix_compact"
play tagged-radix "radix_shuttle radix_compact radix_wide"
play writeback "writeback_shuttle radix_shuttle radix_all_tags"
