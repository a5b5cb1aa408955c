//! Measures the stores of files beside each other; writes a table and JSON.

use std::fs;
use std::path::PathBuf;

use benches::machine::Machine;
use benches::stats::Spread;
use benches::stores::{self, Cost, Effort, Fallible, Outcome, RIVALS, ROWS};
use benches::table::figure;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Measure FileStore, DirectStore and what else there is below a mapping, and print a Markdown table.
#[derive(Debug, Parser)]
struct Options {
    /// Take few samples of a small file: good for a look only.
    #[arg(long)]
    quick: bool,
    /// Rounds, each with a sample of each store.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the files are made, and removed afterwards: the device matters.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Where stores.md and stores.json go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

/// A kind of figures.
type Of = fn(&Cost) -> f64;

const KINDS: [(&str, Of); 2] = [("ns/page", |cost| cost.wall), ("CPU ns/page", |cost| cost.cpu)];

fn text(machine: &Machine, outcomes: &[Outcome]) -> String {
    let Machine { cpu, cores, os, rustc, date, command } = machine;
    let names: String = RIVALS.iter().map(|rival| format!(" {} |", rival.name)).collect();
    let mut lines = vec![
        format!("`{command}`\n\n{cpu}, {cores} threads, {os}, {rustc}, {date}.\n"),
        "Cells: the first one's **median** [lowest–highest] over the rounds; for the others the median, and × how many times what \
         the first one costs, compared in the same round (median). Less is better.\n"
            .to_owned(),
        format!("| work | threads | unit |{names}"),
        format!("|{}", "---|".repeat(3 + RIVALS.len())),
    ];
    for (row, (act, threads)) in ROWS.iter().enumerate() {
        for (unit, of) in KINDS {
            let mut line = format!("| {} | {threads} | {unit} |", act.words());
            for (position, outcome) in outcomes.iter().enumerate() {
                let Some(Spread { min, median, max }) = outcome.spread(row, of) else { continue };
                let ratio = outcome.ratio(&outcomes[0], row, of).map_or(0.0, |ratio| ratio.median);
                line += &if position == 0 {
                    format!(" **{}** [{}–{}] |", figure(median), figure(min), figure(max))
                } else {
                    format!(" {} ×{} |", figure(median), figure(ratio))
                };
            }
            lines.push(line);
        }
    }
    let mut line = "| memory when all is cached and durable | | bytes/byte |".to_owned();
    for outcome in outcomes {
        let part = |of: fn(&(f64, f64)) -> f64| {
            let parts: Vec<_> = outcome.memory.iter().map(of).collect();
            Spread::of(&parts).map_or(0.0, |spread| spread.median)
        };
        let (here, kernel) = (part(|memory| memory.0), part(|memory| memory.1));
        line += &format!(" {:.2} ({here:.2} + {kernel:.2}) |", here + kernel);
    }
    lines.push(line);
    lines.push(String::new());
    lines.extend(RIVALS.iter().map(|rival| format!("* *{}*: {}.", rival.name, rival.what)));
    lines.join("\n") + "\n"
}

fn json(machine: &Machine, outcomes: &[Outcome]) -> Value {
    let results = RIVALS.iter().zip(outcomes).flat_map(|(rival, outcome)| {
        ROWS.iter().zip(&outcome.costs).map(|((act, threads), costs)| {
            json!({
                "workload": act.words(),
                "contender": rival.name,
                "threads": threads,
                "ns_a_page": costs.iter().map(|cost| cost.wall).collect::<Vec<_>>(),
                "cpu_ns_a_page": costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>(),
                "memory_here_and_in_the_kernel": outcome.memory,
            })
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
    let machine = Machine::ask("stores");
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 }).max(1);
    let (pages, random) = if options.quick { (1 << 12, 1 << 10) } else { (1 << 16, 1 << 12) };
    fs::create_dir_all(&options.folder)?;
    fs::create_dir_all(&options.out)?;
    let folder = tempfile::tempdir_in(&options.folder)?;
    let bar = ProgressBar::new(rounds as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed}]")?);
    let effort = Effort { rounds, pages, random };
    let outcomes = stores::measure(folder.path(), effort, |_| bar.inc(1))?;
    bar.finish_and_clear();
    let text = text(&machine, &outcomes);
    print!("{text}");
    fs::write(options.out.join("stores.md"), &text)?;
    let report = json(&machine, &outcomes);
    fs::write(options.out.join("stores.json"), serde_json::to_string_pretty(&report)?)?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
