//! How long the medium of a [`FaultStore`](super::FaultStore) is, and how long it may be.
//!
//! Each change of the length is one of three: *flushed*, and so in every replay; *certain*, and lost by a
//! power cut unless it is among those that survive; or *uncertain*, because it failed or a flush that was to
//! cover it did. An uncertain change outlives the flushes that succeed later, as uncertain bytes do: it may
//! be on the medium or not, and nobody has said that it is gone. What puts an end to it is a later change
//! that is flushed and leaves the same whether it was there or not.
//!
//! Changes act in the order in which they came. So flushed ones that came after an uncertain one are kept
//! with it: what is left is the length from before the oldest, and what the replay makes of it.

use fastrand::Rng;

use super::media::Cut;

/// A change of the length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) when: u64,
    pub(super) certain: bool,
    pub(super) change: Change,
    /// A flush was to cover it.
    covered: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// By `set_len`: what is beyond is cut.
    Set(u64),
    /// By a write that ends there.
    Grow(u64),
}

impl Change {
    fn apply(self, len: u64) -> u64 {
        match self {
            Change::Set(now) => now,
            Change::Grow(end) => len.max(end),
        }
    }

    /// Whether this, if it is there, leaves what was without an `earlier` one.
    fn undoes(self, earlier: Change) -> bool {
        match (self, earlier) {
            (Change::Set(_), Change::Grow(_)) => true,
            // What an earlier cut has taken from what is left is gone, if that cut was there.
            (Change::Set(len), Change::Set(earlier)) => len <= earlier,
            (Change::Grow(end), Change::Grow(earlier)) => end >= earlier,
            (Change::Grow(_), Change::Set(_)) => false,
        }
    }
}

impl Length {
    /// (when, length), if something may have been cut.
    pub(super) fn cut(&self) -> Option<(u64, u64)> {
        match self.change {
            Change::Set(len) => Some((self.when, len)),
            Change::Grow(_) => None,
        }
    }

    fn is_flushed(&self) -> bool {
        self.certain && self.covered
    }
}

/// The changes of the length that may matter after a power cut, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    /// Before the first of them.
    base: u64,
    changes: Vec<Length>,
}

impl Lengths {
    pub(super) fn new(base: u64) -> Self {
        Self { base, changes: Vec::new() }
    }

    pub(super) fn push(&mut self, when: u64, certain: bool, change: Change) {
        self.changes.push(Length { when, certain, change, covered: false });
    }

    pub(super) fn certain(&self) -> impl Iterator<Item = &Length> {
        self.changes.iter().filter(|length| length.certain)
    }

    /// Those that a flush makes stable which covers what came until `covers`.
    pub(super) fn to_flush(&self, covers: u64) -> impl Iterator<Item = &Length> {
        self.certain().filter(move |length| length.when <= covers && !length.covered)
    }

    /// Tells whether anything is uncertain that a flush was to cover.
    pub(super) fn any_in_doubt(&self) -> bool {
        self.changes.iter().any(|length| length.covered && !length.certain)
    }

    /// A flush has succeeded: forgets what makes no difference any more.
    pub(super) fn flushed(&mut self, covers: u64) {
        self.cover(covers);
        let (mut kept, mut len, mut in_doubt) = (Vec::new(), self.base, false);
        for (at, length) in self.changes.iter().enumerate() {
            if length.covered && !length.certain {
                let later = self.changes[at + 1..].iter().filter(|later| later.is_flushed());
                // Growth within what is there for certain is none.
                let is_nothing =
                    !in_doubt && matches!(length.change, Change::Grow(end) if end <= len);
                if is_nothing || later.into_iter().any(|later| later.change.undoes(length.change)) {
                    continue;
                }
                in_doubt = true;
            } else if length.is_flushed() {
                len = length.change.apply(len);
                if !in_doubt {
                    self.base = len;
                    continue;
                }
            }
            kept.push(*length);
        }
        self.changes = kept;
    }

    /// A flush has failed: of what it was to cover nothing is certain any more.
    pub(super) fn fail(&mut self, covers: u64) {
        for length in &mut self.changes {
            length.certain &= length.when > covers || length.covered;
        }
        self.cover(covers);
    }

    fn cover(&mut self, covers: u64) {
        self.changes.iter_mut().for_each(|length| length.covered |= length.when <= covers);
    }

    /// The length of some moment since the last flush, and the cuts up to then.
    pub(super) fn crash(&self, cut: Cut, random: &mut Rng) -> (u64, Vec<(u64, u64)>) {
        let open = self.changes.iter().filter(|length| !length.covered).count();
        let mut survivors = cut.survivors(open, random);
        let (mut len, mut cuts) = (self.base, Vec::new());
        for length in &self.changes {
            let there = if length.covered {
                cut.has(length.certain, random)
            } else {
                let survives = survivors > 0;
                survivors = survivors.saturating_sub(1);
                survives && cut.has(length.certain, random)
            };
            if there {
                cuts.extend(length.cut());
                len = length.change.apply(len);
            }
        }
        (len, cuts)
    }
}
