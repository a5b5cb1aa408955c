//! Segments, slabs, cells: where they lie, and lists of slabs. Who may look at what is said in the room's head (A-LOCK, A-MAPPED).

use core::cell::Cell;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use super::class::Class;
use super::system;

/// Bytes of a segment, and what it is aligned to.
pub(super) const SEGMENT: usize = 2 << 20;
/// Bytes of a slab: the least multiple of a page that all kinds of nodes divide.
pub(super) const SLAB: usize = 36 << 10;
/// Where the slabs begin.
const FIRST: usize = 4096;
/// Slabs of a segment; the last one is shorter.
pub(super) const SLABS: usize = (SEGMENT - FIRST).div_ceil(SLAB);

const _: () = assert!(size_of::<Header>() <= FIRST);
const _: () = assert!(SLAB.is_multiple_of(Class::numbered(0).size() * 64 * 3));
const _: () = assert!(SLAB.is_multiple_of(Class::numbered(9).size()));

/// A free cell: the next one of its list.
#[derive(Debug)]
pub(super) struct Free {
    pub(super) next: *mut Free,
}

/// What a segment begins with.
#[derive(Debug)]
#[repr(C)]
struct Header {
    slabs: [Slab; SLABS],
    previous: Cell<Option<Segment>>,
    next: Cell<Option<Segment>>,
    /// Slabs that are not empty.
    used: Cell<u32>,
}

/// What is known of a slab.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Slab {
    previous: Cell<Option<SlabRef>>,
    next: Cell<Option<SlabRef>>,
    /// Free cells of those that have been handed out.
    free: Cell<Option<NonNull<Free>>>,
    /// Cells that have been handed out since the slab was empty: they are its first ones.
    begun: Cell<u16>,
    /// Cells that are out.
    used: Cell<u16>,
    class: Cell<u8>,
    /// Its place in the segment.
    place: Cell<u8>,
    /// Whether it has had memory from the system, and has given none back since.
    is_warm: Cell<bool>,
}

/// A segment that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment(NonNull<Header>);

/// A slab of a segment that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlabRef(NonNull<Slab>);

/// Some cells, in a list.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) first: *mut Free,
    pub(super) count: u32,
}

/// Cells side by side that have not been handed out since their slab was empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: NonNull<u8>,
    pub(super) count: u32,
}

impl Segment {
    /// A new one, all of whose slabs are empty and hold no memory.
    pub(super) fn map(is_huge_welcome: bool) -> Option<Segment> {
        let header: NonNull<Header> = system::map(SEGMENT)?.cast();
        // Before it is written to: the first page that is resident says how large the others are.
        Segment(header).advise_huge(is_huge_welcome);
        // From now on it is found by address.
        header.as_ptr().expose_provenance();
        let slab = |place: usize| Slab {
            #[expect(clippy::cast_possible_truncation, reason = "SLABS at most")]
            place: Cell::new(place as u8),
            ..Slab::default()
        };
        let new = Header {
            slabs: core::array::from_fn(slab),
            previous: Cell::new(None),
            next: Cell::new(None),
            used: Cell::new(0),
        };
        // SAFETY: mapped, aligned, and nobody else's.
        unsafe { header.write(new) };
        Some(Segment(header))
    }

    /// # Safety
    /// No cell of it is out, and no list of the depot has its slabs (A-MAPPED).
    pub(super) unsafe fn unmap(self) {
        // SAFETY: the caller's word; it was mapped by `map`.
        unsafe { system::unmap(self.0.cast(), SEGMENT) };
    }

    pub(super) fn advise_huge(self, welcome: bool) {
        system::advise_huge(self.0.cast(), SEGMENT, welcome);
    }

    fn header(&self) -> &Header {
        // SAFETY: whoever has a segment's name has it from a list of those that are mapped, under the lock (A-MAPPED, A-LOCK).
        unsafe { self.0.as_ref() }
    }

    pub(super) fn slabs(&self) -> impl Iterator<Item = SlabRef> + use<> {
        let first = self.0.as_ptr().cast::<Slab>();
        // They come first in the header.
        const { assert!(offset_of!(Header, slabs) == 0) }
        (0..SLABS).filter_map(move |place| NonNull::new(first.wrapping_add(place)).map(SlabRef))
    }

    pub(super) fn next(&self) -> Option<Segment> {
        self.header().next.get()
    }

    /// Puts it before `first`, the first of a list, and returns the new first.
    pub(super) fn link(self, first: Option<Segment>) -> Segment {
        self.header().next.set(first);
        if let Some(first) = first {
            first.header().previous.set(Some(self));
        }
        self
    }

    /// Takes it out of the list that begins with `first`; returns the new first.
    pub(super) fn unlink(self, first: Option<Segment>) -> Option<Segment> {
        let (previous, next) = (self.header().previous.get(), self.header().next.get());
        if let Some(next) = next {
            next.header().previous.set(previous);
        }
        match previous {
            None => next,
            Some(previous) => {
                previous.header().next.set(next);
                first
            }
        }
    }

    /// Counts slabs that are not empty; returns how many there are now.
    pub(super) fn count_used(&self, more: bool) -> u32 {
        let used = &self.header().used;
        used.set(if more { used.get() + 1 } else { used.get() - 1 });
        used.get()
    }
}

impl Deref for SlabRef {
    type Target = Slab;

    #[inline]
    fn deref(&self) -> &Slab {
        // SAFETY: whoever has a slab's name has it from a list of the depot, or by a cell that is out, under the lock: its segment is mapped (A-MAPPED, A-LOCK).
        unsafe { self.0.as_ref() }
    }
}

impl SlabRef {
    /// The slab of a cell.
    #[inline]
    pub(super) fn of(cell: *mut Free) -> SlabRef {
        let at = cell.addr();
        let place = (at % SEGMENT - FIRST) / SLAB;
        let header = ptr::with_exposed_provenance_mut::<Slab>(at - at % SEGMENT);
        SlabRef(NonNull::new(header.wrapping_add(place)).expect("no cell lies at 0"))
    }

    pub(super) fn segment(self) -> Segment {
        let at = self.0.addr().get();
        let header = ptr::with_exposed_provenance_mut(at - at % SEGMENT);
        Segment(NonNull::new(header).expect("no segment lies at 0"))
    }

    /// Where its cells begin, and how many bytes there are.
    fn bytes(self) -> (NonNull<u8>, usize) {
        let offset = FIRST + SLAB * usize::from(self.place.get());
        let start = self.segment().0.cast::<u8>();
        // SAFETY: within the segment.
        (unsafe { start.add(offset) }, SLAB.min(SEGMENT - offset))
    }

    fn class(self) -> Class {
        Class::numbered(self.class.get())
    }

    /// How many cells it has.
    #[expect(clippy::cast_possible_truncation, reason = "at most SLAB / 24")]
    fn capacity(self) -> u16 {
        (self.bytes().1 / self.class().size()) as u16
    }

    /// Makes cells of that class of an empty one.
    #[expect(clippy::cast_possible_truncation, reason = "Class::COUNT at most")]
    pub(super) fn open(self, class: Class) {
        self.class.set(class.number() as u8);
        self.free.set(None);
        self.begun.set(0);
        self.is_warm.set(true);
    }

    /// Whether it holds no memory.
    pub(super) fn is_blank(self) -> bool {
        !self.is_warm.get()
    }

    pub(super) fn is_full(self) -> bool {
        self.used.get() == self.capacity()
    }

    pub(super) fn is_empty(self) -> bool {
        self.used.get() == 0
    }

    /// Moves free cells to a list, until that has `most`.
    pub(super) fn give(self, cells: &mut Cells, most: u32) {
        let (mut free, mut given) = (self.free.get(), 0);
        while cells.count < most
            && let Some(mut cell) = free
        {
            // SAFETY: free, hence ours (A-CELL, A-LOCK).
            let cell = unsafe { cell.as_mut() };
            free = NonNull::new(cell.next);
            cell.next = cells.first;
            *cells = Cells { first: cell, count: cells.count + 1 };
            given += 1;
        }
        self.free.set(free);
        self.used.set(self.used.get() + given);
    }

    /// Up to `most` cells that have not been handed out, if there are any.
    #[expect(clippy::cast_possible_truncation, reason = "`most` is a batch at most")]
    pub(super) fn begin(self, most: u32) -> Option<Run> {
        let begun = self.begun.get();
        let count = (self.capacity() - begun).min(most as u16);
        if count == 0 {
            return None;
        }
        self.begun.set(begun + count);
        self.used.set(self.used.get() + count);
        // SAFETY: within the slab, since `begun` is less than its capacity.
        let start = unsafe { self.bytes().0.add(usize::from(begun) * self.class().size()) };
        Some(Run { start, count: u32::from(count) })
    }

    /// Takes back a cell.
    ///
    /// # Safety
    /// It is of this slab, and out, and nobody uses it any more.
    #[inline]
    pub(super) unsafe fn take_back(self, cell: *mut Free) {
        let next = self.free.get().map_or(ptr::null_mut(), NonNull::as_ptr);
        // By its address: a pointer that was a node's may reach no further than that.
        let cell = ptr::with_exposed_provenance_mut::<Free>(cell.addr());
        // SAFETY: in the slab, and free from here on (A-CELL).
        unsafe { cell.write(Free { next }) };
        self.free.set(NonNull::new(cell));
        self.used.set(self.used.get() - 1);
    }

    /// Gives the memory of an empty slab to the system; returns whether it has taken it.
    pub(super) fn discard(self) -> bool {
        let (start, len) = self.bytes();
        // SAFETY: within a segment; no cell is out, and those that are free are forgotten before the slab is used again.
        let is_discarded = unsafe { system::discard(start, len) };
        self.is_warm.set(!is_discarded);
        is_discarded
    }
}

/// A list of slabs. Each is in one list at most.
#[derive(Debug, Default)]
pub(super) struct List {
    first: Option<SlabRef>,
    last: Option<SlabRef>,
    len: usize,
}

impl List {
    pub(super) const fn new() -> List {
        List { first: None, last: None, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<SlabRef> {
        self.first
    }

    pub(super) fn last(&self) -> Option<SlabRef> {
        self.last
    }

    pub(super) fn push_front(&mut self, slab: SlabRef) {
        slab.previous.set(None);
        slab.next.set(self.first);
        match self.first.replace(slab) {
            None => self.last = Some(slab),
            Some(next) => next.previous.set(Some(slab)),
        }
        self.len += 1;
    }

    pub(super) fn push_back(&mut self, slab: SlabRef) {
        slab.next.set(None);
        slab.previous.set(self.last);
        match self.last.replace(slab) {
            None => self.first = Some(slab),
            Some(previous) => previous.next.set(Some(slab)),
        }
        self.len += 1;
    }

    /// Takes a slab out that is in this list.
    pub(super) fn remove(&mut self, slab: SlabRef) {
        let (previous, next) = (slab.previous.take(), slab.next.take());
        match previous {
            None => self.first = next,
            Some(previous) => previous.next.set(next),
        }
        match next {
            None => self.last = previous,
            Some(next) => next.previous.set(previous),
        }
        self.len -= 1;
    }
}
