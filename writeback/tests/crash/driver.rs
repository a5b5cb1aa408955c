//! Does one thing after another to a mapping over a store that fails, and knows what each must answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use writeback::store::fault::{Action, Event, Fault, FaultConfig, FaultStore, Stage};
use writeback::{Budget, CacheConfig, Config, Error, Handle, Mapping, PageCache, SyncMode};

use crate::common::watch;
use crate::oracle::{Bytes, Oracle};

pub(crate) const HANDLES: usize = 3;
pub(crate) const ALL: Bytes = 0..u64::MAX;

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { offset: u64, len: usize },
    WriteInPage { page: u64, within: usize, len: usize },
    Read { offset: u64, len: usize },
    SetLen(u64),
    Sync { handle: usize, bytes: Bytes, all: bool },
    Check { handle: usize },
    Background { budget: u64 },
    Cyclic { budget: u64 },
    WritePage { page: u64, wait: bool },
}

/// What a run is like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) page: usize,
    pub(crate) sector: usize,
    /// What may not be torn: a sector, or less if writes may end within one.
    pub(crate) whole: usize,
    pub(crate) pages: usize,
    pub(crate) batch_pages_max: usize,
    pub(crate) contents: usize,
    /// Bytes that are dirty and written by themselves, if not whole pages.
    pub(crate) block: Option<usize>,
    /// Writes begin and end at multiples of this.
    pub(crate) alignment: usize,
    /// Pages there is memory for, if not for all.
    pub(crate) memory: Option<u64>,
    /// Reads, writes and flushes end on another thread, in any order.
    pub(crate) late: bool,
}

impl Shape {
    fn open(&self, store: &FaultStore) -> Mapping {
        let mut config = Config::new().page_size(self.page);
        if let Some(block) = self.block {
            config = config.block_size(block);
        }
        if let Some(memory) = self.memory {
            let cache = CacheConfig::bytes(memory * self.page as u64).pause_max(Duration::ZERO);
            config = config.cache(&PageCache::new(cache).unwrap());
        }
        Mapping::with_config(Arc::new(store.clone()), config).unwrap()
    }
}

pub(crate) struct Driver {
    pub(crate) shape: Shape,
    pub(crate) store: FaultStore,
    pub(crate) mapping: Mapping,
    handles: Vec<Handle>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    /// The first thing that a power cut has left and must not.
    wrong: Arc<Mutex<Option<String>>>,
    random: SmallRng,
    /// Handles that have to be told of a failed write; unknown where writes end late.
    untold: [bool; HANDLES],
    /// How often each was told of one.
    pub(crate) told: [u64; HANDLES],
    poisoned: bool,
    /// The store refused a length since the last call.
    refused: bool,
    pub(crate) faults: u64,
}

/// How a call ended.
type Outcome<T> = Result<T, Failed>;

#[derive(Debug)]
pub(crate) enum Failed {
    Error(Error),
    Panicked,
}

/// Calls the cache; a panic of the store comes back as one.
fn call<T>(f: impl FnOnce() -> Result<T, Error>) -> Outcome<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(Failed::Error),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map_or("", String::as_str);
            if !said.starts_with("told to panic") {
                std::panic::resume_unwind(panic);
            }
            Err(Failed::Panicked)
        }
    }
}

impl Driver {
    pub(crate) fn new(shape: Shape) -> Driver {
        watch();
        let mut random = SmallRng::seed_from_u64(shape.seed);
        let mut contents = vec![0; shape.contents];
        random.fill_bytes(&mut contents);
        let config = FaultConfig::new(shape.seed)
            .sector_size(shape.sector)
            .batch_pages_max(shape.batch_pages_max)
            .contents(&contents)
            .alignment(shape.alignment);
        let config = if shape.late { config.all_queued() } else { config };
        let store = FaultStore::with_config(config);
        let mapping = shape.open(&store);
        let handles = (0..HANDLES).map(|_| mapping.handle()).collect();
        let oracle =
            Oracle::new(shape.page, shape.whole, shape.pages, &contents).aligned(shape.alignment);
        Driver {
            shape,
            store,
            mapping,
            handles,
            oracle: Arc::new(Mutex::new(oracle)),
            wrong: Arc::default(),
            random,
            untold: [false; HANDLES],
            told: [0; HANDLES],
            poisoned: false,
            refused: false,
            faults: 0,
        }
    }

    /// From now on at every event `clones` power cuts are tried; returns how many were.
    pub(crate) fn crash_at_every_event(&self, clones: u64) -> Arc<AtomicU64> {
        let count = Arc::new(AtomicU64::new(0));
        let (oracle, page, tried) = (Arc::clone(&self.oracle), self.shape.page, Arc::clone(&count));
        let wrong = Arc::clone(&self.wrong);
        self.store.on_event(move |store, event| {
            // Under the lock: nothing is asked of the cache, or answered, between the cut and the look.
            let oracle = oracle.lock();
            for _ in 0..clones {
                let seed = tried.fetch_add(1, Ordering::Relaxed);
                let checked = oracle.check(&read_all(&store.crash_clone(seed), page));
                if let Err(found) = checked {
                    // Told on the thread of the test: the one this is may be needed.
                    wrong.lock().get_or_insert(format!("at {event:?}: {found}"));
                }
            }
        });
        count
    }

    /// Asserts that no power cut so far has left what it must not.
    #[track_caller]
    pub(crate) fn assert_nothing_wrong(&self) {
        assert_eq!(*self.wrong.lock(), None);
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Write { offset, len } => self.write(offset, len),
            Op::WriteInPage { page, within, len } => self.write_in_page(page, within, len),
            Op::Read { offset, len } => self.read(offset, len),
            Op::SetLen(len) => self.set_len(len),
            Op::Sync { handle, bytes, all } => self.sync(handle, &bytes, all),
            Op::Check { handle } => self.check_error(handle),
            Op::WritePage { page, wait } => self.write_page(page, wait),
            Op::Background { budget } => {
                let budget = Budget::pages(budget);
                self.pass(|mapping| mapping.write_range(.., SyncMode::Skip, budget).map(drop));
            }
            Op::Cyclic { budget } => {
                self.pass(|mapping| mapping.write_cyclic(Budget::pages(budget)).map(drop));
            }
        }
        self.assert_nothing_wrong();
        if !self.shape.late {
            self.mapping.check().unwrap();
        }
    }

    fn new_bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn write(&mut self, offset: u64, len: usize) {
        let len = len.min(usize::try_from(self.oracle.lock().len_max() - offset).unwrap());
        let (data, bytes) = (self.new_bytes(len), offset..offset + len as u64);
        let handle = &self.handles[0];
        if self.poisoned {
            return assert!(handle.write_at(&data, offset).unwrap_err().is_poisoned());
        }
        self.oracle.lock().writing(offset, &data);
        let outcome = call(|| handle.write_at(&data, offset));
        self.written(&bytes, outcome);
    }

    fn write_in_page(&mut self, page: u64, within: usize, len: usize) {
        let offset = page * self.shape.page as u64;
        let Outcome::Ok(page) = call(|| self.mapping.page(page)) else {
            return self.absorb();
        };
        let len = len.min(self.shape.page - within);
        let (data, from) = (self.new_bytes(len), offset + within as u64);
        let range = within..within + len;
        if self.poisoned {
            return assert!(page.write_with(range, |_| ()).unwrap_err().is_poisoned());
        }
        self.oracle.lock().writing(from, &data);
        let outcome = call(|| page.write_with(range, |bytes| bytes.copy_from_slice(&data)));
        self.written(&(from..from + len as u64), outcome);
    }

    fn written(&mut self, bytes: &Bytes, outcome: Outcome<()>) {
        self.absorb();
        let mut oracle = self.oracle.lock();
        let cause = outcome.map_err(|failed| match failed {
            Failed::Error(Error::Partial { written, source }) => {
                assert!(written > 0 && written < bytes.end - bytes.start);
                Failed::Error(*source)
            }
            failed => failed,
        });
        match cause {
            Ok(()) => return oracle.wrote(bytes),
            Err(Failed::Panicked | Failed::Error(Error::Read { .. })) => {}
            Err(Failed::Error(Error::Length { .. })) => assert!(self.refused),
            Err(Failed::Error(other)) => panic!("{other}"),
        }
        let len = self.mapping.len();
        let page = self.shape.page as u64;
        oracle.observed(len, bytes, |index| {
            let cached =
                self.mapping.cached_page(index).filter(|page| page.snapshot().is_uptodate());
            let within = usize::try_from(len.saturating_sub(index * page).min(page)).unwrap();
            cached.map(|page| page.read_with(|bytes| bytes[..within].to_vec()))
        });
    }

    fn read(&mut self, offset: u64, len: usize) {
        let mut found = vec![0; len];
        let outcome = call(|| self.handles[1].read_at(&mut found, offset));
        self.absorb();
        match outcome {
            Ok(count) => {
                let bytes = self.oracle.lock().bytes();
                let from = bytes.len().min(usize::try_from(offset).unwrap());
                let expected = &bytes[from..bytes.len().min(from + len)];
                assert!(&found[..count] == expected, "{count} bytes at {offset} differ");
            }
            Err(Failed::Panicked | Failed::Error(Error::Read { .. })) => assert!(self.faults > 0),
            Err(Failed::Error(other)) => panic!("{other}"),
        }
    }

    fn set_len(&mut self, len: u64) {
        if self.poisoned {
            return assert!(self.handles[0].set_len(len).unwrap_err().is_poisoned());
        }
        let before = self.oracle.lock().len();
        if len < before {
            self.oracle.lock().cutting(len);
        } else {
            self.oracle.lock().lengthening(len);
        }
        let outcome = call(|| self.handles[0].set_len(len));
        self.absorb();
        match outcome {
            Ok(()) => {}
            Err(Failed::Panicked) => {}
            Err(Failed::Error(Error::Length { .. })) => assert!(self.refused),
            Err(Failed::Error(other)) => panic!("{other}"),
        }
        // A cut acts on the mapping even if the store refuses it.
        let expected = if len < before || self.mapping.len() == len { len } else { before };
        assert_eq!(self.mapping.len(), expected);
        if expected != len {
            self.oracle.lock().lengthening(before);
        }
    }

    fn sync(&mut self, by: usize, bytes: &Bytes, all: bool) {
        let was_poisoned = self.poisoned;
        let promise = self.oracle.lock().syncing(bytes);
        let handle = &self.handles[by];
        let outcome = call(|| match (all, *bytes == ALL) {
            (true, _) => handle.sync_all(),
            (false, true) => handle.sync_data(),
            (false, false) => handle.sync_range(bytes.clone()),
        });
        self.absorb();
        match &outcome {
            Ok(()) if !bytes.is_empty() => {
                assert!(!self.poisoned, "a flush has failed and a sync succeeds");
                self.oracle.lock().synced(&promise);
            }
            Ok(()) => return,
            Err(Failed::Error(Error::Write { .. })) => self.told[by] += 1,
            Err(_) => {}
        }
        if self.shape.late {
            return self.untold[by] = false;
        }
        let told = std::mem::take(&mut self.untold[by]);
        match outcome {
            Err(Failed::Panicked) => self.untold[by] = told,
            Err(Failed::Error(Error::Poisoned { .. })) => assert!(was_poisoned),
            Err(Failed::Error(Error::Flush { .. })) => assert!(self.poisoned && !was_poisoned),
            Err(Failed::Error(Error::Write { .. })) => assert!(told && !self.poisoned),
            Err(Failed::Error(Error::Length { .. })) => assert!(self.refused && !told),
            Err(Failed::Error(other)) => panic!("{other}"),
            Ok(()) => assert!(!told && !self.refused, "an error is not told"),
        }
    }

    fn check_error(&mut self, by: usize) {
        let result = self.handles[by].check_error();
        self.absorb();
        let told = matches!(result, Err(Error::Write { .. }));
        self.told[by] += u64::from(told);
        if !self.shape.late {
            let untold = std::mem::take(&mut self.untold[by]);
            assert_eq!(result.is_err(), untold || self.poisoned);
        }
    }

    fn write_page(&mut self, page: u64, wait: bool) {
        let was_poisoned = self.poisoned;
        let failures = self.failures();
        let outcome = call(|| self.mapping.write_page(page, mode(wait)));
        let failed = self.failures() > failures;
        self.absorb();
        match outcome {
            Ok(_) if wait && !self.shape.late => assert!(!failed, "its failure is not told"),
            Ok(_) => {}
            Err(Failed::Panicked) => assert!(failed || self.shape.late),
            Err(Failed::Error(error)) if was_poisoned => assert!(error.is_poisoned()),
            Err(Failed::Error(Error::Write { .. })) => {
                assert!(wait && (failed || self.shape.late));
            }
            Err(Failed::Error(other)) => panic!("{other}"),
        }
    }

    fn pass(&mut self, pass: impl FnOnce(&Mapping) -> Result<(), Error>) {
        let was_poisoned = self.poisoned;
        let outcome = call(|| pass(&self.mapping));
        self.absorb();
        match outcome {
            Ok(()) => assert!(!was_poisoned),
            Err(Failed::Panicked) => {}
            Err(Failed::Error(error)) => assert!(was_poisoned && error.is_poisoned()),
        }
    }

    /// How many writes have failed since the log was taken.
    fn failures(&self) -> usize {
        self.store.log().iter().filter(|event| is_failed_write(event)).count()
    }

    /// Takes notice of what the store has seen.
    fn absorb(&mut self) {
        self.refused = false;
        for event in self.store.take_log() {
            if event.fault.is_some() {
                self.faults += 1;
            }
            if is_failed_write(&event) {
                self.untold = [true; HANDLES];
            }
            let failed = matches!(event.fault, Some(Fault::Io | Fault::NoSpace));
            self.refused |= event.operation.action == Action::SetLen && failed;
            self.poisoned |= event.operation.action == Action::Flush
                && matches!(event.fault, Some(Fault::Io | Fault::Lost | Fault::Panic));
        }
    }

    /// The device is well again: all that the cache has must come to it, and all errors be told.
    pub(crate) fn finish(mut self) {
        self.store.heal();
        self.absorb();
        if self.poisoned {
            return self.finish_poisoned();
        }
        for handle in 0..HANDLES {
            // The first tells what is to be told, the second has nothing to tell.
            self.check_error(handle);
            self.handles[handle].check_error().unwrap();
        }
        self.sync(0, &ALL, true);
        (0..HANDLES).for_each(|handle| self.check_error(handle));
        self.handles.iter().for_each(|handle| handle.sync_all().unwrap());
        let stats = self.mapping.stats();
        assert_eq!((stats.dirty, stats.writeback), (0, 0), "{stats:?}");
        self.mapping.check().unwrap();
        let bytes = self.oracle.lock().bytes();
        assert!(self.store.durable() == bytes, "not all is durable");
        assert!(read_all(&self.store.crash_clone(1), self.shape.page) == bytes);
        self.assert_nothing_wrong();
        self.mapping.close().unwrap();
    }

    /// Nothing can be promised any more; what is in memory can be read.
    fn finish_poisoned(mut self) {
        let flushes = self.store.operations(Action::Flush);
        for handle in 0..HANDLES {
            self.sync(handle, &ALL, false);
            assert!(self.handles[handle].check_error().unwrap_err().is_poisoned());
        }
        self.apply(Op::Read { offset: 0, len: 1 << 20 });
        let failed = self.mapping.clone().close().unwrap_err();
        assert!(failed.error.is_poisoned());
        assert_eq!(self.store.operations(Action::Flush), flushes, "a failed flush is tried again");
        self.mapping.check().unwrap();
        let left = read_all(&self.store.crash_clone(2), self.shape.page);
        self.oracle.lock().check(&left).unwrap();
        self.assert_nothing_wrong();
    }
}

fn is_failed_write(event: &Event) -> bool {
    let failed = match event.stage {
        Stage::Begun => matches!(event.fault, Some(Fault::Panic)),
        Stage::Ended => matches!(
            event.fault,
            Some(Fault::Io | Fault::NoSpace | Fault::Short { .. } | Fault::Lost)
        ),
    };
    failed && event.operation.action == Action::Write
}

pub(crate) fn open(store: &FaultStore, page: usize) -> Mapping {
    Mapping::with_config(Arc::new(store.clone()), Config::new().page_size(page)).unwrap()
}

/// All bytes, as a cache that is opened over the store reads them.
pub(crate) fn read_all(store: &FaultStore, page: usize) -> Vec<u8> {
    let mapping = open(store, page);
    let mut bytes = vec![0; usize::try_from(mapping.len()).unwrap()];
    assert_eq!(mapping.handle().read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Any operation, mostly small ones that collide.
pub(crate) fn any_op(random: &mut SmallRng, shape: &Shape) -> Op {
    let page = shape.page as u64;
    let len_max = page * shape.pages as u64;
    let index = random.random_range(0..shape.pages as u64);
    let offset = random.random_range(0..len_max);
    let len = match random.random_range(0..3) {
        0 => shape.page,
        1 => random.random_range(0..shape.page),
        _ => random.random_range(0..4 * shape.page),
    };
    match random.random_range(0..24) {
        0..=6 => Op::Write { offset: if random.random() { index * page } else { offset }, len },
        7 | 8 => {
            let within = random.random_range(0..shape.page);
            Op::WriteInPage { page: index, within, len }
        }
        9 => Op::Read { offset, len },
        10 => Op::SetLen(offset),
        11 => Op::SetLen(index * page),
        12..=14 => Op::Sync { handle: random.random_range(0..HANDLES), bytes: ALL, all: false },
        15 => Op::Sync { handle: random.random_range(0..HANDLES), bytes: ALL, all: true },
        16 | 17 => {
            let bytes = offset..offset + len as u64;
            Op::Sync { handle: random.random_range(0..HANDLES), bytes, all: false }
        }
        18 => Op::Check { handle: random.random_range(0..HANDLES) },
        19 | 20 => Op::Background { budget: random.random_range(1..10) },
        21 => Op::Cyclic { budget: random.random_range(1..10) },
        n => Op::WritePage { page: index, wait: n == 23 },
    }
}

/// Keeps panics that were ordered off the output.
pub(crate) fn silence_ordered_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let said = info.payload().downcast_ref::<String>().map_or("", String::as_str);
            if !said.starts_with("told to panic") {
                usual(info);
            }
        }));
    });
}

fn mode(waits: bool) -> SyncMode {
    if waits { SyncMode::Wait } else { SyncMode::Skip }
}
