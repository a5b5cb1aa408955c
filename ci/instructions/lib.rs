//! How a case is counted, for the programs in `benches`.
//!
//! Callgrind collects inside `measured` alone and writes a file each time that it returns; a program prints a line for each, the
//! case's name and its number of operations. Without callgrind it only shows that every case runs.

use std::hint::black_box;

/// The code that is counted. Its name is known to the script.
#[inline(never)]
fn measured(body: impl FnOnce()) {
    black_box(body)();
}

/// Counts `body`, which does so many operations.
pub fn case(name: &str, operations: u64, body: impl FnOnce()) {
    measured(body);
    println!("{name} {operations}");
}
