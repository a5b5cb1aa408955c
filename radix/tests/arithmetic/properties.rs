//! What must be true of the tree's index arithmetic and of its edges: one definition for the property tests and the fuzz
//! target, on the very sources of the tree, which are private and so are included here.

#[path = "../../src/raw/node/edge.rs"]
mod edge;
#[path = "../../src/raw/node/index.rs"]
mod index;

use core::ptr::NonNull;

use edge::Edge;
use index::{ALL_SLOTS, BITS, FANOUT};

/// In place of the tree's own; to be named `sync` at the root of the crate, too, where the sources look for it.
pub(crate) mod sync {
    pub(crate) const CHECKED: bool = false;
}

/// As a node is aligned.
#[derive(Debug)]
#[repr(align(64))]
struct Node;

/// As a single is aligned.
#[derive(Debug)]
#[repr(align(8))]
struct Single;

#[expect(clippy::cast_possible_truncation, reason = "at most 16")]
pub(crate) const LEVELS: u8 = index::LEVELS as u8;

/// How many indices a node at `level` covers: may be more than there are.
fn width(level: u8) -> u128 {
    (FANOUT as u128).pow(u32::from(level) + 1)
}

/// Compares all of the index arithmetic with plain arithmetic on wide integers.
pub(crate) fn check_indices(a: u64, b: u64, c: u64) {
    assert!(index::fits(a));
    for level in 0..LEVELS {
        check_place(a, level);
        check_place(b, level);
    }
    if a >> BITS != b >> BITS {
        check_split(a, b);
    }
    let (low, high) = (b.min(c), b.max(c));
    for leaf in [a, b, c] {
        check_leaf(leaf & !(FANOUT as u64 - 1), low, high);
    }
    let offset = index::offset(a, 0);
    check_words(offset, b);
    check_words(offset, 1 << (c % FANOUT as u64));
}

/// Where an index lies in its node at `level`.
fn check_place(at: u64, level: u8) {
    let (wide, node, slot) = (u128::from(at), width(level), width(level) / FANOUT as u128);
    let offset = index::offset(at, level);
    assert_eq!(offset as u128, wide / slot % FANOUT as u128, "offset of {at:#x} at {level}");
    let prefix = index::prefix(at, level);
    assert_eq!(u128::from(prefix), wide / node, "prefix of {at:#x} at {level}");
    let base = index::base(prefix, level);
    assert_eq!(u128::from(base), wide / node * node, "base of {at:#x} at {level}");
    let last = (u128::from(base) + node - 1).min(u64::MAX.into());
    assert_eq!(u128::from(base | index::span(level)), last, "last of {at:#x} at {level}");
    let slot_base = index::slot_base(base, offset, level);
    assert_eq!(u128::from(slot_base), wide / slot * slot, "slot of {at:#x} at {level}");
    assert_eq!(u128::from(index::slot_span(level)), slot - 1, "span of a slot at {level}");
}

/// The lowest level at which two indices are in one node.
fn check_split(a: u64, b: u64) {
    let together = |level: &u8| u128::from(a) / width(*level) == u128::from(b) / width(*level);
    let lowest = (0..LEVELS).find(together).expect("the top covers all");
    assert_eq!(index::split_level(a, b), lowest, "{a:#x} and {b:#x} part");
    assert_eq!(index::split_level(b, a), lowest, "{b:#x} and {a:#x} part");
}

/// Which slots of a leaf a range touches.
fn check_leaf(leaf: u64, low: u64, high: u64) {
    let inside = |offset: &usize| (low..=high).contains(&(leaf + *offset as u64));
    let bits = (0..FANOUT).filter(inside).fold(0, |bits, offset| bits | 1_u64 << offset);
    assert_eq!(index::leaf_bits(leaf, low, high), bits, "{leaf:#x} in {low:#x}..={high:#x}");
}

/// The words that have a bit for every slot.
fn check_words(offset: usize, word: u64) {
    let bit = index::bit(offset);
    assert_eq!(bit, 1 << offset);
    assert_eq!(ALL_SLOTS.count_ones() as usize, FANOUT);
    let (from, up_to) = (index::from(offset), index::up_to(offset));
    assert_eq!((from & up_to, from | up_to), (bit, ALL_SLOTS), "{offset}");
    assert!(
        from.trailing_zeros() as usize == offset && up_to.trailing_ones() as usize == offset + 1
    );
    if word != 0 {
        let set = |at: &usize| word >> at & 1 == 1;
        assert_eq!(Some(index::lowest(word)), (0..64).find(set));
        assert_eq!(Some(index::highest(word)), (0..64).rev().find(set));
    }
}

/// Makes an edge to a node at some place and takes it apart again; looks at no edge and, with any `bits`, at one that
/// was not made here.
pub(crate) fn check_edges(place: usize, level: u8, skip: bool, bits: u8) {
    let node: *mut Node = core::ptr::without_provenance_mut(place & !63);
    let node = NonNull::new(node).unwrap_or(NonNull::dangling());
    let edge = Edge::full(node, level, skip);
    assert_eq!((edge.pointer(), edge.level(), edge.skips()), (node.as_ptr(), level, skip));
    assert!(!edge.is_null() && !edge.is_single() && !edge.is_small() && edge.is_full());
    assert_eq!(edge.plain_level(), (!skip).then_some(level));
    assert_eq!(edge.leads_to_inner(), level > 0);
    check_questions(edge);
    check_questions(Edge::from_word(
        edge.word().map_addr(|word| word & !63 | usize::from(bits & 62)),
    ));
    check_small(node, level.max(1));
    check_single(place);
    check_null();
}

/// All questions to an edge that may be null agree with each other.
fn check_questions(edge: Edge) {
    assert_eq!(Edge::from_word(edge.word()), edge);
    assert_eq!(edge.is_leaf_or_null(), edge.level() == 0);
    if edge.level() < LEVELS {
        let index = 0x0123_4567_89ab_cdef_u64.rotate_left(u32::from(edge.level()) * 11);
        assert_eq!(edge.offset(index), index::offset(index, edge.level()));
    }
    assert_eq!(edge.plain_level().is_some(), !edge.skips());
    for level in 0..16 {
        let plain = !edge.is_null() && edge.plain_level() == Some(level);
        assert_eq!(edge.leads_to(level), plain, "{edge:?} to {level}");
        if plain {
            assert_eq!(edge.level(), level);
            assert_eq!(edge.plain_pointer::<Node>(level), edge.pointer());
        }
    }
    assert!(
        edge.pointer::<Node>().is_null() == edge.is_null()
            && edge.pointer::<Node>().addr() & 63 == 0
    );
}

/// An edge to a small node, which is no leaf, knows its level, and is plain to none.
fn check_small(node: NonNull<Node>, level: u8) {
    let edge = Edge::small(node, level);
    assert_eq!(Edge::from_word(edge.word()), edge);
    assert_eq!((edge.pointer(), edge.level()), (node.as_ptr(), level));
    assert!(edge.is_small() && !edge.is_single() && !edge.is_full() && !edge.is_null());
    assert!(edge.skips() && edge.leads_to_inner());
    assert!(edge.plain_level().is_none() && (0..16).all(|level| !edge.leads_to(level)));
}

/// An edge to a single is plain to no level, wherever the single lies.
fn check_single(place: usize) {
    let single: *mut Single = core::ptr::without_provenance_mut(place & !7);
    let single = NonNull::new(single).unwrap_or(NonNull::dangling());
    let edge = Edge::single(single);
    assert_eq!(Edge::from_word(edge.word()), edge);
    assert_eq!(edge.single_pointer(), single.as_ptr());
    assert!(edge.is_single() && !edge.is_small() && !edge.is_full() && !edge.leads_to_inner());
    assert!(!edge.is_null() && edge.skips());
    assert!(edge.plain_level().is_none() && (0..16).all(|level| !edge.leads_to(level)));
}

fn check_null() {
    let null = Edge::NULL;
    assert!(null.is_null() && null.is_leaf_or_null() && !null.skips() && !null.is_single());
    assert_eq!((null.level(), null.plain_level()), (0, Some(0)));
    check_questions(null);
}
