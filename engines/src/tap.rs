//! A store that is copied, as a power cut would leave it, whenever something happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::{Completion, FlushKind, Limits, MemStore, Store, StoreError, WriteBatch};

/// A store that can be copied as a power cut at this moment would leave it.
pub trait PowerCut: Store + Sized {
    /// The copy: all that was flushed, and of the rest what `seed` decides, if there is a choice.
    fn after_cut(&self, seed: u64) -> Arc<dyn Store>;
}

/// What was not flushed is lost, all of it.
impl PowerCut for MemStore {
    fn after_cut(&self, _seed: u64) -> Arc<dyn Store> {
        Arc::new(self.after_crash())
    }
}

/// How far a history was, as somebody may look at it at any moment.
#[derive(Debug, Default)]
pub struct Mark {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

impl Mark {
    /// Transaction `number` is about to be performed.
    pub fn begin(&self, number: u64) {
        self.begun.fetch_max(number, Ordering::AcqRel);
    }

    /// The commit of transaction `number` returned, and all up to it are durable.
    pub fn acknowledge(&self, number: u64) {
        self.acknowledged.fetch_max(number, Ordering::AcqRel);
    }

    /// The last transaction begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// The last transaction known to be durable.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }
}

/// What a power cut left, and what must be in it.
#[derive(Debug)]
pub struct Left {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Counted from 1, in the life of the tap.
    pub event: u64,
    /// Transactions up to this one were acknowledged as durable before the cut.
    pub acknowledged: u64,
    /// Transactions after this one were begun after the cut.
    pub begun: u64,
}

/// Hands every call on to the store below and, before and after each that changes something, may cut its
/// power.
#[derive(Debug)]
pub struct Tap<S> {
    below: S,
    mark: Arc<Mark>,
    open: AtomicBool,
    /// One in so many events.
    every: u32,
    state: Mutex<State>,
    left: SyncSender<Left>,
}

#[derive(Debug)]
struct State {
    random: SmallRng,
    event: u64,
}

impl<S: PowerCut> Tap<S> {
    /// Cuts at one in `every` events, by chance, and sends what is left to `left`.
    pub fn new(below: S, mark: Arc<Mark>, seed: u64, every: u32, left: SyncSender<Left>) -> Self {
        let state = State { random: SmallRng::seed_from_u64(seed), event: 0 };
        Self { below, mark, open: AtomicBool::new(false), every, state: Mutex::new(state), left }
    }

    /// From now on there are power cuts.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// The store below.
    pub fn below(&self) -> &S {
        &self.below
    }

    fn event(&self) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state.lock();
        state.event += 1;
        let seed = state.random.random();
        if state.random.random_ratio(1, self.every) {
            // In this order: what is acknowledged before the copy is made must be in it, and what is
            // in it was begun before.
            let acknowledged = self.mark.acknowledged();
            let store = self.below.after_cut(seed);
            let begun = self.mark.begun();
            let left = Left { store, event: state.event, acknowledged, begun };
            drop(state);
            // Nobody may want more of them.
            let _ = self.left.send(left);
        }
    }
}

impl<S: PowerCut> Store for Tap<S> {
    fn limits(&self) -> Limits {
        self.below.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.event();
        let outcome = self.below.set_len(len);
        self.event();
        outcome
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        self.below.read(offset, into)
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        self.event();
        self.below.submit(batch, completion);
        self.event();
    }

    fn flush(&self, kind: FlushKind) -> Result<(), StoreError> {
        self.event();
        let outcome = self.below.flush(kind);
        self.event();
        outcome
    }
}
