//! The tree with its root, whoever links to a node, and the way from a locked node to the one above.

use core::ptr::NonNull;

use super::child::Child;
use super::leaf::Leaf;
use crate::raw::node::edge::Edge;
use crate::raw::node::full::Locked;
use crate::raw::node::header::Header;
use crate::raw::node::index::{self, bit};
use crate::raw::node::inner::{Inner, LockedInner};
use crate::raw::node::lock::VersionLock;
use crate::raw::node::single::LockedSingle;
use crate::raw::node::word::{Slot, TagWords};
use crate::reclaim::Guard;
use crate::sync::{Backoff, const_unless_checked};
use crate::tag::Tag;

/// The parent of the top node.
#[derive(Debug)]
pub(in crate::raw) struct Root {
    /// Guards `slot`, `tags` and the top node's `parent`.
    pub(in crate::raw) lock: VersionLock,
    /// Root flags: bit 0 of each word.
    pub(in crate::raw) tags: TagWords,
    pub(in crate::raw) slot: ReadMostly<Slot>,
}

/// Keeps what every reader loads off the cache line that taggers write.
#[derive(Debug)]
#[repr(align(64))]
pub(in crate::raw) struct ReadMostly<T>(pub(in crate::raw) T);

/// The tree without types: it keeps words, and gives back those that leave it.
///
/// It owns its nodes and frees them. What the words mean, and what becomes of one that was replaced or removed, is the
/// caller's business.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(in crate::raw) root: Root,
}

impl Tree {
    const_unless_checked! {
        pub(crate) const fn new() -> Tree {
            let (lock, tags, slot) = (VersionLock::unlocked(), TagWords::clear(), Slot::empty());
            Tree { root: Root { lock, tags, slot: ReadMostly(slot) } }
        }
    }

    #[inline]
    pub(in crate::raw) fn root_edge(&self) -> Edge {
        self.root.slot.0.edge()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.root_edge().is_null()
    }

    /// Whether some entry may have `tag`: never false while a completed set stands.
    #[inline]
    pub(crate) fn any_tagged(&self, tag: Tag) -> bool {
        self.root.tags.load(tag) != 0
    }
}

/// Whoever links to a node: the root or an inner node. Holds its lock.
#[derive(Debug)]
pub(in crate::raw) enum Above<'g> {
    Root(LockedRoot<'g>),
    Node(LockedInner<'g>),
}

/// The root, whose lock is held by the owner of this value.
#[derive(Debug)]
pub(in crate::raw) struct LockedRoot<'g>(&'g Root);

impl Drop for LockedRoot<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}

impl<'g> Above<'g> {
    #[inline]
    pub(in crate::raw) fn lock_root(root: &'g Root) -> Above<'g> {
        root.lock.lock();
        Above::Root(LockedRoot(root))
    }

    /// Locks what a `parent` field names; null is the root.
    ///
    /// # Safety
    /// `parent` was read, while `guard` was held, from a node reached under the same guard.
    #[inline]
    pub(in crate::raw) unsafe fn lock(
        tree: &'g Tree,
        parent: *mut Header,
        guard: &'g Guard,
    ) -> Above<'g> {
        let _ = guard;
        match NonNull::new(parent) {
            // SAFETY: a node in a `parent` field is complete (I-PUBLISH, E-PARENT) and was linked when the child was
            // linked to it (I-PARENT); it is retired only after that, under our guard (I-RETIRE). A stale field of a
            // dead child names a node that was alive when the child died, which our guard has outlived.
            Some(node) => Above::Node(unsafe { Inner::at(node) }.lock()),
            None => Above::lock_root(&tree.root),
        }
    }

    /// The same, if nobody holds the lock.
    ///
    /// # Safety
    /// As for [`Above::lock`].
    unsafe fn lock_now(tree: &'g Tree, parent: *mut Header, guard: &'g Guard) -> Option<Above<'g>> {
        let _ = guard;
        match NonNull::new(parent) {
            // SAFETY: as in `lock`.
            Some(node) => unsafe { Inner::at(node) }.lock_now().map(Above::Node),
            None => Above::lock_root_now(&tree.root),
        }
    }

    fn lock_root_now(root: &'g Root) -> Option<Above<'g>> {
        root.lock.lock_now().then(|| Above::Root(LockedRoot(root)))
    }

    /// The name of this parent in a child's `parent` field.
    #[inline]
    pub(in crate::raw) fn name(&self) -> *mut Header {
        match self {
            Above::Root(_) => core::ptr::null_mut(),
            Above::Node(node) => node.pointer().as_ptr(),
        }
    }

    #[inline]
    pub(in crate::raw) fn tags(&self) -> &TagWords {
        match self {
            Above::Root(root) => &root.0.tags,
            Above::Node(node) => node.tags(),
        }
    }

    /// The word of `tag`.
    #[inline]
    pub(in crate::raw) fn word(&self, tag: Tag) -> u64 {
        self.tags().load_guarded(tag)
    }

    /// The edge at `offset`.
    #[inline]
    pub(in crate::raw) fn edge(&self, offset: usize) -> Edge {
        match self {
            Above::Root(root) => root.0.slot.0.edge_guarded(),
            Above::Node(node) => node.edge(offset),
        }
    }

    /// Where in this parent the node lies that covers `index`.
    #[inline]
    pub(in crate::raw) fn offset(&self, index: u64) -> usize {
        match self {
            Above::Root(_) => 0,
            Above::Node(node) => index::offset(index, node.level()),
        }
    }

    /// Stores the edge at `offset`, for which a small node has a place, or room for one.
    #[inline]
    pub(in crate::raw) fn set_edge(&self, offset: usize, edge: Edge) {
        match self {
            Above::Root(root) => root.0.slot.0.set_edge(edge),
            Above::Node(node) => node.set_edge(offset, edge),
        }
    }

    /// Whether this parent has been unlinked.
    #[inline]
    pub(in crate::raw) fn is_dead(&self) -> bool {
        match self {
            Above::Root(_) => false,
            Above::Node(node) => node.is_dead(),
        }
    }

    /// The edge by which this parent links to `child` (I-EDGE).
    pub(in crate::raw) fn edge_to(&self, child: Child<'_>) -> Edge {
        let child = match child {
            Child::Leaf(Leaf::Single(single)) => {
                return Edge::single(NonNull::from(single));
            }
            Child::Leaf(Leaf::Full(leaf)) => Inner::from(leaf),
            Child::Inner(node) if !node.is_full() => {
                return Edge::small(node.pointer(), node.level());
            }
            Child::Inner(node) => node,
        };
        let skip = match self {
            Above::Root(_) => child.prefix() != 0,
            Above::Node(node) => child.level() + 1 < node.level(),
        };
        Edge::full(child.pointer(), child.level(), skip)
    }
}

/// A locked leaf or node: what has a parent to be locked.
pub(in crate::raw) trait Below<'g> {
    /// An index that it covers.
    fn place(&self) -> u64;

    /// Locks the node that links to it (rule 3).
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g>;

    /// The same, if nobody holds that lock and nothing is being moved.
    fn lock_parent_now(&self, tree: &'g Tree, guard: &'g Guard) -> Option<Above<'g>>;

    /// Whether the bit of `tag` above it is seen to be set without the lock of the node that links to it, at one instant
    /// (E-VERSION). It stays set until the caller gives this node's lock back. False says nothing.
    fn is_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool;

    /// Whether that bit looks set. Only a hint.
    fn looks_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool;
}

/// A locked node that has a header, and so knows its parent.
trait Headed {
    fn header(&self) -> &Header;
}

impl Headed for Locked<'_> {
    #[inline]
    fn header(&self) -> &Header {
        self
    }
}

impl Headed for LockedInner<'_> {
    #[inline]
    fn header(&self) -> &Header {
        self
    }
}

impl<'g, L: Headed> Below<'g> for L {
    #[inline]
    fn place(&self) -> u64 {
        self.header().base()
    }

    #[inline]
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        lock_parent(self.header(), tree, guard)
    }

    fn lock_parent_now(&self, tree: &'g Tree, guard: &'g Guard) -> Option<Above<'g>> {
        lock_parent_now(self.header(), tree, guard)
    }

    #[inline]
    fn is_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
        is_raised(self.header(), tree, guard, tag)
    }

    #[inline]
    fn looks_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
        looks_raised(self.header(), tree, guard, tag)
    }
}

/// Locks what the `parent` field of a locked node names.
#[inline]
fn lock_parent<'g>(locked: &Header, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
    loop {
        let parent = locked.parent();
        // SAFETY: read from a node reached under `guard`.
        let above = unsafe { Above::lock(tree, parent, guard) };
        if locked.parent() == parent {
            return above;
        }
    }
}

/// The same, if nobody holds that lock and nothing is being moved.
fn lock_parent_now<'g>(locked: &Header, tree: &'g Tree, guard: &'g Guard) -> Option<Above<'g>> {
    let parent = locked.parent();
    // SAFETY: read from a node reached under `guard`.
    let above = unsafe { Above::lock_now(tree, parent, guard) }?;
    (locked.parent() == parent).then_some(above)
}

/// Whether the bit of `tag` above a locked node is set at an instant at which what its `parent` field names is its parent.
#[inline]
fn is_raised<'g>(locked: &Header, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
    let _ = guard;
    let parent = locked.parent();
    // Read again under the version: a split stores `parent` in a section of the node from which it moves this one (I-PARENT).
    let is_still_parent = || locked.parent() == parent;
    let seen = match NonNull::new(parent) {
        Some(node) => {
            // SAFETY: as in `Above::lock`.
            let node = unsafe { Inner::at(node) };
            let bit = bit(index::offset(locked.base(), node.level()));
            node.try_at_one_instant(|_| node.tags().load(tag) & bit != 0 && is_still_parent())
        }
        None => tree
            .root
            .lock
            .try_at_one_instant(|_| tree.root.tags.load(tag) != 0 && is_still_parent()),
    };
    seen == Some(true)
}

/// The same at no instant in particular.
#[inline]
fn looks_raised<'g>(locked: &Header, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
    let _ = guard;
    match NonNull::new(locked.parent()) {
        Some(node) => {
            // SAFETY: as in `Above::lock`.
            let node = unsafe { Inner::at(node) };
            node.tags().load(tag) & bit(index::offset(locked.base(), node.level())) != 0
        }
        None => tree.any_tagged(tag),
    }
}

impl<'g> Below<'g> for LockedSingle<'g> {
    #[inline]
    fn place(&self) -> u64 {
        self.index()
    }

    /// The node above is the one whose slot holds the edge: no other slot of a live node does (I-PARENT), and it stays there
    /// while the node is locked.
    fn lock_parent(&self, tree: &'g Tree, guard: &'g Guard) -> Above<'g> {
        let mut backoff = Backoff::default();
        loop {
            let above = tree.find_edge(self.edge(), self.index(), guard).map(|above| match above {
                None => Above::lock_root(&tree.root),
                Some(node) => Above::Node(node.lock()),
            });
            if let Some(above) = above.filter(|above| self.is_below(above)) {
                return above;
            }
            // A split or a splice is moving the single.
            backoff.wait();
        }
    }

    fn lock_parent_now(&self, tree: &'g Tree, guard: &'g Guard) -> Option<Above<'g>> {
        let above = match tree.find_edge(self.edge(), self.index(), guard)? {
            None => Above::lock_root_now(&tree.root),
            Some(node) => node.lock_now().map(Above::Node),
        };
        above.filter(|above| self.is_below(above))
    }

    fn is_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
        let edge = self.edge();
        let seen = match tree.find_edge(edge, self.index(), guard) {
            None => None,
            Some(None) => tree
                .root
                .lock
                .try_at_one_instant(|_| tree.root_edge() == edge && tree.root.tags.load(tag) != 0),
            Some(Some(node)) => {
                let offset = index::offset(self.index(), node.level());
                // If the node is dead it died while this was locked, and what took its place took the bit along.
                let has_edge = || node.edge(offset) == edge;
                node.try_at_one_instant(|_| node.tags().load(tag) & bit(offset) != 0 && has_edge())
            }
        };
        seen == Some(true)
    }

    fn looks_raised(&self, tree: &'g Tree, guard: &'g Guard, tag: Tag) -> bool {
        match tree.find_edge(self.edge(), self.index(), guard) {
            Some(Some(node)) => {
                node.tags().load(tag) & bit(index::offset(self.index(), node.level())) != 0
            }
            _ => tree.any_tagged(tag),
        }
    }
}

impl LockedSingle<'_> {
    fn edge(&self) -> Edge {
        Edge::single(NonNull::from(self.single()))
    }

    fn is_below(&self, above: &Above<'_>) -> bool {
        !above.is_dead() && above.edge(above.offset(self.index())) == self.edge()
    }
}

impl Tree {
    /// The node whose slot for `index` holds `edge` (`None`: the root), if the way down leads there.
    fn find_edge<'g>(
        &'g self,
        edge: Edge,
        index: u64,
        guard: &'g Guard,
    ) -> Option<Option<Inner<'g>>> {
        let (mut above, mut below) = (None, self.root_edge());
        while below != edge {
            if !below.leads_to_inner() {
                return None;
            }
            // SAFETY: to an inner node, and read under `guard`.
            above = Some(unsafe { Inner::of(below, guard) });
            // SAFETY: as above.
            below = unsafe { Inner::step(below, index, guard) };
        }
        Some(above)
    }
}
