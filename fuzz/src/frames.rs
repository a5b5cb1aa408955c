//! How operations on a pool are made of bytes.

use arbitrary::{Result, Unstructured};
use page_frames::Limit;

use crate::frame_ops::Op;

fn any_limit(input: &mut Unstructured<'_>) -> Result<Limit> {
    Ok(if input.arbitrary::<u8>()?.is_multiple_of(8) { Limit::Exceed } else { Limit::Keep })
}

fn any_at(input: &mut Unstructured<'_>) -> Result<usize> {
    Ok(usize::from(input.arbitrary::<u8>()?))
}

/// A limit in bytes, from none to 4 MiB.
pub(crate) fn any_bytes(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(u64::from(input.arbitrary::<u16>()?) * 64)
}

pub(crate) fn any_op(input: &mut Unstructured<'_>) -> Result<Op> {
    let kind: u8 = input.arbitrary()?;
    Ok(match kind % 32 {
        0..=11 => Op::Take {
            class: u32::from(input.arbitrary::<u8>()?),
            limit: any_limit(input)?,
            zeroed: kind >= 128,
        },
        12..=14 => {
            Op::Fill { at: any_at(input)?, byte: input.arbitrary()?, limit: any_limit(input)? }
        }
        15..=17 => Op::Share { at: any_at(input)?, limit: any_limit(input)? },
        18..=20 => Op::Turn { at: any_at(input)? },
        21..=25 => Op::Drop { at: any_at(input)? },
        // From 4 KiB on: thousands of small ones would only take long.
        26 if kind >= 128 => Op::TakeAll { class: 3 + u32::from(input.arbitrary::<u8>()?) % 8 },
        26 => Op::Thin { keep: any_at(input)? % 8 },
        27 => Op::Resize { limit: any_bytes(input)? },
        28 => Op::Trim,
        29 => Op::Pin,
        30 => Op::Unpin,
        _ => Op::Close,
    })
}
