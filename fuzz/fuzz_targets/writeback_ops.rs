//! Any sequence of operations on a mapping, over a store that may fail, does what is promised.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tagged_radix_fuzz::writeback_ops(data));
