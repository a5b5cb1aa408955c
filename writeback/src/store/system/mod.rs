//! What the operating systems have each in a way of their own: reading and writing at offsets, what an open file is, how long it can become,
//! and where its name is kept.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use unix::*;
#[cfg(windows)]
pub(super) use windows::*;
