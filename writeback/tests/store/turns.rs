//! Random turns of mappings of one store, as of processes that have an agreement or none: with faults, and beside everything else that a process does with
//! a mapping.
//!
//! * `WRITEBACK_TURNS`: how many, in each test; 100 if it is not set.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use writeback::page::PageTag;
use writeback::store::Store;
use writeback::store::fault::{Action, Fault, FaultConfig, FaultStore, Rule};
use writeback::{
    CacheConfig, Config, Error, Flusher, FlusherConfig, Mapping, MemStore, PageCache, Result,
    SyncMode,
};

use crate::contents;
use crate::watchdog::{SetOnDrop, watch};

const SIZE: usize = 4096;
const PAGE: u64 = SIZE as u64;
/// What a page may be divided into.
const BLOCKS: [usize; 3] = [512, 1024, SIZE];

fn turns() -> u64 {
    let given = std::env::var("WRITEBACK_TURNS").ok();
    given.map_or(100, |text| text.parse().expect("WRITEBACK_TURNS is a number"))
}

fn one_of<T: Clone>(random: &mut SmallRng, these: &[T]) -> T {
    these.choose(random).expect("there are some").clone()
}

/// Syncs until that succeeds: what failed before is told first.
fn sync(mapping: &Mapping) {
    while mapping.handle().sync_data().is_err() {}
}

/// Writes into bytes as into a mapping.
fn put(model: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    model.resize(model.len().max(at + bytes.len()), 0);
    model[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Two with an agreement, a store that fails now and then, and the bytes that it has to have at the end of each turn.
#[test]
fn turns_with_faults() {
    watch();
    for seed in 0..turns() {
        let mut random = SmallRng::seed_from_u64(seed);
        let config = FaultConfig::new(seed)
            .alignment(one_of(&mut random, &[1, 512]))
            .contents(vec![1; random.random_range(0..20_000)]);
        let store = FaultStore::with_config(config);
        let config = Config::new().block_size(one_of(&mut random, &BLOCKS));
        let open = || Mapping::with_config(Arc::new(store.clone()), config.clone()).unwrap();
        let peers = [open(), open()];
        let mut model = store.accepted();
        for turn in 0..12 {
            take_turn(&store, &peers[turn % 2], &mut model, &mut random, seed);
            let left = store.crash_clone(seed).accepted();
            assert!(left == model, "what {turn} of {seed} has left");
        }
    }
}

fn take_turn(
    store: &FaultStore,
    mapping: &Mapping,
    model: &mut Vec<u8>,
    random: &mut SmallRng,
    seed: u64,
) {
    let before = mapping.len();
    if random.random() {
        let fault = one_of(random, &[Fault::Io, Fault::NoSpace]);
        store.inject(Rule::new(fault).on(Action::SetLen));
    }
    let refreshed = mapping.refresh_len();
    store.heal();
    let refreshed = refreshed.or_else(|_| {
        assert_eq!(mapping.len(), before, "{seed}");
        mapping.refresh_len()
    });
    assert_eq!(refreshed.unwrap(), model.len() as u64, "{seed}");
    assert_eq!(mapping.invalidate(..).unwrap(), 0, "{seed}");
    assert!(contents(&mapping.handle()) == *model, "what {seed} finds");
    for _ in 0..random.random_range(0..6) {
        if random.random_bool(0.2) {
            let action = one_of(random, &[Action::SetLen, Action::Write]);
            store.inject(Rule::new(Fault::Io).on(action));
        }
        if change(mapping, model, random).is_err() {
            store.heal();
            mapping.handle().sync_data().ok();
            *model = contents(&mapping.handle());
        }
        assert!(contents(&mapping.handle()) == *model, "what {seed} has changed");
    }
    store.heal();
    sync(mapping);
    mapping.check().unwrap();
    assert!(store.accepted() == *model, "what {seed} has stored");
}

/// Changes the mapping, or does what changes nothing.
fn change(mapping: &Mapping, model: &mut Vec<u8>, random: &mut SmallRng) -> Result<()> {
    let handle = mapping.handle();
    let at = random.random_range(0..24_000);
    let bytes = vec![random.random_range(2..255); random.random_range(1..5000)];
    match random.random_range(0..6) {
        0 => {
            handle.write_at(&bytes, at as u64)?;
            put(model, at, &bytes);
        }
        1 => {
            let end = model.len();
            assert_eq!(handle.append(&bytes)?, end as u64);
            put(model, end, &bytes);
        }
        2 => {
            // A cut is one though the store does not follow at once.
            let set = handle.set_len(at as u64);
            if set.is_ok() || at < model.len() {
                model.resize(at, 0);
            }
        }
        3 => _ = mapping.write_page(at as u64 / PAGE, SyncMode::Wait),
        4 => _ = mapping.invalidate(..)?,
        _ => {
            let before = mapping.len();
            let len = mapping.refresh_len();
            assert_eq!(len.unwrap_or(before), before, "it is alone");
        }
    }
    Ok(())
}

/// Without an agreement: another changes the store's length whenever it likes.
#[test]
fn what_is_dirty_is_never_lost() {
    watch();
    for seed in 0..3 * turns() {
        lose_nothing(seed);
    }
}

/// A mapping of some pages, of which some are cached, and some dirty.
fn some_dirty(store: &FaultStore, block: usize, random: &mut SmallRng) -> Mapping {
    let config = Config::new().block_size(block);
    let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
    let len = mapping.len();
    if random.random_bool(0.7) {
        mapping.handle().prefetch(..).unwrap();
    }
    for _ in 0..random.random_range(0..4) {
        let bytes = vec![9; random.random_range(1..600)];
        mapping.handle().write_at(&bytes, random.random_range(0..len + 3000)).unwrap();
        if random.random_bool(0.3) {
            let page = random.random_range(0..len.div_ceil(PAGE));
            mapping.write_page(page, SyncMode::Wait).unwrap();
        }
    }
    mapping
}

fn lose_nothing(seed: u64) {
    let random = &mut SmallRng::seed_from_u64(seed);
    let block = one_of(random, &BLOCKS);
    let len = random.random_range(1..6 * SIZE);
    let store = FaultStore::with_config(FaultConfig::new(seed).contents(vec![1; len]));
    let mapping = some_dirty(&store, block, random);
    let hold = random
        .random_bool(0.3)
        .then(|| mapping.hold_page(random.random_range(0..mapping.len().div_ceil(PAGE))).unwrap());
    let (before, bytes) = (mapping.len(), contents(&mapping.handle()));
    let dirty: Vec<_> = mapping
        .tagged(.., PageTag::Dirty)
        .map(|page| (page.index(), page.dirty_blocks()))
        .collect();
    let is_dirty = |at: usize| {
        let (page, bit) = ((at / SIZE) as u64, 1 << (at % SIZE / block));
        dirty.iter().any(|(index, blocks)| *index == page && blocks & bit != 0)
    };
    let assert_kept = |now: &[u8], what: &str| {
        for at in (0..bytes.len()).filter(|at| is_dirty(*at)) {
            assert_eq!(now.get(at), Some(&bytes[at]), "byte {at} of {seed} {what}");
        }
    };

    if random.random_bool(0.8) {
        store.set_len(random.random_range(0..before + 9000)).unwrap();
    } else {
        store.write_at(store.len().unwrap(), &[7; 3000]).unwrap();
    }
    let stored = store.len().unwrap();
    let fault = one_of(random, &[None, None, Some(Fault::Io), Some(Fault::NoSpace)]);
    if let Some(fault) = fault {
        store.inject(Rule::new(fault).on(Action::SetLen));
    }
    let refreshed = mapping.refresh_len();
    store.heal();

    let shorter = stored.min(before);
    let counts = |page: u64| {
        let in_it = page == shorter / PAGE && !shorter.is_multiple_of(PAGE) && page * PAGE < before;
        in_it || stored < before && page >= shorter / PAGE
    };
    let own = dirty.iter().map(|(page, _)| *page).chain(hold.as_ref().map(|hold| hold.index()));
    let keeps_its_length = stored != before && own.into_iter().any(counts);
    match &refreshed {
        Ok(len) if keeps_its_length => {
            assert_eq!(*len, before, "{seed}");
            assert!(store.len().unwrap() >= before, "{seed}");
        }
        Ok(len) => assert_eq!(*len, stored, "{seed}"),
        Err(error) => {
            assert!(fault.is_some() && keeps_its_length, "{seed}: {error}");
            assert_eq!(mapping.len(), before, "{seed}");
        }
    }
    assert_kept(&contents(&mapping.handle()), "is read");
    drop(hold);
    sync(&mapping);
    mapping.check().unwrap();
    assert_kept(&store.crash_clone(seed).accepted(), "is durable");
    // A store that has refused to be lengthened may be shorter, where pages are clean.
    if refreshed.is_ok() || !matches!(fault, Some(Fault::NoSpace)) {
        assert!(store.len().unwrap() >= mapping.len(), "{seed}");
    }
    mapping.refresh_len().unwrap();
    assert_eq!(mapping.invalidate(..).unwrap(), 0, "{seed}");
    assert!(contents(&mapping.handle()) == store.accepted(), "what {seed} agrees on");
}

#[test]
fn a_kept_length_is_durable() {
    let store = FaultStore::with_config(FaultConfig::new(1).contents([1; 4 * SIZE]));
    let mapping = Mapping::open(store.clone()).unwrap();
    mapping.handle().sync_all().unwrap();
    mapping.handle().write_at(&[5], 2 * PAGE).unwrap();
    store.set_len(PAGE).unwrap();
    assert_eq!(mapping.refresh_len().unwrap(), 4 * PAGE);
    mapping.handle().sync_data().unwrap();
    for seed in 0..20 {
        assert_eq!(store.crash_clone(seed).len().unwrap(), 4 * PAGE);
    }
}

/// Does what stands `beside` the workers again and again, each on a thread of its own and with a flusher, until the workers have ended.
fn beside<'s>(
    mappings: &'s [Mapping],
    workers: Vec<Box<dyn FnOnce() + Send + 's>>,
    beside: Vec<Box<dyn FnMut() + Send + 's>>,
) {
    let config = FlusherConfig::new().interval(Duration::from_millis(1));
    let config = config.dirty_expire(Duration::ZERO);
    let done = &AtomicBool::new(false);
    watch();
    thread::scope(|scope| {
        let flusher = Flusher::start(mappings.iter().cloned(), config).unwrap();
        for mut again in beside {
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    again();
                    thread::yield_now();
                }
            });
        }
        let _done = SetOnDrop(done);
        let workers: Vec<_> = workers.into_iter().map(|worker| scope.spawn(worker)).collect();
        let ended: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
        flusher.stop();
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    mappings.iter().for_each(|mapping| mapping.check().unwrap());
}

/// Two with an agreement, each with a small cache, a flusher, readers and syncs, none of which need the agreement. What they share is
/// a number of lines, and the lines.
#[test]
fn turns_beside_everything() {
    for (alignment, block) in [(1, SIZE), (512, SIZE), (1, 512), (512, 512)] {
        let store = MemStore::with_contents([0; 8]).aligned(alignment);
        let open = || {
            let cache = PageCache::new(CacheConfig::new(16)).unwrap();
            let config = Config::new().cache(&cache).block_size(block);
            Mapping::with_config(Arc::new(store.clone()), config).unwrap()
        };
        let (agreement, mappings) = (&Mutex::new(()), [open(), open()]);
        let (mut workers, mut others) = (Vec::<Box<dyn FnOnce() + Send>>::new(), Vec::new());
        for (mapping, name) in mappings.iter().zip(1..) {
            let mut random = SmallRng::seed_from_u64(name.into());
            workers.push(Box::new(move || {
                for _ in 0..turns() {
                    let _turn = agreement.lock().unwrap();
                    add_lines(mapping, name, &mut random);
                    let stored = mapping.store().len().unwrap();
                    assert_eq!(stored, mapping.len(), "{alignment} {block}");
                }
            }));
            others.push(Box::new(|| mapping.handle().sync_data().unwrap()) as Box<_>);
            let mut at = 0;
            others.push(Box::new(move || {
                _ = mapping.handle().read_at(&mut [0; 5000], at).unwrap();
                at = (at + 4000) % 40_000;
            }) as Box<dyn FnMut() + Send>);
        }
        beside(&mappings, workers, others);
    }
}

/// One turn of `name`, who knows nothing of what was there before.
fn add_lines(mapping: &Mapping, name: u8, random: &mut SmallRng) {
    const LINE: u64 = 700;
    let line = [name; 700];
    let handle = mapping.handle();
    let len = mapping.refresh_len().unwrap();
    let stay = mapping.invalidate(..).unwrap();
    assert_eq!((stay, mapping.stats().dirty), (0, 0), "it was synced: {:?}", mapping.stats());
    let bytes = contents(&handle);
    let (count, lines) = bytes.split_first_chunk().unwrap();
    let mut count = u64::from_le_bytes(*count);
    assert_eq!(len, 8 + LINE * count, "as long as the other has left it");
    for line in lines.chunks(700) {
        assert!((1..=2).contains(&line[0]) && line.iter().all(|byte| *byte == line[0]));
    }
    if count > 60 {
        count = random.random_range(0..20);
        handle.set_len(8 + LINE * count).unwrap();
    }
    for _ in 0..random.random_range(1..8) {
        assert_eq!(handle.append(&line).unwrap(), 8 + LINE * count);
        count += 1;
        if random.random_bool(0.2) {
            mapping.write_page(mapping.len() / PAGE, SyncMode::Skip).unwrap();
            assert_eq!(mapping.refresh_len().unwrap(), 8 + LINE * count);
        }
    }
    handle.write_at(&count.to_le_bytes(), 0).unwrap();
    handle.sync_data().unwrap();
    let stats = mapping.stats();
    assert_eq!((stats.dirty, stats.writeback), (0, 0), "{stats:?}");
}

/// A mapping that is alone: nothing that is done to it beside `refresh_len` and `invalidate` is undone by them, whatever fails.
#[test]
fn alone_beside_everything() {
    for (alignment, block, queued) in
        [(1, SIZE, false), (512, SIZE, true), (1, 512, true), (512, 512, false)]
    {
        let config = FaultConfig::new(7)
            .alignment(alignment)
            .keep_log(false)
            .queued(queued)
            .contents(vec![0; 16 * SIZE]);
        let store = FaultStore::with_config(config);
        let fails = |action, probability| {
            store.inject(Rule::new(Fault::Io).on(action).probability(probability).persistent());
        };
        fails(Action::SetLen, 0.05);
        fails(Action::Write, 0.02);
        let deliverer = store.deliver_in_background();
        let cache = PageCache::new(CacheConfig::new(24)).unwrap();
        let config = Config::new().cache(&cache).block_size(block);
        let mapping = &Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        let mut workers = vec![Box::new(|| change_the_end(mapping)) as Box<dyn FnOnce() + Send>];
        workers.extend((0..4).map(|own| Box::new(move || change_own(mapping, own)) as Box<_>));
        let others: Vec<Box<dyn FnMut() + Send>> = vec![
            Box::new(|| _ = mapping.refresh_len()),
            Box::new(|| _ = mapping.invalidate(..).unwrap()),
            Box::new(|| _ = mapping.handle().sync_data()),
        ];
        beside(std::slice::from_ref(mapping), workers, others);
        store.heal();
        sync(mapping);
        assert!(contents(&mapping.handle()) == store.crash_clone(1).accepted());
        drop(deliverer);
    }
}

/// The pages in front of it are one thread's own, by twos.
const END: u64 = 8 * PAGE;

/// One whose own two pages nobody else writes to.
fn change_own(mapping: &Mapping, own: u64) {
    let (handle, begin) = (mapping.handle(), own * 2 * PAGE);
    let (mut random, mut model) = (SmallRng::seed_from_u64(own), vec![0; 2 * SIZE]);
    let mut found = model.clone();
    for _ in 0..turns() {
        let at = random.random_range(0..2 * SIZE - 100);
        let bytes = vec![random.random(); random.random_range(1..100)];
        handle.write_at(&bytes, begin + at as u64).unwrap();
        put(&mut model, at, &bytes);
        handle.read_exact_at(&mut found, begin).unwrap();
        assert!(found == model);
        match random.random_range(0..20) {
            0 => _ = handle.sync_data(),
            1 => {
                let _hold = mapping.hold_page(own * 2 + 1).unwrap();
                thread::yield_now();
            }
            2 => mapping.wait_range(..),
            _ => {}
        }
    }
}

/// The only one who changes the length, and what lies behind the others' pages.
fn change_the_end(mapping: &Mapping) {
    let (handle, mut random) = (mapping.handle(), SmallRng::seed_from_u64(99));
    let mut model = vec![0; usize::try_from(mapping.len() - END).unwrap()];
    // How much was written, if it ended at an earlier cut of the store that still fails.
    let written = |told: Result<()>, len: usize| match told {
        Ok(()) => len,
        Err(Error::Partial { written, .. }) => usize::try_from(written).unwrap(),
        Err(error) => {
            assert!(matches!(error, Error::Length { .. }), "{error:?}");
            0
        }
    };
    for turn in 0..turns() {
        let at = random.random_range(0..60_000);
        let bytes = vec![random.random(); random.random_range(1..6000)];
        match random.random_range(0..6) {
            0 => {
                let set = handle.set_len(END + at as u64);
                if set.is_ok() || at < model.len() {
                    model.resize(at, 0);
                }
            }
            1 => match written(handle.write_at(&bytes, END + at as u64), bytes.len()) {
                0 => {}
                count => put(&mut model, at, &bytes[..count]),
            },
            2 => _ = mapping.refresh_len(),
            3 => {
                let _hold = mapping.hold_page((mapping.len() - 1) / PAGE).unwrap();
                thread::yield_now();
            }
            _ => {
                let end = model.len();
                let told = handle.append(&bytes).map(|at| assert_eq!(at, END + end as u64));
                put(&mut model, end, &bytes[..written(told, bytes.len())]);
            }
        }
        assert_eq!(mapping.len(), END + model.len() as u64, "turn {turn}");
        let mut found = vec![0xee; model.len() + 1];
        let count = handle.read_at(&mut found, END).unwrap();
        assert!(found[..count] == model, "turn {turn}");
    }
}
