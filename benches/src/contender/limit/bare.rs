//! A 64-ary tree of fixed height.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Ability, Contender, Index, value_of};
use crate::contender::narrow;

/// `HEIGHT` levels of nodes that are nothing but 64 pointers. Nodes are added, never removed.
pub(super) struct Bare<const HEIGHT: u32>(Box<Node>);

/// Pointers to nodes, or on the lowest level to values.
struct Node([AtomicPtr<()>; 64]);

/// The lowest tree that holds keys of that many bits.
pub(super) fn of_height(key_bits: u32) -> Box<dyn Contender> {
    match key_bits.div_ceil(6) {
        0..=2 => Box::new(Bare::<2>::with_key_bits(key_bits)),
        3 => Box::new(Bare::<3>::with_key_bits(key_bits)),
        4 => Box::new(Bare::<4>::with_key_bits(key_bits)),
        5 => Box::new(Bare::<5>::with_key_bits(key_bits)),
        _ => Box::new(Bare::<7>::with_key_bits(key_bits)),
    }
}

impl Node {
    fn new() -> Node {
        Node([const { AtomicPtr::new(ptr::null_mut()) }; 64])
    }

    #[inline]
    fn slot(&self, key: u64, level: u32) -> &AtomicPtr<()> {
        &self.0[narrow(key >> (6 * level)) % 64]
    }

    /// The node in the slot for `key`, if there is one. `self` must not be on the lowest level.
    #[inline]
    fn child(&self, key: u64, level: u32) -> Option<&Node> {
        let child = self.slot(key, level).load(Ordering::Acquire).cast::<Node>();
        // SAFETY: above the lowest level a slot is null or owns a node, which is freed only with the whole tree.
        unsafe { child.as_ref() }
    }

    /// The node in the slot for `key`, added if there is none. `self` must not be on the lowest level.
    fn child_or_new(&self, key: u64, level: u32) -> &Node {
        if let Some(child) = self.child(key, level) {
            return child;
        }
        let new = Box::into_raw(Box::new(Node::new()));
        let slot = self.slot(key, level);
        let swap =
            slot.compare_exchange(ptr::null_mut(), new.cast(), Ordering::AcqRel, Ordering::Acquire);
        match swap {
            // SAFETY: the slot owns it now, until the whole tree is dropped.
            Ok(_) => unsafe { &*new },
            Err(first) => {
                // SAFETY: made above from a box, and seen by nobody.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: as in `child`; not null, or the exchange would have succeeded.
                unsafe { &*first.cast::<Node>() }
            }
        }
    }

    fn free_below(&mut self, level: u32) {
        for slot in &mut self.0 {
            let child = slot.get_mut().cast::<Node>();
            if level > 0 && !child.is_null() {
                // SAFETY: above the lowest level a slot owns its node; nobody else has a reference now.
                let mut child = unsafe { Box::from_raw(child) };
                child.free_below(level - 1);
            }
        }
    }

    fn visit(
        &self,
        level: u32,
        prefix: u64,
        from: u64,
        visit: &mut impl FnMut(u64, u64) -> bool,
    ) -> bool {
        let first = if from > prefix { (from - prefix) >> (6 * level) } else { 0 };
        for offset in first..64 {
            let key = prefix + (offset << (6 * level));
            let more = if level == 0 {
                let value = self.slot(key, 0).load(Ordering::Acquire);
                value.is_null() || visit(key, value.addr() as u64)
            } else {
                self.child(key, level).is_none_or(|child| child.visit(level - 1, key, from, visit))
            };
            if !more {
                return false;
            }
        }
        true
    }
}

impl<const HEIGHT: u32> Bare<HEIGHT> {
    /// The slot for `key`, if there is a leaf for it.
    #[inline]
    fn find(&self, key: u64) -> Option<&AtomicPtr<()>> {
        if key >> (6 * HEIGHT) != 0 {
            return None;
        }
        let mut node = &*self.0;
        for level in (1..HEIGHT).rev() {
            node = node.child(key, level)?;
        }
        Some(node.slot(key, 0))
    }
}

impl<const HEIGHT: u32> Drop for Bare<HEIGHT> {
    fn drop(&mut self) {
        self.0.free_below(HEIGHT - 1);
    }
}

impl<const HEIGHT: u32> Index for Bare<HEIGHT> {
    const ABILITIES: &'static [Ability] = &[Ability::Map, Ability::Iterate, Ability::Scan];

    type Read<'a> = &'a Self;
    type Write<'a> = &'a Self;

    fn with_key_bits(_: u32) -> Self {
        Bare(Box::new(Node::new()))
    }

    #[inline]
    fn read(&self) -> &Self {
        self
    }

    #[inline]
    fn write(&self) -> &Self {
        self
    }

    #[inline]
    fn get(tree: &&Self, key: u64) -> u64 {
        tree.find(key).map_or(0, |slot| slot.load(Ordering::Acquire).addr() as u64)
    }

    #[inline]
    fn insert(tree: &mut &Self, key: u64) {
        let mut node = &*tree.0;
        for level in (1..HEIGHT).rev() {
            node = node.child_or_new(key, level);
        }
        let value = ptr::from_ref(value_of(key)).cast_mut();
        node.slot(key, 0).store(value.cast(), Ordering::Release);
    }

    #[inline]
    fn remove(tree: &mut &Self, key: u64) -> bool {
        let slot = tree.find(key);
        slot.is_some_and(|slot| !slot.swap(ptr::null_mut(), Ordering::AcqRel).is_null())
    }

    fn iterate(tree: &&Self, mut visit: impl FnMut(u64, u64)) {
        let mut each = |key, word| {
            visit(key, word);
            true
        };
        tree.0.visit(HEIGHT - 1, 0, 0, &mut each);
    }

    fn scan(tree: &&Self, from: u64, count: usize, mut visit: impl FnMut(u64, u64)) {
        let mut left = count;
        let mut each = |key, word| {
            visit(key, word);
            left -= 1;
            left > 0
        };
        tree.0.visit(HEIGHT - 1, 0, from, &mut each);
    }
}
