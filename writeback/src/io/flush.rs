//! Flushing the store: [`flushes`](crate::durable::flushes) says when, this asks, and the completion books.

use std::sync::Arc;

use crate::durable::flushes::{Begin, Durability, Flush};
use crate::error::{Result, StoreError};
use crate::hooks::{Order, trace};
use crate::modes::FlushKind;
use crate::primitives::{Instant, OnceLock};
use crate::rules::core::Mapping;
use crate::store::FlushCompletion;

/// What a flush ended with, for the one who began it. Written before the flush is over.
type Told = Arc<OnceLock<Result<()>>>;

/// A flush that the store was asked for.
struct Asked {
    mapping: Mapping,
    flush: Flush,
    /// `None`: no observer wants to know.
    began: Option<Instant>,
    told: Told,
}

/// A flush that the store was not asked for yet. Should whoever looks on panic before it is, nothing has been flushed, and another may begin.
struct Begun<'d> {
    durability: &'d Durability,
    flush: Option<Flush>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(flush) = self.flush.take() {
            self.durability.over(flush);
        }
    }
}

impl Mapping {
    /// Makes every write that ended before the call durable; asks the store only if it takes that.
    pub(crate) async fn flushed(&self, kind: FlushKind) -> Result<()> {
        let durability = &self.core.durability;
        durability.check()?;
        let wanted = durability.written();
        loop {
            match durability.begin(kind, wanted, self.core.order.as_deref())? {
                Begin::Covered => return Ok(()),
                Begin::Wait => durability.idle(|| false).await,
                Begin::Begun(flush) => {
                    let told = self.ask_to_flush(flush);
                    let is_told = || told.get().is_some();
                    if !is_told() {
                        durability.idle(is_told).await;
                    }
                    return told.get().cloned().unwrap_or_else(|| durability.check());
                }
            }
        }
    }

    /// Asks the store. It may have ended when this returns.
    fn ask_to_flush(&self, flush: Flush) -> Told {
        let (kind, told) = (flush.kind, Told::default());
        let mut begun = Begun { durability: &self.core.durability, flush: Some(flush) };
        let _span = trace::flush(kind);
        let began = self.core.observers.now();
        let flush = begun.flush.take().expect("taken once");
        let asked = Asked { mapping: self.clone(), flush, began, told: Arc::clone(&told) };
        let completion = FlushCompletion::new(move |outcome| asked.end(outcome));
        let backing = self.core.backing();
        backing.store.flush(kind, completion.among(&backing.ends));
        told
    }
}

impl Asked {
    fn end(self, outcome: std::result::Result<(), StoreError>) {
        let Self { mapping, flush, began, told } = self;
        let core = &*mapping.core;
        let order: Option<&Order> = core.order.as_deref();
        let outcome = core.durability.end(&flush, outcome, order, &core.counters.flushes);
        let kind = flush.kind;
        let result = outcome.as_ref().copied();
        core.observers.tell_since(began, |observer, took| observer.flushed(kind, took, result));
        told.get_or_init(|| outcome);
        core.durability.over(flush);
        // Who waits is to see that the mapping is poisoned, if it is.
        core.member.nudge_writers();
    }
}
