//! The standard atomics with a moment's hesitation before an access now and then: threads that run natively meet in
//! places where they otherwise would once in a million times. What an access does, and how a node lies in memory, is
//! unchanged.

use core::cell::Cell;

use super::native::{self, Ordering, spin_loop, yield_now};

thread_local! {
    /// Of a xorshift generator; 0 until the thread's first access.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Threads that have drawn a seed. The seeds are the same in each run; what the threads do meanwhile is not.
static THREADS: native::AtomicU64 = native::AtomicU64::new(0);

#[cold]
fn seed() -> u64 {
    let thread = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
    thread.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn random() -> Option<u64> {
    let draw = |state: &Cell<u64>| {
        let mut word = if state.get() == 0 { seed() } else { state.get() };
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        state.set(word);
        word
    };
    // `None`: the thread is ending and has lost its state.
    STATE.try_with(draw).ok()
}

/// One access in 512 gives the processor away, one in 73 spins for up to some microseconds.
fn hesitate() {
    let Some(random) = random() else { return };
    match random >> 55 {
        0 => yield_now(),
        1..8 => (0..random & 0xff).for_each(|_| spin_loop()),
        _ => {}
    }
}

macro_rules! hesitating {
    ($name:ident $(<$of:ident>)?, $value:ty) => {
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name $(<$of>)? (native::$name $(<$of>)?);

        impl $(<$of>)? $name $(<$of>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(native::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                hesitate();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                hesitate();
                self.0.store(value, order);
            }
        }
    };
}

hesitating!(AtomicBool, bool);
hesitating!(AtomicU8, u8);
hesitating!(AtomicU32, u32);
hesitating!(AtomicU64, u64);
hesitating!(AtomicPtr<T>, *mut T);

macro_rules! exchanging {
    ($($name:ident)*) => {
        impl AtomicU32 {
            $(pub(crate) fn $name(
                &self,
                current: u32,
                new: u32,
                success: Ordering,
                failure: Ordering,
            ) -> Result<u32, u32> {
                hesitate();
                self.0.$name(current, new, success, failure)
            })*
        }
    };
}

exchanging!(compare_exchange compare_exchange_weak);
