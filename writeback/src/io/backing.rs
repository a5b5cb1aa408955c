//! What lies below a mapping's pages: a store, its length, and what is made of the writes that the rules begin.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use tagged_radix::{TagFilter, TagSet};

use crate::error::{Error, Result, StoreError};
use crate::held;
use crate::hooks::Sealer;
use crate::index::range::ALL;
use crate::index::walk;
use crate::io::errands::Errands;
use crate::io::submit::batch_of;
use crate::pages::tag::PageTag;
use crate::primitives::{
    AtomicU32, CHECKED, Mutex, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use crate::rules::core::{Below, Core, Mapping, Parts};
use crate::rules::writeback::Writeback;
use crate::store::{Ends, Limits, Store};
use crate::wait;

/// The store of a mapping, and who may change its length.
pub(crate) struct Backing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    /// Held shared by whoever adds pages or lengthens, exclusively by truncate. Sync never takes it.
    truncate: RwLock<()>,
    /// Who has it exclusively, or is about to, and whether a task waits for that to end.
    cuts: AtomicU32,
    /// The store's length is set by one thread at a time.
    pub(crate) cutting: Mutex<()>,
    /// Appends come one after the other.
    pub(crate) appending: Mutex<()>,
    /// What threads do for tasks.
    pub(super) errands: Errands,
    /// What the store has ended, and is telling.
    pub(crate) ends: Arc<Ends>,
}

/// The bits of `cuts`: a task waits; and a count.
const CUT_WAITED: u32 = 1;
const CUT_ONCE: u32 = 2;

/// The truncate lock, exclusively.
pub(crate) struct Alone<'c> {
    /// `None` when it has been let go of.
    guard: Option<RwLockWriteGuard<'c, ()>>,
    core: &'c Core,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // First: whoever finds no cut gets the lock, unless there is another.
        self.guard = None;
        let one_less = |cuts| Some((cuts - CUT_ONCE) & !CUT_WAITED);
        let cuts = &self.core.backing().cuts;
        let (Ok(before) | Err(before)) =
            cuts.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        if before & CUT_WAITED != 0 {
            wait::wake_all(self.core.cuts_key());
        }
    }
}

impl Below for Backing {
    fn batch_max(&self) -> usize {
        self.limits.batch_pages_max
    }

    fn submit(&self, writes: Vec<Writeback>) {
        if let Some((batch, completion)) = batch_of(writes) {
            self.store.write(batch, completion);
        }
    }
}

/// `Err` if the store is longer than it says it can be: what lies beyond could never be reached.
fn check_length(length: u64, len_max: u64) -> Result<()> {
    if length <= len_max {
        return Ok(());
    }
    let text = format!("{length} bytes are more than the {len_max} that it can hold at the most");
    let source = io::Error::new(io::ErrorKind::FileTooLarge, text).into();
    Err(Error::Length { source })
}

/// The length of a mapping over `store`, in pages of `page_size` bytes if they are `whole`.
///
/// # Errors
/// If the store does not tell its length, or is longer than `len_max`, which is a whole number of such pages.
pub(crate) fn length_of(store: &dyn Store, len_max: u64, whole: Option<usize>) -> Result<u64> {
    let length = store.len().map_err(|source| Error::Length { source })?;
    // First: what is too long may have no number when it is rounded up.
    check_length(length, len_max)?;
    Ok(whole.map_or(length, |page_size| length.next_multiple_of(page_size as u64)))
}

/// The mapping that is made of these parts, over `store`.
pub(crate) fn open(parts: Parts, store: Arc<dyn Store>, limits: Limits) -> Mapping {
    let (truncate, cutting, appending) = (RwLock::new(()), Mutex::new(()), Mutex::new(()));
    let cuts = AtomicU32::new(0);
    let (errands, ends) = (Errands::default(), Arc::default());
    let below = Backing { store, limits, truncate, cuts, cutting, appending, errands, ends };
    let core = Arc::new(Core::new(parts, Box::new(below)));
    if let Some(member) = &*core.member {
        member.register(&core);
    }
    Mapping { core }
}

impl Core {
    /// What lies below this mapping.
    #[inline]
    pub(crate) fn backing(&self) -> &Backing {
        let below: &dyn Any = &*self.below;
        below.downcast_ref().expect("every mapping is opened over a store")
    }

    /// The bytes of each page that are the caller's.
    #[inline]
    pub(crate) fn payload(&self) -> Range<usize> {
        self.sealer.as_ref().map_or(0..self.page_size, Sealer::payload)
    }

    /// Keeps truncation out.
    ///
    /// # Errors
    /// `WouldBlock` if there is one under way and this thread has a guard, for which it may be waiting. One that has not
    /// begun yet is not waited for either.
    pub(crate) fn no_truncate(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let truncate = &self.backing().truncate;
        if held::any_of(self.id()) {
            return truncate.try_read_recursive().ok_or(Error::WouldBlock);
        }
        Ok(truncate.read())
    }

    /// As [`no_truncate`](Self::no_truncate); if this does not `sleep`, `None` instead of waiting.
    pub(crate) fn no_truncate_of(&self, sleeps: bool) -> Result<Option<RwLockReadGuard<'_, ()>>> {
        if sleeps || held::any_of(self.id()) {
            return self.no_truncate().map(Some);
        }
        Ok(self.backing().truncate.try_read())
    }

    /// Waits while the mapping is cut, or about to be, but no longer than `looks` cuts that follow each other without a pause.
    pub(crate) async fn not_cut(&self, mut looks: u32) {
        // Announced and looked at in one step, as by whoever waits for a page.
        let cuts = &self.backing().cuts;
        let is_not_cut = move || {
            looks = looks.saturating_sub(1);
            cuts.fetch_or(CUT_WAITED, Ordering::AcqRel) < CUT_ONCE || looks == 0
        };
        wait::until(self.cuts_key(), is_not_cut).await;
    }

    /// Keeps everybody out who adds pages or lengthens the mapping.
    pub(crate) fn truncate_alone(&self) -> Alone<'_> {
        // Before the lock, so that whoever cannot have it finds this.
        self.backing().cuts.fetch_add(CUT_ONCE, Ordering::AcqRel);
        Alone { guard: Some(self.backing().truncate.write()), core: self }
    }

    fn cuts_key(&self) -> u64 {
        if CHECKED { u64::MAX } else { std::ptr::from_ref(&self.backing().cuts).addr() as u64 }
    }

    /// Waits for the log, for who has nothing in its hands that could fail; returns whether it is durable.
    pub(crate) fn ensure_log(&self, upto: u64) -> bool {
        let Some(order) = &self.order else { return true };
        let outcome = order.ensure(upto);
        let ensured = outcome.is_ok();
        if let Err(error) = outcome {
            self.errors.record(StoreError::Log(Arc::new(error)), 0);
            self.tell_counts();
        }
        ensured
    }

    /// After this no write that was let in is still under way, and no other is let in.
    pub(crate) fn stop_writers(&self) {
        {
            let _no_slow_writers = self.truncate_alone();
            self.closed.fetch_add(1, Ordering::Release);
        }
        self.member.nudge_writers();
        // Fast writers look at `closed` under the latch of the page they write. Passing through
        // every latch once waits for those who looked too early, and the others see it.
        for (_, page) in walk(&self.tree, ALL, TagFilter::ANY) {
            drop(page.contents.write());
        }
    }

    /// How many pages the store may not have: dirty, claimed or being written. Looks at every page.
    pub(crate) fn unsaved(&self) -> u64 {
        if self.memory_backed {
            return 0;
        }
        let unsaved = TagSet::of(&[PageTag::Dirty.tag(), PageTag::Writeback.tag()]);
        let pinned = self.tree.pin();
        let pages = pinned.range_tagged(.., TagFilter::ANY);
        let has_any = |tags: TagSet| !tags.intersection(unsaved).is_empty();
        pages.into_iter().filter(|(_, _, tags)| has_any(*tags)).count() as u64
    }

    /// Lets writers in again, unless another has stopped them, too.
    pub(crate) fn reopen(&self) {
        self.closed.fetch_sub(1, Ordering::Release);
    }
}
