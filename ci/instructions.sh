#!/usr/bin/env bash
# Counts the instructions of single operations under callgrind (ci/instructions: of the tree and of the cache) and holds them against
# ci/instructions.txt: fails if one takes over 2 %, and over one instruction, more than it says, or if a tree that has held more takes
# more than one built afresh. The same binary gives the same counts on every run; so the compiler is the one that the table names.
# Usage: ci/instructions.sh; with --accept it writes the table anew, with the compiler in use.
set -euo pipefail
cd "$(dirname "$0")/.."

table=ci/instructions.txt
[ "$(uname -m)" = x86_64 ] || { echo "instructions: counted on x86-64 only" && exit 0; }
command -v valgrind >/dev/null || { apt-get update -q && apt-get install -qy valgrind; }

here=$(rustc --version | cut -d ' ' -f 2)
rust=$(sed -n 's/^# rustc //p' "$table" 2>/dev/null || true)
[ "${1:-}" != --accept ] || rust=$here
cargo=(cargo)
if [ "$rust" != "$here" ]; then
    rustup toolchain list | grep -q "^$rust-" || rustup toolchain install "$rust" --profile minimal --no-self-update
    cargo=(cargo "+$rust")
fi
# Empty: flags from elsewhere would change the code that is counted.
export RUSTFLAGS=''
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Usage: count BENCH; prints a line for each case.
count() {
    local binary number=0 name operations total
    binary=$("${cargo[@]}" bench --package instructions --bench "$1" --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    valgrind --tool=callgrind --toggle-collect=instructions::measured --dump-after=instructions::measured \
        --callgrind-out-file="$scratch/$1" "$binary" >"$scratch/cases" 2>"$scratch/log" || { cat "$scratch/log" >&2 && exit 1; }
    # Callgrind has written one file for each line that the binary printed: name and number of operations.
    while read -r name operations; do
        number=$((number + 1))
        total=$(sed -n 's/^totals: //p' "$scratch/$1.$number")
        awk -v name="$name" -v total="$total" -v operations="$operations" 'BEGIN { printf "%-28s %8.1f\n", name, total / operations }'
    done <"$scratch/cases"
}
count tree >"$scratch/table"
count cache >>"$scratch/table"

if [ "${1:-}" = --accept ]; then
    { echo "# Instructions an operation, x86-64, written by ci/instructions.sh --accept." && echo "# rustc $rust" && cat "$scratch/table"; } >"$table"
    cat "$table"
    exit 0
fi

awk '
    function over(count, limit) { return count > limit * 1.02 && count > limit + 1 }
    /^#/ { next }
    FNR == NR { old[$1] = $2; next }
    {
        new[$1] = $2
        verdict = !($1 in old) ? "NOT IN THE TABLE" : over($2, old[$1]) ? "MORE" : over(old[$1], $2) ? "less: accept it, to keep it" : ""
        printf "%-28s %8.1f, table %8.1f  %s\n", $1, $2, old[$1], verdict
        bad += verdict ~ /^[A-Z]/
        fresh = $1
        if (sub("/aged$", "/fresh", fresh) && over($2, new[fresh])) {
            printf "%-28s takes more than %s: the tree remembers what it held\n", $1, fresh
            bad++
        }
    }
    END {
        for (name in old) if (!(name in new)) { printf "%-28s was not counted\n", name; bad++ }
        if (bad) print "instructions: " bad " creep. If it is worth it: ci/instructions.sh --accept, and say in the commit what it buys."
        else print "instructions: all good"
        exit bad > 0
    }
' "$table" "$scratch/table"
