#!/usr/bin/env bash
# Breaks one rule at a time (ci/mutants/FOLDER/NAME.patch, the claim in its first line) on a copy of the sources, and runs the tools
# that should notice until one does. Prints a table: who noticed, in which schedule; fails if a mutant survives, unless the second
# line of its patch says why: 'Equivalent: ...' if nobody can ever see it, 'Unseen: ...' if no tool here can.
# Usage: ci/mutants.sh [SCHEDULES a race, default 1000] [FOLDER/NAME...]; 'sample' in place of a name takes one in ninety-six.
set -euo pipefail
cd "$(dirname "$0")/.."

schedules=${1:-1000}
names=("${@:2}")
if [ ${#names[@]} -eq 0 ] || [ "${names[0]}" = sample ]; then
    step=1
    [ ${#names[@]} -eq 0 ] || step=96
    mapfile -t names < <(cd ci/mutants && ls -1 ./*/*.patch | sed 's|^\./||; s|\.patch$||' | awk -v step="$step" 'NR % step == 0')
fi
# Build folders of their own: cargo, which goes by time, could take a mutant's build for that of the sources.
build=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
copy=$build/source
log=$build/log
mkdir -p "$copy"
export TAGGED_RADIX_SCHEDULES=$schedules WRITEBACK_SCHEDULES=$schedules
PROPTEST_MAX_SHRINK_ITERS=0 CHECKER_FAIL_FAST=1 SHUTTLE=1 SHUTTLE_SILENCE_WARNINGS=1 RUST_BACKTRACE=0

# Tool by tool: name, build folder, flags, and what cargo is to test.
tool() {
    local radix=(--package tagged-radix --features) writeback=(--package writeback --features)
    case $1 in
        shuttle) flags="--cfg radix_shuttle" what=("${radix[@]}" shuttle --test shuttle) ;;
        shuttle-wide) flags="--cfg radix_shuttle --cfg radix_wide" what=("${radix[@]}" shuttle --test shuttle) ;;
        loom) flags="--cfg radix_loom" what=("${radix[@]}" loom --lib --test loom) ;;
        compact-shuttle) flags="--cfg radix_shuttle --cfg radix_compact" what=("${radix[@]}" shuttle --test shuttle) ;;
        compact-loom) flags="--cfg radix_loom --cfg radix_compact" what=("${radix[@]}" loom --test loom) ;;
        growth-shuttle) flags="--cfg radix_shuttle --cfg radix_compact --cfg radix_wide" what=("${radix[@]}" shuttle --test shuttle) ;;
        growth-loom) flags="--cfg radix_loom --cfg radix_compact --cfg radix_wide" what=("${radix[@]}" loom --test loom) ;;
        parallel) flags="" what=("${radix[@]}" rayon --lib --test parallel) ;;
        pages) flags="" what=("${writeback[@]}" rule-2003 --lib --test rules --test races --test faults --test basic --test hooks --test memory \
            --test throttle --test crash --test seed --test traces) ;;
        pages-shuttle) flags="--cfg writeback_shuttle --cfg radix_shuttle --cfg radix_all_tags"
            what=("${writeback[@]}" shuttle --test shuttle) ;;
        pages-loom) flags="--cfg writeback_loom" what=("${writeback[@]}" loom --test loom) ;;
    esac
}

tools_for() {
    case $1 in
        tree) echo shuttle shuttle-wide loom ;;
        tree-order) echo loom ;;
        tree-compact) echo compact-shuttle compact-loom ;;
        tree-growth) echo growth-shuttle growth-loom ;;
        tree-parallel) echo parallel ;;
        writeback) echo pages pages-shuttle pages-loom ;;
        writeback-order) echo pages-loom ;;
    esac
}

# Which tool kills the mutant in $copy, and where; nothing if none does.
killer() {
    local name flags what
    for name in $(tools_for "$1"); do
        tool "$name"
        local test=(env "RUSTFLAGS=$flags" "CARGO_TARGET_DIR=$build/$name" cargo test --quiet
            --profile checker --manifest-path "$copy/Cargo.toml" "${what[@]}")
        "${test[@]}" --no-run >"$log" 2>&1 || { echo "does not compile" && return; }
        # The checkers notice threads that wait for ever; who runs into the clock all the same has not been judged.
        local status=0
        timeout 900 "${test[@]}" -- --nocapture >"$log" 2>&1 || status=$?
        [ "$status" -ne 0 ] || continue
        [ "$status" -ne 124 ] || { echo "out of time in $name" && return; }
        local where="s/^killed: (.*)/\1/p"
        grep -q '^killed: ' "$log" || where="s/^    ([a-z_0-9:]+)$/\1/p" # the list of failed tests
        echo "$name: $(sed -nE "$where" "$log" | grep -v '^main$' | head -n 1)"
        return
    done
}

killed=0 equivalent=0 unseen=0 survived=0
for name in "${names[@]}"; do
    patch=$PWD/ci/mutants/$name.patch
    # Only what differs is copied, so that only that is built again.
    git ls-files --cached --others --exclude-standard -- Cargo.toml Cargo.lock clippy.toml radix writeback engines benches |
        while read -r file; do
            cmp -s "$file" "$copy/$file" || install -D -m 644 "$file" "$copy/$file"
        done
    (cd "$copy" && GIT_CEILING_DIRECTORIES=$PWD/.. git apply "$patch")
    by=$(killer "${name%%/*}")
    excuse=$(sed -nE '2s/^(Equivalent|Unseen): .*/\1/p' "$patch")
    case "$by|$excuse" in
        *:*'|Equivalent') survived=$((survived + 1)) by+=" (but its patch calls it equivalent)" ;;
        *:*) killed=$((killed + 1)) ;;
        '|Equivalent') equivalent=$((equivalent + 1)) by=equivalent ;;
        '|Unseen') unseen=$((unseen + 1)) by=unseen ;;
        *) survived=$((survived + 1)) by=${by%|*} by=${by:-nobody} ;;
    esac
    printf '%-44s | %-70s | %s\n' "$name" "$by" "$(head -n 1 "$patch")"
done
echo "${#names[@]} mutants, $killed killed, $equivalent equivalent, $unseen unseen, $survived survived"
[ "$survived" -eq 0 ]
