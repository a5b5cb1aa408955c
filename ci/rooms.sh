#!/usr/bin/env bash
# The rooms of the crates and the arrows between them, read off the imports; fails if a room imports from its own floor or from above.
# A room is a folder of the source, with the file of its name, or a file beside it. `ci/rooms.txt` says which rooms are on which floor.
# Tests within a file may import anything.
#
#   ci/rooms.sh          draws all houses, counts their lines and checks them
#   ci/rooms.sh FILE     the same by another plan
set -euo pipefail
cd "$(dirname "$0")/.."
plan=${1:-ci/rooms.txt}

# ROOM IMPORTED for every import of a house; paths are `crate::MODULE::room` or lead out of the room by `super`.
arrows() { # ROOT MODULE
    find "$1" -name '*.rs' | sort | xargs awk -v root="$1/" -v module="$2" '
        FNR == 1 {
            path = substr(FILENAME, length(root) + 1); depth = split(path, part, "/")
            room = part[1]; sub(/\.rs$/, "", room); if (room == "mod") room = "lib"
            up = path ~ /\/mod\.rs$/ ? depth - 1 : depth
            out = ""; for (i = 0; i < up; i++) out = out "super::"
            test = 0
            print room
        }
        /^ *#\[cfg\((all\()?test/ { test = 1; next }
        test == 1 && /^ *#/ { next }
        test == 1 { test = /\{$/ ? 2 : 0; next }
        test == 2 { if (/^}/) test = 0; next }
        {
            sub(/(^|[^:"])\/\/.*/, "")
            rest = $0
            while (match(rest, "(crate::" module "|(^|[^:a-z_])" out ")[A-Za-z_0-9{]+(::|[^a-zA-Z_0-9:!]|$)")) {
                found = substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH - 1)
                gsub(/^.*(crate|super)::/, "", found); if (module != "") sub(module, "", found)
                sub(/[^A-Za-z_0-9{].*$/, "", found)
                if (found ~ /^[A-Z{]/) found = "lib"
                if (found != room && found != "super" && found != "self") print room, found
            }
        }'
}

status=0
while read -r root module; do
    rules=$(awk -v root="$root" '$1 == "house" { here = $2 == root; next } here && $1 == "rules" { $1 = ""; print }' "$plan")
    awk -v root="$root" -v rules="$rules" '
        FNR == NR { if ($1 == "house") here = $2 == root
                    else if (here && $1 == "floor") { planned++; for (i = 2; i <= NF; i++) { plan[$i] = planned } }
                    next }
        { if (!($1 in seen)) { seen[$1]; room[++rooms] = $1 } }
        NF == 2 && !(($1, $2) in arrow) { arrow[$1, $2]; pair[++arrows] = $1 " " $2 }
        END {
            for (i = 1; i <= arrows; i++) { split(pair[i], p, " "); if (!(p[2] in seen)) { print "rooms: " p[1] " imports " p[2] ", which is no room"; bad = 1 } reach[p[1], p[2]] }
            for (k in seen) for (i in seen) if ((i, k) in reach) for (j in seen) if ((k, j) in reach) reach[i, j]
            # Floors as they are: a room is above all it imports, a circle is on one floor.
            do { moved = 0
                for (a in arrow) { split(a, p, SUBSEP); if ((p[2], p[1]) in reach) { if (floor[p[1]] < floor[p[2]]) { floor[p[1]] = floor[p[2]]; moved = 1 } }
                    else if (floor[p[1]] <= floor[p[2]]) { floor[p[1]] = floor[p[2]] + 1; moved = 1 } }
            } while (moved)
            for (r in seen) if (floor[r] > top) top = floor[r]
            print root
            for (f = top; f >= 0; f--) for (i = 1; i <= rooms; i++) { r = room[i]; if (floor[r] + 0 != f) continue
                line = ""; for (j = 1; j <= arrows; j++) { split(pair[j], p, " "); if (p[1] == r) line = line " " p[2] (((p[2], r) in reach) ? "(circle)" : "") }
                printf "  %2d  %s%s ->%s\n", f, r, ((r, r) in reach) ? " (circle)" : "", line }
            for (r in seen) { if ((r, r) in reach) circle++
                if (!(r in plan)) { print "rooms: " r " is on no floor of the plan"; bad = 1 } }
            for (r in plan) if (!(r in seen)) { print "rooms: " r " is planned and is not there"; bad = 1 }
            for (i = 1; i <= arrows; i++) { split(pair[i], p, " "); if (plan[p[1]] >= plan[p[2]] && plan[p[2]]) { print "rooms: " p[1] " imports " p[2] ", which is not below it"; upward++ } }
            printf "  %d rooms on %d floors, %d arrows, %d of them not down, %d rooms in circles\n", rooms, top + 1, arrows, upward, circle
            exit bad || upward || circle
        }' "$plan" <(arrows "$root" "${module:-}") || status=1
    # Code without comments, blank lines and tests.
    [ -z "$rules" ] || for room in $rules; do find "$root/$room" "$root/$room.rs" -name '*.rs' 2>/dev/null || true; done |
        xargs awk -v max="${rules##* }" -v rules="${rules% *}" 'FNR == 1 { test = 0 } /^#\[cfg\((all\()?test/ { test = 1 } !test && !/^ *(\/\/|$)/ { lines++ }
            END { printf "  rules (%s): %d lines of code, at most %d\n", rules, lines, max; exit lines > max }' || status=1
done < <(awk '$1 == "house" { print $2, $3 }' "$plan")
exit "$status"
