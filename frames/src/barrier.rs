//! A fence in two unequal halves.
//!
//! Two threads that each store one thing and then load the other's need a fence between store and load, or both may miss what the other stored. Here
//! one of them, who comes by often, has the *light* half: where the system can help, it only keeps the compiler from
//! moving accesses across it. The other, who comes by rarely, has the *heavy* half: it makes every running thread of the process execute a fence.
//!
//! **B-PAIR** Let one thread store `x`, call [`light`] and load `y`, and another store `y`, call [`heavy`] and load `x`. If `heavy` returned
//! [`Seen::Surely`], at least one of the two loads finds what the other thread stored.
//!
//! A system that lets the calls seem to succeed without doing them breaks this; one that kills for them ends the process in its first `Pool::new`.
//! Where there is no such call of the system, both are sequentially consistent fences. Which it is, is decided once for the process, before
//! the first light barrier that is not a fence.

use crate::sync::{HintBool, OnceLock, Ordering, compiler_fence, fence};
use crate::system;

/// Whether all threads have been made to see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Surely,
    /// The system refused what it had granted before. The caller must not rely on being seen.
    Perhaps,
}

/// Whether the system helps, once that is known.
static HELPED: OnceLock<bool> = OnceLock::new();
/// The same for a quick look: false while it is not known.
static IS_HELPED: HintBool = HintBool::new(false);

/// Finds out whether the system helps. Until somebody has, the light half is a fence.
pub(crate) fn prepare() -> bool {
    *HELPED.get_or_init(|| {
        let helped = system::register_barrier();
        // Relaxed: who does not see it yet uses a fence, which is enough for either kind of partner.
        IS_HELPED.store(helped, Ordering::Relaxed);
        helped
    })
}

/// The half of those who come by often.
#[inline]
pub(crate) fn light() {
    if IS_HELPED.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The half of those who come by rarely.
pub(crate) fn heavy() -> Seen {
    // This side fences in any case: its own store comes before its own load.
    fence(Ordering::SeqCst);
    if prepare() && !system::barrier() { Seen::Perhaps } else { Seen::Surely }
}
