//! What writes to the database: flushes, chunks that are put ahead of one, and the sweeping up of what is replaced.
//!
//! A flush is one [`WriteBatch`] of the database: chunks, runs, the record. It is durable as a whole or not at all, because the batch is, and that
//! makes the store's flush atomic. Everything else that is written is not seen by anybody: chunks that are spilled have the generation of the
//! flush to come, which no stored run names before; and what is swept up is named by none any more.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use slatedb::WriteBatch;
use slatedb::config::ScanOptions;
use writeback::StoreError;
use writeback::store::{Completion, FlushCompletion};

use crate::error::{store_error, timed_out};
use crate::keys::{self, Record, Space, chunk_of};
use crate::layer::{Layer, Staged, find, trimmed};
use crate::pages::{Inner, State};
use crate::runs::ZEROS;

/// Most bytes, about, that are spilled in one go.
const SLICE: u64 = 4 << 20;
/// Most keys that a flush itself deletes because they are garbage. More are swept up after it.
const WITH_FLUSH: u64 = 16;
/// Most keys that are swept up in one go.
const SWEEP: usize = 1024;

type Garbage = Vec<(Space, Range<u64>)>;

pub(crate) fn flush(inner: &Arc<Inner>, completion: FlushCompletion) {
    let inner = Arc::clone(inner);
    let handle = inner.handle.clone();
    let _flushing = handle.spawn(async move {
        let outcome = {
            let _turn = inner.turn.lock().await;
            flush_now(&inner).await
        };
        release(&inner);
        match outcome {
            Ok(garbage) => {
                completion.complete(Ok(()));
                sweep(&inner, garbage).await;
            }
            Err(error) => completion.complete(Err(error)),
        }
    });
}

async fn flush_now(inner: &Inner) -> Result<Garbage, StoreError> {
    let (layer, record) = {
        let mut state = inner.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.now.is_empty() && state.len == state.record.len {
            return Ok(Garbage::new());
        }
        let layer = Arc::new(std::mem::take(&mut state.now));
        state.going = Some(Arc::clone(&layer));
        let record = Record { len: state.len, generation: state.generation, ..state.record };
        state.generation += 1;
        (layer, record)
    };
    let patience = inner.options.patience;
    let outcome = tokio::time::timeout(patience, commit(inner, &layer, record)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(timed_out(patience)));
    if let Err(error) = &outcome {
        inner.state.lock().failed = Some(error.clone());
    }
    outcome
}

/// Makes `layer` durable, in one step. Returns what need not be in the database any more.
async fn commit(inner: &Inner, layer: &Layer, record: Record) -> Result<Garbage, StoreError> {
    let values = resolve(inner, layer).await?;
    let written = {
        let _alone = inner.places.write().await;
        let (batch, garbage) = merge(&mut inner.state.lock(), layer, &values, record);
        let written = inner.db.write(batch).await.map_err(store_error)?;
        inner.state.lock().going = None;
        (written, garbage)
    };
    let (written, garbage) = written;
    inner.db.flush().await.map_err(store_error)?;
    written.await_durable().await.map_err(store_error)?;
    Ok(garbage)
}

/// The bytes of the layer's chunks, also of those that were cut and are read for that.
async fn resolve(inner: &Inner, layer: &Layer) -> Result<Vec<(u64, Bytes)>, StoreError> {
    let mut values = Vec::with_capacity(layer.chunks.len());
    for (chunk, staged) in &layer.chunks {
        let bytes = match staged {
            Staged::Bytes(bytes) => bytes.clone(),
            Staged::Keep(_) => {
                let mut pieces = {
                    let state = inner.state.lock();
                    find(&[layer], &state.stored, state.record.end, *chunk..chunk + 1)
                };
                let piece = pieces.pop().expect("one chunk is one piece");
                let values = crate::read::load(inner, piece).await?;
                trimmed(&values[0])
            }
        };
        values.push((*chunk, bytes));
    }
    Ok(values)
}

/// What the database is told of a flush, and of where chunks are from then on.
fn merge(
    state: &mut State,
    layer: &Layer,
    values: &[(u64, Bytes)],
    mut record: Record,
) -> (WriteBatch, Garbage) {
    let mut garbage = Garbage::new();
    let end = state.record.end;
    for (range, generation) in layer.runs.iter() {
        let pages = range.start.min(end)..range.end.min(end);
        // Behind the last chunk under `p`, what is in no run is zeros.
        let mut replaced = match generation {
            ZEROS => state.stored.remove(pages.end.max(range.start)..range.end),
            _ => Vec::new(),
        };
        let within = if generation == ZEROS { pages.clone() } else { range };
        replaced.extend(state.stored.insert(within, generation));
        garbage.extend(spilled(replaced));
        garbage.push((Space::Pages, pages));
    }
    for (chunk, _) in values {
        garbage.extend(spilled(state.stored.remove(*chunk..chunk + 1)));
    }
    garbage.extend(
        layer.wasted.iter().map(|range| (Space::Spilled(record.generation), range.clone())),
    );
    garbage.retain(|(_, range)| !range.is_empty());

    let mut batch = WriteBatch::new();
    let keys: u64 = garbage.iter().map(|(_, range)| range.end - range.start).sum();
    if keys <= WITH_FLUSH {
        for (space, range) in garbage.drain(..) {
            for chunk in range.filter(|chunk| is_garbage(state, space, *chunk)) {
                batch.delete(space.key(chunk));
            }
        }
    }
    for (chunk, bytes) in values {
        let key = Space::Pages.key(*chunk);
        match bytes.is_empty() {
            true if *chunk < end => batch.delete(key),
            true => {}
            false => {
                record.end = record.end.max(chunk + 1);
                batch.put_bytes(key, bytes.clone());
            }
        }
    }
    for (start, run) in state.stored.take_changes() {
        match run {
            Some((end, generation)) => {
                batch.put_bytes(keys::run(start), keys::run_value(end, generation));
            }
            None => batch.delete(keys::run(start)),
        }
    }
    batch.put_bytes(Bytes::from_static(keys::RECORD), record.encode());
    state.record = record;
    (batch, garbage)
}

fn spilled(replaced: Vec<(Range<u64>, u64)>) -> impl Iterator<Item = (Space, Range<u64>)> {
    let spilled = replaced.into_iter().filter(|(_, generation)| *generation != ZEROS);
    spilled.map(|(range, generation)| (Space::Spilled(generation), range))
}

/// Tells whether no flush, done or to come, has anything to do with what is at that key.
fn is_garbage(state: &State, space: Space, chunk: u64) -> bool {
    match space {
        Space::Pages => state.stored.get(chunk).is_some(),
        Space::Spilled(generation) => {
            generation < state.generation && state.stored.get(chunk) != Some(generation)
        }
    }
}

/// Deletes what is still garbage when its turn comes. What is not swept up takes room and does no other harm.
async fn sweep(inner: &Inner, garbage: Garbage) {
    for (space, range) in garbage {
        if sweep_range(inner, space, range).await.is_err() {
            return;
        }
    }
}

async fn sweep_range(inner: &Inner, space: Space, range: Range<u64>) -> Result<(), slatedb::Error> {
    let options = ScanOptions { read_ahead_bytes: 1 << 20, ..ScanOptions::default() };
    let mut found = inner.db.scan_with_options(space.keys(&range), &options).await?;
    let mut chunks = Vec::new();
    loop {
        let entry = found.next().await?;
        let more = entry.is_some();
        chunks.extend(entry.and_then(|entry| chunk_of(&entry.key)));
        if !chunks.is_empty() && (!more || chunks.len() == SWEEP) {
            let _turn = inner.turn.lock().await;
            let mut batch = WriteBatch::new();
            {
                let state = inner.state.lock();
                for chunk in chunks.drain(..).filter(|chunk| is_garbage(&state, space, *chunk)) {
                    batch.delete(space.key(chunk));
                }
            }
            if !batch.is_empty() {
                inner.db.write(batch).await?;
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// Begins to put chunks ahead of their flush, if too many are staged.
pub(crate) fn spill_if_needed(inner: &Arc<Inner>, state: &mut State) {
    if state.spilling || state.now.bytes <= inner.options.staging_bytes || state.failed.is_some() {
        return;
    }
    state.spilling = true;
    let own = Arc::clone(inner);
    let _spilling = inner.handle.spawn(async move {
        loop {
            match spill_slice(&own).await {
                Ok(true) => release(&own),
                Ok(false) => break release(&own),
                Err(error) => break fail_waiting(&own, &error),
            }
        }
    });
}

/// Puts some chunks. Tells whether there are more than there should be still; if not, the next write that makes them too many begins anew.
async fn spill_slice(inner: &Inner) -> Result<bool, StoreError> {
    let _turn = inner.turn.lock().await;
    let (slice, generation) = {
        let mut state = inner.state.lock();
        let mut slice = Vec::new();
        if state.now.bytes > inner.options.staging_bytes / 2 && state.failed.is_none() {
            let mut bytes = 0;
            for (chunk, staged) in &state.now.chunks {
                let Staged::Bytes(value) = staged else { continue };
                slice.push((*chunk, value.clone()));
                bytes += value.len() as u64;
                if bytes >= SLICE {
                    break;
                }
            }
        }
        if slice.is_empty() {
            state.spilling = false;
            return Ok(false);
        }
        (slice, state.generation)
    };
    let mut batch = WriteBatch::new();
    for (chunk, value) in slice.iter().filter(|(_, value)| !value.is_empty()) {
        batch.put_bytes(Space::Spilled(generation).key(*chunk), value.clone());
    }
    if !batch.is_empty() {
        let patience = inner.options.patience;
        let written = tokio::time::timeout(patience, inner.db.write(batch)).await;
        written.map_err(|_| timed_out(patience))?.map_err(store_error)?;
    }
    inner.spilled.fetch_add(slice.len() as u64, Ordering::Relaxed);
    adopt(&mut inner.state.lock(), slice, generation);
    Ok(true)
}

/// Chunks that are still as they were put are not needed in memory any more.
fn adopt(state: &mut State, slice: Vec<(u64, Bytes)>, generation: u64) {
    for (chunk, value) in slice {
        let same = |staged: &Staged| matches!(staged, Staged::Bytes(now) if now.as_ptr() == value.as_ptr() && now.len() == value.len());
        if !state.now.chunks.get(&chunk).is_some_and(same) {
            state.now.wasted.push(chunk..chunk + 1);
            continue;
        }
        state.now.remove(chunk);
        let place = if value.is_empty() { ZEROS } else { generation };
        let replaced = state.now.runs.insert(chunk..chunk + 1, place);
        if place == ZEROS {
            state.now.wasted.extend(spilled(replaced).map(|(_, range)| range));
        }
    }
}

/// Ends writes that waited, as far as there is room for them now.
fn release(inner: &Inner) {
    let mut ended: Vec<(Completion, u64)> = Vec::new();
    {
        let mut state = inner.state.lock();
        if state.now.bytes <= 2 * inner.options.staging_bytes || !state.spilling {
            ended.extend(state.waiting.drain(..));
        }
    }
    ended.into_iter().for_each(|(completion, len)| completion.complete(Ok(len)));
}

fn fail_waiting(inner: &Inner, error: &StoreError) {
    let waiting = {
        let mut state = inner.state.lock();
        state.spilling = false;
        std::mem::take(&mut state.waiting)
    };
    waiting.into_iter().for_each(|(completion, _)| completion.complete(Err(error.clone())));
}
