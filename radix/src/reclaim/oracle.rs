//! Reclamation under a model checker: a toy epoch scheme that knows what has been freed, and says so.
//!
//! It has the shape of the real one: a pin notes the epoch, the epoch moves on when all pins are of the present one, what is
//! retired is sealed with the epoch, and freed two epochs later. The real scheme seals a full bag at a time; here each object
//! is sealed at once, which is the earliest. Its bookkeeping lies in ordinary memory that the checker does not see (a checker
//! runs one thread at a time), so it adds no interleavings. What the checker does see are the fences that the real scheme
//! has: in pinning, in advancing, in sealing.
//!
//! Freed nodes stay allocated until the model ends; touching one panics, as do freeing one twice and leaving one behind.

use std::cell::{Cell, RefCell};

use super::drops::Doomed;
use crate::sync::{Ordering, fence};

/// Something to be done when nobody can see it any more.
type Free = Box<dyn FnOnce()>;

struct State {
    epoch: u64,
    /// The epoch of each pin that lives.
    pins: Vec<Option<u64>>,
    /// What may be freed two epochs after this one.
    garbage: Vec<(u64, Free)>,
    nodes_made: usize,
    /// What has been freed, to be released at the end.
    graveyard: Vec<Free>,
}

thread_local! {
    /// Of the execution that this thread of the operating system runs; all threads of the model share it.
    static STATE: RefCell<State> = const {
        RefCell::new(State { epoch: 0, pins: Vec::new(), garbage: Vec::new(), nodes_made: 0, graveyard: Vec::new() })
    };
}

/// Never held where the checker may switch threads.
fn with<R>(action: impl FnOnce(&mut State) -> R) -> R {
    STATE.with(|state| action(&mut state.borrow_mut()))
}

/// One pin, by its place in the list.
pub(crate) struct Pin(usize);

pub(crate) fn pin() -> Pin {
    let place = with(|state| {
        let place = state.pins.iter().position(Option::is_none).unwrap_or(state.pins.len());
        state.pins.resize(state.pins.len().max(place + 1), None);
        state.pins[place] = Some(state.epoch);
        place
    });
    // SeqCst: pairs with the fence in `try_advance`. Either the one who advances sees this pin, or what follows here sees
    // all that was unlinked before the advance.
    fence(Ordering::SeqCst);
    Pin(place)
}

impl Pin {
    pub(crate) fn repin_after(&mut self, between: impl FnOnce()) {
        with(|state| state.pins[self.0] = None);
        between();
        with(|state| state.pins[self.0] = Some(state.epoch));
        fence(Ordering::SeqCst);
    }

    /// Moves on without a fence, as the real guard's method of this name does.
    #[allow(dead_code, reason = "a model shows that it is not to be used")]
    pub(crate) fn repin(&mut self) {
        with(|state| state.pins[self.0] = Some(state.epoch));
    }

    #[expect(clippy::unused_self, reason = "the real guard's method needs it")]
    pub(crate) fn flush(&self) {
        try_advance();
    }

    /// # Safety
    /// As the real guard's method.
    #[expect(clippy::unused_self, reason = "the real guard's method needs it")]
    pub(crate) unsafe fn defer_unchecked<F: FnOnce()>(&self, free: F) {
        let free: Box<dyn FnOnce() + '_> = Box::new(free);
        // SAFETY: the caller answers for what the closure borrows.
        let free: Free = unsafe { core::mem::transmute(free) };
        // SeqCst: pairs with the fence in `pin`. Either a pin that comes after sees all that was unlinked before, or the
        // epoch read here is that pin's at least, which holds up the second advance from here.
        fence(Ordering::SeqCst);
        with(|state| state.garbage.push((state.epoch, free)));
    }
}

/// Nothing: the oracle collects whenever it can.
pub(super) fn count_retired() {}

pub(super) fn count_bytes(_bytes: usize) {}

pub(super) fn is_due() -> bool {
    false
}

pub(super) fn collect(_pin: &Pin) {}

#[cfg(all(test, radix_loom))]
pub(super) fn forget_retired() {}

/// Drops the value: the oracle frees garbage under no pin, and a model is to see a panic.
pub(super) fn drop_unpinned(value: Doomed) {
    value.drop();
}

pub(super) fn settle_unpinned() {}

pub(super) fn repin(pin: &mut core::mem::ManuallyDrop<Pin>) {
    pin.repin_after(settle_unpinned);
}

impl Drop for Pin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        with(|state| state.pins[self.0] = None);
        try_advance();
    }
}

/// Moves the epoch on if all pins let it, and frees what is old enough.
fn try_advance() {
    fence(Ordering::SeqCst);
    let free = with(|state| {
        if state.pins.iter().flatten().any(|&pinned| pinned != state.epoch) {
            return Vec::new();
        }
        state.epoch += 1;
        let epoch = state.epoch;
        state.garbage.extract_if(.., |(retired, _)| *retired + 2 <= epoch).collect()
    });
    for (_, free) in free {
        free();
    }
}

/// What the oracle knows about one node.
#[derive(Debug)]
pub(crate) struct Life(Cell<bool>);

// SAFETY: a checker runs its threads one at a time.
unsafe impl Sync for Life {}

impl Life {
    pub(crate) fn begin() -> Life {
        with(|state| state.nodes_made += 1);
        Life(Cell::new(true))
    }

    /// Panics if the node has been freed.
    pub(crate) fn assert(&self) {
        assert!(self.0.get(), "I-RETIRE: a freed node is used");
    }

    /// Buries the node; its memory is released when the model ends.
    pub(crate) fn end<T: 'static>(&self, node: *mut T) {
        assert!(self.0.replace(false), "I-RETIRE: a node is freed twice");
        // SAFETY: made by `Box`, and buried once.
        let release = move || drop(unsafe { Box::from_raw(node) });
        with(|state| state.graveyard.push(Box::new(release)));
    }
}

/// Forgets what an earlier execution left behind.
pub(super) fn begin() {
    let garbage = with(|state| {
        state.graveyard.clear();
        state.pins.clear();
        state.nodes_made = 0;
        core::mem::take(&mut state.garbage)
    });
    // Left by an execution that failed; running it would touch the primitives of that execution.
    core::mem::forget(garbage);
}

/// Frees everything and checks that nothing is left.
pub(super) fn finish() {
    assert!(with(|state| state.pins.iter().all(Option::is_none)), "a guard outlives the model");
    while with(|state| !state.garbage.is_empty()) {
        try_advance();
    }
    let (made, dead) = with(|state| (state.nodes_made, core::mem::take(&mut state.graveyard)));
    assert_eq!(made, dead.len(), "I-RETIRE: nodes leaked");
    for release in dead {
        release();
    }
}
