#!/usr/bin/env bash
# Breaks one rule of the tree at a time (ci/mutants/*.patch, the claim in the first line) on a copy of the sources, and plays the
# races until one notices. Prints which tool did; fails if a mutant survives, unless its patch says why it is equivalent.
# Usage: ci/mutants.sh [SCHEDULES a race, default 1000] [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-1000} SHUTTLE_SILENCE_WARNINGS=1 RUST_BACKTRACE=0
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(basename -s .patch ci/mutants/*.patch)
build=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
copy=$build/source
mkdir -p "$copy"

# Which tool kills the mutant in $copy: the races at fan-out 2, at fan-out 4, or nobody.
killer() {
    local fanout flags
    for fanout in 2 4; do
        flags="--cfg radix_shuttle --cap-lints=allow"
        [ "$fanout" = 2 ] || flags+=" --cfg radix_wide"
        export RUSTFLAGS=$flags CARGO_TARGET_DIR=$build/target$fanout
        local test=(cargo test --quiet --profile checker --manifest-path "$copy/Cargo.toml" --package tagged-radix
            --features shuttle --test shuttle)
        "${test[@]}" --no-run >"$build/log" 2>&1 || { echo "does not compile" && return; }
        # A thread that waits for ever is killed, too: by the clock.
        timeout 120 "${test[@]}" >"$build/log" 2>&1 || { echo "shuttle, fan-out $fanout" && return; }
    done
    echo nobody
}

killed=0 equivalent=0 survived=0
for name in "${names[@]}"; do
    patch=$PWD/ci/mutants/$name.patch
    # Only what differs is copied, so that only that is built again.
    git ls-files --cached --others --exclude-standard -- Cargo.toml Cargo.lock clippy.toml radix writeback benches |
        while read -r file; do
            cmp -s "$file" "$copy/$file" || install -D -m 644 "$file" "$copy/$file"
        done
    (cd "$copy" && GIT_CEILING_DIRECTORIES=$PWD/.. git apply "$patch")
    by=$(killer) || true
    case $by in
        shuttle*) killed=$((killed + 1)) ;;
        nobody) if grep -q '^Equivalent:' "$patch"; then equivalent=$((equivalent + 1)) by=equivalent; else survived=$((survived + 1)); fi ;;
        *) survived=$((survived + 1)) ;;
    esac
    printf '%-32s %-20s %s\n' "$name" "$by" "$(head -n 1 "$patch")"
done
echo "${#names[@]} mutants, $killed killed, $equivalent equivalent, $survived survived"
[ "$survived" -eq 0 ]
