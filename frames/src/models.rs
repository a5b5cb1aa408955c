//! Models of who owns a block, under loom: two threads, few calls each, in every interleaving with at most so many preemptions
//! (`LOOM_MAX_PREEMPTIONS`, default 2), and with every value that the orderings let a load return.
//!
//! Needs `--cfg frames_loom` and the feature `loom`: `ci/loom.sh`. One race a test; its first line is the claim. Here a segment has two blocks of 512 bytes,
//! a magazine two frames, a batch one, and there are two shards; a thread's number says which is its own. Every use of a block's
//! bytes is an access that loom tracks: if two are not ordered, and one of them writes, the model fails.

use std::sync::{Arc, Weak};

use loom::thread;

use crate::blocks::{Inner, Limit};
use crate::error::Error;
use crate::frame::{CowFrame, Frame, SharedFrame};
use crate::pool::Pool;
use crate::sync::set_thread_number;

const LEN: usize = 512;

pub(crate) fn model(race: impl Fn() + Send + Sync + 'static) {
    let preemptions = std::env::var("LOOM_MAX_PREEMPTIONS").ok();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions.map_or(2, |bound| bound.parse().unwrap()));
    builder.max_branches = 10_000;
    let executions = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&executions);
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        race();
    });
    println!("{} executions", executions.load(std::sync::atomic::Ordering::Relaxed));
}

/// A thread whose shard is that of `number`.
fn spawn<T: 'static>(number: usize, body: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        set_thread_number(number);
        body()
    })
}

fn take(pool: &Pool) -> Result<Frame, Error> {
    pool.frame(LEN, Limit::Keep)
}

/// Takes a frame if there is one, and writes to it.
fn use_one(pool: &Pool) -> bool {
    take(pool).is_ok_and(|mut frame| {
        frame.fill(1);
        true
    })
}

/// The pool's inner part, to see whether it is gone.
fn watch(pool: &Pool) -> Weak<Inner> {
    Arc::downgrade(&pool.inner)
}

/// Everything has come back to the pool, and it is freed when it is dropped.
fn ends(pool: Pool) {
    let watched = watch(&pool);
    assert_eq!((pool.stats().in_use_bytes, pool.image_bytes()), (0, 0));
    drop(pool);
    assert_eq!(watched.strong_count(), 0, "the pool is not gone");
}

#[test]
fn a_block_passes_from_one_user_to_the_next_in_order() {
    // Through a magazine that both use: what the first wrote comes before what the second does.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let there = pool.clone();
        let other = spawn(0, move || use_one(&there));
        use_one(&pool);
        other.join().unwrap();
        ends(pool);
    });
}

#[test]
fn a_block_passes_between_magazines_in_order() {
    // Each has a magazine of its own, so the one block passes through the depot; a thread is refused only while the other has it.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let there = pool.clone();
        let other = spawn(1, move || use_one(&there));
        let one = use_one(&pool);
        assert!(other.join().unwrap() || one, "both were refused");
        assert!(use_one(&pool));
        ends(pool);
    });
}

#[test]
fn nobody_gets_a_block_that_is_out() {
    // Two blocks for two threads that keep what they get: each gets one, and not the same.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let there = pool.clone();
        let other = spawn(1, move || take(&there).unwrap());
        let mut own = take(&pool).unwrap();
        own.fill(1);
        let mut others = other.join().unwrap();
        others.fill(2);
        assert!(own.as_ptr() != others.as_ptr() && own[0] == 1);
        drop((own, others));
        ends(pool);
    });
}

#[test]
fn an_overflow_passes_in_order() {
    // A magazine that is full sends its oldest to the depot, where the other thread finds it.
    model(|| {
        let pool = Pool::new(3 * LEN as u64);
        let three = [take(&pool), take(&pool), take(&pool)].map(Result::unwrap);
        let there = pool.clone();
        let other = spawn(1, move || use_one(&there));
        for mut frame in three {
            frame.fill(3);
        }
        other.join().unwrap();
        ends(pool);
    });
}

#[test]
fn the_last_owner_gives_the_block_back() {
    // Two owners go at once: the block comes back once, after both have read.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let image = take(&pool).unwrap().into_shared();
        let theirs = image.clone();
        let other = spawn(0, move || theirs[0]);
        assert_eq!(image[0], 0);
        drop(image);
        use_one(&pool);
        other.join().unwrap();
        assert!(use_one(&pool));
        ends(pool);
    });
}

#[test]
fn a_page_is_written_in_place_only_after_its_image() {
    // If the owner finds its image gone, it writes in place, after the last read of the image. Else it writes to a copy.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let mut page = CowFrame::from(pool.zeroed(LEN, Limit::Keep).unwrap());
        let image = page.share();
        let other = spawn(0, move || image[0]);
        page.make_mut(Limit::Keep).unwrap().fill(1);
        assert_eq!(other.join().unwrap(), 0);
        assert_eq!(page[0], 1);
        drop(page);
        ends(pool);
    });
}

#[test]
fn one_of_two_owners_becomes_the_only_one() {
    // Both owners ask for the block as a frame: at most one gets it, and it comes back once.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let image = take(&pool).unwrap().into_shared();
        let theirs = image.clone();
        let attempt = |image: SharedFrame| match image.try_into_frame() {
            Ok(mut frame) => frame[0] = 1,
            Err(image) => assert_eq!(image[0], 0),
        };
        let other = spawn(1, move || attempt(theirs));
        attempt(image);
        other.join().unwrap();
        assert!(use_one(&pool));
        ends(pool);
    });
}

#[test]
fn a_frame_that_comes_back_while_the_pool_closes_is_not_kept() {
    // It comes to a magazine before that is emptied, or to the depot before or after that is closed. Either way its segment is unmapped.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let watched = watch(&pool);
        let frame = take(&pool).unwrap();
        let other = spawn(0, move || drop(frame));
        drop(pool);
        other.join().unwrap();
        assert_eq!(watched.strong_count(), 0, "a segment is kept for ever");
    });
}

#[test]
fn a_copy_made_while_the_pool_closes_is_not_kept() {
    // A frame can be copied until it is dropped itself, and its copy goes with the pool, too.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let watched = watch(&pool);
        let frame = take(&pool).unwrap();
        let other = spawn(1, move || drop(frame.try_clone(Limit::Exceed).unwrap()));
        drop(pool);
        other.join().unwrap();
        assert_eq!(watched.strong_count(), 0, "a segment is kept for ever");
    });
}

#[test]
fn a_segment_is_not_unmapped_while_a_block_of_it_is_out() {
    // One thread trims while another takes and returns a frame: its segment stays meanwhile, and nothing is lost.
    model(|| {
        let pool = Pool::new(LEN as u64);
        assert!(use_one(&pool));
        let there = pool.clone();
        let other = spawn(0, move || {
            // Beyond the limit, for the one block may be on its way to the depot.
            let mut frame = there.frame(LEN, Limit::Exceed).unwrap();
            frame.fill(1);
            assert!(there.stats().mapped_bytes > 0);
        });
        pool.trim();
        other.join().unwrap();
        pool.trim();
        assert_eq!((pool.stats().mapped_bytes, pool.stats().held_bytes), (0, 0));
        ends(pool);
    });
}

#[test]
fn the_last_owner_ends_while_the_pool_is_resized() {
    // Two owners of an image end while the limit falls to nothing: the block comes back once, its memory goes, and its neighbour's does not.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let neighbour = pool.zeroed(LEN, Limit::Keep).unwrap();
        let image = take(&pool).unwrap().into_shared();
        let theirs = image.clone();
        let other = spawn(1, move || theirs[0]);
        drop(image);
        pool.resize(0);
        other.join().unwrap();
        assert!(neighbour.iter().all(|byte| *byte == 0));
        drop(neighbour);
        pool.resize(0);
        assert_eq!(pool.stats().mapped_bytes, 0, "memory stays behind");
        ends(pool);
    });
}

#[test]
fn a_resize_empties_a_magazine_that_is_in_use() {
    // One thread takes from and returns to the magazine that the other empties: the block is in one place all the time.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        assert!(use_one(&pool));
        let there = pool.clone();
        let other = spawn(0, move || (use_one(&there), use_one(&there)));
        pool.resize(0);
        other.join().unwrap();
        pool.resize(LEN as u64);
        assert!(use_one(&pool));
        pool.trim();
        assert_eq!((pool.stats().held_bytes, pool.stats().mapped_bytes), (0, 0));
        ends(pool);
    });
}

#[test]
fn a_full_pool_empties_the_magazine_of_another_thread() {
    // The one block there is lies in a magazine or on its way to it. Whoever is refused was so while the other had it.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let frame = take(&pool).unwrap();
        let there = pool.clone();
        let other = spawn(1, move || use_one(&there));
        drop(frame);
        let one = use_one(&pool);
        assert!(other.join().unwrap() || one, "both were refused");
        assert!(use_one(&pool), "the block is lost");
        ends(pool);
    });
}

#[test]
fn a_page_is_copied_while_its_image_ends() {
    // A page's owner and its image end in any order, and the next owner of the block counts afresh.
    model(|| {
        let pool = Pool::new(LEN as u64);
        let mut page = CowFrame::from(take(&pool).unwrap());
        let image = page.share();
        let other = spawn(0, move || drop(image));
        drop(page);
        other.join().unwrap();
        let mut next = CowFrame::from(take(&pool).unwrap());
        assert!(next.get_mut().is_some(), "no image of it is out");
        drop(next);
        ends(pool);
    });
}

#[test]
fn images_are_counted_until_the_last_of_them_ends() {
    // A page goes on with a copy while two images of it end: what is counted is what only images have, and at the end nothing.
    model(|| {
        let pool = Pool::new(2 * LEN as u64);
        let mut page = CowFrame::from(take(&pool).unwrap());
        let images = [page.share(), page.share()];
        assert_eq!(pool.image_bytes(), 0, "the page has it, too");
        let [one, other] = images;
        let other = spawn(0, move || drop(other));
        page.make_mut(Limit::Exceed).unwrap()[0] = 1;
        assert_eq!(pool.image_bytes(), LEN as u64, "one is out");
        other.join().unwrap();
        drop((one, page));
        ends(pool);
    });
}
