//! Measures `tagged-radix` beside what people use today; writes tables, JSON and pictures.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use benches::contender::{self, CANDIDATES};
use benches::harness::{self, Effort, Outcome, Pool};
use benches::keys::DataSet;
use benches::latency::{self, Latency};
use benches::machine::Machine;
use benches::workload::{GROWTH, Row, WORKLOADS};
use benches::{json, memory, plot, table, target};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Bytes that a contender needs for an entry, on average over all of them and a little more.
const BYTES_AN_ENTRY: u64 = 50;

/// Measure tagged-radix beside other indexes, and print Markdown tables.
#[derive(Debug, Parser)]
struct Options {
    /// Take fewer and shorter samples on small sets: good for a look only.
    #[arg(long)]
    quick: bool,
    /// Measure how costs grow from 1K to 64M entries, instead of all workloads.
    #[arg(long)]
    grow: bool,
    /// Run only rows whose title contains this text; `--list` shows the titles.
    #[arg(long, default_value = "")]
    only: String,
    /// Measure only this contender beside tagged-radix; can be given several times.
    #[arg(long)]
    beside: Vec<String>,
    /// List the rows and measure nothing.
    #[arg(long)]
    list: bool,
    /// Rounds, each with a sample of each contender.
    #[arg(long)]
    rounds: Option<usize>,
    /// Sets of at most so many entries.
    #[arg(long)]
    entries: Option<u64>,
    /// Where report.md, report.json and the pictures go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

/// The rows to run, those on the same set next to each other.
fn rows(options: &Options, effort: Effort) -> Vec<Row> {
    let workloads = if options.grow { GROWTH } else { WORKLOADS };
    let all = workloads.iter().flat_map(|workload| workload.rows(effort.entries_max));
    let chosen = CANDIDATES.iter().filter(|candidate| candidate.is_chosen()).count() as u64;
    let bytes = |row: &Row| row.set.entries() * BYTES_AN_ENTRY * chosen;
    let fits = |row: &Row| memory::available().is_none_or(|most| bytes(row) < most);
    let mut rows: Vec<Row> = all.filter(|row| matches(&row.title(), &options.only)).collect();
    let mut sets: Vec<DataSet> = Vec::new();
    for row in &rows {
        if !fits(row) {
            eprintln!("left out, there is not enough memory: {}", row.title());
        } else if !sets.contains(&row.set) {
            sets.push(row.set);
        }
    }
    rows.retain(fits);
    rows.sort_by_key(|row| sets.iter().position(|set| *set == row.set));
    rows
}

fn matches(title: &str, only: &str) -> bool {
    title.to_lowercase().contains(&only.to_lowercase())
}

fn measure(rows: &[Row], effort: Effort) -> Vec<Outcome> {
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed} of {duration}] {msg}");
    let bar = ProgressBar::new(rows.len() as u64);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let mut pool = Pool::default();
    let mut outcomes = Vec::new();
    for row in rows {
        bar.set_message(row.title());
        outcomes.extend(harness::measure(*row, &mut pool, effort));
        bar.inc(1);
    }
    bar.finish_and_clear();
    // In the order of the sections, however they were run.
    let place = |outcome: &Outcome| {
        WORKLOADS.iter().position(|workload| workload.section == outcome.section)
    };
    outcomes.sort_by_key(place);
    outcomes
}

fn measure_latencies(effort: Effort) -> Vec<Latency> {
    let set = DataSet::Dense(1 << 20).at_most(effort.entries_max);
    latency::measure(set, 8 * effort.sample_max, &mut Pool::default())
}

fn main() -> Result<(), Box<dyn Error>> {
    if memory::is_child(std::env::args())? {
        return Ok(());
    }
    let options = Options::parse();
    contender::choose(options.beside.clone())
        .map_err(|name| format!("there is no contender {name:?}"))?;
    let mut effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    effort.rounds = options.rounds.unwrap_or(effort.rounds).max(1);
    effort.entries_max = options.entries.unwrap_or(effort.entries_max);
    let rows = rows(&options, effort);
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.title()));
        return Ok(());
    }
    let machine = Machine::ask("report");
    let outcomes = measure(&rows, effort);
    let with_latencies = !options.grow && matches("Single operations", &options.only);
    let latencies = if with_latencies { measure_latencies(effort) } else { Vec::new() };
    let verdicts = target::check(&outcomes);
    let text = [
        table::header(&machine, effort.rounds),
        table::sections(&outcomes),
        table::latencies(&latencies),
        table::targets(&verdicts),
    ]
    .join("\n");
    print!("{text}");
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("report.md"), &text)?;
    let report = json::report(&machine, &outcomes, &latencies, &verdicts);
    fs::write(options.out.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    plot::draw(&outcomes, &options.out)?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
