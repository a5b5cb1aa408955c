#![doc = include_str!("PROTOCOL.md")]

pub(crate) mod check;
pub(crate) mod drop;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod read;
pub(crate) mod write;

pub(crate) use self::link::above::Tree;
pub(crate) use self::node::index::FANOUT;
pub(crate) use self::node::word::{Entry, Word};
pub(crate) use self::write::change::{Change, NewValue};
pub(crate) use self::write::insert::{Inserted, Insertion};
pub(crate) use self::write::section::Op;
