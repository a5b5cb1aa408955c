//! How much memory an index takes: what the process takes for it, allocator included.
//!
//! The index is built in a process of its own, in which nothing has been freed that it could take: its keys come through a
//! pipe into one block. What counts is by how much the process's resident memory grows. So what the allocator adds to each
//! block counts, and what it does not give back, and what the index leaves unused.

use std::error::Error;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use crate::contender::{CANDIDATES, Hold, Task};
use crate::garbage;

/// The argument by which the program is asked to be such a process. The name of a contender, the bits of a key and the number
/// of keys follow.
pub const CHILD: &str = "--memory-of";

/// Resident memory of this process in bytes, counted page by page (what `/proc/self/statm` says may lag behind).
pub(crate) fn resident() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no resident memory is told"))
}

/// Has another process, which runs this very program, build an index of these keys; returns how many bytes it took for it.
/// The program has to ask first thing whether it [is that process](is_child).
///
/// # Errors
/// If there is no such process, or it fails.
pub fn taken_for(position: usize, key_bits: u32, keys: &[u64]) -> Result<u64, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([CHILD, CANDIDATES[position].name])
        .args([key_bits.to_string(), keys.len().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().ok_or("a pipe")?;
    for chunk in keys.chunks(1 << 13) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|key| key.to_le_bytes()).collect();
        pipe.write_all(&bytes)?;
    }
    drop(pipe);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(
            format!("{} was not built: {}", CANDIDATES[position].name, output.status).into()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Is that other process, if the arguments ask for it: prints how many bytes it took, and returns true.
///
/// # Errors
/// If the arguments or the keys are not what `taken_for` gives.
pub fn is_child(mut arguments: impl Iterator<Item = String>) -> Result<bool, Box<dyn Error>> {
    if arguments.nth(1).as_deref() != Some(CHILD) {
        return Ok(false);
    }
    let mut next = || arguments.next().ok_or("an argument is missing");
    let (name, key_bits, count) = (next()?, next()?.parse()?, next()?.parse()?);
    let candidate = CANDIDATES.iter().find(|candidate| candidate.name == name);
    let mut keys: Vec<u64> = Vec::with_capacity(count);
    let (mut pipe, mut key) = (io::stdin().lock(), [0; 8]);
    for _ in 0..count {
        pipe.read_exact(&mut key)?;
        keys.push(u64::from_le_bytes(key));
    }
    println!("{}", build(candidate.ok_or("no such contender")?.build, key_bits, &keys)?);
    Ok(true)
}

/// Builds an index and returns by how many bytes the process has grown.
fn build(
    build: fn(u32) -> Box<dyn crate::contender::Contender>,
    key_bits: u32,
    keys: &[u64],
) -> io::Result<u64> {
    garbage::free();
    let before = resident()?;
    let contender = build(key_bits);
    contender.run(Task::Insert(keys, Hold::Each));
    garbage::free();
    let after = resident()?;
    drop(contender);
    Ok(after.saturating_sub(before))
}

/// How much memory the machine can still give, in bytes; `None` where that is not known.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
