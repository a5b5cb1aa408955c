//! Syncs, and the other ways to wait for writes and to learn of errors.

use writeback::store::FlushKind;
use writeback::{Budget, SyncMode};

use super::data::{Op, PAGE, Pages, Sync};
use super::errors::{HANDLES, Verdict};
use super::model::Model;
use super::session::Session;
use super::store::Event;

fn begun(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(Event::begun).collect()
}

impl Session {
    /// False if `op` neither waits for writes nor asks for errors.
    pub(super) fn sync(&mut self, op: Op) -> bool {
        let handle = |handle: u8| usize::from(handle) % HANDLES;
        match op {
            Op::Sync { handle: by, what } => self.run_sync(handle(by), what),
            Op::CheckError { handle: by } => self.check_error(handle(by)),
            Op::Open { handle: by } => {
                self.handles[handle(by)] = self.mapping.handle();
                self.model.told.open(handle(by));
            }
            Op::WritePage { page, wait: true } => self.write_page_and_wait(page.into()),
            Op::WriteRange(pages) => self.write_range(pages),
            Op::WaitRange(pages) => self.wait_range(pages),
            _ => return false,
        }
        true
    }

    fn run_sync(&mut self, by: usize, what: Sync) {
        self.drop_hands();
        let (bytes, kind) = match what {
            Sync::Data => (0..u64::MAX, FlushKind::Data),
            Sync::All => (0..u64::MAX, FlushKind::All),
            Sync::Range { from, len } => {
                (from.offset()..from.offset() + u64::from(len % 3000), FlushKind::Data)
            }
        };
        let was_poisoned = self.model.poisoned;
        let pages = bytes.start / PAGE as u64..=bytes.end.saturating_sub(1) / PAGE as u64;
        let (result, events) = self.waiting(&pages, |session| match what {
            Sync::Data => session.handles[by].sync_data(),
            Sync::All => session.handles[by].sync_all(),
            Sync::Range { .. } => session.handles[by].sync_range(bytes.clone()),
        });
        if bytes.is_empty() {
            return result.expect("nothing is asked for");
        }
        let verdict = Verdict::of(&result);
        assert_eq!(verdict, self.verdict(by, was_poisoned, &events));
        if verdict != Verdict::Fine {
            return;
        }
        let durable = self.store.durable();
        match what {
            Sync::Range { .. } => {
                self.model
                    .check_durable(Model::touched(bytes.start, bytes.end - bytes.start), &durable);
            }
            Sync::Data | Sync::All => self.model.check_all_durable(kind, &durable),
        }
    }

    /// What a sync has to say of what happened.
    fn verdict(&mut self, by: usize, was_poisoned: bool, events: &[Event]) -> Verdict {
        let news = self.model.told.tell(by);
        let refused = events.iter().any(Event::is_refusal);
        match news {
            _ if was_poisoned => Verdict::Poisoned,
            _ if self.model.poisoned => Verdict::Flush,
            Some(wrong) => Verdict::Write(wrong),
            None if refused => Verdict::Length,
            None => Verdict::Fine,
        }
    }

    fn check_error(&mut self, by: usize) {
        let expected = match self.model.told.tell(by) {
            _ if self.model.poisoned => Verdict::Poisoned,
            Some(wrong) => Verdict::Write(wrong),
            None => Verdict::Fine,
        };
        assert_eq!(Verdict::of(&self.handles[by].check_error()), expected);
    }

    fn write_page_and_wait(&mut self, page: u64) {
        self.drop_hands();
        let (result, events) = self
            .waiting(&(page..=page), |session| session.mapping.write_page(page, SyncMode::Wait));
        let last = events.iter().rev().find_map(|event| match event {
            Event::Ended { page: ended, outcome } if *ended == page => Some(*outcome),
            _ => None,
        });
        let written = begun(&events).contains(&page);
        match result {
            Ok(yes) => {
                assert!(!self.model.poisoned, "poisoned, and writes");
                assert_eq!(yes, written);
                assert!(!written || last == Some(Ok(())), "page {page} failed");
                assert!(!self.model.dirty.contains(&page), "page {page} is left dirty");
            }
            Err(error) if error.is_poisoned() => assert!(self.model.poisoned),
            Err(_) => assert!(matches!(last, Some(Err(_))), "page {page} did not fail"),
        }
    }

    fn write_range(&mut self, pages: Pages) {
        self.drop_hands();
        let (first, last) = (pages.first(), pages.last());
        let inside = |page: &u64| (first..=last).contains(page);
        let dirty: Vec<_> = self.model.dirty.iter().copied().filter(inside).collect();
        let run = |session: &Session| {
            session.mapping.write_range(first..=last, SyncMode::Wait, Budget::pages(1))
        };
        let (result, events) = self.waiting(&(first..=last), run);
        let Ok(progress) = result else {
            return assert!(self.model.poisoned && begun(&events).is_empty());
        };
        assert!(!self.model.poisoned, "poisoned, and writes");
        let begun = begun(&events);
        assert!(begun.is_sorted_by(|a, b| a < b), "in ascending order, once: {begun:?}");
        assert!(dirty.iter().all(|page| begun.contains(page)), "{dirty:?} and {begun:?}");
        // A late write that fails early enough makes its page dirty again, and is repeated.
        let failed = |page: &u64| events.iter().any(|event| event.failed() == Some(*page));
        assert!(begun.iter().all(|page| dirty.contains(page) || failed(page)), "{begun:?}");
        let expected = (begun.len() as u64, 0, 0);
        assert_eq!((progress.submitted, progress.declined, progress.skipped), expected);
    }

    fn wait_range(&mut self, pages: Pages) {
        self.drop_hands();
        let (first, last) = (pages.first(), pages.last());
        let (busy, _) = self.waiting(&(first..=last), |session| {
            session.mapping.wait_range(first..=last);
            let busy = |page: &u64| {
                session.cached(*page).is_some_and(|page| page.snapshot().is_under_writeback())
            };
            (first..=last.min(first + PAGE as u64)).find(busy)
        });
        assert_eq!(busy, None, "a page is still being written");
    }
}
