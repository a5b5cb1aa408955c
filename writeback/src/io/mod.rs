//! Between pages and the store below: bytes, the length, batches, flushes.

pub(crate) mod access;
pub(crate) mod ahead;
pub(crate) mod backing;
pub(crate) mod cyclic;
pub(crate) mod errands;
pub(crate) mod flush;
pub(crate) mod growth;
pub(crate) mod runs;
pub(crate) mod space;
pub(crate) mod submit;
pub(crate) mod sync;
pub(crate) mod truncate;
