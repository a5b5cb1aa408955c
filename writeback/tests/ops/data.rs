//! The operations. Offsets and lengths are drawn so that they collide on a few small pages.

/// Bytes of a page: the fewest there can be, so that histories of pages are cheap to keep.
pub(crate) const PAGE: usize = 512;

/// Pages that operations begin in.
const PAGES: u8 = 12;

/// A page and a place in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) page: u8,
    pub(crate) within: u16,
}

impl Spot {
    pub(crate) fn page(self) -> u64 {
        u64::from(self.page % PAGES)
    }

    pub(crate) fn within(self) -> usize {
        usize::from(self.within) % PAGE
    }

    pub(crate) fn offset(self) -> u64 {
        self.page() * PAGE as u64 + self.within() as u64
    }
}

/// First and last of a range of pages; nothing if they are the wrong way round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    pub(crate) first: u8,
    pub(crate) last: u8,
}

impl Pages {
    pub(crate) fn first(self) -> u64 {
        u64::from(self.first % PAGES)
    }

    /// Beyond `PAGES`: without an end.
    pub(crate) fn last(self) -> u64 {
        match self.last % (PAGES + 2) {
            last if last < PAGES => last.into(),
            _ => u64::MAX,
        }
    }
}

/// How a page is marked dirty without a change of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Page,
    Locked,
}

/// Which sync, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sync {
    Data,
    All,
    Range { from: Spot, len: u16 },
}

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Io,
    NoSpace,
    Short,
    /// Nobody says how it ended.
    Lost,
}

/// What the store is told to do wrong the next few times.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A write, after so many bytes of it were accepted.
    Write {
        wrong: Wrong,
        accepted: u16,
    },
    Read,
    Flush,
    SetLen,
}

/// What becomes of a claim, a write or a hold that was taken by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// A claim is put under writeback, a write ends well, a hold is dropped.
    Good,
    /// A claim is redirtied, a write fails.
    Bad(Wrong),
    Dropped,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Write {
        at: Spot,
        len: u16,
    },
    /// Through a reference to the page, within it.
    WriteInPage {
        at: Spot,
        len: u16,
    },
    WriteFarOut,
    Read {
        at: Spot,
        len: u16,
    },
    MarkDirty {
        page: u8,
        how: Mark,
    },
    SetLen(Spot),
    Sync {
        handle: u8,
        what: Sync,
    },
    CheckError {
        handle: u8,
    },
    /// A handle is opened in place of another.
    Open {
        handle: u8,
    },
    WritePage {
        page: u8,
        wait: bool,
    },
    /// Mode `Wait`.
    WriteRange(Pages),
    /// Mode `Skip`; `early`: also right after a failure, when the cache may back off.
    Background {
        pages: Pages,
        budget: u8,
        early: bool,
    },
    Cyclic {
        budget: u8,
    },
    WaitRange(Pages),
    Claim {
        page: u8,
    },
    Hold {
        page: u8,
    },
    /// Decides what was taken by hand.
    End {
        which: u8,
        how: Ending,
    },
    Cancel {
        page: u8,
    },
    /// From now on writes end when they are told to, or when an operation waits for them, in an order that `order` makes.
    Late {
        order: u8,
    },
    AtOnce,
    /// A late write ends.
    Deliver {
        which: u8,
    },
    Fail {
        fault: Fault,
        times: u8,
    },
    Close,
    /// The power goes; what was not flushed survives here and there.
    Crash {
        survives: u32,
    },
}

/// How it all begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) batch_pages_max: u8,
    pub(crate) len: u16,
}
