//! R-IMAGE-APART, I-LOG-FIRST: races of logged changes with the writing of pages, and with who truncates the log.
//!
//! A page is the position of its newest change. A [`Journal`] is the log, and the store above the
//! [`Device`] that holds the cache to the order of the two.

use std::io;
use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};
use writeback::hooks::Log;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{Budget, Clock, Config, Flusher, FlusherConfig, Mapping, StoreError, SyncMode};

use crate::device::Device;
use crate::ledger::PAGE;
use crate::play::play;

#[derive(Debug, Default)]
struct Records {
    /// The page that each is about; the first has position 1.
    pages: Vec<u64>,
    durable: u64,
}

#[derive(Debug)]
struct Journal {
    records: Mutex<Records>,
    device: Device,
}

impl Journal {
    fn append(&self, page: u64) -> u64 {
        let mut records = self.records.lock().unwrap();
        records.pages.push(page);
        records.pages.len() as u64
    }

    /// The position of the next record.
    fn end(&self) -> u64 {
        self.records.lock().unwrap().pages.len() as u64 + 1
    }
}

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.records.lock().unwrap().durable
    }

    /// Not more than it is asked for.
    fn ensure(&self, upto: u64) -> io::Result<()> {
        thread::yield_now();
        let mut records = self.records.lock().unwrap();
        assert!(upto <= records.pages.len() as u64, "asked for what was never appended");
        records.durable = records.durable.max(upto);
        Ok(())
    }
}

/// The positions of all pages.
fn positions(bytes: &[u8]) -> Vec<u64> {
    let number = |page: &[u8]| u64::from_le_bytes(page[..8].try_into().unwrap());
    bytes.chunks(PAGE).map(number).collect()
}

/// The journal as the store: see the file's head.
#[derive(Debug)]
struct Ordered(Arc<Journal>);

impl Store for Ordered {
    fn limits(&self) -> Limits {
        self.0.device.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.0.device.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.0.device.set_len(len)
    }

    fn read(&self, run: ReadRun) {
        self.0.device.read(run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let durable = self.0.durable();
        for image in batch.images() {
            let newest = positions(image.as_ref())[0];
            assert!(newest <= durable, "{newest} is submitted, the log is durable to {durable}");
        }
        self.0.device.write(batch, completion);
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        self.0.device.flush(kind, completion);
    }
}

struct World {
    mapping: Mapping,
    journal: Arc<Journal>,
    server: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl World {
    /// Over `pages` pages of zeros. `late`: writes end late, on another thread.
    fn new(pages: usize, late: bool) -> Arc<Self> {
        let device = Device::new(vec![0; pages * PAGE], late);
        let server = late.then(|| {
            let device = device.clone();
            thread::spawn(move || device.serve())
        });
        let journal = Arc::new(Journal { records: Mutex::default(), device });
        let config = Config::new().unbounded().page_size(PAGE).clock(Clock::manual());
        let config = config.log(Arc::clone(&journal) as _);
        let store = Arc::new(Ordered(Arc::clone(&journal)));
        let mapping = Mapping::with_config(store, config).unwrap();
        Arc::new(Self { mapping, journal, server: std::sync::Mutex::new(server) })
    }

    fn spawn(self: &Arc<Self>, work: impl FnOnce(&World) + Send + 'static) -> JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || work(&world))
    }

    fn write(&self, page: u64) {
        let change = self.mapping.page(page).unwrap().write_logged(0..8, |change| {
            let position = self.journal.append(page);
            change.at(position).copy_from_slice(&position.to_le_bytes());
        });
        change.unwrap();
    }

    /// As `write`, by who appends first and changes the bytes later.
    fn write_later(&self, page: u64) {
        let hold = self.mapping.hold_log().unwrap();
        let position = self.journal.append(page);
        let handle = self.mapping.handle();
        handle.write_logged_at(&position.to_le_bytes(), page * PAGE as u64, position).unwrap();
        drop(hold);
    }

    fn write_range(&self, mode: SyncMode) {
        self.mapping.write_range(.., mode, Budget::UNLIMITED).unwrap();
    }

    fn sync(&self) {
        self.mapping.handle().sync_data().unwrap();
    }

    /// As who truncates the log: what it would drop must be durable in the store.
    fn truncate_log(&self) {
        let end = self.journal.end();
        let keep_from = self.mapping.oldest_unwritten().unwrap_or(end).min(end);
        let durable = positions(&self.journal.device.durable());
        let records = self.journal.records.lock().unwrap();
        for (position, page) in (1..keep_from).zip(&records.pages) {
            let stored = durable[usize::try_from(*page).unwrap()];
            assert!(
                stored >= position,
                "{position} is dropped, page {page} is durable as {stored}"
            );
        }
    }

    fn finish(self: Arc<Self>) {
        self.journal.device.fail_writes(0);
        let handle = self.mapping.handle();
        let _told = handle.check_error();
        if handle.sync_data().is_err() {
            self.sync();
        }
        self.journal.device.close();
        if let Some(server) = self.server.lock().unwrap().take() {
            server.join().unwrap();
        }
        self.mapping.check().unwrap();
        assert_eq!(self.mapping.oldest_unwritten(), None);
        self.truncate_log();
        drop(handle);
        drop(Arc::into_inner(self).expect("the race's threads are joined"));
    }
}

#[test]
fn logged_write_vs_image() {
    // Positions and image are of one instant: no change is in an image whose position does not count.
    play("logged_write_vs_image", || {
        let world = World::new(1, false);
        world.write(0);
        let writer = world.spawn(|world| {
            world.write(0);
            world.write(0);
        });
        world.write_range(SyncMode::Wait);
        world.write_range(SyncMode::Wait);
        writer.join().unwrap();
        world.finish();
    });
}

#[test]
fn logged_write_vs_background() {
    // Also in mode `Skip`, which looks at the position before the image is taken.
    play("logged_write_vs_background", || {
        let world = World::new(1, false);
        let writer = world.spawn(|world| {
            world.write(0);
            world.write(0);
        });
        let committer = world.spawn(|world| {
            let end = world.journal.end();
            world.journal.ensure(end - 1).unwrap();
        });
        world.write_range(SyncMode::Skip);
        world.write_range(SyncMode::Skip);
        writer.join().unwrap();
        committer.join().unwrap();
        world.finish();
    });
}

#[test]
fn log_truncation_vs_image() {
    // A change that came too late for an image is not taken for written with it.
    play("log_truncation_vs_image", || {
        let world = World::new(1, false);
        world.write(0);
        let writer = world.spawn(|world| world.write(0));
        world.sync();
        world.truncate_log();
        writer.join().unwrap();
        world.truncate_log();
        world.finish();
    });
}

#[test]
fn log_truncation_vs_write_and_sync() {
    // The bound is not above a change that is in memory, being written, or written and not durable.
    play("log_truncation_vs_write_and_sync", || {
        let world = World::new(2, true);
        world.write(0);
        let writer = world.spawn(|world| {
            world.write(1);
            world.write(0);
        });
        let syncer = world.spawn(World::sync);
        world.truncate_log();
        world.truncate_log();
        writer.join().unwrap();
        world.truncate_log();
        syncer.join().unwrap();
        world.truncate_log();
        world.finish();
    });
}

#[test]
fn log_truncation_vs_late_write() {
    // A record appended under a hold is needed until its change is durable, however late it is made.
    play("log_truncation_vs_late_write", || {
        let world = World::new(1, false);
        let writer = world.spawn(|world| world.write_later(0));
        let syncer = world.spawn(World::sync);
        world.truncate_log();
        world.truncate_log();
        writer.join().unwrap();
        syncer.join().unwrap();
        world.truncate_log();
        world.finish();
    });
}

#[test]
fn log_truncation_vs_failed_write() {
    // A write that fails gives its changes back to the page without a moment at which they do not count.
    play("log_truncation_vs_failed_write", || {
        let world = World::new(1, true);
        world.write(0);
        world.journal.device.fail_writes(1);
        let writer = world.spawn(|world| world.write(0));
        let syncer = world.spawn(|world| drop(world.mapping.handle().sync_data()));
        world.truncate_log();
        world.truncate_log();
        writer.join().unwrap();
        syncer.join().unwrap();
        world.truncate_log();
        world.finish();
    });
}

#[test]
fn log_truncation_vs_two_flushes() {
    // A flush covers the writes that had ended when it began, and the bound no others.
    play("log_truncation_vs_two_flushes", || {
        let world = World::new(2, false);
        // Each for its own page, so that neither waits for the other's write.
        let syncer = world.spawn(|world| {
            world.write(0);
            world.mapping.handle().sync_range(..PAGE as u64).unwrap();
        });
        let other = world.spawn(|world| {
            world.write(1);
            world.mapping.handle().sync_range(PAGE as u64..).unwrap();
        });
        world.truncate_log();
        world.truncate_log();
        syncer.join().unwrap();
        world.truncate_log();
        other.join().unwrap();
        // Both have been flushed, by whichever.
        assert_eq!(world.mapping.oldest_unwritten(), None);
        world.finish();
    });
}

#[test]
fn logged_write_vs_cut() {
    // A page that is cut away leaves nothing in the bound, also if it is just being changed.
    play("logged_write_vs_cut", || {
        let world = World::new(1, false);
        let page = world.mapping.page(0).unwrap();
        let writer = world.spawn(move |world| {
            // An error: it was cut away before.
            let _ = page.write_logged(0..8, |change| {
                let position = world.journal.append(0);
                change.at(position).copy_from_slice(&position.to_le_bytes());
            });
        });
        let handle = world.mapping.handle();
        handle.set_len(0).unwrap();
        writer.join().unwrap();
        handle.sync_data().unwrap();
        assert_eq!(world.mapping.oldest_unwritten(), None);
        world.journal.records.lock().unwrap().pages.clear();
        drop(handle);
        world.finish();
    });
}

#[test]
fn logged_write_vs_flusher() {
    // A flusher waits for the log with nothing in its hands that a sync waits for.
    play("logged_write_vs_flusher", || {
        let world = World::new(2, false);
        world.write(0);
        world.write(1);
        let flusher = world.spawn(|world| {
            let config = FlusherConfig::new().background_pages(0);
            Flusher::manual([world.mapping.clone()], config).step();
        });
        world.write(0);
        world.sync();
        flusher.join().unwrap();
        world.finish();
    });
}
