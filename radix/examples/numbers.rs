//! Numbers given out with `insert_at_absent`: 200,000 in a row, and beside removals. Prints what it takes where nobody else uses the
//! processor. Run it with `--release`.

use std::time::{Duration, Instant};

use tagged_radix::{Inline, RadixTree};

const NUMBERS: u64 = 200_000;

/// Numbers that are measured as one, a fortieth: few, so that a round in which nobody interrupts is found for them.
const PART: u64 = 5_000;

/// Runs `call` for each number, in rounds, each after `prepare`; prints what all parts took, each in its best round.
fn measure<T>(name: &str, mut prepare: impl FnMut() -> T, call: impl Fn(&T, u64)) {
    let mut best = [Duration::MAX; 40];
    for _ in 0..10 {
        let state = prepare();
        for (part, best) in (0..).zip(&mut best) {
            let start = Instant::now();
            (part * PART..(part + 1) * PART).for_each(|number| call(&state, number));
            *best = start.elapsed().min(*best);
        }
    }
    let (all, calls) = (best.iter().sum::<Duration>(), u32::try_from(NUMBERS).expect("few"));
    println!("{name:<44} {all:>8.1?}, {:>6?} a call", all / calls);
}

fn full() -> RadixTree<Inline> {
    let tree = RadixTree::new();
    (0..NUMBERS).for_each(|_| assert!(tree.pin().insert_at_absent(.., Inline::default()).is_ok()));
    tree
}

/// A number below `NUMBERS` that looks random.
fn scattered(number: u64) -> u64 {
    (number.wrapping_mul(6_364_136_223_846_793_005) >> 33) % NUMBERS
}

fn main() {
    let value = Inline::default();
    measure("insert in a row", RadixTree::new, |tree: &RadixTree<Inline>, number| {
        tree.pin().insert(number, value);
    });
    measure("insert_at_absent in a row", RadixTree::new, |tree: &RadixTree<Inline>, number| {
        assert_eq!(tree.pin().insert_at_absent(.., value).ok(), Some(number));
    });
    measure("the same in a range", full, |tree, number| {
        let range = 1 << 20..=u64::MAX;
        assert_eq!(tree.pin().insert_at_absent(range, value).ok(), Some((1 << 20) + number));
    });
    let from_one = || {
        let tree = full();
        tree.pin().remove(0);
        tree
    };
    measure("the same from 1 on, where 0 is free", from_one, |tree, number| {
        assert_eq!(tree.pin().insert_at_absent(1.., value).ok(), Some(NUMBERS + number));
    });
    measure("remove at random and insert", full, |tree, number| {
        tree.pin().remove(scattered(number));
        tree.pin().insert(scattered(number), value);
    });
    measure("remove at random and insert_at_absent", full, |tree, number| {
        tree.pin().remove(scattered(number));
        assert_eq!(tree.pin().insert_at_absent(.., value).ok(), Some(scattered(number)));
    });
    measure("the lowest and one beyond, again and again", full, |tree, _| {
        tree.pin().remove(0);
        assert_eq!(tree.pin().insert_at_absent(.., value).ok(), Some(0));
        assert_eq!(tree.pin().insert_at_absent(.., value).ok(), Some(NUMBERS));
        tree.pin().remove(NUMBERS);
    });
    measure("next_absent behind all of them", full, |tree, _| {
        assert_eq!(tree.pin().next_absent(0), Some(NUMBERS));
    });
}
