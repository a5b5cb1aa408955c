//! How a test of an engine can fail.

use std::io;

/// Why something was not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A promise was broken: something is lost, half done, or damaged.
    #[error("{0}")]
    Broken(String),
    /// It could not be tried: a full disk, no permission.
    #[error("{0}")]
    Trouble(String),
}

impl Failure {
    /// Says what was being done, before what there is.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Failure::Broken(text) => Failure::Broken(format!("{what}: {text}")),
            Failure::Trouble(text) => Failure::Trouble(format!("{what}: {text}")),
        }
    }
}

impl From<redb::Error> for Failure {
    /// What the device said is trouble; anything else redb must not say: that the file ends too early, or is
    /// no database, among it.
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::Io(io) if matches!(io.kind(), InvalidData | UnexpectedEof) => {
                Failure::Broken(io.to_string())
            }
            redb::Error::Io(_) | redb::Error::PreviousIo => Failure::Trouble(error.to_string()),
            error => Failure::Broken(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Trouble(error.to_string())
    }
}

impl From<writeback::Error> for Failure {
    fn from(error: writeback::Error) -> Self {
        Failure::Trouble(error.to_string())
    }
}
