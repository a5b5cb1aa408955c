//! Transactions of a [`history`](crate::history) on a redb database, and a look at what it holds.
//!
//! Three tables: the number of the last transaction; the records; and an index of the records by the
//! length of their values, a multimap. All three change together in every transaction, so a
//! transaction that is there in part shows as tables that do not fit each other.

use std::ops::RangeInclusive;

use parking_lot::Mutex;
use redb::{
    Database, Durability, Error, MultimapTable, MultimapTableDefinition, ReadTransaction,
    ReadableDatabase, ReadableMultimapTable, ReadableTable, StorageBackend, Table, TableDefinition,
    WriteTransaction,
};

use crate::failure::Failure;
use crate::history::{Change, History, Level, Print, Savepoint, Transaction, value};

const LAST: TableDefinition<'_, (), u64> = TableDefinition::new("last transaction");
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const BY_LENGTH: MultimapTableDefinition<'_, u64, u64> =
    MultimapTableDefinition::new("records by length");

/// What redb keeps itself: little, so that pages go to the backend before their commit, and come from
/// there.
const CACHE_BYTES: usize = 512 * 1024;

/// Opens the database in `backend`, or makes one if that is empty.
///
/// # Errors
/// As redb's.
pub fn open(backend: impl StorageBackend) -> Result<Database, Error> {
    let mut builder = Database::builder();
    Ok(builder.set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// Performs and commits the next transaction of `history`; `begun` is told its number before anything is
/// changed. Of several threads that call this, one is served after the other.
///
/// # Errors
/// As redb's. The history is one transaction further than the database may be, then.
pub fn commit_next(
    database: &Database,
    history: &Mutex<History>,
    begun: impl FnOnce(u64),
) -> Result<Transaction, Error> {
    // From here on to the commit there is no other writer.
    let mut change = database.begin_write()?;
    let transaction = history.lock().advance();
    begun(transaction.number);
    perform(&mut change, &transaction)?;
    change.commit()?;
    Ok(transaction)
}

/// Performs the next transaction of `history` and aborts it, as if it had never been begun.
///
/// # Errors
/// As redb's.
pub fn abort_next(database: &Database, history: &Mutex<History>) -> Result<(), Error> {
    let mut change = database.begin_write()?;
    let transaction = history.lock().clone().advance();
    perform(&mut change, &transaction)?;
    Ok(change.abort()?)
}

/// Does in `change` all that `transaction` does, but for the commit.
fn perform(change: &mut WriteTransaction, transaction: &Transaction) -> Result<(), Error> {
    change.set_durability(match transaction.level {
        Level::None => Durability::None,
        _ => Durability::Immediate,
    })?;
    change.set_two_phase_commit(transaction.level == Level::TwoPhase);
    change.set_quick_repair(transaction.level == Level::QuickRepair);
    match transaction.savepoint {
        Savepoint::Keep => {}
        Savepoint::Make => drop(change.persistent_savepoint()?),
        Savepoint::Restore => {
            let made = change.list_persistent_savepoints()?.last();
            let made = made.ok_or(Error::InvalidSavepoint)?;
            change.restore_savepoint(&change.get_persistent_savepoint(made)?)?;
            change.delete_persistent_savepoint(made)?;
        }
    }
    change.open_table(LAST)?.insert((), transaction.number)?;
    let mut tables = Tables {
        records: change.open_table(RECORDS)?,
        by_length: change.open_multimap_table(BY_LENGTH)?,
    };
    transaction.changes.iter().try_for_each(|&step| tables.perform(transaction.number, step))
}

struct Tables<'t> {
    records: Table<'t, u64, &'static [u8]>,
    by_length: MultimapTable<'t, u64, u64>,
}

impl Tables<'_> {
    fn perform(&mut self, number: u64, step: Change) -> Result<(), Error> {
        let (key, old) = match step {
            Change::Put(key) => {
                let bytes = value(key, number);
                let old = self.records.insert(key, &*bytes)?.map(|old| old.value().len());
                if old != Some(bytes.len()) {
                    self.by_length.insert(bytes.len() as u64, key)?;
                }
                (key, old.filter(|&len| len != bytes.len()))
            }
            Change::Remove(key) => (key, self.records.remove(key)?.map(|old| old.value().len())),
            Change::RemoveRange(from, to) => {
                for removed in self.records.extract_from_if(from..to, |_, _| true)? {
                    let (key, old) = removed?;
                    self.by_length.remove(old.value().len() as u64, key.value())?;
                }
                return Ok(());
            }
        };
        if let Some(len) = old {
            self.by_length.remove(len as u64, key)?;
        }
        Ok(())
    }
}

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// The number of the last transaction.
    pub number: u64,
    /// The records.
    pub print: Print,
}

/// Reads every record and the whole index, and compares the bytes of each.
///
/// # Errors
/// [`Failure::Broken`] if a record is not what a transaction wrote, or the index does not fit.
pub fn contents(read: &ReadTransaction) -> Result<Contents, Failure> {
    let last = match read.open_table(LAST).map_err(Error::from) {
        Err(Error::TableDoesNotExist(_)) => {
            return Ok(Contents { number: 0, print: Print::default() });
        }
        last => last?.get(()).map_err(Error::from)?.map(|last| last.value()),
    };
    let number = last.ok_or_else(|| Failure::Broken("no transaction has a number".into()))?;
    let (mut print, mut lengths) = (Print::default(), Print::default());
    let records = read.open_table(RECORDS).map_err(Error::from)?;
    for record in records.iter().map_err(Error::from)? {
        let (key, bytes) = record.map_err(Error::from)?;
        let (key, bytes) = (key.value(), bytes.value());
        let version = bytes.first_chunk().map(|version| u64::from_le_bytes(*version));
        match version.filter(|&version| value(key, version) == bytes) {
            Some(version) => print.add(key, version),
            None => return Err(Failure::Broken(format!("record {key} is not what was written"))),
        }
        lengths.add(key, bytes.len() as u64);
    }
    let mut indexed = Print::default();
    let by_length = read.open_multimap_table(BY_LENGTH).map_err(Error::from)?;
    for entry in by_length.iter().map_err(Error::from)? {
        let (len, keys) = entry.map_err(Error::from)?;
        for key in keys {
            indexed.add(key.map_err(Error::from)?.value(), len.value());
        }
    }
    if indexed != lengths {
        return Err(Failure::Broken("the index does not fit the records".into()));
    }
    Ok(Contents { number, print })
}

/// Checks a database as it must be after a crash: its own integrity check passes, it holds what the
/// transactions up to one of them left, no more and no less, and that one is among `possible`: at
/// the least the last whose commit was acknowledged as durable, at the most the last begun.
/// Returns its number.
///
/// # Errors
/// [`Failure::Broken`] otherwise.
pub fn verify(
    database: &mut Database,
    history: &mut History,
    possible: RangeInclusive<u64>,
) -> Result<u64, Failure> {
    if !database.check_integrity().map_err(Error::from)? {
        return Err(Failure::Broken("redb's integrity check found damage".into()));
    }
    let read = database.begin_read().map_err(Error::from)?;
    let Contents { number, print } = contents(&read)?;
    if number < *possible.start() {
        let acknowledged = possible.start();
        return Err(Failure::Broken(format!(
            "transaction {acknowledged} was acknowledged as durable, but the last one there is {number}"
        )));
    }
    if number > *possible.end() {
        return Err(Failure::Broken(format!("transaction {number} was never begun")));
    }
    history.reach(number);
    match history.print(number) {
        Some(expected) if expected == print => Ok(number),
        Some(expected) => Err(Failure::Broken(format!(
            "after transaction {number} there must be {expected:?}, not {print:?}"
        ))),
        None => Err(Failure::Broken(format!("there is no transaction {number}"))),
    }
}
