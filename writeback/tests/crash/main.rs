//! Power cuts and failing devices: what the cache says is durable is, whatever happens when.

#[path = "../common/mod.rs"]
mod common;
mod device;
mod direct;
mod driver;
mod errors;
mod every_event;
mod every_operation;
mod late;
mod medium;
mod oracle;
mod threads;
