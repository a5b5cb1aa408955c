//! Where pages' memory is registered with a ring, and when to look for more of it.

use std::io;

use libc::iovec;
use page_frames::{Region, Regions};
use writeback::PageCache;

use crate::ring::Bytes;

/// Pieces of memory that a ring may have. A cache of 8 GiB has so many segments of 2 MiB, if none is beside another.
pub(crate) const PIECES: u32 = 4096;
/// The kernel takes no larger piece.
const PIECE_MAX: usize = 1 << 30;
/// How many calls in unknown memory there are before somebody asks whether the cache has more.
const MISSES: u32 = 16;
const MISSES_MAX: u32 = 1 << 16;

/// A registered piece.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: usize,
    len: usize,
    index: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// `None`: there is none to be registered, or no more.
    source: Option<PageCache>,
    /// In which the pieces were found (I-REGISTERED).
    kept: Option<Regions>,
    /// By their starts.
    pieces: Vec<Piece>,
    misses: u32,
    patience: u32,
}

impl Memory {
    /// That of this cache's pages.
    pub(crate) fn of(source: PageCache) -> Self {
        Self { source: Some(source), patience: MISSES, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len as u64).sum()
    }

    /// The piece that all of these bytes are in.
    pub(crate) fn piece_of(&self, bytes: &Bytes<'_>) -> Option<u16> {
        let slices = match bytes {
            Bytes::One(slice) => std::slice::from_ref(slice),
            Bytes::Many(slices) => slices,
        };
        let first = slices.first()?.iov_base.addr();
        let after = self.pieces.partition_point(|piece| piece.start <= first);
        let piece = self.pieces[..after].last()?;
        let within = |slice: &iovec| {
            let from = slice.iov_base.addr().checked_sub(piece.start);
            from.is_some_and(|from| from + slice.iov_len <= piece.len)
        };
        slices.iter().all(within).then_some(piece.index)
    }

    /// Notes that bytes are in no piece. Tells whether it is time to [`grow`](Self::grow).
    pub(crate) fn missed(&mut self) -> bool {
        if self.source.is_none() {
            return false;
        }
        self.misses += 1;
        self.misses >= self.patience
    }

    /// Registers what the cache has got since, by calls of `register`. Bytes that are no cache's never are registered: so it is
    /// asked less and less often as long as that finds nothing.
    ///
    /// # Errors
    /// What `register` says. Nothing is registered any more then.
    pub(crate) fn grow(
        &mut self,
        register: impl FnMut(u16, Region) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let regions = source.regions();
        let before = self.pieces.len();
        let grown = self.add(&regions, register);
        // Only now the old ones, so that no memory was on its way to the system in between.
        self.kept = if self.pieces.is_empty() { None } else { Some(regions) };
        self.misses = 0;
        let found = self.pieces.len() > before;
        self.patience = if found { MISSES } else { (self.patience * 2).min(MISSES_MAX) };
        if grown.is_err() {
            self.source = None;
        }
        grown
    }

    fn add(
        &mut self,
        regions: &[Region],
        mut register: impl FnMut(u16, Region) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut new: Vec<Region> = Vec::new();
        let mut sorted = regions.to_vec();
        sorted.sort_by_key(|region| region.start.addr());
        for region in sorted {
            let start = region.start.addr();
            let after = self.pieces.partition_point(|piece| piece.start <= start);
            let known = self.pieces[..after].last();
            if known.is_some_and(|piece| start < piece.start + piece.len) || region.len > PIECE_MAX
            {
                continue;
            }
            match new.last_mut() {
                Some(last)
                    if last.start.addr() + last.len == start
                        && last.len + region.len <= PIECE_MAX =>
                {
                    last.len += region.len;
                }
                _ => new.push(region),
            }
        }
        for region in new {
            let index = self.pieces.len();
            if index as u64 >= u64::from(PIECES) {
                return Err(io::Error::other("its memory is in too many pieces"));
            }
            let index = u16::try_from(index).expect("there are fewer pieces");
            register(index, region)?;
            let piece = Piece { start: region.start.addr(), len: region.len, index };
            let at = self.pieces.partition_point(|other| other.start < piece.start);
            self.pieces.insert(at, piece);
        }
        Ok(())
    }
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use std::ptr::{without_provenance, without_provenance_mut};

    use writeback::CacheConfig;

    use super::*;

    fn region(start: usize, len: usize) -> Region {
        Region { start: without_provenance(start), len }
    }

    fn slice(start: usize, len: usize) -> iovec {
        iovec { iov_base: without_provenance_mut(start), iov_len: len }
    }

    fn add(memory: &mut Memory, regions: &[Region]) -> Vec<(u16, usize, usize)> {
        let mut told = Vec::new();
        memory
            .add(regions, |index, region| {
                told.push((index, region.start.addr(), region.len));
                Ok(())
            })
            .unwrap();
        told
    }

    #[test]
    fn bytes_are_in_a_piece_only_if_all_are() {
        let mut memory = Memory::default();
        let told = add(&mut memory, &[region(9000, 100), region(1000, 100), region(1100, 50)]);
        assert_eq!(told, [(0, 1000, 150), (1, 9000, 100)]);
        let one = |start, len| memory.piece_of(&Bytes::One(slice(start, len)));
        assert_eq!((one(1000, 150), one(1100, 50), one(9000, 100)), (Some(0), Some(0), Some(1)));
        assert_eq!(
            (one(999, 1), one(1000, 151), one(1150, 1), one(9099, 2)),
            (None, None, None, None)
        );
        let many = |slices: &[iovec]| memory.piece_of(&Bytes::Many(slices));
        assert_eq!(many(&[slice(1100, 10), slice(1000, 10)]), Some(0));
        assert_eq!(many(&[slice(1100, 10), slice(9000, 10)]), None);
        assert_eq!(many(&[slice(9000, 10), slice(1000, 10)]), None);
        assert_eq!(many(&[]), None);
        assert_eq!(memory.bytes(), 250);
    }

    #[test]
    fn what_is_known_is_not_registered_again() {
        let mut memory = Memory::default();
        add(&mut memory, &[region(1000, 100), region(5000, 100)]);
        let told = add(&mut memory, &[region(1000, 100), region(3000, 7), region(5000, 100)]);
        assert_eq!(told, [(2, 3000, 7)]);
        // They are found by where they are, and not by when they came.
        assert_eq!(memory.piece_of(&Bytes::One(slice(3000, 7))), Some(2));
        assert_eq!(memory.piece_of(&Bytes::One(slice(5000, 7))), Some(1));
    }

    #[test]
    fn memory_of_nobody_is_asked_for_less_and_less_often_and_after_a_refusal_never() {
        let cache = PageCache::new(CacheConfig::new(16)).unwrap();
        let mut memory = Memory::of(cache);
        let mut asked = 0;
        for _ in 0..1000 {
            if memory.missed() {
                asked += 1;
                memory.grow(|_, _| Ok(())).unwrap();
            }
        }
        assert!((4..=7).contains(&asked), "{asked} times");
        // Now there is some.
        let cache = memory.source.clone().unwrap();
        let config = writeback::Config::new().cache(&cache);
        let store = std::sync::Arc::new(writeback::MemStore::new());
        let mapping = writeback::Mapping::with_config(store, config).unwrap();
        mapping.handle().write_at(&[1; 8192], 0).unwrap();
        memory.grow(|_, _| Err(io::ErrorKind::OutOfMemory.into())).unwrap_err();
        assert!(memory.pieces.is_empty() && (0..100_000).all(|_| !memory.missed()));
        assert!(memory.kept.is_none(), "what is not registered may go");
        // However long nobody asks.
        memory.misses = u32::MAX;
        assert!(!memory.missed());
    }
}
