//! Operations on a tree as plain data, and a session that runs each of them on a tree and on a
//! model and compares. Used by the property tests here and by the fuzz targets.
#![allow(
    dead_code,
    unused_imports,
    reason = "property tests and fuzz targets each use their own part"
)]

mod data;
mod model;
mod scans;
mod session;
mod writes;

pub(crate) use data::{Bits, Edge, Edit, Filter, Key, Op, Span};
pub(crate) use model::{Entry, Model};
pub(crate) use session::{Item, Session, Territory, assert_matches};
