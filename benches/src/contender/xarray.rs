//! A stand-in for the kernel's XArray: its published algorithm, so that ratios can be watched where no kernel is built.
//!
//! A 64-ary tree of nodes of 576 bytes: a header, 64 slots, and a word of bits for each mark. One writer at a time, under a
//! spin lock; it stores bits and slots plainly. Readers take nothing, not even a fence, as under the kernel's RCU or a
//! user-space one by quiescent states: nodes that were removed stay readable, and are freed between two samples. A tree is
//! no higher than its largest key wants, and a single entry at 0 lies in the root. A bit above the leaves says that one is set below;
//! marks are set and cleared from the leaf upwards, as far as something changes. Walks climb by the nodes' parents.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use parking_lot::lock_api::{self, GuardSend, RawMutex};

use super::{Ability, Filter, Index, Mark, narrow, value_of};

/// As many as the kernel has.
const MARKS: usize = 3;

/// What a slot holds: null, a value, or a node with [`NODE`] added to its address.
type Entry = *mut ();
const NODE: usize = 2;

/// Removed nodes that a tree keeps before it hands them over to be freed.
const GRAVES: usize = 1024;

/// Removed from their trees, and to be freed when nobody reads.
static RETIRED: Mutex<Vec<Grave>> = Mutex::new(Vec::new());

/// A tree with 64 children a node.
pub(super) struct XArray {
    head: AtomicPtr<()>,
    /// A bit for each mark: some entry has it.
    flags: AtomicU32,
    /// What a writer has, and the nodes it has removed.
    lock: lock_api::Mutex<Spin, Vec<Grave>>,
}

/// As the kernel's in size and order: what a lookup reads of it lies in two cache lines, the marks in a third.
#[repr(C, align(64))]
struct Node {
    shift: u8,
    offset: u8,
    count: AtomicU8,
    parent: AtomicPtr<Node>,
    _owner_and_list: [u64; 3],
    slots: [AtomicPtr<()>; 64],
    marks: [AtomicU64; MARKS],
}

const _: () = assert!(size_of::<Node>() == 576, "nine cache lines");

/// A node that is in no tree.
struct Grave(*mut Node);

// SAFETY: it owns the node, and is only dropped, by whoever has it.
unsafe impl Send for Grave {}

impl Drop for Grave {
    fn drop(&mut self) {
        // SAFETY: made from a box; in no tree any more, and nobody reads when graves are dropped.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Frees removed nodes. Nobody may be reading any tree.
pub(crate) fn free() {
    RETIRED.lock().clear();
}

/// A lock whose release is a plain store.
struct Spin(AtomicBool);

// SAFETY: whoever has swapped `true` in has the lock, until it stores `false`.
unsafe impl RawMutex for Spin {
    const INIT: Spin = Spin(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        let mut turns = 0_u32;
        while self.0.swap(true, Ordering::Acquire) {
            while self.0.load(Ordering::Relaxed) {
                turns += 1;
                if turns.is_multiple_of(1000) {
                    // The holder may have lost its processor.
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
            }
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[inline]
fn node<'t>(entry: Entry) -> Option<&'t Node> {
    let is_node = entry.addr() & NODE != 0;
    // SAFETY: an entry with this bit is a node, and nodes are freed when nobody reads.
    is_node.then(|| unsafe { &*entry.map_addr(|address| address & !NODE).cast::<Node>() })
}

fn entry(node: &Node) -> Entry {
    ptr::from_ref(node).cast_mut().cast::<()>().map_addr(|address| address | NODE)
}

impl Node {
    /// Leaks it.
    fn new<'t>(shift: u8, offset: u8, parent: *mut Node) -> &'t Node {
        Box::leak(Box::new(Node {
            shift,
            offset,
            count: AtomicU8::new(0),
            parent: AtomicPtr::new(parent),
            _owner_and_list: [0; 3],
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; 64],
            marks: [const { AtomicU64::new(0) }; MARKS],
        }))
    }

    #[inline]
    const fn offset_of(&self, key: u64) -> usize {
        narrow(key >> self.shift) % 64
    }

    #[inline]
    const fn can_have(&self, key: u64) -> bool {
        key >> self.shift < 64
    }

    #[inline]
    fn parent(&self) -> Option<&Node> {
        // SAFETY: a parent outlives its children, or is freed together with them when nobody reads.
        unsafe { self.parent.load(Ordering::Acquire).as_ref() }
    }

    #[inline]
    fn has(&self, mark: usize, offset: usize) -> bool {
        self.marks[mark].load(Ordering::Relaxed) >> offset & 1 == 1
    }

    /// The first slot from `offset` on with something in it, or with the mark.
    #[inline]
    fn next(&self, mark: Option<usize>, offset: usize) -> Option<usize> {
        if offset == 64 {
            return None;
        }
        match mark {
            Some(mark) => {
                let left = self.marks[mark].load(Ordering::Relaxed) >> offset;
                (left != 0).then(|| offset + left.trailing_zeros() as usize)
            }
            None => (offset..64).find(|&at| !self.slots[at].load(Ordering::Relaxed).is_null()),
        }
    }

    fn bury_all(&self, graves: &mut Vec<Grave>) {
        for slot in &self.slots {
            if let Some(child) = node(slot.load(Ordering::Relaxed)) {
                child.bury_all(graves);
            }
        }
        graves.push(Grave(ptr::from_ref(self).cast_mut()));
    }
}

/// Where a walk has found an entry; no node: in the root.
type Place<'t> = (Option<&'t Node>, usize);

impl XArray {
    #[inline]
    fn find(&self, key: u64) -> Option<(Place<'_>, Entry)> {
        let mut found = self.head.load(Ordering::Acquire);
        let Some(root) = node(found) else {
            return (key == 0 && !found.is_null()).then_some(((None, 0), found));
        };
        if !root.can_have(key) {
            return None;
        }
        let mut place = (root, 0);
        while let Some(next) = node(found) {
            place = (next, next.offset_of(key));
            found = next.slots[place.1].load(Ordering::Acquire);
        }
        (!found.is_null()).then_some(((Some(place.0), place.1), found))
    }

    /// Visits the entries from `from` on, with a mark those that have it, until the visitor has enough.
    #[inline]
    fn walk(
        &self,
        from: u64,
        mark: Option<usize>,
        mut visit: impl FnMut(Place<'_>, u64, Entry) -> bool,
    ) {
        let head = self.head.load(Ordering::Acquire);
        let Some(mut at) = node(head) else {
            let has = mark.is_none_or(|mark| self.flags.load(Ordering::Relaxed) >> mark & 1 == 1);
            if from == 0 && !head.is_null() && has {
                visit((None, 0), 0, head);
            }
            return;
        };
        if !at.can_have(from) {
            return;
        }
        let (mut key, mut offset) = (from, at.offset_of(from));
        loop {
            let Some(next) = at.next(mark, offset) else {
                let Some(parent) = at.parent() else { return };
                (offset, at) = (usize::from(at.offset) + 1, parent);
                continue;
            };
            if next != at.offset_of(key) {
                key = ((key >> at.shift & !63) | next as u64) << at.shift;
            }
            let found = at.slots[next].load(Ordering::Acquire);
            if let Some(child) = node(found) {
                (offset, at) = (child.offset_of(key), child);
                continue;
            }
            if !found.is_null() && !visit((Some(at), next), key, found) {
                return;
            }
            offset = next + 1;
        }
    }

    /// Sets a mark from the leaf upwards; the caller has the lock.
    #[inline]
    fn set_mark(&self, (node, offset): Place<'_>, mark: usize) -> bool {
        let (mut above, mut offset, mut changed) = (node, offset, false);
        while let Some(node) = above {
            let word = node.marks[mark].load(Ordering::Relaxed);
            if word >> offset & 1 == 1 {
                return changed;
            }
            node.marks[mark].store(word | 1 << offset, Ordering::Relaxed);
            changed = true;
            (above, offset) = (node.parent(), node.offset.into());
        }
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(flags | 1 << mark, Ordering::Relaxed);
        changed || flags >> mark & 1 == 0
    }

    /// Clears a mark from the leaf upwards; the caller has the lock.
    #[inline]
    fn clear_mark(&self, (node, offset): Place<'_>, mark: usize) -> bool {
        let (mut above, mut offset, mut changed) = (node, offset, false);
        while let Some(node) = above {
            let word = node.marks[mark].load(Ordering::Relaxed);
            if word >> offset & 1 == 0 {
                return changed;
            }
            let left = word & !(1 << offset);
            node.marks[mark].store(left, Ordering::Relaxed);
            changed = true;
            if left != 0 {
                return changed;
            }
            (above, offset) = (node.parent(), node.offset.into());
        }
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(flags & !(1 << mark), Ordering::Relaxed);
        changed || flags >> mark & 1 == 1
    }
}

/// The one that may change the tree.
pub(super) struct Writer<'t> {
    tree: &'t XArray,
    graves: lock_api::MutexGuard<'t, Spin, Vec<Grave>>,
}

impl Writer<'_> {
    /// Puts roots above the root until there is one that can have the key; says how high the tree is to be.
    fn expand(&self, key: u64) -> u8 {
        let tree = self.tree;
        let mut head = tree.head.load(Ordering::Relaxed);
        if head.is_null() {
            let mut levels = 0;
            while levels * 6 < 64 && key >> (levels * 6) != 0 {
                levels += 1;
            }
            return levels;
        }
        loop {
            let shift = match node(head) {
                Some(root) if root.can_have(key) => return root.shift / 6 + 1,
                Some(root) => root.shift + 6,
                None if key == 0 => return 0,
                None => 0,
            };
            let root = Node::new(shift, 0, ptr::null_mut());
            root.count.store(1, Ordering::Relaxed);
            root.slots[0].store(head, Ordering::Relaxed);
            let flags = tree.flags.load(Ordering::Relaxed);
            for (mark, word) in root.marks.iter().enumerate() {
                word.store((flags >> mark & 1).into(), Ordering::Relaxed);
            }
            if let Some(old) = node(head) {
                old.parent.store(ptr::from_ref(root).cast_mut(), Ordering::Release);
            }
            head = entry(root);
            tree.head.store(head, Ordering::Release);
        }
    }

    fn store(&self, key: u64, value: Entry) {
        let (mut levels, mut above, mut slot) = (self.expand(key), None::<&Node>, &self.tree.head);
        let added = |above: Option<&Node>| {
            if let Some(node) = above {
                node.count.store(node.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        };
        while levels > 0 {
            levels -= 1;
            let child = node(slot.load(Ordering::Relaxed)).unwrap_or_else(|| {
                let offset = above.map_or(0, |above| above.offset_of(key));
                #[expect(clippy::cast_possible_truncation, reason = "below 64")]
                let child = Node::new(
                    levels * 6,
                    offset as u8,
                    above.map_or(ptr::null_mut(), |above| ptr::from_ref(above).cast_mut()),
                );
                slot.store(entry(child), Ordering::Release);
                added(above);
                child
            });
            (above, slot) = (Some(child), &child.slots[child.offset_of(key)]);
        }
        if slot.load(Ordering::Relaxed).is_null() {
            added(above);
        }
        slot.store(value, Ordering::Release);
    }

    fn remove(&mut self, key: u64) -> bool {
        let tree = self.tree;
        let Some((place, _)) = tree.find(key) else { return false };
        for mark in 0..MARKS {
            tree.clear_mark(place, mark);
        }
        let (mut above, mut offset) = place;
        // The entry, and the nodes that it was the last one in.
        while let Some(node) = above {
            node.slots[offset].store(ptr::null_mut(), Ordering::Release);
            let left = node.count.load(Ordering::Relaxed) - 1;
            node.count.store(left, Ordering::Relaxed);
            if left > 0 {
                self.shrink();
                return true;
            }
            (above, offset) = (node.parent(), node.offset.into());
            self.bury(node);
        }
        tree.head.store(ptr::null_mut(), Ordering::Release);
        true
    }

    /// Takes roots away that have nothing but their first child.
    fn shrink(&mut self) {
        let tree = self.tree;
        while let Some(root) = node(tree.head.load(Ordering::Relaxed)) {
            let first = root.slots[0].load(Ordering::Relaxed);
            let child = node(first);
            let is_needed = first.is_null() || child.is_none() && root.shift > 0;
            if is_needed || root.count.load(Ordering::Relaxed) > 1 {
                return;
            }
            tree.head.store(first, Ordering::Release);
            if let Some(child) = child {
                child.parent.store(ptr::null_mut(), Ordering::Release);
            }
            self.bury(root);
        }
    }

    fn bury(&mut self, node: &Node) {
        self.graves.push(Grave(ptr::from_ref(node).cast_mut()));
        if self.graves.len() == GRAVES {
            RETIRED.lock().append(&mut self.graves);
        }
    }
}

impl Drop for XArray {
    fn drop(&mut self) {
        if let Some(root) = node(*self.head.get_mut()) {
            // Nobody else has the tree, so that all can be freed at once.
            root.bury_all(self.lock.get_mut());
        }
    }
}

const fn number(mark: Mark) -> usize {
    match mark {
        Mark::Dirty => 0,
        Mark::ToWrite => 1,
    }
}

#[inline]
fn word(entry: Entry) -> u64 {
    entry.addr() as u64
}

impl Index for XArray {
    const ABILITIES: &'static [Ability] = Ability::ALL;

    type Read<'a> = &'a XArray;
    type Write<'a> = Writer<'a>;

    fn with_key_bits(_: u32) -> XArray {
        XArray {
            head: AtomicPtr::default(),
            flags: AtomicU32::new(0),
            lock: lock_api::Mutex::new(Vec::new()),
        }
    }

    #[inline]
    fn read(&self) -> &XArray {
        self
    }

    #[inline]
    fn write(&self) -> Writer<'_> {
        Writer { tree: self, graves: self.lock.lock() }
    }

    #[inline]
    fn get(tree: &&XArray, key: u64) -> u64 {
        tree.find(key).map_or(0, |(_, found)| word(found))
    }

    #[inline]
    fn insert(writer: &mut Writer<'_>, key: u64) {
        writer.store(key, ptr::from_ref(value_of(key)).cast_mut().cast());
    }

    #[inline]
    fn remove(writer: &mut Writer<'_>, key: u64) -> bool {
        writer.remove(key)
    }

    #[inline]
    fn iterate(tree: &&XArray, mut visit: impl FnMut(u64, u64)) {
        tree.walk(0, None, |_, key, found| {
            visit(key, word(found));
            true
        });
    }

    #[inline]
    fn scan(tree: &&XArray, from: u64, count: usize, mut visit: impl FnMut(u64, u64)) {
        let mut left = count;
        tree.walk(from, None, |_, key, found| {
            visit(key, word(found));
            left -= 1;
            left > 0
        });
    }

    fn remove_range(writer: &mut Writer<'_>) {
        // Nodes stay readable when they are removed.
        writer.tree.walk(0, None, |_, key, _| writer.remove(key));
    }

    // It always checks: marks are where the entry is.
    #[inline]
    fn set(writer: &mut Writer<'_>, key: u64, _check: bool) -> bool {
        let found = writer.tree.find(key);
        found.is_some_and(|(place, _)| writer.tree.set_mark(place, number(Mark::Dirty)))
    }

    #[inline]
    fn clear(writer: &mut Writer<'_>, key: u64, _check: bool) -> bool {
        let found = writer.tree.find(key);
        found.is_some_and(|(place, _)| writer.tree.clear_mark(place, number(Mark::Dirty)))
    }

    #[inline]
    fn gang<const N: usize>(
        &self,
        filter: Filter,
        from: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Option<u64> {
        let (mut left, mut next) = (N, None);
        self.walk(from, Some(number(Mark::Dirty)), |(node, offset), key, found| {
            let is_out = filter == Filter::DirtyOnly
                && node.is_some_and(|node| node.has(number(Mark::ToWrite), offset));
            if !is_out {
                visit(key, word(found));
                left -= 1;
            }
            if left == 0 {
                next = key.checked_add(1);
            }
            left > 0
        });
        next
    }

    fn tag_range(writer: &mut Writer<'_>, mark: Mark, on: bool, from: u64) {
        let (tree, mark) = (writer.tree, number(mark));
        if on {
            tree.walk(from, None, |place, _, _| {
                tree.set_mark(place, mark);
                true
            });
        } else {
            tree.walk(from, Some(mark), |place, _, _| {
                tree.clear_mark(place, mark);
                true
            });
        }
    }

    fn count(tree: &&XArray) -> u64 {
        let mut count = 0;
        tree.walk(0, Some(number(Mark::Dirty)), |_, _, _| {
            count += 1;
            true
        });
        count
    }

    fn retag(writer: &mut Writer<'_>) -> u64 {
        let (tree, mut count) = (writer.tree, 0);
        tree.walk(0, Some(number(Mark::Dirty)), |place, _, _| {
            count += u64::from(tree.set_mark(place, number(Mark::ToWrite)));
            true
        });
        count
    }
}

#[cfg(test)]
mod tests;
