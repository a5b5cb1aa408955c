//! What changes the tree, in sections of leaves and of the nodes above them.

pub(crate) mod absent;
pub(crate) mod change;
pub(crate) mod grow;
pub(crate) mod indices;
pub(crate) mod insert;
pub(crate) mod ranges;
pub(crate) mod section;
mod spare;
mod unlink;
