//! Measures `tagged-radix` beside an ordered map behind a lock and prints a Markdown table.

use benches::harness::{self, Effort};
use benches::table;
use benches::workload::{WORKLOADS, Workload};
use clap::Parser;

/// Measure lookups, tags and tagged walks against a BTreeMap behind a lock.
#[derive(Debug, Parser)]
struct Options {
    /// Take fewer and shorter samples: figures in seconds, good for a look only.
    #[arg(long)]
    quick: bool,
    /// Run only workloads whose title contains this text.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let options = Options::parse();
    let effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    let chosen = |workload: &&Workload| workload.title().contains(&options.only);
    let workloads: Vec<Workload> = WORKLOADS.iter().filter(chosen).copied().collect();
    let mut done = 0;
    let outcomes = harness::run(&workloads, effort, |outcome| {
        done += 1;
        eprintln!(
            "{done}/{}: {}, {} thread(s)",
            workloads.len(),
            outcome.workload.title(),
            outcome.workload.threads
        );
    });
    print!("{}", table::markdown(&outcomes));
}
