//! Threads that end, and processes that fork.

use std::cell::{Cell, RefCell};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tagged_radix::{Guard, RadixTree, pin};

#[cfg(unix)]
use crate::common::SetOnDrop;
use crate::common::{Ledger, Tracked, drain, nodes, within};
#[cfg(unix)]
use crate::{FEW, most_alive_while_replacing};
use crate::{OTHERS, alone};

type Tree = RadixTree<Box<Tracked>>;

/// Does something when its thread ends.
struct AtEnd(Cell<Option<Box<dyn FnOnce()>>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}

thread_local! {
    /// Destructors run in reverse: what is used first, before the thread pins, ends last.
    static EARLY: AtEnd = const { AtEnd(Cell::new(None)) };
    static LATE: AtEnd = const { AtEnd(Cell::new(None)) };
    static KEPT: RefCell<Option<Guard>> = const { RefCell::new(None) };
}

/// Replaces and removes values, so many that it collects.
fn churn(ledger: &'static Ledger) {
    let tree = Tree::new();
    for n in 0..1000 {
        let index = n % 64 * 64; // a node of its own
        tree.pin().insert(index, Box::new(ledger.value(index, 0)));
    }
    tree.pin().remove_range(..32 * 64);
}

#[test]
fn threads_may_use_trees_to_the_very_end_and_leave_nothing() {
    let _alone = alone();
    let (before, ledger) = (nodes::live(), Ledger::new());
    within(move || {
        let thread = thread::spawn(move || {
            EARLY.with(|end| end.0.set(Some(Box::new(move || churn(ledger)))));
            churn(ledger);
            LATE.with(|end| end.0.set(Some(Box::new(move || churn(ledger)))));
        });
        thread.join().expect("no panic");
        assert_eq!(ledger.made(), 3000, "before the end, and twice at the end");
        ledger.settle(0);
        drain(|| nodes::live() <= before + OTHERS);
    });
}

#[test]
fn what_a_thread_retired_last_is_freed_by_others() {
    let _alone = alone();
    let ledger = Ledger::new();
    for _ in 0..100 {
        let retire = move || {
            let tree: Tree = [(0, Box::new(ledger.value(0, 0)))].into_iter().collect();
            tree.pin().remove(0);
        };
        thread::spawn(retire).join().expect("no panic");
    }
    ledger.settle(0);
}

#[test]
fn a_guard_may_outlive_what_its_thread_keeps_for_it() {
    let _alone = alone();
    let ledger = Ledger::new();
    within(move || {
        let thread = thread::spawn(move || {
            // Before the first pin, so that the guard goes last.
            KEPT.with(|kept| assert!(kept.borrow().is_none()));
            LATE.with(|_| ());
            KEPT.with(|kept| kept.replace(Some(pin())));
            churn(ledger);
        });
        thread.join().expect("no panic");
        ledger.settle(0);
    });
}

#[test]
fn a_guard_can_be_repinned_when_its_thread_has_ended() {
    let _alone = alone();
    let ledger = Ledger::new();
    let end = move |mut guard: Guard| {
        // What is deferred runs under no guard: meanwhile others free what they retire.
        guard.defer(|| {
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                pin().defer(move || _ = sender.send(()));
                drain(|| {
                    pin().flush();
                    receiver.try_recv().is_ok()
                });
            })
            .join()
            .expect("freed");
        });
        let before = ledger.dropped();
        let tree: Tree = [(0, Box::new(ledger.value(0, 7)))].into_iter().collect();
        tree.with_guard(&guard).remove(0);
        // It keeps nothing of what was removed before.
        let start = Instant::now();
        while ledger.dropped() == before {
            assert!(start.elapsed() < Duration::from_secs(10), "left for good");
            guard.repin();
            guard.flush();
        }
        let pinned = tree.with_guard(&guard);
        pinned.insert(0, Box::new(ledger.value(0, 8)));
        let seen = pinned.get(0).expect("inserted");
        thread::scope(|scope| {
            scope.spawn(|| _ = tree.pin().remove(0));
        });
        thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|_| pin().flush()));
        });
        assert_eq!((ledger.dropped(), seen.stamp_at(0)), (before + 1, 8));
    };
    within(move || {
        let at_end = |action: Box<dyn FnOnce()>| EARLY.with(|last| last.0.set(Some(action)));
        for is_left in [false, true] {
            let thread = thread::spawn(move || {
                EARLY.with(|_| ());
                let guard = pin();
                at_end(match is_left {
                    true => Box::new(move || end(guard)),
                    false => Box::new(move || end(pin())),
                });
            });
            thread.join().expect("no panic");
            ledger.settle(0);
        }
        assert_eq!(ledger.made(), 4);
    });
}

#[test]
fn values_that_are_found_when_a_thread_ends_are_dropped() {
    let _alone = alone();
    let ledger = Ledger::new();
    // A thread collects once in 128 pins, and the last of these may be the one in which its registration ends.
    for pins in 120..136 {
        let retire = move || {
            let tree: Tree = [(0, Box::new(ledger.value(0, 0)))].into_iter().collect();
            tree.pin().remove(0);
        };
        thread::spawn(retire).join().expect("no panic");
        thread::spawn(move || (0..pins).for_each(|_| drop(pin()))).join().expect("no panic");
    }
    ledger.settle(0);
}

/// The first pin of a thread looks for garbage.
#[test]
fn threads_that_pin_once_free_what_another_has_left() {
    let _alone = alone();
    let ledger = Ledger::new();
    let retire = move || {
        let tree: Tree = [(0, Box::new(ledger.value(0, 0)))].into_iter().collect();
        tree.pin().remove(0);
    };
    thread::spawn(retire).join().expect("no panic");
    // Others may be pinned at some moment.
    let start = Instant::now();
    while ledger.dropped() == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "left for good");
        thread::spawn(|| drop(pin())).join().expect("no panic");
    }
}

/// What a child process says, by its exit status.
#[cfg(unix)]
mod fork {
    use std::ffi::c_int;

    unsafe extern "C" {
        safe fn fork() -> c_int;
        pub(super) safe fn alarm(seconds: u32) -> u32;
        safe fn _exit(status: c_int) -> !;
        fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    }

    /// Runs `body` in a child process, which is killed after a minute, and returns what `body` does, below 128; `None` if it
    /// has been killed.
    pub(super) fn in_child(body: impl FnOnce() -> u8) -> Option<u8> {
        let child = here();
        if child == 0 {
            exit(body());
        }
        ended(child)
    }

    /// Forks; 0 in the child process, which is killed after a minute.
    pub(super) fn here() -> c_int {
        let child = fork();
        assert!(child >= 0, "no child");
        if child == 0 {
            alarm(60);
        }
        child
    }

    pub(super) fn exit(status: u8) -> ! {
        _exit(status.into())
    }

    /// What a child process says in the end.
    pub(super) fn ended(child: c_int) -> Option<u8> {
        let mut status = 0;
        // SAFETY: the child is ours, and the status has its place.
        assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
        (status & 0x7f == 0).then(|| u8::try_from(status >> 8 & 0xff).expect("a byte"))
    }
}

/// 0 if few values are alive at most while many are replaced.
#[cfg(unix)]
fn frees_garbage() -> u8 {
    (most_alive_while_replacing() >= FEW).into()
}

#[cfg(unix)]
#[test]
fn a_child_process_frees_what_it_retires_whoever_was_pinned_in_the_parent() {
    let _alone = alone();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let _guard = pin();
        begun.send(()).expect("somebody waits");
        may_go.recv().expect("the test goes on");
    });
    has_begun.recv().expect("pinned");
    drop(pin());
    assert_eq!(fork::in_child(frees_garbage), Some(0), "by the thread that was pinned before");
    let thread_of_child = || thread::spawn(frees_garbage).join().unwrap_or(127);
    assert_eq!(fork::in_child(thread_of_child), Some(0), "by a thread of the child");
    let fresh = thread::spawn(|| fork::in_child(frees_garbage));
    assert_eq!(
        fresh.join().expect("no panic"),
        Some(0),
        "by a thread that was never pinned before"
    );
    let grandchild = || fork::in_child(frees_garbage).unwrap_or(127);
    assert_eq!(fork::in_child(grandchild), Some(0), "by a child of the child");
    go.send(()).expect("it waits");
    other.join().expect("no panic");
    assert_eq!(fork::in_child(frees_garbage), Some(0));
}

/// 0 if the only value of the tree, a 7 that is seen under a guard, survives that it is removed and much is retired, here and by another thread.
#[cfg(unix)]
fn loses(tree: &Tree, seen: &Tracked, ledger: &'static Ledger) -> u8 {
    let churn = || {
        tree.pin().remove(0);
        most_alive_while_replacing();
        (0..100).for_each(|_| pin().flush());
    };
    churn();
    thread::scope(|scope| scope.spawn(churn).join().is_ok());
    u8::from(ledger.dropped() != 0 || seen.stamp_at(0) != 7)
}

#[cfg(unix)]
#[test]
fn a_guard_that_is_held_across_a_fork_keeps_what_it_saw() {
    let _alone = alone();
    let ledger = Ledger::new();
    let tree: Tree = [(0, Box::new(ledger.value(0, 7)))].into_iter().collect();
    let pinned = tree.pin();
    let seen = pinned.get(0).expect("inserted");
    let child = fork::in_child(|| loses(&tree, seen, ledger));
    assert_eq!(child, Some(0), "dropped while it is in reach");
}

#[cfg(unix)]
#[test]
fn a_guard_that_is_repinned_while_a_drop_forks_keeps_what_it_sees() {
    static CHILD: AtomicI32 = AtomicI32::new(-1);
    let _alone = alone();
    let ledger = Ledger::new();
    let tree: Tree = [(0, Box::new(ledger.value(0, 7)))].into_iter().collect();
    let mut guard = pin();
    guard.defer(|| CHILD.store(fork::here(), SeqCst));
    while CHILD.load(SeqCst) < 0 {
        guard.flush();
        guard.repin();
    }
    let child = CHILD.load(SeqCst);
    if child == 0 {
        let pinned = tree.with_guard(&guard);
        let seen = pinned.get(0).expect("inserted");
        fork::exit(loses(&tree, seen, ledger));
    }
    assert_eq!(fork::ended(child), Some(0), "dropped while it is in reach");
}

#[cfg(unix)]
#[test]
fn a_child_process_drops_the_values_of_its_trees() {
    let _alone = alone();
    let ledger = Ledger::new();
    let tree: Tree = (0..100).map(|n| (n, Box::new(ledger.value(n, 0)))).collect();
    let child = fork::in_child(|| {
        tree.pin().remove_range(..50);
        drain(|| ledger.live() == 50);
        drop(tree);
        u8::from(ledger.live() != 0)
    });
    assert_eq!(child, Some(0));
}

/// A lock that another thread holds at that moment, of an allocator or of this crate, would be held in the child for good.
#[cfg(unix)]
#[test]
fn a_child_process_makes_and_frees_nodes_whatever_others_were_at() {
    let _alone = alone();
    let forks = 200;
    let (is_over, ledger) = (&AtomicBool::new(false), Ledger::new());
    let grow_and_shrink = |turn: u64| {
        let tree: Tree = (0..300).map(|n| (n * 8191, Box::new(ledger.value(n, turn)))).collect();
        assert_eq!(tree.len(), 300);
        tree.pin().remove_range(..150 * 8191);
        pin().flush();
    };
    // Gets memory and gives it back all the time.
    let come_and_go = |turn| {
        drop(Tree::from_iter([(turn, Box::new(ledger.value(turn, 0)))]));
        pin().flush();
    };
    thread::scope(|scope| {
        let _over = SetOnDrop(is_over);
        for _ in 0..2 {
            scope.spawn(move || (0..).take_while(|_| !is_over.load(SeqCst)).for_each(come_and_go));
        }
        for turn in 0..forks {
            grow_and_shrink(turn);
            let child = || {
                // It has little to do, and must not wait.
                fork::alarm(10);
                (0..3).for_each(grow_and_shrink);
                thread::spawn(move || (0..3).for_each(grow_and_shrink)).join().is_err().into()
            };
            assert_eq!(fork::in_child(child), Some(0), "fork {turn}");
        }
    });
}
