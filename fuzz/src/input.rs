//! How operations are made of bytes: an operation takes its kind from one byte and its operands
//! from the next, so that a small change of the input is a small change of the operations.

use arbitrary::{Result, Unstructured};
use tagged_radix::Tag;

use crate::ops::{Bits, Edge, Edit, Filter, Key, Op, Span};

/// Operations up to the end of the input, `max` at most, each of which `any_op` makes.
pub(crate) fn any_ops<T>(
    input: &mut Unstructured<'_>,
    max: usize,
    any_op: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Vec<T> {
    let mut ops = Vec::new();
    while !input.is_empty() && ops.len() < max {
        let Ok(op) = any_op(input) else { break };
        ops.push(op);
    }
    ops
}

fn byte(input: &mut Unstructured<'_>) -> Result<u8> {
    input.arbitrary()
}

pub(crate) fn any_op(input: &mut Unstructured<'_>) -> Result<Op> {
    let kind = byte(input)?;
    Ok(match kind % 47 {
        0 | 1 => Op::Get(any_key(input)?),
        2 => Op::GetOwned(any_key(input)?),
        3..=5 => Op::Insert(any_key(input)?),
        6..=8 => Op::InsertTagged(any_key(input)?, any_bits(input)?),
        9 => Op::TryInsert(any_key(input)?),
        10 => Op::TryInsertTagged(any_key(input)?, any_bits(input)?),
        11 => Op::GetOrInsert(any_key(input)?),
        12 => Op::ReplaceIf(any_key(input)?, any_tag(input)?),
        13 => Op::CompareExchange { key: any_key(input)?, expect: any_key(input)? },
        14..=16 => Op::Remove(any_key(input)?),
        17 => Op::RemoveIf(any_key(input)?, any_tag(input)?),
        18 => Op::Update(any_key(input)?, any_edit(input)?),
        19 | 20 => Op::SetTag(any_key(input)?, any_tag(input)?),
        21 | 22 => Op::ClearTag(any_key(input)?, any_tag(input)?),
        23 => {
            Op::UpdateTags { key: any_key(input)?, set: any_bits(input)?, clear: any_bits(input)? }
        }
        24 => Op::Next(any_key(input)?),
        25 => Op::Prev(any_key(input)?),
        26 => Op::NextAbsent(any_key(input)?),
        27 => Op::PrevAbsent(any_key(input)?),
        28 => Op::Range { span: any_span(input)?, turns: input.arbitrary()? },
        29 => Op::RangeTagged {
            span: any_span(input)?,
            filter: any_filter(input)?,
            turns: input.arbitrary()?,
        },
        30 => Op::CountTagged(any_span(input)?, any_filter(input)?),
        31 => {
            Op::TagRange { span: any_span(input)?, set: any_bits(input)?, clear: any_bits(input)? }
        }
        32 => {
            let (span, from, to) = (any_span(input)?, any_tag(input)?, any_tag(input)?);
            Op::TagRangeIfTagged { span, from, to, limit: byte(input)? % 16 }
        }
        33 => Op::Gang { start: any_key(input)?, filter: any_filter(input)?, filled: byte(input)? },
        34 => Op::GangOwned {
            start: any_key(input)?,
            filter: any_filter(input)?,
            filled: byte(input)?,
        },
        35 => Op::RemoveRange(any_span(input)?),
        36 => Op::Retain(any_filter(input)?),
        37 => Op::Extend(any_key(input)?, byte(input)? % 80),
        38 => Op::TakeEdges,
        46 => Op::Cursor { from: any_key(input)?, steps: input.arbitrary()?, tag: any_tag(input)? },
        43..=45 => Op::InsertAtAbsent(any_span(input)?),
        40 => Op::GangRange {
            span: any_span(input)?,
            filter: any_filter(input)?,
            max: byte(input)?,
            kind: byte(input)?,
        },
        41 => Op::FirstAbsent(any_span(input)?),
        42 => {
            let keys = [any_key(input)?, any_key(input)?, any_key(input)?, any_key(input)?];
            Op::TagIndices { keys, set: any_bits(input)?, clear: any_bits(input)? }
        }
        _ => Op::Repin,
    })
}

pub(crate) fn any_key(input: &mut Unstructured<'_>) -> Result<Key> {
    Ok(match byte(input)? {
        kind @ 0..=99 => Key::Dense(kind),
        kind @ 100..=219 => {
            let nudge = i8::try_from(byte(input)? % 5).expect("small") - 2;
            Key::Near { times: kind % 4, level: kind % 11, nudge }
        }
        kind @ 220..=235 => Key::Top(kind - 220),
        kind @ 236..=249 => Key::Fork { child: byte(input)?, low: kind },
        _ => Key::Any(input.arbitrary()?),
    })
}

fn any_tag(input: &mut Unstructured<'_>) -> Result<Tag> {
    Ok(Tag::new(byte(input)? % 4).expect("below four"))
}

fn any_bits(input: &mut Unstructured<'_>) -> Result<Bits> {
    Ok(Bits(byte(input)? & 15))
}

fn any_filter(input: &mut Unstructured<'_>) -> Result<Filter> {
    let both = byte(input)?;
    Ok(Filter { all_of: Bits(both & 15), none_of: Bits(both >> 4) })
}

fn any_edge(input: &mut Unstructured<'_>) -> Result<Edge> {
    Ok(match byte(input)? % 4 {
        0 => Edge::Open,
        1 => Edge::Past(any_key(input)?),
        _ => Edge::At(any_key(input)?),
    })
}

fn any_span(input: &mut Unstructured<'_>) -> Result<Span> {
    Ok(Span { from: any_edge(input)?, to: any_edge(input)? })
}

fn any_edit(input: &mut Unstructured<'_>) -> Result<Edit> {
    let (both, flags) = (byte(input)?, byte(input)?);
    Ok(Edit {
        set: Bits(both & 15),
        clear: Bits(both >> 4),
        replace: flags & 1 != 0,
        remove: flags & 2 != 0,
        panic: flags & 12 == 12,
    })
}
