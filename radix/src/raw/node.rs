//! The node: layout, allocation, the guard of its lock. `node` does not know what tags mean nor how nodes hang together.

use core::ops::Deref;
use core::ptr::NonNull;

use super::edge::Edge;
use super::index::{self, FANOUT};
use super::lock::{Version, VersionLock};
use crate::reclaim::Guard;
use crate::sync::{
    self, AtomicBool, AtomicPtr, AtomicU64, Backoff, Constant, ConstantByte, Guarded, Ordering,
    const_unless_checked,
};
use crate::tag::{Tag, TagSet};

/// A value as the tree keeps it: one word that is not null.
pub(crate) type Word = NonNull<()>;

/// One word of a node: an edge above level 0, a value at level 0.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Slot(AtomicPtr<()>);

impl Slot {
    const_unless_checked! {
        pub(crate) const fn empty() -> Slot {
            Slot(AtomicPtr::new(core::ptr::null_mut()))
        }
    }

    /// Acquire: E-PUBLISH, what the edge leads to is complete.
    #[inline]
    pub(crate) fn edge(&self) -> Edge {
        Edge::from_word(self.0.load(Ordering::Acquire))
    }

    /// Release: E-PUBLISH.
    #[inline]
    pub(crate) fn set_edge(&self, edge: Edge) {
        self.0.store(edge.word(), Ordering::Release);
    }

    /// Acquire: E-PUBLISH, what the value points to is complete.
    #[inline]
    pub(crate) fn value(&self) -> Option<Word> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }

    /// Release: E-PUBLISH.
    #[inline]
    pub(crate) fn set_value(&self, value: Option<Word>) {
        self.0.store(value.map_or(core::ptr::null_mut(), NonNull::as_ptr), Ordering::Release);
    }

    /// The edge, for the holder of the lock that guards it.
    #[inline]
    pub(super) fn edge_guarded(&self) -> Edge {
        Edge::from_word(self.0.load_guarded())
    }

    /// The value, for the holder of the lock that guards it.
    #[inline]
    pub(super) fn value_guarded(&self) -> Option<Word> {
        NonNull::new(self.0.load_guarded())
    }
}

/// The four tag words of a node, or of the root, where only bit 0 is used.
#[derive(Debug)]
pub(crate) struct TagWords([AtomicU64; Tag::COUNT]);

impl TagWords {
    const_unless_checked! {
        pub(crate) const fn clear() -> TagWords {
            TagWords(sync::zeros())
        }
    }

    /// Acquire: E-TAG, who sees a bit sees every summary bit above it.
    #[inline]
    pub(crate) fn load(&self, tag: Tag) -> u64 {
        self.0[usize::from(tag.number())].load(Ordering::Acquire)
    }

    /// Release: E-TAG. The caller holds the node's lock.
    #[inline]
    pub(crate) fn store(&self, tag: Tag, word: u64) {
        self.0[usize::from(tag.number())].store(word, Ordering::Release);
    }

    /// The word of `tag`, for the holder of the lock that guards it.
    #[inline]
    pub(super) fn load_guarded(&self, tag: Tag) -> u64 {
        self.0[usize::from(tag.number())].load_guarded()
    }

    /// The tags whose word has `bit`.
    #[inline]
    pub(crate) fn at(&self, bit: u64) -> TagSet {
        tags_with(bit, |tag| self.load(tag))
    }

    /// The tags whose word has `bit`, for the holder of the lock that guards the words.
    #[inline]
    pub(super) fn at_guarded(&self, bit: u64) -> TagSet {
        tags_with(bit, |tag| self.load_guarded(tag))
    }
}

/// The tags whose word, as `load` gives it, has `bit`.
#[inline]
fn tags_with(bit: u64, load: impl Fn(Tag) -> u64) -> TagSet {
    let mut tags = TagSet::EMPTY;
    for tag in Tag::all() {
        if load(tag) & bit != 0 {
            tags = tags.with(tag);
        }
    }
    tags
}

/// How often a reader repeats a read that a section spoiled, before it takes the lock.
pub(super) const READ_TRIES: usize = if sync::CHECKED { 0 } else { 8 };

/// What every node begins with, one cache line: full ones, where the slots follow, and [small ones](super::inner::Small).
///
/// `lock` guards the node's slots, `present`, `tags`, `dead` and the `parent` field of its children. `level`, `lines` and
/// `prefix` never change.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Header {
    lock: VersionLock,
    level: ConstantByte,
    /// Of a small node; 0 in a full one.
    lines: ConstantByte,
    dead: AtomicBool,
    /// No byte of a node may lie outside an atomic, see [`Constant`].
    padding: ConstantByte,
    prefix: Constant,
    parent: AtomicPtr<Header>,
    present: AtomicU64,
    tags: TagWords,
    #[cfg(any(radix_loom, radix_shuttle))]
    life: crate::reclaim::oracle::Life,
}

/// A full node: a header, then a slot for each offset. Leaves and inner nodes alike.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Node {
    header: Header,
    slots: [Slot; FANOUT],
}

const _: () = assert!(align_of::<Node>() == 64, "an edge keeps six bits of a node's address");
const _: () = assert!(sync::CHECKED || size_of::<Header>() == 64, "a header is one cache line");
const _: () = assert!(sync::CHECKED || size_of::<Node>() == 64 + 8 * FANOUT);

impl Header {
    pub(super) fn new(level: u8, lines: u8, index: u64, lock: VersionLock) -> Header {
        Header {
            lock,
            level: ConstantByte::new(level),
            lines: ConstantByte::new(lines),
            dead: AtomicBool::new(false),
            padding: ConstantByte::new(0),
            prefix: Constant::new(index::prefix(index, level)),
            parent: AtomicPtr::new(core::ptr::null_mut()),
            present: AtomicU64::new(0),
            tags: TagWords::clear(),
            #[cfg(any(radix_loom, radix_shuttle))]
            life: crate::reclaim::oracle::Life::begin(),
        }
    }

    /// For a checker: the node's memory, allocated as a `T`, is not to be used any more.
    #[cfg(any(radix_loom, radix_shuttle))]
    pub(super) fn end<T: 'static>(&self, node: *mut T) {
        self.life.end(node);
    }

    /// Nothing, but under a checker: panics if the node has been freed. A checker switches threads before an access, so what
    /// reads asks afterwards.
    #[inline]
    pub(super) fn alive(&self) -> &Self {
        #[cfg(any(radix_loom, radix_shuttle))]
        self.life.assert();
        self
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.level.get()
    }

    /// How many lines of places the node has; 0 if it is full.
    #[inline]
    pub(super) fn lines(&self) -> u8 {
        self.lines.get()
    }

    #[inline]
    pub(crate) fn prefix(&self) -> u64 {
        self.prefix.get()
    }

    /// The lowest index in the node's range.
    #[inline]
    pub(crate) fn base(&self) -> u64 {
        index::base(self.prefix(), self.level())
    }

    /// The highest index in the node's range.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.base() | index::span(self.level())
    }

    #[inline]
    pub(crate) fn covers(&self, index: u64) -> bool {
        index::prefix(index, self.level()) == self.prefix()
    }

    #[inline]
    pub(crate) fn tags(&self) -> &TagWords {
        &self.alive().tags
    }

    /// Acquire: who finds a present bit clear also finds the slot null, now and from then on, until an insert.
    #[inline]
    pub(crate) fn present(&self) -> u64 {
        let present = self.present.load(Ordering::Acquire);
        self.alive();
        present
    }

    /// The same, for the holder of the lock.
    #[inline]
    pub(super) fn present_guarded(&self) -> u64 {
        self.present.load_guarded()
    }

    /// Release: see [`Header::present`]. The caller holds the lock.
    #[inline]
    pub(crate) fn set_present(&self, word: u64) {
        self.present.store(word, Ordering::Release);
    }

    /// Whether the node has been unlinked, for who holds the whole tree; others ask the guard of its lock.
    pub(crate) fn died(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether the node has been unlinked, for the holder of the lock.
    #[inline]
    pub(super) fn died_guarded(&self) -> bool {
        self.dead.load_guarded()
    }

    /// Marks the node dead. The caller holds the locks of the node and of its parent (I-DEAD).
    #[inline]
    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Acquire: E-PARENT.
    #[inline]
    pub(crate) fn parent(&self) -> *mut Header {
        self.alive().parent.load(Ordering::Acquire)
    }

    /// Release: E-PARENT. The caller holds the lock of the present parent, or nobody else knows the node.
    #[inline]
    pub(crate) fn set_parent(&self, parent: *mut Header) {
        self.parent.store(parent, Ordering::Release);
    }

    /// Takes the lock, for a guard to be made.
    #[inline]
    pub(super) fn acquire(&self) {
        self.alive().lock.lock();
    }

    /// Gives the lock back, when the guard ends.
    #[inline]
    pub(super) fn release(&self) {
        self.lock.unlock();
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }
}

impl Node {
    /// Bytes a full node takes.
    pub(crate) const BYTES: usize = size_of::<Node>();

    pub(super) fn new(level: u8, index: u64, lock: VersionLock) -> NonNull<Node> {
        let node = Box::new(Node {
            header: Header::new(level, 0, index, lock),
            slots: core::array::from_fn(|_| Slot::empty()),
        });
        NonNull::from(Box::leak(node))
    }

    /// An empty leaf for `index` and its neighbours.
    pub(crate) fn leaf(index: u64) -> NonNull<Node> {
        Node::new(0, index, VersionLock::unlocked())
    }

    /// Frees the memory of a node.
    ///
    /// # Safety
    /// `node` came from this module, no one can reach it any more, and it is freed once.
    pub(crate) unsafe fn free(node: NonNull<Node>) {
        // SAFETY: under a checker, too, the memory is still there.
        #[cfg(any(radix_loom, radix_shuttle))]
        unsafe {
            node.as_ref().end(node.as_ptr());
        }
        // SAFETY: `new` made it with `Box`; sole access and "once" are the caller's word.
        #[cfg(not(any(radix_loom, radix_shuttle)))]
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }

    /// The full node an edge leads to.
    ///
    /// # Safety
    /// `edge` leads to a full node, and was read, while `guard` was held, from a node reached under the same guard or from
    /// the root; or the caller holds the tree exclusively.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &Guard) -> &Node {
        let _ = guard;
        // SAFETY: the node was complete when the edge was stored (I-PUBLISH) and has been retired, if at all, after
        // it was linked nowhere (I-RETIRE), so not before the guard was made: it stays until the guard is gone.
        let node = unsafe { &*edge.pointer() };
        node.alive();
        node
    }

    /// The node an edge leads to, if it leads to `level` without SKIP.
    ///
    /// # Safety
    /// As for [`Node::of`], and [`edge.leads_to(level)`](Edge::leads_to).
    #[inline]
    pub(crate) unsafe fn of_plain(edge: Edge, level: u8, guard: &Guard) -> &Node {
        let _ = guard;
        // SAFETY: as in `of`; the bits of the edge are `level`, so this is the same pointer.
        let node = unsafe { &*edge.plain_pointer(level) };
        node.alive();
        node
    }

    /// Frees the node once nobody can stand in it any more.
    ///
    /// # Safety
    /// The caller has just unlinked the node, and nobody else retires it.
    pub(crate) unsafe fn retire(&self, guard: &Guard) {
        let node = NonNull::from(self);
        let free = move || {
            // SAFETY: unlinked and retired by the caller (I-RETIRE); this runs once, when no guard is left under which
            // the node could have been found.
            unsafe { Node::free(node) }
        };
        // SAFETY: freeing touches nothing but the node, and may happen on any thread.
        unsafe { guard.defer(free) }
    }

    #[inline]
    pub(crate) fn slot(&self, offset: usize) -> &Slot {
        self.alive();
        &self.slots[offset & (FANOUT - 1)]
    }

    /// The edge at `offset`.
    #[inline]
    pub(crate) fn edge(&self, offset: usize) -> Edge {
        let edge = self.slot(offset).edge();
        self.alive();
        edge
    }

    /// The value at `offset`.
    #[inline]
    pub(crate) fn value(&self, offset: usize) -> Option<Word> {
        let value = self.slot(offset).value();
        self.alive();
        value
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.acquire();
        Locked(self)
    }

    #[inline]
    pub(crate) fn version(&self) -> Option<Version> {
        self.alive().lock.version()
    }

    /// The version, for who runs under [`read_locked`](Node::read_locked).
    pub(crate) fn version_before(&self) -> Version {
        self.lock.version_before()
    }

    #[inline]
    pub(crate) fn is_still(&self, version: Version) -> bool {
        self.alive().lock.is_still(version)
    }

    /// What `read` finds in this node at one instant.
    ///
    /// `read` may run several times, on words that do not belong together; only the result of a run without a
    /// concurrent critical section is returned. After a bounded number of tries it runs under the lock.
    #[inline]
    pub(crate) fn at_one_instant<R>(&self, mut read: impl FnMut() -> R) -> R {
        if let Some(version) = self.version() {
            let result = read();
            if self.is_still(version) {
                return result;
            }
        }
        self.at_one_instant_contended(&mut read)
    }

    #[cold]
    fn at_one_instant_contended<R>(&self, read: &mut impl FnMut() -> R) -> R {
        let mut backoff = Backoff::default();
        for _ in 0..READ_TRIES {
            if let Some(version) = self.version() {
                let result = read();
                if self.is_still(version) {
                    return result;
                }
            }
            backoff.wait();
        }
        self.read_locked(read)
    }

    /// What `read` finds while the node is locked. Does not move the version on, since nothing changes: other readers
    /// need not read again because of this one.
    pub(crate) fn read_locked<R>(&self, read: impl FnOnce() -> R) -> R {
        struct Unchanged<'g>(&'g Node);
        impl Drop for Unchanged<'_> {
            fn drop(&mut self) {
                self.0.lock.unlock_unchanged();
            }
        }
        self.alive().lock.lock();
        let _unchanged = Unchanged(self);
        read()
    }
}

impl Deref for Node {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        &self.header
    }
}

/// A full leaf whose lock is held by the owner of this value.
#[derive(Debug)]
pub(crate) struct Locked<'g>(&'g Node);

impl<'g> Locked<'g> {
    /// The leaf, for longer than the lock is held.
    #[inline]
    pub(crate) fn node(&self) -> &'g Node {
        self.0
    }
}

/// What the leaf holds. These hide the methods of [`Node`] with the same names: the holder of the lock needs no ordering.
impl Locked<'_> {
    /// The word of `tag`.
    #[inline]
    pub(super) fn word(&self, tag: Tag) -> u64 {
        self.tags().load_guarded(tag)
    }

    /// The tags whose word has `bit`.
    #[inline]
    pub(super) fn tags_at(&self, bit: u64) -> TagSet {
        self.tags().at_guarded(bit)
    }

    #[inline]
    pub(super) fn present(&self) -> u64 {
        self.present_guarded()
    }

    #[inline]
    pub(super) fn value(&self, offset: usize) -> Option<Word> {
        self.slot(offset).value_guarded()
    }

    /// Whether the node has been unlinked.
    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.died_guarded()
    }
}

impl Deref for Locked<'_> {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        self.0
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}
