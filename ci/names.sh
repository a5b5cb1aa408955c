#!/usr/bin/env bash
# Every test, mutant, invariant, promise, race, file and page that the docs name exists. `*` at the end of a name stands for any rest, `..` at
# its beginning for any beginning; races in quotation marks are lines of the table of races.
set -euo pipefail
cd "$(dirname "$0")/.."

docs=(docs/correctness.md docs/writeback.md)
mapfile -t sources < <(find radix writeback frames uring engines fuzz -name '*.rs' -not -path '*/target/*')
# Functions and modules, and the models that a macro makes of lines.
functions=$(sed -nE 's/^ *(pub(\([a-z]+\))? )?(const )?(unsafe )?(fn|mod) ([a-z0-9_]+).*/\6/p; s/^    ([a-z0-9_]+): ".*/\1/p' "${sources[@]}" | sort -u)
mutants=$({ find ci/mutants -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' && find ci/mutants -name '*.toml' -exec sed -nE 's/^name = "(.*)"/\1/p' {} +; } | sort -u)
# Names with hyphens that are no mutants.
others=' tagged-radix writeback-uring crossbeam-epoch cargo-fuzz cargo-careful '

missing=0
is_in() { # LIST NAME
    local pattern=${2//\*/.*}
    grep -qxE -- "${pattern/#../.*}" <<<"$1" || { echo "names: $2 is named and is nowhere" >&2 && missing=1; }
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
# What is to notice a mutant: a test, a model, or a race of the table after the test that plays it.
while read -r name; do
    test=${name%%: *}
    is_in "$functions" "${test##*::}"
    [[ $name != *": "* || $test == *random_mixes ]] || grep -qF -- "\"${name#*: }\"" radix/tests/races/*.rs ||
        { echo "names: $name is to notice a mutant and is nowhere" >&2 && missing=1; }
done < <(awk '/^expect = /{on=1} on; /\]/{on=0}' ci/mutants/*.toml | grep -oE '"[^"]+"' | tr -d '"' | sort -u)
while read -r name; do
    grep -qF -- "\"$name\"" radix/tests/races/*.rs || { echo "names: the race \"$name\" is not in the table" >&2 && missing=1; }
done < <(grep -ohE '(tags|removal|leaves|splits|ranges|wide|growth|others|mixes) "[^"]+"' "${docs[@]}" | sed 's/^[a-z]* "//; s/"$//' | sort -u)

# Names in capitals are defined in the first column of a table, or in bold, in the docs or at the head of a source file.
pages=(README.md ARCHITECTURE.md CONTRIBUTING.md radix/README.md writeback/README.md frames/README.md uring/README.md benches/README.md docs/*.md docs/guides/*.md)
capitals='\b[EIPRW](-[A-Z]+)+\b'
mapfile -t tests < <(find radix/src radix/tests writeback/src writeback/tests frames uring engines fuzz -name '*.rs' -not -path '*/target/*')
defined=$(grep -hoE "^(//! )?(\| ($capitals) \||\* \*\*$capitals\*\*|\| \*\*$capitals\*\*)" docs/correctness.md $(find radix/src writeback/src frames/src uring/src -name '*.rs' -o -name '*.md') | grep -oE "$capitals" | sort -u)
for name in $(grep -ohE "$capitals" "${pages[@]}" "${tests[@]}" ci/mutants/*.toml | sort -u); do
    grep -qxF -- "$name" <<<"$defined" || { echo "names: $name is named and is defined nowhere" >&2 && missing=1; }
done
# Links within the repository, and paths of sources.
for page in "${pages[@]}"; do
    for link in $(grep -ohE '\]\([^)]+\)' "$page" | sed -E 's/^..//; s/\)$//; s/#.*//' | grep -vE '^(https?:|$)' | sort -u); do
        [ -e "$(dirname "$page")/$link" ] || { echo "names: $page links to $link, which is nowhere" >&2 && missing=1; }
    done
    for path in $(grep -ohE '`[a-z_-]+(/[a-zA-Z0-9_.-]+)+\.(rs|sh|toml|md|txt)`' "$page" | tr -d '`' | sort -u); do
        [ -e "$path" ] || [ -e "$(dirname "$page")/$path" ] || { echo "names: $page names $path, which is nowhere" >&2 && missing=1; }
    done
done
exit "$missing"
