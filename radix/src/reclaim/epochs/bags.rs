//! Bags of what has been retired, from when they are sealed until they are emptied.
//!
//! There is a stack for the bags of each epoch, so that what may not be freed yet is not looked at again and again. The epoch is known to it
//! only up to a multiple of [`STACKS`]: each bag says its own. What may be freed, and is more than one collection frees, goes to another stack.

use core::mem::MaybeUninit;
use core::ptr;

use super::{Alone, GRACE};
use crate::sync::{AtomicPtr, CHECKED, Ordering};

/// One more than the epochs that bags wait: those that have waited are in a stack of their own.
const STACKS: usize = 4;
const _: () = assert!(STACKS as u64 == GRACE + 1);
/// Most bags that one collection empties: several times what is retired meanwhile.
pub(in super::super) const EMPTIED: usize = if CHECKED { 1 } else { 4 };

/// Something to be done, in three words if it fits.
pub(super) struct Deferred {
    call: unsafe fn(*mut Room),
    data: Room,
}

type Room = [MaybeUninit<usize>; 3];

impl Deferred {
    pub(super) fn new<F: FnOnce()>(call: F) -> Deferred {
        /// # Safety
        /// There is an `F` in `data`, and this is the only time that it is taken out.
        unsafe fn inline<F: FnOnce()>(data: *mut Room) {
            // SAFETY: the caller's.
            let call = unsafe { data.cast::<F>().read() };
            call();
        }
        /// # Safety
        /// As above, with a box.
        unsafe fn boxed<F: FnOnce()>(data: *mut Room) {
            // SAFETY: the caller's.
            let call = unsafe { data.cast::<Box<F>>().read() };
            call();
        }
        let mut data: Room = [MaybeUninit::uninit(); 3];
        if size_of::<F>() <= size_of::<Room>() && align_of::<F>() <= align_of::<Room>() {
            // SAFETY: it fits.
            unsafe { data.as_mut_ptr().cast::<F>().write(call) };
            Deferred { call: inline::<F>, data }
        } else {
            // SAFETY: a box is a word.
            unsafe { data.as_mut_ptr().cast::<Box<F>>().write(Box::new(call)) };
            Deferred { call: boxed::<F>, data }
        }
    }

    fn run(mut self) {
        // SAFETY: made by `new`, with what `call` expects, and `self` is gone then.
        unsafe { (self.call)(&raw mut self.data) }
    }
}

/// A bag that was sealed.
struct Sealed {
    epoch: u64,
    bag: Vec<Deferred>,
    next: *mut Sealed,
}

/// Sealed bags. Nobody takes a single one out, which others that are about to might not notice.
struct Stack(AtomicPtr<Sealed>);

impl Stack {
    fn new() -> Stack {
        Stack(AtomicPtr::new(ptr::null_mut()))
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    fn take(&self) -> Chain {
        match self.is_empty() {
            true => Chain(ptr::null_mut()),
            // Acquire: pairs with the Release of who has put them there.
            false => Chain(self.0.swap(ptr::null_mut(), Ordering::Acquire)),
        }
    }

    /// O(1) where the stack is empty, as it mostly is, and otherwise in how many are put there.
    fn put(&self, chain: Chain) {
        let Chain(first) = chain;
        if first.is_null() {
            return;
        }
        let (mut others, mut last) = (ptr::null_mut(), None);
        // Release: they are complete.
        while let Err(now) =
            self.0.compare_exchange(others, first, Ordering::Release, Ordering::Relaxed)
        {
            // SAFETY: all of them are this thread's (E-BAG).
            let last = *last.get_or_insert_with(|| unsafe { last_of(first) });
            // SAFETY: as above.
            unsafe { (*last).next = now };
            others = now;
        }
    }
}

/// # Safety
/// `sealed`, and all that follow, are the caller's.
unsafe fn last_of(mut sealed: *mut Sealed) -> *mut Sealed {
    loop {
        // SAFETY: the caller's.
        let next = unsafe { (*sealed).next };
        if next.is_null() {
            return sealed;
        }
        sealed = next;
    }
}

/// Bags that are in no stack, and are the owner's (E-BAG).
struct Chain(*mut Sealed);

impl Chain {
    fn push(&mut self, mut sealed: Box<Sealed>) {
        sealed.next = self.0;
        self.0 = Box::into_raw(sealed);
    }

    fn pop(&mut self) -> Option<Box<Sealed>> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: made by `push`, and the owner's (E-BAG).
        let sealed = unsafe { Box::from_raw(self.0) };
        self.0 = sealed.next;
        Some(sealed)
    }
}

/// All that are sealed.
pub(super) struct Bags {
    by_epoch: [Alone<Stack>; STACKS],
    /// More of those that have waited than a collection empties, and what was among them.
    old: Alone<Stack>,
}

impl Bags {
    pub(super) fn new() -> Bags {
        Bags { by_epoch: core::array::from_fn(|_| Alone(Stack::new())), old: Alone(Stack::new()) }
    }

    /// Whether there are any that wait for the epoch to move on.
    pub(super) fn are_waiting(&self) -> bool {
        !self.by_epoch.iter().all(|stack| stack.0.is_empty())
    }

    /// Whether a collection has left some that have waited.
    pub(super) fn are_left(&self) -> bool {
        !self.old.0.is_empty()
    }

    fn of(&self, epoch: u64) -> &Stack {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of few")]
        let stack = (epoch % STACKS as u64) as usize;
        &self.by_epoch[stack].0
    }

    pub(super) fn put(&self, epoch: u64, bag: Vec<Deferred>) {
        let mut chain = Chain(ptr::null_mut());
        chain.push(Box::new(Sealed { epoch, bag, next: ptr::null_mut() }));
        self.of(epoch).put(chain);
    }

    /// Runs what is in some of the bags that have waited until this epoch. Returns one that is empty, to be filled again.
    pub(super) fn free_some(&self, epoch: u64) -> Vec<Deferred> {
        let (mut ripe, mut count) = (Chain(ptr::null_mut()), 0);
        for stack in [&self.old.0, self.of(epoch + 1)] {
            if count == EMPTIED {
                break;
            }
            let (mut taken, mut kept) = (stack.take(), Chain(ptr::null_mut()));
            while count < EMPTIED
                && let Some(sealed) = taken.pop()
            {
                if sealed.epoch + GRACE <= epoch {
                    ripe.push(sealed);
                    count += 1;
                } else {
                    kept.push(sealed);
                }
            }
            stack.put(kept);
            self.old.0.put(taken);
        }
        let mut emptied = Vec::new();
        while let Some(mut sealed) = ripe.pop() {
            sealed.bag.drain(..).for_each(Deferred::run);
            emptied = sealed.bag;
        }
        emptied
    }
}
