//! How a mapping, or a cache, reaches the flushers that write it, of whom it knows no more than is said here.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::primitives::{AtomicU64, Mutex, Ordering};

/// A flusher, as one of its mappings knows it.
pub(crate) trait Attends: fmt::Debug + Send + Sync {
    /// The mapping has a dirty page, and had none before.
    fn enlist(&self);

    /// Whether threads make the flusher's rounds.
    fn has_threads(&self) -> bool;

    /// Has a round made soon.
    fn kick(&self);
}

/// A flusher, as a cache knows it.
pub(crate) trait Flushes: fmt::Debug + Send + Sync {
    /// Has a round made soon.
    fn kick(self: Arc<Self>);
}

/// The flushers of a mapping: none, one, or several, which take nothing from each other.
#[derive(Debug)]
pub(crate) struct Kick {
    /// With more dirty pages than this, somebody is to be woken.
    above: AtomicU64,
    tasks: Mutex<Vec<(u64, Weak<dyn Attends>)>>,
}

impl Default for Kick {
    fn default() -> Self {
        Self { above: AtomicU64::new(u64::MAX), tasks: Mutex::new(Vec::new()) }
    }
}

impl Kick {
    /// A flusher has the mapping from now on, and is woken if it has more than `above` dirty pages.
    pub(crate) fn register(&self, above: u64, task: Weak<dyn Attends>) {
        let mut tasks = self.tasks.lock();
        tasks.push((above, task));
        self.set_above(&tasks);
    }

    pub(crate) fn unregister(&self, task: &Weak<dyn Attends>) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|(_, other)| other.as_ptr().addr() != task.as_ptr().addr());
        self.set_above(&tasks);
    }

    fn set_above(&self, tasks: &[(u64, Weak<dyn Attends>)]) {
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

/// The flushers of a cache.
#[derive(Debug, Default)]
pub(crate) struct Flushers(Mutex<Vec<Weak<dyn Flushes>>>);

impl Flushers {
    /// The flusher is woken from now on when there is too much debt.
    pub(crate) fn add(&self, flusher: Weak<dyn Flushes>) {
        self.0.lock().push(flusher);
    }

    pub(crate) fn remove(&self, flusher: &Weak<dyn Flushes>) {
        self.0.lock().retain(|other| other.as_ptr().addr() != flusher.as_ptr().addr());
    }

    #[cold]
    pub(crate) fn wake(&self) {
        // Cloned: waking takes a flusher's lock, and its end takes this one.
        let flushers = self.0.lock().clone();
        flushers.iter().filter_map(Weak::upgrade).for_each(|flusher| flusher.kick());
    }
}
