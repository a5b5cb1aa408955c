#!/usr/bin/env bash
# Plays the races of both crates on their real code under shuttle, SCHEDULES (default 2000) schedules a race, with few slots a node:
# the tree with fan-out 2, then 4, then both with compact nodes; the page cache on a tree with fan-out 2. A failure names its race
# and keeps its schedule in a file: SHUTTLE_RACE=NAME SHUTTLE_SCHEDULE=FILE replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-2000} WRITEBACK_SCHEDULES=${1:-2000} SHUTTLE_SILENCE_WARNINGS=1

# Usage: play BUILD_FOLDER PACKAGE FLAGS. The flags reach every crate, which would be built again and again in one folder.
play() {
    RUSTFLAGS=$3 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/$1 \
        cargo test --profile checker --package "$2" --features shuttle --test shuttle
}
play shuttle tagged-radix "--cfg radix_shuttle"
play shuttle-wide tagged-radix "--cfg radix_shuttle --cfg radix_wide"
play compact-shuttle tagged-radix "--cfg radix_shuttle --cfg radix_compact"
play growth-shuttle tagged-radix "--cfg radix_shuttle --cfg radix_compact --cfg radix_wide"
play pages-shuttle writeback "--cfg writeback_shuttle --cfg radix_shuttle --cfg radix_all_tags"
