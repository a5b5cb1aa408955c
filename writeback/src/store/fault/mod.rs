//! A store in memory that fails as it is told, forgets what was not flushed, and can be replayed: for
//! tests of this crate and of whatever is built on it. Needs the feature `fault`.
//!
//! A [`FaultStore`] holds two contents: what it *accepted*, which reads see, and what is *durable*, which
//! flushes have made of it. Three things can be had from it:
//!
//! * *faults*: a [`Rule`] says which operation goes wrong and how ([`Fault`]): errors, short and lost
//!   writes, stuck and slow operations, failed and lying flushes, panics;
//! * *late completions* of writes, reads and flushes: they are delivered when the test says so, in an order that the seed makes, from
//!   any thread ([`FaultStore::deliver_one`]);
//! * *power cuts*: [`FaultStore::crash_clone`] makes a store as a power cut now could leave it, as many as
//!   are asked for, also [at every event](FaultStore::on_event), while the original goes on.
//!
//! Everything random comes from one seed: the same calls in the same order give the same faults, orders
//! and contents.
//!
//! # What a power cut leaves
//!
//! What a flush covered, that is, what had ended when the flush began, always. Of everything else each
//! sector is as it was at a moment of its own, at or after that flush: writes are torn at sectors,
//! reordered, and missing. A write that failed or was under way may be there, too, and stays possible
//! until the sector is written again. The length is as it was at some moment since; a cut that is there
//! cut all that was written before it, as in a journalled file system.
//!
//! After a flush that failed nothing it was to cover is certain, and no later flush makes it so, as on
//! systems that forget what they could not write. Who retries it and believes the second answer loses
//! data here.
//!
//! # Examples
//! An engine tested at every moment at which the power may go:
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use writeback::store::fault::FaultStore;
//! use writeback::Mapping;
//!
//! let store = FaultStore::new(42);
//! let synced = Arc::new(AtomicU64::new(0));
//! store.on_event({
//!     let synced = synced.clone();
//!     move |store, event| {
//!         let at_least = synced.load(Ordering::Relaxed);
//!         let after = Mapping::open(store.crash_clone(event.operation.number)).expect("opens");
//!         let mut bytes = [0; 8];
//!         after.handle().read_at(&mut bytes, 0).expect("is read");
//!         assert!(u64::from_le_bytes(bytes) >= at_least, "what was synced is lost");
//!     }
//! });
//! let handle = Mapping::open(store)?.handle();
//! for version in 1..=10_u64 {
//!     handle.write_at(&version.to_le_bytes(), 0)?;
//!     handle.sync_data()?;
//!     synced.store(version, Ordering::Relaxed);
//! }
//! # Ok::<(), writeback::Error>(())
//! ```

mod config;
mod deliver;
mod length;
mod log;
mod media;
mod operate;
mod plan;
mod queue;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

pub use self::config::FaultConfig;
pub use self::deliver::Deliverer;
pub use self::log::{Event, Stage};
use self::media::Media;
use self::plan::Plan;
pub use self::plan::{Action, Fault, Operation, Rule};
use self::queue::Queue;
use crate::clock::Clock;
use crate::primitives::{Condvar, Mutex};

type Hook = Arc<dyn Fn(&FaultStore, &Event) + Send + Sync>;

struct State {
    media: Media,
    plan: Plan,
    queue: Queue,
    random: Rng,
    capacity: Option<u64>,
    /// Which kinds of operations wait to be delivered.
    queued: [bool; Action::ALL.len()],
    counts: [u64; Action::ALL.len()],
    log: Option<Vec<Event>>,
    hook: Option<Hook>,
    /// Calls that are kept waiting, and how often such were let go.
    stuck_calls: usize,
    releases: u64,
}

struct Inner {
    state: Mutex<State>,
    /// Something may go on: a write is due, a stuck call was let go.
    changed: Condvar,
    clock: Clock,
    batch_pages_max: usize,
    alignment: usize,
}

/// A store in memory that fails as it is told, forgets what was not flushed, and can be replayed.
///
/// Clones share everything: keep one to tell it what to do. See the [module](self) for what it does
/// and what a power cut leaves.
///
/// # Concurrency
/// All methods lock it for the time of a copy, and [`on_event`](Self::on_event)'s hook is called
/// without the lock. Threads that do not agree on an order of their calls make runs that
/// cannot be replayed.
///
/// # Panics
/// It panics where its caller breaks the rules of [`Store`](crate::store::Store): two writes of the same bytes
/// under way at once, a read of bytes that are being written, a write of bytes that are being read, or bytes that are not aligned as it needs.
///
/// # Examples
/// ```
/// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
/// use writeback::Mapping;
///
/// let store = FaultStore::new(42);
/// let handle = Mapping::open(store.clone())?.handle();
/// handle.write_at(b"synced", 0)?;
/// handle.sync_data()?;
///
/// store.inject(Rule::new(Fault::Io).on(Action::Write));
/// handle.write_at(b"doomed", 0)?;
/// assert!(handle.sync_data().is_err());
/// for seed in 0..100 {
///     let left = store.crash_clone(seed).accepted();
///     assert!(left == b"synced" || left == b"doomed"); // one sector: not torn
/// }
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct FaultStore(Arc<Inner>);

impl FaultStore {
    /// An empty store, with all that is random drawn from `seed`.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    ///
    /// assert!(FaultStore::new(1).accepted().is_empty());
    /// ```
    pub fn new(seed: u64) -> Self {
        Self::with_config(FaultConfig::new(seed))
    }

    /// A store as `config` says.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{FaultConfig, FaultStore};
    ///
    /// let store = FaultStore::with_config(FaultConfig::new(1).contents(b"abc"));
    /// assert_eq!(store.accepted(), b"abc");
    /// ```
    pub fn with_config(config: FaultConfig) -> Self {
        let state = State {
            media: Media::new(config.sector_size, config.contents),
            plan: Plan::default(),
            queue: Queue::default(),
            random: Rng::with_seed(config.seed),
            capacity: None,
            queued: config.queued,
            counts: [0; Action::ALL.len()],
            log: config.log.then(Vec::new),
            hook: None,
            stuck_calls: 0,
            releases: 0,
        };
        let FaultConfig { clock, batch_pages_max, alignment, .. } = config;
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self(Arc::new(Inner { state, changed, clock, batch_pages_max, alignment }))
    }

    /// Adds a rule by which something goes wrong. Of several rules the one that was added first decides.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// store.inject(Rule::new(Fault::NoSpace).on(Action::Write));
    /// handle.write_at(b"abc", 0)?;
    /// assert!(handle.sync_data().unwrap_err().is_no_space());
    /// handle.sync_data()?; // once: written now
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn inject(&self, rule: Rule) {
        self.0.state.lock().plan.add(rule);
    }

    /// Takes all rules back. What has begun and is to go wrong still does.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).persistent());
    /// assert!(store.set_len(1).is_err());
    /// store.heal();
    /// assert!(store.set_len(1).is_ok());
    /// ```
    pub fn heal(&self) {
        self.0.state.lock().plan.clear();
    }

    /// Sets how many bytes it has room for; writes beyond that are accepted as far as they fit and fail
    /// with [`NoSpace`](crate::StoreError::NoSpace). `None`: as much as there is memory.
    ///
    /// Room is taken 4096 bytes at a time by what is written, and given back by what is cut.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// store.set_capacity(Some(8192));
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(&[1; 3 * 4096], 0)?;
    /// assert!(handle.sync_data().unwrap_err().is_no_space());
    /// handle.set_len(8192)?;
    /// handle.sync_data()?;
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().capacity = bytes;
    }

    /// Sets whether writes wait until they are delivered, from now on. For reads and flushes there is
    /// [`queue`](Self::queue).
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// store.set_queued(true);
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// assert!(store.deliver_one() && !store.deliver_one());
    /// assert_eq!(store.accepted(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn set_queued(&self, queued: bool) {
        self.queue(Action::Write, queued);
    }

    /// Sets whether operations of a kind wait until they are delivered, from now on.
    ///
    /// # Panics
    /// For [`Action::SetLen`], which ends when its call returns.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Action, FaultStore};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// store.queue(Action::Flush, true);
    /// std::thread::scope(|scope| {
    ///     let sync = scope.spawn(|| handle.sync_data());
    ///     while !store.deliver_one() {
    ///         std::thread::yield_now();
    ///     }
    ///     sync.join().expect("no panic")
    /// })?;
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn queue(&self, action: Action, queued: bool) {
        assert_ne!(action, Action::SetLen, "a change of the length ends when its call returns");
        self.0.state.lock().queued[action as usize] = queued;
    }

    /// The clock that slow operations go by.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::store::fault::FaultStore;
    ///
    /// assert_eq!(FaultStore::new(1).clock().now(), Duration::ZERO);
    /// ```
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Moves its clock on, and lets a [`Deliverer`] know.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let mapping = Mapping::open(store.clone())?;
    /// mapping.handle().write_at(b"abc", 0)?;
    /// store.inject(Rule::new(Fault::Slow(Duration::from_secs(3))).on(Action::Write));
    /// mapping.write_page(0, writeback::SyncMode::Skip)?;
    /// assert_eq!(store.deliver_all(), 0);
    /// store.advance(Duration::from_secs(3));
    /// assert_eq!(store.deliver_all(), 1);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        // With the lock: a deliverer that has just looked at the clock sleeps by now.
        drop(self.0.state.lock());
        self.0.changed.notify_all();
    }

    /// A store as a power cut now could leave this one, by `seed`; another seed, another outcome.
    ///
    /// This one goes on as if nothing had happened. The clone has no rules and no hook, a clock of its
    /// own, and writes that end at once; all that it holds is durable.
    ///
    /// # Complexity
    /// O(n) in what was written since the last flush. Contents are shared until they are written.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::FaultStore;
    /// use writeback::Mapping;
    ///
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(&[1; 1024], 0)?;
    /// handle.sync_data()?;
    /// handle.write_at(&[2; 1024], 0)?;
    /// handle.mapping().write_page(0, writeback::SyncMode::Wait)?; // accepted, and not flushed
    /// let left: std::collections::BTreeSet<_> =
    ///     (0..100).map(|seed| store.crash_clone(seed).accepted()).collect();
    /// assert_eq!(left.len(), 4, "two sectors, each the old one or the new one");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    #[must_use]
    pub fn crash_clone(&self, seed: u64) -> Self {
        let (mut media, capacity, log) = {
            let state = self.0.state.lock();
            let mut media = state.media.clone();
            for batch in state.queue.batches() {
                media.write(batch.offset(), batch.images(), 0, true);
            }
            (media, state.capacity, state.log.is_some())
        };
        media = media.crash(&mut Rng::with_seed(seed));
        let config = FaultConfig::new(seed)
            .sector_size(media.sector())
            .batch_pages_max(self.0.batch_pages_max)
            .alignment(self.0.alignment)
            .keep_log(log);
        let clone = Self::with_config(config);
        {
            let mut state = clone.0.state.lock();
            state.media = media;
            state.capacity = capacity;
        }
        clone
    }

    /// A copy of everything accepted, flushed or not.
    ///
    /// # Panics
    /// If it does not fit into memory.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::FaultStore;
    /// # use writeback::Mapping;
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.mapping().write_page(0, writeback::SyncMode::Wait)?;
    /// assert_eq!((store.accepted(), store.durable()), (b"abc".to_vec(), vec![]));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn accepted(&self) -> Vec<u8> {
        self.0.state.lock().media.accepted().to_vec()
    }

    /// A copy of what was flushed: what a power cut leaves where nothing was written since.
    ///
    /// # Panics
    /// If it does not fit into memory.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::FaultStore;
    /// # use writeback::Mapping;
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// assert_eq!(store.durable(), b"abc");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn durable(&self) -> Vec<u8> {
        self.0.state.lock().media.stable().to_vec()
    }

    /// How many operations of a kind have begun.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, FaultStore};
    /// # use writeback::Mapping;
    /// let store = FaultStore::new(1);
    /// let handle = Mapping::open(store.clone())?.handle();
    /// handle.write_at(b"abc", 0)?;
    /// handle.sync_data()?;
    /// let counts = Action::ALL.map(|action| store.operations(action));
    /// assert_eq!(counts, [0, 1, 1, 0]); // reads, writes, flushes, lengths set
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn operations(&self, action: Action) -> u64 {
        self.0.state.lock().counts[action as usize]
    }

    /// What happened since the log was last [taken](Self::take_log).
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, FaultStore};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.read_at(0, &mut [0; 10])?;
    /// assert_eq!(store.log().len(), 2, "begun and ended");
    /// assert_eq!(store.log()[0].operation.action, Action::Read);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    pub fn log(&self) -> Vec<Event> {
        self.0.state.lock().log.clone().unwrap_or_default()
    }

    /// Takes the log: it begins anew.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::FaultStore;
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.set_len(10)?;
    /// assert_eq!(store.take_log().len(), 2);
    /// assert!(store.log().is_empty());
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    pub fn take_log(&self) -> Vec<Event> {
        self.0.state.lock().log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has `hook` called at every [`Event`], by the thread that it happens on, in place of an earlier hook.
    ///
    /// It may call the store's own methods, such as [`crash_clone`](Self::crash_clone), but not what would
    /// ask the store to do something. If it panics, the call does.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use writeback::store::fault::FaultStore;
    /// use writeback::store::Store;
    ///
    /// let store = FaultStore::new(1);
    /// let events = Arc::new(AtomicUsize::new(0));
    /// let counter = events.clone();
    /// store.on_event(move |_, _| {
    ///     counter.fetch_add(1, Ordering::Relaxed);
    /// });
    /// store.set_len(10)?;
    /// assert_eq!(events.load(Ordering::Relaxed), 2);
    /// # Ok::<(), writeback::StoreError>(())
    /// ```
    pub fn on_event(&self, hook: impl Fn(&FaultStore, &Event) + Send + Sync + 'static) {
        self.0.state.lock().hook = Some(Arc::new(hook));
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("FaultStore")
            .field("len", &state.media.accepted().len())
            .field("pending", &state.queue.len())
            .field("plan", &state.plan)
            .finish_non_exhaustive()
    }
}
