//! Threads on one tree, in a form that ThreadSanitizer understands with the prebuilt standard library: no test harness, no
//! scoped threads, the collector made before any thread starts. Values lie in plain memory, so that a reader who gets to
//! one that is not published, or freed already, is a data race. Without a sanitizer, one more stress test.

#[path = "common/mod.rs"]
mod common;

use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use rand::Rng;
use tagged_radix::{ArrayVec, Pinned, RadixTree, Tag, TagFilter, TagSet};

use common::{T0, T1, rng, stress_time};

const THREADS: u64 = 4;

type Handle<'t> = Pinned<'t, Box<u64>>;

/// Indices that share leaves, or are far apart, so that nodes come and go on all levels.
fn index(random: &mut impl Rng) -> u64 {
    match random.random_range(0..4) {
        0 => random.random_range(0..4),
        1 => random.random_range(60..70),
        2 => random.random_range(0..3) << (6 * random.random_range(0..11)),
        _ => u64::MAX - random.random_range(0..70),
    }
}

fn tag(random: &mut impl Rng) -> Tag {
    Tag::all()[random.random_range(0..Tag::COUNT)]
}

fn change(p: &Handle<'_>, at: u64, random: &mut impl Rng) {
    match random.random_range(0..9) {
        0 | 1 => {
            p.insert(at, Box::new(at));
        }
        2 => {
            p.insert_tagged(at, Box::new(at), TagSet::from(tag(random)));
        }
        3 => {
            p.update(at, |slot| {
                assert_eq!(*slot.value(), at);
                slot.replace(Box::new(at));
                slot.set(T1);
            });
        }
        4 => {
            p.set_tag(at, tag(random));
        }
        5 => {
            p.clear_tag(at, tag(random));
        }
        6 => {
            p.tag_range_if_tagged(at..=at.saturating_add(100), T0, T1, 10);
        }
        7 => {
            p.tag_range(at..=at.saturating_add(100), TagSet::EMPTY, TagSet::from(tag(random)));
        }
        _ => {
            p.remove(at);
        }
    }
}

fn look(p: &Handle<'_>, at: u64, random: &mut impl Rng) {
    assert!(p.get(at).is_none_or(|value| *value == at));
    assert!(p.get_with_tags(at).is_none_or(|(value, _)| *value == at));
    match random.random_range(0..4) {
        0 => assert!(p.range(at..).take(20).all(|(found, value)| found == *value)),
        1 => {
            let some = p.range_tagged(at.., TagFilter::from(T0)).take(20);
            some.for_each(|(found, value, _)| assert_eq!(found, *value));
        }
        2 => {
            let mut batch = ArrayVec::<_, 16>::new();
            p.gang_lookup_tagged(at, T1, &mut batch);
            assert!(batch.iter().all(|(found, value)| *found == **value));
        }
        _ => assert!(p.next(at).is_none_or(|(found, value)| found >= at && found == *value)),
    }
}

fn work(tree: &RadixTree<Box<u64>>, seed: u64) {
    let (mut random, start) = (rng(seed), Instant::now());
    while start.elapsed() < stress_time() {
        for _ in 0..50 {
            let p = tree.pin();
            let at = index(&mut random);
            change(&p, at, &mut random);
            look(&p, at, &mut random);
        }
    }
}

fn main() {
    drop(tagged_radix::pin());
    /// Where a leak detector finds it.
    static TREE: OnceLock<RadixTree<Box<u64>>> = OnceLock::new();
    let tree = TREE.get_or_init(RadixTree::new);
    let threads: Vec<_> =
        (0..THREADS).map(|seed| thread::spawn(move || work(tree, seed))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread failed"));
    tree.check().expect("a sound tree");
    tree.pin().remove_range(..);
    assert!(tree.is_empty());
}
