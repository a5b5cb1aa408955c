//! Errands: what a task would have to wait for in its thread, done by another thread.
//!
//! There is a thread for an errand and as long as it takes, and of each errand one at a time in a mapping: whoever finds it under way waits until it
//! is over, and looks again. So there are at most three of these threads for each page, which sync it, read from it on, or write it, and two for the mapping. An errand goes on when the task
//! that began it is dropped; it has the mapping, and ends like a thread's call that does the same, but for a write, which then writes nothing: until it finds that it waits on, with the room
//! for its page once it has that.
//!
//! A model checker has no such threads: there the task waits.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::primitives::{CHECKED, Mutex, thread};
use crate::rules::core::Mapping;
use crate::store::BeingTold;
use crate::wait::{come_again, until, wake_all};

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Errand {
    /// To write a page for a sync, when its latch is free.
    Sync(u64),
    /// To ask for a run of pages that begins with this one, between two cuts.
    Read(u64),
    /// To write a piece of a page.
    Write(u64),
    /// To settle the length.
    Settle,
    /// To make the log durable.
    Log,
}

/// Those of a mapping that are under way.
#[derive(Debug, Default)]
pub(crate) struct Errands(Mutex<BTreeSet<Errand>>);

/// One that is under way.
struct UnderWay {
    mapping: Mapping,
    name: Errand,
    /// Goes after the mapping.
    told: Option<BeingTold>,
}

impl Errands {
    fn key(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }
}

impl UnderWay {
    /// Somebody may know of its end from now on.
    fn is_told(&mut self) {
        let ends = &self.mapping.core.backing().ends;
        self.told.get_or_insert_with(|| Arc::clone(ends).enter());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.is_told();
        let errands = &self.mapping.core.backing().errands;
        errands.0.lock().remove(&self.name);
        wake_all(errands.key());
    }
}

impl Mapping {
    /// Has a thread do this, which may wait, unless somebody has it do the same; waits until that is over. `None`: what is over is another's.
    ///
    /// # Panics
    /// If the errand has.
    pub(crate) async fn errand<T: Send + 'static>(
        &self,
        name: Errand,
        errand: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        if CHECKED {
            return Some(errand(self));
        }
        let errands = &self.core.backing().errands;
        let is_over = || !errands.0.lock().contains(&name);
        if !errands.0.lock().insert(name) {
            until(errands.key(), is_over).await;
            return None;
        }
        let mut under_way = UnderWay { mapping: self.clone(), name, told: None };
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(|| errand(&under_way.mapping)));
            under_way.is_told();
            *told.lock() = Some(done);
        };
        if thread::Builder::new().name("writeback".into()).spawn(run).is_err() {
            // There is none to be had now.
            come_again().await;
            return None;
        }
        // Its own: by now another may have the name.
        until(errands.key(), || outcome.lock().is_some() || is_over()).await;
        let done = outcome.lock().take();
        done.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}
