//! How the operations are drawn.

use proptest::prelude::*;

use crate::ops::{Ending, Fault, Mark, Op, Pages, Setup, Spot, Sync, Wrong};

type Ops = BoxedStrategy<Op>;

fn spot() -> impl Strategy<Value = Spot> {
    let within = prop_oneof![2 => Just(0), 1 => Just(511), 1 => Just(1), 2 => 0..512_u16];
    (0..12_u8, within).prop_map(|(page, within)| Spot { page, within })
}

fn len() -> impl Strategy<Value = u16> {
    prop_oneof![1 => Just(0), 2 => Just(512), 1 => Just(1), 3 => 0..1600_u16]
}

fn pages() -> impl Strategy<Value = Pages> {
    prop_oneof![
        Just(Pages { first: 0, last: 13 }),
        (0..12_u8, 0..14_u8).prop_map(|(first, last)| Pages { first, last })
    ]
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop::sample::select(vec![Wrong::Io, Wrong::NoSpace, Wrong::Short, Wrong::Lost])
}

fn access() -> Ops {
    prop_oneof![
        12 => (spot(), len()).prop_map(|(at, len)| Op::Write { at, len }),
        3 => (spot(), 0..600_u16).prop_map(|(at, len)| Op::WriteInPage { at, len }),
        4 => (spot(), len()).prop_map(|(at, len)| Op::Read { at, len }),
        2 => (0..14_u8, prop::sample::select(vec![Mark::Page, Mark::Locked]))
            .prop_map(|(page, how)| Op::MarkDirty { page, how }),
        3 => spot().prop_map(Op::SetLen),
        1 => Just(Op::WriteFarOut),
    ]
    .boxed()
}

fn write_back() -> Ops {
    let range = (spot(), len()).prop_map(|(from, len)| Sync::Range { from, len });
    let what = prop_oneof![3 => Just(Sync::Data), 1 => Just(Sync::All), 2 => range];
    prop_oneof![
        6 => (0..3_u8, what).prop_map(|(handle, what)| Op::Sync { handle, what }),
        1 => (0..3_u8).prop_map(|handle| Op::CheckError { handle }),
        1 => (0..3_u8).prop_map(|handle| Op::Open { handle }),
        2 => (0..14_u8, any::<bool>()).prop_map(|(page, wait)| Op::WritePage { page, wait }),
        2 => pages().prop_map(Op::WriteRange),
        4 => (pages(), 0..8_u8, any::<bool>())
            .prop_map(|(pages, budget, early)| Op::Background { pages, budget, early }),
        2 => (0..5_u8).prop_map(|budget| Op::Cyclic { budget }),
        1 => pages().prop_map(Op::WaitRange),
    ]
    .boxed()
}

fn by_hand() -> Ops {
    let how = prop_oneof![4 => Just(Ending::Good), 1 => wrong().prop_map(Ending::Bad), 1 => Just(Ending::Dropped)];
    prop_oneof![
        4 => (0..14_u8).prop_map(|page| Op::Claim { page }),
        2 => (0..14_u8).prop_map(|page| Op::Hold { page }),
        4 => (any::<u8>(), how).prop_map(|(which, how)| Op::End { which, how }),
        1 => (0..14_u8).prop_map(|page| Op::Cancel { page }),
    ]
    .boxed()
}

fn ends() -> Ops {
    prop_oneof![1 => Just(Op::Close), 2 => any::<u32>().prop_map(|survives| Op::Crash { survives })]
        .boxed()
}

fn late() -> Ops {
    prop_oneof![
        2 => any::<u8>().prop_map(|order| Op::Late { order }),
        1 => Just(Op::AtOnce),
        4 => any::<u8>().prop_map(|which| Op::Deliver { which }),
    ]
    .boxed()
}

fn fault() -> impl Strategy<Value = Fault> {
    let accepted = prop_oneof![1 => Just(0), 1 => Just(512), 2 => 0..2048_u16];
    prop_oneof![
        6 => (wrong(), accepted).prop_map(|(wrong, accepted)| Fault::Write { wrong, accepted }),
        2 => Just(Fault::Read),
        1 => Just(Fault::Flush),
        2 => Just(Fault::SetLen),
    ]
}

/// Nothing but calls of the mapping, and crashes.
pub(crate) fn calls() -> Ops {
    prop_oneof![12 => access(), 9 => write_back(), 4 => by_hand(), 1 => ends()].boxed()
}

pub(crate) fn with_late_writes() -> Ops {
    prop_oneof![4 => calls(), 1 => late()].boxed()
}

pub(crate) fn with_faults() -> Ops {
    let fail = (fault(), 0..4_u8).prop_map(|(fault, times)| Op::Fail { fault, times });
    prop_oneof![8 => calls(), 1 => late(), 1 => fail].boxed()
}

/// A beginning, and a sequence of operations drawn from `op`.
pub(crate) fn ops(op: Ops) -> impl Strategy<Value = (Setup, Vec<Op>)> {
    let setup = (0..5_u8, prop_oneof![Just(0), 0..3000_u16])
        .prop_map(|(batch_pages_max, len)| Setup { batch_pages_max, len });
    (setup, prop::collection::vec(op, 1..80))
}
