//! Drops of values that panic, block, or use a tree.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Once, mpsc};
use std::thread;

use tagged_radix::{RadixTree, Tag, TagSet, pin};

use crate::common::{drain, nodes, within};
use crate::{FEW, OTHERS, alone, most_alive_while_replacing};

/// A value of which `n` and the drops of its kind are known; it may panic when it is dropped. Aligned so that it is not taken
/// for a node.
#[repr(align(16))]
struct Bomb {
    n: u64,
    alive: Arc<AtomicU64>,
    panics: bool,
}

impl Bomb {
    fn new(n: u64, alive: &Arc<AtomicU64>, panics: bool) -> Box<Bomb> {
        alive.fetch_add(1, SeqCst);
        Box::new(Bomb { n, alive: Arc::clone(alive), panics })
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
        assert!(!self.panics, "bomb {}", self.n);
    }
}

/// Keeps the panics of bombs, which are meant, out of the tests' output.
fn quiet_bombs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let rest = take_hook();
        set_hook(Box::new(move |info| {
            if !said(info.payload()).starts_with("bomb") {
                rest(info);
            }
        }));
    });
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn a_panic_of_a_deferred_drop_comes_out_of_nobodys_call_and_loses_no_value() {
    let _alone = alone();
    quiet_bombs();
    let alive = Arc::default();
    let tree: RadixTree<Box<Bomb>> = RadixTree::new();
    for n in 0..2000 {
        tree.pin().insert(n, Bomb::new(n, &alive, n % 100 == 13));
    }
    tree.pin().remove_range(..);
    let reader = thread::spawn(|| {
        let innocent: RadixTree<Box<u32>> = RadixTree::from_iter([(0, Box::new(1))]);
        (0..5000)
            .filter(|_| catch_unwind(AssertUnwindSafe(|| innocent.pin().get(0).copied())).is_err())
            .count()
    });
    assert_eq!(reader.join().expect("caught"), 0, "panics in reads of another tree");
    drain(|| alive.load(SeqCst) == 0);
}

/// A call that takes values out of a tree that has two entries, at 0 and 1, with a value for it to store.
type Call = fn(&RadixTree<Box<Bomb>>, Box<Bomb>);

/// Every way in which a value can leave a tree.
const WAYS: [(&str, Call); 11] = [
    ("insert", |tree, new| assert!(tree.pin().insert(0, new).is_some())),
    ("insert_tagged", |tree, new| assert!(tree.pin().insert_tagged(0, new, TagSet::ALL).is_some())),
    ("remove", |tree, new| {
        drop(new);
        tree.pin().remove(0);
    }),
    ("remove_if", |tree, new| {
        drop(new);
        let _ = tree.pin().remove_if(0, |_, _| true).map(|_| ());
    }),
    ("replace_if", |tree, new| assert!(tree.pin().replace_if(0, new, |_, _| true).is_ok())),
    ("compare_exchange", |tree, new| {
        let pinned = tree.pin();
        assert!(pinned.compare_exchange(0, pinned.get(0).unwrap(), new).is_ok());
    }),
    ("update, replace", |tree, new| {
        tree.pin().update(0, |slot| assert!(slot.replace(new).is_none()));
    }),
    ("update, remove", |tree, new| {
        drop(new);
        tree.pin().update(0, |slot| assert!(slot.remove().is_none()));
    }),
    ("retain", |tree, new| {
        drop(new);
        tree.pin().retain(|_, _, _| false);
    }),
    ("remove_range", |tree, new| {
        drop(new);
        tree.pin().remove_range(..);
    }),
    ("extend", |mut tree, new| tree.extend([(0, new)])),
];

#[test]
fn every_way_out_of_a_tree_confines_the_panics_of_drops() {
    let _alone = alone();
    quiet_bombs();
    for (way, call) in WAYS {
        let alive = Arc::default();
        for n in 0..600 {
            let tree = RadixTree::from_iter([
                (0, Bomb::new(n, &alive, true)),
                (1, Bomb::new(n, &alive, false)),
            ]);
            let harmless = Bomb::new(n, &alive, false);
            let outcome = catch_unwind(AssertUnwindSafe(|| call(&tree, harmless)));
            assert!(outcome.is_ok(), "{way} let a panic of a drop out");
            drop(tree);
        }
        drain(|| {
            assert!(catch_unwind(|| pin().flush()).is_ok(), "a flush after {way} let a panic out");
            alive.load(SeqCst) == 0
        });
    }
}

#[test]
fn dropping_a_tree_drops_all_values_and_gives_the_first_panic_to_its_caller() {
    let _alone = alone();
    quiet_bombs();
    for spread in [1, 64, 1 << 20] {
        let alive = Arc::default();
        // Now: that is as large as a compact leaf, and so is the box of a panic's text below.
        let before = nodes::live();
        let tree: RadixTree<Box<Bomb>> =
            (0..2000).map(|n| (n * spread, Bomb::new(n, &alive, n % 100 == 13))).collect();
        let panic = catch_unwind(AssertUnwindSafe(|| drop(tree))).expect_err("20 values panic");
        assert_eq!(said(&*panic), "bomb 13", "the first one");
        drop(panic);
        assert_eq!(alive.load(SeqCst), 0, "values that were never dropped");
        drain(|| nodes::live() <= before + OTHERS);
    }
}

#[test]
fn an_iterator_that_is_dropped_drops_the_rest_of_its_values() {
    let _alone = alone();
    quiet_bombs();
    let alive = Arc::default();
    let tree: RadixTree<Box<Bomb>> =
        (0..200).map(|n| (n, Bomb::new(n, &alive, n % 100 == 13))).collect();
    let mut entries = tree.into_iter();
    assert_eq!(entries.by_ref().take(10).map(|(_, bomb)| bomb.n).sum::<u64>(), 45);
    let panic = catch_unwind(AssertUnwindSafe(|| drop(entries))).expect_err("two values panic");
    assert_eq!((said(&*panic).as_str(), alive.load(SeqCst)), ("bomb 13", 0));
}

#[test]
fn a_tree_that_is_dropped_by_a_panic_does_not_end_the_process() {
    let _alone = alone();
    quiet_bombs();
    let alive = Arc::default();
    let tree: RadixTree<Box<Bomb>> = (0..10).map(|n| (n, Bomb::new(n, &alive, true))).collect();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _tree = tree;
        panic!("bomb at the caller's");
    }));
    assert_eq!(said(&*panic.expect_err("it panics")), "bomb at the caller's");
    assert_eq!(alive.load(SeqCst), 0);
}

/// Says that its drop has begun, and waits to be told to go on.
struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.send(()).ok();
        self.1.recv().ok();
    }
}

#[test]
fn a_drop_that_blocks_holds_up_nobody_elses_garbage() {
    let _alone = alone();
    within(|| {
        let ((begun, has_begun), (go, may_go)) = (mpsc::channel(), mpsc::channel());
        let tree: RadixTree<Box<Slow>> = RadixTree::from_iter([(0, Box::new(Slow(begun, may_go)))]);
        let (stop, stopped) = mpsc::channel::<()>();
        let dropper = thread::spawn(move || {
            tree.pin().remove(0);
            // In the middle of a burst under one guard: the thread collects, and is pinned until the end of the burst.
            let other: RadixTree<Box<u64>> = RadixTree::new();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let pinned = other.pin();
                for n in 0..300 {
                    pinned.insert(n, Box::new(n));
                }
            }
        });
        has_begun.recv().expect("the value is dropped");
        let most = most_alive_while_replacing();
        go.send(()).expect("the drop waits");
        stop.send(()).expect("the thread goes on");
        dropper.join().expect("no panic");
        assert!(most < FEW, "{most} values alive while a drop blocks");
    });
}

/// Removes other entries of its own tree when it is dropped, and tags one of the same leaf.
struct Chain(u64);

static CHAIN: RadixTree<Box<Chain>> = RadixTree::new();

impl Drop for Chain {
    fn drop(&mut self) {
        let pinned = CHAIN.pin();
        pinned.set_tag(self.0 ^ 1, Tag::T0);
        pinned.remove(self.0 + 2);
        pinned.update(self.0 + 3, |slot| slot.set(Tag::T1));
    }
}

#[test]
fn a_drop_may_use_the_tree_that_the_value_was_in() {
    let _alone = alone();
    within(|| {
        for n in 0..1000 {
            CHAIN.pin().insert(n, Box::new(Chain(n)));
        }
        // Each drop removes the next but one: half of the entries go by this alone.
        CHAIN.pin().remove(0);
        drain(|| CHAIN.len() == 500);
        assert!(CHAIN.pin().iter().all(|(index, _)| index % 2 == 1));
        CHAIN.check().expect("sound");
        CHAIN.pin().remove_range(..);
    });
}

#[test]
fn values_wait_while_their_thread_is_pinned_and_are_dropped_right_after() {
    let _alone = alone();
    let alive: Arc<AtomicU64> = Arc::default();
    let tree: RadixTree<Box<Bomb>> = RadixTree::from_iter([(0, Bomb::new(0, &alive, false))]);
    tree.pin().remove(0);
    (0..4).for_each(|_| pin().flush());
    assert_eq!(alive.load(SeqCst), 0, "no thread is pinned");
    tree.pin().insert(0, Bomb::new(0, &alive, false));
    tree.pin().remove(0);
    let mut outer = pin();
    for _ in 0..8 {
        outer.repin();
        if alive.load(SeqCst) == 0 {
            return;
        }
        let inner = pin();
        inner.flush();
        drop(inner);
        assert_eq!(alive.load(SeqCst), 1, "the thread is pinned");
    }
    panic!("it is not dropped when the thread lets go of its guard for a moment");
}
