//! What a ring does, whoever it is: the kernel's, one of a test, or none.

use std::io;

use libc::iovec;
use writeback::StoreError;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    Write,
}

/// Where bytes are in memory: in one piece or several, that follow each other in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytes<'s> {
    One(iovec),
    Many(&'s [iovec]),
}

/// What the kernel is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'s> {
    Move(Act, u64, Bytes<'s>),
    /// Of the data alone, or of all.
    Sync {
        all: bool,
    },
}

/// One thread's way to the kernel (I-ALONE).
pub(crate) trait Ring: Send {
    /// Notes a call, whose end will have this key. `false`: there is no room before the next [`enter`](Self::enter).
    ///
    /// # Safety
    /// I-PINNED: the bytes, and the slices that tell of them, stay until that end was taken by [`reap`](Self::reap). To be read into, they belong to the caller alone.
    unsafe fn push(&mut self, key: u64, call: Call<'_>) -> bool;

    /// Hands over what was noted. If it is to `wait`, it returns when something has ended, or has been woken.
    ///
    /// # Errors
    /// If the kernel takes nothing any more. What is of this moment only is none.
    fn enter(&mut self, wait: bool) -> io::Result<()>;

    /// Adds what has ended: keys, each with a number of bytes or an error below zero.
    fn reap(&mut self, ends: &mut Vec<(u64, i32)>);

    /// Adds the keys of the calls that were noted and never handed over, and are not any more: nothing is from now on (I-PINNED).
    fn take_back(&mut self, keys: &mut Vec<u64>);
}

/// What is registered with the ring of a [`UringStore`](crate::UringStore).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Registered {
    /// Whether the file is, so that the kernel need not look it up for each call.
    pub file: bool,
    /// Bytes of memory in which pages' bytes lie: the kernel need not find and pin those again for each call.
    pub memory_bytes: u64,
    /// Why no more is, if the kernel has refused some: what it said first. All works without.
    pub refused: Option<StoreError>,
}
