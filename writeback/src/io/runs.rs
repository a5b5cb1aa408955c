//! Reading missing pages in, several with one read of the store, and no thread that has to wait for it.
//!
//! A *run* is made of the page that somebody misses and of those behind it that are wanted, too. Each of these is new: it is put
//! into the index locked, and the first that is there already, cached or being read by somebody else, ends the run. So a run is gathered without waiting
//! for a lock, and whoever wants one of its pages waits for the lock of that page, and finds it read: of each page there is
//! one read at a time.
//!
//! # Who ends it
//! A run that is under way belongs to nobody but the store ([`Reading`]): the pages with their locks, and what is to be done with the bytes. Its end, on whatever thread,
//! puts them into the pages, makes these valid, and unlocks them, in this order. Whoever asked waits for the lock of its page as everybody else who
//! wants it does, or does not: a reader that goes away leaves a read behind, which fills the cache.
//!
//! The truncate lock is held, shared, while a run is gathered and until the store has been asked, and not until it has ended. That is enough:
//!
//! * A page of the run that a cut takes away has a lock that this waits for. So it is taken away after the run has ended; and the store is
//!   cut after that, or if a sync cuts it earlier, the page is beyond the length and nobody sees it. Of sealed pages a cut waits for the reads first.
//! * A punch waits for the reads of its pages before it asks the store.
//! * The page in which a cut ends stays, and is valid up to the length that the mapping had when the store was asked, which is the one before the cut. The cut
//!   waits for its lock, too, and clears what is beyond.
//! * A page is lengthened with zeros, and beyond the length of then there are zeros in it.
//!
//! But then a page may be gone when whoever waited for it comes to look, and the length another: it begins again.
//!
//! # Places
//! The place of the first page was taken before any lock. For the others only places are taken that are free, without evicting or
//! waiting for anybody, because by then locks are held; where there is none the run ends.
//!
//! # Failures
//! If the store fails, or the read is lost, in the middle of a run, the pages in front are valid. The others stay empty, and
//! whoever comes to one of them asks the store again. Only who asked for the run is told, by the note that it has kept
//! of what it asked for: one that wants the first page, if that has failed; one that wants all of them, also if another has. The note is written
//! before the first page is unlocked.

use std::sync::Arc;

use page_frames::Frame;

use super::access::{Found, has_been_read};
use super::ahead::Sequence;
use super::errands::Errand;
use crate::buffer::Contents;
use crate::error::{Error, Result, StoreError};
use crate::hooks::ReadEvent;
use crate::index::range::Inclusive;
use crate::pages::Page;
use crate::pages::keep::Kept;
use crate::pages::tag::PageTag;
use crate::primitives::{Instant, OnceLock, Ordering};
use crate::rules::core::{Core, Mapping, Room};
use crate::store::ReadRun;
use crate::store::wait::Filled;
use crate::wait;

/// Most bytes of a run, unless a page has more.
const RUN_BYTES_MAX: u64 = 1 << 20;

/// So often a task tries between cuts.
const PATIENCE: u32 = 4;

/// Which pages are to be read, if they are missing.
#[derive(Debug, Clone, Copy)]
struct Run {
    index: u64,
    pages: u64,
    /// So many of them are about to be used.
    wanted: u64,
    /// Whether that is a use, for eviction.
    is_use: bool,
}

impl Run {
    /// All for later.
    fn ahead(first: u64, last: u64) -> Self {
        Self { index: first, pages: last - first + 1, wanted: 0, is_use: true }
    }
}

/// What the reader of a run is to be told, when it has ended: what failed first, if anything has, and of which page.
#[derive(Debug, Default)]
struct Note(OnceLock<Option<(u64, Error)>>);

/// A run that a caller has asked for.
struct Asked {
    note: Arc<Note>,
    pages: u64,
}

impl Note {
    fn failure(&self) -> Option<&(u64, Error)> {
        self.0.get()?.as_ref()
    }

    /// What this page could not be read for.
    fn of(&self, page: u64) -> Option<&Error> {
        self.failure().filter(|(failed, _)| *failed == page).map(|(_, error)| error)
    }
}

/// A run that the store is asked for, with the locks of its pages, which end with it.
struct Reading {
    mapping: Mapping,
    pages: Vec<Kept>,
    /// The mapping's length before the store was asked.
    len: u64,
    note: Arc<Note>,
}

/// What there is of a page that is to be read.
enum Load {
    Valid(Kept),
    /// Somebody has its lock: the run that this caller has asked for, if it has.
    Busy(Kept, Option<Asked>),
    /// The mapping is being cut.
    Cut,
}

impl Mapping {
    /// The page at `index`, valid. Reads it if it is not.
    ///
    /// # Errors
    /// `OutOfRange` beyond the end.
    pub(crate) async fn load_page<'s>(
        &'s self,
        index: u64,
        room: impl Fn() -> Room<'s>,
    ) -> Result<Kept> {
        self.load_run(index, 1, None, room).await
    }

    /// As [`load_page`](Self::load_page). If it has to be read, so are those behind it that are missing, up to `wanted` in all, or as many more as
    /// the misses of a `sequence` tell.
    pub(crate) async fn load_run<'s>(
        &'s self,
        index: u64,
        wanted: u64,
        sequence: Option<&Sequence>,
        room: impl Fn() -> Room<'s>,
    ) -> Result<Kept> {
        let sleeps = wait::sleeps().await;
        let mut run = None;
        loop {
            // The place comes before any lock.
            let load = match self.core.being_read(index) {
                Some(page) => Load::Busy(page, None),
                None => {
                    let run = *run.get_or_insert_with(|| self.run(index, wanted, sequence));
                    let load = self.find_or_ask_uncut(run, &room, sleeps).await?;
                    if let Some(sequence) = sequence {
                        sequence.ran(index, load.pages());
                    }
                    load
                }
            };
            if let Load::Busy(_, Some(_)) = load {
                self.core.counters.misses.add(1);
            }
            if let Some(page) = load.ended().await? {
                return Ok(page);
            }
        }
    }

    /// What is read where a page is missing, of which so many are wanted from there on.
    fn run(&self, index: u64, wanted: u64, sequence: Option<&Sequence>) -> Run {
        let most = || self.core.run_pages_max();
        let pages = sequence.map_or(wanted, |sequence| sequence.missed(index, wanted, most()));
        Run { index, pages, wanted, is_use: sequence.is_none_or(Sequence::is_use) }
    }

    /// Reads the pages of a range that are not cached: asks for all of them, then waits.
    ///
    /// # Errors
    /// That of the first read that has failed.
    pub(crate) async fn load_all<'s>(
        &'s self,
        (first, last): Inclusive,
        room: impl Fn() -> Room<'s>,
    ) -> Result<()> {
        let sleeps = wait::sleeps().await;
        let (mut asked, mut next) = (Vec::new(), first);
        while next <= last && self.core.begins_within(next) {
            if self.core.tree.pin().get(next).is_some_and(|page| page.snapshot().is_uptodate()) {
                next += 1;
                continue;
            }
            let found = match self.core.being_read(next) {
                Some(page) => Ok(Load::Busy(page, None)),
                None => self.find_or_ask_uncut(Run::ahead(next, last), &room, sleeps).await,
            };
            match found {
                Ok(load) => {
                    let pages = load.pages();
                    asked.push((next, load));
                    next += pages;
                }
                // Cut away meanwhile.
                Err(Error::OutOfRange { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        for (index, load) in asked {
            let valid = load.all_ended().await?.is_some();
            // Another's read has failed, or the page is gone.
            if !valid && self.core.begins_within(index) {
                match self.load_page(index, &room).await {
                    Ok(_) | Err(Error::OutOfRange { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Asks for the pages of a range that are missing, as far as there are places, and waits for nothing but the store's calls.
    pub(crate) fn begin_to_load<'s>(
        &'s self,
        (first, last): Inclusive,
        room: impl Fn() -> Option<Room<'s>>,
    ) {
        let mut next = first;
        while next <= last && self.core.begins_within(next) {
            if self.core.tree.pin().get(next).is_some() {
                next += 1;
                continue;
            }
            let load = room().map(|room| self.find_or_ask(Run::ahead(next, last), room, false));
            match load {
                Some(Ok(load @ (Load::Valid(_) | Load::Busy(..)))) => next += load.pages(),
                _ => return,
            }
        }
    }

    /// As [`find_or_ask`](Self::find_or_ask), when the mapping is not being cut. A task that finds one cut after the other has a thread ask, which is in the
    /// queue of the truncate lock like any other.
    async fn find_or_ask_uncut<'s>(
        &'s self,
        run: Run,
        room: &impl Fn() -> Room<'s>,
        sleeps: bool,
    ) -> Result<Load> {
        let mut turns = 0;
        loop {
            match self.find_or_ask(run, room(), sleeps)? {
                Load::Cut => turns += 1,
                load => return Ok(load),
            }
            if turns <= PATIENCE {
                self.core.not_cut(PATIENCE).await;
                continue;
            }
            let ask =
                move |mapping: &Self| mapping.find_or_ask(run, mapping.core.room_at_once(), true);
            if let Some(asked) = self.errand(Errand::Read(run.index), ask).await {
                return asked;
            }
        }
    }

    /// Finds a page, or asks for a run that begins with it, of so many pages. Waits for nothing, unless this `sleeps`, and then for a cut.
    fn find_or_ask(&self, run: Run, mut room: Room<'_>, sleeps: bool) -> Result<Load> {
        let core = &*self.core;
        let index = run.index;
        let Some(_no_truncate) = core.no_truncate_of(sleeps)? else { return Ok(Load::Cut) };
        // A caller that asks again does so because the length has changed since it looked, and for no other reason.
        if !core.begins_within(index) {
            let offset = index.saturating_mul(core.page_size as u64);
            return Err(Error::OutOfRange { offset, len: core.page_size as u64 });
        }
        Ok(match core.find_or_try_lock(index, &mut room) {
            Found::Valid(page) => Load::Valid(page),
            Found::Busy(page) => Load::Busy(page, None),
            Found::Locked(page) => {
                let run = Reading::gather(self, page, run);
                // Now: if there are too many references to it, the run unlocks it.
                let page = run.pages[0].clone();
                let (note, pages) = (Arc::clone(&run.note), run.pages.len() as u64);
                run.ask(core);
                Load::Busy(page, Some(Asked { note, pages }))
            }
        })
    }
}

impl Load {
    /// How many pages from there on are valid, or being read.
    fn pages(&self) -> u64 {
        match self {
            Self::Busy(_, Some(asked)) => asked.pages,
            _ => 1,
        }
    }

    /// As [`ended`](Self::ended), of all pages of the run, if this has asked for one.
    async fn all_ended(self) -> Result<Option<Kept>> {
        if let Self::Busy(page, Some(asked)) = &self {
            page.until(|state| !state.is_locked() || asked.note.0.get().is_some()).await;
            if let Some((_, error)) = asked.note.failure() {
                return Err(error.clone());
            }
        }
        self.ended().await
    }

    /// Waits until the page has been read. `None`: it is not valid, and may be gone.
    ///
    /// # Errors
    /// What the read has failed with, if this asked for it.
    async fn ended(self) -> Result<Option<Kept>> {
        let (page, asked) = match self {
            Self::Valid(page) => return Ok(Some(page)),
            Self::Busy(page, asked) => (page, asked),
            Self::Cut => return Ok(None),
        };
        if page.snapshot().is_locked() {
            // Another may have asked again by then, and have the lock.
            let note = asked.as_ref().map(|asked| &asked.note);
            let is_told = || note.is_some_and(|note| note.of(page.index()).is_some());
            page.until(|state| has_been_read(state, &is_told)).await;
        }
        // Also if it is valid by now, because another has asked again.
        if let Some(error) = asked.as_ref().and_then(|asked| asked.note.of(page.index())) {
            return Err(error.clone());
        }
        let state = page.snapshot();
        Ok((state.is_mapped() && state.is_uptodate()).then_some(page))
    }
}

impl Core {
    /// How many pages of a run may be read ahead: as many as come in during a turn of the clock.
    fn run_pages_max(&self) -> u64 {
        let turn = self.member.as_ref().map_or(u64::MAX, |member| member.cache.turns.length());
        (turn.min(RUN_BYTES_MAX) / self.page_size as u64).max(1)
    }

    /// Whether a page begins before the end of the mapping.
    fn begins_within(&self, index: u64) -> bool {
        // Saturated, it is beyond every length.
        index.saturating_mul(self.page_size as u64) < self.len()
    }

    /// A page that somebody reads in: whoever wants it needs no place for it.
    fn being_read(&self, index: u64) -> Option<Kept> {
        let page = Kept::new(self.tree.get_owned(index)?)?;
        let state = page.snapshot();
        (state.is_locked() && !state.is_uptodate()).then_some(page)
    }

    /// A place for a page, if one is free.
    fn free_room(&self) -> Option<Room<'_>> {
        let Some(member) = &*self.member else { return Some(Room::UNLIMITED) };
        let weight = member.account.weight;
        member.cache.take_place(weight).then(|| Room::taken(&member.cache, weight))
    }

    /// Makes valid a page that is locked; the store had its first `count` bytes when the mapping had `len`.
    fn fill(&self, page: &Kept, bytes: Frame, count: u64, len: u64) -> Result<()> {
        let bytes = self.first_read(page.index(), bytes, count, self.valid(page.index(), len))?;
        let mut contents = page.contents.write();
        *contents = Contents::from(bytes);
        page.state.set_uptodate();
        Ok(())
    }
}

impl Core {
    /// The page comes in for one use, though it may have left not long ago.
    fn comes_in_for_once(&self, page: &Page) {
        if let Some(member) = &*self.member {
            page.usage.come_in(member.cache.turns.now(), false);
            self.tree.pin().clear_tag(page.index(), PageTag::Accessed.tag());
        }
    }
}

impl Reading {
    /// The run, which begins with a page that the caller has locked.
    fn gather(mapping: &Mapping, first: Kept, of: Run) -> Self {
        let core = &*mapping.core;
        let (start, len) = (first.index(), core.len());
        let most = of.pages.min(RUN_BYTES_MAX / core.page_size as u64);
        let end = len.div_ceil(core.page_size as u64).min(start.saturating_add(most));
        let mut run =
            Self { mapping: mapping.clone(), pages: vec![first], len, note: Arc::default() };
        for index in start + 1..end {
            let Some(mut room) = core.free_room() else { break };
            let Ok(page) = core.insert_locked(index, &mut room) else { break };
            run.pages.push(Kept::new(page).expect("nobody evicts or truncates a locked page"));
        }
        if !of.is_use {
            run.pages.iter().for_each(|page| core.comes_in_for_once(page));
        }
        let ahead = run.pages.iter().filter(|page| page.index() - start >= of.wanted);
        ahead.for_each(|page| page.usage.read_ahead());
        run
    }

    /// Asks the store. It may have ended when this returns.
    fn ask(self, core: &Core) {
        let began = core.observers.now();
        let Some(first) = self.pages.first() else { return };
        let offset = core.page_offset(first.index());
        let buffers = self.pages.iter().map(|_| core.frames.to_fill(core.page_size)).collect();
        let run =
            ReadRun::calling(offset, buffers, Box::new(move |filled| self.end(filled, began)));
        let backing = core.backing();
        backing.store.read(run.among(&backing.ends));
    }

    /// The store has read what there is; the pages are unlocked at last, and observers told.
    fn end(self, filled: Filled, began: Option<Instant>) {
        let (mapping, pages) = (self.mapping.clone(), self.pages.len() as u64);
        let (core, first_page) =
            (&*mapping.core, self.pages.first().map_or(0, |page| page.index()));
        let Filled { buffers, mut count, error } = filled;
        let mut failed = None;
        let (size, read) = (core.page_size as u64, ReadEvent { first_page, pages, bytes: count });
        for (page, bytes) in self.pages.iter().zip(buffers) {
            let there = count.min(size);
            count -= there;
            let outcome = match &error {
                Some(source) if there < size => {
                    Err(Error::Read { index: page.index(), source: source.clone() })
                }
                _ => core.fill(page, bytes, there, self.len),
            };
            if let Err(error) = outcome {
                failed.get_or_insert_with(|| (page.index(), error));
            }
        }
        self.note.0.get_or_init(|| failed);
        drop(self);
        core.observers.tell_since(began, |observer, took| {
            observer.read(read, took, error.as_ref().map_or(Ok(()), Err));
        });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Unless it has ended: a seal has panicked, say.
        let lost = |page: &Kept| Error::Read { index: page.index(), source: StoreError::Lost };
        self.note.0.get_or_init(|| self.pages.first().map(|page| (u64::MAX, lost(page))));
        // All of them before anybody is woken: a waker may run what waits for any of them.
        let core = &self.mapping.core;
        let wakes: Vec<_> = self.pages.iter().map(|page| core.unlock_quietly(page)).collect();
        if let Some(member) = &*core.member {
            // Relaxed: a hint.
            member.cache.room_in_vain.store(0, Ordering::Relaxed);
        }
        self.pages.iter().zip(wakes).for_each(|(page, wake)| page.wake(wake));
    }
}
