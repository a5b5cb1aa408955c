//! The rules of flag and tag.

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
