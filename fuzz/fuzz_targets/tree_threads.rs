//! Operations of several threads on one tree lose nothing and leave it sound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tagged_radix_fuzz::tree_threads(data));
