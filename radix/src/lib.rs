#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(target_pointer_width = "64", target_pointer_width = "32")))]
compile_error!("tagged-radix needs a target with pointers of 32 or 64 bits");

mod arena;
mod batch;
mod bounds;
mod check;
mod cursor;
mod error;
mod flight;
mod iter;
#[cfg(feature = "rayon")]
mod par;
mod pinned;
mod raw;
mod reclaim;
#[cfg(feature = "serde")]
mod serialization;
mod slot;
mod stats;
mod sync;
mod tag;
mod tree;
mod value;

pub use arrayvec::ArrayVec;

#[cfg(feature = "arena")]
pub use crate::arena::{NodeMemory, node_memory};
pub use crate::batch::Batch;
pub use crate::check::{Invariant, Violation};
pub use crate::cursor::Cursor;
pub use crate::error::{OccupiedError, RangeFullError, RemoveError, ReplaceError};
pub use crate::iter::{IntoIter, Range, RangeTagged};
#[cfg(feature = "rayon")]
pub use crate::par::{ParRange, ParRangeMap, ParRangeTagged, ParRangeTaggedMap};
pub use crate::pinned::Pinned;
#[cfg(any(radix_loom, radix_shuttle))]
pub use crate::reclaim::checker;
pub use crate::reclaim::{Guard, pin};
pub use crate::slot::Slot;
pub use crate::stats::Stats;
pub use crate::tag::{Tag, TagFilter, TagRange, TagSet, TagSetIter, TagUpdate, TreeEdges};
pub use crate::tree::RadixTree;
pub use crate::value::{ArcRef, CloneValue, Inline, Value};
