//! Who is measured: one trait, one file a contender.

mod arctic;
mod artmap;
mod batch;
mod congee;
mod dashmap;
mod emulated;
mod limit;
mod locked;
mod masstree;
mod papaya;
mod scc;
mod skiplist;
mod tree;
mod xarray;

use std::fmt;
use std::ptr;
use std::sync::OnceLock;

pub use batch::{Contender, Task};
pub use limit::FLAT_BITS_MAX;
pub(crate) use xarray::free as free_retired;

use crate::keys::DataSet;

/// What the indexes hold: a pointer to something that outlives them. Nobody follows it.
pub type Value = &'static u64;

const VALUES: usize = 1 << 16;
static REFERENTS: [u64; VALUES] = [0; VALUES];

// usize is 64 bits wide here: `tagged-radix` builds nowhere else.
#[expect(clippy::cast_possible_truncation, reason = "the benches need 64-bit pointers")]
#[inline]
pub(crate) const fn narrow(number: u64) -> usize {
    number as usize
}

/// The value stored at `key`.
#[inline]
pub fn value_of(key: u64) -> Value {
    &REFERENTS[narrow(key) % VALUES]
}

/// What a lookup tells about the value it found: its address. 0 stands for a missing entry.
#[inline]
pub fn word(value: Value) -> u64 {
    ptr::from_ref(value).addr() as u64
}

/// The hasher of all hash maps: as good as any for integers, and faster than the standard one.
type Hasher = foldhash::fast::RandomState;

/// How long a guard or lock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Taken anew for each operation, as the plainest use of an API does.
    Each,
    /// Taken once for a chunk of some thousand operations.
    Chunk,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hold::Each => "guard each",
            Hold::Chunk => "one guard",
        })
    }
}

/// What a contender can do, and is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Look up, insert, remove.
    Map,
    /// Visit all entries.
    Iterate,
    /// Visit the entries from a key on, ascending.
    Scan,
    /// Remove all entries in a range with one call.
    RemoveRange,
    /// Tag entries, and find tagged ones in ascending order.
    Tag,
    /// Tag and count whole ranges, with two tags.
    TagRange,
}

impl Ability {
    const ALL: &[Ability] = &[
        Ability::Map,
        Ability::Iterate,
        Ability::Scan,
        Ability::RemoveRange,
        Ability::Tag,
        Ability::TagRange,
    ];
}

/// One of the two tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The tag of all workloads with one tag.
    Dirty,
    /// What `retag` gives to dirty entries.
    ToWrite,
}

/// Which tagged entries a gang lookup asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All that are dirty.
    Dirty,
    /// Those that are dirty and not to write.
    DirtyOnly,
}

/// An index from `u64` to [`Value`], with up to two searchable tags an entry.
///
/// Loops over these are compiled for each contender (see [`Contender`]). A contender implements what its `ABILITIES` name;
/// the rest is never called.
pub trait Index: Sync + Sized {
    /// What it is measured in.
    const ABILITIES: &'static [Ability];

    /// What a lookup is done under: a guard, a lock, or a mere reference.
    type Read<'a>
    where
        Self: 'a;
    /// What a change is done under.
    type Write<'a>
    where
        Self: 'a;

    /// Makes an empty one for keys of that many bits.
    fn with_key_bits(key_bits: u32) -> Self;

    /// Takes what a lookup is done under.
    fn read(&self) -> Self::Read<'_>;
    /// Takes what a change is done under.
    fn write(&self) -> Self::Write<'_>;

    /// Looks `key` up; says what [`word`] does.
    fn get(read: &Self::Read<'_>, key: u64) -> u64;
    /// Inserts [`value_of`] at `key`, where there is nothing.
    fn insert(write: &mut Self::Write<'_>, key: u64);
    /// Removes the entry at `key`, with its tags; returns whether there was one.
    fn remove(write: &mut Self::Write<'_>, key: u64) -> bool;

    /// Visits all entries.
    fn iterate(_: &Self::Read<'_>, _visit: impl FnMut(u64, u64)) {
        lacking()
    }
    /// Visits `count` entries, or those there are, from `from` on, ascending.
    fn scan(_: &Self::Read<'_>, _from: u64, _count: usize, _visit: impl FnMut(u64, u64)) {
        lacking()
    }
    /// Removes all entries as a range; returns how many, where that is known.
    fn remove_range(_: &mut Self::Write<'_>) {
        lacking()
    }

    /// Sets the tag; returns whether it did. With `check` only if there is an entry: some cannot do it without.
    fn set(_: &mut Self::Write<'_>, _key: u64, _check: bool) -> bool {
        lacking()
    }
    /// Clears the tag; returns whether it did. With `check` only if there is an entry.
    fn clear(_: &mut Self::Write<'_>, _key: u64, _check: bool) -> bool {
        lacking()
    }
    /// Visits up to `N` tagged entries and their values from `from` on, under a guard of its own; returns where to go on.
    fn gang<const N: usize>(
        &self,
        _: Filter,
        _from: u64,
        _visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        lacking()
    }

    /// Sets or clears a tag of all entries from `from` on.
    fn tag_range(_: &mut Self::Write<'_>, _: Mark, _on: bool, _from: u64) {
        lacking()
    }
    /// Counts the dirty entries.
    fn count(_: &Self::Read<'_>) -> u64 {
        lacking()
    }
    /// Makes every dirty entry one to write; returns how many became so.
    fn retag(_: &mut Self::Write<'_>) -> u64 {
        lacking()
    }
}

fn lacking() -> ! {
    unreachable!("only what is among the abilities is asked for")
}

/// A contender that can be built.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// What it is measured in.
    pub abilities: &'static [Ability],
    /// The longest keys it can have.
    pub key_bits_max: u32,
    /// Builds it empty.
    pub build: fn(key_bits: u32) -> Box<dyn Contender>,
}

impl Candidate {
    /// Whether it is measured in `ability` on `set`.
    pub fn takes_part(&self, ability: Ability, set: DataSet) -> bool {
        let able = self.abilities.contains(&ability) && set.key_bits() <= self.key_bits_max;
        able && self.is_chosen()
    }

    /// Whether it is measured at all: the first one always is.
    pub fn is_chosen(&self) -> bool {
        let among =
            |names: &Vec<String>| names.is_empty() || names.iter().any(|name| name == self.name);
        self.name == OURS || CHOSEN.get().is_none_or(among)
    }
}

/// The names of those who are measured, besides the first; none or empty stands for all.
static CHOSEN: OnceLock<Vec<String>> = OnceLock::new();

/// Has only those of these names be measured from now on, besides the first. Once in a process.
///
/// # Errors
/// The name that nobody has.
///
/// # Panics
/// If it was called before.
pub fn choose(names: Vec<String>) -> Result<(), String> {
    let exists = |name: &&String| CANDIDATES.iter().any(|candidate| candidate.name == **name);
    if let Some(unknown) = names.iter().find(|name| !exists(name)) {
        return Err(unknown.clone());
    }
    CHOSEN.set(names).expect("called once");
    Ok(())
}

const fn candidate<I: Index + 'static>(name: &'static str, what: &'static str) -> Candidate {
    let build = |key_bits| Box::new(I::with_key_bits(key_bits)) as Box<dyn Contender>;
    Candidate { name, what, abilities: I::ABILITIES, key_bits_max: 64, build }
}

/// The name of the first candidate.
pub const OURS: &str = "tagged-radix";
/// The name of the tree that marks what a lookup must cost.
pub const BARE: &str = "bare tree";
/// The name of the stand-in for the kernel's.
pub const KERNEL: &str = "XArray stand-in";
/// The name of the array and bitmap that mark what tags must cost.
pub const FLAT: &str = "flat array";

/// All contenders. The others are compared with the first.
pub const CANDIDATES: &[Candidate] = &[
    candidate::<tree::Tree>(OURS, "`RadixTree<&u64>`"),
    candidate::<xarray::XArray>(KERNEL, "the kernel's XArray, its algorithm: one writer at a time"),
    candidate::<congee::Art>("congee", "`Congee`, an adaptive radix tree"),
    candidate::<arctic::Arctic>(
        "Arctic",
        "`arctic::ConcurrentMap`, a lock-free adaptive radix tree",
    ),
    candidate::<artmap::Art>("artmap", "`artmap::ArtMap`, an adaptive radix tree"),
    candidate::<scc::Ordered>("TreeIndex", "`scc::TreeIndex`, a B+-tree"),
    candidate::<scc::Hashed>("scc HashMap", "`scc::HashMap`"),
    candidate::<scc::HashedIndex>("HashIndex", "`scc::HashIndex`"),
    candidate::<skiplist::Skip>("SkipMap", "`crossbeam_skiplist::SkipMap`"),
    candidate::<masstree::Mass>("masstree", "`masstree::MassTree`, a trie of B+-trees"),
    candidate::<dashmap::Sharded>("dashmap", "`DashMap`, a sharded hash map"),
    candidate::<papaya::Papaya>("papaya", "`papaya::HashMap`"),
    candidate::<locked::Tree>("RwLock BTreeMap", "`parking_lot::RwLock<BTreeMap>`"),
    candidate::<locked::Hashed>("RwLock HashMap", "`parking_lot::RwLock<HashMap>`"),
    candidate::<emulated::DashSet>("dashmap + BTreeSet", "`DashMap` and a `Mutex<BTreeSet>`"),
    candidate::<emulated::TwoTrees>("two TreeIndexes", "a `TreeIndex` of entries, one of tags"),
    candidate::<emulated::Roaring>("BTreeMap + Roaring", "`RwLock<(BTreeMap, RoaringTreemap)>`"),
    candidate::<emulated::TwoSkips>("SkipMap + SkipSet", "a `SkipMap` and a `SkipSet`"),
    candidate::<emulated::Flagged>("TreeIndex of flags", "a `TreeIndex` with a flag an entry"),
    limit::FLAT,
    limit::BARE,
];
