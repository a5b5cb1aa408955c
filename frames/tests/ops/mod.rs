//! Random operations on a pool, beside a simple model of it. The fuzz target `frames_ops` runs the same.

use std::collections::BTreeMap;

use page_frames::{CowFrame, Error, FRAME_LEN_MIN, Frame, Limit, Pool, Regions, SharedFrame};

/// Sizes from 512 bytes to 4 MiB.
pub(crate) const CLASSES: u32 = 14;

/// One operation. Numbers of handles are taken modulo the handles there are.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Take {
        class: u32,
        limit: Limit,
        zeroed: bool,
    },
    /// Takes frames of one size while the limit allows it.
    TakeAll {
        class: u32,
    },
    /// Writes to a handle that can be written.
    Fill {
        at: usize,
        byte: u8,
        limit: Limit,
    },
    /// Makes an image of a `CowFrame`, or another owner of a shared frame; copies a frame.
    Share {
        at: usize,
        limit: Limit,
    },
    /// Makes another kind of handle of it.
    Turn {
        at: usize,
    },
    Drop {
        at: usize,
    },
    /// Drops all but every `keep`th handle.
    Thin {
        keep: usize,
    },
    Resize {
        limit: u64,
    },
    Trim,
    Pin,
    Unpin,
    /// No pool is left, while its frames are; then there is a new one.
    Close,
}

/// A handle, and what the model knows of it.
struct Held {
    handle: Handle,
    /// Which block it is; images of one page have the same.
    block: u64,
    /// What every byte of it is.
    byte: u8,
}

enum Handle {
    Frame(Frame),
    Cow(CowFrame),
    Shared(SharedFrame),
}

impl Handle {
    fn bytes(&self) -> &[u8] {
        match self {
            Handle::Frame(frame) => frame,
            Handle::Cow(frame) => frame,
            Handle::Shared(frame) => frame,
        }
    }
}

/// Whether all bytes are `byte`. Each is compared with the next, which is fast in a debug build, too.
fn all_are(bytes: &[u8], byte: u8) -> bool {
    bytes[0] == byte && bytes[1..] == bytes[..bytes.len() - 1]
}

/// A pool and its model.
pub(crate) struct Session {
    pool: Pool,
    limit: u64,
    held: Vec<Held>,
    pins: Vec<Regions>,
    blocks: u64,
    /// More than the limit was out since the magazines were last known to be empty: they may hand out more than it.
    was_over: bool,
    /// Smaller frames than the system's pages were taken: what is free between them may have to stay.
    has_small: bool,
}

impl Session {
    pub(crate) fn new(limit: u64) -> Session {
        Session {
            pool: Pool::new(limit),
            limit,
            held: Vec::new(),
            pins: Vec::new(),
            blocks: 0,
            was_over: false,
            has_small: false,
        }
    }

    /// Does one operation, compares its result, and checks everything.
    pub(crate) fn step(&mut self, op: &Op) {
        let at = |at: usize, held: &[Held]| (!held.is_empty()).then(|| at % held.len());
        match *op {
            Op::Take { class, limit, zeroed } => self.take(class, limit, zeroed),
            Op::TakeAll { class } => self.take_all(class % CLASSES),
            Op::Fill { at: number, byte, limit } => {
                if let Some(number) = at(number, &self.held) {
                    self.fill(number, byte, limit);
                }
            }
            Op::Share { at: number, limit } => {
                if let Some(number) = at(number, &self.held) {
                    self.share(number, limit);
                }
            }
            Op::Turn { at: number } => {
                if let Some(number) = at(number, &self.held) {
                    self.turn(number);
                }
            }
            Op::Drop { at: number } => {
                if let Some(number) = at(number, &self.held) {
                    drop(self.held.swap_remove(number));
                }
            }
            Op::Thin { keep } => {
                let mut turn = 0;
                self.held.retain(|_| {
                    turn += 1;
                    turn % keep.max(2) == 0
                });
            }
            Op::Resize { limit } => {
                self.pool.resize(limit);
                self.limit = limit;
            }
            Op::Trim => {
                self.pool.trim();
                self.was_over = false;
            }
            Op::Pin => self.pins.push(self.pool.regions()),
            Op::Unpin => drop(self.pins.pop()),
            Op::Close => self.close(),
        }
        self.check();
    }

    fn take_all(&mut self, class: u32) {
        let mut in_use = self.in_use();
        let len = FRAME_LEN_MIN << class;
        while in_use + len as u64 <= self.limit {
            let zeroed = self.blocks.is_multiple_of(2);
            let take = if zeroed { Pool::zeroed } else { Pool::frame };
            let mut frame =
                take(&self.pool, len, Limit::Keep).expect("there is room for it, to the byte");
            assert!(!zeroed || all_are(&frame, 0), "a frame that should be zero is not");
            let block = self.next_block();
            let byte = block.to_le_bytes()[0];
            frame.fill(byte);
            self.held.push(Held { handle: Handle::Frame(frame), block, byte });
            in_use += len as u64;
            self.has_small |= len < 4096;
        }
    }

    fn next_block(&mut self) -> u64 {
        self.blocks += 1;
        self.blocks
    }

    /// Bytes of all blocks that are out.
    fn in_use(&self) -> u64 {
        let lens: BTreeMap<u64, usize> =
            self.held.iter().map(|held| (held.block, held.handle.bytes().len())).collect();
        lens.values().map(|len| *len as u64).sum()
    }

    /// Whether this is the right answer to a request for `len` bytes, made when `in_use` bytes were out.
    fn expect<T>(&self, result: &Result<T, Error>, in_use: u64, len: usize, limit: Limit) {
        let fits = limit == Limit::Exceed || in_use + len as u64 <= self.limit;
        match result {
            Ok(_) => assert!(fits || self.was_over, "{in_use} and {len} of {}", self.limit),
            Err(error) => {
                assert!(!fits, "{error}: {in_use} and {len} of {}", self.limit);
                assert_eq!(*error, Error::Full { limit: self.limit });
            }
        }
    }

    fn take(&mut self, class: u32, limit: Limit, zeroed: bool) {
        let len = FRAME_LEN_MIN << (class % CLASSES);
        let in_use = self.in_use();
        let result =
            if zeroed { self.pool.zeroed(len, limit) } else { self.pool.frame(len, limit) };
        self.expect(&result, in_use, len, limit);
        let Ok(mut frame) = result else { return };
        assert_eq!((frame.len(), frame.as_ptr().addr() % len), (len, 0));
        if zeroed {
            assert!(all_are(&frame, 0), "a frame that should be zero is not");
        }
        let block = self.next_block();
        let byte = if zeroed { 0 } else { block.to_le_bytes()[0] | 1 };
        if !zeroed {
            frame.fill(byte);
        }
        self.has_small |= len < 4096;
        self.held.push(Held { handle: Handle::Frame(frame), block, byte });
    }

    fn fill(&mut self, at: usize, byte: u8, limit: Limit) {
        let in_use = self.in_use();
        let (block, old) = (self.held[at].block, self.held[at].byte);
        let has_image = self.held.iter().filter(|held| held.block == block).count() > 1;
        let held = &mut self.held[at];
        match &mut held.handle {
            Handle::Frame(frame) => {
                frame.fill(byte);
                held.byte = byte;
            }
            Handle::Cow(frame) => {
                let (start, len) = (frame.as_ptr(), frame.len());
                let result = frame.make_mut(limit).map(|bytes| bytes.fill(byte));
                let is_same = frame.as_ptr() == start;
                if !has_image {
                    assert_eq!(result, Ok(()), "no copy was needed");
                    assert!(is_same, "it was copied for no image");
                    held.byte = byte;
                    return;
                }
                assert_eq!(is_same, result.is_err());
                self.expect(&result, in_use, len, limit);
                if result.is_ok() {
                    let block = self.next_block();
                    self.held[at].block = block;
                    self.held[at].byte = byte;
                }
            }
            Handle::Shared(frame) => assert_eq!(frame[0], old),
        }
    }

    fn share(&mut self, at: usize, limit: Limit) {
        let in_use = self.in_use();
        let (mut block, byte) = (self.held[at].block, self.held[at].byte);
        let handle = match &mut self.held[at].handle {
            Handle::Frame(frame) => {
                let (result, len) = (frame.try_clone(limit), frame.len());
                self.expect(&result, in_use, len, limit);
                block = self.next_block();
                let Ok(frame) = result else { return };
                Handle::Frame(frame)
            }
            Handle::Cow(frame) => Handle::Shared(frame.share()),
            Handle::Shared(frame) => Handle::Shared(frame.clone()),
        };
        self.held.push(Held { handle, block, byte });
    }

    fn turn(&mut self, at: usize) {
        let Held { handle, block, byte } = self.held.swap_remove(at);
        let is_alone = self.held.iter().all(|held| held.block != block);
        let handle = match handle {
            Handle::Frame(frame) if byte % 2 == 0 => Handle::Cow(CowFrame::from(frame)),
            Handle::Frame(frame) => Handle::Shared(frame.into_shared()),
            Handle::Cow(mut frame) => {
                assert_eq!(frame.get_mut().is_some(), is_alone);
                assert_eq!(frame.take_back(), is_alone);
                Handle::Cow(frame)
            }
            Handle::Shared(frame) => match frame.try_into_frame() {
                Ok(frame) => {
                    assert!(is_alone, "a block has two owners");
                    Handle::Frame(frame)
                }
                Err(frame) => {
                    assert!(!is_alone, "the only owner was refused");
                    Handle::Shared(frame)
                }
            },
        };
        self.held.push(Held { handle, block, byte });
    }

    fn close(&mut self) {
        // Regions keep their pool, too.
        self.pins.clear();
        self.pool = Pool::new(self.limit);
        self.check_frames();
        self.held.clear();
        self.was_over = false;
        self.has_small = false;
    }

    fn check(&mut self) {
        let (in_use, stats) = (self.in_use(), self.pool.stats());
        self.was_over |= in_use > self.limit;
        assert_eq!((stats.limit_bytes, stats.in_use_bytes), (self.limit, in_use));
        assert!(in_use <= stats.held_bytes && stats.held_bytes <= stats.mapped_bytes, "{stats:?}");
        let bounded = cfg!(all(target_os = "linux", not(miri)))
            && self.pins.is_empty()
            && !self.was_over
            && !self.has_small;
        if bounded {
            assert!(stats.held_bytes <= self.limit + (2 << 20), "{stats:?}");
        }
        self.check_frames();
    }

    /// Every block has the bytes it should have, and no two lie in the same place.
    fn check_frames(&self) {
        let mut places = BTreeMap::new();
        for held in &self.held {
            let bytes = held.handle.bytes();
            assert!(all_are(bytes, held.byte), "the bytes of a frame changed");
            let (start, end) = (bytes.as_ptr().addr(), bytes.as_ptr().addr() + bytes.len());
            let before = places.insert(start, (end, held.block));
            assert!(before.is_none_or(|before| before == (end, held.block)), "one block, two uses");
        }
        let mut last = 0;
        for (start, (end, _)) in places {
            assert!(last <= start, "two frames overlap");
            last = end;
        }
    }

    /// Drops everything; nothing may be left.
    pub(crate) fn finish(mut self) {
        self.pins.clear();
        self.held.clear();
        self.pool.trim();
        let stats = self.pool.stats();
        assert_eq!((stats.in_use_bytes, stats.held_bytes, stats.mapped_bytes), (0, 0, 0));
    }
}
