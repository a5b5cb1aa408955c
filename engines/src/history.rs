//! A history of transactions: which there are, and what a database holds after each.
//!
//! Transaction number *n* is a function of the seed, of *n* and of what the ones before it left. So
//! who finds the number of the last transaction in a database knows all that must be in it, and
//! nothing has to be remembered across a crash. This knows nothing of redb.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// Records have keys below this.
const KEYS: u64 = 3000;
/// Every so many transactions a savepoint is made, and restored halfway to the next.
const SAVEPOINT_PERIOD: u64 = 40;
/// Every so many transactions there is a big one.
const BULK_PERIOD: u64 = 97;

/// How a transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not durable before the next commit of another level is.
    None,
    /// Durable when the commit returns: one sync, checksums tell whether it is complete.
    Immediate,
    /// The same with two syncs.
    TwoPhase,
    /// The same with two syncs and the allocator's state written along.
    QuickRepair,
}

/// What a transaction does about savepoints, before all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Savepoint {
    /// Nothing.
    Keep,
    /// Makes one.
    Make,
    /// Goes back to the one there is and removes it.
    Restore,
}

/// A change of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Writes [`value`] of the key and the transaction's number.
    Put(u64),
    /// Removes a record that may not exist.
    Remove(u64),
    /// Removes all records with keys from the first on and below the second.
    RemoveRange(u64, u64),
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Counted from 1.
    pub number: u64,
    /// How it is committed.
    pub level: Level,
    /// What it does first.
    pub savepoint: Savepoint,
    /// What it does then, in this order.
    pub changes: Vec<Change>,
}

/// The contents of a database, told apart by a sum over all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Print {
    /// How many records there are.
    pub records: u64,
    sum: u64,
}

impl Print {
    /// Adds a record: its key, and the number of the transaction that wrote it.
    pub fn add(&mut self, key: u64, version: u64) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(hash(&(key, version)));
    }

    fn remove(&mut self, key: u64, version: u64) {
        self.records -= 1;
        self.sum = self.sum.wrapping_sub(hash(&(key, version)));
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The bytes that transaction `version` writes for `key`; they begin with `version`. Most are short, a
/// few span pages.
pub fn value(key: u64, version: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(hash(&(key, version)));
    let len_max = match random.random_range(0..100) {
        0 => 30_000,
        1..8 => 2_000,
        _ => 120,
    };
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.resize(8 + random.random_range(0..len_max), 0);
    random.fill_bytes(&mut bytes[8..]);
    bytes
}

/// Key to the number of the transaction that wrote the record.
type Records = BTreeMap<u64, u64>;

/// The transactions from the first to the last one asked for, and what each left.
#[derive(Debug, Clone)]
pub struct History {
    seed: u64,
    records: Records,
    savepoint: Option<(Records, Print)>,
    /// After transaction 0, 1, 2 and so on.
    prints: Vec<Print>,
}

impl History {
    /// No transaction yet.
    pub fn new(seed: u64) -> Self {
        let prints = vec![Print::default()];
        Self { seed, records: Records::new(), savepoint: None, prints }
    }

    /// After transaction `number`.
    pub fn at(seed: u64, number: u64) -> Self {
        let mut history = Self::new(seed);
        history.reach(number);
        history
    }

    /// Goes on to transaction `number`, if it is not there yet.
    pub fn reach(&mut self, number: u64) {
        while self.number() < number {
            self.advance();
        }
    }

    /// What it is made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The last transaction's number.
    pub fn number(&self) -> u64 {
        self.prints.len() as u64 - 1
    }

    /// What is in the database after transaction `number`, if there was one.
    pub fn print(&self, number: u64) -> Option<Print> {
        self.prints.get(usize::try_from(number).ok()?).copied()
    }

    /// The records after the last transaction: key and number of the transaction that wrote it.
    pub fn records(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.records.iter().map(|(&key, &version)| (key, version))
    }

    /// Tells whether a savepoint exists after the last transaction.
    pub fn has_savepoint(&self) -> bool {
        self.savepoint.is_some()
    }

    /// Goes on by one transaction, and says what it does.
    pub fn advance(&mut self) -> Transaction {
        let number = self.number() + 1;
        let mut random = SmallRng::seed_from_u64(hash(&(self.seed, number)));
        let savepoint = match number % SAVEPOINT_PERIOD {
            10 => Savepoint::Make,
            30 => Savepoint::Restore,
            _ => Savepoint::Keep,
        };
        let level = match random.random_range(0..20) {
            // Savepoints in the file are for durable transactions.
            _ if savepoint != Savepoint::Keep => Level::Immediate,
            0..5 => Level::None,
            5..8 => Level::TwoPhase,
            8..10 => Level::QuickRepair,
            _ => Level::Immediate,
        };
        let count =
            if number.is_multiple_of(BULK_PERIOD) { 600 } else { random.random_range(1..40) };
        let changes = (0..count).map(|_| change(&mut random)).collect();
        let transaction = Transaction { number, level, savepoint, changes };
        self.perform(&transaction);
        transaction
    }

    fn perform(&mut self, transaction: &Transaction) {
        let mut print = self.prints.last().copied().unwrap_or_default();
        match transaction.savepoint {
            Savepoint::Keep => {}
            Savepoint::Make => self.savepoint = Some((self.records.clone(), print)),
            Savepoint::Restore => {
                let made = self.savepoint.take();
                (self.records, print) = made.expect("made twenty transactions ago");
            }
        }
        let forget = |print: &mut Print, key, version: Option<u64>| {
            version.into_iter().for_each(|version| print.remove(key, version));
        };
        for &change in &transaction.changes {
            match change {
                Change::Put(key) => {
                    forget(&mut print, key, self.records.insert(key, transaction.number));
                    print.add(key, transaction.number);
                }
                Change::Remove(key) => forget(&mut print, key, self.records.remove(&key)),
                Change::RemoveRange(from, to) => {
                    for (key, version) in self.records.extract_if(from..to, |_, _| true) {
                        print.remove(key, version);
                    }
                }
            }
        }
        self.prints.push(print);
    }
}

fn change(random: &mut SmallRng) -> Change {
    let key = random.random_range(0..KEYS);
    match random.random_range(0..100) {
        0..70 => Change::Put(key),
        70..97 => Change::Remove(key),
        _ => Change::RemoveRange(key, key + random.random_range(1..30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_the_same_however_it_is_reached() {
        let mut at_once = History::at(7, 500);
        let mut in_steps = History::at(7, 123);
        in_steps.reach(500);
        assert_eq!(at_once.prints, in_steps.prints);
        assert!(at_once.records().eq(in_steps.records()));
        assert_eq!(at_once.advance(), in_steps.advance());
        assert_ne!(History::at(8, 500).print(500), at_once.print(500));
    }

    #[test]
    fn prints_are_of_the_records() {
        for number in [0, 1, 9, 10, 29, 30, 31, 97, 300] {
            let history = History::at(3, number);
            let mut print = Print::default();
            history.records().for_each(|(key, version)| print.add(key, version));
            assert_eq!(history.print(number), Some(print), "after transaction {number}");
        }
    }

    #[test]
    fn a_savepoint_is_gone_back_to() {
        let mut history = History::at(1, 9);
        let before = history.records.clone();
        history.reach(29);
        assert_ne!(history.records, before);
        assert!(history.has_savepoint());
        let transaction = history.advance();
        assert!(!history.has_savepoint());
        assert_eq!(transaction.savepoint, Savepoint::Restore);
        let mut again = History { records: before, ..History::at(1, 9) };
        again.perform(&Transaction { savepoint: Savepoint::Keep, ..transaction });
        assert_eq!(history.records, again.records);
    }
}
