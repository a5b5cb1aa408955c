#!/usr/bin/env bash
# Breaks one rule at a time, in place, and sees whether the test notices that is meant to; puts the sources back. ci/mutants.sh does that for the
# crates of the workspace. Usage: objects/mutants.sh [--check | NAME...]; --check looks only whether all of them still fit.
set -euo pipefail
cd "$(dirname "$0")"

wanted=("$@")
kept=$(mktemp -d)
cp -r src "$kept"
trap 'rm -rf src; mv "$kept/src" src; rm -rf "$kept"' EXIT
played=0 survived=()

# Usage: mutant NAME FILE TEST FIND REPLACE: with FIND, which is in FILE once, as REPLACE, this test fails.
mutant() {
    local name=$1 file=src/$2 binary=${3%% *} test=${3#* }
    if [ ${#wanted[@]} -gt 0 ] && [ "${wanted[0]}" != --check ] && [[ " ${wanted[*]} " != *" $name "* ]]; then
        return
    fi
    # By its modification time cargo sees what has changed.
    if ! FIND=$4 REPLACE=$5 perl -0pi -e 'my $n = s/\Q$ENV{FIND}\E/$ENV{REPLACE}/g; $n == 1 or die' "$file" 2>/dev/null; then
        echo "$name: $file has changed" >&2
        exit 1
    fi
    played=$((played + 1))
    if [ "${wanted[0]:-}" != --check ]; then
        if ! cargo test --no-run --test "$binary" >/dev/null 2>&1; then
            echo "$name: does not build" >&2
            exit 1
        fi
        if timeout 300 cargo test --test "$binary" "$test" >/dev/null 2>&1; then
            survived+=("$name")
            echo "$name: survived $binary::$test"
        else
            echo "$name: killed by $binary::$test"
        fi
    fi
    cp "$kept/$file" "$file"
    touch "$file"
}

# A chunk that is put ahead of its flush is seen by nobody before it.
mutant spilled-to-pages flush.rs "store what_is_spilled_belongs" \
    'batch.put_bytes(Space::Spilled(generation).key(*chunk), value.clone());' \
    'batch.put_bytes(Space::Pages.key(*chunk), value.clone());'
# What is spilled for a flush that never comes leaves the database when it is opened again.
mutant orphans-stay open.rs "store what_is_spilled_belongs" \
    'remove_orphans(db, record.generation + 1).await?;' ''
# A flush is told when it is durable, and not before.
mutant flush-not-durable flush.rs "server a_killed_client" \
    '    inner.db.flush().await.map_err(store_error)?;
    written.await_durable().await.map_err(store_error)?;' \
    '    drop(written);'
# The length is part of the flush.
mutant length-ahead flush.rs "server a_killed_client" \
    '        let written = inner.db.write(batch).await.map_err(store_error)?;' \
    '        let _ = inner.db.put(keys::RECORD, record.encode()).await;
        let _ = inner.db.flush().await;
        let written = inner.db.write(batch).await.map_err(store_error)?;'
# What is behind a cut is zeros from then on.
mutant cut-not-applied pages.rs "model the_store_is" \
    'inner.clear(&mut state, len, end)?;' ''
# And of the chunk that the cut goes through the rest.
mutant cut-chunk-kept pages.rs "model the_store_is" \
    'state.now.cut(start / self.chunk, keep);' 'let _ = keep;'
# A flush of a cut says that what is stored there is zeros.
mutant zeros-not-flushed flush.rs "model the_store_is" \
    'replaced.extend(state.stored.insert(within, generation));' \
    'if generation != ZEROS { replaced.extend(state.stored.insert(within, generation)); }'
# A chunk that is written again is no longer where it was spilled.
mutant run-not-split flush.rs "model the_store_is" \
    'garbage.extend(spilled(state.stored.remove(*chunk..chunk + 1)));' ''
# Runs that have changed are part of the flush.
mutant runs-not-flushed flush.rs "model the_store_is" \
    'for (start, run) in state.stored.take_changes() {' \
    'for (start, run) in state.stored.take_changes().into_iter().skip(1) {'
# Only what is still garbage when its turn comes is swept up.
mutant sweep-blindly flush.rs "model the_store_is" \
    'Space::Pages => state.stored.get(chunk).is_some(),' 'Space::Pages => true,'
# What is replaced leaves the database.
mutant no-sweep flush.rs "store what_is_cut_off" \
    'sweep(&inner, garbage).await;' 'drop(garbage);'
# Nobody looks up places while a flush changes them.
mutant places-not-alone flush.rs "store reads_during_a_flush" \
    'let _alone = inner.places.write().await;' ''
# What was fetched ahead is forgotten when it is written.
mutant ahead-kept pages.rs "store what_was_fetched_ahead" \
    'inner.ahead.lock().forget(first..first + batch.len() / inner.chunk);' 'let _ = first;'

echo "objects: $played mutants, ${#survived[@]} survived: ${survived[*]}"
[ ${#survived[@]} -eq 0 ]
