//! Epochs whose pins have no fence: whoever frees garbage pays for it.
//!
//! A pin has to be seen by whoever frees, or to see what was unlinked before. That takes a full memory fence between the store of the pin and the
//! loads under it, which is most of what a short lookup costs. Here a pin has a *light fence* only, which binds the compiler, and
//! whoever moves the epoch on makes all other threads of the process execute a full one: the *heavy fence*, `membarrier(2)`. Where the
//! system has no such call, both are full fences.
//!
//! # Protocol
//! There is a global epoch, from 1 on. Each thread that pins has a *participant* with the epoch of its pin, or 0. Participants are in a list, are
//! never freed, and serve one thread after another.
//!
//! * *Pin*, the outermost: load the epoch `e`; store it in the participant (Release); light fence.
//! * *Unpin*, the last: store 0 in the participant (Release).
//! * *Retire*: what has been unlinked goes into the thread's bag.
//! * *Seal* a bag: full fence; load the epoch `s`; put the bag with `s` where others find it.
//! * *Advance*, by one thread at a time: load the epoch `e`; heavy fence; load what each participant has (Acquire), and give up if one has neither 0 nor
//!   `e`; change the epoch from `e` to `e + 1` in one step (Release).
//! * *Free*: load the epoch (Acquire); bags sealed with `s` may go when it is `s + 3` or more.
//!
//! # Why that is right
//! A heavy fence `H` of one thread is, for every other thread `R`, a full fence at some point `I` of `R`'s program: what `R` has stored before
//! `I` is seen after `H`, and what was done before `H` is seen by `R` after `I`.
//!
//! Let a bag be sealed with `s`, after its full fence `F`, and freed when the epoch is `s + 3` or more. Then there was an advance from `s + 1` to
//! `s + 2`, with heavy fence `H1`, and one from `s + 2` to `s + 3`, with heavy fence `H2`. Each has loaded the epoch before its heavy fence, and found the
//! same when it changed it: so the epoch was `s + 1` at `H1` and `s + 2` at `H2`. The seal has loaded `s`, an older value than what the thread of `H1` has
//! loaded before `H1`: so `F` is before `H1` in the single order of full fences (by the rules of C++20), and what was unlinked before `F` is seen by all after `H1`,
//! and by each thread after its `I` of it.
//!
//! Take a pin of `R`, and its points `I1` of `H1` and `I2` of `H2`.
//!
//! * If its store comes after `I1`, so do the loads under it: they see what was unlinked, and find nothing of the bag.
//! * If it comes before `I1`, what it has loaded as the epoch is at most `s + 1`: `s + 2` was stored after `H1`. It comes before `I2`, too, so it is
//!   seen by the scan that follows `H2`, and stops that advance, unless the pin is over: it has not the `s + 2` that the scan wants.
//! * If the pin is over when the scan looks, the scan has read the 0 of its end or something that the participant has got later, all of it stored with
//!   Release and loaded with Acquire. So whatever was done under the pin comes before the advance, and before what is freed after it.
//!
//! Where both are full fences, a pin's own is before `H1` in their single order, or after it: the first two cases.
//!
//! With one epoch less, as where pins have a fence, a bag could be sealed with `s` between the heavy fence of the advance from `s` and its change
//! of the epoch. A thread that pins with `s + 1` then has a single heavy fence to come, and may have found something of the bag before that.
//!
//! # How much is left
//! A thread seals its bag with [`BAG`] objects, or what counts as many; it is freed three epochs later. Whoever seals moves the epoch on, unless another
//! thread has since it last looked, or a pin is in the way. So what is left is some five bags for each thread that retires, and what it has
//! retired while a pin was in the way. Of a thread that does not pin any more its last bag is left, until it ends. A thread that is not
//! scheduled while it moves the epoch on is in the way of all, as one is that is pinned.
//!
//! Where the system has allowed the heavy fence and refuses it later, as a filter of system calls may do, nothing is freed any more.
//!
//! # Invariants
//!
//! | name | what holds |
//! |---|---|
//! | E-OWN | all of a participant but its epoch, its flag and its place in the list is used by its thread alone, from when it has taken the flag until it gives it back |
//! | E-LIST | participants are added to the front of the list and never leave it; they are never freed |
//! | E-BAG | a sealed bag is in one stack, or in the hands of the one thread that took it out |

use core::cell::{Cell, UnsafeCell};
use core::mem;
use core::ptr::{self, NonNull};

mod bags;
#[cfg(not(radix_loom))]
mod fences;
#[cfg(all(test, radix_loom))]
mod models;

#[cfg(not(radix_loom))]
pub(super) use self::bags::EMPTIED;
use self::bags::{Bags, Deferred};
#[cfg(not(radix_loom))]
use self::fences::Fences;
#[cfg(radix_loom)]
use self::models::Fences;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

/// Objects with which a bag is sealed unasked: an advance takes microseconds where another processor runs a thread of the process.
pub(super) const BAG: u32 = 1024;
/// Pins after which a thread that has something in its bag collects.
const PINS: u32 = 1024;
/// Pins after which it looks whether others have left something: the heavy fence interrupts all who read.
const PINS_OF_OTHERS: u32 = 2 * PINS;
/// Room for so many objects is kept for the next bag of a thread.
const KEPT: usize = 2 * BAG as usize;
/// Epochs from when a bag is sealed until it may be freed.
const GRACE: u64 = 3;

/// Lines of the cache of its own, and of the one that is fetched with it.
#[repr(align(128))]
struct Alone<T>(T);

/// What each pin reads.
struct Clock {
    epoch: AtomicU64,
    fences: Fences,
}

pub(super) struct Collector {
    clock: Alone<Clock>,
    participants: AtomicPtr<Participant>,
    /// A second heavy fence at the same time would bring nothing.
    is_advancing: AtomicBool,
    bags: Bags,
}

impl Collector {
    pub(super) fn new() -> Collector {
        Collector {
            clock: Alone(Clock { epoch: AtomicU64::new(1), fences: Fences::new() }),
            participants: AtomicPtr::new(ptr::null_mut()),
            is_advancing: AtomicBool::new(false),
            bags: Bags::new(),
        }
    }

    /// Makes the calling thread a participant.
    pub(super) fn register(&'static self) -> LocalHandle {
        for participant in self.participants() {
            let is_free = !participant.is_taken.load(Ordering::Relaxed);
            // Acquire: pairs with the Release of who has given it back (E-OWN).
            if is_free && !participant.is_taken.swap(true, Ordering::Acquire) {
                participant.has_handle.set(true);
                return LocalHandle(participant);
            }
        }
        let participant: &'static Participant = Box::leak(Box::new(Participant::new(self)));
        let new = ptr::from_ref(participant).cast_mut();
        let mut first = self.participants.load(Ordering::Relaxed);
        loop {
            participant.next.store(first, Ordering::Relaxed);
            // Release: it is complete.
            match self.participants.compare_exchange(
                first,
                new,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return LocalHandle(participant),
                Err(other) => first = other,
            }
        }
    }

    /// Of a child process, whose only thread is pinned: others may have been in the middle of something.
    #[cfg(all(unix, not(miri)))]
    pub(super) fn in_child(&self) {
        self.is_advancing.store(false, Ordering::Relaxed);
    }

    fn participants(&self) -> impl Iterator<Item = &'static Participant> {
        // Acquire: pairs with the Release of who has added it.
        let mut next = self.participants.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: in the list, and never freed (E-LIST).
            let participant = unsafe { next.as_ref() }?;
            next = participant.next.load(Ordering::Relaxed);
            Some(participant)
        })
    }

    /// Moves the epoch on from what it was when the caller loaded it, if all pins let it.
    fn advance(&self, epoch: u64) {
        if self.is_advancing.swap(true, Ordering::Acquire) {
            return;
        }
        let clock = &self.clock.0.epoch;
        // What would be in vain is seen before the fence.
        let is_now = clock.load(Ordering::Relaxed) == epoch;
        if is_now && self.lets(epoch) && self.clock.0.fences.heavy() && self.lets(epoch) {
            // Release: for who frees.
            let _ = clock.compare_exchange(epoch, epoch + 1, Ordering::Release, Ordering::Relaxed);
        }
        self.is_advancing.store(false, Ordering::Release);
    }

    fn lets(&self, epoch: u64) -> bool {
        // Acquire: what was done under pins that are over comes before what follows.
        let mut pins = self.participants().map(|other| other.epoch.load(Ordering::Acquire));
        pins.all(|pinned| pinned == 0 || pinned == epoch)
    }

    fn seal(&self, bag: Vec<Deferred>) {
        // What is in it was unlinked before the epoch is looked at.
        fence(Ordering::SeqCst);
        self.bags.put(self.clock.0.epoch.load(Ordering::Relaxed), bag);
    }
}

/// What a thread has in a collector.
#[repr(align(128))]
pub(super) struct Participant {
    /// Of its pin; 0 if it has none.
    epoch: AtomicU64,
    is_taken: AtomicBool,
    next: AtomicPtr<Participant>,
    collector: &'static Collector,
    guards: Cell<usize>,
    pins: Cell<u32>,
    has_handle: Cell<bool>,
    /// Whether it is running what was deferred.
    is_collecting: Cell<bool>,
    /// The epoch when it last looked.
    seen: Cell<u64>,
    bag: UnsafeCell<Vec<Deferred>>,
    #[cfg(radix_loom)]
    is_watched: Cell<bool>,
}

impl Participant {
    fn new(collector: &'static Collector) -> Participant {
        Participant {
            epoch: AtomicU64::new(0),
            is_taken: AtomicBool::new(true),
            next: AtomicPtr::new(ptr::null_mut()),
            collector,
            guards: Cell::new(0),
            pins: Cell::new(0),
            has_handle: Cell::new(true),
            is_collecting: Cell::new(false),
            seen: Cell::new(0),
            bag: UnsafeCell::new(Vec::new()),
            #[cfg(radix_loom)]
            is_watched: Cell::new(false),
        }
    }

    /// Counts one more guard, of which the first pins.
    #[inline]
    fn enter(&self) {
        let guards = self.guards.get();
        self.guards.set(guards.checked_add(1).expect("fewer guards than addresses"));
        if guards > 0 {
            return;
        }
        let clock = &self.collector.clock.0;
        let epoch = clock.epoch.load(Ordering::Relaxed);
        self.step();
        // Release: what was done under the last pin comes before what is done by who sees this.
        self.epoch.store(epoch, Ordering::Release);
        clock.fences.light();
        self.step();
        let pins = self.pins.get();
        self.pins.set(pins.wrapping_add(1));
        // The first pin of a thread looks, too: many threads may be short.
        if pins.is_multiple_of(PINS) {
            self.look(pins.is_multiple_of(PINS_OF_OTHERS));
        }
    }

    /// Release: what was done under the pin comes before what is done by who sees this.
    #[inline]
    fn leave(&self) {
        self.epoch.store(0, Ordering::Release);
    }

    /// Where a model may have the heavy fence of another thread.
    #[inline]
    fn step(&self) {
        #[cfg(radix_loom)]
        if self.is_watched.get() {
            self.collector.clock.0.fences.step();
        }
    }

    /// Collects if there is anything in the bag, or in others' that wait, or that are left because they are many.
    #[cold]
    fn look(&self, also_of_others: bool) {
        // SAFETY: this thread's (E-OWN), and not borrowed otherwise now.
        let is_empty = unsafe { &*self.bag.get() }.is_empty();
        let bags = &self.collector.bags;
        if !is_empty || bags.are_left() || also_of_others && bags.are_waiting() {
            self.collect();
        }
    }

    /// Seals the bag, moves the epoch on if no other thread has lately, and frees some of what may be freed.
    #[cold]
    fn collect(&self) {
        // What is run retires nothing that it would have to collect.
        if self.is_collecting.replace(true) {
            return;
        }
        let collector = self.collector;
        // SAFETY: this thread's (E-OWN), and not borrowed otherwise now.
        let bag = mem::take(unsafe { &mut *self.bag.get() });
        if !bag.is_empty() {
            collector.seal(bag);
            // What counts as a bag is counted anew, and what counts as long.
            super::thread::forget_retired();
            self.pins.set(1);
        }
        let clock = &collector.clock.0.epoch;
        let epoch = clock.load(Ordering::Relaxed);
        if epoch == self.seen.get() && collector.bags.are_waiting() {
            collector.advance(epoch);
        }
        // Acquire: pairs with the Release of the last advance.
        let epoch = clock.load(Ordering::Acquire);
        self.seen.set(epoch);
        let emptied = collector.bags.free_some(epoch);
        // SAFETY: this thread's (E-OWN), and not borrowed otherwise now.
        let bag = unsafe { &mut *self.bag.get() };
        if bag.capacity() == 0 && emptied.capacity() <= KEPT {
            *bag = emptied;
        }
        self.is_collecting.set(false);
    }

    /// Gives it back, if nobody needs it.
    #[cold]
    fn end_if_unused(&self) {
        if self.guards.get() > 0 || self.has_handle.get() {
            return;
        }
        self.look(false);
        // SAFETY: this thread's (E-OWN), and not borrowed otherwise now.
        drop(mem::take(unsafe { &mut *self.bag.get() }));
        self.pins.set(0);
        // Release: the next one finds all of it (E-OWN).
        self.is_taken.store(false, Ordering::Release);
    }
}

/// A thread's registration.
pub(super) struct LocalHandle(&'static Participant);

impl LocalHandle {
    #[inline]
    pub(super) fn pin(&self) -> Pin {
        self.0.enter();
        Pin(NonNull::from(self.0))
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.0.guards.get() > 0
    }
}

impl Drop for LocalHandle {
    fn drop(&mut self) {
        self.0.has_handle.set(false);
        self.0.end_if_unused();
    }
}

/// A pin of the present thread.
pub(super) struct Pin(NonNull<Participant>);

impl Pin {
    #[inline]
    fn participant(&self) -> &'static Participant {
        // SAFETY: never freed (E-LIST).
        unsafe { self.0.as_ref() }
    }

    /// Unpins, calls `between`, and pins again; only calls it if there is another guard.
    #[inline]
    pub(super) fn repin_after(&mut self, between: impl FnOnce()) {
        /// Whatever comes of it.
        struct Again(&'static Participant);
        impl Drop for Again {
            fn drop(&mut self) {
                self.0.enter();
            }
        }
        let participant = self.participant();
        if participant.guards.get() > 1 {
            return between();
        }
        participant.guards.set(0);
        participant.leave();
        let _again = Again(participant);
        between();
    }

    pub(super) fn flush(&self) {
        self.participant().collect();
    }

    /// # Safety
    /// `call` must be sound to run once, at any later time, on any thread. If it panics, nothing is freed any more by this thread, nor by who gets its participant.
    #[inline]
    pub(super) unsafe fn defer_unchecked<F: FnOnce()>(&self, call: F) {
        let deferred = Deferred::new(call);
        // SAFETY: this thread's (E-OWN), and not borrowed otherwise now.
        let bag = unsafe { &mut *self.participant().bag.get() };
        bag.push(deferred);
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        let participant = self.participant();
        let guards = participant.guards.get() - 1;
        participant.guards.set(guards);
        if guards == 0 {
            participant.leave();
            if !participant.has_handle.get() {
                participant.end_if_unused();
            }
        }
    }
}
