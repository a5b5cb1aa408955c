//! Each node in a cell.

use core::ptr::NonNull;

use super::class::Class;
use super::{NodeMemory, magazine, shared};

pub(super) use super::magazine::give_back;

pub(super) fn node_memory() -> NodeMemory {
    magazine::give_back();
    shared::with(|depot| depot.memory())
}

#[inline]
pub(super) fn place<T>(make: impl FnOnce() -> T) -> NonNull<T> {
    let cell = magazine::take(const { Class::of::<T>() }).cast::<T>();
    // SAFETY: a cell of that class has room for it, aligned, and is this call's alone (A-CELL).
    unsafe { cell.write(make()) };
    cell
}

#[inline]
pub(super) unsafe fn free<T>(node: NonNull<T>) {
    const { assert!(!core::mem::needs_drop::<T>(), "nothing but memory is freed") }
    // SAFETY: `place` took the cell; sole access and "once" are the caller's word.
    unsafe { magazine::put(const { Class::of::<T>() }, node.cast()) };
}
