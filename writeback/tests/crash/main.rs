//! Power cuts and failing devices: what the cache says is durable is, whatever happens when.

mod device;
mod driver;
mod errors;
mod every_event;
mod every_operation;
mod oracle;
mod threads;
