//! The protocol with a heavy fence that is no more than what `membarrier` gives: a full fence at *some* step of the other thread.
//!
//! One reader, one thread that moves the epoch on. What loom takes for more than it is: a full fence of one thread comes before what follows a later one
//! of another. Not here: full fences in place of both, participants that pass from one thread to another.

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic;
use loom::thread;

use super::*;

/// Of two threads: one has heavy fences, and the steps of the other are watched.
pub(super) struct Fences {
    asked: atomic::AtomicU64,
    done: atomic::AtomicU64,
    /// The other has no step any more.
    is_over: atomic::AtomicBool,
    /// What a third thread does right after a heavy fence.
    meanwhile: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Fences {
    pub(super) fn new() -> Fences {
        let [asked, done] = [0, 0].map(atomic::AtomicU64::new);
        let is_over = atomic::AtomicBool::new(true);
        Fences { asked, done, is_over, meanwhile: std::sync::Mutex::new(None) }
    }

    pub(super) fn light(&self) {}

    pub(super) fn heavy(&self) -> bool {
        fence(Ordering::SeqCst);
        let number = self.asked.load(Ordering::Relaxed) + 1;
        self.asked.store(number, Ordering::Release);
        while self.done.load(Ordering::Acquire) < number && !self.is_over.load(Ordering::Acquire) {
            thread::yield_now();
        }
        fence(Ordering::SeqCst);
        let meanwhile = self.meanwhile.lock().unwrap().take();
        meanwhile.into_iter().for_each(|call| call());
        true
    }

    /// Executes the fence that the other asks for, if it does.
    pub(super) fn step(&self) {
        let number = self.asked.load(Ordering::Acquire);
        if number > self.done.load(Ordering::Relaxed) {
            fence(Ordering::SeqCst);
            self.done.store(number, Ordering::Release);
        }
    }
}

/// What is found through a slot.
struct Shared {
    slot: AtomicU64,
    object: UnsafeCell<u64>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { slot: AtomicU64::new(1), object: UnsafeCell::new(7) })
    }

    fn unlink(shared: &Arc<Shared>) -> impl FnOnce() + use<> {
        shared.slot.store(0, Ordering::Release);
        let shared = Arc::clone(shared);
        // SAFETY: loom says so if another thread uses it, which is what is shown here.
        move || shared.object.with_mut(|object| unsafe { *object = 0 })
    }

    fn is_freed(&self) -> bool {
        // SAFETY: as above.
        self.object.with(|object| unsafe { *object == 0 })
    }
}

// SAFETY: loom says so if a thread uses the object while another frees it, which is what is shown here.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// Plays a race of so many threads in every interleaving with two preemptions, or as many as are asked for; in quick form, one of three with one.
fn explore(threads: usize, race: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    let preemptions = builder.preemption_bound.unwrap_or(2);
    let is_quick = threads > 2 && std::env::var_os("LOOM_QUICK").is_some();
    builder.preemption_bound = Some(if is_quick { 1 } else { preemptions });
    builder.max_branches = 20_000;
    builder.check(race);
}

/// Looks for the object, and at it if it is there, under a pin, with the fence of another thread at any step.
fn reader(collector: &'static Collector, shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    struct Passed(LocalHandle);
    // SAFETY: registered for the thread that it is passed to, which is the only one to use it from then on.
    unsafe impl Send for Passed {}

    let shared = Arc::clone(shared);
    let handle = collector.register();
    // It does not collect.
    handle.0.pins.set(1);
    handle.0.is_watched.set(true);
    let handle = Passed(handle);
    collector.clock.0.fences.is_over.store(false, Ordering::Relaxed);
    thread::spawn(move || {
        let Passed(handle) = { handle };
        handle.0.step();
        let pin = handle.pin();
        if shared.slot.load(Ordering::Acquire) == 1 {
            // Once for each advance, none of which is to get past this.
            for _ in 0..3 {
                handle.0.step();
                thread::yield_now();
            }
            assert!(!shared.is_freed());
        }
        drop(pin);
        collector.clock.0.fences.is_over.store(true, Ordering::Release);
    })
}

fn collector() -> &'static Collector {
    Box::leak(Box::new(Collector::new()))
}

fn move_on(collector: &Collector, times: usize) {
    let clock = &collector.clock.0.epoch;
    for _ in 0..times {
        collector.advance(clock.load(Ordering::Relaxed));
        collector.bags.free_some(clock.load(Ordering::Acquire));
    }
}

/// What a pinned thread has found is not freed before it is unpinned; and is, then.
#[test]
fn read_vs_unlink_and_advances() {
    explore(2, || {
        let (collector, shared) = (collector(), Shared::new());
        let own = collector.register();
        let reader = reader(collector, &shared);
        // SAFETY: runs once.
        unsafe { own.pin().defer_unchecked(Shared::unlink(&shared)) };
        for _ in 0..4 {
            own.0.collect();
        }
        reader.join().unwrap();
        for _ in 0..4 {
            own.0.collect();
        }
        assert!(shared.is_freed());
    });
}

/// The same if a bag is sealed between a heavy fence and the change of the epoch.
#[test]
fn read_vs_seal_in_an_advance() {
    explore(2, || {
        let (collector, shared) = (collector(), Shared::new());
        let seal = {
            let shared = Arc::clone(&shared);
            move || collector.seal(vec![Deferred::new(Shared::unlink(&shared))])
        };
        *collector.clock.0.fences.meanwhile.lock().unwrap() = Some(Box::new(seal));
        let reader = reader(collector, &shared);
        move_on(collector, 3);
        reader.join().unwrap();
        move_on(collector, 3);
        assert!(shared.is_freed());
    });
}

/// The same if the bag is sealed by a thread that has not seen the epoch for long.
#[test]
fn read_vs_late_seal_vs_advance() {
    explore(3, || {
        let (collector, shared) = (collector(), Shared::new());
        let sealer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || collector.seal(vec![Deferred::new(Shared::unlink(&shared))]))
        };
        move_on(collector, 2);
        let reader = reader(collector, &shared);
        move_on(collector, 1);
        sealer.join().unwrap();
        reader.join().unwrap();
        move_on(collector, 4);
        assert!(shared.is_freed());
    });
}

/// Bags are put and taken by two threads: each of them is emptied once.
#[test]
fn bags_vs_bags() {
    explore(2, || {
        let counts: Arc<[atomic::AtomicU64; 4]> =
            Arc::new([0, 0, 0, 0].map(atomic::AtomicU64::new));
        let bags = Arc::new(Bags::new());
        let bag = |number: usize| {
            let counts = Arc::clone(&counts);
            vec![Deferred::new(move || _ = counts[number].fetch_add(1, Ordering::Relaxed))]
        };
        bags.put(1, bag(0));
        bags.put(1, bag(1));
        let other = {
            let (bags, bag) = (Arc::clone(&bags), bag(2));
            thread::spawn(move || {
                bags.put(1, bag);
                bags.free_some(4);
            })
        };
        // Not old enough, and in the way.
        bags.put(5, bag(3));
        bags.free_some(4);
        other.join().unwrap();
        (0..4).for_each(|_| _ = bags.free_some(4));
        let counts = || [0, 1, 2, 3].map(|number| counts[number].load(Ordering::Relaxed));
        assert_eq!(counts(), [1, 1, 1, 0]);
        bags.free_some(8);
        assert_eq!(counts(), [1; 4]);
        assert!(!bags.are_waiting() && !bags.are_left());
    });
}
