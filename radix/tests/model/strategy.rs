//! How the operations are drawn.

use proptest::prelude::*;
use tagged_radix::Tag;

use crate::ops::{Bits, Edge, Edit, Filter, Key, Op, Span};

type Keys = BoxedStrategy<Key>;

pub(crate) fn dense_key() -> Keys {
    prop_oneof![2 => 0..4_u8, 2 => 60..70_u8, 1 => 0..=255_u8].prop_map(Key::Dense).boxed()
}

pub(crate) fn near_key() -> Keys {
    (0..4_u8, 0..11_u8, -2..3_i8)
        .prop_map(|(times, level, nudge)| Key::Near { times, level, nudge })
        .boxed()
}

pub(crate) fn top_key() -> Keys {
    prop_oneof![3 => 0..4_u8, 1 => 60..70_u8].prop_map(Key::Top).boxed()
}

/// Mostly lone entries in the children of one inner node, which grows as they come.
pub(crate) fn fork_key() -> Keys {
    let low = prop_oneof![12 => Just(0), 2 => Just(1), 2 => Just(2), 1 => Just(3)];
    (0..64_u8, low).prop_map(|(child, low)| Key::Fork { child, low }).boxed()
}

pub(crate) fn any_key() -> Keys {
    let random = any::<u64>().prop_map(Key::Any);
    prop_oneof![4 => dense_key(), 4 => near_key(), 2 => top_key(), 2 => fork_key(), 1 => random]
        .boxed()
}

fn tag() -> impl Strategy<Value = Tag> {
    prop::sample::select(Tag::all().to_vec())
}

/// Mostly few tags, sometimes any.
fn bits() -> impl Strategy<Value = Bits> {
    prop_oneof![prop::sample::select(vec![0, 1, 2, 4, 8]), 0..16_u8].prop_map(Bits)
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::ANY),
        bits().prop_map(|all_of| Filter { all_of, none_of: Bits(0) }),
        (bits(), bits()).prop_map(|(all_of, none_of)| Filter { all_of, none_of }),
    ]
}

fn edge(key: Keys) -> impl Strategy<Value = Edge> {
    prop_oneof![
        1 => Just(Edge::Open),
        3 => key.clone().prop_map(Edge::At),
        2 => key.prop_map(Edge::Past),
    ]
}

fn span(key: &Keys) -> BoxedStrategy<Span> {
    (edge(key.clone()), edge(key.clone())).prop_map(|(from, to)| Span { from, to }).boxed()
}

fn edit() -> impl Strategy<Value = Edit> {
    let flag = |weight| prop::bool::weighted(weight);
    (bits(), bits(), flag(0.5), flag(0.25), flag(0.2)).prop_map(
        |(set, clear, replace, remove, panic)| Edit { set, clear, replace, remove, panic },
    )
}

fn writes(key: &Keys) -> BoxedStrategy<Op> {
    let key = || key.clone();
    prop_oneof![
        3 => key().prop_map(Op::Insert),
        3 => (key(), bits()).prop_map(|(key, tags)| Op::InsertTagged(key, tags)),
        1 => key().prop_map(Op::TryInsert),
        1 => (key(), bits()).prop_map(|(key, tags)| Op::TryInsertTagged(key, tags)),
        1 => key().prop_map(Op::GetOrInsert),
        1 => (key(), tag()).prop_map(|(key, tag)| Op::ReplaceIf(key, tag)),
        1 => (key(), key()).prop_map(|(key, expect)| Op::CompareExchange { key, expect }),
        4 => key().prop_map(Op::Remove),
        1 => (key(), tag()).prop_map(|(key, tag)| Op::RemoveIf(key, tag)),
        2 => (key(), edit()).prop_map(|(key, edit)| Op::Update(key, edit)),
        2 => (key(), tag()).prop_map(|(key, tag)| Op::SetTag(key, tag)),
        2 => (key(), tag()).prop_map(|(key, tag)| Op::ClearTag(key, tag)),
        2 => (key(), bits(), bits())
            .prop_map(|(key, set, clear)| Op::UpdateTags { key, set, clear }),
        2 => ([key(), key(), key(), key()], bits(), bits())
            .prop_map(|(keys, set, clear)| Op::TagIndices { keys, set, clear }),
    ]
    .boxed()
}

fn writes_of_many(key: &Keys) -> BoxedStrategy<Op> {
    prop_oneof![
        2 => (span(key), bits(), bits())
            .prop_map(|(span, set, clear)| Op::TagRange { span, set, clear }),
        3 => (span(key), tag(), tag(), 0..8_u8)
            .prop_map(|(span, from, to, limit)| Op::TagRangeIfTagged { span, from, to, limit }),
        1 => span(key).prop_map(Op::RemoveRange),
        6 => span(key).prop_map(Op::InsertAtAbsent),
        2 => (key.clone(), any::<u32>(), tag())
            .prop_map(|(from, steps, tag)| Op::Cursor { from, steps, tag }),
        1 => filter().prop_map(Op::Retain),
        3 => (key.clone(), 0..90_u8).prop_map(|(key, count)| Op::Extend(key, count)),
        1 => Just(Op::TakeEdges),
        1 => Just(Op::Repin),
    ]
    .boxed()
}

fn reads(key: &Keys) -> BoxedStrategy<Op> {
    let (key, span) = (|| key.clone(), || span(key));
    prop_oneof![
        3 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::GetOwned),
        2 => key().prop_map(Op::Next),
        2 => key().prop_map(Op::Prev),
        2 => key().prop_map(Op::NextAbsent),
        2 => key().prop_map(Op::PrevAbsent),
        3 => (span(), any::<u32>()).prop_map(|(span, turns)| Op::Range { span, turns }),
        3 => (span(), filter(), any::<u32>())
            .prop_map(|(span, filter, turns)| Op::RangeTagged { span, filter, turns }),
        2 => (span(), filter()).prop_map(|(span, filter)| Op::CountTagged(span, filter)),
        2 => (key(), filter(), 0..6_u8)
            .prop_map(|(start, filter, filled)| Op::Gang { start, filter, filled }),
        1 => (key(), filter(), 0..6_u8)
            .prop_map(|(start, filter, filled)| Op::GangOwned { start, filter, filled }),
        2 => (span(), filter(), any::<u8>(), any::<u8>())
            .prop_map(|(span, filter, max, kind)| Op::GangRange { span, filter, max, kind }),
        2 => span().prop_map(Op::FirstAbsent),
    ]
    .boxed()
}

/// Operations that mostly insert at first, and mostly remove at the end.
pub(crate) fn tide(key: Keys) -> impl Strategy<Value = Vec<Op>> {
    let insert = (key.clone(), bits()).prop_map(|(key, tags)| Op::InsertTagged(key, tags));
    let remove = key.clone().prop_map(Op::Remove);
    let flood = prop_oneof![6 => insert, 1 => remove.clone(), 2 => writes(&key), 1 => reads(&key)];
    let ebb = prop_oneof![8 => remove, 2 => writes(&key), 1 => writes_of_many(&key)];
    let (flood, ebb) = (prop::collection::vec(flood, 1..90), prop::collection::vec(ebb, 0..90));
    (flood, ebb).prop_map(|(flood, ebb)| [flood, ebb].concat())
}

/// A sequence of operations on indices drawn from `key`.
pub(crate) fn ops(key: Keys) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![5 => writes(&key), 1 => writes_of_many(&key), 3 => reads(&key)];
    prop::collection::vec(op, 1..64)
}
