//! Why there is no frame.

use std::collections::TryReserveError;
use std::fmt;

/// Why a pool gave no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A frame has a power of two of bytes, from [`FRAME_LEN_MIN`](crate::FRAME_LEN_MIN) to [`FRAME_LEN_MAX`](crate::FRAME_LEN_MAX).
    Len {
        /// The bytes that were asked for.
        len: usize,
    },
    /// With this frame, the pool's would take more than its limit.
    Full {
        /// The limit in bytes.
        limit: u64,
    },
    /// The system has no more memory, or refuses to give it.
    System {
        /// Its error number, if it gave one.
        code: Option<i32>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Len { len } => {
                write!(
                    f,
                    "a frame must have a power of two of bytes from 512 to 16777216, not {len}"
                )
            }
            Self::Full { limit } => write!(f, "the limit of {limit} bytes is reached"),
            Self::System { code: Some(code) } => {
                write!(f, "the system gave no memory: {}", std::io::Error::from_raw_os_error(*code))
            }
            Self::System { code: None } => write!(f, "the system gave no memory"),
        }
    }
}

impl std::error::Error for Error {}

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Self::System { code: None }
    }
}
