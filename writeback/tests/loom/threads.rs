//! A store that is called by threads of another: nothing that it was asked for is left behind, and every end is passed on once.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use writeback::StoreError;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, Threads, WriteBatch,
};

use crate::model::model;

/// Knows flushes only.
#[derive(Debug)]
struct Flushes {
    /// They end on a thread of its own.
    late: bool,
}

impl Store for Flushes {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        drop(run);
    }

    fn write(&self, _batch: WriteBatch, completion: Completion) {
        drop(completion);
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        if self.late {
            loom::thread::spawn(move || completion.complete(Ok(())));
        } else {
            completion.complete(Ok(()));
        }
    }
}

/// How many have ended.
#[derive(Debug, Default)]
struct Ended {
    count: Mutex<u32>,
    came: Condvar,
}

impl Ended {
    fn count(self: &Arc<Self>) -> FlushCompletion {
        let ended = Arc::clone(self);
        FlushCompletion::new(move |outcome| {
            outcome.unwrap();
            *ended.count.lock().unwrap() += 1;
            ended.came.notify_all();
        })
    }

    fn wait(&self, expected: u32) {
        let mut count = self.count.lock().unwrap();
        while *count < expected {
            count = self.came.wait(count).unwrap();
        }
        assert_eq!(*count, expected, "each ends once");
    }
}

/// Of two who ask, each is served, whether the only thread works, waits, or is just being started.
#[test]
fn flush_vs_flush() {
    model("flush_vs_flush", || {
        let store = Arc::new(Threads::new(Flushes { late: false }, 1));
        let other = Arc::clone(&store);
        let asks = loom::thread::spawn(move || other.sync(FlushKind::Data).unwrap());
        store.sync(FlushKind::Data).unwrap();
        asks.join().unwrap();
    });
}

/// With two threads, one of which may be called while the other takes what it was called for.
#[test]
fn flushes_by_two_threads() {
    model("flushes_by_two_threads", || {
        let store = Threads::new(Flushes { late: false }, 2);
        let ended = Arc::<Ended>::default();
        for _ in 0..3 {
            store.flush(FlushKind::Data, ended.count());
        }
        ended.wait(3);
    });
}

/// What was asked for before the store is dropped is done.
#[test]
fn flush_vs_drop() {
    model("flush_vs_drop", || {
        let store = Threads::new(Flushes { late: false }, 1);
        let ended = Arc::<Ended>::default();
        store.flush(FlushKind::Data, ended.count());
        store.flush(FlushKind::Data, ended.count());
        drop(store);
        ended.wait(2);
    });
}

/// An end that comes on another thread is passed on, whether it comes first or the leave to pass it on.
#[test]
fn late_end_vs_leave() {
    model("late_end_vs_leave", || {
        let store = Threads::new(Flushes { late: true }, 1);
        store.sync(FlushKind::Data).unwrap();
    });
}
