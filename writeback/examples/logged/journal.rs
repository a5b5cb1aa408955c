//! The write-ahead log: records in order, of which a prefix is durable.
//!
//! In memory, so that the power can be cut: what a real one would write to a file and sync. It knows nothing
//! of pages.

use std::io;

use parking_lot::Mutex;
use writeback::hooks::Log;

/// One transfer: what both accounts have afterwards. Making it again changes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) accounts: [usize; 2],
    pub(crate) balances: [u64; 2],
}

#[derive(Debug, Default, Clone)]
struct Records {
    /// How many were truncated away. The first record ever has position 1.
    dropped: u64,
    kept: Vec<Record>,
    durable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Records>);

impl Journal {
    pub(crate) fn append(&self, record: Record) -> u64 {
        let mut records = self.0.lock();
        records.kept.push(record);
        records.dropped + records.kept.len() as u64
    }

    /// The position of the next record.
    pub(crate) fn end(&self) -> u64 {
        let records = self.0.lock();
        records.dropped + records.kept.len() as u64 + 1
    }

    /// Drops the records before `position`; returns how many there were.
    pub(crate) fn truncate(&self, position: u64) -> u64 {
        let mut records = self.0.lock();
        let count = position.saturating_sub(records.dropped + 1);
        records.kept.drain(..usize::try_from(count).expect("they are in memory"));
        records.dropped += count;
        count
    }

    /// What is left when the power goes: the durable records.
    pub(crate) fn after_crash(&self) -> Self {
        let mut records = self.0.lock().clone();
        let durable = records.durable.saturating_sub(records.dropped);
        records.kept.truncate(usize::try_from(durable).expect("they are in memory"));
        Self(Mutex::new(records))
    }

    /// The records that were not truncated, with their positions.
    pub(crate) fn records(&self) -> Vec<(u64, Record)> {
        let records = self.0.lock();
        (records.dropped + 1..).zip(records.kept.iter().copied()).collect()
    }
}

impl Log for Journal {
    fn durable(&self) -> u64 {
        self.0.lock().durable
    }

    fn ensure(&self, upto: u64) -> io::Result<()> {
        let mut records = self.0.lock();
        records.durable = records.durable.max(upto);
        Ok(())
    }
}
