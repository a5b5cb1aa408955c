//! Where callers come in: told of, admitted, given room, and only then let to pages and latches.
//!
//! Each entry that changes a page does the same things in the same order: the observers are told at its end, the
//! writer is [admitted](crate::memory), the page is latched, and marked dirty before its bytes change.

mod bytes;
pub(crate) mod found;
pub(crate) mod guards;
mod holds;
mod logged;
mod pages;
pub(crate) mod tasks;
