//! The cells that a thread has at hand.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::class::Class;
use super::depot::Batch;
use super::segment::{Cells, Free, Run};
use super::shared;
use crate::sync::thread_local;

/// Cells of one class.
struct Magazine {
    /// The list that is taken from and put to, and how many are in it: a batch at most.
    loaded: Cell<*mut Free>,
    count: Cell<u32>,
    /// A whole batch, or none.
    spare: Cell<*mut Free>,
    /// Cells that lie side by side and were not used yet: where the next one is, and how many.
    fresh: Cell<*mut u8>,
    fresh_count: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    Alive,
    /// The magazines stay empty.
    Ended,
}

/// What a thread keeps. It has no destructor, so it can be reached without a check, and until the very end of the thread.
struct Local {
    magazines: [Magazine; Class::COUNT],
    phase: Cell<Phase>,
}

/// More than any batch: a magazine that takes none is full.
const CLOSED: u32 = u32::MAX;

thread_local! {
    static LOCAL: Local = const {
        Local { magazines: [const { Magazine::new() }; Class::COUNT], phase: Cell::new(Phase::New) }
    };
    static END: End = const { End };
}

/// Gives back what the thread has.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        LOCAL.with(|local| {
            local.give_back();
            local.set_phase(Phase::Ended);
        });
    }
}

/// A cell that is the caller's.
#[inline]
pub(super) fn take(class: Class) -> NonNull<u8> {
    LOCAL.with(|local| {
        let magazine = &local.magazines[class.number()];
        match magazine.pop(class) {
            Some(cell) => cell,
            None => local.refill(class),
        }
    })
}

/// Takes a cell back.
///
/// # Safety
/// `take` gave it for that class; nobody uses it any more, and it is put once.
#[inline]
pub(super) unsafe fn put(class: Class, cell: NonNull<u8>) {
    LOCAL.with(|local| {
        let (magazine, cell) = (&local.magazines[class.number()], cell.as_ptr().cast::<Free>());
        if magazine.count.get() >= class.batch() {
            // SAFETY: the caller's word.
            return unsafe { local.put_to_full(class, cell) };
        }
        // SAFETY: the caller's word, and there is room.
        unsafe { magazine.push(cell) };
    });
}

/// Gives back what the calling thread has.
pub(super) fn give_back() {
    LOCAL.with(Local::give_back);
}

impl Magazine {
    const fn new() -> Magazine {
        Magazine {
            loaded: Cell::new(ptr::null_mut()),
            count: Cell::new(CLOSED),
            spare: Cell::new(ptr::null_mut()),
            fresh: Cell::new(ptr::null_mut()),
            fresh_count: Cell::new(0),
        }
    }

    #[inline]
    fn pop(&self, class: Class) -> Option<NonNull<u8>> {
        let Some(cell) = NonNull::new(self.loaded.get()) else { return self.pop_fresh(class) };
        // SAFETY: free, and this thread's (A-CELL, A-OWN).
        self.loaded.set(unsafe { cell.as_ref() }.next);
        self.count.set(self.count.get() - 1);
        Some(cell.cast())
    }

    #[inline]
    fn pop_fresh(&self, class: Class) -> Option<NonNull<u8>> {
        let left = self.fresh_count.get().checked_sub(1)?;
        self.fresh_count.set(left);
        let cell = self.fresh.get();
        self.fresh.set(cell.wrapping_add(class.size()));
        NonNull::new(cell)
    }

    /// # Safety
    /// The cell is nobody's, and the magazine is not full.
    #[inline]
    unsafe fn push(&self, cell: *mut Free) {
        // By its address: a pointer that was a node's may reach no further than that.
        let cell = ptr::with_exposed_provenance_mut::<Free>(cell.addr());
        // SAFETY: the caller's word.
        unsafe { cell.write(Free { next: self.loaded.get() }) };
        self.loaded.set(cell);
        self.count.set(self.count.get() + 1);
    }
}

impl Local {
    fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        let count = if phase == Phase::Alive { 0 } else { CLOSED };
        self.magazines.iter().for_each(|magazine| magazine.count.set(count));
    }

    /// Whether the thread may keep cells.
    fn is_alive(&self) -> bool {
        if self.phase.get() == Phase::New {
            // From now on its end gives them back.
            let phase = if END.try_with(|_| ()).is_ok() { Phase::Alive } else { Phase::Ended };
            self.set_phase(phase);
        }
        self.phase.get() == Phase::Alive
    }

    /// A cell for a magazine that has none at hand.
    #[cold]
    fn refill(&self, class: Class) -> NonNull<u8> {
        let magazine = &self.magazines[class.number()];
        let most = if self.is_alive() { class.batch() } else { 1 };
        let spare = magazine.spare.take_list();
        let batch = match spare.is_null() {
            true => shared::with(|depot| depot.take(class, most)),
            false => Some(Batch::Used(Cells { first: spare, count: class.batch() })),
        };
        let first = match batch {
            Some(Batch::Used(Cells { first, count })) => {
                if most > 1 {
                    // SAFETY: there is one at least, and all are this thread's now (A-CELL).
                    magazine.loaded.set(unsafe { (*first).next });
                    magazine.count.set(count - 1);
                }
                NonNull::new(first.cast())
            }
            Some(Batch::Fresh(Run { start, count })) => {
                magazine.fresh.set(start.as_ptr().wrapping_add(class.size()));
                magazine.fresh_count.set(count - 1);
                Some(start)
            }
            None => None,
        };
        first.unwrap_or_else(|| no_memory(class))
    }

    /// Puts a cell where there is no room.
    ///
    /// # Safety
    /// As for [`put`].
    #[cold]
    unsafe fn put_to_full(&self, class: Class, cell: *mut Free) {
        let magazine = &self.magazines[class.number()];
        if !self.is_alive() {
            // SAFETY: the caller's word.
            unsafe { (*cell).next = ptr::null_mut() };
            // SAFETY: the caller's word; it ends here.
            return shared::with(|depot| unsafe { depot.put(class, cell) });
        }
        if magazine.count.get() >= class.batch() {
            let full = magazine.loaded.replace(ptr::null_mut());
            magazine.count.set(0);
            let older = magazine.spare.replace(full);
            // SAFETY: a list of cells that are this thread's (A-OWN).
            shared::with(|depot| unsafe { depot.put(class, older) });
        }
        // SAFETY: the caller's word, and there is room.
        unsafe { magazine.push(cell) };
    }

    fn give_back(&self) {
        for (number, magazine) in (0..).zip(&self.magazines) {
            let class = Class::numbered(number);
            while let Some(cell) = magazine.pop_fresh(class) {
                // SAFETY: just taken; what makes it more than a batch is given back below.
                unsafe { magazine.push(cell.as_ptr().cast()) };
            }
            let lists = [magazine.loaded.take_list(), magazine.spare.take_list()];
            for list in lists.into_iter().filter(|list| !list.is_null()) {
                // SAFETY: cells that are this thread's (A-OWN), and no longer.
                shared::with(|depot| unsafe { depot.put(class, list) });
            }
        }
        self.set_phase(self.phase.get());
    }
}

trait TakeList {
    fn take_list(&self) -> *mut Free;
}

impl TakeList for Cell<*mut Free> {
    fn take_list(&self) -> *mut Free {
        self.replace(ptr::null_mut())
    }
}

#[cold]
fn no_memory(class: Class) -> ! {
    use std::alloc::{Layout, handle_alloc_error};

    let layout = Layout::from_size_align(class.size(), 8).unwrap_or(Layout::new::<u64>());
    handle_alloc_error(layout)
}
