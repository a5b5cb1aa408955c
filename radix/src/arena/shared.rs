//! The one depot of the process, its lock, and what a fork does about it.

use core::cell::{Cell, UnsafeCell};

use super::depot::Depot;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, thread_local};

static DEPOT: Mutex<Depot> = Mutex::new(Depot::new());
/// Whether forks are watched.
static WATCHES: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Handlers of a fork that this thread is in, between those before it and those after.
    static FORKING: Cell<u32> = const { Cell::new(0) };
}

/// The lock of the depot while a thread forks.
struct Held(UnsafeCell<Option<MutexGuard<'static, Depot>>>);

// SAFETY: touched only by a thread that has the lock, or whose `FORKING` says that the lock is in it.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

fn lock() -> MutexGuard<'static, Depot> {
    // Nothing under the lock panics.
    DEPOT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Calls `call` with the depot locked. It calls the system, and no user's code.
pub(super) fn with<R>(call: impl FnOnce(&mut Depot) -> R) -> R {
    // Relaxed: watching twice does no harm.
    if !WATCHES.load(Ordering::Relaxed) {
        watch_forks();
        WATCHES.store(true, Ordering::Relaxed);
    }
    if FORKING.with(Cell::get) > 0 {
        // A handler of somebody else uses a tree: this thread has the lock.
        // SAFETY: this thread's now, and no other borrow of it lives: `call` does not come back here.
        if let Some(depot) = unsafe { &mut *HELD.0.get() } {
            return call(depot);
        }
    }
    call(&mut lock())
}

/// Has each fork happen under the lock: in the child, too, the depot is whole, and nobody holds it.
#[cfg(all(unix, not(miri)))]
fn watch_forks() {
    use core::ffi::c_int;

    type Handler = Option<unsafe extern "C" fn()>;

    // As POSIX has it.
    unsafe extern "C" {
        safe fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
    }

    extern "C" fn before() {
        let outer = FORKING.with(|forking| forking.replace(forking.get() + 1));
        if outer == 0 {
            let depot = lock();
            // SAFETY: this thread has the lock.
            unsafe { HELD.0.get().write(Some(depot)) };
        }
    }

    extern "C" fn after() {
        let inner = FORKING.with(|forking| {
            forking.set(forking.get() - 1);
            forking.get()
        });
        if inner == 0 {
            // SAFETY: this thread has the lock, until the guard is dropped.
            drop(unsafe { (*HELD.0.get()).take() });
        }
    }

    // Of a process that does not fork nothing is lost if it fails.
    let _ = pthread_atfork(Some(before), Some(after), Some(after));
}

#[cfg(not(all(unix, not(miri))))]
fn watch_forks() {}
