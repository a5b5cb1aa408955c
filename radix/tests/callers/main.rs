//! What belongs to others: their code, which may block, panic and use the tree again, and their guards and processes. Tests of
//! one binary, run one at a time, since a guard of one would hold up what another one waits for.

#[path = "../common/mod.rs"]
mod common;

mod code;
mod deferred;
mod drops;
mod flights;
mod guards;
mod threads;

use std::sync::{Mutex, MutexGuard};

use common::nodes::CountNodes;

#[global_allocator]
static ALLOCATOR: CountNodes = CountNodes;

/// Has the tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(|failed| failed.into_inner())
}

/// Replaces 100,000 values of some tree and returns the most that were alive after one.
fn most_alive_while_replacing() -> u64 {
    let ledger = common::Ledger::new();
    let tree = tagged_radix::RadixTree::new();
    let most = (0..100_000).map(|n| {
        tree.pin().insert(n % 64, Box::new(ledger.value(n % 64, 0)));
        ledger.live()
    });
    most.max().expect("some")
}

/// Allocations of a node's size that the test harness, and tests that are not alone, may keep meanwhile: fewer than any tree has
/// nodes that is counted here.
const OTHERS: u64 = 20;

/// Most values that may be alive then: some thousands of objects wait, whatever happens elsewhere, and more if a thread loses the
/// processor under its guard.
const FEW: u64 = 40_000;
