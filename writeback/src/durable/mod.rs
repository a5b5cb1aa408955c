//! What is durable and what has failed, without knowing any page: which writes a flush has covered, which errors
//! whom has been told, and how far the store is longer than the mapping.

pub(crate) mod errors;
pub(crate) mod flushes;
pub(crate) mod tail;
