//! How a mapping, or a cache, reaches the flushers that write it.

use std::sync::{Arc, Weak};

use super::rounds::{Inner, Task};
use crate::primitives::{AtomicU64, Mutex, Ordering};

/// The flushers of a mapping: none, one, or several, which take nothing from each other.
#[derive(Debug)]
pub(crate) struct Kick {
    /// With more dirty pages than this, somebody is to be woken.
    above: AtomicU64,
    tasks: Mutex<Vec<(u64, Weak<Task>)>>,
}

impl Default for Kick {
    fn default() -> Self {
        Self { above: AtomicU64::new(u64::MAX), tasks: Mutex::new(Vec::new()) }
    }
}

impl Kick {
    /// A flusher has the mapping from now on, and is woken if it has more than `above` dirty pages.
    pub(super) fn register(&self, above: u64, task: &Arc<Task>) {
        let mut tasks = self.tasks.lock();
        tasks.push((above, Arc::downgrade(task)));
        self.set_above(&tasks);
    }

    pub(super) fn unregister(&self, task: &Task) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|(_, other)| !std::ptr::eq(other.as_ptr(), task));
        self.set_above(&tasks);
    }

    fn set_above(&self, tasks: &[(u64, Weak<Task>)]) {
        let least = tasks.iter().map(|(above, _)| *above).min();
        // Relaxed: a hint; a flusher that is added makes a round anyway.
        self.above.store(least.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A page became dirty and there are `dirty` now.
    pub(crate) fn consider(&self, dirty: u64) {
        if dirty > self.above.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// The mapping has a dirty page, and had none before: it has the flushers' attention from now on.
    #[cold]
    pub(crate) fn enlist(&self) {
        for (_, task) in self.tasks.lock().iter() {
            task.upgrade().into_iter().for_each(|task| task.enlist());
        }
    }

    /// Whether there is a flusher that works by itself.
    pub(crate) fn has_flusher(&self) -> bool {
        let tasks = self.tasks.lock();
        tasks.iter().any(|(_, task)| task.upgrade().is_some_and(|task| task.has_threads()))
    }

    #[cold]
    pub(crate) fn wake(&self) {
        for (_, task) in self.tasks.lock().iter() {
            task.upgrade().into_iter().for_each(|task| task.kick());
        }
    }
}

/// A flusher, as a cache knows it.
#[derive(Debug, Clone)]
pub(crate) struct FlusherRef(pub(super) Weak<Inner>);

impl FlusherRef {
    pub(crate) fn kick(&self) {
        if let Some(flusher) = self.0.upgrade() {
            flusher.kick();
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}
