//! A page cache on a real file, and the proof that its `sync_data` misses no page.
//!
//! ```text
//! cargo run --release --example pagecache
//! cargo run --release --example pagecache -- --input FILE
//! cargo run --release --example pagecache -- --help
//! ```

#[path = "../common/mod.rs"]
mod common;
mod input;
mod summary;
mod target;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{HumanBytes, HumanCount};
use writeback::{CacheConfig, Config, PageCache};

use common::Fallible;
use common::options::{self, FAILED, OK, Options, TROUBLE};
use common::progress::say;
use common::run::{Plan, conduct};
use common::target::Target;
use common::witness::VersionOf;
use common::workload::{Numbered, Workload};
use input::Input;
use summary::Digests;
use target::Named;

/// Changes, flushes, holds and syncs the pages of a file all at once, and checks after each sync,
/// past the cache, that every page dirtied before it is in the file.
#[derive(Debug, Parser)]
#[command(
    name = "pagecache",
    after_help = "Exit status: 0 if no page was missed, 1 if one was, 2 if it could not be tried."
)]
struct Arguments {
    /// The file to work on, which stays [default: a temporary one]
    file: Option<PathBuf>,
    /// Load this file's contents, rewrite them in shuffled order and compare the result; it is only read
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    input: Option<PathBuf>,
    /// Overwrite FILE if it exists and is not empty
    #[arg(long, requires = "file")]
    force: bool,
    /// Keep no more than so many pages in memory [default: a quarter of the file's, at least 64]
    #[arg(long, value_name = "PAGES", value_parser = clap::value_parser!(u64).range(1..))]
    capacity: Option<u64>,
    /// How long to run
    #[arg(long, default_value = "10", value_parser = options::seconds)]
    seconds: Duration,
    #[command(flatten)]
    options: Options,
}

impl Arguments {
    /// Bytes that are kept in memory of a file of so many.
    fn capacity(&self, size: u64) -> u64 {
        let page = self.options.page_size as u64;
        self.capacity.map_or((size / 4).max(64 * page), |pages| pages.saturating_mul(page))
    }
}

fn main() -> ExitCode {
    options::main(run)
}

fn run(arguments: Arguments) -> Fallible<u8> {
    // Whatever can be wrong is found out before FILE is touched.
    let contents = Contents::choose(&arguments)?;
    let syncers = arguments.options.syncers;
    let Some(path) = &arguments.file else {
        return work(&arguments, &contents, Target::temporary(syncers)?);
    };
    let named = Named::open(path, arguments.force)?;
    if let Contents::Input { input, .. } = &contents
        && named.is(input)?
    {
        return Err("FILE and --input are the same file, and the input is never written".into());
    }
    let done = named.prepare(syncers).and_then(|target| work(&arguments, &contents, target));
    done.inspect_err(|_| named.discard())
}

/// What the pages are to hold.
enum Contents {
    Numbered(Numbered),
    Input { input: Input, digest: String },
}

impl Contents {
    fn choose(arguments: &Arguments) -> Fallible<Self> {
        let options = &arguments.options;
        let (page_size, seed) = (options.page_size, options.seed);
        let Some(path) = &arguments.input else {
            let pages = options.pages(Some(arguments.capacity(options.size)))?;
            return Ok(Self::Numbered(Numbered { pages, page_size, seed }));
        };
        let input = Input::open(path, page_size, seed)?;
        options::enough_memory(input.len().min(arguments.capacity(input.len())))?;
        let digest = input.digest()?;
        Ok(Self::Input { input, digest })
    }

    fn workload(&self) -> &dyn Workload {
        match self {
            Self::Numbered(numbered) => numbered,
            Self::Input { input, .. } => input,
        }
    }

    fn len(&self, page_size: usize) -> u64 {
        match self {
            Self::Numbered(numbered) => (numbered.pages * page_size) as u64,
            Self::Input { input, .. } => input.len(),
        }
    }

    fn version_of(&self) -> VersionOf {
        match self {
            Self::Numbered(_) => Numbered::claimed_version,
            Self::Input { .. } => |_| u64::MAX,
        }
    }

    /// After the run: the input and what became of it.
    fn digests(&self, result: &File) -> Fallible<Option<Digests>> {
        match self {
            Self::Numbered(_) => Ok(None),
            Self::Input { input, digest } => Digests::compare(input, digest, result).map(Some),
        }
    }
}

/// Runs the workload on `target` and says what came of it.
fn work(arguments: &Arguments, contents: &Contents, target: Target) -> Fallible<u8> {
    let options = &arguments.options;
    let capacity = arguments.capacity(contents.len(options.page_size));
    let plan = Plan {
        label: "pagecache",
        workload: contents.workload(),
        version_of: contents.version_of(),
        config: config(options.page_size, capacity)?,
        page_size: options.page_size,
        length: arguments.seconds,
        writers: options.writers,
        syncers: options.syncers,
        seed: options.seed,
    };
    if !options.json {
        options::print(&introduction(&plan, capacity, &target.describe()))?;
    }
    let name = target.name.clone();
    let result = target.file.try_clone()?;
    let outcome = conduct(&plan, target).map_err(|error| format!("{name}: {error}"))?;
    let digests = contents.digests(&result)?;
    let passed = outcome.is_clean() && digests.as_ref().is_none_or(Digests::are_equal);
    let summary = if options.json {
        summary::json(&name, passed, &outcome, digests.as_ref())
    } else {
        summary::text(&outcome, digests.as_ref())
    };
    if let Err(error) = options::print(&summary) {
        // Not a reason to take the file back.
        say(&format!("error: {error}"));
        return Ok(TROUBLE);
    }
    Ok(if passed { OK } else { FAILED })
}

fn config(page_size: usize, capacity: u64) -> Fallible<Config> {
    // Who holds a page for a while may hold all that is dirty.
    let limits = CacheConfig::bytes(capacity).stall_max(Duration::from_secs(30));
    Ok(Config::new().page_size(page_size).cache(&PageCache::new(limits)?))
}

fn introduction(plan: &Plan<'_>, capacity: u64, name: &str) -> String {
    format!(
        "On {name}: {} pages of {}, {} of them in memory at most, {} writers, {} syncers, a flusher, a journal, a reclaimer.\n",
        HumanCount(plan.workload.pages() as u64),
        HumanBytes(plan.page_size as u64),
        HumanCount(capacity / plan.page_size as u64),
        plan.writers,
        plan.syncers,
    )
}
