//! Any sequence of writes, marks, holds, passes, ends and cuts leaves each block as a simple model has it: dirty, held, being
//! written, or in the store as it is in memory.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use writeback::page::Hold;
use writeback::store::{FlushKind, Store};
use writeback::{Budget, CacheConfig, Config, Mapping, PageCache, StoreError, SyncMode};

use crate::world::*;

/// Blocks of a page, and of all pages there can be.
const BLOCKS: usize = PAGE / BLOCK;
const BLOCKS_MAX: usize = 5 * BLOCKS;

#[derive(Debug, Clone)]
enum Op {
    Write {
        offset: usize,
        len: usize,
    },
    Mark {
        page: usize,
        blocks: Range<usize>,
    },
    Hold {
        page: usize,
        blocks: Range<usize>,
        takes: bool,
    },
    Release {
        which: usize,
        written: bool,
    },
    Background {
        budget: u64,
    },
    WritePage {
        page: usize,
    },
    Claim {
        page: usize,
        redirties: bool,
    },
    Cancel {
        page: usize,
    },
    /// Writes are kept from now on, or not any more.
    Keep(bool),
    End {
        first: bool,
        well: bool,
    },
    SetLen(usize),
    Sync,
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0..4_usize;
    let blocks =
        (0..BLOCKS, 1..=BLOCKS).prop_map(|(start, len)| start..(start + len).min(BLOCKS)).boxed();
    let offset = prop_oneof![(0..4 * BLOCKS).prop_map(|block| block * BLOCK), 0..4 * PAGE];
    let len = prop_oneof![Just(1_usize), Just(BLOCK), 1..3000_usize];
    prop_oneof![
        8 => (offset.clone(), len).prop_map(|(offset, len)| Op::Write { offset, len }),
        2 => (page.clone(), blocks.clone()).prop_map(|(page, blocks)| Op::Mark { page, blocks }),
        4 => (page.clone(), blocks, any::<bool>())
            .prop_map(|(page, blocks, takes)| Op::Hold { page, blocks, takes }),
        3 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, written)| Op::Release { which, written }),
        6 => prop_oneof![Just(u64::MAX), 0..4_u64].prop_map(|budget| Op::Background { budget }),
        2 => page.clone().prop_map(|page| Op::WritePage { page }),
        2 => (page.clone(), any::<bool>())
            .prop_map(|(page, redirties)| Op::Claim { page, redirties }),
        1 => page.prop_map(|page| Op::Cancel { page }),
        2 => any::<bool>().prop_map(Op::Keep),
        5 => (any::<bool>(), any::<bool>()).prop_map(|(first, well)| Op::End { first, well }),
        1 => offset.prop_map(Op::SetLen),
        2 => Just(Op::Sync),
    ]
}

/// A write of a page that is under way.
#[derive(Debug, Default, Clone)]
struct Under {
    pieces: usize,
    blocks: BTreeSet<usize>,
    failed: BTreeSet<usize>,
}

struct Session {
    cache: PageCache,
    mapping: Mapping,
    store: TestStore,
    holds: Vec<Hold>,
    bytes: Vec<u8>,
    dirty: BTreeSet<usize>,
    held: BTreeSet<usize>,
    taken: BTreeSet<usize>,
    /// Cancelled: memory and store may differ.
    forgotten: BTreeSet<usize>,
    /// Beyond the end at some time since the last sync: what lies there has nothing to be written, and whether it is
    /// dirty is the cache's affair.
    beyond: BTreeSet<usize>,
    under: Vec<Under>,
    /// The blocks of the writes that the store keeps.
    kept: Vec<Range<usize>>,
    spans_seen: usize,
    keeps: bool,
    stamp: u8,
}

impl Session {
    fn new() -> Self {
        let store = TestStore::new();
        store.set_len(2 * PAGE as u64).unwrap();
        store.sync(FlushKind::All).unwrap();
        let cache = PageCache::new(CacheConfig::new(1000)).unwrap();
        let config = Config::new().block_size(BLOCK).cache(&cache);
        let mapping = Mapping::with_config(Arc::new(store.clone()), config).unwrap();
        Self {
            cache,
            mapping,
            store,
            holds: Vec::new(),
            bytes: vec![0; 2 * PAGE],
            dirty: BTreeSet::new(),
            held: BTreeSet::new(),
            taken: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            beyond: BTreeSet::new(),
            under: vec![Under::default(); BLOCKS_MAX / BLOCKS],
            kept: Vec::new(),
            spans_seen: 0,
            keeps: false,
            stamp: 0,
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Write { offset, len } => self.write(offset, len),
            Op::Mark { page, blocks } if self.exists(page) => {
                let cached = self.mapping.page(page as u64).unwrap();
                cached.mark_blocks_dirty(blocks.clone()).unwrap();
                self.mark(blocks.start + page * BLOCKS..blocks.end + page * BLOCKS);
            }
            Op::Hold { page, blocks, takes } if self.exists(page) => self.hold(page, blocks, takes),
            Op::Release { which, written } if !self.holds.is_empty() => {
                let hold = self.holds.swap_remove(which % self.holds.len());
                self.release(hold, written);
            }
            Op::Background { budget } => {
                let budget = Budget::pages(budget);
                self.mapping.write_range(.., SyncMode::Skip, budget).unwrap();
                self.absorb();
            }
            Op::WritePage { page } => {
                self.mapping.write_page(page as u64, SyncMode::Skip).unwrap();
                self.absorb();
            }
            Op::Claim { page, redirties } => self.claim(page, redirties),
            Op::Cancel { page } if self.under[page].pieces == 0 && self.holds.is_empty() => {
                self.cancel(page);
            }
            Op::Keep(keeps) => {
                self.keeps = keeps;
                self.store.writes(if keeps { Writes::Keep } else { Writes::Accept });
            }
            Op::End { first, well } if !self.kept.is_empty() => self.end(first, well),
            Op::SetLen(len) => self.set_len(len),
            Op::Sync => self.sync(),
            _ => {}
        }
        self.note_beyond();
        self.check();
    }

    fn exists(&self, page: usize) -> bool {
        page * PAGE < self.bytes.len()
    }

    fn mark(&mut self, blocks: Range<usize>) {
        for block in blocks {
            self.dirty.insert(block);
            self.forgotten.remove(&block);
        }
    }

    fn write(&mut self, offset: usize, len: usize) {
        self.stamp = self.stamp.wrapping_add(1) | 1;
        self.mapping.handle().write_at(&vec![self.stamp; len], offset as u64).unwrap();
        let end = offset + len;
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[offset..end].fill(self.stamp);
        self.mark(offset / BLOCK..end.div_ceil(BLOCK));
    }

    fn hold(&mut self, page: usize, blocks: Range<usize>, takes: bool) {
        let all = || blocks.clone().map(|block| page * BLOCKS + block);
        let busy = all().any(|b| self.held.contains(&b) || self.under[page].blocks.contains(&b));
        let hold = self.mapping.try_hold_blocks(page as u64, blocks.clone()).unwrap();
        let unknown = all().any(|block| self.beyond.contains(&block));
        assert!(hold.is_none() == busy || unknown, "page {page}, blocks {blocks:?}");
        let Some(mut hold) = hold else { return };
        self.held.extend(all());
        if takes {
            let takes: Vec<_> = all().filter(|block| self.dirty.remove(block)).collect();
            assert!(hold.take_dirty() != takes.is_empty() || unknown);
            self.taken.extend(takes);
        }
        self.holds.push(hold);
    }

    fn release(&mut self, hold: Hold, written: bool) {
        let first = usize::try_from(hold.index()).unwrap() * BLOCKS;
        let blocks: Vec<_> = hold.blocks().map(|block| first + block).collect();
        let taken: Vec<_> = blocks.iter().filter(|block| self.taken.remove(block)).collect();
        if written && !taken.is_empty() {
            self.store.put_beyond(hold.offset(), hold.image().as_ref());
            hold.written();
        } else {
            drop(hold);
            self.dirty.extend(taken);
        }
        blocks.iter().for_each(|block| assert!(self.held.remove(block)));
    }

    /// What the store was given since the last look: blocks that were dirty and are not held, each once.
    fn absorb(&mut self) {
        let spans = self.store.spans().split_off(self.spans_seen);
        self.spans_seen += spans.len();
        for (offset, len) in spans {
            let (start, end) =
                (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
            assert!(start % BLOCK == 0 && (end % BLOCK == 0 || end == self.bytes.len()));
            let blocks = start / BLOCK..end.div_ceil(BLOCK);
            for block in blocks.clone() {
                let dirty = self.dirty.remove(&block) || self.beyond.contains(&block);
                assert!(dirty, "block {block} is written and is not dirty");
                assert!(!self.held.contains(&block), "block {block} is written and is held");
            }
            if self.keeps {
                self.begin(blocks);
            }
        }
    }

    fn note_beyond(&mut self) {
        self.beyond.extend(self.bytes.len().div_ceil(BLOCK)..BLOCKS_MAX);
    }

    fn begin(&mut self, blocks: Range<usize>) {
        let pages: BTreeSet<_> = blocks.clone().map(|block| block / BLOCKS).collect();
        pages.iter().for_each(|page| self.under[*page].pieces += 1);
        blocks.clone().for_each(|block| _ = self.under[block / BLOCKS].blocks.insert(block));
        self.kept.push(blocks);
    }

    fn end(&mut self, first: bool, well: bool) {
        let result = if well { Ok(()) } else { Err(StoreError::NoSpace) };
        let blocks = if first {
            self.store.release_first(result);
            self.kept.remove(0)
        } else {
            self.store.release_last(result);
            self.kept.pop().unwrap()
        };
        self.ended(&blocks, well);
    }

    fn ended(&mut self, blocks: &Range<usize>, well: bool) {
        let pages: BTreeSet<_> = blocks.clone().map(|block| block / BLOCKS).collect();
        for page in pages {
            let under = &mut self.under[page];
            under.pieces -= 1;
            if !well {
                under.failed.extend(blocks.clone().filter(|block| block / BLOCKS == page));
            }
            if under.pieces == 0 {
                let failed = std::mem::take(under).failed;
                self.dirty.extend(failed);
            }
        }
    }

    /// By hand: given back, or written with one piece failing.
    fn claim(&mut self, page: usize, redirties: bool) {
        let Some(locked) = self.mapping.cached_page(page as u64).and_then(|page| page.lock_state())
        else {
            return;
        };
        let Ok(claim) = locked.clear_dirty_for_io() else { return };
        if redirties {
            return claim.redirty();
        }
        let pieces = claim.start_blocks(SyncMode::Skip).unwrap();
        let mut fails = pieces.len() > 1;
        let begun: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let start = usize::try_from(piece.offset()).unwrap();
                start / BLOCK..(start + piece.image().len()).div_ceil(BLOCK)
            })
            .collect();
        for blocks in begun.iter().cloned() {
            for block in blocks.clone() {
                assert!(self.dirty.remove(&block) || self.beyond.contains(&block));
            }
            self.begin(blocks);
            self.kept.pop();
        }
        for (piece, blocks) in pieces.into_iter().zip(begun).rev() {
            if fails {
                drop(piece);
            } else {
                self.store.put_beyond(piece.offset(), piece.image().as_ref());
                piece.end(Ok(()));
            }
            self.ended(&blocks, !fails);
            fails = false;
        }
        self.absorb();
    }

    fn cancel(&mut self, page: usize) {
        let Some(locked) = self.mapping.cached_page(page as u64).and_then(|page| page.lock_state())
        else {
            return;
        };
        locked.cancel_dirty();
        for block in page * BLOCKS..(page + 1) * BLOCKS {
            if self.dirty.remove(&block) {
                self.forgotten.insert(block);
            }
        }
    }

    /// Nothing is left that could be waited for.
    fn drain(&mut self) {
        while let Some(hold) = self.holds.pop() {
            self.release(hold, false);
        }
        while !self.kept.is_empty() {
            self.end(true, true);
        }
        self.step(Op::Keep(false));
    }

    fn set_len(&mut self, len: usize) {
        self.drain();
        self.mapping.handle().set_len(len as u64).unwrap();
        self.bytes.resize(len, 0);
        let pages = len.div_ceil(PAGE) * BLOCKS;
        self.dirty.retain(|block| *block < pages);
        self.forgotten.retain(|block| *block < pages);
        self.absorb();
    }

    fn sync(&mut self) {
        self.drain();
        let handle = self.mapping.handle();
        let _told = handle.check_error();
        handle.sync_data().unwrap();
        self.absorb();
        let left: Vec<_> = self.dirty.difference(&self.beyond).collect();
        assert!(left.is_empty(), "left dirty: {left:?}");
        self.beyond.clear();
        self.note_beyond();
        self.dirty.clear();
        if self.forgotten.is_empty() {
            assert!(self.store.durable() == self.bytes, "not durable");
            assert_settled(&self.mapping);
        }
    }

    fn check(&self) {
        self.mapping.check().unwrap();
        // No claim is open: what is owed is what is dirty, and what is being written.
        self.cache.check().unwrap();
        assert_eq!(self.mapping.len(), self.bytes.len() as u64);
        let accepted = self.store.accepted();
        for page in 0..self.under.len() {
            let blocks = page * BLOCKS..(page + 1) * BLOCKS;
            let bits = |set: &BTreeSet<usize>| {
                blocks.clone().filter(|b| set.contains(b)).map(|b| 1 << (b % BLOCKS)).sum::<u64>()
            };
            let Some(cached) = self.mapping.cached_page(page as u64) else {
                assert_eq!(
                    bits(&self.dirty) & !bits(&self.beyond) | bits(&self.held),
                    0,
                    "page {page} is missing"
                );
                continue;
            };
            let known = !bits(&self.beyond);
            assert_eq!(
                cached.dirty_blocks() & known,
                bits(&self.dirty) & known,
                "dirty blocks of page {page}"
            );
            assert_eq!(cached.held_blocks(), bits(&self.held), "held blocks of page {page}");
            let state = cached.snapshot();
            assert_eq!(state.is_under_writeback(), self.under[page].pieces > 0, "page {page}");
            assert!(state.is_dirty() || (bits(&self.dirty) | bits(&self.taken)) & known == 0);
            for block in blocks {
                self.check_block(block, &accepted);
            }
        }
        let mut seen = vec![0; self.bytes.len() + 1];
        assert_eq!(self.mapping.handle().read_at(&mut seen, 0).unwrap(), self.bytes.len());
        assert!(seen[..self.bytes.len()] == self.bytes, "contents");
    }

    /// A block that is none of these is in the store as it is in memory.
    fn check_block(&self, block: usize, accepted: &[u8]) {
        let under = &self.under[block / BLOCKS].blocks;
        let sets = [&self.dirty, &self.taken, &self.forgotten, &self.beyond, under];
        if sets.iter().any(|set| set.contains(&block)) {
            return;
        }
        let part = |bytes: &[u8]| {
            let within = |at: usize| at.min(bytes.len()).min(self.bytes.len());
            let mut part = bytes[within(block * BLOCK)..within((block + 1) * BLOCK)].to_vec();
            part.resize(BLOCK, 0);
            part
        };
        assert!(part(accepted) == part(&self.bytes), "block {block} is clean and not stored");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_blocks_as_the_model_has_them(ops in prop::collection::vec(op(), 1..60)) {
        let mut session = Session::new();
        ops.into_iter().for_each(|op| session.step(op));
        session.step(Op::Sync);
    }
}
