//! How nodes hang together: the tree and its root, leaves and inner nodes alike as children, and the way to the node above.

pub(crate) mod above;
pub(crate) mod child;
mod heal;
pub(crate) mod leaf;
pub(crate) mod locked;
