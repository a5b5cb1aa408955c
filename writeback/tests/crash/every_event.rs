//! The power goes at every event of random runs; what is left must be what the syncs promised.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::Ordering;
use writeback::store::fault::{Action, Fault, Rule};

use crate::driver::{Driver, Shape, any_op, silence_ordered_panics};

/// Power cuts a test tries at the least.
fn clones_wanted() -> u64 {
    let set = std::env::var("WRITEBACK_CRASH_CLONES").ok();
    set.map_or(1000, |clones| clones.parse().expect("a number"))
}

fn any_shape(seed: u64, random: &mut SmallRng) -> Shape {
    let (page, sector) =
        [(512, 512), (1024, 512), (4096, 512), (512, 4096)][random.random_range(0..4)];
    let pages = random.random_range(4..12);
    Shape {
        seed,
        page,
        sector,
        whole: sector,
        pages,
        batch_pages_max: random.random_range(1..6),
        contents: random.random_range(0..pages * page),
        block: (page > 512 && random.random()).then_some(512),
        alignment: 1,
        memory: None,
        late: false,
    }
}

fn runs(late: bool, memory: Option<u64>, rules: fn(&Driver)) {
    runs_aligned(|_| 1, late, memory, rules);
}

/// By blocks if there are any, else by pages.
fn direct(shape: &Shape) -> usize {
    shape.block.unwrap_or(shape.page)
}

fn runs_aligned(
    alignment: fn(&Shape) -> usize,
    late: bool,
    memory: Option<u64>,
    rules: fn(&Driver),
) {
    silence_ordered_panics();
    let (mut seed, mut clones, mut faults, mut evicted) = (0, 0, 0, 0);
    while clones < clones_wanted() {
        seed += 1;
        let mut random = SmallRng::seed_from_u64(seed);
        let shape = Shape { late, memory, ..any_shape(seed, &mut random) };
        let shape = Shape { alignment: alignment(&shape), ..shape };
        let mut driver = Driver::new(shape.clone());
        let deliverer = late.then(|| driver.store.deliver_in_background());
        let tried = driver.crash_at_every_event(1);
        rules(&driver);
        for _ in 0..60 {
            let op = any_op(&mut random, &shape);
            driver.apply(op);
        }
        faults += driver.faults;
        evicted += driver.mapping.stats().evicted;
        driver.finish();
        deliverer.into_iter().for_each(|deliverer| deliverer.stop());
        clones += tried.load(Ordering::Relaxed);
    }
    println!("{clones} power cuts in {seed} runs with {faults} faults");
    assert_eq!(evicted > 0, memory.is_some(), "{evicted} pages left memory");
}

#[test]
fn nothing_synced_is_lost() {
    runs(false, None, |_| ());
}

#[test]
fn nothing_synced_is_lost_when_writes_end_late_and_in_any_order() {
    runs(true, None, |_| ());
}

/// Pages leave memory and are read again, and writers write back themselves.
#[test]
fn nothing_synced_is_lost_where_memory_is_short() {
    runs(false, Some(3), |_| ());
}

#[test]
fn nothing_synced_is_lost_where_memory_is_short_and_writes_end_late() {
    runs(true, Some(3), |_| ());
}

fn failing_writes(driver: &Driver) {
    for fault in [Fault::Io, Fault::NoSpace, Fault::Short { accepted: None }, Fault::Lost] {
        driver.store.inject(Rule::new(fault).on(Action::Write).probability(0.05).persistent());
    }
}

#[test]
fn nothing_synced_is_lost_by_writes_that_fail() {
    runs(false, None, failing_writes);
}

#[test]
fn nothing_synced_is_lost_by_writes_that_fail_late() {
    runs(true, None, failing_writes);
}

/// Every write ends at a whole page, or block, and every sync leaves the store with the right length.
#[test]
fn nothing_synced_is_lost_where_writes_are_aligned() {
    runs_aligned(direct, false, None, |_| ());
}

#[test]
fn nothing_synced_is_lost_where_writes_are_aligned_and_end_late() {
    runs_aligned(direct, true, Some(3), |_| ());
}

#[test]
fn nothing_synced_is_lost_where_writes_are_aligned_and_anything_fails() {
    runs_aligned(direct, false, None, failing_everything);
}

#[test]
fn nothing_synced_is_lost_by_anything_that_fails() {
    runs(false, None, failing_everything);
}

fn failing_everything(driver: &Driver) {
    failing_writes(driver);
    for action in [Action::Read, Action::Write, Action::SetLen] {
        for fault in [Fault::Io, Fault::Panic] {
            let rule = Rule::new(fault).on(action).probability(0.02).persistent();
            driver.store.inject(rule);
        }
    }
    // Nothing is promised any more after that.
    driver.store.inject(Rule::new(Fault::Io).on(Action::Flush).probability(0.05));
}
