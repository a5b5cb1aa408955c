//! The depot: which slab serves whom, and what goes back to the system. It knows nothing of threads.

use core::ptr;

use super::NodeMemory;
use super::class::Class;
use super::segment::{Cells, Free, List, Run, SEGMENT, SLAB, SLABS, Segment, SlabRef};

/// With so many segments huge pages are welcome: the last one, of which all may be unused, is then a sixteenth of all at most.
pub(super) const HUGE_FROM: usize = 16;

/// All segments.
#[derive(Debug)]
pub(super) struct Depot {
    /// For each class, slabs with some cells out, and some not.
    partial: [List; Class::COUNT],
    /// Empty slabs that hold memory.
    warm: List,
    /// Empty slabs without.
    blank: List,
    segments: Option<Segment>,
    segment_count: usize,
    /// Segments without a slab in use.
    idle_segments: usize,
    /// Slabs in use.
    used: usize,
    /// Cells that are out, of all classes, and their bytes.
    cells: usize,
    bytes: usize,
}

// SAFETY: what it points to is its own, and touched by who has it only (A-LOCK).
unsafe impl Send for Depot {}

/// What a thread gets.
#[derive(Debug)]
pub(super) enum Batch {
    /// Cells that were used before.
    Used(Cells),
    Fresh(Run),
}

impl Depot {
    pub(super) const fn new() -> Depot {
        Depot {
            partial: [const { List::new() }; Class::COUNT],
            warm: List::new(),
            blank: List::new(),
            segments: None,
            segment_count: 0,
            idle_segments: 0,
            used: 0,
            cells: 0,
            bytes: 0,
        }
    }

    /// One to `most` cells. `None`: there is no memory.
    pub(super) fn take(&mut self, class: Class, most: u32) -> Option<Batch> {
        let mut cells = Cells { first: ptr::null_mut(), count: 0 };
        while cells.count < most {
            let slab = match self.partial[class.number()].first() {
                Some(slab) => slab,
                None if cells.count > 0 => break,
                None => self.open(class)?,
            };
            let before = cells.count;
            slab.give(&mut cells, most);
            if cells.count == 0 {
                // In use, not full, and none is free: some have not been handed out.
                let run = slab.begin(most)?;
                self.close_if_full(slab, class);
                self.count(class, run.count);
                return Some(Batch::Fresh(run));
            }
            self.close_if_full(slab, class);
            if cells.count == before {
                break;
            }
        }
        self.count(class, cells.count);
        Some(Batch::Used(cells))
    }

    fn count(&mut self, class: Class, cells: u32) {
        self.cells += cells as usize;
        self.bytes += cells as usize * class.size();
    }

    fn close_if_full(&mut self, slab: SlabRef, class: Class) {
        if slab.is_full() {
            self.partial[class.number()].remove(slab);
        }
    }

    /// Takes an empty slab into use.
    fn open(&mut self, class: Class) -> Option<SlabRef> {
        let list = match (self.warm.first(), self.blank.first()) {
            (Some(_), _) => &mut self.warm,
            (None, Some(_)) => &mut self.blank,
            (None, None) => {
                self.grow()?;
                &mut self.blank
            }
        };
        let slab = list.first()?;
        list.remove(slab);
        slab.open(class);
        self.partial[class.number()].push_front(slab);
        self.used += 1;
        if slab.segment().count_used(true) == 1 {
            self.idle_segments -= 1;
        }
        Some(slab)
    }

    /// Maps a segment.
    fn grow(&mut self) -> Option<()> {
        let segment = Segment::map(self.segment_count + 1 >= HUGE_FROM)?;
        segment.slabs().for_each(|slab| self.blank.push_back(slab));
        self.segments = Some(segment.link(self.segments));
        self.segment_count += 1;
        self.idle_segments += 1;
        if self.segment_count == HUGE_FROM {
            self.segments().for_each(|segment| segment.advise_huge(true));
        }
        Some(())
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> + use<> {
        core::iter::successors(self.segments, Segment::next)
    }

    /// Takes cells back.
    ///
    /// # Safety
    /// All in the list, which ends with null, are out and of that class, and nobody uses them any more.
    pub(super) unsafe fn put(&mut self, class: Class, mut first: *mut Free) {
        while !first.is_null() {
            let cell = first;
            // SAFETY: the caller's word: a free cell says which is next.
            first = unsafe { (*cell).next };
            let slab = SlabRef::of(cell);
            if slab.is_full() {
                self.partial[class.number()].push_back(slab);
            }
            // SAFETY: the caller's word.
            unsafe { slab.take_back(cell) };
            self.cells -= 1;
            self.bytes -= class.size();
            if slab.is_empty() {
                self.partial[class.number()].remove(slab);
                self.emptied(slab);
            }
        }
    }

    /// A slab is in no list, and empty.
    fn emptied(&mut self, slab: SlabRef) {
        self.used -= 1;
        self.warm.push_front(slab);
        let segment = slab.segment();
        if segment.count_used(false) == 0 {
            self.idle_segments += 1;
            if self.idle_segments > 1 {
                self.shrink(segment);
            }
        }
        while self.warm.len() > self.warm_max() {
            // The oldest one.
            let Some(slab) = self.warm.last() else { break };
            if !slab.discard() {
                break;
            }
            self.warm.remove(slab);
            self.blank.push_front(slab);
        }
    }

    /// How many empty slabs may hold memory. To give one back and to have it filled again costs a call and nine faults of a page, some microseconds for at least 63 nodes; under huge pages it
    /// costs the huge page.
    fn warm_max(&self) -> usize {
        if self.segment_count < HUGE_FROM { self.used / 64 + 4 } else { self.used / 16 + SLABS }
    }

    /// Gives a segment back, all of whose slabs are empty.
    fn shrink(&mut self, segment: Segment) {
        for slab in segment.slabs() {
            let list = if slab.is_blank() { &mut self.blank } else { &mut self.warm };
            list.remove(slab);
        }
        self.segments = segment.unlink(self.segments);
        self.segment_count -= 1;
        self.idle_segments -= 1;
        // SAFETY: no slab of it has a cell that is out, and none is in a list any more.
        unsafe { segment.unmap() };
    }

    pub(super) fn memory(&self) -> NodeMemory {
        NodeMemory {
            nodes: self.cells,
            node_bytes: self.bytes,
            held_bytes: (self.used + self.warm.len()) * SLAB,
            mapped_bytes: self.segment_count * SEGMENT,
        }
    }
}
