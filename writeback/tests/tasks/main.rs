//! Calls that are futures: that they wait without a thread, are woken, and leave nothing behind when they are dropped, wherever they wait.

#[path = "../common/mod.rs"]
mod common;

mod drops;
mod executors;
mod latches;
mod reads;
mod syncs;
mod threads;
mod torn;
mod wakers;
mod writes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use writeback::store::fault::{Action, FaultConfig, FaultStore};
use writeback::{Config, Mapping};

pub(crate) const PAGE: usize = 4096;

/// `pages` pages, each filled with its number plus one.
pub(crate) fn contents(pages: u8) -> Vec<u8> {
    (1..=pages).flat_map(|byte| [byte; PAGE]).collect()
}

/// A mapping of `pages` pages, none of them cached. Operations of these kinds end when they are delivered.
pub(crate) fn stored(pages: u8, queued: &[Action]) -> (FaultStore, Mapping) {
    common::watch();
    let store = FaultStore::with_config(FaultConfig::new(1).contents(contents(pages)));
    queued.iter().for_each(|action| store.queue(*action, true));
    let mapping = Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap();
    (store, mapping)
}

/// A waker that counts. Whoever sees that it was called finds it gone.
#[derive(Debug, Default)]
pub(crate) struct Bell(Arc<AtomicUsize>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let rung = Arc::clone(&self.0);
        drop(self);
        rung.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future with a waker of its own, polled when the test says so.
pub(crate) struct Task<'f, T> {
    pub(crate) future: Pin<Box<dyn Future<Output = T> + Send + 'f>>,
    bell: Arc<Bell>,
}

impl<'f, T> Task<'f, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'f) -> Self {
        Self { future: Box::pin(future), bell: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn is_pending(&mut self) -> bool {
        self.poll().is_pending()
    }

    pub(crate) fn ready(&mut self) -> T {
        let Poll::Ready(output) = self.poll() else { panic!("it has nothing to wait for") };
        output
    }

    pub(crate) fn woken(&self) -> usize {
        self.bell.0.load(Ordering::SeqCst)
    }

    /// Wakers that somebody has.
    pub(crate) fn wakers(&self) -> usize {
        Arc::strong_count(&self.bell) - 1
    }

    /// Drops the future; returns how many wakers are left.
    pub(crate) fn drop_future(self) -> usize {
        let Self { future, bell } = self;
        drop(future);
        Arc::strong_count(&bell) - 1
    }
}
