//! A B+tree on the pages of a mapping, by latch coupling.
//!
//! A page is a node: its level (0: a leaf), how many entries it has, and these, sorted by key. The value of an inner node's
//! entry is the page of the child that has all keys from the entry's own up to the next; the first entry's key is taken
//! for 0. Page 0 is the root, and stays so: when it is full its entries move to two new pages below it.
//!
//! # Who may be where
//! A thread goes down with guards: it has the parent's until it has the child's, and lets go of it then. A node is split by
//! a thread that has write guards of it and of its parent. So nobody is ever at a page whose keys have just moved away.
//! All go from parent to child, and nobody up: that is the order that keeps them from waiting for each other.
//!
//! An insert first hopes that its leaf has room: it goes down as a look-up does, and takes a write guard of the leaf alone. If
//! the leaf is full it goes down again with write guards, and splits every full node on its way *before* it goes on, so that
//! a split below always finds room for the new page in the parent.
//!
//! A split is several pages: after a crash the file may have some of them and not the others. An engine logs it first
//! (`PageWriteGuard::log_at`); this example syncs at its end.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use writeback::page::PageRef;
use writeback::{Mapping, Result};

/// A tree from `u64` to `u64`. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    mapping: Mapping,
    /// Most entries of a node.
    entries_max: usize,
    /// The next page that nobody has.
    next_page: Arc<AtomicU64>,
}

/// The pages that a descent has come to. It keeps them all until its end; what matters to others are the guards, which
/// borrow from here.
struct Path([OnceCell<PageRef>; 64]);

impl Path {
    fn new() -> Self {
        Self([const { OnceCell::new() }; 64])
    }

    fn add(&self, page: PageRef) -> &PageRef {
        let free = self.0.iter().find(|place| place.get().is_none()).expect("no tree is so high");
        free.get_or_init(|| page)
    }
}

impl Tree {
    /// A new tree, in an empty mapping; nodes have at most `entries_max` entries, and three at least.
    pub(crate) fn create(mapping: Mapping, entries_max: usize) -> Result<Self> {
        let tree = Self::open(mapping, entries_max);
        tree.allocate()?;
        Ok(tree)
    }

    /// The tree that is in the mapping.
    pub(crate) fn open(mapping: Mapping, entries_max: usize) -> Self {
        let next_page = Arc::new(AtomicU64::new(mapping.len() / mapping.page_size() as u64));
        let fit = (mapping.page_size() - 16) / 16;
        Self { mapping, entries_max: entries_max.clamp(3, fit), next_page }
    }

    fn allocate(&self) -> Result<PageRef> {
        self.mapping.allocate(self.next_page.fetch_add(1, Ordering::Relaxed))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: u64) -> Result<Option<u64>> {
        let path = Path::new();
        let mut node = path.add(self.mapping.page(0)?).read();
        while level(&node) > 0 {
            let child = path.add(self.mapping.page(child(&node, key))?);
            node = child.read(); // and only now the parent's guard is dropped
        }
        Ok(find(&node, key).ok().map(|at| entry(&node, at).1))
    }

    /// Gives `key` this value; returns the one it had.
    pub(crate) fn insert(&self, key: u64, value: u64) -> Result<Option<u64>> {
        // While it has guards, it does not wait for room.
        self.mapping.wait_for_room()?;
        match self.insert_if_room(key, value)? {
            Some(before) => Ok(before),
            None => self.insert_and_split(key, value),
        }
    }

    /// `None`: the leaf is full, or the root is the leaf.
    fn insert_if_room(&self, key: u64, value: u64) -> Result<Option<Option<u64>>> {
        let path = Path::new();
        let mut node = path.add(self.mapping.page(0)?).read();
        while level(&node) > 1 {
            node = path.add(self.mapping.page(child(&node, key))?).read();
        }
        if level(&node) == 0 {
            return Ok(None);
        }
        let mut leaf = path.add(self.mapping.page(child(&node, key))?).write()?;
        drop(node);
        if find(&leaf, key).is_err() && self.is_full(&leaf) {
            return Ok(None);
        }
        Ok(Some(put(&mut leaf, key, value)))
    }

    fn insert_and_split(&self, key: u64, value: u64) -> Result<Option<u64>> {
        let path = Path::new();
        let mut node = path.add(self.mapping.page(0)?).write()?;
        if self.is_full(&node) {
            // One level more: what the root had is in two nodes now, and the root has these.
            let (left, right) = (path.add(self.allocate()?), path.add(self.allocate()?));
            let (mut to_left, mut to_right) = (left.write()?, right.write()?);
            to_left.copy_from_slice(&node);
            let separator = split(&mut to_left, &mut to_right);
            let above = level(&node) + 1;
            set_header(&mut node, above, 0);
            put(&mut node, 0, left.index());
            put(&mut node, separator, right.index());
        }
        while level(&node) > 0 {
            let mut next = path.add(self.mapping.page(child(&node, key))?).write()?;
            if self.is_full(&next) {
                let right = path.add(self.allocate()?);
                let mut to_right = right.write()?;
                let separator = split(&mut next, &mut to_right);
                put(&mut node, separator, right.index());
                if key >= separator {
                    next = to_right;
                }
            }
            node = next;
        }
        Ok(put(&mut node, key, value))
    }

    fn is_full(&self, node: &[u8]) -> bool {
        count(node) >= self.entries_max
    }

    /// Looks at the whole tree, while nobody changes it; returns how many keys it has.
    ///
    /// # Panics
    /// If anything is where it should not be.
    pub(crate) fn check(&self) -> Result<usize> {
        let root = self.mapping.page(0)?;
        let height = level(&root.read());
        self.check_below(0, height, 0, u64::MAX)
    }

    fn check_below(&self, page: u64, height: u64, from: u64, to: u64) -> Result<usize> {
        let page = self.mapping.page(page)?;
        let node = page.read();
        let entries: Vec<_> = (0..count(&node)).map(|at| entry(&node, at)).collect();
        assert_eq!(level(&node), height, "all leaves are at one depth");
        assert!(entries.is_sorted_by(|one, next| one.0 < next.0), "keys are sorted");
        let within = |key: u64| (key >= from || height > 0 && key == 0) && key <= to;
        assert!(entries.iter().all(|(key, _)| within(*key)), "keys are where they are looked for");
        if height == 0 {
            return Ok(entries.len());
        }
        let mut keys = 0;
        for (at, (key, child)) in entries.iter().enumerate() {
            let to = entries.get(at + 1).map_or(to, |(next, _)| next - 1);
            keys += self.check_below(*child, height - 1, (*key).max(from), to)?;
        }
        Ok(keys)
    }
}

// What is in a page: words, the first two its level and its count.

fn word(node: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(node[8 * at..][..8].try_into().expect("eight bytes"))
}

fn set_word(node: &mut [u8], at: usize, value: u64) {
    node[8 * at..][..8].copy_from_slice(&value.to_le_bytes());
}

fn level(node: &[u8]) -> u64 {
    word(node, 0)
}

fn count(node: &[u8]) -> usize {
    usize::try_from(word(node, 1)).expect("few")
}

fn set_header(node: &mut [u8], level: u64, count: usize) {
    set_word(node, 0, level);
    set_word(node, 1, count as u64);
}

fn entry(node: &[u8], at: usize) -> (u64, u64) {
    (word(node, 2 + 2 * at), word(node, 3 + 2 * at))
}

/// Where `key` is, or would be.
fn find(node: &[u8], key: u64) -> std::result::Result<usize, usize> {
    let (mut from, mut to) = (0, count(node));
    while from < to {
        let middle = usize::midpoint(from, to);
        match entry(node, middle).0.cmp(&key) {
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Equal => return Ok(middle),
            std::cmp::Ordering::Greater => to = middle,
        }
    }
    Err(from)
}

/// The page of the child that has `key`.
fn child(node: &[u8], key: u64) -> u64 {
    let at = find(node, key).unwrap_or_else(|after| after - 1);
    entry(node, at).1
}

/// Sets the value of `key`, in a node that has it or has room for it; returns the one it had.
fn put(node: &mut [u8], key: u64, value: u64) -> Option<u64> {
    let at = match find(node, key) {
        Ok(at) => {
            let before = entry(node, at).1;
            set_word(node, 3 + 2 * at, value);
            return Some(before);
        }
        Err(at) => at,
    };
    let count = count(node);
    node.copy_within(16 + 16 * at..16 + 16 * count, 32 + 16 * at);
    set_word(node, 2 + 2 * at, key);
    set_word(node, 3 + 2 * at, value);
    set_word(node, 1, count as u64 + 1);
    None
}

/// Moves the upper half of a node to another; returns the first key there.
fn split(left: &mut [u8], right: &mut [u8]) -> u64 {
    let (count, stays) = (count(left), count(left) / 2);
    right[16..16 + 16 * (count - stays)].copy_from_slice(&left[16 + 16 * stays..16 + 16 * count]);
    set_header(right, level(left), count - stays);
    set_word(left, 1, stays as u64);
    entry(right, 0).0
}
