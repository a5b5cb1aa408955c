//! Waiting for what a store was asked for, in a thread: the cache does for a read of what is about to be written in part, callers of a store do for anything.
//!
//! It is asked for with an [`Answer`] to fill. Whoever ends it, on whatever thread, fills the answer, once,
//! because ending consumes what it is ended by; the thread that asked sleeps until then. A completion that is dropped fills
//! it too, so there is an answer to every question that the store has not kept. A store that ends what it is asked for
//! before it returns is not waited for.
//!
//! Whoever waits may have locks of the cache (a page lock and the truncate lock, shared). Filling takes the answer's own lock and no other, so a store may end anything on its only thread.
//!
//! This layer knows neither pages nor what is done with the bytes.

use std::sync::Arc;

use page_frames::{FRAME_LEN_MAX, FRAME_LEN_MIN, Frame};

use super::{Completion, FlushCompletion, ReadRun, Store, WriteBatch};
use crate::buffer::unowned;
use crate::error::StoreError;
use crate::modes::FlushKind;
use crate::primitives::{Condvar, Mutex};

/// How something ended that one thread waits for.
#[derive(Debug)]
pub(super) struct Answer<T> {
    given: Mutex<Option<T>>,
    came: Condvar,
}

impl<T> Answer<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { given: Mutex::new(None), came: Condvar::new() })
    }

    pub(super) fn give(&self, answer: T) {
        *self.given.lock() = Some(answer);
        self.came.notify_all();
    }

    pub(super) fn wait(&self) -> T {
        let mut given = self.given.lock();
        loop {
            if let Some(answer) = given.take() {
                return answer;
            }
            self.came.wait(&mut given);
        }
    }
}

/// How a read of a run ended.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) buffers: Vec<Frame>,
    /// Bytes from the front that are there.
    pub(crate) count: u64,
    /// What came after them; `None`: they are all, or the store ends there.
    pub(crate) error: Option<StoreError>,
}

/// Reads into `buffers`, from `offset` on, and waits until that has ended.
pub(crate) fn read(store: &(impl Store + ?Sized), offset: u64, buffers: Vec<Frame>) -> Filled {
    read_up_to(store, offset, u64::MAX, buffers)
}

fn read_up_to(store: &(impl Store + ?Sized), offset: u64, len: u64, buffers: Vec<Frame>) -> Filled {
    let answer = Answer::new();
    store.read(ReadRun::answering(offset, len, buffers, Arc::clone(&answer)));
    answer.wait()
}

/// Reads into `into`, and waits until that has ended.
pub(crate) fn read_bytes(
    store: &(impl Store + ?Sized),
    offset: u64,
    into: &mut [u8],
) -> Result<usize, StoreError> {
    let buffer_len = into.len().next_power_of_two().max(FRAME_LEN_MIN);
    assert!(buffer_len <= FRAME_LEN_MAX, "{} bytes are too many for one buffer", into.len());
    let len = into.len() as u64;
    let Filled { buffers, count, error } =
        read_up_to(store, offset, len, vec![unowned(buffer_len)]);
    if let Some(error) = error {
        return Err(error);
    }
    let count = usize::try_from(count).expect("at most the buffer");
    into[..count].copy_from_slice(&buffers[0][..count]);
    Ok(count)
}

/// Flushes, and waits until that has ended.
pub(crate) fn flush(store: &(impl Store + ?Sized), kind: FlushKind) -> Result<(), StoreError> {
    let answer = Answer::new();
    let given = Arc::clone(&answer);
    store.flush(kind, FlushCompletion::new(move |outcome| given.give(outcome)));
    answer.wait()
}

/// Writes, and waits until that has ended.
pub(crate) fn write(store: &(impl Store + ?Sized), batch: WriteBatch) -> Result<(), StoreError> {
    let answer = Answer::new();
    let given = Arc::clone(&answer);
    let completion = Completion::new(batch.len(), move |_, error| given.give(error));
    store.write(batch, completion);
    answer.wait().map_or(Ok(()), Err)
}
