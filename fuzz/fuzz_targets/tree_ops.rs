//! Any sequence of operations on a tree gives what it gives on an ordered map.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tagged_radix_fuzz::tree_ops(data));
