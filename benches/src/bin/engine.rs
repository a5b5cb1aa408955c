//! Measures redb over `writeback` beside redb's own file backend; writes a table and JSON.

use std::fs;
use std::path::PathBuf;

use benches::engine::{self, Effort, Fallible, Outcome, RIVALS};
use benches::machine::Machine;
use benches::stats::Spread;
use benches::table::figure;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Measure redb over writeback, over its own file backend and in memory, and print a Markdown table.
#[derive(Debug, Parser)]
struct Options {
    /// Take few samples of a small database: good for a look only.
    #[arg(long)]
    quick: bool,
    /// Rounds, each with a sample of each rival.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only the work with these words in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the databases are made, and removed afterwards: the device matters.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Where engine.md and engine.json go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

fn text(machine: &Machine, outcomes: &[Outcome]) -> String {
    let Machine { cpu, cores, os, rustc, date, command } = machine;
    let names: String = RIVALS.iter().map(|rival| format!(" {} |", rival.name)).collect();
    let mut lines = vec![
        format!("`{command}`\n\n{cpu}, {cores} threads, {os}, {rustc}, {date}.\n"),
        "Cells: the first one's **median** [lowest–highest] over the rounds; for the others the median, and × how many times what \
         the first one costs, compared in the same round (median). Less is better.\n"
            .to_owned(),
        format!("| work | threads | redb's own cache | unit |{names}"),
        format!("|{}", "---|".repeat(4 + RIVALS.len())),
    ];
    for outcome in outcomes {
        let row = outcome.row;
        let cache = if row.own_cache { "all" } else { "next to none" };
        let mut line =
            format!("| {} | {} | {cache} | {} |", row.act.words(), row.threads, row.act.unit());
        for (position, samples) in outcome.samples.iter().enumerate() {
            let Some(Spread { min, median, max }) = Spread::of(samples) else { continue };
            let ratio = outcome.ratio(position).map_or(0.0, |ratio| ratio.median);
            line += &if position == 0 {
                format!(" **{}** [{}–{}] |", figure(median), figure(min), figure(max))
            } else {
                format!(" {} ×{} |", figure(median), figure(ratio))
            };
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

fn json(machine: &Machine, outcomes: &[Outcome]) -> Value {
    let results = outcomes.iter().flat_map(|outcome| {
        outcome.samples.iter().enumerate().filter_map(|(position, samples)| {
            let Spread { min, median, max } = Spread::of(samples)?;
            Some(json!({
                "workload": outcome.row.act.words(),
                "contender": RIVALS[position].name,
                "threads": outcome.row.threads,
                "own_cache": outcome.row.own_cache,
                "unit": outcome.row.act.unit(),
                "rounds": samples.len(),
                "median": median,
                "min": min,
                "max": max,
                "ratio_to_ours": outcome.ratio(position).map(|ratio| ratio.median),
            }))
        })
    });
    json!({
        "machine": machine.json(),
        "command": machine.command,
        "results": results.collect::<Vec<_>>(),
    })
}

fn main() -> Fallible<()> {
    let options = Options::parse();
    let machine = Machine::ask("engine");
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 }).max(1);
    let (records, commits) = if options.quick { (10_000, 100) } else { (200_000, 1000) };
    fs::create_dir_all(&options.folder)?;
    fs::create_dir_all(&options.out)?;
    let folder = tempfile::tempdir_in(&options.folder)?;
    let rows = engine::ROWS.iter().filter(|row| row.act.words().contains(&options.only));
    let rows: Vec<_> = rows.copied().collect();
    let bar = ProgressBar::new(rows.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed}] {msg}")?);
    let effort = Effort { rounds, records, commits };
    let outcomes = engine::measure(folder.path(), &rows, effort, |row| {
        bar.inc(1);
        bar.set_message(row.act.words());
    })?;
    bar.finish_and_clear();
    let text = text(&machine, &outcomes);
    print!("{text}");
    fs::write(options.out.join("engine.md"), &text)?;
    let report = json(&machine, &outcomes);
    fs::write(options.out.join("engine.json"), serde_json::to_string_pretty(&report)?)?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
