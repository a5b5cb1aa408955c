//! What `ci/instructions.sh` counts of the cache under callgrind: the instructions of each case, by the operation.

use std::hint::black_box;

use instructions::case;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use writeback::{Handle, Mapping, MemStore};

const PAGE: u64 = 4096;
const PAGES: u64 = 1 << 10;
const BYTES: usize = 1 << 22;
const FEW: usize = 1 << 12;

/// The same with an operation on each of `what`.
fn each(name: &str, what: &[u64], operation: impl Fn(u64)) {
    case(name, what.len() as u64, || what.iter().for_each(|one| operation(*one)));
}

/// Offsets of 64 bytes that lie in one page each, in no order.
fn offsets() -> Vec<u64> {
    let mut random = SmallRng::seed_from_u64(1);
    (0..FEW).map(|_| random.random_range(0..PAGES * PAGE / 64) * 64).collect()
}

fn mapping() -> Mapping {
    Mapping::open(MemStore::with_contents(vec![1; BYTES])).expect("opens")
}

/// With all pages in memory.
fn cached() -> Mapping {
    let mapping = mapping();
    mapping.handle().prefetch(..).expect("memory does not fail");
    mapping
}

fn write(handle: &Handle, offset: u64) {
    handle.write_at(&[2; 64], offset).expect("there is room");
}

fn reads() {
    let (mapping, offsets) = (cached(), offsets());
    let handle = mapping.handle();
    each("cache_read_64", &offsets, |offset| {
        let mut bytes = [0; 64];
        black_box(handle.read_at(&mut bytes, offset).expect("it is there"));
        black_box(bytes);
    });
    each("cache_page_and_guard", &offsets, |offset| {
        let page = mapping.page(offset / PAGE).expect("it is there");
        black_box(page.read()[0]);
    });
    let page = mapping.page(7).expect("it is there");
    each("cache_guard_in_hand", &offsets, |_| _ = black_box(page.read()[0]));
}

fn misses() {
    let (mapping, indices) = (mapping(), Vec::from_iter(0..PAGES));
    each("cache_miss", &indices, |index| _ = black_box(mapping.page(index).expect("it is there")));
}

fn writes() {
    let (mapping, offsets) = (cached(), offsets());
    let handle = mapping.handle();
    let first = Vec::from_iter((0..PAGES).map(|page| page * PAGE));
    each("cache_dirty_clean_page", &first, |offset| write(&handle, offset));
    each("cache_update_64", &offsets, |offset| write(&handle, offset));
    case("cache_sync_page", PAGES, || handle.sync_data().expect("memory does not fail"));
    let some = Vec::from_iter(first.iter().copied().step_by(8));
    some.iter().for_each(|offset| write(&handle, *offset));
    case("cache_sync_page_of_eight", some.len() as u64, || {
        handle.sync_data().expect("memory does not fail");
    });
}

fn main() {
    reads();
    misses();
    writes();
}
