//! What the documentation says, one thread at a time.

use std::thread;
use std::time::{Duration, Instant};

use page_frames::{CowFrame, Error, FRAME_LEN_MAX, FRAME_LEN_MIN, Frame, Limit, Pool, SharedFrame};

const MIB: u64 = 1 << 20;

fn sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(FRAME_LEN_MIN), |len| Some(len * 2))
        .take_while(|len| *len <= FRAME_LEN_MAX)
}

fn frame(pool: &Pool, len: usize) -> Frame {
    pool.frame(len, Limit::Keep).unwrap()
}

#[test]
fn ticks_go_on_as_the_clock_does() {
    let (exact, ticks) = (Instant::now(), page_frames::ticks());
    thread::sleep(Duration::from_millis(60));
    let (ticks, exact) = (page_frames::ticks() - ticks, exact.elapsed());
    // A tick takes ten milliseconds at the most, and each end may lie within one.
    let tick = Duration::from_millis(10);
    assert!(ticks + 2 * tick >= Duration::from_millis(60) && ticks <= exact + tick);
}

#[test]
fn every_size_is_aligned_to_itself_and_can_be_written_to_its_end() {
    let pool = Pool::new(64 * MIB);
    let frames: Vec<_> = sizes().map(|len| pool.zeroed(len, Limit::Keep).unwrap()).collect();
    for (mut frame, len) in frames.into_iter().zip(sizes()) {
        assert_eq!((frame.len(), frame.as_ptr().addr() % len), (len, 0));
        assert!(frame.iter().all(|byte| *byte == 0));
        frame.fill(0xa5);
    }
    assert_eq!(pool.stats().in_use_bytes, 0);
}

#[test]
fn other_sizes_are_refused() {
    let pool = Pool::new(MIB);
    for len in [0, 1, 511, 513, 4095, FRAME_LEN_MAX + 1, FRAME_LEN_MAX * 2, usize::MAX] {
        assert_eq!(pool.frame(len, Limit::Exceed).unwrap_err(), Error::Len { len });
    }
    assert_eq!(pool.stats().mapped_bytes, 0);
}

#[test]
fn the_limit_is_kept_to_the_byte_whatever_the_sizes() {
    let pool = Pool::new(100 * 4096 + 1024 + 511);
    let mut frames: Vec<_> = (0..100).map(|_| frame(&pool, 4096)).collect();
    frames.push(frame(&pool, 1024));
    let full = Error::Full { limit: pool.limit() };
    for len in [512, 4096, FRAME_LEN_MAX] {
        assert_eq!(pool.frame(len, Limit::Keep).unwrap_err(), full);
    }
    let beyond = pool.frame(65_536, Limit::Exceed).unwrap();
    assert_eq!(pool.stats().in_use_bytes, 100 * 4096 + 1024 + 65_536);
    drop(beyond);
    // What lies in the magazines counts for nothing.
    frames.truncate(68);
    assert_eq!(frame(&pool, 131_072).len(), 131_072);
}

#[test]
fn a_used_frame_comes_back_zero_if_asked_for_zero() {
    let pool = Pool::new(MIB);
    for len in [512, 4096, 262_144] {
        let mut first = frame(&pool, len);
        first.fill(7);
        let at = first.as_ptr();
        drop(first);
        let second = pool.zeroed(len, Limit::Keep).unwrap();
        assert_eq!(second.as_ptr(), at, "the last one in is the first one out");
        assert!(second.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_size_that_is_gone_leaves_its_segments_to_the_others() {
    let pool = Pool::new(8 * MIB);
    for len in sizes().filter(|len| *len as u64 <= 8 * MIB) {
        let mut frames: Vec<_> = (0..8 * MIB / len as u64).map(|_| frame(&pool, len)).collect();
        frames.iter_mut().for_each(|frame| frame.fill(1));
        let stats = pool.stats();
        assert_eq!(stats.in_use_bytes, 8 * MIB);
        assert!(stats.held_bytes <= 10 * MIB, "{len}: {stats:?}");
    }
    assert!(pool.stats().mapped_bytes <= 16 * MIB, "{:?}", pool.stats());
}

#[test]
fn scattered_small_frames_do_not_keep_memory_from_large_ones() {
    let pool = Pool::new(16 * MIB);
    let mut small: Vec<_> = (0..4096).map(|_| frame(&pool, 4096)).collect();
    small.iter_mut().for_each(|frame| frame.fill(3));
    // Every other one goes: no segment is free.
    let mut turn = 0;
    small.retain(|_| {
        turn += 1;
        turn % 2 == 0
    });
    let held_max = if cfg!(all(target_os = "linux", not(miri))) { 18 * MIB } else { u64::MAX };
    let largest = frame(&pool, 4 << 20);
    assert!(pool.stats().held_bytes <= held_max, "{:?}", pool.stats());
    drop(largest);
    let mut large: Vec<_> = (0..512).map(|_| frame(&pool, 16_384)).collect();
    large.iter_mut().for_each(|frame| frame.fill(4));
    let stats = pool.stats();
    assert_eq!(stats.in_use_bytes, 16 * MIB);
    assert!(stats.held_bytes <= held_max, "{stats:?}");
    assert!(small.iter().all(|frame| frame.iter().all(|byte| *byte == 3)));
    // What was given back is zero, and known to be.
    drop(large);
    let small: Vec<_> = (0..2048).map(|_| pool.zeroed(4096, Limit::Keep).unwrap()).collect();
    assert!(small.iter().all(|frame| frame.iter().all(|byte| *byte == 0)));
}

#[test]
fn resize_and_trim_give_back_what_is_free() {
    let pool = Pool::new(32 * MIB);
    let mut frames: Vec<_> = (0..8192).map(|_| frame(&pool, 4096)).collect();
    assert_eq!(pool.stats().mapped_bytes, 32 * MIB);
    frames.truncate(4096);
    pool.resize(16 * MIB);
    let stats = pool.stats();
    assert_eq!((stats.limit_bytes, stats.in_use_bytes), (16 * MIB, 16 * MIB));
    assert_eq!((stats.held_bytes, stats.mapped_bytes), (16 * MIB, 16 * MIB));
    assert_eq!(pool.frame(512, Limit::Keep).unwrap_err(), Error::Full { limit: 16 * MIB });
    pool.resize(32 * MIB);
    drop(frame(&pool, 512));
    frames.clear();
    pool.trim();
    let stats = pool.stats();
    assert_eq!((stats.in_use_bytes, stats.held_bytes, stats.mapped_bytes), (0, 0, 0));
    assert_eq!(frame(&pool, 4096).len(), 4096);
}

#[test]
fn frames_outlive_their_pool() {
    let pool = Pool::new(8 * MIB);
    let mut cow = CowFrame::from(pool.zeroed(4096, Limit::Keep).unwrap());
    let mut large = frame(&pool, 4 << 20);
    drop(pool);
    let image = cow.share();
    cow.make_mut(Limit::Keep).unwrap().fill(1);
    large.fill(2);
    assert!(image.iter().all(|byte| *byte == 0) && cow.iter().all(|byte| *byte == 1));
    thread::spawn(move || drop((image, large))).join().unwrap();
    assert_eq!(cow[0], 1);
}

#[test]
fn frames_come_back_on_any_thread() {
    let pool = Pool::new(4 * MIB);
    for _ in 0..20 {
        let frames: Vec<_> = (0..1024).map(|_| frame(&pool, 4096)).collect();
        thread::spawn(move || drop(frames)).join().unwrap();
    }
    assert_eq!((pool.stats().in_use_bytes, pool.stats().mapped_bytes), (0, 4 * MIB));
}

#[test]
fn an_image_keeps_its_bytes_and_is_not_copied_once_it_is_gone() {
    let pool = Pool::new(8192);
    let mut page = CowFrame::from(pool.zeroed(4096, Limit::Keep).unwrap());
    let (first, second) = (page.share(), page.share());
    assert!(!page.take_back());
    page.make_mut(Limit::Keep).unwrap().fill(1);
    assert!(first.iter().chain(&second[..]).all(|byte| *byte == 0));
    let image = page.share();
    let refused = page.make_mut(Limit::Keep).unwrap_err();
    assert_eq!(refused, Error::Full { limit: 8192 });
    assert!(page.get_mut().is_none() && page[0] == 1);
    let at = page.as_ptr();
    drop(image);
    page.make_mut(Limit::Keep).unwrap().fill(2);
    assert_eq!((page.as_ptr(), first[0]), (at, 0));
    drop(first);
    assert_eq!(pool.stats().in_use_bytes, 8192);
    drop(second);
    assert_eq!(pool.stats().in_use_bytes, 4096);
}

#[test]
fn a_shared_frame_becomes_a_frame_with_its_last_owner() {
    let pool = Pool::new(MIB);
    let shared = frame(&pool, 512).into_shared();
    let other = shared.clone();
    let shared = shared.try_into_frame().unwrap_err();
    let copy = other.to_frame(Limit::Keep).unwrap();
    assert_ne!(copy.as_ptr(), other.as_ptr());
    drop(other);
    let mut frame = shared.try_into_frame().unwrap();
    frame.fill(9);
    assert_eq!(frame.try_clone(Limit::Keep).unwrap()[511], 9);
}

#[test]
fn regions_hold_every_frame_and_stay() {
    let pool = Pool::new(32 * MIB);
    let frames: Vec<_> = sizes().take(13).map(|len| frame(&pool, len)).collect();
    let regions = pool.regions();
    let holds = |frame: &Frame| {
        let (start, end) = (frame.as_ptr().addr(), frame.as_ptr().addr() + frame.len());
        regions.iter().any(|r| r.start.addr() <= start && end <= r.start.addr() + r.len)
    };
    assert!(frames.iter().all(holds));
    let before = pool.stats();
    drop(frames);
    pool.trim();
    let stats = pool.stats();
    assert_eq!((stats.in_use_bytes, stats.mapped_bytes), (0, before.mapped_bytes));
    assert_eq!(stats.held_bytes, before.in_use_bytes, "what was used keeps its memory");
    drop(regions);
    pool.trim();
    assert_eq!(pool.stats().mapped_bytes, 0);
}

#[test]
fn handles_are_two_words_and_go_anywhere() {
    fn goes_anywhere<T: Send + Sync + 'static>() {}
    goes_anywhere::<(Pool, Frame, SharedFrame, CowFrame)>();
    assert_eq!(size_of::<Option<Frame>>(), 2 * size_of::<usize>());
    assert_eq!(size_of::<Option<CowFrame>>(), 2 * size_of::<usize>());
}

#[test]
fn everything_prints_and_errors_say_what_is_wrong() {
    let pool = Pool::new(MIB);
    let frame = frame(&pool, 512);
    assert_eq!(format!("{frame:?}"), "Frame(512 bytes)");
    assert!(format!("{pool:?}").contains("in_use_bytes: 512"));
    assert!(pool.frame(3, Limit::Keep).unwrap_err().to_string().contains("not 3"));
    assert!(
        Error::System { code: Some(12) }.to_string().starts_with("the system gave no memory: ")
    );
}

#[test]
fn a_block_that_was_shared_is_like_new_for_its_next_owner() {
    let pool = Pool::new(MIB);
    let mut page = CowFrame::from(frame(&pool, 4096));
    let image = page.share();
    drop(page);
    let at = image.as_ptr();
    drop(image);
    // The same block, out of the magazine.
    let mut page = CowFrame::from(frame(&pool, 4096));
    assert_eq!(page.as_ptr(), at);
    assert!(page.take_back(), "no image of it is out");
    let image = page.share();
    drop(image);
    let other = frame(&pool, 4096);
    assert_ne!(other.as_ptr(), page.as_ptr(), "the page has its block still");
}

#[test]
fn frames_of_one_size_do_not_come_back_on_top_of_those_of_another() {
    let pool = Pool::new(16 * MIB);
    let small = |count| (0..count).map(|_| frame(&pool, 4096)).collect::<Vec<_>>();
    let mut first = small(4096);
    let mut turn = 0;
    first.retain(|_| {
        turn += 1;
        turn % 2 == 0
    });
    // Their memory goes from the gaps to larger frames, and from those back to the gaps.
    drop((0..512).map(|_| frame(&pool, 16_384)).collect::<Vec<_>>());
    // Not all of them: where the limit is met, memory is given back in any case.
    let _second = small(1900);
    let stats = pool.stats();
    assert_eq!(stats.in_use_bytes, (2048 + 1900) * 4096);
    if cfg!(all(target_os = "linux", not(miri))) {
        assert!(stats.held_bytes <= 18 * MIB, "{stats:?}");
    }
}

#[test]
fn a_frame_beyond_the_limit_takes_what_lies_in_magazines_first() {
    let pool = Pool::new(33 * 4096);
    // Brings more of its kind into the magazine.
    let _large = frame(&pool, 16 * 4096);
    let _small = frame(&pool, 4096);
    let _fits = pool.frame(16 * 4096, Limit::Exceed).unwrap();
    assert_eq!(pool.stats().in_use_bytes, pool.limit());
    let full = Error::Full { limit: pool.limit() };
    assert_eq!(pool.frame(4096, Limit::Keep).unwrap_err(), full);
}

#[test]
fn frames_that_come_back_after_a_resize_leave_no_memory_behind() {
    let pool = Pool::new(32 * MIB);
    let mut frames: Vec<_> = (0..8192).map(|_| frame(&pool, 4096)).collect();
    frames.iter_mut().for_each(|frame| frame.fill(1));
    pool.resize(8 * MIB);
    assert_eq!(pool.stats().held_bytes, 32 * MIB);
    // Every fourth stays, so no segment is free as a whole.
    let mut turn = 0;
    frames.retain(|_| {
        turn += 1;
        turn % 4 == 0
    });
    let stats = pool.stats();
    assert_eq!(stats.in_use_bytes, 8 * MIB);
    if cfg!(all(target_os = "linux", not(miri))) {
        assert!(stats.held_bytes <= 10 * MIB + MIB / 2, "{stats:?}");
    }
    drop(frames);
    assert!(pool.stats().held_bytes <= 10 * MIB + MIB / 2, "{:?}", pool.stats());
}

#[test]
fn a_pool_without_a_limit_of_its_own_has_one() {
    let pool = Pool::default();
    assert_eq!(pool.limit(), page_frames::LIMIT_DEFAULT);
    let too_large: Result<Vec<_>, _> = (0..=pool.limit() / FRAME_LEN_MAX as u64)
        .map(|_| pool.frame(FRAME_LEN_MAX, Limit::Keep))
        .collect();
    assert_eq!(too_large.unwrap_err(), Error::Full { limit: pool.limit() });
    assert_eq!(pool.stats().in_use_bytes, 0);
}

#[test]
fn a_resize_that_regions_held_up_is_made_up_for() {
    let pool = Pool::new(8 * MIB);
    drop((0..2048).map(|_| frame(&pool, 4096)).collect::<Vec<_>>());
    let regions = pool.regions();
    pool.resize(MIB);
    assert_eq!(pool.stats().held_bytes, 8 * MIB);
    drop(regions);
    assert!(pool.stats().held_bytes <= MIB, "{:?}", pool.stats());
}

#[test]
fn what_only_images_have_is_counted() {
    let pool = Pool::new(1 << 20);
    let mut page = CowFrame::from(pool.zeroed(4096, Limit::Keep).unwrap());
    let (one, other) = (page.share(), page.share());
    assert_eq!(pool.image_bytes(), 0, "the page's block is its own");
    page.make_mut(Limit::Keep).unwrap()[0] = 1;
    assert_eq!((pool.image_bytes(), pool.stats().image_bytes), (4096, 4096));
    drop(one);
    assert_eq!(pool.image_bytes(), 4096);
    drop(other);
    assert_eq!(pool.image_bytes(), 0);
    let left = page.share();
    drop(page);
    assert_eq!(pool.image_bytes(), 4096, "its page is gone");
    let made = left.to_frame(Limit::Keep).unwrap().into_shared();
    assert_eq!(pool.image_bytes(), 8192);
    let clone = made.clone();
    let made = made.try_into_frame().unwrap_err();
    drop(clone);
    drop(made.try_into_frame().unwrap());
    drop(left);
    assert_eq!(pool.image_bytes(), 0);
}
