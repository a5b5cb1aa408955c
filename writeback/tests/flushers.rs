//! Flushers: when they wake, that none takes anything from another, that mappings come and go, and what idle ones cost.

mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use writeback::store::{Completion, Store, WriteBatch};
use writeback::{CacheConfig, Clock, Config, Flusher, FlusherConfig, Mapping, MemStore, PageCache};

fn open() -> (Mapping, TestStore) {
    let store = TestStore::new();
    (Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap(), store)
}

/// Makes so many pages dirty.
fn dirty(mapping: &Mapping, pages: usize) {
    mapping.handle().write_at(&vec![1; pages * PAGE], 0).unwrap();
}

/// Wakes when there are more than ten dirty pages, and never by time.
fn by_need() -> FlusherConfig {
    FlusherConfig::new().interval(Duration::MAX).background_pages(10)
}

#[test]
fn an_interval_without_end_leaves_the_need() {
    let (mapping, _store) = open();
    let flusher = Flusher::start([mapping.clone()], by_need()).unwrap();
    for _ in 0..3 {
        dirty(&mapping, 100);
        eventually("written", || mapping.stats().dirty <= 10);
    }
    assert!(flusher.is_running());
    assert!(!flusher.stop().died);
}

#[test]
fn short_intervals_use_no_processor_up() {
    for interval in [Duration::ZERO, Duration::from_nanos(1)] {
        let (mapping, _store) = open();
        let config = FlusherConfig::new().interval(interval).dirty_expire(Duration::ZERO);
        let flusher = Flusher::start([mapping.clone()], config).unwrap();
        dirty(&mapping, 5);
        eventually("written", || mapping.stats().dirty == 0);
        let (before, begun) = (flusher.stats().rounds, Instant::now());
        thread::sleep(Duration::from_millis(50));
        let rounds = u128::from(flusher.stats().rounds - before);
        assert!(rounds <= begun.elapsed().as_millis() + 2, "{rounds} rounds: it spins");
    }
}

#[test]
fn a_second_flusher_takes_nothing_from_the_first() {
    let (mapping, _store) = open();
    let first = Flusher::start([mapping.clone()], by_need()).unwrap();
    let second = Flusher::manual([mapping.clone()], by_need());
    dirty(&mapping, 100);
    eventually("the first is woken beside the second", || mapping.stats().dirty <= 10);
    drop(second);
    dirty(&mapping, 100);
    eventually("the first is woken after the second", || mapping.stats().dirty <= 10);
    let third = Flusher::start([mapping.clone()], by_need()).unwrap();
    drop(first);
    dirty(&mapping, 100);
    eventually("the third is woken after the first", || mapping.stats().dirty <= 10);
    assert!(third.stop().stats.submitted > 0);
}

#[test]
fn a_kick_during_a_round_makes_another() {
    let (mapping, store) = open();
    let flusher = Flusher::start([mapping.clone()], by_need()).unwrap();
    store.writes(Writes::Block);
    dirty(&mapping, 20);
    eventually("it is in its round", || store.batches().len() == 1);
    // Behind the round's back, and too late for its pass, which has gone by.
    mapping.handle().write_at(&[1; 20 * PAGE], 100 * PAGE as u64).unwrap();
    let rounds = flusher.stats().rounds;
    flusher.kick();
    store.writes(Writes::Accept);
    eventually("there is another", || flusher.stats().rounds > rounds);
    eventually("and all is written", || mapping.stats().dirty <= 10);
}

#[test]
fn a_kick_while_another_thread_works_makes_another_round() {
    let ((one, store), (other, _)) = (open(), open());
    let flusher = Flusher::start([one.clone(), other.clone()], by_need()).unwrap();
    store.writes(Writes::Block);
    dirty(&one, 20);
    eventually("one thread is in the store", || store.batches().len() == 1);
    // Too late for the pass, which has gone by; the other thread takes the kick.
    one.handle().write_at(&[1; 20 * PAGE], 100 * PAGE as u64).unwrap();
    let rounds = flusher.stats().rounds;
    flusher.kick();
    eventually("the kick is taken", || flusher.stats().rounds > rounds);
    store.writes(Writes::Accept);
    eventually("all is written", || one.stats().dirty <= 10);
}

#[test]
fn what_is_due_while_another_thread_works_is_written_after_that() {
    let ((one, store), (other, _)) = (open(), open());
    let config = by_need().dirty_expire(Duration::ZERO);
    store.writes(Writes::Block);
    dirty(&one, 20);
    // Afterwards, so that its first batch has them all.
    let flusher = Flusher::start([one.clone(), other], config).unwrap();
    eventually("one thread is in the store", || store.batches().len() == 1);
    // Too late for the pass, and too few for another; only by their age they are due.
    one.handle().write_at(&[1; 5 * PAGE], 100 * PAGE as u64).unwrap();
    assert_eq!(flusher.step().submitted, 0, "the mapping is in another's hands");
    store.writes(Writes::Accept);
    eventually("all is written", || one.stats().dirty == 0);
}

#[test]
fn what_is_asked_for_while_another_thread_works_is_written_after_that() {
    let ((one, store), (other, _)) = (open(), open());
    store.writes(Writes::Block);
    dirty(&one, 20);
    // Afterwards, so that its first batch has them all.
    let flusher = Flusher::start([one.clone(), other], by_need()).unwrap();
    eventually("one thread is in the store", || store.batches().len() == 1);
    one.handle().write_at(&[1; 5 * PAGE], 100 * PAGE as u64).unwrap();
    flusher.request(1000);
    assert_eq!(flusher.step().submitted, 0, "the mapping is in another's hands");
    store.writes(Writes::Accept);
    eventually("all is written", || one.stats().dirty == 0);
}

#[test]
fn mappings_come_and_go_while_it_runs() {
    let ((one, _), (other, _)) = (open(), open());
    dirty(&other, 50);
    let flusher = Flusher::start([one.clone()], by_need()).unwrap();
    flusher.add(other.clone());
    flusher.add(other.clone());
    flusher.kick();
    eventually("what was dirty before is written", || other.stats().dirty <= 10);
    assert!(flusher.remove(&other) && !flusher.remove(&other));
    dirty(&one, 50);
    eventually("the one that is left is written", || one.stats().dirty <= 10);
    assert_eq!(flusher.stop().unwritten, one.stats().dirty);
    // The same round by round, since a thread may go on for a chunk with a mapping that is removed.
    let flusher = Flusher::manual([one.clone(), other.clone()], by_need());
    dirty(&other, 50);
    assert!(flusher.step().submitted >= 40);
    dirty(&other, 50);
    assert!(flusher.remove(&other));
    assert_eq!((flusher.step().submitted, other.stats().dirty), (0, 50));
}

#[test]
fn expired_pages_are_written_a_chunk_at_a_time_too() {
    // One store for both, which sees in what order they are written; each has an even half of it.
    let (one, store) = open();
    let other = Mapping::with_config(Arc::new(store.clone()), Config::new()).unwrap();
    let config = FlusherConfig::new().dirty_expire(Duration::ZERO).chunk_pages(3);
    let flusher = Flusher::manual([one.clone(), other.clone()], config);
    dirty(&one, 7);
    other.handle().write_at(&[1; 7 * PAGE], 10 * PAGE as u64).unwrap();
    assert_eq!(flusher.step().submitted, 14);
    assert_eq!(store.batches(), [(0, 3), (10, 3), (3, 3), (13, 3), (6, 1), (16, 1)]);
    // A page that another writer holds is claimed and declined, and does not keep it at one place.
    dirty(&one, 7);
    let hold = one.hold_page(1).unwrap();
    let done = flusher.step();
    assert_eq!((done.submitted, done.declined), (6, 1));
    drop(hold);
    assert_eq!((flusher.step().submitted, one.stats().dirty), (1, 0));
}

/// Each write makes what is dirty a second older.
#[derive(Debug)]
struct Slow(TestStore, Clock);

impl Store for Slow {
    pass_on!(0: limits, len, set_len, read, flush);

    fn write(&self, batch: WriteBatch, completion: Completion) {
        self.0.write(batch, completion);
        self.1.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_round_ends_beside_pages_that_expire_meanwhile() {
    let clock = Clock::manual();
    let store = Slow(TestStore::new(), clock.clone());
    let config = Config::new().clock(clock.clone());
    let mapping = Mapping::with_config(Arc::new(store), config).unwrap();
    let config = FlusherConfig::new().dirty_expire(Duration::from_secs(1)).chunk_pages(1);
    let flusher = Flusher::manual([mapping.clone()], config);
    let page = |at: u64| mapping.handle().write_at(&[1; PAGE], at * PAGE as u64).unwrap();
    page(0);
    clock.advance(Duration::from_secs(1));
    (1..10).for_each(page);
    assert_eq!((flusher.step().submitted, mapping.stats().dirty), (1, 9));
    assert_eq!((flusher.step().submitted, mapping.stats().dirty), (9, 0));
}

#[test]
fn pages_that_fail_are_the_flushers_again() {
    // It has nothing dirty while its only page is being written; then the page is dirty again.
    let (mapping, store) = open();
    let config = FlusherConfig::new().dirty_expire(Duration::ZERO);
    let flusher = Flusher::manual([mapping.clone()], config);
    dirty(&mapping, 1);
    store.writes(Writes::Keep);
    assert_eq!(flusher.step().submitted, 1);
    assert_eq!(flusher.step().submitted, 0, "it is under writeback");
    store.writes(Writes::Accept);
    store.release_first(Err(writeback::StoreError::Lost));
    eventually("written again", || flusher.step().submitted == 1);
    assert_eq!(mapping.stats().dirty, 0);
}

/// The least time of several that each of two things takes.
fn least(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let timed = |act: &mut dyn FnMut()| {
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    let pairs = (0..7).map(|_| (timed(&mut one), timed(&mut other)));
    pairs.reduce(|least, pair| (least.0.min(pair.0), least.1.min(pair.1))).expect("seven")
}

/// A cache with so many mappings of which one is in use, that one, and a flusher for all.
fn crowd(mappings: usize) -> (Vec<Mapping>, PageCache, Flusher) {
    let config = CacheConfig::new(200).dirty_pages_max(50).pause_max(Duration::ZERO);
    let cache = PageCache::new(config).unwrap();
    let open = |pages: usize| {
        let store = MemStore::with_contents(vec![0; pages * PAGE]);
        Mapping::with_config(Arc::new(store), Config::new().cache(&cache)).unwrap()
    };
    let all: Vec<_> = (0..mappings).map(|at| open(if at == 0 { 1000 } else { 1 })).collect();
    // They have had their turns, so nothing about them is new.
    for mapping in &all[1..] {
        mapping.handle().read_at(&mut [0], 0).unwrap();
        mapping.handle().write_at(&[1], 0).unwrap();
        mapping.handle().sync_data().unwrap();
    }
    cache.evict(200);
    let flusher = Flusher::manual(all.iter().cloned(), FlusherConfig::new());
    (all, cache, flusher)
}

#[test]
fn idle_mappings_cost_nothing() {
    let (few, few_cache, few_flusher) = crowd(10);
    let (many, many_cache, many_flusher) = crowd(1000);
    let (few_handle, many_handle) = (few[0].handle(), many[0].handle());
    let compare = |what: &str, one: &mut dyn FnMut(), other: &mut dyn FnMut()| {
        in_one_of_five(|| {
            let (few, many) = least(&mut *one, &mut *other);
            // By mappings it would be 100 times.
            let well = many < 3 * few + Duration::from_micros(50);
            well.then_some(()).ok_or_else(|| format!("{what}: {few:?} and {many:?}"))
        });
    };
    let read_all = |handle: &writeback::Handle| {
        (0..1000).for_each(|page| _ = handle.read_at(&mut [0], page * PAGE as u64).unwrap());
    };
    compare("eviction", &mut || read_all(&few_handle), &mut || read_all(&many_handle));
    let write_all = |handle: &writeback::Handle| {
        (0..1000).for_each(|page| handle.write_at(&[1], page * PAGE as u64).unwrap());
    };
    compare("the limit", &mut || write_all(&few_handle), &mut || write_all(&many_handle));
    let rounds = |flusher: &Flusher| (0..20).for_each(|_| _ = flusher.step());
    compare("rounds", &mut || rounds(&few_flusher), &mut || rounds(&many_flusher));
    // One page of each is left, and that is in hand.
    for (mappings, cache) in [(&few, &few_cache), (&many, &many_cache)] {
        mappings[0].handle().sync_data().unwrap();
        while cache.evict(200) > 0 {}
        assert_eq!(cache.stats().cached, 0);
    }
    let _in_hand = (few[0].page(0).unwrap(), many[0].page(0).unwrap());
    let in_vain = |cache: &PageCache| (0..20).for_each(|_| assert_eq!(cache.evict(1), 0));
    compare("eviction in vain", &mut || in_vain(&few_cache), &mut || in_vain(&many_cache));
}
