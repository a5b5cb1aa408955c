//! What a frame costs beside aligned `malloc`: nanoseconds, and bytes of memory. `cargo bench -p page-frames`; `-- --quick` for a look.
//!
//! Times are the median of rounds that take turns. Memory is the process's resident set, from `/proc/self/statm`, where there is one.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

use page_frames::{Frame, Limit, Pool};

const PAGE: usize = 4096;
const MIB: u64 = 1 << 20;

/// A page of the global allocator.
struct Malloc(NonNull<u8>);

const LAYOUT: Layout = match Layout::from_size_align(PAGE, PAGE) {
    Ok(layout) => layout,
    Err(_) => panic!("a page is a power of two"),
};

impl Malloc {
    fn new() -> Malloc {
        // SAFETY: the layout has a size.
        let start = unsafe { alloc(LAYOUT) };
        Malloc(NonNull::new(start).unwrap_or_else(|| handle_alloc_error(LAYOUT)))
    }
}

impl Drop for Malloc {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout by `new`.
        unsafe { dealloc(self.0.as_ptr(), LAYOUT) };
    }
}

// SAFETY: an allocation of its own.
unsafe impl Send for Malloc {}

/// The ways of using memory that are timed.
#[derive(Clone, Copy)]
enum Use {
    /// One at a time.
    Pairs,
    /// 256 at a time, given back in another order.
    Heaps,
}

fn once<T>(how: Use, count: usize, take: &impl Fn() -> T) {
    match how {
        Use::Pairs => (0..count).for_each(|_| drop(black_box(take()))),
        Use::Heaps => {
            let mut held: Vec<T> = Vec::with_capacity(256);
            for _ in 0..count / 256 {
                held.extend((0..256).map(|_| take()));
                let mut at = 7;
                while !held.is_empty() {
                    at = (at * 31 + 17) % held.len();
                    drop(held.swap_remove(at));
                }
            }
        }
    }
}

/// Nanoseconds for a block taken and given back, with so many threads at it.
fn time<T>(how: Use, threads: usize, count: usize, take: impl Fn() -> T + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| once(how, count, &take));
        }
        once(how, count, &take);
    });
    start.elapsed().as_nanos() as f64 / (count * threads) as f64
}

/// The same, taken by one thread and given back by another.
fn handed_over<T: Send>(count: usize, take: impl Fn() -> T) -> f64 {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<T>>(4);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || receiver.into_iter().for_each(drop));
        for _ in 0..count / 256 {
            sender.send((0..256).map(|_| take()).collect()).expect("the other thread listens");
        }
        drop(sender);
    });
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn times(quick: bool) {
    let (rounds, count) = if quick { (3, 1 << 14) } else { (15, 1 << 20) };
    let pool = Pool::new(256 * MIB);
    let frame = || pool.frame(PAGE, Limit::Keep).expect("within the limit");
    println!("| 4 KiB taken and given back, ns | page-frames | malloc |\n|---|---|---|");
    let mut rows: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
    for (how, name) in [(Use::Pairs, "one at a time"), (Use::Heaps, "256 at a time")] {
        for threads in [1, 2] {
            let mut both = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                both.0.push(time(how, threads, count, frame));
                both.1.push(time(how, threads, count, Malloc::new));
            }
            rows.push((format!("{name}, {threads} threads"), both.0, both.1));
        }
    }
    let mut both = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        both.0.push(handed_over(count / 4, frame));
        both.1.push(handed_over(count / 4, Malloc::new));
    }
    rows.push(("taken by one thread, given back by another".into(), both.0, both.1));
    for (name, ours, theirs) in rows {
        println!("| {name} | {:.1} | {:.1} |", median(ours), median(theirs));
    }
}

/// The resident set, in bytes.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

fn memory(quick: bool) {
    let bytes = if quick { 16 * MIB } else { 256 * MIB };
    println!("\n| {} MiB, resident | bytes a byte | after trim, MiB |\n|---|---|---|", bytes / MIB);
    for len in [512, 4096, 65_536, 1 << 20] {
        let Some(before) = resident() else { return };
        let pool = Pool::new(bytes);
        let mut frames: Vec<Frame> =
            Vec::with_capacity(usize::try_from(bytes).expect("fits") / len);
        let list = (frames.capacity() * size_of::<Frame>()) as u64;
        frames
            .extend((0..frames.capacity()).map(|_| pool.frame(len, Limit::Keep).expect("within")));
        frames.iter_mut().for_each(|frame| frame.fill(1));
        let full = resident().unwrap_or(before).saturating_sub(before + list);
        frames.clear();
        pool.trim();
        let trimmed = resident().unwrap_or(before).saturating_sub(before + list);
        println!(
            "| frames of {len} | {:.4} | {:.2} |",
            full as f64 / bytes as f64,
            trimmed as f64 / MIB as f64
        );
    }
    let Some(before) = resident() else { return };
    let mut blocks: Vec<Malloc> = (0..bytes / PAGE as u64).map(|_| Malloc::new()).collect();
    for block in &mut blocks {
        // SAFETY: its own page.
        unsafe { block.0.as_ptr().write_bytes(1, PAGE) };
    }
    let full = resident().unwrap_or(before).saturating_sub(before);
    println!("| malloc of 4096 | {:.4} | |", full as f64 / bytes as f64);
}

fn main() {
    // `cargo test --benches` runs it as well, to see that it runs.
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test")
        || !std::env::args().any(|argument| argument == "--bench");
    times(quick);
    memory(quick);
}
