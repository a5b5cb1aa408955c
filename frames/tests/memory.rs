//! The process's memory, as the system counts it: what frames take of it, that it goes back, and that it stays flat under churn.
//!
//! One test, so that it is alone in its process. `PAGE_FRAMES_CHURN_SECONDS` says how long the churn lasts (default 3).

use std::time::{Duration, Instant};

use page_frames::{FRAME_LEN_MAX, Frame, Limit, Pool};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Always there, but for how they are made.
type Handles = Vec<Option<Frame>>;

const MIB: u64 = 1 << 20;
/// Beside 1.05 times the bytes of the frames.
const FIXED: u64 = 4 * MIB;

/// The resident set, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

/// Fails if a pool that has `bytes` of frames takes too much, counted from `before`.
fn assert_tight(what: &str, before: u64, bytes: u64) {
    let taken = resident().saturating_sub(before);
    println!(
        "{what}: {:.2} MiB of frames, {:.2} MiB resident",
        bytes as f64 / MIB as f64,
        taken as f64 / MIB as f64
    );
    assert!(taken >= bytes, "{what}: the frames were not written");
    assert!(taken <= bytes * 105 / 100 + FIXED, "{what}: too much memory");
}

/// Takes frames of these lengths in turn, until `bytes` are out, and writes to all of each.
fn fill(pool: &Pool, frames: &mut Handles, lens: &[usize], bytes: u64) {
    let mut out = sum(frames);
    for len in lens.iter().cycle() {
        if out + *len as u64 > bytes {
            break;
        }
        let mut frame = pool.frame(*len, Limit::Keep).expect("within the limit");
        frame.fill(out.to_le_bytes()[0] | 1);
        frames.push(Some(frame));
        out += *len as u64;
    }
}

/// Room for the handles, which is written to before anything is measured: it is not the pool's.
fn handles(bytes: u64, len_min: usize) -> Handles {
    let mut frames = Handles::new();
    frames.resize_with(usize::try_from(bytes).expect("fits") / len_min + 1, || None);
    frames.clear();
    frames
}

fn sum(frames: &Handles) -> u64 {
    frames.iter().flatten().map(|frame| frame.len() as u64).sum()
}

/// Frames of one size, or of several in turn: tight at 1 MiB and up, tight after half of them are gone and the limit is lowered, and gone at the end.
fn sizes(name: &str, lens: &[usize], len_min: usize) {
    let full = 96 * MIB;
    let mut frames = handles(full, len_min);
    let before = resident();
    let pool = Pool::new(full);
    for bytes in [MIB, 5 * MIB, 20 * MIB, 48 * MIB, full] {
        fill(&pool, &mut frames, lens, bytes);
        let out = sum(&frames);
        assert_tight(&format!("frames of {name}"), before, out);
    }
    // All of the second half, and half of the first: every other run of frames, so that no segment of small ones is free as a whole. Frames that are
    // smaller than a page go in longer runs: what is left of a page stays.
    let run = if lens == [512] { 2048 } else { 8 };
    let mut turn = 0;
    let keep_max = frames.len() / 2;
    frames.retain(|_| {
        turn += 1;
        turn <= keep_max && turn / run % 2 == 0
    });
    let out = sum(&frames);
    pool.resize(out);
    assert_tight(&format!("frames of {name}, resized"), before, out);
    frames.clear();
    pool.resize(0);
    assert_tight(&format!("frames of {name}, gone"), before, 0);
    let stats = pool.stats();
    assert_eq!((stats.held_bytes, stats.mapped_bytes), (0, 0));
}

/// Frames of all sizes come and go at the limit, from two threads: memory stays below the bound all the time, and does not grow.
fn churn() {
    let seconds = std::env::var("PAGE_FRAMES_CHURN_SECONDS").ok();
    let seconds = seconds.map_or(3.0, |seconds| seconds.parse().expect("a number of seconds"));
    let limit = 96 * MIB;
    let before = resident();
    let pool = Pool::new(limit);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut samples = Vec::with_capacity(1 << 16);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn({
                let pool = pool.clone();
                move || come_and_go(&pool, seed, end)
            });
        }
        let pause = Duration::from_secs_f64((seconds / 1000.0).max(0.002));
        while Instant::now() < end {
            std::thread::sleep(pause);
            let (taken, stats) = (resident().saturating_sub(before), pool.stats());
            assert!(taken <= limit * 105 / 100 + FIXED, "{} MiB resident: {stats:?}", taken / MIB);
            samples.push(taken);
        }
    });
    // The first tenth fills the pool.
    let steady = &samples[samples.len() / 10..];
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (early, late) = steady.split_at(steady.len() / 2);
    println!(
        "churn: {} samples, at most {:.2} MiB in the first half, {:.2} MiB in the second, limit {} MiB",
        samples.len(),
        most(early) as f64 / MIB as f64,
        most(late) as f64 / MIB as f64,
        limit / MIB
    );
    assert!(most(late) <= most(early) * 102 / 100 + MIB, "memory grows");
    pool.trim();
    assert_tight("churn, gone", before, 0);
}

fn come_and_go(pool: &Pool, seed: u64, end: Instant) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut frames: Vec<Frame> = Vec::new();
    let mut largest = 15;
    while Instant::now() < end {
        // What is asked for most changes all the time.
        if rng.random_ratio(1, 1000) {
            largest = rng.random_range(3..16);
        }
        // From 4 KiB on: of smaller ones, each can keep a page.
        let len = (4096_usize << rng.random_range(0..=largest)).min(FRAME_LEN_MAX);
        match pool.frame(len, Limit::Keep) {
            Ok(mut frame) => {
                frame.fill(seed.to_le_bytes()[0] + 1);
                frames.push(frame);
            }
            Err(_) if frames.is_empty() => std::thread::yield_now(),
            Err(_) => {
                for _ in 0..rng.random_range(1..8) {
                    if !frames.is_empty() {
                        drop(frames.swap_remove(rng.random_range(0..frames.len())));
                    }
                }
            }
        }
    }
}

#[test]
fn resident_memory_is_that_of_the_frames() {
    if !cfg!(all(target_os = "linux", not(miri))) {
        println!("memory: the system has no /proc/self/statm");
        return;
    }
    for len in [512, 4096, 16_384, 65_536, 1 << 20, 4 << 20] {
        sizes(&len.to_string(), &[len], len);
    }
    let mixed = [512, 4096, 1024, 65_536, 2048, 16_384, 8192, 131_072, 32_768, 1 << 20];
    sizes("ten sizes, as many of each", &mixed, 512);
    // Each size has just begun its second segment when 20 MiB are out.
    let even: Vec<usize> =
        (12..20).flat_map(|log2| std::iter::repeat_n(1 << log2, (1 << 19) >> log2)).collect();
    sizes("eight sizes, as many bytes of each", &even, 4096);
    churn();
}
