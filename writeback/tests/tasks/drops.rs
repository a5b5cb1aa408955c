//! A future is dropped at each place where it waits. Whatever it has begun ends, and everybody else goes on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use writeback::page::{Hold, LockedPage};
use writeback::store::fault::{Action, FaultStore};
use writeback::{AsyncHandle, Budget, CacheConfig, Config, Mapping, PageCache, SyncMode};

use crate::common::eventually;
use crate::{PAGE, Task, contents, stored};

/// How what is under way when the future is dropped ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Well,
    Lost,
}

/// What a future is to meet.
struct World {
    store: FaultStore,
    cache: PageCache,
    mapping: Mapping,
    handle: AsyncHandle,
    /// Who helps to make it wait, and ends by itself once all is delivered and let go of.
    helpers: Vec<JoinHandle<()>>,
    /// What is let go of when all is to end.
    locked: Option<LockedPage>,
    hold: Option<Hold>,
    guards: Option<Sender<()>>,
    /// Waits until a thread that waits in the task's place, if there is one, has begun to.
    waits: fn(&World),
}

type Scenario = (&'static str, fn(&mut World), fn(&AsyncHandle) -> Task<'_, ()>);

/// Each with a future that is pending once at least.
const SCENARIOS: [Scenario; 18] = [
    ("a read of what is missing", |_| {}, read),
    ("a page that is missing", |_| {}, page),
    ("a prefetch beside another's read", |world| world.read_in_a_thread(1), prefetch),
    ("a page that another reads", |world| world.read_in_a_thread(1), page),
    ("a page, while the mapping is cut", World::cut_in_a_thread, page),
    ("a write of a part of what is missing", |_| {}, write),
    ("a write of a part of what another reads", |world| world.read_in_a_thread(1), write),
    ("a write, while the mapping is cut", World::cut_in_a_thread, write),
    ("a write: a guard", World::guard, write),
    ("a write: no room", World::fill_the_room, write),
    ("writes under way", World::begin_writes, written),
    ("a sync: its writes and its flush", World::dirty, sync),
    (
        "a sync: writes under way of what has been changed since",
        World::change_what_is_written,
        sync,
    ),
    ("a sync: a lock", World::lock, sync),
    ("a sync: a hold", World::hold, sync),
    ("a sync: a hold of a block", World::hold_a_block, sync),
    ("a sync: a guard", World::guard, sync),
    ("a sync: another's flush", World::flush_in_a_thread, sync),
];

fn read(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(async {
        let mut bytes = vec![0; 2 * PAGE];
        if handle.read_at(&mut bytes, PAGE as u64 / 2).await.is_ok() {
            assert_eq!(bytes, contents(4)[PAGE / 2..5 * PAGE / 2]);
        }
    })
}

fn page(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(async {
        if let Ok(page) = handle.page(1).await {
            assert_eq!(page.try_read().expect("nobody changes it")[..], [2; PAGE]);
        }
    })
}

fn prefetch(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(async {
        let _ = handle.prefetch(..).await;
    })
}

/// Of what is there, as far as the mapping reaches.
fn write(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(async {
        let (from, to) = (PAGE + PAGE / 2, 5 * PAGE / 2);
        let _ = handle.write_at(&contents(4)[from..to], from as u64).await;
    })
}

fn written(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(handle.wait_range(..))
}

fn sync(handle: &AsyncHandle) -> Task<'_, ()> {
    Task::new(async {
        // What is lost is told, to this one or the next.
        let _ = handle.sync_data().await;
    })
}

impl World {
    fn new() -> Self {
        let (store, _) = stored(4, &[Action::Read, Action::Write, Action::Flush]);
        let cache = PageCache::new(CacheConfig::new(64)).unwrap();
        let config = Config::new().cache(&cache);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let handle = mapping.async_handle();
        let (helpers, locked, hold, guards) = (Vec::new(), None, None, None);
        Self { store, cache, mapping, handle, helpers, locked, hold, guards, waits: |_| {} }
    }

    /// What the pages have already, so that nobody can tell when it is written.
    fn dirty(&mut self) {
        self.handle.handle().write_at(&contents(4), 0).unwrap();
    }

    fn change_what_is_written(&mut self) {
        self.begin_writes();
        self.dirty();
    }

    fn lock(&mut self) {
        self.dirty();
        self.locked = self.mapping.page(1).unwrap().lock_state();
    }

    fn hold(&mut self) {
        self.dirty();
        self.hold = Some(self.mapping.hold_page(1).unwrap());
    }

    /// Of another mapping, with pages of several blocks.
    fn hold_a_block(&mut self) {
        let config = Config::new().block_size(512).cache(&self.cache);
        self.mapping = Mapping::with_config(Arc::new(self.store.clone()), config).unwrap();
        self.handle = self.mapping.async_handle();
        self.dirty();
        self.hold = Some(self.mapping.hold_blocks(1, 2..4).unwrap());
    }

    /// One page may be dirty, and another one is.
    fn fill_the_room(&mut self) {
        self.cache = PageCache::new(CacheConfig::new(64).dirty_pages_max(1)).unwrap();
        let config = Config::new().cache(&self.cache);
        self.mapping = Mapping::with_config(Arc::new(self.store.clone()), config).unwrap();
        self.handle = self.mapping.async_handle();
        self.handle.handle().write_at(&contents(1), 0).unwrap();
        self.waits = |world| eventually("a thread waits", || world.cache.stats().stalled > 0);
    }

    /// A thread has a guard of a page that is dirty.
    fn guard(&mut self) {
        self.dirty();
        let (has_it, had) = channel();
        let (let_go, lets_go): (_, Receiver<()>) = channel();
        self.help(move |mapping| {
            let page = mapping.page(2).unwrap();
            let _guard = page.read();
            has_it.send(()).unwrap();
            let _ = lets_go.recv();
        });
        had.recv().unwrap();
        self.guards = Some(let_go);
    }

    fn flush_in_a_thread(&mut self) {
        self.help(|mapping| drop(mapping.handle().sync_data()));
        eventually("it is under way", || self.store.pending() == 1);
        self.dirty();
    }

    fn help(&mut self, help: impl FnOnce(Mapping) + Send + 'static) {
        let mapping = self.mapping.clone();
        self.helpers.push(thread::spawn(move || help(mapping)));
    }

    fn read_in_a_thread(&mut self, page: u64) {
        self.help(move |mapping| drop(mapping.page(page)));
        eventually("it is under way", || self.store.pending() == 1);
    }

    /// The cut waits for a read of a page that it takes away.
    fn cut_in_a_thread(&mut self) {
        self.read_in_a_thread(3);
        self.help(|mapping| mapping.handle().set_len(5 * PAGE as u64 / 2).unwrap());
        eventually("the cut has begun", || self.mapping.len() < 4 * PAGE as u64);
    }

    fn begin_writes(&mut self) {
        self.handle.handle().write_at(&contents(4), 0).unwrap();
        self.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        eventually("they are under way", || self.store.pending() > 0);
    }

    fn end_all(&mut self, end: End) {
        match end {
            End::Well => _ = self.store.deliver_all(),
            End::Lost => _ = self.store.lose_pending(),
        }
        drop((self.locked.take(), self.hold.take(), self.guards.take()));
    }

    /// Ends what is under way, and is asked for later by those who are still there, and looks at what is left.
    fn settle(mut self, end: End) {
        self.end_all(end);
        // A thread that waits for room in a task's place goes on until there is some.
        let is_served = || self.cache.stats().stalled_now > 0;
        while !self.helpers.iter().all(JoinHandle::is_finished) || is_served() {
            self.store.deliver_all();
            thread::yield_now();
        }
        self.helpers.drain(..).for_each(|helper| helper.join().unwrap());
        self.store.deliver_all();
        [Action::Read, Action::Write, Action::Flush]
            .into_iter()
            .for_each(|action| self.store.queue(action, false));
        for page in 0..4 {
            let Some(page) = self.mapping.cached_page(page) else { continue };
            assert!(!page.snapshot().is_locked() && !page.snapshot().is_under_writeback());
            assert!(!page.snapshot().is_uptodate() || page.try_read().is_some());
        }
        self.mapping.check().unwrap();
        let len = self.mapping.len();
        let mut bytes = vec![0; 4 * PAGE];
        assert_eq!(self.mapping.handle().read_at(&mut bytes, 0).unwrap() as u64, len);
        assert_eq!(
            bytes[..usize::try_from(len).unwrap()],
            contents(4)[..usize::try_from(len).unwrap()]
        );
        self.mapping
            .handle()
            .sync_data()
            .unwrap_or_else(|error| assert_eq!(end, End::Lost, "{error}"));
        if self.mapping.is_poisoned() {
            assert_eq!(end, End::Lost, "a flush was lost");
        } else {
            // No hand is on any page, and each has a place: all of them can be evicted, when their uses are forgotten.
            for _ in 0..10 {
                self.cache.evict(u64::MAX);
            }
            assert_eq!(self.mapping.stats().cached, 0, "{:?}", self.mapping.cached_page(1));
        }
        self.mapping.check().unwrap();
        self.cache.check().unwrap();
    }
}

/// Runs a scenario until its future is done, or has been pending `until` times, and then drops it. Returns how often it was pending.
fn run((name, prepare, begin): Scenario, until: usize, end: End) -> usize {
    let mut world = World::new();
    prepare(&mut world);
    let handle = world.handle.clone();
    let mut task = begin(&handle);
    let mut pending = 0;
    while task.is_pending() {
        pending += 1;
        (world.waits)(&world);
        if pending == until {
            break;
        }
        world.end_all(end);
        // What a thread asks for in the task's place may come later.
        eventually(name, || {
            world.store.deliver_all();
            task.woken() >= pending
        });
    }
    assert_eq!(task.drop_future(), 0, "{name}: a waker is left");
    world.settle(end);
    pending
}

#[test]
fn a_future_that_is_dropped_where_it_waits_leaves_nothing_behind() {
    for scenario in SCENARIOS {
        for end in [End::Well, End::Lost] {
            let pending = run(scenario, usize::MAX, end);
            assert!(pending > 0, "{} is never pending", scenario.0);
            // Who comes again by itself may do so more often or less.
            for until in 1..=pending.min(8) {
                assert!((1..=until).contains(&run(scenario, until, end)));
            }
        }
    }
}
