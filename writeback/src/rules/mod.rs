//! The rules of flag and tag: the layer that the crate is about.
//!
//! With [`pages`](crate::pages) and [`index`](crate::index) these are at most 2,500 lines of code (`ci/rooms.sh` counts them), and can be read
//! alone. A page's flags and the tags that mirror them change together in [`changes`]; a page on its way to the store is a [`LockedPage`](locked::LockedPage),
//! a [`Claim`](claim::Claim), a [`Writeback`](crate::rules::writeback::Writeback); a [`Pass`](pass::Pass) makes these of what it finds by tag, and a [sync](sync) waits for them.
//!
//! They know neither a store nor who is let into memory: what lies below a mapping takes the writes that are begun
//! ([`Below`](core::Below)), and the accounts of a cache are told numbers.

pub(crate) mod changes;
pub(crate) mod claim;
pub(crate) mod core;
pub(crate) mod hold;
pub(crate) mod invariants;
pub(crate) mod locked;
pub(crate) mod page_ref;
pub(crate) mod pass;
pub(crate) mod pieces;
pub(crate) mod sync;
pub(crate) mod telling;
pub(crate) mod writeback;
