//! Reading ahead: who reads one page after the other asks the store seldom, and who does not asks for nothing in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use writeback::hooks::Observer;
use writeback::page::PageTag;
use writeback::store::fault::{Action, FaultConfig, FaultStore, Stage};
use writeback::{Advice, CacheConfig, Config, Handle, Mapping, MemStore, PageCache};

use crate::within;

const PAGE: usize = 4096;

fn open(pages: usize, capacity: Option<u64>) -> (FaultStore, Mapping, Option<PageCache>) {
    let mut contents = vec![0; pages * PAGE];
    let each = contents.chunks_exact_mut(PAGE).enumerate();
    each.for_each(|(page, bytes)| bytes.fill(u8::try_from(page % 250).unwrap() + 1));
    let store = FaultStore::with_config(FaultConfig::new(1).contents(contents));
    let cache = capacity.map(|pages| PageCache::new(CacheConfig::new(pages)).unwrap());
    let config = cache.as_ref().map_or_else(Config::new, |cache| Config::new().cache(cache));
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    (store, mapping, cache)
}

/// First page and number of pages of each read of the store since this was asked last.
fn reads(store: &FaultStore) -> Vec<(u64, u64)> {
    let begun = |event: &writeback::store::fault::Event| {
        event.stage == Stage::Begun && event.operation.action == Action::Read
    };
    let page = PAGE as u64;
    let log = store.take_log();
    let reads = log.iter().filter(|event| begun(event)).map(|event| event.operation);
    reads.map(|read| (read.offset / page, read.len.div_ceil(page))).collect()
}

/// Reads a few bytes of each of these pages.
fn touch(handle: &Handle, pages: impl IntoIterator<Item = usize>) {
    for page in pages {
        let mut bytes = [0; 10];
        handle.read_at(&mut bytes, (page * PAGE + 7) as u64).unwrap();
        assert_eq!(usize::from(bytes[0]), page % 250 + 1);
    }
}

#[test]
fn a_file_that_is_read_in_small_pieces_is_read_in_runs_that_grow() {
    within(|| {
        let (store, mapping, _) = open(4096, None);
        touch(&mapping.handle(), 0..4096);
        let reads = reads(&store);
        assert_eq!(reads[..5], [(0, 1), (1, 4), (5, 8), (13, 16), (29, 32)]);
        assert!(reads.len() <= 23, "{reads:?}");
        assert!(reads.iter().all(|(_, pages)| *pages <= 256), "{reads:?}");
        assert_eq!(mapping.stats().read, 4096);
        // Another handle begins again, in the middle, and passes over what it finds.
        let (store, mapping, _) = open(100, None);
        mapping.handle().prefetch(12 * PAGE as u64..15 * PAGE as u64).unwrap();
        mapping.handle().prefetch(41 * PAGE as u64..42 * PAGE as u64).unwrap();
        assert_eq!(self::reads(&store), [(12, 3), (41, 1)]);
        touch(&mapping.handle(), 8..43);
        assert_eq!(
            self::reads(&store),
            [(8, 1), (9, 3), (15, 8), (23, 16), (39, 2), (42, 58)],
            "it goes on where a run was cut short"
        );
    });
}

#[test]
fn who_reads_here_and_there_asks_for_what_it_reads() {
    within(|| {
        let (store, mapping, _) = open(1000, None);
        touch(&mapping.handle(), (0..1000).map(|number| number * 367 % 1000));
        let reads = reads(&store);
        assert_eq!(reads.len(), 1000, "each page by itself");
    });
}

#[test]
fn a_task_reads_ahead_as_a_thread_does() {
    within(|| {
        let (store, mapping, _) = open(64, None);
        let handle = mapping.async_handle();
        for page in 0..64 {
            let mut bytes = [0; 1];
            let mut read = std::pin::pin!(handle.read_at(&mut bytes, (page * PAGE) as u64));
            let waker = std::task::Waker::noop();
            let poll = read.as_mut().poll(&mut std::task::Context::from_waker(waker));
            assert!(poll.is_ready());
        }
        assert_eq!(reads(&store), [(0, 1), (1, 4), (5, 8), (13, 16), (29, 32), (61, 3)]);
    });
}

#[test]
fn what_is_read_ahead_takes_no_place_of_what_is_used() {
    within(|| {
        for downwards in [false, true] {
            let (store, mapping, cache) = open(6000, Some(1000));
            let hot = if downwards { 5500..6000 } else { 0..500 };
            (0..2).for_each(|_| hot.clone().for_each(|page| touch(&mapping.handle(), [page])));
            reads(&store);
            let handle = mapping.handle();
            touch(&handle, 1000..5000);
            let reads = reads(&store);
            assert!(reads.iter().all(|(_, pages)| *pages <= 15), "a 64th at the most: {reads:?}");
            assert!(reads.len() < 400, "more than one at a time: {} reads", reads.len());
            let left = hot.filter(|page| mapping.cached_page(*page as u64).is_some()).count();
            assert!(left > 460, "{left} of 500 are left");
            assert!(cache.unwrap().stats().cached <= 1000);
        }
    });
}

#[test]
fn a_handle_does_as_it_is_advised_and_so_do_its_clones() {
    within(|| {
        let (store, mapping, _) = open(1000, None);
        let handle = mapping.handle();
        handle.advise(.., Advice::Sequential);
        touch(&handle, [500]);
        touch(&handle.clone(), [200]);
        assert_eq!(reads(&store), [(500, 256), (200, 256)]);
        handle.advise(.., Advice::Random);
        touch(&handle, 0..5);
        assert_eq!(reads(&store).len(), 5);
        handle.advise(.., Advice::Normal);
        touch(&handle, 5..11);
        assert_eq!(reads(&store), [(5, 4), (9, 8)]);
        handle.advise(100 * PAGE as u64..120 * PAGE as u64, Advice::WillNeed);
        assert_eq!(reads(&store), [(100, 20)]);
    });
}

#[test]
fn what_is_not_needed_leaves_if_it_is_clean_and_nobody_has_it() {
    within(|| {
        let (store, mapping, _) = open(10, Some(64));
        let handle = mapping.handle();
        // Twice: they are used, too.
        touch(&handle, (0..10).chain(0..10));
        handle.write_at(&[9], 3 * PAGE as u64).unwrap();
        let in_hand = mapping.page(4).unwrap();
        // Pages 1 to 7 lie within these bytes.
        handle.advise(1..8 * PAGE as u64 + 1, Advice::DontNeed);
        let cached = |mapping: &Mapping| {
            (0..10).filter(|page| mapping.cached_page(*page).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(cached(&mapping), [0, 3, 4, 8, 9]);
        drop(in_hand);
        handle.advise(.., Advice::DontNeed);
        assert_eq!(cached(&mapping), [3]);
        handle.sync_data().unwrap();
        handle.advise(5..5, Advice::DontNeed);
        handle.advise(3 * PAGE as u64 + 1.., Advice::DontNeed);
        assert_eq!(cached(&mapping), [3]);
        handle.advise(3 * PAGE as u64..4 * PAGE as u64, Advice::DontNeed);
        assert_eq!(mapping.stats().cached, 0);
        assert_eq!(store.durable()[3 * PAGE], 9);
        mapping.check().unwrap();
    });
}

#[test]
fn what_has_no_store_leaves_for_no_advice() {
    let mapping = Mapping::memory_backed(Config::new()).unwrap();
    let handle = mapping.handle();
    handle.write_at(b"stays", 0).unwrap();
    let claim = mapping.page(0).unwrap().lock_state().unwrap().clear_dirty_for_io().expect("dirty");
    claim.start_writeback().expect("nobody holds it").end(Ok(()));
    handle.advise(.., Advice::DontNeed);
    let mut bytes = [0; 5];
    handle.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"stays");
}

#[test]
fn what_is_not_needed_is_told_to_observers_and_if_it_stays_its_next_use_counts() {
    #[derive(Debug, Default)]
    struct Evicted(AtomicU64);
    impl Observer for Evicted {
        fn evicted(&self, pages: u64) {
            self.0.fetch_add(pages, Ordering::Relaxed);
        }
    }
    within(|| {
        let store = MemStore::with_contents(vec![1; 100 * PAGE]);
        let cache = PageCache::new(CacheConfig::new(64)).unwrap();
        let evicted = Arc::new(Evicted::default());
        let config = Config::new().cache(&cache).observer(Arc::clone(&evicted) as _);
        let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
        let handle = mapping.handle();
        let read = |page: u64| handle.read_at(&mut [0; 10], page * PAGE as u64).unwrap();
        (0..10).for_each(|page| _ = read(page));
        handle.write_at(&[2], 0).unwrap();
        let page = mapping.cached_page(0).unwrap();
        assert!(page.has_tag(PageTag::Accessed), "it was used, and again later");
        handle.advise(..10 * PAGE as u64, Advice::DontNeed);
        assert_eq!((evicted.0.load(Ordering::Relaxed), mapping.stats().cached), (9, 1));
        assert!(!page.has_tag(PageTag::Accessed));
        read(0);
        assert!(page.has_tag(PageTag::Accessed), "in the same turn of the clock");
    });
}

#[test]
fn several_who_read_ahead_leave_no_page_that_looks_used() {
    within(|| {
        for (readers, advice) in
            [(1, Advice::Normal), (4, Advice::Normal), (8, Advice::Normal), (8, Advice::Sequential)]
        {
            let (store, mapping, _) = open(8 * 512, Some(1024));
            let handles: Vec<_> = (0..readers).map(|_| mapping.handle()).collect();
            handles.iter().for_each(|handle| handle.advise(.., advice));
            for page in 0..750 / readers {
                handles
                    .iter()
                    .enumerate()
                    .for_each(|(at, handle)| touch(handle, [at * 512 + page]));
            }
            assert!(reads(&store).len() < 250, "they do read ahead");
            let used = |page| {
                mapping.cached_page(page).is_some_and(|page| page.has_tag(PageTag::Accessed))
            };
            let used = (0..8 * 512).filter(|page| used(*page)).count();
            assert!(used <= 8, "{readers} readers, {advice:?}: {used} of 750 pages look used");
        }
    });
}
