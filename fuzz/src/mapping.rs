//! How operations on a mapping are made of bytes.

use arbitrary::{Result, Unstructured};

use crate::mapping_ops::{Ending, Fault, Mark, Op, Pages, Setup, Spot, Sync, Wrong};

pub(crate) fn any_setup(input: &mut Unstructured<'_>) -> Result<Setup> {
    Ok(Setup { batch_pages_max: byte(input)?, len: input.arbitrary()? })
}

fn byte(input: &mut Unstructured<'_>) -> Result<u8> {
    input.arbitrary()
}

pub(crate) fn any_op(input: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match byte(input)? % 48 {
        0..=7 => Op::Write { at: any_spot(input)?, len: any_len(input)? },
        8 | 9 => Op::WriteInPage { at: any_spot(input)?, len: any_len(input)? },
        10 => Op::WriteFarOut,
        11 | 12 => Op::Read { at: any_spot(input)?, len: any_len(input)? },
        13 => Op::MarkDirty { page: byte(input)?, how: Mark::Page },
        14 => Op::MarkDirty { page: byte(input)?, how: Mark::Locked },
        15 | 16 => Op::SetLen(any_spot(input)?),
        17 | 18 => Op::Sync { handle: byte(input)?, what: Sync::Data },
        19 => Op::Sync { handle: byte(input)?, what: Sync::All },
        20 | 21 => {
            let (handle, from, len) = (byte(input)?, any_spot(input)?, any_len(input)?);
            Op::Sync { handle, what: Sync::Range { from, len } }
        }
        22 => Op::CheckError { handle: byte(input)? },
        23 => Op::Open { handle: byte(input)? },
        24 => Op::WritePage { page: byte(input)?, wait: false },
        25 => Op::WritePage { page: byte(input)?, wait: true },
        26 => Op::WriteRange(any_pages(input)?),
        27 | 28 => {
            let (pages, how) = (any_pages(input)?, byte(input)?);
            Op::Background { pages, budget: how / 2, early: how % 2 == 1 }
        }
        29 => Op::Cyclic { budget: byte(input)? },
        30 => Op::WaitRange(any_pages(input)?),
        31 | 32 => Op::Claim { page: byte(input)? },
        33 => Op::Hold { page: byte(input)? },
        34..=36 => Op::End { which: byte(input)?, how: any_ending(input)? },
        37 => Op::Cancel { page: byte(input)? },
        38 => Op::Late { order: byte(input)? },
        39 => Op::AtOnce,
        40 | 41 => Op::Deliver { which: byte(input)? },
        42..=45 => Op::Fail { fault: any_fault(input)?, times: byte(input)? },
        46 => Op::Close,
        _ => Op::Crash { survives: input.arbitrary()? },
    })
}

/// Mostly at the ends of pages, where things go wrong.
fn any_spot(input: &mut Unstructured<'_>) -> Result<Spot> {
    let page = byte(input)?;
    let within = match page >> 6 {
        0 => 0,
        1 => u16::from(byte(input)? % 4) + 510,
        2 => byte(input)?.into(),
        _ => input.arbitrary()?,
    };
    Ok(Spot { page: page & 63, within })
}

fn any_len(input: &mut Unstructured<'_>) -> Result<u16> {
    Ok(match byte(input)? {
        pages @ 0..=3 => u16::from(pages) * 512,
        long @ 4..=63 => u16::from(long) * 25,
        short => u16::from(short) - 63,
    })
}

fn any_pages(input: &mut Unstructured<'_>) -> Result<Pages> {
    Ok(Pages { first: byte(input)?, last: byte(input)? })
}

fn any_wrong(kind: u8) -> Wrong {
    [Wrong::Io, Wrong::NoSpace, Wrong::Short, Wrong::Lost][usize::from(kind % 4)]
}

fn any_ending(input: &mut Unstructured<'_>) -> Result<Ending> {
    Ok(match byte(input)? {
        0..=127 => Ending::Good,
        kind @ 128..=199 => Ending::Bad(any_wrong(kind)),
        _ => Ending::Dropped,
    })
}

fn any_fault(input: &mut Unstructured<'_>) -> Result<Fault> {
    Ok(match byte(input)? % 10 {
        kind @ 0..=5 => Fault::Write { wrong: any_wrong(kind), accepted: any_len(input)? },
        6 | 7 => Fault::Read,
        8 => Fault::Flush,
        _ => Fault::SetLen,
    })
}
