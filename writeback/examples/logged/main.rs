//! A tiny store with a write-ahead log on top of the cache: several threads move money between accounts, pages
//! are written whenever it suits, and the power is cut again and again.
//!
//! After each cut the bank is opened on what was durable, pages and log, and compared with the history of all
//! transfers: it must be what the durable records say, nothing more and nothing less, and every transfer that
//! was committed must be among them. Run it with `cargo run --release --example logged`.

mod bank;
mod journal;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bank::Bank;
use clap::Parser;
use journal::{Journal, Record};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::MemStore;
use writeback::hooks::Log;

/// Moves money between accounts, and cuts the power.
#[derive(Debug, Parser)]
struct Options {
    /// How often the power is cut.
    #[arg(long, default_value_t = 50)]
    cuts: u64,
    /// Threads that move money.
    #[arg(long, default_value_t = 4)]
    threads: u64,
    /// Transfers of each thread between two cuts.
    #[arg(long, default_value_t = 500)]
    transfers: u64,
    /// Seed of all that is random; the schedule of the threads is not.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const ACCOUNTS: usize = 5000;
const TO_BEGIN_WITH: u64 = 100;

/// Every transfer ever, by position.
type History = Mutex<BTreeMap<u64, Record>>;

/// A thread's work: transfers, some of them committed, some pages written, now and then a checkpoint.
fn work(
    bank: &Bank,
    history: &History,
    committed: &AtomicU64,
    seed: u64,
    transfers: u64,
) -> writeback::Result<u64> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut dropped = 0;
    for _ in 0..transfers {
        let accounts = [random.random_range(0..ACCOUNTS), random.random_range(0..ACCOUNTS)];
        let (position, record) = bank.transfer(accounts, random.random_range(0..50))?;
        history.lock().insert(position, record);
        match random.random_range(0..100) {
            0..20 => {
                bank.commit(position)?;
                committed.fetch_max(position, Ordering::Relaxed);
            }
            20..30 => bank.write_some()?,
            30 => dropped += bank.checkpoint()?,
            _ => {}
        }
    }
    Ok(dropped)
}

/// Compares the bank with what the durable part of the history makes of it.
fn check(bank: &Bank, history: &History, committed: u64) -> Result<(), Box<dyn Error>> {
    let durable = bank.journal().durable();
    if durable < committed {
        return Err(format!("{committed} was committed, the log goes to {durable}").into());
    }
    let mut history = history.lock();
    history.retain(|position, _| *position <= durable); // the rest was never promised
    let mut expected = vec![TO_BEGIN_WITH; ACCOUNTS];
    for record in history.values() {
        for (account, balance) in record.accounts.into_iter().zip(record.balances) {
            expected[account] = balance;
        }
    }
    for (account, balance) in expected.iter().enumerate() {
        let found = bank.balance(account)?;
        if found != *balance {
            return Err(format!("account {account} has {found} and should have {balance}").into());
        }
    }
    let sum: u64 = expected.iter().sum();
    assert_eq!(sum, TO_BEGIN_WITH * ACCOUNTS as u64, "transfers make no money");
    Ok(())
}

/// Gives every account something to begin with, as transfers of an account with itself.
fn open_accounts(bank: &Bank, history: &History) -> writeback::Result<()> {
    for account in 0..ACCOUNTS {
        let record = Record { accounts: [account; 2], balances: [TO_BEGIN_WITH; 2] };
        history.lock().insert(bank.make(record)?, record);
    }
    bank.checkpoint().map(|_| ())
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (mut store, mut journal) = (MemStore::new(), Journal::default());
    let history = History::default();
    open_accounts(&Bank::recover(store.clone(), journal.after_crash(), ACCOUNTS)?, &history)?;
    history.lock().clear();
    let (mut transfers, mut dropped, mut redone) = (0, 0, 0);
    for cut in 0..options.cuts {
        let bank = Bank::recover(store.clone(), journal, ACCOUNTS)?;
        let committed = AtomicU64::new(0);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let (bank, history, committed) = (&bank, &history, &committed);
            let spawn = |thread| {
                let seed = options.seed ^ (cut << 32) ^ (thread << 16);
                scope.spawn(move || work(bank, history, committed, seed, options.transfers))
            };
            let threads: Vec<_> = (0..options.threads).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for outcome in outcomes {
            dropped += outcome?;
        }
        transfers += options.threads * options.transfers;
        // The power goes: what is in memory, and what the store was not told to flush, is gone.
        (store, journal) = (store.after_crash(), bank.journal().after_crash());
        drop(bank);
        redone += journal.records().len();
        let bank = Bank::recover(store.after_crash(), journal.after_crash(), ACCOUNTS)?;
        check(&bank, &history, committed.into_inner())?;
    }
    println!("{transfers} transfers, {} cuts: every balance as the durable log says", options.cuts);
    println!("{dropped} records truncated while at work, {redone} made again after the cuts");
    Ok(())
}
