//! What all clones of a mapping share: index, length, counters, errors.
//!
//! Only data and its plainest questions; what is done with it is in `transition` (a page's flags and
//! tags), `access` (bytes), `truncate` (the length), `sync` (writing back) and `durability`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tagged_radix::ArrayVec;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result, StoreError};
use crate::flusher::Kick;
use crate::hooks::{Observers, Order, Sealer, trace};
use crate::index::{Index, tagged_pages};
use crate::memory::Member;
use crate::modes::FlushKind;
use crate::page::Page;
use crate::page::blocks::Division;
use crate::page::state::Snapshot;
use crate::page::tag::PageTag;
use crate::primitives::{AtomicBool, AtomicU64, HintU32, HintU64, Mutex, Ordering, RwLock};
use crate::rules::durability::Durability;
use crate::rules::errors::ErrorSequence;
use crate::rules::tail::Tail;
use crate::stats::Counters;
use crate::store::{Limits, Store};

/// What all clones of a mapping share.
pub(crate) struct Shared {
    pub(crate) tree: Index,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    pub(crate) page_size: usize,
    pub(crate) division: Division,
    pub(crate) clock: Clock,
    /// In a cache, if it is in one.
    pub(crate) member: Option<Member>,
    /// Flags move, but nothing is counted or written.
    pub(crate) memory_backed: bool,
    #[cfg(feature = "rule-2003")]
    dirty_rule: crate::config::DirtyRule,
    /// Length in bytes. Raised by writers that hold `truncate` shared, under the content latch of
    /// the page they wrote; cut only under `truncate` exclusively.
    pub(crate) length: AtomicU64,
    /// The store is longer than `length`, because cutting it failed: what is beyond is not zeros.
    pub(crate) store_is_longer: AtomicBool,
    /// Held shared by whoever adds pages or lengthens, exclusively by truncate. Sync never takes it.
    pub(crate) truncate: RwLock<()>,
    /// The store's length is set by one thread at a time.
    pub(crate) cutting: Mutex<()>,
    /// Of a store that needs alignment.
    pub(crate) tail: Tail,
    closed: AtomicBool,
    /// Where the next cyclic pass starts.
    pub(crate) cyclic_next: HintU64,
    pub(crate) counters: Counters,
    pub(crate) errors: ErrorSequence,
    /// Not zero: since the last write that failed, one of a page has succeeded that had failed before.
    recovered: HintU32,
    /// The process that opened the mapping.
    process: u32,
    pub(crate) durability: Durability,
    pub(crate) kick: Kick,
    /// `None`: there is no log.
    pub(crate) order: Option<Order>,
    /// `None`: pages are stored as they are.
    pub(crate) sealer: Option<Sealer>,
    pub(crate) observers: Observers,
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

impl Shared {
    pub(crate) fn new(store: Arc<dyn Store>, config: Config, memory_backed: bool) -> Result<Self> {
        let mut limits = store.limits();
        config.check(limits.alignment, memory_backed)?;
        let tail = Tail::new(limits.alignment);
        limits.len_max = tail.len_max(limits.len_max);
        let division = config.division();
        let seal = config.seal.map(|seal| Sealer::new(seal, config.page_size));
        let sealer = seal.transpose()?;
        let mut length = store.len().map_err(|source| Error::Length { source })?;
        #[cfg_attr(not(feature = "tracing"), expect(unused_mut, reason = "by that feature"))]
        let mut observers = config.observers;
        #[cfg(feature = "tracing")]
        observers.push(Arc::new(trace::Events));
        if sealer.is_some() {
            length = length.next_multiple_of(config.page_size as u64);
        }
        check_length(length, limits.len_max)?;
        Ok(Self {
            tree: Index::new(),
            store,
            limits,
            page_size: config.page_size,
            division,
            clock: config.clock,
            member: config.cache.as_ref().map(Self::join),
            memory_backed,
            #[cfg(feature = "rule-2003")]
            dirty_rule: config.dirty_rule,
            length: AtomicU64::new(length),
            store_is_longer: AtomicBool::new(false),
            truncate: RwLock::new(()),
            cutting: Mutex::new(()),
            tail,
            closed: AtomicBool::new(false),
            cyclic_next: HintU64::new(0),
            counters: Counters::default(),
            errors: ErrorSequence::new(),
            recovered: HintU32::new(0),
            process: std::process::id(),
            durability: match memory_backed {
                true => Durability::of_nothing(),
                false => Durability::of_opened(),
            },
            kick: Kick::default(),
            order: config.log.map(Order::new),
            sealer,
            observers: Observers::new(observers),
        })
    }

    /// Whether claims follow the faulty rule of 2003.
    pub(crate) fn claim_clears_tag(&self) -> bool {
        #[cfg(feature = "rule-2003")]
        return self.dirty_rule == crate::config::DirtyRule::FlagAndTag;
        #[cfg(not(feature = "rule-2003"))]
        false
    }

    pub(crate) fn len(&self) -> u64 {
        // Acquire: pairs with the writer that raised it; who sees the length sees the page.
        self.length.load(Ordering::Acquire)
    }

    /// A mapping that is lengthened to have the byte before `end` ends there: with a seal, after a whole page.
    pub(crate) fn whole(&self, end: u64) -> u64 {
        match &self.sealer {
            Some(_) => end.next_multiple_of(self.page_size as u64),
            None => end,
        }
    }

    /// `Err` if a write of these bytes touches what is the seal's.
    pub(crate) fn check_reserved(&self, offset: u64, len: usize) -> Result<()> {
        let Some(sealer) = &self.sealer else { return Ok(()) };
        let within = offset - self.page_offset(self.page_index(offset));
        let from = usize::try_from(within).expect("less than a page");
        // Who goes on in the next page has passed through what is reserved, if anything is.
        let bytes = from..from.saturating_add(len).min(self.page_size);
        let goes_on = len > bytes.len() && sealer.payload().len() < self.page_size;
        if goes_on || sealer.reserves_any_of(&bytes) {
            return Err(Error::Reserved { offset, len: len as u64 });
        }
        Ok(())
    }

    pub(crate) fn page_index(&self, offset: u64) -> u64 {
        // A power of two: shifted, not divided.
        offset >> self.page_size.trailing_zeros()
    }

    /// First byte of the page. Pages of a mapping lie below the store's greatest length.
    pub(crate) fn page_offset(&self, index: u64) -> u64 {
        index * self.page_size as u64
    }

    /// `Err` if the mapping takes no changes any more.
    #[inline]
    pub(crate) fn admit(&self) -> Result<()> {
        if self.admits() { Ok(()) } else { self.refuse() }
    }

    /// Whether the mapping takes changes.
    #[inline]
    pub(crate) fn admits(&self) -> bool {
        // Acquire: pairs with the store in `stop_writers`.
        !self.closed.load(Ordering::Acquire) && self.durability.poison().is_none()
    }

    #[cold]
    fn refuse(&self) -> Result<()> {
        // It may have been opened again in between; then this comes before that.
        let poisoned =
            if self.closed.load(Ordering::Acquire) { Ok(()) } else { self.durability.check() };
        poisoned.and(Err(Error::Closed))
    }

    /// The write of an image is over, and nobody has seen that yet: it may have been padded.
    pub(crate) fn note_ended(&self, page: &Page, within: usize, len: usize) {
        let end = self.page_offset(page.index()) + (within + len) as u64;
        if len > 0 {
            self.tail.note_ended(end, || self.len());
        }
    }

    pub(crate) fn flush(&self, kind: FlushKind) -> Result<()> {
        /// Who waits is to see that the mapping is poisoned, if it is; also after a panic.
        struct Nudge<'s>(&'s Shared);
        impl Drop for Nudge<'_> {
            fn drop(&mut self) {
                self.0.nudge_writers();
            }
        }
        let _after = Nudge(self);
        let _span = trace::flush(kind);
        let (mut began, order) = (None, self.order.as_ref());
        let outcome = self.durability.flush(kind, order, &self.counters.flushes, || {
            began = self.observers.now();
            self.store.flush(kind)
        });
        let result = outcome.as_ref().copied();
        self.observers.tell_since(began, |observer, took| observer.flushed(kind, took, result));
        outcome
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

    /// The log. `Err`: there is none.
    pub(crate) fn order(&self) -> Result<&Order> {
        self.order.as_ref().ok_or(Error::Config { reason: "the mapping has no log" })
    }

    /// After this no write that was let in is still under way, and no other is let in.
    pub(crate) fn stop_writers(&self) {
        {
            let _no_slow_writers = self.truncate.write();
            self.closed.store(true, Ordering::Release);
        }
        self.nudge_writers();
        // Fast writers look at `closed` under the latch of the page they write. Passing through
        // every latch once waits for those who looked too early, and the others see it.
        for page in self.all_pages() {
            drop(page.contents.write());
        }
    }

    /// `Err` in a fork: nobody there ends what threads of the parent have begun.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() { Ok(()) } else { Err(Error::Forked) }
    }

    /// Whether it is too early to try the page again, whose last write has failed.
    ///
    /// No page backs off once one that had failed has been written: the store has recovered, until the next
    /// write fails.
    pub(crate) fn backs_off(&self, page: &Page, state: Snapshot, now_ms: u64) -> bool {
        // Relaxed: a hint. Out of date, it costs a write too many, or one more wait.
        state.has_error()
            && page.retry_at_ms() > now_ms
            && self.recovered.load(Ordering::Relaxed) == 0
    }

    /// A page's write has ended.
    pub(crate) fn note_outcome(&self, page: &Page, failed: bool) {
        if failed {
            page.note_failure(self.clock.now_ms());
            self.recovered.store(0, Ordering::Relaxed);
        } else if page.note_success() {
            self.recovered.store(1, Ordering::Relaxed);
        }
    }

    /// Lets writers in again.
    pub(crate) fn reopen(&self) {
        self.closed.store(false, Ordering::Release);
    }

    /// How long the write that began first, of those under way, has been.
    pub(crate) fn oldest_writeback(&self) -> Option<Duration> {
        let mut oldest: Option<u64> = None;
        let mut next = Some(0);
        while let Some(start) = next {
            let mut found = ArrayVec::new();
            next = tagged_pages(&self.tree, start, PageTag::Writeback, &mut found);
            let began = found.iter().map(|(_, page)| page.writeback_since_ms());
            oldest = oldest.into_iter().chain(began).min();
        }
        oldest.map(|began| Duration::from_millis(self.clock.now_ms().saturating_sub(began)))
    }

    /// Every page with a tag, in batches, without holding a guard.
    pub(crate) fn pages_tagged(&self, tag: PageTag) -> impl Iterator<Item = Arc<Page>> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let mut batch = ArrayVec::<_, 64>::new();
            next = self.tree.gang_lookup_tagged_owned(next?, tag, &mut batch);
            (!batch.is_empty()).then_some(batch)
        })
        .flatten()
        .map(|(_, page)| page)
    }

    /// Every page, in batches, without holding a guard.
    pub(crate) fn all_pages(&self) -> impl Iterator<Item = Arc<Page>> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let mut batch = ArrayVec::<_, 64>::new();
            next = self.tree.gang_lookup_owned(next?, &mut batch);
            (!batch.is_empty()).then_some(batch)
        })
        .flatten()
        .map(|(_, page)| page)
    }
}
