//! Many threads at once: no frame has two owners, none is lost, the limit holds. `PAGE_FRAMES_STRESS_SECONDS` says how long (default 0.5).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use page_frames::{CowFrame, Error, Frame, Limit, Pool, SharedFrame};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const THREADS: u64 = 4;
const MIB: u64 = 1 << 20;

fn seconds() -> Duration {
    let seconds = std::env::var("PAGE_FRAMES_STRESS_SECONDS").ok();
    let seconds = seconds.map_or(0.5, |seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs_f64(if cfg!(miri) { 0.0 } else { seconds })
}

/// Whether all bytes are equal to the first.
fn is_even(bytes: &[u8]) -> bool {
    bytes[1..] == bytes[..bytes.len() - 1]
}

enum Any {
    Frame(Frame),
    Cow(CowFrame),
    Shared(SharedFrame),
}

/// A frame, counted while it is out; an image counts with its page, whose bytes it keeps.
struct Held<'c> {
    frame: Any,
    len: u64,
    counted: Option<&'c AtomicU64>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(counted) = self.counted {
            // Before the frame is returned, so that the count is never more than what is out.
            counted.fetch_sub(self.len, Ordering::Relaxed);
        }
    }
}

/// Uses frames in every way until `stop`: each has one byte all over, whoever reads it.
fn work<'c>(
    pool: &Pool,
    seed: u64,
    stop: &AtomicBool,
    counted: &'c AtomicU64,
    limit_max: u64,
    swap: &Mutex<Vec<Held<'c>>>,
) -> u64 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut own: Vec<Held<'c>> = Vec::new();
    let mut taken = 0;
    while !stop.load(Ordering::Relaxed) || taken == 0 {
        if own.len() < 64 {
            let len = 512_usize << rng.random_range(0..9);
            match pool.frame(len, Limit::Keep) {
                Ok(mut frame) => {
                    let out = counted.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
                    assert!(out <= limit_max, "{out} bytes are out");
                    frame.fill(rng.random());
                    let frame =
                        if rng.random() { Any::Frame(frame) } else { Any::Cow(frame.into()) };
                    own.push(Held { frame, len: len as u64, counted: Some(counted) });
                    taken += 1;
                }
                Err(error) => assert!(matches!(error, Error::Full { .. }), "{error}"),
            }
        }
        if !own.is_empty() {
            let at = rng.random_range(0..own.len());
            let image = use_one(&mut own[at], rng.random());
            own.extend(image);
            if rng.random_ratio(1, 3) {
                drop(own.swap_remove(at));
            }
        }
        // What one thread has taken, another one drops.
        if rng.random_ratio(1, 8) {
            std::mem::swap(&mut own, &mut swap.lock().unwrap());
        }
    }
    taken
}

fn use_one<'c>(held: &mut Held<'c>, byte: u8) -> Option<Held<'c>> {
    let len = held.len;
    match &mut held.frame {
        Any::Frame(frame) => {
            assert!(is_even(frame), "another thread has written to a frame");
            frame.fill(byte);
            None
        }
        Any::Cow(frame) => {
            assert!(is_even(frame), "another thread has written to a page");
            if let Some(bytes) = frame.get_mut() {
                bytes.fill(byte);
            }
            // The page's count ends with the page, but its block stays for its images: below the true sum, as it has to be.
            Some(Held { frame: Any::Shared(frame.share()), len, counted: None })
        }
        Any::Shared(frame) => {
            assert!(is_even(frame), "an image has changed");
            let frame = Any::Shared(frame.clone());
            (byte < 64).then_some(Held { frame, len, counted: None })
        }
    }
}

#[test]
fn many_threads_share_a_pool_that_is_resized() {
    let (low, high) = (MIB, 6 * MIB);
    let pool = Pool::new(high);
    let (stop, counted, swap) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| {
                scope.spawn({
                    let (pool, stop, counted, swap) = (pool.clone(), &stop, &counted, &swap);
                    move || work(&pool, seed, stop, counted, high, swap)
                })
            })
            .collect();
        let end = Instant::now() + seconds();
        let mut rng = SmallRng::seed_from_u64(THREADS);
        while Instant::now() < end {
            match rng.random_range(0..4) {
                0 => pool.resize(rng.random_range(low..=high)),
                1 => pool.trim(),
                2 => drop(pool.regions()),
                _ => assert!(pool.stats().in_use_bytes <= high),
            }
            thread::sleep(Duration::from_micros(200));
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| assert!(worker.join().unwrap() > 0));
    });
    swap.into_inner().unwrap().clear();
    assert_eq!((counted.into_inner(), pool.stats().in_use_bytes), (0, 0), "frames are lost");
    pool.trim();
    assert_eq!((pool.stats().held_bytes, pool.stats().mapped_bytes), (0, 0));
}

#[test]
fn a_pool_that_is_full_serves_whoever_waits_for_a_frame_to_come_back() {
    // As many frames as threads, and each thread has one for a moment only: nobody is refused for ever.
    let pool = Pool::new(THREADS * 4096);
    let turns = if cfg!(miri) { 10 } else { 20_000 };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..turns {
                    let mut frame = loop {
                        match pool.frame(4096, Limit::Keep) {
                            Ok(frame) => break frame,
                            // On the way between a magazine and the depot.
                            Err(_) => thread::yield_now(),
                        }
                    };
                    frame[0] = 1;
                }
            });
        }
    });
    assert_eq!(pool.stats().in_use_bytes, 0);
}

#[test]
fn frames_come_back_while_their_pool_closes() {
    for round in 0..if cfg!(miri) { 3 } else { 300 } {
        let pool = Pool::new(4 * MIB);
        let (sender, receiver) = mpsc::channel::<Frame>();
        thread::scope(|scope| {
            scope.spawn(move || {
                for mut frame in receiver {
                    frame.fill(1);
                    drop(frame.try_clone(Limit::Exceed));
                }
            });
            for turn in 0..round % 40 {
                let len = 512 << (turn % 9);
                sender.send(pool.frame(len, Limit::Keep).unwrap()).unwrap();
            }
            drop(pool);
            drop(sender);
        });
    }
}
