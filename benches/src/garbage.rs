//! What contenders have removed and not yet freed.
//!
//! Several share one collector: whoever takes a guard may have to free what another one left. So it is freed between two samples, where no clock runs.

/// More than enough turns to free what a sample leaves; a turn with nothing to do takes nanoseconds.
const TURNS: usize = if cfg!(debug_assertions) { UNOPTIMIZED } else { 20_000 };
/// Where a turn takes a microsecond and more, and what is measured says nothing.
const UNOPTIMIZED: usize = 100;

/// Frees what can be freed.
pub fn free() {
    crate::contender::free_retired();
    for _ in 0..TURNS {
        crossbeam_epoch::pin().flush();
        tagged_radix::pin().flush();
        scc::Guard::new().accelerate();
    }
}
