//! Who has been told of which error: every handle of every error once, several between two looks as one.

use writeback::{Error, StoreError};

use super::data::Wrong;

pub(crate) const HANDLES: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    latest: Option<Wrong>,
    /// Nobody has been told the latest error.
    unseen: bool,
    pending: [bool; HANDLES],
}

impl Told {
    pub(crate) fn record(&mut self, wrong: Wrong) {
        *self = Told { latest: Some(wrong), unseen: true, pending: [true; HANDLES] };
    }

    /// What was recorded last.
    pub(crate) fn latest(&self) -> Option<Wrong> {
        self.latest
    }

    /// A handle opened now is told what nobody was told.
    pub(crate) fn open(&mut self, handle: usize) {
        self.pending[handle] = self.unseen;
    }

    /// What the handle has to be told now; from then on it has been.
    pub(crate) fn tell(&mut self, handle: usize) -> Option<Wrong> {
        let news = std::mem::take(&mut self.pending[handle]);
        self.unseen &= !news;
        self.latest.filter(|_| news)
    }
}

impl Wrong {
    pub(crate) fn error(self) -> StoreError {
        match self {
            Wrong::Io => std::io::Error::other("told to fail").into(),
            Wrong::NoSpace => StoreError::NoSpace,
            Wrong::Short => StoreError::ShortWrite { expected: 1, accepted: 0 },
            Wrong::Lost => StoreError::Lost,
        }
    }

    fn of(error: &StoreError) -> Wrong {
        match error {
            StoreError::NoSpace => Wrong::NoSpace,
            StoreError::ShortWrite { .. } => Wrong::Short,
            StoreError::Lost => Wrong::Lost,
            _ => Wrong::Io,
        }
    }
}

/// What an operation that looks after durability returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Write(Wrong),
    Length,
    Flush,
    Poisoned,
}

impl Verdict {
    pub(crate) fn of(result: &Result<(), Error>) -> Verdict {
        match result {
            Ok(()) => Verdict::Fine,
            Err(Error::Write { source }) => Verdict::Write(Wrong::of(source)),
            Err(Error::Length { .. }) => Verdict::Length,
            Err(Error::Flush { .. }) => Verdict::Flush,
            Err(Error::Poisoned { .. }) => Verdict::Poisoned,
            Err(other) => panic!("{other}"),
        }
    }
}
