//! The sweeping up of garbage, in the background: one heap after the other, in the order their flushes came.
//!
//! A heap is swept when all reads have ended that may have looked up places before its flush. What is deleted is decided while no flush is
//! under way, by the last flush that has been acknowledged. What a later heap has, too, is left to that: reads that may look it up have begun since, and
//! only the later one waits for these. And nothing is deleted any more when a flush has failed, because then
//! nobody knows which is the last that came to pass.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use slatedb::WriteBatch;
use writeback::StoreError;

use crate::error::{store_error, timed_out};
use crate::garbage::{Heap, Part};
use crate::keys::{self, Space, chunk_of};
use crate::pages::{Inner, State};

/// Most keys that are swept up in one go.
const SWEEP: usize = 1024;
/// So many chunks are deleted without a look whether they are there.
const BLINDLY: u64 = 256;

/// Begins to sweep, if there is anything and nobody does so.
pub(crate) fn sweep_if_needed(inner: &Arc<Inner>) {
    {
        let mut state = inner.state.lock();
        if state.sweeping || state.heaps.is_empty() || state.failed.is_some() {
            return;
        }
        state.sweeping = true;
    }
    let own = Arc::clone(inner);
    let _sweeping = inner.handle.spawn(async move {
        let _until_the_end = Sweeping(&own);
        while let Some(heap) = next(&own) {
            // It stays in front, and the next flush has it tried again.
            if sweep(&own, &heap).await.is_err() {
                break;
            }
            own.state.lock().heaps.pop_front();
        }
    });
}

struct Sweeping<'i>(&'i Inner);

impl Drop for Sweeping<'_> {
    fn drop(&mut self) {
        self.0.state.lock().sweeping = false;
    }
}

fn next(inner: &Inner) -> Option<Arc<Heap>> {
    inner.state.lock().heaps.front().cloned()
}

/// Whether a heap behind the one in front, which is being swept, has this, too.
fn is_for_later(heaps: &VecDeque<Arc<Heap>>, space: Space, chunk: u64) -> bool {
    heaps.iter().skip(1).any(|heap| heap.names(space, chunk))
}

/// Tells whether the last flush has nothing to do with what is at that key, nor the next.
fn is_garbage(state: &State, space: Space, chunk: u64) -> bool {
    match space {
        Space::Pages => state.stored.get(chunk).is_some(),
        Space::Spilled(generation) => {
            let past = generation < state.first || generation <= state.record.generation;
            past && state.stored.get(chunk) != Some(generation)
        }
    }
}

async fn sweep(inner: &Inner, heap: &Heap) -> Result<(), StoreError> {
    drop(heap.readers.write().await);
    for part in &heap.parts {
        match part {
            Part::Chunks(space, range)
                if *space != Space::Pages || range.end - range.start <= BLINDLY =>
            {
                // Each of those that are spilled was put.
                let mut chunks = range.clone().map(|chunk| (*space, chunk)).peekable();
                while chunks.peek().is_some() {
                    delete(inner, chunks.by_ref().take(SWEEP).collect(), None).await?;
                }
            }
            Part::Chunks(space, range) => look(inner, space.keys(range)).await?,
            Part::Generations(range) => look(inner, keys::spilled_in(range)).await?,
        }
    }
    delete(inner, Vec::new(), Some(heap.number)).await
}

/// Deletes what is found in `range` and is garbage.
async fn look(inner: &Inner, range: std::ops::Range<Bytes>) -> Result<(), StoreError> {
    let found = inner.db.scan_with_options(range, &keys::long_scan()).await;
    let mut found = found.map_err(store_error)?;
    let mut chunks = Vec::new();
    loop {
        let entry = found.next().await.map_err(store_error)?;
        let more = entry.is_some();
        chunks.extend(entry.and_then(|entry| Some((space_of(&entry.key)?, chunk_of(&entry.key)?))));
        if !chunks.is_empty() && (!more || chunks.len() == SWEEP) {
            delete(inner, std::mem::take(&mut chunks), None).await?;
        }
        if !more {
            return Ok(());
        }
    }
}

fn space_of(key: &[u8]) -> Option<Space> {
    match key.first()? {
        b'p' => Some(Space::Pages),
        b's' => keys::generation_of(key).map(Space::Spilled),
        _ => None,
    }
}

/// Deletes those of `chunks` that are garbage still, and then what the database has to say of the heap `done`.
async fn delete(
    inner: &Inner,
    chunks: Vec<(Space, u64)>,
    done: Option<u64>,
) -> Result<(), StoreError> {
    let _turn = inner.turn.lock().await;
    let mut batch = WriteBatch::new();
    {
        let mut state = inner.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        for (space, chunk) in chunks {
            if is_garbage(&state, space, chunk) && !is_for_later(&state.heaps, space, chunk) {
                batch.delete(space.key(chunk));
            }
        }
        if let Some(number) = done {
            match state.unrecorded.as_ref().is_some_and(|heap| heap.number == number) {
                true => state.unrecorded = None,
                false => batch.delete(keys::heap(number)),
            }
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    // Less than a flush has, because one may wait for its turn.
    let patience = inner.options.patience / 4;
    let written = tokio::time::timeout(patience, inner.db.write(batch)).await;
    written.map_err(|_| timed_out(patience))?.map_err(store_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_heap_has_is_left_to_that() {
        let heap = |number, parts| Arc::new(Heap::new(number, parts));
        let heaps = VecDeque::from([
            heap(1, vec![Part::Chunks(Space::Pages, 0..300)]),
            heap(2, vec![Part::Chunks(Space::Spilled(3), 7..9)]),
            heap(4, vec![Part::Chunks(Space::Pages, 50..51)]),
        ]);
        assert!(
            is_for_later(&heaps, Space::Pages, 50),
            "whoever has looked it up since is waited for"
        );
        assert!(is_for_later(&heaps, Space::Spilled(3), 8));
        assert!(
            !is_for_later(&heaps, Space::Pages, 49) && !is_for_later(&heaps, Space::Spilled(4), 8)
        );
    }
}
