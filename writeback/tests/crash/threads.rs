//! Several threads write and sync, a flusher writes back, writes end late: the power goes at every event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use writeback::store::fault::{Action, Fault, Rule};
use writeback::{Flusher, FlusherConfig};

use crate::common::{SetOnDrop, eventually};
use crate::driver::{ALL, Driver, Shape};

const PAGE: usize = 512;
const WRITERS: u64 = 3;
const PAGES: u64 = 12;

/// Writes pages of its own, so that it knows what they are; syncs say something about all of them.
fn write_and_sync(driver: &Driver, writer: u64, rounds: u64) {
    let mut random = SmallRng::seed_from_u64(driver.shape.seed * WRITERS + writer);
    let handle = driver.mapping.handle();
    for _ in 0..rounds {
        let page = random.random_range(0..PAGES / WRITERS) * WRITERS + writer;
        let mut data = [0; PAGE];
        random.fill_bytes(&mut data);
        let (offset, oracle) = (page * PAGE as u64, &driver.oracle);
        oracle.lock().writing(offset, &data);
        handle.write_at(&data, offset).unwrap();
        oracle.lock().wrote(&(offset..offset + PAGE as u64));
        if random.random_bool(0.3) {
            let bytes = if random.random() { ALL } else { offset..offset + PAGE as u64 };
            let promise = oracle.lock().syncing(&bytes);
            if handle.sync_range(bytes).is_ok() {
                oracle.lock().synced(&promise);
            }
        }
    }
}

fn run(seed: u64, fails: bool) -> u64 {
    let shape = Shape {
        seed,
        page: PAGE,
        sector: PAGE,
        whole: PAGE,
        pages: usize::try_from(PAGES).unwrap(),
        batch_pages_max: 3,
        contents: usize::try_from(PAGES).unwrap() * PAGE,
        block: None,
        alignment: 1,
        memory: None,
        late: true,
    };
    let driver = Driver::new(shape);
    let tried = driver.crash_at_every_event(1);
    if fails {
        for fault in [Fault::Io, Fault::Lost, Fault::Short { accepted: None }] {
            let rule = Rule::new(fault).on(Action::Write).probability(0.1).persistent();
            driver.store.inject(rule);
        }
    }
    let deliverers = [driver.store.deliver_in_background(), driver.store.deliver_in_background()];
    let config = FlusherConfig::new().dirty_expire(Duration::ZERO).background_pages(0);
    let flusher = Flusher::manual([driver.mapping.clone()], config);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let driver = &driver;
        let flushing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flusher.step();
                thread::sleep(Duration::from_micros(300));
            }
        });
        let ends = SetOnDrop(&done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_and_sync(driver, writer, 20)))
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        drop(ends);
        flushing.join().unwrap();
    });
    assert_eq!(flusher.stats().panics, 0);
    // A write of the flusher's that still ends, and fails, would be told between two looks at the errors.
    eventually("the device is at rest", || driver.mapping.stats().writeback == 0);
    driver.finish();
    deliverers.into_iter().for_each(|deliverer| deliverer.stop());
    tried.load(Ordering::Relaxed)
}

#[test]
fn nothing_that_any_thread_synced_is_lost() {
    let clones: u64 = (1..=6).map(|seed| run(seed, false)).sum();
    assert!(clones > 300, "{clones}");
}

#[test]
fn nothing_that_any_thread_synced_is_lost_by_writes_that_fail() {
    let clones: u64 = (1..=6).map(|seed| run(seed, true)).sum();
    assert!(clones > 300, "{clones}");
}
