//! The compact leaf: one entry in 24 bytes, for indices without neighbours. `single` does not know what tags mean nor how
//! nodes hang together.
//!
//! A single is a leaf of which only the slot of its own index exists. What a full leaf keeps in words of 64 entries, it keeps
//! in bits. It has no `parent` field: who holds its lock finds the node above from the root.

use core::ops::Deref;
use core::ptr::NonNull;

use super::edge::Edge;
use super::index;
use super::lock::VersionLock;
use super::word::{Entry, Slot, Word};
use crate::arena;
use crate::reclaim::Guard;
use crate::sync::{self, AtomicU32, Constant, Guarded, Ordering};
use crate::tag::{Tag, TagSet};

/// The bit of `state` that marks the dead; those below are tags.
const DEAD: u32 = 1 << Tag::COUNT;

/// A leaf of one entry. `lock` guards `state` and `value`; `index` never changes.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Single {
    lock: VersionLock,
    state: AtomicU32,
    index: Constant,
    value: Slot,
    #[cfg(any(radix_loom, radix_shuttle))]
    life: crate::reclaim::oracle::Life,
}

const _: () = assert!(align_of::<Single>() >= 4, "an edge keeps two bits of a single's address");
const _: () = assert!(sync::CHECKED || size_of::<Single>() <= 24);

impl Single {
    /// Bytes a single takes.
    pub(crate) const BYTES: usize = size_of::<Single>();

    /// A leaf that holds this entry.
    pub(crate) fn new(index: u64, entry: Entry) -> NonNull<Single> {
        let single = arena::place(|| Single {
            lock: VersionLock::unlocked(),
            state: AtomicU32::new(state_of(entry.tags)),
            index: Constant::new(index),
            value: Slot::empty(),
            #[cfg(any(radix_loom, radix_shuttle))]
            life: crate::reclaim::oracle::Life::begin(),
        });
        // SAFETY: just placed.
        unsafe { single.as_ref() }.value.set_value(Some(entry.value));
        single
    }

    /// Frees the memory of a single.
    ///
    /// # Safety
    /// `single` came from this module, no one can reach it any more, and it is freed once.
    pub(crate) unsafe fn free(single: NonNull<Single>) {
        // SAFETY: under a checker, too, the memory is still there.
        #[cfg(any(radix_loom, radix_shuttle))]
        unsafe {
            single.as_ref().life.end(single.as_ptr());
        }
        // SAFETY: `new` had it placed; sole access and "once" are the caller's word.
        #[cfg(not(any(radix_loom, radix_shuttle)))]
        unsafe {
            arena::free(single);
        }
    }

    /// Nothing, but under a checker: panics if the single has been freed.
    #[inline]
    fn alive(&self) -> &Single {
        #[cfg(any(radix_loom, radix_shuttle))]
        self.life.assert();
        self
    }

    /// The single an edge leads to.
    ///
    /// # Safety
    /// As for [`Node::of`](super::full::Node::of), and the edge leads to a single.
    #[inline]
    pub(crate) unsafe fn of(edge: Edge, guard: &Guard) -> &Single {
        let _ = guard;
        // SAFETY: as in `Node::of`.
        unsafe { &*edge.single_pointer::<Single>() }.alive()
    }

    /// Frees the single once nobody can stand in it any more.
    ///
    /// # Safety
    /// The caller has just unlinked it, and nobody else retires it.
    pub(crate) unsafe fn retire(&self, guard: &Guard) {
        let single = NonNull::from(self);
        let free = move || {
            // SAFETY: unlinked and retired by the caller (I-RETIRE); this runs once, when no guard is left under which
            // the single could have been found.
            unsafe { Single::free(single) }
        };
        // SAFETY: freeing touches nothing but the single, and may happen on any thread.
        unsafe { guard.retire(free) }
    }

    #[inline]
    pub(crate) fn index(&self) -> u64 {
        self.index.get()
    }

    /// Whether a full leaf for `index` would hold the entry of this one, too.
    #[inline]
    pub(crate) fn is_near(&self, index: u64) -> bool {
        index::prefix(index, 0) == index::prefix(self.index(), 0)
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<Word> {
        let value = self.alive().value.value();
        self.alive();
        value
    }

    /// The caller holds the lock, or the tree exclusively.
    #[inline]
    pub(crate) fn set_value(&self, value: Option<Word>) {
        self.alive().value.set_value(value);
    }

    /// Acquire: E-TAG, who sees a bit sees every summary bit above it.
    #[inline]
    pub(crate) fn tags(&self) -> TagSet {
        let state = self.alive().state.load(Ordering::Acquire);
        self.alive();
        tags_of(state)
    }

    /// Release: E-TAG. The caller holds the lock; nobody stores to the dead.
    #[inline]
    pub(crate) fn set_tags(&self, tags: TagSet) {
        self.state.store(state_of(tags), Ordering::Release);
    }

    /// Whether the single has been unlinked, for who holds the whole tree; others ask [`LockedSingle::is_dead`].
    pub(crate) fn died(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DEAD != 0
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockedSingle<'_> {
        self.alive().lock.lock();
        LockedSingle(self)
    }

    /// The same, if nobody holds the lock.
    pub(in crate::raw) fn lock_now(&self) -> Option<LockedSingle<'_>> {
        self.alive().lock.lock_now().then(|| LockedSingle(self))
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// Value and tags. They belong together only under the version or the lock.
    #[inline]
    fn peek(&self) -> Option<Entry> {
        let value = self.value()?;
        Some(Entry { value, tags: self.tags() })
    }

    /// The entry as it was at one instant.
    #[inline]
    pub(crate) fn entry(&self) -> Option<Entry> {
        let entry = self.alive().lock.at_one_instant(|_| self.peek());
        self.alive();
        entry
    }
}

#[inline]
fn state_of(tags: TagSet) -> u32 {
    tags.iter().fold(0, |state, tag| state | 1 << tag.number())
}

#[inline]
fn tags_of(state: u32) -> TagSet {
    Tag::all().into_iter().filter(|tag| state & 1 << tag.number() != 0).collect()
}

/// A single whose lock is held by the owner of this value.
#[derive(Debug)]
pub(crate) struct LockedSingle<'g>(&'g Single);

impl<'g> LockedSingle<'g> {
    /// The single, for longer than the lock is held.
    #[inline]
    pub(crate) fn single(&self) -> &'g Single {
        self.0
    }

    /// Marks the single dead. The caller also holds the lock of the node above (I-DEAD).
    #[inline]
    pub(in crate::raw) fn set_dead(&self) {
        self.0.state.store(self.state() | DEAD, Ordering::Release);
    }
}

/// What the single holds, for the holder of its lock, who needs no ordering.
impl LockedSingle<'_> {
    #[inline]
    fn state(&self) -> u32 {
        self.0.state.load_guarded()
    }

    #[inline]
    pub(in crate::raw) fn tags(&self) -> TagSet {
        tags_of(self.state())
    }

    #[inline]
    pub(in crate::raw) fn value(&self) -> Option<Word> {
        self.0.value.value_guarded()
    }

    /// Whether the single has been unlinked.
    #[inline]
    pub(in crate::raw) fn is_dead(&self) -> bool {
        self.state() & DEAD != 0
    }
}

impl Deref for LockedSingle<'_> {
    type Target = Single;

    #[inline]
    fn deref(&self) -> &Single {
        self.0
    }
}

impl Drop for LockedSingle<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}
