//! Handing writes to the store: as batches, each with a completion that ends them.

use std::sync::Arc;

use crate::error::StoreError;
use crate::hooks::WriteEvent;
use crate::primitives::Instant;
use crate::rules::core::Mapping;
use crate::rules::writeback::Writeback;
use crate::store::{Completion, EndOfWrite, WriteBatch};

/// Writes that are one to the store.
struct Submitted {
    writebacks: Vec<Writeback>,
    len: u64,
    /// `None`: nobody is to be told.
    observed: Option<Observed>,
}

impl EndOfWrite for Submitted {
    fn end(self: Box<Self>, accepted: u64, error: StoreError) {
        let Self { writebacks, len, observed } = *self;
        let failed = (accepted < len && observed.is_some()).then(|| error.clone());
        let Some(mapping) = writebacks.first().map(|first| first.page().mapping().clone()) else {
            return;
        };
        let well = Writeback::end_batch(writebacks, accepted, error);
        mapping.core.member.batch_ended(well);
        if let Some(observed) = observed {
            observed.end(failed.as_ref().map_or(Ok(()), Err));
        }
    }
}

/// Makes a batch of writebacks that lie side by side, in ascending order.
pub(crate) fn batch_of(mut writebacks: Vec<Writeback>) -> Option<(WriteBatch, Completion)> {
    let images: Vec<_> = writebacks.iter_mut().map(Writeback::hand_over).collect();
    let first = writebacks.first()?;
    let batch = WriteBatch::new(first.page().index(), first.offset(), images);
    let (first_page, pages, len) = (batch.first_page(), writebacks.len() as u64, batch.len());
    let observed =
        Observed::begin(first.page().mapping(), WriteEvent { first_page, pages, bytes: len });
    let core = first.page().core();
    core.member.batch_begun();
    let ends = Arc::clone(&core.backing().ends);
    let completion = Completion::of(len, Box::new(Submitted { writebacks, len, observed }));
    Some((batch, completion.among(&ends)))
}

/// A batch that observers are told of when the store is done with it.
#[derive(Debug)]
struct Observed {
    mapping: Mapping,
    write: WriteEvent,
    began: Instant,
}

impl Observed {
    /// Tells that the batch is about to be handed over. `None`: nobody wants to know.
    fn begin(mapping: &Mapping, write: WriteEvent) -> Option<Self> {
        let observers = &mapping.core.observers;
        let began = observers.now()?;
        observers.tell(|observer| observer.submitted(write));
        Some(Self { mapping: mapping.clone(), write, began })
    }

    fn end(self, outcome: Result<(), &StoreError>) {
        let observers = &self.mapping.core.observers;
        let write = self.write;
        observers.tell_since(Some(self.began), |observer, took| {
            observer.written(write, took, outcome);
        });
        self.mapping.core.tell_counts();
    }
}
