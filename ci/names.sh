#!/usr/bin/env bash
# Every test and every mutant that the docs name exists. `*` at the end of a name stands for any rest, `..` at its beginning for any
# beginning; races in quotation marks are lines of the table of races.
set -euo pipefail
cd "$(dirname "$0")/.."

docs=(docs/correctness.md docs/writeback.md)
mapfile -t sources < <(find radix writeback engines fuzz -name '*.rs' -not -path '*/target/*')
# Functions and modules, and the models that a macro makes of lines.
functions=$(sed -nE 's/^ *(pub(\([a-z]+\))? )?(const )?(unsafe )?(fn|mod) ([a-z0-9_]+).*/\6/p; s/^    ([a-z0-9_]+): ".*/\1/p' "${sources[@]}" | sort -u)
mutants=$({ find ci/mutants -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' && find ci/mutants -name '*.toml' -exec sed -nE 's/^name = "(.*)"/\1/p' {} +; } | sort -u)
# Names with hyphens that are no mutants.
others=' tagged-radix rule-2003 crossbeam-epoch cargo-fuzz cargo-careful '

missing=0
is_in() { # LIST NAME
    local pattern=${2//\*/.*}
    grep -qxE -- "${pattern/#../.*}" <<<"$1" || { echo "names: $2 is named in the docs and is nowhere" >&2 && missing=1; }
}
# Of a path the last part; of words with underscores those that can only be a test's.
for name in $(grep -ohE '`[^`]+`' "${docs[@]}" | tr -d '`' | grep -E '^(\.\.)?[a-z0-9_]+(::[a-z0-9_*]+)*\*?$' | grep -E '::|(_[a-z0-9]+){3}' | sort -u); do
    [ "$name" != target::module::function ] || continue
    part=${name##*::}
    [ "$part" != '*' ] || part=${name%::*} part=${part##*::}
    is_in "$functions" "$part"
done
for name in $(grep -ohE '`[^`]+`' "${docs[@]}" | tr -d '`' | grep -E '^(([a-z-]+|\.\.\.)/)?[a-z0-9]+(-[a-z0-9*]+)+$' | sort -u); do
    [[ $others == *" $name "* ]] || is_in "$mutants" "${name##*/}"
done
while read -r name; do
    grep -qF -- "\"$name\"" radix/tests/races/*.rs || { echo "names: the race \"$name\" is not in the table" >&2 && missing=1; }
done < <(grep -ohE '(tags|removal|leaves|splits|ranges|wide|growth|others|mixes) "[^"]+"' "${docs[@]}" | sed 's/^[a-z]* "//; s/"$//' | sort -u)
exit "$missing"
