//! A mapping over a [`Device`], and what everything that is done to it is judged by.
//!
//! * A sync that returns `Ok`: what was written before it was called is in the store's *durable* image,
//!   or was cut ([`Ledger::check`]).
//! * A read: what was written before it was called, or something newer.
//! * At the end: a sync succeeds, nothing is dirty or under way, all counters fit, every clean page is
//!   in the store as it is, nothing is left of the tree.
//! * At all times: the library's own invariants, and the store's contract (`device`).

use std::ops::Range;
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};
use writeback::page::{Claim, PageRef, Writeback};
use writeback::{Budget, CacheConfig, Clock, Config, Handle, Mapping, PageCache, Result, SyncMode};

use crate::device::Device;
use crate::ledger::{Ledger, PAGE, PLACE, PLACES, Place, stamp};

/// More than any race has.
const PAGES_MAX: u64 = 8;

pub(crate) struct World {
    pub(crate) mapping: Mapping,
    pub(crate) device: Device,
    ledger: Ledger,
    cache: Option<PageCache>,
    /// The device's own.
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl World {
    /// Over a device with `pages` pages of zeros. It writes at once, or late on `threads` of its own.
    pub(crate) fn new(pages: u64, threads: usize) -> Arc<Self> {
        let zeros = vec![0; usize::try_from(pages).unwrap() * PAGE];
        Self::over(Device::new(zeros, threads > 0), Ledger::default(), threads)
    }

    /// Over a device whose pages have a first version of two places, none of them cached.
    pub(crate) fn stored(pages: u64) -> Arc<Self> {
        let ledger = Ledger::default();
        let first = |place| match place % PLACES {
            0 | 4 => ledger.stored(Place(place)),
            _ => [0; PLACE],
        };
        let bytes: Vec<_> = (0..pages * PLACES).flat_map(first).collect();
        Self::over(Device::new(bytes, false), ledger, 0)
    }

    /// Empty, over a device that takes whole pages only.
    pub(crate) fn aligned(threads: usize) -> Arc<Self> {
        Self::over(Device::aligned(threads > 0), Ledger::default(), threads)
    }

    /// As [`new`](Self::new), in a cache with room for `capacity` pages, so many of which may be dirty.
    pub(crate) fn in_cache(
        pages: u64,
        threads: usize,
        capacity: u64,
        dirty_max: u64,
    ) -> (Arc<Self>, PageCache) {
        let [capacity, dirty_max] = [capacity, dirty_max].map(|pages| pages * PAGE as u64);
        let config = CacheConfig::bytes(capacity).dirty_bytes_max(dirty_max);
        let cache = PageCache::new(config).unwrap();
        let zeros = vec![0; usize::try_from(pages).unwrap() * PAGE];
        let device = Device::new(zeros, threads > 0);
        let config = Config::new().cache(&cache);
        let world = Self::open(device, Ledger::default(), threads, config, Some(cache.clone()));
        (world, cache)
    }

    fn over(device: Device, ledger: Ledger, threads: usize) -> Arc<Self> {
        Self::open(device, ledger, threads, Config::new().unbounded(), None)
    }

    fn open(
        device: Device,
        ledger: Ledger,
        threads: usize,
        config: Config,
        cache: Option<PageCache>,
    ) -> Arc<Self> {
        let config = config.page_size(PAGE).clock(Clock::manual());
        let mapping = Mapping::with_config(Arc::new(device.clone()), config).unwrap();
        let serve = |_| {
            let device = device.clone();
            thread::spawn(move || device.serve())
        };
        let threads = std::sync::Mutex::new((0..threads).map(serve).collect());
        Arc::new(Self { mapping, device, ledger, cache, threads })
    }

    /// As [`new`](Self::new), and its pages have a first version, which is dirty.
    pub(crate) fn dirty(pages: u64, threads: usize) -> Arc<Self> {
        let world = Self::new(pages, threads);
        let handle = world.mapping.handle();
        (0..pages).for_each(|page| world.write(&handle, Place::of(page, 0)));
        world
    }

    /// A thread that does something to it.
    pub(crate) fn spawn<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&World) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let world = Arc::clone(self);
        thread::spawn(move || work(&world))
    }

    /// A thread that writes to `place` and then syncs.
    pub(crate) fn spawn_writer(self: &Arc<Self>, place: Place) -> JoinHandle<()> {
        self.spawn(move |world| {
            let handle = world.mapping.handle();
            world.write(&handle, place);
            world.sync(&handle).unwrap();
        })
    }

    /// A thread that syncs.
    pub(crate) fn spawn_syncer(self: &Arc<Self>) -> JoinHandle<()> {
        self.spawn(|world| world.sync(&world.mapping.handle()).unwrap())
    }

    /// Writes a new version of a place.
    pub(crate) fn write(&self, handle: &Handle, place: Place) {
        self.try_write(handle, place).unwrap();
    }

    /// As [`write`](Self::write). `Err`: the mapping was closed.
    pub(crate) fn try_write(&self, handle: &Handle, place: Place) -> Result<()> {
        let (entry, version) = self.ledger.begin_write(place);
        handle.write_at(&stamp(place, version), place.offset())?;
        self.ledger.end_write(entry);
        Ok(())
    }

    /// As [`write`](Self::write), through the page. `Err`: it was cut away.
    pub(crate) fn write_page(&self, page: &PageRef, number: u64) -> Result<()> {
        let place = Place::of(page.index(), number);
        let (entry, version) = self.ledger.begin_write(place);
        let from = usize::try_from(place.offset()).unwrap() % PAGE;
        page.write_with(from..from + PLACE, |bytes| bytes.copy_from_slice(&stamp(place, version)))?;
        self.ledger.end_write(entry);
        Ok(())
    }

    pub(crate) fn read(&self, handle: &Handle, page: u64) {
        let begin = self.ledger.now();
        let offset = page * PAGE as u64;
        let mut bytes = vec![0; usize::try_from(offset).unwrap() + PAGE];
        let from = usize::try_from(offset).unwrap();
        let count = handle.read_at(&mut bytes[from..], offset).unwrap();
        let places = Place::of(page, 0)..Place::of(page + 1, 0);
        self.ledger.check("read", begin, places, &bytes[from..from + count]);
    }

    /// Syncs; if that succeeds, what had been written must be durable.
    pub(crate) fn sync(&self, handle: &Handle) -> Result<()> {
        let begin = self.ledger.now();
        handle.sync_data()?;
        self.check_durable(begin);
        Ok(())
    }

    fn check_durable(&self, time: u64) {
        let all = Place(0)..Place::of(PAGES_MAX, 0);
        self.ledger.check("durable", time, all, &self.device.durable());
    }

    /// As [`sync`](Self::sync), for a range of pages.
    pub(crate) fn sync_pages(&self, handle: &Handle, pages: Range<u64>) -> Result<()> {
        let begin = self.ledger.now();
        let (from, to) = (pages.start * PAGE as u64, pages.end * PAGE as u64);
        handle.sync_range(from..to)?;
        let places = Place::of(pages.start, 0)..Place::of(pages.end, 0);
        let durable = self.device.durable();
        let from = usize::try_from(from).unwrap().min(durable.len());
        self.ledger.check("durable", begin, places, &durable[from..]);
        Ok(())
    }

    /// Writes the page and waits; what had been written to it must be accepted by the store then.
    pub(crate) fn write_page_and_look(&self, index: u64) {
        let begin = self.ledger.now();
        self.mapping.write_page(index, SyncMode::Wait).unwrap();
        let places = Place::of(index, 0)..Place::of(index + 1, 0);
        let accepted = self.device.accepted();
        let from = usize::try_from(index).unwrap() * PAGE;
        self.ledger.check("accepted", begin, places, &accepted[from.min(accepted.len())..]);
    }

    /// Writes all pages and waits; what had been written must be accepted by the store then.
    pub(crate) fn write_range_and_look(&self) {
        let begin = self.ledger.now();
        self.mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        self.mapping.wait_range(..);
        let all = Place(0)..Place::of(PAGES_MAX, 0);
        self.ledger.check("accepted", begin, all, &self.device.accepted());
    }

    /// For a mapping that is closed: nothing of this may change any more.
    pub(crate) fn durable_and_stats(&self) -> (Vec<u8>, u64, u64) {
        let stats = self.mapping.stats();
        (self.device.durable(), stats.dirtied, self.mapping.len())
    }

    /// Closes the mapping; what was written until then must be durable.
    pub(crate) fn close(&self) {
        self.mapping.clone().close().unwrap();
        self.check_durable(self.ledger.now());
    }

    pub(crate) fn cut(&self, handle: &Handle, len: u64) {
        let entry = self.ledger.begin_cut(len);
        handle.set_len(len).unwrap();
        self.ledger.end_cut(entry);
    }

    /// As [`cut`](Self::cut), but the store refuses, and is longer than the mapping from then on.
    pub(crate) fn cut_mapping_only(&self, handle: &Handle, len: u64) {
        self.device.fail_set_len();
        let entry = self.ledger.begin_cut(len);
        handle.set_len(len).unwrap_err();
        self.ledger.end_cut(entry);
    }

    pub(crate) fn page(&self, index: u64) -> PageRef {
        self.mapping.page(index).unwrap()
    }

    /// Locks the page and claims it, if there is anything to claim.
    pub(crate) fn claim(&self, index: u64) -> Option<Claim> {
        let locked = self.page(index).lock_state()?;
        locked.wait_writeback();
        locked.clear_dirty_for_io().ok()
    }

    /// Does the I/O of a writeback, and ends it.
    pub(crate) fn write_out(&self, writeback: Writeback) {
        let result = self.device.write_image(writeback.offset(), writeback.image().as_ref());
        writeback.end(result);
    }

    /// A sync has succeeded, and nothing has happened since.
    pub(crate) fn assert_lengths(&self) {
        let len = usize::try_from(self.mapping.len()).unwrap();
        assert_eq!((self.device.accepted().len(), self.device.durable().len()), (len, len));
    }

    /// At the end of a race, when its threads have been joined.
    pub(crate) fn finish(self: Arc<Self>) {
        let handle = self.mapping.handle();
        self.device.fail_writes(0);
        // What nobody was told of yet.
        let _told = handle.check_error();
        if let Err(error) = self.sync(&handle) {
            assert!(self.device.failed() > 0, "{error}");
            self.sync(&handle).expect("nothing fails any more");
        }
        drop(handle);
        self.stop();
        let stats = self.mapping.stats();
        assert_eq!((stats.dirty, stats.writeback), (0, 0), "{stats:?}");
        self.assert_clean_is_stored();
        self.vanish();
    }

    /// At the end of a race after which nothing can be saved.
    pub(crate) fn abandon(self: Arc<Self>) {
        self.stop();
        self.vanish();
    }

    /// Afterwards nobody is half way through anything: a page may be seen clean, and a sync return,
    /// before the thread that ended its write is out of the index.
    fn stop(&self) {
        self.device.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.mapping.check().unwrap();
        if let Some(cache) = &self.cache {
            cache.check().unwrap();
        }
    }

    fn vanish(self: Arc<Self>) {
        drop(Arc::into_inner(self).expect("the race's threads are joined"));
    }

    /// I-STORED, when nothing is dirty and nothing under way. What the cache does not have is not looked at.
    fn assert_clean_is_stored(&self) {
        let (len, accepted) = (self.mapping.len(), self.device.accepted());
        assert_eq!(len, accepted.len() as u64, "the store's length");
        for index in 0..len.div_ceil(PAGE as u64) {
            let Some(page) = self.mapping.cached_page(index) else { continue };
            let from = usize::try_from(page.offset()).unwrap();
            let stored = &accepted[from..accepted.len().min(from + PAGE)];
            page.read_with(|bytes| {
                assert!(&bytes[..stored.len()] == stored, "page {index} differs")
            });
        }
    }
}
