//! Measures `writeback` beside what people use today for pages of a file; writes tables and JSON.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use benches::machine::Machine;
use benches::memory;
use benches::pages::{self, Act, Effort, Outcome, Overhead, PAGE, RIVALS};
use benches::stats::Spread;
use benches::table::figure;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Measure writeback beside the kernel's page cache and a map of pages, and print Markdown tables.
#[derive(Debug, Parser)]
struct Options {
    /// Take few samples of a small file: good for a look only.
    #[arg(long)]
    quick: bool,
    /// Rounds, each with a sample of each rival.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the files are made that are measured, and removed afterwards: the device matters.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Where pages.md and pages.json go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

/// A bound on what `writeback` costs, and what it is.
struct Verdict {
    title: String,
    limit: f64,
    measured: f64,
}

impl Verdict {
    fn met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// The median cost of the first rival over that of the second.
fn over_pwrite(outcomes: &[Outcome], rival: &str, act: Act) -> Option<f64> {
    let row = outcomes.iter().find(|row| row.act == act && row.threads == 1)?;
    let samples = |name: &str| {
        let position = RIVALS.iter().position(|rival| rival.name == name)?;
        row.samples.get(position)
    };
    Some(Spread::of_ratios(samples(rival)?, samples("pwrite")?)?.median)
}

fn verdicts(outcomes: &[Outcome], overheads: &[Overhead]) -> Vec<Verdict> {
    let limits = [
        ("writeback", Act::Update, 1.0 / 20.0),
        ("writeback", Act::Write, 1.0 / 8.0),
        ("writeback", Act::Read, 1.0 / 1.7),
        ("writeback", Act::ReadLittle, 1.0 / 6.0),
        ("writeback", Act::SyncAll, 1.0),
        ("writeback", Act::SyncRandom, 1.0),
    ];
    let over = |(rival, act, limit): (&str, Act, f64)| {
        let title = format!("{rival}: {}, over pwrite", act.words());
        Some(Verdict { title, limit, measured: over_pwrite(outcomes, rival, act)? })
    };
    let mut verdicts: Vec<Verdict> = limits.into_iter().filter_map(over).collect();
    let looks = outcomes.iter().find(|row| row.act == Act::Look && row.threads == 1);
    if let Some(look) = looks.and_then(|row| Spread::of(row.samples.first()?)) {
        let title = "a read guard on a random page, ns".to_owned();
        verdicts.push(Verdict { title, limit: 75.0, measured: look.median });
    }
    let medians: Vec<f64> = overheads
        .iter()
        .filter_map(|overhead| Some(Spread::of(&overhead.samples)?.median))
        .collect();
    if let (Some(few), Some(many)) = (medians.first(), medians.last()) {
        let title = "sync without I/O, most cached pages over fewest".to_owned();
        verdicts.push(Verdict { title, limit: 1.5, measured: many / few });
    }
    let most = medians.iter().copied().fold(0.0, f64::max);
    let title = "sync without I/O, ns/page".to_owned();
    verdicts.push(Verdict { title, limit: 1000.0, measured: most });
    verdicts
}

fn text(
    machine: &Machine,
    outcomes: &[Outcome],
    overheads: &[Overhead],
    verdicts: &[Verdict],
) -> String {
    let Machine { cpu, cores, os, rustc, date, command } = machine;
    let mut lines = vec![
        format!("`{command}`\n\n{cpu}, {cores} threads, {os}, {rustc}, {date}.\n"),
        "Cells: the first one's **median** [lowest–highest] over the rounds; for the others the median, and × how many times what \
         the first one costs, compared in the same round (median). Less is better.\n"
            .to_owned(),
        format!(
            "| work | threads | unit |{}",
            RIVALS.iter().map(|rival| format!(" {} |", rival.name)).collect::<String>()
        ),
        format!("|{}", "---|".repeat(3 + RIVALS.len())),
    ];
    for row in outcomes {
        let mut line = format!("| {} | {} | {} |", row.act.words(), row.threads, row.act.unit());
        for (position, samples) in row.samples.iter().enumerate() {
            let Some(Spread { min, median, max }) = Spread::of(samples) else { continue };
            let ratio = row.ratio(position).map_or(0.0, |ratio| ratio.median);
            line += &if position == 0 {
                format!(" **{}** [{}–{}] |", figure(median), figure(min), figure(max))
            } else {
                format!(" {} ×{} |", figure(median), figure(ratio))
            };
        }
        lines.push(line);
    }
    lines.push(
        "\n| sync without I/O: dirty pages | among cached | ns/page |\n|---|---|---|".to_owned(),
    );
    for Overhead { cached, dirty, samples } in overheads {
        if let Some(Spread { min, median, max }) = Spread::of(samples) {
            let cost = format!("**{}** [{}–{}]", figure(median), figure(min), figure(max));
            lines.push(format!("| {dirty} | {cached} | {cost} |"));
        }
    }
    lines.push("\n| target | at most | measured | |\n|---|---|---|---|".to_owned());
    for verdict in verdicts {
        let met = if verdict.met() { "met" } else { "**missed**" };
        let (limit, measured) = (figure(verdict.limit), figure(verdict.measured));
        lines.push(format!("| {} | {limit} | {measured} | {met} |", verdict.title));
    }
    lines.join("\n") + "\n"
}

fn json(
    machine: &Machine,
    outcomes: &[Outcome],
    overheads: &[Overhead],
    verdicts: &[Verdict],
) -> Value {
    let results = outcomes.iter().flat_map(|row| {
        row.samples.iter().enumerate().filter_map(|(position, samples)| {
            let Spread { min, median, max } = Spread::of(samples)?;
            Some(json!({
                "workload": row.act.words(),
                "contender": RIVALS[position].name,
                "threads": row.threads,
                "unit": row.act.unit(),
                "rounds": samples.len(),
                "median": median,
                "min": min,
                "max": max,
                "ratio_to_ours": row.ratio(position).map(|ratio| ratio.median),
            }))
        })
    });
    json!({
        "machine": machine.json(),
        "command": machine.command,
        "results": results.collect::<Vec<_>>(),
        "sync_without_io": overheads.iter().map(|Overhead { cached, dirty, samples }| json!({
            "cached": cached,
            "dirty": dirty,
            "ns_a_page": samples,
        })).collect::<Vec<_>>(),
        "targets": verdicts.iter().map(|verdict| json!({
            "target": verdict.title,
            "limit": verdict.limit,
            "measured": verdict.measured,
            "met": verdict.met(),
        })).collect::<Vec<_>>(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let machine = Machine::ask("pages");
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 }).max(1);
    let pages = if options.quick { 1 << 10 } else { 1 << 14 };
    let cached: &[u64] =
        if options.quick { &[1 << 11, 1 << 14] } else { &[10_000, 100_000, 1_000_000] };
    let fits =
        |&&pages: &&u64| memory::available().is_none_or(|bytes| 2 * pages * (PAGE as u64) < bytes);
    let cached: Vec<u64> = cached.iter().filter(fits).copied().collect();
    fs::create_dir_all(&options.folder)?;
    fs::create_dir_all(&options.out)?;
    let folder = tempfile::tempdir_in(&options.folder)?;
    let bar = ProgressBar::new(pages::ACTS.len() as u64 + 1)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed}] {msg}")?);
    let outcomes = pages::measure(folder.path(), Effort { rounds, pages }, |act, threads| {
        bar.inc(1);
        bar.set_message(format!("{}, {threads} thread(s)", act.words()));
    })?;
    bar.set_message("sync without I/O");
    let overheads = pages::overhead(&cached, 1000, rounds)?;
    bar.finish_and_clear();
    let verdicts = verdicts(&outcomes, &overheads);
    let text = text(&machine, &outcomes, &overheads, &verdicts);
    print!("{text}");
    fs::write(options.out.join("pages.md"), &text)?;
    let report = json(&machine, &outcomes, &overheads, &verdicts);
    fs::write(options.out.join("pages.json"), serde_json::to_string_pretty(&report)?)?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
