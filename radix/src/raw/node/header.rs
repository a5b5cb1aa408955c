//! What every node begins with. `header` does not know what follows it.

use super::index;
use super::lock::{Version, VersionLock};
use super::word::TagWords;
use crate::sync::{
    self, AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Constant, ConstantByte, Guarded, Ordering,
};

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
    /// Of a full node: which groups of slots have an entry for every index (I-SOLID). Bits are set under the node's lock; those of
    /// a byte with all bits are cleared under the parent's lock besides. No byte of a node may lie outside an atomic, see
    /// [`Constant`].
    solid: AtomicU8,
    prefix: Constant,
    parent: AtomicPtr<Header>,
    present: AtomicU64,
    tags: TagWords,
    #[cfg(any(radix_loom, radix_shuttle))]
    life: crate::reclaim::oracle::Life,
}

const _: () = assert!(sync::CHECKED || size_of::<Header>() == 64, "a header is one cache line");

impl Header {
    pub(in crate::raw) fn new(level: u8, lines: u8, index: u64, lock: VersionLock) -> Header {
        Header {
            lock,
            level: ConstantByte::new(level),
            lines: ConstantByte::new(lines),
            dead: AtomicBool::new(false),
            solid: AtomicU8::new(0),
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
    pub(in crate::raw) fn end<T: 'static>(&self, node: *mut T) {
        self.life.end(node);
    }

    /// Nothing, but under a checker: panics if the node has been freed. A checker switches threads before an access, so what
    /// reads asks afterwards.
    #[inline]
    pub(in crate::raw) fn alive(&self) -> &Self {
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
    pub(in crate::raw) fn lines(&self) -> u8 {
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
    pub(in crate::raw) fn present_guarded(&self) -> u64 {
        self.present.load_guarded()
    }

    /// Release: see [`Header::present`]. The caller holds the lock.
    #[inline]
    pub(crate) fn set_present(&self, word: u64) {
        self.present.store(word, Ordering::Release);
    }

    /// The groups of which every index has an entry. Acquire: E-SOLID.
    #[inline]
    pub(in crate::raw) fn solid(&self) -> u8 {
        let groups = self.alive().solid.load(Ordering::Acquire);
        self.alive();
        groups
    }

    /// The same, for the holder of the lock.
    #[inline]
    pub(in crate::raw) fn solid_guarded(&self) -> u8 {
        self.solid.load_guarded()
    }

    /// Release: E-SOLID. The caller holds the lock.
    #[inline]
    pub(in crate::raw) fn set_solid(&self, groups: u8) {
        self.solid.store(groups, Ordering::Release);
    }

    /// Whether the node has been unlinked, for who holds the whole tree; others ask the guard of its lock.
    pub(crate) fn died(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether the node has been unlinked, for the holder of the lock.
    #[inline]
    pub(in crate::raw) fn died_guarded(&self) -> bool {
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
    pub(in crate::raw) fn acquire(&self) {
        self.alive().lock.lock();
    }

    /// Takes the lock if nobody holds it.
    #[inline]
    pub(in crate::raw) fn acquire_now(&self) -> bool {
        self.alive().lock.lock_now()
    }

    /// Gives the lock back, when the guard ends.
    #[inline]
    pub(in crate::raw) fn release(&self) {
        self.lock.unlock();
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    #[inline]
    pub(crate) fn is_still(&self, version: Version) -> bool {
        self.alive().lock.is_still(version)
    }

    /// What `read` finds in this node [at one instant](VersionLock::at_one_instant).
    #[inline]
    pub(crate) fn at_one_instant<R>(&self, read: impl FnMut(Version) -> R) -> R {
        let result = self.alive().lock.at_one_instant(read);
        self.alive();
        result
    }

    /// The same, [if no section intervenes](VersionLock::try_at_one_instant).
    #[inline]
    pub(crate) fn try_at_one_instant<R>(&self, read: impl FnOnce(Version) -> R) -> Option<R> {
        let result = self.alive().lock.try_at_one_instant(read);
        self.alive();
        result
    }

    /// What `read` finds while the node is [locked, only to be read](VersionLock::read_locked).
    pub(crate) fn read_locked<R>(&self, read: impl FnOnce(Version) -> R) -> R {
        self.alive().lock.read_locked(read)
    }
}
