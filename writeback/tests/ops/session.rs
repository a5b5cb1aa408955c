//! Runs operations on a mapping and on a model beside it, and compares after each.

use std::sync::Arc;
use std::time::Duration;

use writeback::page::{PageRef, PageTag};
use writeback::store::{FlushKind, Store};
use writeback::{Clock, Config, Error, Handle, Mapping};

use super::data::{Op, PAGE, Setup, Sync};
use super::errors::{HANDLES, Verdict};
use super::hands::Hand;
use super::history::PAGES_MAX;
use super::model::{Counted, Model};
use super::store::{ALL, Event, FaultyStore, Pages, page_of};

/// Longer than the cache ever backs off from a page that failed.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Session {
    setup: Setup,
    clock: Clock,
    pub(super) store: Arc<FaultyStore>,
    pub(super) mapping: Mapping,
    pub(super) handles: Vec<Handle>,
    /// Claims, writes and holds that the session has itself.
    pub(super) hands: Vec<Hand>,
    pub(super) model: Model,
    stamp: u8,
}

fn open(setup: Setup, clock: &Clock, bytes: Vec<u8>) -> (Arc<FaultyStore>, Mapping, Vec<Handle>) {
    let batch_pages_max = usize::from(setup.batch_pages_max % 5) + 1;
    let store = Arc::new(FaultyStore::new(bytes, batch_pages_max));
    let config = Config::new().page_size(PAGE).clock(clock.clone());
    let mapping = Mapping::with_config(Arc::<FaultyStore>::clone(&store), config);
    let mapping = mapping.expect("a good configuration");
    let handles = (0..HANDLES).map(|_| mapping.handle()).collect();
    (store, mapping, handles)
}

impl Session {
    pub(crate) fn new(setup: Setup) -> Session {
        let bytes: Vec<u8> = (0..setup.len % 3000).map(|at| at.to_le_bytes()[0] | 1).collect();
        let clock = Clock::manual();
        let (store, mapping, handles) = open(setup, &clock, bytes.clone());
        let model = Model::new(bytes);
        Session { setup, clock, store, mapping, handles, hands: Vec::new(), model, stamp: 0 }
    }

    /// Bytes that differ from those of other writes.
    pub(super) fn new_bytes(&mut self, len: u16) -> Vec<u8> {
        self.stamp = self.stamp.wrapping_add(1);
        let byte = |at: u16| self.stamp.wrapping_mul(37).wrapping_add(at.to_le_bytes()[0]);
        (0..len % 1600).map(byte).collect()
    }

    /// Runs one operation on both sides; panics where they differ.
    pub(crate) fn step(&mut self, op: Op) {
        match op {
            Op::Late { order } => self.store.set_late(Some(order)),
            Op::AtOnce => self.store.set_late(None),
            Op::Deliver { which } => {
                self.store.deliver(which, &ALL);
            }
            Op::Fail { fault, times } => self.store.fail(fault, times % 5),
            Op::Close => self.close(),
            Op::Crash { survives } => self.crash(survives),
            _ if self.access(op) || self.write_back(op) || self.by_hand(op) || self.sync(op) => {}
            _ => unreachable!("{op:?} has no home"),
        }
        self.absorb();
        self.check();
    }

    /// Lets the model know what the store has seen; returns it.
    pub(super) fn absorb(&mut self) -> Vec<Event> {
        let events = self.store.take_log();
        events.iter().for_each(|event| self.model.apply(event));
        events
    }

    /// Runs something that may wait for writes of these pages, and only those, which end meanwhile.
    pub(super) fn waiting<R>(
        &mut self,
        pages: &Pages,
        action: impl FnOnce(&Session) -> R,
    ) -> (R, Vec<Event>) {
        self.absorb();
        let store = Arc::clone(&self.store);
        let result = store.while_delivering(pages, || action(self));
        (result, self.absorb())
    }

    pub(super) fn let_backoff_pass(&self) {
        self.clock.advance(LONG);
    }

    pub(super) fn cached(&self, page: u64) -> Option<PageRef> {
        self.mapping.cached_page(page)
    }

    /// Asserts that an operation that was refused was so for a reason the model has.
    pub(super) fn check_refused(&self, error: &Error, events: &[Event]) {
        let had = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
        let reason = match error {
            Error::Poisoned { .. } => self.model.poisoned,
            Error::Read { .. } => had(|event| matches!(event, Event::Read { well: false })),
            Error::Length { .. } => had(Event::is_refusal),
            _ => false,
        };
        assert!(reason, "refused without a reason: {error}");
    }

    fn check(&self) {
        self.mapping.check().expect("no invariant is broken");
        let (stats, model) = (self.mapping.stats(), &self.model);
        assert_eq!(self.mapping.len(), model.len());
        assert_eq!(stats.dirty, model.dirty.len() as u64, "dirty: {:?}", model.dirty);
        assert_eq!(stats.writeback, model.under.len() as u64, "under way: {:?}", model.under);
        let counted = Counted {
            written: stats.written,
            write_errors: stats.write_errors,
            flushes: stats.flushes,
            read: stats.read,
        };
        assert_eq!(counted, model.counted);
        assert_eq!(stats.poisoned, model.poisoned);
        let accepted = self.store.accepted();
        (0..PAGES_MAX).for_each(|page| self.check_page(page, &accepted));
        assert!(self.cached(PAGES_MAX).is_none());
    }

    fn check_page(&self, at: u64, accepted: &[u8]) {
        let model = &self.model;
        let cached = self.cached(at).filter(|page| page.snapshot().is_uptodate());
        let (dirty, under) = (model.dirty.contains(&at), model.under.contains(&at));
        let claimed = model.claimed.contains(&at);
        let Some(page) = cached else {
            assert!(!dirty && !under && !claimed, "page {at} is missing");
            return self.check_stored(at, accepted);
        };
        let state = page.snapshot();
        assert_eq!((state.is_dirty(), state.is_under_writeback()), (dirty, under), "page {at}");
        assert_eq!((state.is_locked(), state.is_held()), (claimed, model.held.contains(&at)));
        let tags = (page.has_tag(PageTag::Dirty), page.has_tag(PageTag::Writeback));
        assert_eq!(tags, (dirty || claimed, under), "tags of page {at}");
        page.read_with(|bytes| assert!(bytes == model.page(at), "contents of page {at}"));
        if !dirty && !under && !claimed && !model.forgotten.contains(&at) {
            self.check_stored(at, accepted);
        }
    }

    /// The store has the page as it is, as far as the length goes.
    fn check_stored(&self, page: u64, accepted: &[u8]) {
        let expected = self.model.image(page);
        let stored = &page_of(accepted, page)[..expected.len()];
        assert!(stored == expected, "page {page} is clean and not in the store");
    }

    /// Saves everything and opens the store again; or is told why it could not.
    fn close(&mut self) {
        self.drop_hands();
        let mapping = self.mapping.clone();
        let poisoned = self.model.poisoned;
        let (closed, events) = self.waiting(&ALL, |_| mapping.close());
        let expected = match &self.model {
            _ if poisoned => Verdict::Poisoned,
            model if model.poisoned => Verdict::Flush,
            _ if events.iter().any(Event::is_refusal) => Verdict::Length,
            model if model.dirty.is_empty() => Verdict::Fine,
            model => Verdict::Write(model.told.latest().expect("a page failed")),
        };
        let unsaved = self.model.dirty.len() as u64;
        if let Err(failed) = &closed {
            assert_eq!(failed.unsaved_pages, unsaved);
        }
        assert_eq!(Verdict::of(&closed.map_err(|failed| failed.error)), expected);
        if expected == Verdict::Fine {
            self.model.check_all_durable(FlushKind::All, &self.store.durable());
            assert!(matches!(self.handles[0].write_at(b"late", 0), Err(Error::Closed)));
            self.open_again(self.store.accepted());
        }
    }

    /// Drops everything and opens what a crash leaves.
    fn crash(&mut self, survives: u32) {
        self.absorb();
        let left = self.store.crashed(survives);
        self.absorb();
        self.open_again(left);
    }

    fn open_again(&mut self, left: Vec<u8>) {
        self.model.history.check_crash(&left);
        self.hands.clear();
        (self.store, self.mapping, self.handles) = open(self.setup, &self.clock, left.clone());
        self.model = Model::new(left);
    }

    /// Without faults everything can be saved, and then nothing is left to do.
    pub(crate) fn finish(mut self) {
        self.drop_hands();
        self.store.recover();
        self.store.set_late(None);
        let settle = |session: &Session| session.mapping.wait_range(..);
        self.waiting(&ALL, settle);
        if self.model.poisoned {
            assert!(self.handles[0].sync_data().is_err_and(|error| error.is_poisoned()));
            return self.crash(0b1010);
        }
        for handle in 0..HANDLES {
            let expected = self.model.told.tell(handle).map_or(Verdict::Fine, Verdict::Write);
            assert_eq!(Verdict::of(&self.handles[handle].check_error()), expected);
        }
        self.step(Op::Sync { handle: 0, what: Sync::All });
        assert!(self.model.dirty.is_empty() && self.model.under.is_empty());
        assert_eq!((self.mapping.stats().dirty, self.mapping.stats().writeback), (0, 0));
        self.handles[0].check_error().expect("all was told");
        let mut all = vec![0; self.model.bytes.len() + 1];
        assert_eq!(self.handles[0].read_at(&mut all, 0).expect("no fault"), self.model.bytes.len());
        assert!(all[..self.model.bytes.len()] == self.model.bytes, "contents");
        self.crash(0);
        assert!(self.store.len().is_ok());
    }
}
