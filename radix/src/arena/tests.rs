//! The depot alone, against what it promises; and threads that take, hand over and put back.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{ptr, thread};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::NodeMemory;
use super::class::Class;
use super::depot::{Batch, Depot};
use super::segment::{Free, SEGMENT, SLAB, SLABS};

const SINGLE: Class = Class::numbered(0);
const FULL: Class = Class::numbered(9);

/// A depot whose segments end with the test.
struct Alone(Depot);

impl Drop for Alone {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.0.segments().collect::<Vec<_>>().into_iter().for_each(|segment| {
            // SAFETY: the depot goes, and with it all that may name the segment.
            unsafe { segment.unmap() };
        });
    }
}

impl Alone {
    fn new() -> Alone {
        Alone(Depot::new())
    }

    /// Addresses of so many cells, taken in batches.
    fn take(&mut self, class: Class, count: usize) -> Vec<usize> {
        let mut cells = Vec::new();
        while cells.len() < count {
            let most = u32::try_from(count - cells.len()).expect("few").min(class.batch());
            match self.0.take(class, most).expect("there is memory") {
                Batch::Used(list) => {
                    let before = cells.len();
                    let mut next = list.first;
                    while let Some(cell) = NonNull::new(next) {
                        cells.push(cell.addr().get());
                        // SAFETY: a list of free cells.
                        next = unsafe { cell.as_ref() }.next;
                    }
                    assert_eq!(cells.len() - before, list.count as usize, "as many as it says");
                }
                Batch::Fresh(run) => {
                    let start = run.start.addr().get();
                    cells.extend((0..run.count as usize).map(|n| start + n * class.size()));
                }
            }
            assert!(cells.len() <= count, "no more than were asked for");
        }
        cells
    }

    fn put(&mut self, class: Class, cells: impl IntoIterator<Item = usize>) {
        for cell in cells {
            let cell = ptr::with_exposed_provenance_mut::<Free>(cell);
            // SAFETY: a cell that is out.
            unsafe { cell.write(Free { next: ptr::null_mut() }) };
            // SAFETY: as above.
            unsafe { self.0.put(class, cell) };
        }
    }

    fn memory(&self) -> NodeMemory {
        self.0.memory()
    }
}

#[test]
fn each_kind_of_node_has_the_cells_of_its_size() {
    #[repr(align(64))]
    struct Lines<const N: usize>([u8; N]);
    assert_eq!(Class::of::<[u64; 3]>().size(), 24);
    assert_eq!(Class::of::<Lines<64>>().size(), 64);
    assert_eq!(Class::of::<Lines<128>>().size(), 128);
    assert_eq!(Class::of::<Lines<576>>(), FULL);
    let batches = [0, 2, 4, 9].map(|class| Class::numbered(class).batch());
    assert_eq!(batches, [64, 32, 16, 8]);
}

#[test]
fn cells_do_not_overlap_and_are_within_their_slab() {
    let mut alone = Alone::new();
    let mut all = BTreeMap::new();
    for number in 0..10 {
        let class = Class::numbered(number);
        for cell in alone.take(class, 4000) {
            assert!(all.insert(cell, class.size()).is_none(), "handed out twice");
            assert!(cell.is_multiple_of(if number == 0 { 8 } else { 64 }), "not aligned");
        }
    }
    let mut last = 0;
    for (cell, size) in all {
        assert!(cell >= last, "overlaps the one before");
        last = cell + size;
        let (first, end) = (cell % SEGMENT, (cell + size - 1) % SEGMENT);
        assert!(first >= 4096 && end >= first, "within the slabs of a segment");
        assert_eq!((first - 4096) / SLAB, (end - 4096) / SLAB, "in one slab");
    }
}

/// Cells come and go at random. A model knows which are out.
#[test]
fn whatever_is_taken_and_put() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut alone = Alone::new();
    let classes = [0, 2, 4, 9].map(Class::numbered);
    let mut out: [Vec<usize>; 4] = Default::default();
    for round in 0..6_000 {
        let which = random.random_range(0..4);
        let (class, cells) = (classes[which], &mut out[which]);
        // It grows to some MiB, shrinks to nothing, and so on.
        if random.random_ratio(if round / 1000 % 2 == 0 { 7 } else { 1 }, 10) {
            let most = random.random_range(1..=class.batch());
            cells.extend(alone.take(class, most as usize));
        } else {
            let most = 2 * class.batch() as usize;
            for _ in 0..random.random_range(1..=most).min(cells.len()) {
                let cell = cells.swap_remove(random.random_range(0..cells.len()));
                alone.put(class, [cell]);
            }
        }
        let bytes = |which: usize| out[which].len() * classes[which].size();
        let memory = alone.memory();
        assert_eq!(memory.nodes, out.iter().map(Vec::len).sum::<usize>());
        assert_eq!(memory.node_bytes, (0..4).map(bytes).sum::<usize>());
        assert!(memory.held_bytes >= memory.node_bytes);
        if round % 500 == 499 {
            let mut sorted: Vec<usize> = out.iter().flatten().copied().collect();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), memory.nodes, "a cell is out twice");
        }
    }
    for (class, cells) in classes.into_iter().zip(&mut out) {
        alone.put(class, cells.drain(..));
    }
    let memory = alone.memory();
    assert_eq!((memory.nodes, memory.node_bytes, memory.mapped_bytes), (0, 0, SEGMENT));
}

#[test]
fn cells_that_are_free_are_used_before_others() {
    let mut alone = Alone::new();
    let cells = alone.take(FULL, 64);
    alone.put(FULL, cells[10..20].to_vec());
    let mut again = alone.take(FULL, 10);
    again.sort_unstable();
    assert_eq!(again, cells[10..20]);
}

#[test]
fn an_empty_slab_serves_another_size() {
    let mut alone = Alone::new();
    let singles = alone.take(SINGLE, SLAB / 24);
    let other = alone.take(SINGLE, 1);
    let held = alone.memory().held_bytes;
    assert_eq!(held, 2 * SLAB);
    alone.put(SINGLE, singles.clone());
    let full = alone.take(FULL, SLAB / 576);
    assert_eq!(full.iter().min(), singles.iter().min(), "the same memory");
    assert_eq!(alone.memory().held_bytes, held);
    alone.put(FULL, full);
    alone.put(SINGLE, other);
}

/// As many slabs of full nodes as a segment has, and of a few more segments.
fn filled(segments: usize) -> (Alone, Vec<usize>) {
    let mut alone = Alone::new();
    let of_segment = (SLABS - 1) * (SLAB / 576) + (SEGMENT - 4096) % SLAB / 576;
    let cells = alone.take(FULL, segments * of_segment);
    assert_eq!(alone.memory().mapped_bytes, segments * SEGMENT, "no slab has fewer cells");
    (alone, cells)
}

#[test]
fn one_empty_segment_is_kept() {
    let (mut alone, cells) = filled(5);
    let mut mapped = vec![5];
    for cell in cells {
        alone.put(FULL, [cell]);
        let now = alone.memory().mapped_bytes / SEGMENT;
        if mapped.last() != Some(&now) {
            mapped.push(now);
        }
    }
    assert_eq!(mapped, [5, 4, 3, 2, 1]);
    // And is used again.
    let cells = alone.take(FULL, 64);
    assert_eq!(alone.memory().mapped_bytes, SEGMENT);
    alone.put(FULL, cells);
}

/// One cell in each segment keeps its slab, and no more memory than that.
#[test]
#[cfg(target_os = "linux")]
fn empty_slabs_give_their_memory_back() {
    let (mut alone, cells) = filled(5);
    let mut kept: Vec<usize> = Vec::new();
    for cell in cells {
        match kept.iter().any(|other| other / SEGMENT == cell / SEGMENT) {
            true => alone.put(FULL, [cell]),
            false => kept.push(cell),
        }
    }
    let memory = alone.memory();
    assert_eq!((memory.nodes, memory.mapped_bytes), (5, 5 * SEGMENT));
    assert!(memory.held_bytes <= (5 + 4) * SLAB, "{} slabs hold memory", memory.held_bytes / SLAB);
    // Slabs without memory are as good as any.
    let again = alone.take(FULL, 10_000);
    assert_eq!(alone.memory().mapped_bytes, 5 * SEGMENT);
    for cell in &again {
        // SAFETY: a cell that is out.
        unsafe { ptr::with_exposed_provenance_mut::<[u64; 72]>(*cell).write([u64::MAX; 72]) };
    }
    alone.put(FULL, again);
    alone.put(FULL, kept);
}

/// What is in a cell says whose it is, on both ends.
#[derive(Debug)]
#[repr(C, align(64))]
struct Canary<const WORDS: usize>([u64; WORDS]);

struct Single([u64; 3]);

/// A cell in use.
enum Used {
    Single(NonNull<Single>, u64),
    Small(NonNull<Canary<16>>, u64),
    Full(NonNull<Canary<72>>, u64),
}

// SAFETY: as nodes do, they go from thread to thread.
unsafe impl Send for Used {}

impl Used {
    fn new(stamp: u64) -> Used {
        match stamp % 5 {
            0..=2 => Used::Single(super::place(|| Single([stamp; 3])), stamp),
            3 => Used::Small(super::place(|| Canary([stamp; 16])), stamp),
            _ => Used::Full(super::place(|| Canary([stamp; 72])), stamp),
        }
    }

    /// Checks that nobody else has written to it, and frees it.
    fn end(self) {
        match self {
            Used::Single(cell, stamp) => {
                // SAFETY: in use, by us.
                assert!(unsafe { cell.as_ref() }.0.iter().all(|word| *word == stamp));
                // SAFETY: made by `place`, and freed once.
                unsafe { super::free(cell) };
            }
            Used::Small(cell, stamp) => {
                // SAFETY: in use, by us.
                assert!(unsafe { cell.as_ref() }.0.iter().all(|word| *word == stamp));
                // SAFETY: made by `place`, and freed once.
                unsafe { super::free(cell) };
            }
            Used::Full(cell, stamp) => {
                // SAFETY: in use, by us.
                assert!(unsafe { cell.as_ref() }.0.iter().all(|word| *word == stamp));
                // SAFETY: made by `place`, and freed once.
                unsafe { super::free(cell) };
            }
        }
    }
}

/// Each thread takes cells, frees some, and hands others to the next one; now and then one ends and another takes its place.
#[test]
fn threads_take_hand_over_and_put() {
    const THREADS: u64 = 4;
    let seconds = std::env::var("TAGGED_RADIX_STRESS_SECONDS").ok();
    let time = Duration::from_secs_f64(seconds.map_or(0.5, |text| text.parse().expect("seconds")));
    let end = Instant::now() + time;
    let (mut senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::channel::<Vec<Used>>()).unzip();
    let work = |own: u64, next: mpsc::Sender<Vec<Used>>, inbox: mpsc::Receiver<Vec<Used>>| {
        let mut random = SmallRng::seed_from_u64(own);
        let (mut kept, mut stamp) = (Vec::new(), own);
        while Instant::now() < end {
            // A thread for each turn: magazines come and go.
            (kept, stamp) = thread::scope(|scope| {
                let turn = scope.spawn(|| {
                    for _ in 0..2000 {
                        stamp += THREADS;
                        kept.push(Used::new(stamp));
                        if random.random_ratio(2, 5) {
                            kept.swap_remove(random.random_range(0..kept.len())).end();
                        }
                    }
                    (kept, stamp)
                });
                turn.join().expect("nothing is out twice")
            });
            inbox.try_iter().flatten().for_each(Used::end);
            if kept.len() > 500 {
                // Its owner may have ended.
                if let Err(left) = next.send(kept.split_off(kept.len() / 4)) {
                    left.0.into_iter().for_each(Used::end);
                }
            }
        }
        drop(next);
        kept.into_iter().for_each(Used::end);
        inbox.into_iter().flatten().for_each(Used::end);
    };
    thread::scope(|scope| {
        senders.rotate_left(1);
        for ((own, next), inbox) in (0..THREADS).zip(senders).zip(receivers) {
            scope.spawn(move || work(own, next, inbox));
        }
    });
}

/// What a thread had at hand is there for others when it has ended.
#[test]
fn a_thread_that_ends_leaves_nothing_behind() {
    // Other tests of this binary have cells as well, so it counts what grows.
    let before = super::node_memory().mapped_bytes;
    for _ in 0..2000 {
        thread::spawn(|| {
            let cells: Vec<Used> = (0..20).map(Used::new).collect();
            cells.into_iter().for_each(Used::end);
        })
        .join()
        .expect("no panic");
    }
    let after = super::node_memory().mapped_bytes;
    // 2,000 magazines would be 16 MiB of full nodes alone.
    assert!(after <= before + 8 * SEGMENT, "{} MiB more", (after - before) >> 20);
}
