#!/usr/bin/env bash
# Plays the tree's races on its real code under shuttle, SCHEDULES (default 2000) schedules a race, with few slots a node: fan-out
# 2, then 4. A failure prints the schedule that replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-2000} SHUTTLE_SILENCE_WARNINGS=1
for shape in "" "--cfg radix_wide"; do
    # A folder of its own for each: the flags reach every crate, which would otherwise be built again and again.
    RUSTFLAGS="--cfg radix_shuttle $shape" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/shuttle${shape:+-wide}" \
        cargo test --profile checker --package tagged-radix --features shuttle --test shuttle
done
