//! Chunks that are put into the database ahead of their flush, and writes that wait for the room that this makes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use slatedb::WriteBatch;
use writeback::StoreError;
use writeback::store::{Completion, WriteBatch as Pages};

use crate::error::{store_error, timed_out};
use crate::flush::spilled;
use crate::keys::Space;
use crate::layer::Staged;
use crate::pages::{Inner, State};
use crate::runs::ZEROS;

/// Most bytes, about, that are spilled in one go.
const SLICE: u64 = 4 << 20;

/// Begins to put chunks ahead of their flush, if too many are staged.
pub(crate) fn spill_if_needed(inner: &Arc<Inner>, state: &mut State) {
    if state.spilling || state.now.bytes <= inner.options.staging_bytes || state.failed.is_some() {
        return;
    }
    state.spilling = true;
    let own = Arc::clone(inner);
    let _spilling = inner.handle.spawn(async move {
        let lost = Spilling(&own);
        loop {
            match spill_slice(&own).await {
                Ok(true) => release(&own),
                Ok(false) => break release(&own),
                Err(error) => break fail_waiting(&own, &error),
            }
        }
        std::mem::forget(lost);
    });
}

/// Dropped only by a panic, or with the runtime.
struct Spilling<'i>(&'i Inner);

impl Drop for Spilling<'_> {
    fn drop(&mut self) {
        fail_waiting(self.0, &StoreError::Lost);
    }
}

/// Puts some chunks. Tells whether there are more than there should be still; if not, the next write that makes them too many begins anew.
async fn spill_slice(inner: &Inner) -> Result<bool, StoreError> {
    let _turn = inner.turn.lock().await;
    let (slice, generation) = {
        let mut state = inner.state.lock();
        let slice = slice_of(&state, inner.options.staging_bytes / 2);
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
        let written = written.map_err(|_| timed_out(patience));
        if let Err(error) = written.and_then(|written| written.map_err(store_error)) {
            // It may be there or come yet.
            let chunks = slice.iter().map(|(chunk, _)| *chunk..chunk + 1);
            inner.state.lock().now.wasted.extend(chunks);
            return Err(error);
        }
    }
    inner.spilled.fetch_add(slice.len() as u64, Ordering::Relaxed);
    adopt(&mut inner.state.lock(), slice, generation);
    Ok(true)
}

/// Some of what is staged, if that is more than `least`.
fn slice_of(state: &State, least: u64) -> Vec<(u64, Bytes)> {
    let mut slice = Vec::new();
    if state.now.bytes <= least || state.failed.is_some() {
        return slice;
    }
    let mut bytes = 0;
    for (chunk, staged) in &state.now.chunks {
        let Staged::Bytes(value) = staged else { continue };
        slice.push((*chunk, value.clone()));
        bytes += value.len() as u64;
        if bytes >= SLICE {
            break;
        }
    }
    slice
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
            state.now.wasted.extend(spilled(replaced).map(|(range, _)| range));
        }
    }
}

/// Takes in writes that wait, as far as there is room for them now, and ends them.
pub(crate) fn release(inner: &Arc<Inner>) {
    let mut ended: Vec<(Completion, Pages)> = Vec::new();
    let error = {
        let mut state = inner.state.lock();
        while state.failed.is_none() {
            spill_if_needed(inner, &mut state);
            let Some((_, batch)) = state.waiting.front() else { break };
            if inner.must_wait(&state, batch.len()) {
                break;
            }
            let (completion, batch) = state.waiting.pop_front().expect("it is in front");
            inner.take_in(&batch, &mut state);
            ended.push((completion, batch));
        }
        state.failed.clone()
    };
    for (completion, batch) in ended {
        let len = batch.len();
        drop(batch);
        completion.complete(Ok(len));
    }
    if let Some(error) = error {
        fail_waiting(inner, &error);
    }
}

fn fail_waiting(inner: &Inner, error: &StoreError) {
    let waiting = {
        let mut state = inner.state.lock();
        state.spilling = false;
        std::mem::take(&mut state.waiting)
    };
    waiting.into_iter().for_each(|(completion, _)| completion.complete(Err(error.clone())));
}
