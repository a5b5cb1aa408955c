//! Any sequence of operations on a mapping, over a store that may fail, does what is promised: bytes are kept, a good
//! sync makes durable, every handle is told of every error once, and a crash loses nothing that was synced.

#[path = "../ops/mod.rs"]
mod ops;
mod strategy;
#[path = "../common/watchdog.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the helpers")]
mod watchdog;

use proptest::prelude::*;

use ops::{Op, Session, Setup};

fn run(setup: Setup, ops: &[Op]) {
    watchdog::watch();
    let mut session = Session::new(setup);
    ops.iter().for_each(|op| session.step(*op));
    session.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn keeps_its_promises_over_a_good_store((setup, ops) in strategy::ops(strategy::calls())) {
        run(setup, &ops);
    }

    #[test]
    fn keeps_its_promises_when_writes_end_late((setup, ops) in strategy::ops(strategy::with_late_writes())) {
        run(setup, &ops);
    }

    #[test]
    fn keeps_its_promises_over_a_store_that_fails((setup, ops) in strategy::ops(strategy::with_faults())) {
        run(setup, &ops);
    }
}
