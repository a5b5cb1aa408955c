//! The hooks that engines hang into the cache, and hooks that fail.

#[path = "../common/mod.rs"]
mod common;

mod book;
mod bound;
mod journal;
mod log;
mod lookups;
mod observer;
mod seal;
