//! Between pages and the store below: bytes, the length, and syncs.

pub(crate) mod access;
pub(crate) mod submit;
pub(crate) mod sync;
pub(crate) mod truncate;
