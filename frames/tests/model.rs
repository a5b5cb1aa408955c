//! Any sequence of operations on a pool gives what it gives on a simple model.

mod ops;

use ops::{CLASSES, Op, Session};
use page_frames::Limit;
use proptest::prelude::*;

fn any_limit() -> impl Strategy<Value = Limit> {
    prop_oneof![8 => Just(Limit::Keep), 1 => Just(Limit::Exceed)]
}

/// Small ones more often: there is room for more of them.
fn any_class() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..6_u32, 3 => 3..9_u32, 1 => 8..CLASSES]
}

fn any_op() -> impl Strategy<Value = Op> {
    let take = (any_class(), any_limit(), any::<bool>());
    let fill = (any::<usize>(), any::<u8>(), any_limit());
    prop_oneof![
        30 => take.prop_map(|(class, limit, zeroed)| Op::Take { class, limit, zeroed }),
        10 => fill.prop_map(|(at, byte, limit)| Op::Fill { at, byte, limit }),
        10 => (any::<usize>(), any_limit()).prop_map(|(at, limit)| Op::Share { at, limit }),
        10 => any::<usize>().prop_map(|at| Op::Turn { at }),
        15 => any::<usize>().prop_map(|at| Op::Drop { at }),
        2 => (2..6_usize).prop_map(|keep| Op::Thin { keep }),
        2 => (0..4_u64 << 20).prop_map(|limit| Op::Resize { limit }),
        1 => Just(Op::Trim),
        1 => Just(Op::Pin),
        2 => Just(Op::Unpin),
        1 => Just(Op::Close),
    ]
}

fn cases() -> u32 {
    // `PROPTEST_CASES` says how many instead.
    if cfg!(miri) { 4 } else { 64 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn random_operations_match_the_model(
        limit in 0..4_u64 << 20,
        ops in prop::collection::vec(any_op(), 1..if cfg!(miri) { 24 } else { 200 }),
    ) {
        let mut session = Session::new(limit);
        for op in &ops {
            session.step(op);
        }
        session.finish();
    }

    /// Pages fill the pool, thin out, and others fill the gaps, again and again: where memory could pile up.
    #[test]
    fn frames_of_all_sizes_take_turns_below_one_limit(
        turns in prop::collection::vec((3..11_u32, 2..6_usize), 1..if cfg!(miri) { 2 } else { 10 }),
    ) {
        let limit = if cfg!(miri) { 64 << 10 } else { 6 << 20 };
        let mut session = Session::new(limit);
        for (class, keep) in turns {
            session.step(&Op::TakeAll { class });
            session.step(&Op::Thin { keep });
        }
        session.finish();
    }
}
