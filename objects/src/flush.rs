//! Flushes. [`spill`](crate::spill) and [`sweep`](crate::sweep) are what else writes to the database.
//!
//! A flush is one [`WriteBatch`] of the database: chunks, runs, garbage, the record. It is durable as a whole or not at all, because the batch is,
//! and that makes the store's flush atomic. Everything else that is written is not seen by anybody: chunks that are spilled have the generation of
//! the flush to come, which no stored run names before; and what is swept up is named by none any more.
//!
//! What the store says of the database is changed when that has taken the batch, and not before. Until then, and for good if it may have taken it
//! or not, the layer of the flush lies above, and answers for all that the batch changes: so it does not matter to a read whether the batch is
//! there. For that it has the bytes of all its chunks, of those also that were cut. And a batch deletes nothing that a read under way may be after.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use slatedb::WriteBatch;
use tokio::time::timeout;
use writeback::StoreError;
use writeback::store::FlushCompletion;

use crate::error::{failed, store_error, timed_out};
use crate::garbage::{Heap, Part};
use crate::keys::{self, Record, Space};
use crate::layer::{Layer, Staged, find, trimmed};
use crate::pages::{Inner, State};
use crate::runs::ZEROS;
use crate::spill::release;
use crate::sweep::sweep_if_needed;

pub(crate) fn flush(inner: &Arc<Inner>, completion: FlushCompletion) {
    let inner = Arc::clone(inner);
    let handle = inner.handle.clone();
    let _flushing = handle.spawn(async move {
        let outcome = flush_in_turn(&inner).await;
        release(&inner);
        sweep_if_needed(&inner);
        completion.complete(outcome);
    });
}

/// Fails the store, unless it is told that all went well: also if the flush panics.
struct Flushing<'i> {
    inner: &'i Inner,
    outcome: Option<Result<(), StoreError>>,
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Err(StoreError::Lost));
        if let Err(error) = outcome {
            self.inner.state.lock().failed.get_or_insert(error);
        }
    }
}

async fn flush_in_turn(inner: &Inner) -> Result<(), StoreError> {
    let patience = inner.options.patience;
    // What fails has failed before its turn ends, in which a sweep could begin.
    let mut turn = None;
    let mut flushing = Flushing { inner, outcome: None };
    let whole = async {
        turn = Some(inner.turn.lock().await);
        flush_now(inner).await
    };
    let outcome = timeout(patience, whole).await.unwrap_or_else(|_| Err(timed_out(patience)));
    flushing.outcome = Some(outcome.clone());
    drop(flushing);
    drop(turn);
    outcome
}

async fn flush_now(inner: &Inner) -> Result<(), StoreError> {
    let (layer, record) = {
        let mut state = inner.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.going.is_some() {
            return Err(failed("a flush has been given up"));
        }
        if state.now.is_empty() && state.len == state.record.len {
            return Ok(());
        }
        let layer = Arc::new(std::mem::take(&mut state.now));
        state.going = Some(Arc::clone(&layer));
        let record = Record { len: state.len, generation: state.generation, ..state.record };
        state.generation += 1;
        (layer, record)
    };
    commit(inner, layer, record).await
}

/// Makes `layer` durable, in one step.
async fn commit(inner: &Inner, layer: Arc<Layer>, record: Record) -> Result<(), StoreError> {
    let layer = resolve(inner, layer).await?;
    let (merged, batch) = Merged::new(inner, &layer, record);
    let written = inner.db.write(batch).await.map_err(store_error)?;
    let heap = merged.publish();
    inner.db.flush().await.map_err(store_error)?;
    written.await_durable().await.map_err(store_error)?;
    inner.state.lock().heaps.extend(heap);
    Ok(())
}

/// The layer with the bytes of chunks that were cut; these are read for that.
async fn resolve(inner: &Inner, layer: Arc<Layer>) -> Result<Arc<Layer>, StoreError> {
    let cut = layer.chunks.iter().filter(|(_, staged)| matches!(staged, Staged::Keep(_)));
    let cut: Vec<u64> = cut.map(|(chunk, _)| *chunk).collect();
    if cut.is_empty() {
        return Ok(layer);
    }
    let mut resolved = Layer::clone(&layer);
    for chunk in cut {
        let mut pieces = {
            let state = inner.state.lock();
            find(&[&layer], &state.stored, state.record.end, chunk..chunk + 1)
        };
        let piece = pieces.pop().expect("one chunk is one piece");
        let values = crate::read::load(inner, piece).await?;
        resolved.put(chunk, Staged::Bytes(trimmed(&values[0])));
    }
    let resolved = Arc::new(resolved);
    inner.state.lock().going = Some(Arc::clone(&resolved));
    Ok(resolved)
}

/// What the database is told, already in the state's runs. Taken out of them again unless it is published.
struct Merged<'i> {
    inner: &'i Inner,
    record: Record,
    heap: Option<Heap>,
    published: bool,
}

impl<'i> Merged<'i> {
    fn new(inner: &'i Inner, layer: &Layer, record: Record) -> (Self, WriteBatch) {
        let mut state = inner.state.lock();
        let (batch, record, heap) = merge(&mut state, layer, record);
        (Self { inner, record, heap, published: false }, batch)
    }

    /// The database has taken the batch.
    fn publish(mut self) -> Option<Arc<Heap>> {
        self.published = true;
        let mut heap = self.heap.take();
        let mut state = self.inner.state.lock();
        state.stored.keep();
        state.record = self.record;
        state.going = None;
        state.unrecorded = None;
        if let Some(heap) = &mut heap {
            heap.readers = std::mem::take(&mut state.places);
        }
        heap.map(Arc::new)
    }
}

impl Drop for Merged<'_> {
    fn drop(&mut self) {
        if !self.published {
            self.inner.state.lock().stored.undo();
        }
    }
}

/// What the database is told of a flush, of where chunks are from then on, and what nobody needs any more.
fn merge(
    state: &mut State,
    layer: &Layer,
    mut record: Record,
) -> (WriteBatch, Record, Option<Heap>) {
    let heap = replace_runs(state, layer, record.generation);
    let mut batch = WriteBatch::new();
    let end = state.record.end;
    for (chunk, staged) in &layer.chunks {
        let Staged::Bytes(bytes) = staged else { unreachable!("they are resolved") };
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
    for (start, run) in state.stored.changes() {
        match run {
            Some((end, generation)) => {
                batch.put_bytes(keys::run(start), keys::run_value(end, generation));
            }
            None => batch.delete(keys::run(start)),
        }
    }
    for heap in heap.iter().chain(state.unrecorded.as_deref()) {
        batch.put_bytes(keys::heap(heap.number), heap.encode());
    }
    batch.put_bytes(Bytes::from_static(keys::RECORD), record.encode());
    (batch, record, heap)
}

/// Has the stored runs as they are after the flush. Returns what is garbage by that.
fn replace_runs(state: &mut State, layer: &Layer, number: u64) -> Option<Heap> {
    let mut garbage = Vec::new();
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
        garbage.extend(spilled(replaced).map(part));
        garbage.push(Part::Chunks(Space::Pages, pages));
    }
    for chunk in layer.chunks.keys() {
        garbage.extend(spilled(state.stored.remove(*chunk..chunk + 1)).map(part));
    }
    let wasted = layer.wasted.iter();
    garbage.extend(wasted.map(|range| Part::Chunks(Space::Spilled(number), range.clone())));
    let heap = Heap::new(number, garbage);
    (!heap.parts.is_empty()).then_some(heap)
}

fn part((range, generation): (Range<u64>, u64)) -> Part {
    Part::Chunks(Space::Spilled(generation), range)
}

/// Those of these runs that are not zeros.
pub(crate) fn spilled(replaced: Vec<(Range<u64>, u64)>) -> impl Iterator<Item = (Range<u64>, u64)> {
    replaced.into_iter().filter(|(_, generation)| *generation != ZEROS)
}
