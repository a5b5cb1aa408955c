#!/usr/bin/env bash
# Breaks one rule of the tree at a time (ci/mutants/*.patch, the claim in the first line) on a copy of the sources, and plays the
# races until one notices. Prints which tool did; fails if a mutant survives.
# Usage: ci/mutants.sh [SCHEDULES a race, default 1000] [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."

export TAGGED_RADIX_SCHEDULES=${1:-1000} SHUTTLE_SILENCE_WARNINGS=1 RUST_BACKTRACE=0
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(basename -s .patch ci/mutants/*.patch)
build=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
copy=$build/source
mkdir -p "$copy"

# Which tool kills the mutant in $copy: the races at fan-out 2, at fan-out 4, or none.
killer() {
    local shape
    for shape in "" "--cfg radix_wide"; do
        export RUSTFLAGS="--cfg radix_shuttle --cap-lints=allow $shape" CARGO_TARGET_DIR="$build/target${shape:+-wide}"
        local test=(cargo test --quiet --profile checker --manifest-path "$copy/Cargo.toml" --package tagged-radix
            --features shuttle --test shuttle)
        "${test[@]}" --no-run >"$build/log" 2>&1 || { echo "does not compile" && return 1; }
        # A deadlock that is not noticed as one would play for ever.
        timeout 120 "${test[@]}" >"$build/log" 2>&1 || { echo "shuttle, fan-out ${shape:+4}${shape:-2}" | sed 's/--.*//' && return; }
    done
    echo "nobody" && return 1
}

killed=0
for name in "${names[@]}"; do
    patch=ci/mutants/$name.patch
    # Only what differs is copied, so that only that is built again.
    git ls-files --cached --others --exclude-standard -- Cargo.toml Cargo.lock radix writeback benches | while read -r file; do
        cmp -s "$file" "$copy/$file" || install -D -m 644 "$file" "$copy/$file"
    done
    git -C "$copy" apply --unsafe-paths --directory="$copy" "$PWD/$patch" 2>/dev/null || (cd "$copy" && patch --silent -p1 <"$OLDPWD/$patch")
    if by=$(killer); then killed=$((killed + 1)); fi
    printf '%-32s %-22s %s\n' "$name" "$by" "$(head -n 1 "$patch")"
done
echo "${#names[@]} mutants, $killed killed"
[ "$killed" -eq ${#names[@]} ]
