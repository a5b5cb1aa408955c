//! Any sequence of operations on a pool of frames gives what it gives on a simple model.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tagged_radix_fuzz::frames_ops(data));
