//! Spans and events of the feature `tracing`.
//!
//! A test by itself: whether a span is of interest is remembered for the whole process when it is first
//! met, and other threads meet it without a subscriber.

mod common;

use std::sync::Arc;

use common::{PAGE, TestStore, Writes};
use parking_lot::Mutex;
use writeback::{Config, Mapping, StoreError};

/// A subscriber that writes down spans and events.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Trace {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut lines = self.0.lock();
        lines.push(format!("span {}", span.metadata().name()));
        tracing::span::Id::from_u64(lines.len() as u64)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().push(format!("{} {}", event.metadata().level(), text.0));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {
        self.0.lock().push("end".to_owned());
    }
}

/// The message of an event.
#[derive(Default)]
struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[test]
fn syncs_passes_and_flushes_are_spans_and_errors_events() {
    let (trace, store) = (Trace::default(), TestStore::new());
    let mapping = Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap();
    let handle = mapping.handle();
    let traced = |work: &dyn Fn()| {
        tracing::subscriber::with_default(trace.clone(), work);
        std::mem::take(&mut *trace.0.lock())
    };
    handle.write_at(&[1; PAGE], 0).unwrap();
    let lines = traced(&|| handle.sync_data().unwrap());
    let expected = [
        "span sync",
        "span pass",
        "TRACE write submitted",
        "TRACE write ended",
        "end",
        "span flush",
        "DEBUG flushed",
        "end",
        "DEBUG synced",
        "end",
    ];
    assert_eq!(lines, expected);
    store.writes(Writes::Fail(StoreError::NoSpace));
    store.fail_flush(true);
    handle.write_at(&[1; PAGE], 0).unwrap();
    let lines = traced(&|| assert!(handle.sync_data().is_err()));
    for line in ["ERROR writing back failed", "ERROR flush failed", "WARN sync failed"] {
        assert!(lines.iter().any(|seen| seen == line), "{line} is not in {lines:?}");
    }
    a_subscriber_that_panics_leaves_no_flush_under_way();
}

/// A subscriber to which the span of a flush is one too many.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        assert!(span.metadata().name() != "flush", "of the subscriber");
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn a_subscriber_that_panics_leaves_no_flush_under_way() {
    common::watch();
    let mapping = Mapping::open(TestStore::new()).unwrap();
    mapping.handle().write_at(&[1; PAGE], 0).unwrap();
    let sync = || mapping.handle().sync_data();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tracing::subscriber::with_default(Panics, sync)
    }));
    assert!(panicked.is_err());
    sync().unwrap();
    assert_eq!((mapping.stats().dirty, mapping.is_poisoned()), (0, false));
}
