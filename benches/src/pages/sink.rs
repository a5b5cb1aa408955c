//! What a sync costs besides I/O: `writeback` over a store that takes everything and keeps nothing.

use std::hint::black_box;
use std::time::Instant;

use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Mapping, Result, StoreError};

use super::PAGE;
use crate::keys::shuffled;

/// A store that is done at once.
#[derive(Debug)]
pub(crate) struct Sink {
    /// How many pages it says that it has.
    pub(crate) pages: u64,
}

impl Store for Sink {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> std::result::Result<u64, StoreError> {
        Ok(self.pages * PAGE as u64)
    }

    fn set_len(&self, _: u64) -> std::result::Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        run.fill(|_, into| {
            into.fill(1);
            Ok(into.len())
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let len = batch.len();
        black_box(&batch);
        drop(batch);
        completion.complete(Ok(len));
    }

    fn flush(&self, _: FlushKind, completion: FlushCompletion) {
        completion.complete(Ok(()));
    }
}

/// What `sync_data` costs a dirty page, without I/O.
#[derive(Debug)]
pub struct Overhead {
    /// Pages that are cached.
    pub cached: u64,
    /// Random ones of them that are dirty.
    pub dirty: u64,
    /// Nanoseconds a dirty page, round by round.
    pub samples: Vec<f64>,
}

/// Measures a sync of `dirty` random pages among each number of cached ones, in turn.
///
/// # Errors
/// If a mapping has one.
pub fn overhead(cached: &[u64], dirty: usize, rounds: usize) -> Result<Vec<Overhead>> {
    let fill = |&pages: &u64| {
        let handle = Mapping::open(Sink { pages })?.handle();
        let mut page = [0; PAGE];
        for number in 0..pages {
            handle.read_at(&mut page, number * PAGE as u64)?;
        }
        Ok(handle)
    };
    let handles = cached.iter().map(fill).collect::<Result<Vec<_>>>()?;
    let new = |&cached: &u64| Overhead { cached, dirty: dirty as u64, samples: Vec::new() };
    let mut overheads: Vec<Overhead> = cached.iter().map(new).collect();
    for round in 0..rounds {
        for (handle, overhead) in handles.iter().zip(&mut overheads) {
            let numbers = shuffled((0..overhead.cached).collect(), round as u64);
            for number in &numbers[..dirty] {
                handle.write_at(&[1; 64], number * PAGE as u64)?;
            }
            let start = Instant::now();
            handle.sync_data()?;
            overhead.samples.push(start.elapsed().as_secs_f64() * 1e9 / dirty as f64);
        }
    }
    Ok(overheads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_pages_is_measured() {
        let overheads = overhead(&[64, 256], 32, 2).expect("a store that takes everything");
        assert!(overheads.iter().all(|overhead| overhead.samples.len() == 2));
        assert!(overheads.iter().flat_map(|overhead| &overhead.samples).all(|&cost| cost > 0.0));
    }
}
