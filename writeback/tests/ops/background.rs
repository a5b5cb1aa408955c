//! Writing back without waiting: what would have to be waited for is gone by.

use writeback::stats::Progress;
use writeback::{Budget, Result, SyncMode};

use super::data::Op;
use super::session::Session;
use super::store::Event;

/// What a pass does, as far as the model can say.
#[derive(Debug, Default)]
struct Plan {
    submitted: Vec<u64>,
    declined: u64,
    skipped: u64,
    /// The page the next pass would start at.
    stopped: Option<u64>,
}

impl Session {
    /// False if `op` is not a write without waiting.
    pub(super) fn write_back(&mut self, op: Op) -> bool {
        match op {
            Op::WritePage { page, wait: false } => self.write_page(page.into()),
            Op::Background { pages, budget, early } => {
                let (first, last) = (pages.first(), pages.last());
                if !early {
                    self.let_backoff_pass();
                }
                let plan = self.plan(first, last, budget.into());
                let run = |session: &Session| {
                    session.mapping.write_range(
                        first..=last,
                        SyncMode::Skip,
                        Budget::pages(budget.into()),
                    )
                };
                self.run_pass(run, &plan, early && !self.model.failed.is_empty());
            }
            Op::Cyclic { budget } => {
                self.let_backoff_pass();
                let plan = self.plan(self.model.cyclic_next, u64::MAX, budget.into());
                let run =
                    |session: &Session| session.mapping.write_cyclic(Budget::pages(budget.into()));
                self.run_pass(run, &plan, false);
                if !self.model.poisoned {
                    self.model.cyclic_next = plan.stopped.unwrap_or(0);
                }
            }
            _ => return false,
        }
        true
    }

    /// What a pass over these pages does if it does not back off from any.
    fn plan(&self, first: u64, last: u64, mut budget: u64) -> Plan {
        let (model, mut plan) = (&self.model, Plan::default());
        let tagged = model.dirty.union(&model.claimed).copied();
        for page in tagged.filter(|page| (first..=last).contains(page)) {
            if budget == 0 {
                plan.stopped = Some(page);
                break;
            }
            if model.under.contains(&page) || model.claimed.contains(&page) {
                plan.skipped += 1;
                continue;
            }
            budget -= 1;
            if model.held.contains(&page) {
                plan.declined += 1;
            } else {
                plan.submitted.push(page);
            }
        }
        plan
    }

    /// Runs a pass; `backs_off`: it may leave out pages that have failed, and take others for them.
    fn run_pass(
        &mut self,
        run: impl FnOnce(&Session) -> Result<Progress>,
        plan: &Plan,
        backs_off: bool,
    ) {
        self.absorb();
        let result = run(self);
        let events = self.store.take_log();
        let begun: Vec<_> = events.iter().filter_map(Event::begun).collect();
        let Ok(progress) = result else {
            return assert!(self.model.poisoned && begun.is_empty());
        };
        assert!(!self.model.poisoned, "poisoned, and writes");
        assert_eq!(progress.submitted, begun.len() as u64);
        if !backs_off {
            assert_eq!(begun, plan.submitted);
            assert_eq!((progress.declined, progress.skipped), (plan.declined, plan.skipped));
        }
        assert!(begun.is_sorted_by(|a, b| a < b), "not in order: {begun:?}");
        events.iter().for_each(|event| self.model.apply(event));
    }

    fn write_page(&mut self, page: u64) {
        if self.model.claimed.contains(&page) {
            self.drop_hands();
        }
        self.absorb();
        let model = &self.model;
        let free = !model.poisoned && !model.under.contains(&page) && !model.held.contains(&page);
        let expected = free && model.dirty.contains(&page);
        let result = self.mapping.write_page(page, SyncMode::Skip);
        let written = self.absorb().iter().filter_map(Event::begun).eq([page]);
        assert_eq!(written, expected, "page {page}");
        match result {
            Ok(yes) => assert!(yes == written && !self.model.poisoned),
            Err(_) => assert!(self.model.poisoned),
        }
    }
}
