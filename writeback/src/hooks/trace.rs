//! Spans and events for the `tracing` crate; without the feature, nothing.

#[cfg(feature = "tracing")]
mod on {
    use std::time::Duration;

    use tracing::span::EnteredSpan;

    use crate::error::{Error, StoreError};
    use crate::hooks::{Observer, ReadEvent, WriteEvent};
    use crate::modes::FlushKind;
    use crate::modes::SyncMode;

    pub(crate) type Span = EnteredSpan;

    pub(crate) fn sync(kind: FlushKind) -> Span {
        tracing::debug_span!("sync", ?kind).entered()
    }

    pub(crate) fn pass(mode: SyncMode) -> Span {
        tracing::debug_span!("pass", ?mode).entered()
    }

    pub(crate) fn flush(kind: FlushKind) -> Span {
        tracing::debug_span!("flush", ?kind).entered()
    }

    /// Makes events of what observers are told.
    #[derive(Debug)]
    pub(crate) struct Events;

    impl Observer for Events {
        fn read(&self, read: ReadEvent, took: Duration, outcome: Result<(), &StoreError>) {
            let ReadEvent { first_page, pages, bytes } = read;
            match outcome {
                Ok(()) => tracing::trace!(first_page, pages, bytes, ?took, "read"),
                Err(error) => {
                    tracing::warn!(first_page, pages, bytes, ?took, %error, "read failed")
                }
            }
        }

        fn submitted(&self, write: WriteEvent) {
            let WriteEvent { first_page, pages, bytes } = write;
            tracing::trace!(first_page, pages, bytes, "write submitted");
        }

        fn written(&self, write: WriteEvent, took: Duration, outcome: Result<(), &StoreError>) {
            let WriteEvent { first_page, pages, bytes } = write;
            let failed = outcome.is_err();
            tracing::trace!(first_page, pages, bytes, ?took, failed, "write ended");
        }

        fn flushed(&self, kind: FlushKind, took: Duration, outcome: Result<(), &Error>) {
            match outcome {
                Ok(()) => tracing::debug!(?kind, ?took, "flushed"),
                Err(error) => tracing::error!(?kind, ?took, %error, "flush failed"),
            }
        }

        fn synced(&self, took: Duration, outcome: Result<(), &Error>) {
            match outcome {
                Ok(()) => tracing::debug!(?took, "synced"),
                Err(error) => tracing::warn!(?took, %error, "sync failed"),
            }
        }

        fn failed(&self, error: &StoreError, errors: u64) {
            tracing::error!(%error, errors, "writing back failed");
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::modes::FlushKind;
    use crate::modes::SyncMode;

    /// Nothing, until it is dropped.
    pub(crate) struct Span;

    pub(crate) fn sync(_kind: FlushKind) -> Span {
        Span
    }

    pub(crate) fn pass(_mode: SyncMode) -> Span {
        Span
    }

    pub(crate) fn flush(_kind: FlushKind) -> Span {
        Span
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{flush, pass, sync};
#[cfg(feature = "tracing")]
pub(crate) use on::{Events, flush, pass, sync};
