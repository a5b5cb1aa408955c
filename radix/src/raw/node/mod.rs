//! What a tree consists of: words, locks, edges, nodes of each kind. The room does not know how nodes hang together.

pub(crate) mod edge;
pub(crate) mod full;
pub(crate) mod group;
pub(crate) mod header;
pub(crate) mod hint;
pub(crate) mod index;
pub(crate) mod inner;
pub(crate) mod lock;
mod places;
pub(crate) mod single;
pub(crate) mod word;
