//! The engine: accounts in pages, and every change of them logged first.

use std::sync::Arc;

use parking_lot::Mutex;
use writeback::hooks::{Crc32c, Log};
use writeback::{Config, Handle, Mapping, MemStore, Result};

use crate::journal::{Journal, Record};

/// Bytes of a balance, and balances of a page: the seal keeps the last bytes of each.
const BALANCE: usize = 8;
const PER_PAGE: usize = 500;

pub(crate) struct Bank {
    mapping: Mapping,
    handle: Handle,
    journal: Arc<Journal>,
    /// Records and changes have the same order.
    turn: Mutex<()>,
}

impl Bank {
    /// Opens the bank on what a crash has left: makes the changes again that the log has.
    pub(crate) fn recover(store: MemStore, journal: Journal, accounts: usize) -> Result<Self> {
        let journal = Arc::new(journal);
        let config = Config::new().log(journal.clone()).seal(Arc::new(Crc32c::new()));
        let mapping = Mapping::with_config(Arc::new(store), config)?;
        let handle = mapping.handle();
        let pages = accounts.div_ceil(PER_PAGE) * mapping.page_size();
        if mapping.len() < pages as u64 {
            handle.set_len(pages as u64)?;
        }
        let bank = Self { mapping, handle, journal, turn: Mutex::new(()) };
        for (position, record) in bank.journal.records() {
            bank.apply(record, position)?;
        }
        Ok(bank)
    }

    fn offset(&self, account: usize) -> u64 {
        let page = account / PER_PAGE * self.mapping.page_size();
        (page + account % PER_PAGE * BALANCE) as u64
    }

    pub(crate) fn balance(&self, account: usize) -> Result<u64> {
        let mut bytes = [0; BALANCE];
        self.handle.read_at(&mut bytes, self.offset(account))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Makes the changes of a record.
    fn apply(&self, record: Record, position: u64) -> Result<()> {
        for (account, balance) in record.accounts.into_iter().zip(record.balances) {
            let bytes = balance.to_le_bytes();
            self.handle.write_logged_at(&bytes, self.offset(account), position)?;
        }
        Ok(())
    }

    /// Moves up to `amount` from one account to another; returns the record and its position. It is not
    /// durable before it is [committed](Self::commit).
    pub(crate) fn transfer(&self, accounts: [usize; 2], amount: u64) -> Result<(u64, Record)> {
        let _turn = self.turn.lock();
        let [from, to] = [self.balance(accounts[0])?, self.balance(accounts[1])?];
        let amount = amount.min(from);
        let balances =
            if accounts[0] == accounts[1] { [from, from] } else { [from - amount, to + amount] };
        let record = Record { accounts, balances };
        Ok((self.make(record)?, record))
    }

    /// Logs a record and makes its changes; returns its position.
    pub(crate) fn make(&self, record: Record) -> Result<u64> {
        // From before the record is appended until both pages have it, the log is not truncated beyond it.
        let hold = self.mapping.hold_log()?;
        let position = self.journal.append(record);
        self.apply(record, position)?;
        drop(hold);
        Ok(position)
    }

    pub(crate) fn commit(&self, position: u64) -> Result<()> {
        // The log alone. The pages follow, in any order and at any time.
        self.journal.ensure(position).expect("it is in memory");
        Ok(())
    }

    /// Writes the pages and drops the part of the log that nothing needs any more; returns how many records.
    pub(crate) fn checkpoint(&self) -> Result<u64> {
        self.handle.sync_data()?;
        // First the end, then the bound: what is appended in between is beyond the end.
        let end = self.journal.end();
        let needed_from = self.mapping.oldest_unwritten().unwrap_or(end).min(end);
        Ok(self.journal.truncate(needed_from))
    }

    /// Writes some pages, as a flusher would.
    pub(crate) fn write_some(&self) -> Result<()> {
        self.mapping.write_cyclic(writeback::Budget::pages(2)).map(|_| ())
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }
}
