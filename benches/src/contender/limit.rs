//! What the work costs at least: structures that leave out what an index for any key and any number of threads needs.

mod bare;
mod bitmap;
mod flat;

use super::{Ability, Candidate, Contender, Filter, Index, Mark, value_of};

/// The longest keys that the flat array takes: it has a slot for each key there could be.
pub const FLAT_BITS_MAX: u32 = 27;

/// The array with bitmaps.
pub(super) const FLAT: Candidate = Candidate {
    name: super::FLAT,
    what: "limit: a `Vec<AtomicPtr>` and three-level bitmaps for tags",
    abilities: flat::Flat::ABILITIES,
    key_bits_max: FLAT_BITS_MAX,
    build: |key_bits| Box::new(flat::Flat::with_key_bits(key_bits)),
};

/// The tree, as high as the keys are long.
pub(super) const BARE: Candidate = Candidate {
    name: super::BARE,
    what: "limit: a 64-ary tree of fixed height, without tags, without removal of nodes",
    abilities: bare::Bare::<1>::ABILITIES,
    key_bits_max: 42,
    build: bare::of_height,
};
