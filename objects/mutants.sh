#!/usr/bin/env bash
# Breaks one rule at a time, in a copy, and sees whether the test notices that is meant to. ci/mutants.sh does that for the crates of the workspace.
# Usage: objects/mutants.sh [--check | NAME...]; --check looks only whether all of them still fit.
set -euo pipefail
cd "$(dirname "$0")"

wanted=("$@")
root=$(cd .. && pwd)
copy=target/mutated/objects
rm -rf "$copy" target/mutated/engines
mkdir -p "$copy"
# Examples include a file of it.
ln -s "$root/engines" target/mutated/engines
cp -r Cargo.toml Cargo.lock README.md src tests examples "$copy"
sed -i "s|path = \"\.\./|path = \"$root/|" "$copy/Cargo.toml"
# Of its own: cargo takes the copy for the same package.
export CARGO_TARGET_DIR=$PWD/target/mutated/target
kept=$PWD/src
cd "$copy"
played=0 survived=()

if [ "${wanted[0]:-}" != --check ] && ! { cargo build --examples && cargo test --lib --tests; } >test.log 2>&1; then
    grep -E '^(test .* FAILED|error)' test.log >&2
    echo "objects: tests fail without a mutant" >&2
    exit 1
fi

# Usage: edit FILE FIND REPLACE, where FIND is in FILE once. By its modification time cargo sees what has changed.
edit() {
    FIND=$2 REPLACE=$3 perl -0pi -e 'my $n = s/\Q$ENV{FIND}\E/$ENV{REPLACE}/g; $n == 1 or die' "src/$1" 2>/dev/null
}

# Usage: mutant NAME FILE TEST FIND REPLACE [FILE FIND REPLACE]: so changed, this test fails.
mutant() {
    local name=$1 file=$2 binary=${3%% *} test=${3#* } changed
    local target=(--test "$binary")
    [ "$binary" != lib ] || target=(--lib)
    if [ ${#wanted[@]} -gt 0 ] && [ "${wanted[0]}" != --check ] && [[ " ${wanted[*]} " != *" $name "* ]]; then
        return
    fi
    if ! edit "$file" "$4" "$5" || { [ $# -gt 5 ] && ! edit "$6" "$7" "$8"; }; then
        echo "$name: the sources have changed" >&2
        exit 1
    fi
    played=$((played + 1))
    if [ "${wanted[0]:-}" != --check ]; then
        if ! cargo test --no-run "${target[@]}" >/dev/null 2>&1; then
            echo "$name: does not build" >&2
            exit 1
        fi
        if timeout 300 cargo test "${target[@]}" "$test" >/dev/null 2>&1; then
            survived+=("$name")
            echo "$name: survived $binary::$test"
        else
            echo "$name: killed by $binary::$test"
        fi
    fi
    for changed in "$file" ${6:+"$6"}; do
        cp "$kept/$changed" "src/$changed"
        touch "src/$changed"
    done
}

# A chunk that is put ahead of its flush is seen by nobody before it.
mutant spilled-to-pages spill.rs "store what_is_spilled_belongs" \
    'batch.put_bytes(Space::Spilled(generation).key(*chunk), value.clone());' \
    'batch.put_bytes(Space::Pages.key(*chunk), value.clone());'
# What is spilled for a flush that never comes leaves the database when it is opened again.
mutant orphans-stay open.rs "store what_is_spilled_belongs" \
    'heaps.push_back(Arc::clone(&orphans));' ''
# A flush is told when it is durable, and not before.
mutant flush-not-durable flush.rs "faults a_flush_is_there" \
    '    inner.db.flush().await.map_err(store_error)?;
    written.await_durable().await.map_err(store_error)?;' \
    '    drop(written);'
# The length is part of the flush.
mutant length-ahead flush.rs "faults a_flush_is_there" \
    '    let written = inner.db.write(batch).await.map_err(store_error)?;' \
    '    let _ = inner.db.put(keys::RECORD, record.encode()).await;
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
    'garbage.extend(spilled(state.stored.remove(*chunk..chunk + 1)).map(part));' ''
# Runs that have changed are part of the flush.
mutant runs-not-flushed flush.rs "model the_store_is" \
    'for (start, run) in state.stored.changes() {' \
    'for (start, run) in state.stored.changes().into_iter().skip(1) {'
# Only what is still garbage when its turn comes is swept up.
mutant sweep-blindly sweep.rs "model the_store_is" \
    'Space::Pages => state.stored.get(chunk).is_some(),' 'Space::Pages => true,'
# What is replaced leaves the database.
mutant no-sweep flush.rs "store what_is_cut_off" \
    'inner.state.lock().heaps.extend(heap);' 'drop(heap);'
# What a later heap has, too, is left to that.
mutant later-heap-ignored sweep.rs "lib what_a_later_heap" \
    'heaps.iter().skip(1).any(' 'heaps.iter().take(0).any('
# A sweep waits for the reads that may be after what it deletes.
mutant sweep-beside-reads sweep.rs "faults a_sweep_waits_for_reads" \
    'drop(heap.readers.write().await);' ''
# What was fetched ahead is forgotten when it is written.
mutant ahead-kept pages.rs "store what_was_fetched_ahead" \
    'self.ahead.lock().forget(first..first + batch.len() / self.chunk);' 'let _ = first;'
# And what is cut or punched, too.
mutant ahead-kept-of-a-punch pages.rs "faults what_is_punched_or_cut" \
    'self.ahead.lock().forget(start / self.chunk..last);' ''
# What the store says of the database is as before, unless that has taken the batch; and a store that has failed sweeps nothing. Either is enough
# for this test.
mutant sweep-after-failure sweep.rs "faults a_sweep_after_a_flush" \
    'if let Some(error) = &state.failed {
            return Err(error.clone());
        }' '' \
    flush.rs 'self.inner.state.lock().stored.undo();' ''
# The layer of a flush answers for chunks that were cut, whether its batch has arrived or not.
mutant cut-not-resolved flush.rs "faults after_a_flush_that_failed" \
    'inner.state.lock().going = Some(Arc::clone(&resolved));' ''
# Nothing is written between the look at the end of the store and the beginning of the segments.
mutant ahead-unlocked read.rs "faults appends_beside_a_reader" \
    'let end = state.len.div_ceil(inner.chunk);' \
    'let end = state.len.div_ceil(inner.chunk);
    drop(state);
    std::thread::sleep(std::time::Duration::from_micros(20));'
# A segment may be shorter than the store has become.
mutant ahead-too-short read.rs "faults what_was_fetched_ahead" \
    'at(part.start).min(last)..last' 'at(part.start)..last'
# Who is refused has shut out nobody.
mutant refused-too-late open.rs "faults an_opener_that_is_refused" \
    'look_first(&path, &objects, &options).await?;' ''
# No generation is used twice, so that what a crash has left is not taken for what is spilled now.
mutant generation-again open.rs "faults a_generation_is_not_used_again" \
    '(db.manifest().writer_epoch() << 32).max(record.generation + 2)' 'record.generation + 2'
# The database is told what is to be swept up after a crash.
mutant garbage-not-recorded flush.rs "faults what_is_not_swept" \
    'batch.put_bytes(keys::heap(heap.number), heap.encode());' ''
# Of what a crash has left, too, if a flush comes before it is swept up.
mutant orphans-not-recorded flush.rs "faults an_opening_does_not_wait" \
    '.chain(state.unrecorded.as_deref())' ''
# Writes wait before they are staged.
mutant staged-at-once pages.rs "faults no_more_is_staged" \
    '!room && (state.spilling || state.going.is_some())' '!room && false && state.spilling'
# A chunk that a run names and that is not there is an error.
mutant missing-is-zeros read.rs "faults a_chunk_that_a_run_names" \
    'Space::Spilled(_) if count < chunks =>' 'Space::Spilled(_) if count > chunks =>'
# An opening that comes too late leaves nothing that runs.
mutant late-opening-stays pages.rs "faults an_opening_that_comes" \
    'let _ = inner.db.close().await;' 'std::mem::forget(inner);'

echo "objects: $played mutants, ${#survived[@]} survived: ${survived[*]}"
[ ${#survived[@]} -eq 0 ]
