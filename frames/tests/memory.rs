//! The process's memory, as the system counts it: what frames take of it, that it goes back, and that it stays flat under churn.
//!
//! One test, so that it is alone in its process. `PAGE_FRAMES_CHURN_SECONDS` says how long the churn lasts (default 1.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
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

/// What the threads of a churn share.
#[derive(Default)]
struct Churn {
    /// Bytes of all frames that were taken so far.
    taken: AtomicU64,
    is_over: AtomicBool,
}

/// Frames of all sizes come and go at the limit, from two threads: memory stays below the bound all the time, and does not grow.
fn churn() {
    let seconds = std::env::var("PAGE_FRAMES_CHURN_SECONDS").ok();
    let seconds: f64 = seconds.map_or(1.5, |seconds| seconds.parse().expect("a number of seconds"));
    let limit = 96 * MIB;
    let before = resident();
    let pool = Pool::new(limit);
    let churn = Arc::new(Churn::default());
    let threads = [0, 1].map(|seed| {
        let (pool, churn) = (pool.clone(), Arc::clone(&churn));
        std::thread::spawn(move || come_and_go(&pool, seed, &churn))
    });
    let pause = Duration::from_secs_f64((seconds / 1000.0).max(0.002));
    // For so long, and until the pool has had other frames so many times: on a busy machine time alone says nothing.
    let most = |seconds: f64, times: u64| {
        let begun = Instant::now();
        let first = churn.taken.load(Relaxed);
        let (mut samples, mut most) = (0, 0);
        while begun.elapsed().as_secs_f64() < seconds
            || churn.taken.load(Relaxed) < first + times * limit
        {
            assert!(threads.iter().all(|thread| !thread.is_finished()), "a thread has failed");
            std::thread::sleep(pause);
            let (resident, stats) = (resident().saturating_sub(before), pool.stats());
            assert!(
                resident <= limit * 105 / 100 + FIXED,
                "{} MiB resident: {stats:?}",
                resident / MIB
            );
            (samples, most) = (samples + 1, most.max(resident));
        }
        (samples, most)
    };
    // First the pool is filled.
    most(seconds / 10.0, 10);
    let [early, late] = [0, 1].map(|_| most(seconds / 2.0, 20));
    churn.is_over.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("it has not failed"));
    println!(
        "churn: {} and {} samples, at most {:.2} MiB in the first half, {:.2} MiB in the second, limit {} MiB",
        early.0,
        late.0,
        early.1 as f64 / MIB as f64,
        late.1 as f64 / MIB as f64,
        limit / MIB
    );
    assert!(late.1 <= early.1 * 102 / 100 + MIB, "memory grows");
    pool.trim();
    assert_tight("churn, gone", before, 0);
}

fn come_and_go(pool: &Pool, seed: u64, churn: &Churn) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut frames: Vec<Frame> = Vec::new();
    let mut largest = 15;
    while !churn.is_over.load(Relaxed) {
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
                churn.taken.fetch_add(len as u64, Relaxed);
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
