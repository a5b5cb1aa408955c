//! redb, a database engine, on top of the cache: put to work, killed, cut off from power, and given a
//! store that fails.
//!
//! ```text
//! cargo run --release --example redb
//! cargo run --release --example redb -- kill-loop --kills 100
//! cargo run --release --example redb -- power-cuts --clones 1000
//! cargo run --release --example redb -- faults
//! cargo run --release --example redb -- --help
//! ```

#[path = "../../../writeback/examples/common/options.rs"]
#[allow(dead_code, reason = "the other examples have more options")]
mod options;
mod progress;
mod trials;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use engines::Failure;

use options::{FAILED, OK};

/// The result of what cannot go on if it fails. One line for people.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs redb with its pages in a writeback mapping over a real file: tables, ranges, a multimap,
/// savepoints, deletions and compactions by several threads, with every snapshot and the whole
/// database compared with what must be in it.
#[derive(Debug, Parser)]
#[command(
    name = "redb",
    args_conflicts_with_subcommands = true,
    after_help = "Exit status: 0 if nothing was lost or damaged, 1 if something was, 2 if it could not be tried."
)]
struct Arguments {
    #[command(subcommand)]
    trial: Option<Trial>,
    #[command(flatten)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Trial {
    /// Kills a process in the middle of its commits, opens what it left, and so on
    KillLoop(KillLoop),
    /// Cuts the power at writes, flushes and changes of the length of a store in memory
    PowerCuts(PowerCuts),
    /// Has writes, flushes and changes of the length of a store in memory fail
    Faults(Faults),
    /// What the kill loop kills
    #[command(hide = true)]
    Child { file: PathBuf, seed: u64 },
}

#[derive(Debug, Args)]
struct Work {
    /// The database, which stays; an empty file, or none [default: a temporary one]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long to run
    #[arg(long, default_value = "10", value_parser = options::seconds)]
    seconds: Duration,
    /// How many threads commit
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
    /// How many threads read and compare snapshots
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    readers: u16,
    /// Room in the cache, in pages of 4096 bytes; by default the database does not fit into it
    #[arg(long, value_name = "PAGES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    cache_pages: u64,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct KillLoop {
    /// How many times
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// The database, which stays; an empty file, or none [default: a temporary one]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct PowerCuts {
    /// How many power cuts, each of which leaves a copy of the store
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    clones: u64,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Faults {
    /// How many databases have each kind of trouble
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    databases: u64,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    options::main(run)
}

fn run(arguments: Arguments) -> Fallible<u8> {
    let outcome = match &arguments.trial {
        None => trials::work(&arguments.work),
        Some(Trial::KillLoop(options)) => trials::kill_loop(options),
        Some(Trial::PowerCuts(options)) => trials::power_cuts(options),
        Some(Trial::Faults(options)) => trials::faults(options),
        Some(Trial::Child { file, seed }) => trials::child(file, *seed),
    };
    match outcome {
        Ok(text) => options::print(&text).map(|()| OK),
        Err(Failure::Broken(text)) => {
            options::print(&format!("\nNOT KEPT: {text}\n")).map(|()| FAILED)
        }
        Err(failure) => Err(failure.into()),
    }
}
