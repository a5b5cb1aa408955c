//! What can go wrong at opening, and what the database's errors are to the cache.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use slatedb::object_store;
use slatedb::{CloseReason, ErrorKind};
use writeback::StoreError;

/// Why a store could not be opened, cloned or closed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What is asked for cannot be.
    #[error("{0}")]
    Options(&'static str),
    /// The chunk size was chosen when the store was made, and cannot be another.
    #[error("its chunks have {stored} bytes, not {asked}")]
    Chunk {
        /// As it was made.
        stored: u32,
        /// As it was to be opened.
        asked: u32,
    },
    /// There is a database at that path which this crate has not written, or a later version has.
    #[error("what is at this path was not written by this version of writeback-objects: {0}")]
    Foreign(&'static str),
    /// Another opened it at the same time, or the epoch was not the expected one.
    #[error("another writer has opened it")]
    Fenced,
    /// The server does not know the bucket, or the database is not complete.
    #[error("not found: is there such a bucket? {0}")]
    NotFound(String),
    /// The server knows the caller and lets it not in, or does not know it.
    #[error("the object store refuses access: {0}")]
    Refused(String),
    /// Within the patience that it was opened with, nothing came of it.
    #[error("the object store did not answer in {0:?}")]
    Patience(Duration),
    /// Whatever else the database or the object store said.
    #[error("{0}")]
    Store(StoreError),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::Options(_) | OpenError::Chunk { .. } => io::ErrorKind::InvalidInput,
            OpenError::Foreign(_) => io::ErrorKind::InvalidData,
            OpenError::Fenced => io::ErrorKind::StaleNetworkFileHandle,
            OpenError::NotFound(_) => io::ErrorKind::NotFound,
            OpenError::Refused(_) => io::ErrorKind::PermissionDenied,
            OpenError::Patience(_) => io::ErrorKind::TimedOut,
            OpenError::Store(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<slatedb::Error> for OpenError {
    fn from(error: slatedb::Error) -> Self {
        if let ErrorKind::Closed(CloseReason::Fenced) = error.kind() {
            return OpenError::Fenced;
        }
        match of_object_store(&error) {
            Some(cause) => cause.into(),
            None => OpenError::Store(store_error(error)),
        }
    }
}

impl From<&object_store::Error> for OpenError {
    fn from(error: &object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let text = whole(error);
        // The status of a list's answer is told in the text only.
        let says = |status: [&str; 2]| status.iter().any(|status| text.contains(status));
        match error {
            NotFound { .. } => OpenError::NotFound(text),
            PermissionDenied { .. } | Unauthenticated { .. } => OpenError::Refused(text),
            _ if says(["404 Not Found", "NoSuchBucket"]) => OpenError::NotFound(text),
            _ if says(["401 Unauthorized", "403 Forbidden"]) => OpenError::Refused(text),
            _ => OpenError::Store(io::Error::other(text).into()),
        }
    }
}

/// What the cache is told.
pub(crate) fn store_error(error: slatedb::Error) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::Closed(CloseReason::Fenced) => return StoreError::Fenced,
        ErrorKind::Closed(CloseReason::Clean) => io::ErrorKind::BrokenPipe,
        ErrorKind::Data => io::ErrorKind::InvalidData,
        ErrorKind::Invalid => io::ErrorKind::InvalidInput,
        ErrorKind::Unavailable => match of_object_store(&error) {
            Some(
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. },
            ) => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::ConnectionAborted,
        },
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, whole(&error)).into()
}

pub(crate) fn timed_out(patience: Duration) -> StoreError {
    let text = format!("the object store did not answer in {patience:?}");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

pub(crate) fn failed(what: &'static str) -> StoreError {
    io::Error::other(what).into()
}

pub(crate) fn corrupt(what: &'static str) -> StoreError {
    io::Error::new(io::ErrorKind::InvalidData, what).into()
}

fn of_object_store<'e>(error: &'e slatedb::Error) -> Option<&'e object_store::Error> {
    let mut next: Option<&'e (dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<object_store::Error>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<Arc<object_store::Error>>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error with what caused it, which its own text often leaves out.
fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}
