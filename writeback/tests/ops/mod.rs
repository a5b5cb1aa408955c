//! Operations on a mapping as plain data, a store that fails on command, a model of what must be true, and a session that
//! runs each operation and compares. Used by the property tests here and by the fuzz targets.
#![allow(
    dead_code,
    unused_imports,
    reason = "property tests and fuzz targets each use their own part"
)]

mod background;
mod bytes;
mod data;
mod errors;
mod hands;
mod history;
mod late;
mod model;
mod session;
mod store;
mod syncs;

pub(crate) use data::{Ending, Fault, Mark, Op, PAGE, Pages, Setup, Spot, Sync, Wrong};
pub(crate) use session::Session;
