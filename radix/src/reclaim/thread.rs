//! The collector of all trees, and what each thread keeps for it.
//!
//! The crate has a collector of its own: a guard that another user of crossbeam-epoch holds keeps nothing of ours from being
//! freed, nor the other way round. One collector serves all trees, since a [`Guard`](super::Guard) does.
//!
//! A thread registers when it pins for the first time, and its end gives the registration back. Destructors of thread-locals
//! that run even later register for a single guard each.
//!
//! # Values wait until the thread is unpinned
//!
//! crossbeam-epoch runs what is deferred while it is pinned itself, on any thread that happens to collect. The drop of a value
//! is the user's code: if it blocked there, nobody's garbage would be freed meanwhile, and if it panicked, the panic would
//! come out of somebody else's call and the rest of the garbage of that collection would be lost. So what is deferred for a value
//! only puts it into a list of the collecting thread (it cannot panic), and the thread drops the values of its list, each by
//! itself, as soon as its last guard is gone.
//!
//! # Fork
//!
//! A child process has only the thread that forked. A guard that another thread of the parent held would be held for good in
//! the child. So the child starts with a new collector, unless the forking thread is pinned: its guard protects nothing in
//! another collector. What the parent had retired until then is not freed in the child.
//!
//! # Invariants
//!
//! | name | what holds |
//! |---|---|
//! | R-OWN | a thread's [`Local`] is used by that thread only. Its handle is replaced only by `pin_first`, `End` and `in_child`, none of which runs while the handle is borrowed: what a collection runs in between frees nodes and adds to the list of values, and calls no user's code. The list is borrowed only to add a value and to be exchanged |
//! | R-ONE | guards that live at the same time are guards of the same collector: it is replaced only in a child process, whose only thread holds no guard, nor is about to pin one anew |

use core::cell::{Cell, UnsafeCell};
use core::mem::ManuallyDrop;

#[cfg(not(feature = "asymmetric"))]
use crossbeam_epoch::{Collector, LocalHandle};

use super::drops::{Doomed, contain};
use crate::sync::{GlobalPtr, Ordering};

#[cfg(not(feature = "asymmetric"))]
pub(super) use crossbeam_epoch::Guard as Pin;

#[cfg(feature = "asymmetric")]
pub(super) use super::epochs::Pin;
#[cfg(feature = "asymmetric")]
use super::epochs::{BAG, Collector, EMPTIED, LocalHandle};

/// Objects that a thread may retire for one collection, which frees at most twice as many, or four times with the crate's own epochs.
///
/// crossbeam-epoch collects once in 128 pins of a thread, and then at most 512 objects. A thread that retires more than four
/// objects a pin would leave garbage behind for good, and ever more of it. So whoever retires also collects, in proportion.
#[cfg(not(feature = "asymmetric"))]
const COLLECT_EVERY: u32 = 256;
#[cfg(feature = "asymmetric")]
const COLLECT_EVERY: u32 = BAG;

/// Bytes of values that count as one more object: with 256 KiB of them a collection is due, however few they are.
const BYTES_OF_ONE: usize = (1 << 18) / COLLECT_EVERY as usize;

/// Values for which a thread's list keeps memory: as many as a collection finds at most, where each was retired alone.
#[cfg(not(feature = "asymmetric"))]
const KEPT_VALUES: usize = 512;
#[cfg(feature = "asymmetric")]
const KEPT_VALUES: usize = EMPTIED * BAG as usize;

/// What a thread keeps. It has no destructor, so it can be reached without a check, and until the very end of the thread.
struct Local {
    /// The thread's registration. `None` before the first pin and after the thread's [`End`].
    handle: UnsafeCell<ManuallyDrop<Option<LocalHandle>>>,
    ended: Cell<bool>,
    /// Objects retired since the last collection, and as many more as their bytes count for.
    retired: Cell<u32>,
    /// Values to be dropped when the thread is unpinned. Has no memory after the thread's [`End`] but while it has values.
    values: UnsafeCell<ManuallyDrop<Vec<Doomed>>>,
    /// Whether `values` has any.
    waiting: Cell<bool>,
    /// Whether they are being dropped at the moment.
    dropping: Cell<bool>,
    /// Whether a guard is about to be pinned anew.
    repinning: Cell<bool>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            handle: UnsafeCell::new(ManuallyDrop::new(None)),
            ended: Cell::new(false),
            retired: Cell::new(0),
            values: UnsafeCell::new(ManuallyDrop::new(Vec::new())),
            waiting: Cell::new(false),
            dropping: Cell::new(false),
            repinning: Cell::new(false),
        }
    };
    static END: End = const { End };
}

impl Local {
    #[inline]
    fn handle(&self) -> Option<&LocalHandle> {
        // SAFETY: nobody replaces the handle meanwhile (R-OWN).
        unsafe { &*self.handle.get() }.as_ref()
    }

    /// Puts another handle in place of the present one, which it returns: to be dropped, or to be forgotten.
    fn set_handle(&self, handle: Option<LocalHandle>) -> ManuallyDrop<Option<LocalHandle>> {
        // SAFETY: nobody borrows the handle now (R-OWN).
        unsafe { self.handle.get().replace(ManuallyDrop::new(handle)) }
    }

    fn exchange_values(&self, other: &mut Vec<Doomed>) {
        // SAFETY: not borrowed otherwise now (R-OWN).
        core::mem::swap(other, unsafe { &mut *self.values.get() });
    }

    /// Whether the thread is pinned; not known after its end.
    fn is_pinned(&self) -> bool {
        self.handle().is_some_and(LocalHandle::is_pinned)
    }
}

/// Ends the thread's registration.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        LOCAL.with(|local| {
            local.ended.set(true);
            // This may collect.
            drop(ManuallyDrop::into_inner(local.set_handle(None)));
            drop_waiting();
            // The list's memory.
            local.exchange_values(&mut Vec::new());
        });
    }
}

#[inline]
pub(super) fn pin() -> Pin {
    LOCAL.with(|local| match local.handle() {
        Some(handle) => handle.pin(),
        None => pin_first(local),
    })
}

#[cold]
fn pin_first(local: &Local) -> Pin {
    let handle = collector().register();
    let pin = handle.pin();
    // Else the registration ends with the guard.
    if !local.ended.get() && END.try_with(|_| ()).is_ok() {
        local.set_handle(Some(handle));
    }
    pin
}

/// Counts an object that is retired.
#[inline]
pub(super) fn count_retired() {
    LOCAL.with(|local| local.retired.set(local.retired.get().saturating_add(1)));
}

/// Counts the bytes that come free with it.
#[inline]
pub(super) fn count_bytes(bytes: usize) {
    let objects = u32::try_from(bytes / BYTES_OF_ONE).unwrap_or(u32::MAX);
    LOCAL.with(|local| local.retired.set(local.retired.get().saturating_add(objects)));
}

/// Whether the thread has retired so much that it is to collect.
#[inline]
pub(super) fn is_due() -> bool {
    LOCAL.with(|local| local.retired.get() >= COLLECT_EVERY)
}

#[cold]
pub(super) fn collect(pin: &Pin) {
    forget_retired();
    pin.flush();
}

/// A collection has what was retired.
pub(super) fn forget_retired() {
    LOCAL.with(|local| local.retired.set(0));
}

/// Has the thread drop a value that nobody can see any more as soon as it is unpinned.
pub(super) fn drop_unpinned(value: Doomed) {
    LOCAL.with(|local| {
        // SAFETY: not borrowed otherwise now (R-OWN).
        unsafe { &mut *local.values.get() }.push(value);
        local.waiting.set(true);
    });
}

/// Drops the values that wait, if there are any and the thread is not pinned.
#[inline]
pub(super) fn settle_unpinned() {
    if LOCAL.with(|local| local.waiting.get()) {
        drop_waiting();
    }
}

/// Moves a guard to the present epoch, and settles in between.
#[inline]
pub(super) fn repin(pin: &mut ManuallyDrop<Pin>) {
    // Unpin and pin, with the fence that pinning has. `crossbeam_epoch::Guard::repin` has none: in the language's memory
    // model (and on processors that reorder loads) a load after it may still find what was unlinked before the
    // epoch that it moves to, and which that epoch does not protect.
    if LOCAL.with(|local| local.ended.get()) {
        return replace(pin);
    }
    pin.repin_after(|| {
        if LOCAL.with(|local| local.waiting.get()) {
            // A drop may fork.
            let outer = LOCAL.with(|local| local.repinning.replace(true));
            drop_waiting();
            LOCAL.with(|local| local.repinning.set(outer));
        }
    });
}

/// Of a thread that has ended: the pin's registration may end with it, and another one takes its place.
#[cold]
fn replace(pin: &mut ManuallyDrop<Pin>) {
    /// The place must not be left without one.
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    let abort = Abort;
    // SAFETY: nobody looks before another is there: whatever unwinds meanwhile ends the process.
    unsafe { ManuallyDrop::drop(pin) };
    settle_unpinned();
    *pin = ManuallyDrop::new(self::pin());
    core::mem::forget(abort);
}

#[cold]
fn drop_waiting() {
    LOCAL.with(|local| {
        // One drop may well pin and unpin; what comes to wait by that is dropped here, too.
        if local.is_pinned() || local.dropping.replace(true) {
            return;
        }
        let mut values = Vec::new();
        while local.waiting.replace(false) {
            local.exchange_values(&mut values);
            let mut rest = values.drain(..);
            while rest.len() > 0 {
                // A panic goes no further: the call that happens to run here is the last one to blame for it.
                contain(|| rest.by_ref().for_each(Doomed::drop));
            }
        }
        // The list keeps its memory for the next collection, unless that is much.
        if !local.ended.get() && values.capacity() <= KEPT_VALUES {
            local.exchange_values(&mut values);
        }
        local.dropping.set(false);
    });
}

/// The collector; null before the first pin, and again in a child process.
static COLLECTOR: GlobalPtr<Collector> = GlobalPtr::new(core::ptr::null_mut());

/// Made by whoever comes first. No lock, which another thread could hold during a fork.
fn collector() -> &'static Collector {
    // Acquire: pairs with the Release below, the collector is complete.
    let mut collector = COLLECTOR.load(Ordering::Acquire);
    if collector.is_null() {
        watch_forks();
        let (null, new) = (core::ptr::null_mut(), Box::into_raw(Box::new(Collector::new())));
        // Release: the collector is complete; Acquire: so is another thread's.
        match COLLECTOR.compare_exchange(null, new, Ordering::Release, Ordering::Acquire) {
            Ok(_) => collector = new,
            Err(other) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                collector = other;
            }
        }
    }
    // SAFETY: not null, complete, and never freed.
    unsafe { &*collector }
}

/// Gives a child process a collector of its own.
#[cfg(all(unix, not(miri)))]
fn watch_forks() {
    use core::ffi::c_int;

    type Handler = Option<unsafe extern "C" fn()>;

    // As POSIX has it.
    unsafe extern "C" {
        safe fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
    }

    extern "C" fn in_child() {
        LOCAL.with(|local| {
            // After the thread's end its guards are not known.
            if local.ended.get() || local.is_pinned() || local.repinning.get() {
                #[cfg(feature = "asymmetric")]
                // SAFETY: never freed. Relaxed: there is no other thread.
                if let Some(collector) = unsafe { COLLECTOR.load(Ordering::Relaxed).as_ref() } {
                    collector.in_child();
                }
                return;
            }
            // Forgotten, not dropped: a handler has no business to run other code.
            let _ = local.set_handle(None);
            // Relaxed: there is no other thread. The old collector stays in memory, its handles know it.
            COLLECTOR.store(core::ptr::null_mut(), Ordering::Relaxed);
        });
    }

    // A second registration does no harm, nor does a failed one to a process that does not fork.
    let _ = pthread_atfork(None, None, Some(in_child));
}

#[cfg(not(all(unix, not(miri))))]
fn watch_forks() {}
