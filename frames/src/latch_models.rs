//! Models of the latch, under loom: as [`models`](crate::models).
//!
//! A thread that sleeps and is not woken is a deadlock, which loom reports; a reference to the value that another does not respect is a race.

use std::sync::Arc;

use loom::thread;

use crate::latch::{Latch, LatchReadGuard};
use crate::models;
use crate::sync::set_hands_over;

/// Plays the race twice: those that are woken take the latch, or are handed it.
fn model(race: impl Fn() + Send + Sync + Clone + 'static) {
    for hands_over in [false, true] {
        set_hands_over(hands_over);
        models::model(race.clone());
    }
}

fn shared() -> (Arc<Latch<u32>>, Arc<Latch<u32>>) {
    let latch = Arc::new(Latch::new(0));
    (Arc::clone(&latch), latch)
}

#[test]
fn writers_come_one_after_the_other() {
    // What one has done is there for the next, and the one that had to wait is woken.
    model(|| {
        let (latch, there) = shared();
        let other = thread::spawn(move || *there.write() += 1);
        *latch.write() += 1;
        other.join().unwrap();
        assert_eq!(*latch.write(), 2);
    });
}

#[test]
fn a_reader_sees_all_of_a_change_or_nothing() {
    model(|| {
        let latch = Arc::new(Latch::new((0, 0)));
        let there = Arc::clone(&latch);
        let other = thread::spawn(move || {
            let mut pair = there.write();
            pair.0 += 1;
            pair.1 += 1;
        });
        let pair = latch.read();
        assert_eq!(pair.0, pair.1);
        drop(pair);
        other.join().unwrap();
        assert_eq!(*latch.read(), (1, 1));
    });
}

#[test]
fn the_last_reader_wakes_a_writer() {
    model(|| {
        let (latch, there) = shared();
        let first = latch.read();
        let second = latch.read();
        let other = thread::spawn(move || *there.write() = 7);
        assert_eq!(*first + *second, 0);
        drop(first);
        drop(second);
        other.join().unwrap();
        assert_eq!(*latch.read(), 7);
    });
}

#[test]
fn a_reader_that_waits_for_a_waiting_writer_is_woken() {
    // Whoever comes first: the reader that is asked to wait behind the writer is not forgotten when the writer ends.
    model(|| {
        let (latch, for_writer) = shared();
        let for_reader = Arc::clone(&latch);
        let held = latch.read();
        let writer = thread::spawn(move || *for_writer.write() += 1);
        let reader = thread::spawn(move || *for_reader.read());
        drop(held);
        writer.join().unwrap();
        assert!(reader.join().unwrap() <= 1);
        assert_eq!(*latch.read(), 1);
    });
}

#[test]
fn two_readers_are_woken_at_once_and_then_the_writer_between_them() {
    // Readers that were woken in place of a writer do not wait for it again.
    model(|| {
        let (latch, for_writer) = shared();
        let for_reader = Arc::clone(&latch);
        let held = latch.write();
        let reader = thread::spawn(move || *for_reader.read());
        let writer = thread::spawn(move || *for_writer.write() += 1);
        drop(held);
        assert!(*latch.read() <= 1);
        writer.join().unwrap();
        assert!(reader.join().unwrap() <= 1);
    });
}

#[test]
fn a_thread_may_read_again_while_a_writer_waits() {
    model(|| {
        let (latch, there) = shared();
        let other = thread::spawn(move || *there.write() += 1);
        let outer = latch.read();
        let inner = latch.read_recursive();
        assert_eq!(*outer, *inner);
        drop((outer, inner));
        other.join().unwrap();
    });
}

#[test]
fn those_who_only_try_do_not_wait_and_are_waited_for() {
    model(|| {
        let (latch, there) = shared();
        let other = thread::spawn(move || {
            if let Some(mut value) = there.try_write() {
                *value += 1;
            }
        });
        let seen = latch.try_read().map(|value: LatchReadGuard<'_, _>| *value);
        *latch.write() += 1;
        other.join().unwrap();
        let end = *latch.read();
        assert!((1..=2).contains(&end) && seen.is_none_or(|seen| seen < end));
    });
}
