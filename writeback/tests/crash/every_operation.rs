//! A fixed run in which the first operation of a kind fails, then the second, and so on until none does:
//! once and for ever, in every way in which it can.

use std::sync::atomic::Ordering;
use std::thread;

use writeback::store::fault::{Action, Fault, Rule};

use crate::driver::{ALL, Driver, HANDLES, Op, Shape, silence_ordered_panics};

const PAGE: usize = 1024;

fn sync(handle: usize) -> Op {
    Op::Sync { handle, bytes: ALL, all: false }
}

/// Something of everything, with reads, writes, lengths and flushes before, between and after each other.
fn script() -> Vec<Op> {
    let at = |page: u64| page * PAGE as u64;
    vec![
        Op::Read { offset: at(1) - 10, len: 20 },
        Op::Read { offset: at(5), len: 10 },
        Op::Write { offset: at(0), len: 3 * PAGE },
        Op::Write { offset: at(4) + 100, len: 50 },
        sync(0),
        Op::Write { offset: at(1) + 1, len: PAGE },
        Op::WritePage { page: 1, wait: true },
        Op::Sync { handle: 1, bytes: at(2)..at(3), all: false },
        Op::SetLen(at(3) + 7),
        Op::Write { offset: at(6), len: 10 },
        sync(1),
        Op::WriteInPage { page: 0, within: 5, len: 9 },
        Op::WriteInPage { page: 5, within: 0, len: PAGE },
        Op::Background { budget: 1 },
        Op::Cyclic { budget: 5 },
        Op::Check { handle: 2 },
        Op::SetLen(at(7)),
        Op::Write { offset: at(7), len: 1 },
        Op::Sync { handle: 2, bytes: ALL, all: true },
        Op::SetLen(at(2)),
        Op::WritePage { page: 0, wait: false },
        Op::Read { offset: 0, len: 4 * PAGE },
        sync(0),
        Op::Write { offset: at(2), len: 2 * PAGE },
        Op::SetLen(at(3) - 1),
        sync(1),
        sync(2),
    ]
}

fn shape(whole: usize) -> Shape {
    Shape {
        seed: 1,
        page: PAGE,
        sector: 512,
        whole,
        pages: 8,
        batch_pages_max: 2,
        contents: 6 * PAGE + 3,
        block: None,
        alignment: 1,
        memory: None,
        late: false,
    }
}

/// Makes every operation fail in turn; returns how many there were.
fn every_one_fails(action: Action, fault: Fault, persistent: bool) -> u64 {
    silence_ordered_panics();
    let whole = if matches!(fault, Fault::Short { accepted: Some(_) }) { 1 } else { 512 };
    for nth in 1.. {
        let mut driver = Driver::new(shape(whole));
        let clones = driver.crash_at_every_event(1);
        let rule = Rule::new(fault).on(action).nth(nth);
        driver.store.inject(if persistent { rule.persistent() } else { rule });
        script().into_iter().for_each(|op| driver.apply(op));
        let clean = driver.faults == 0;
        let is_write = action == Action::Write && !persistent && fault != Fault::Panic;
        if is_write {
            // Whoever asked after it was told once; `finish` asks for those who did not.
            assert!(driver.told.iter().all(|told| *told <= 1), "{:?}", driver.told);
        }
        driver.finish();
        assert!(clones.load(Ordering::Relaxed) > 5);
        if clean {
            return nth - 1;
        }
    }
    unreachable!("a run has an end")
}

fn every_one_fails_once_and_for_ever(action: Action, faults: &[Fault], at_least: u64) {
    thread::scope(|scope| {
        for &fault in faults {
            scope.spawn(move || {
                for persistent in [false, true] {
                    let failed = every_one_fails(action, fault, persistent);
                    assert!(failed >= at_least, "{failed} operations failed with {fault:?}");
                }
            });
        }
    });
}

#[test]
fn every_write_fails() {
    let short = |accepted| Fault::Short { accepted };
    let faults = [
        Fault::Io,
        Fault::NoSpace,
        Fault::Lost,
        Fault::Panic,
        short(Some(0)),
        short(Some(700)),
        short(Some(u64::MAX)),
        short(None),
    ];
    every_one_fails_once_and_for_ever(Action::Write, &faults, 10);
}

#[test]
fn every_read_fails() {
    let faults = [Fault::Io, Fault::Lost, Fault::Panic];
    every_one_fails_once_and_for_ever(Action::Read, &faults, 4);
}

#[test]
fn every_flush_fails() {
    let faults = [Fault::Io, Fault::Lost, Fault::Panic];
    every_one_fails_once_and_for_ever(Action::Flush, &faults, 5);
}

#[test]
fn every_change_of_the_length_fails() {
    let faults = [Fault::Io, Fault::NoSpace, Fault::Panic];
    every_one_fails_once_and_for_ever(Action::SetLen, &faults, 4);
}

#[test]
fn the_run_passes_clean_and_everybody_has_a_handle() {
    let mut driver = Driver::new(shape(512));
    script().into_iter().for_each(|op| driver.apply(op));
    assert_eq!((driver.faults, driver.told), (0, [0; HANDLES]));
    driver.finish();
}
