//! Measures which pages `writeback` keeps, beside other caches; writes a table and JSON.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use benches::hits::{self, Effort, Outcome, RIVALS, TRACES};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Play traces to writeback's page cache and to others, and print their hit ratios as a Markdown table.
#[derive(Debug, Parser)]
struct Options {
    /// Play short traces to small caches: good for a look only.
    #[arg(long)]
    quick: bool,
    /// Pages that each cache has room for.
    #[arg(long)]
    capacity: Option<u64>,
    /// Visits of pages in each trace.
    #[arg(long)]
    visits: Option<usize>,
    /// Where hits.md and hits.json go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

fn text(effort: Effort, outcomes: &[Outcome]) -> String {
    let Effort { capacity, visits } = effort;
    let names: String = RIVALS.iter().map(|rival| format!(" {} |", rival.name)).collect();
    let mut lines = vec![
        format!(
            "Visits in a hundred that found their page; C = {capacity} pages, {visits} visits a trace.\n"
        ),
        format!("| trace |{names} to the best other |"),
        format!("|{}", "---|".repeat(2 + RIVALS.len())),
    ];
    for outcome in outcomes {
        let best = outcome.percent.iter().copied().fold(0.0, f64::max);
        let cell = |percent: &f64| match *percent >= best {
            true => format!(" **{percent:.2}** |"),
            false => format!(" {percent:.2} |"),
        };
        let cells: String = outcome.percent.iter().map(cell).collect();
        lines.push(format!("| {} |{cells} {:+.2} |", outcome.trace.name, -outcome.behind()));
    }
    lines.push(String::new());
    lines.extend(TRACES.iter().map(|trace| format!("* *{}*: {}.", trace.name, trace.what)));
    lines.push(String::new());
    lines.extend(RIVALS.iter().map(|rival| format!("* *{}*: {}.", rival.name, rival.what)));
    lines.join("\n") + "\n"
}

fn json(effort: Effort, outcomes: &[Outcome]) -> Value {
    let results = outcomes.iter().flat_map(|outcome| {
        let each = RIVALS.iter().zip(&outcome.percent);
        each.map(|(rival, percent)| {
            json!({ "trace": outcome.trace.name, "cache": rival.name, "hit_percent": percent })
        })
    });
    json!({
        "capacity": effort.capacity,
        "visits": effort.visits,
        "results": results.collect::<Vec<_>>(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (capacity, visits) = if options.quick { (512, 50_000) } else { (4096, 1_000_000) };
    let effort = Effort {
        capacity: options.capacity.unwrap_or(capacity).max(64),
        visits: options.visits.unwrap_or(visits),
    };
    fs::create_dir_all(&options.out)?;
    let bar = ProgressBar::new(TRACES.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed}] {msg}")?);
    let outcomes = hits::measure(effort, |trace| {
        bar.inc(1);
        bar.set_message(trace.name);
    });
    bar.finish_and_clear();
    let text = text(effort, &outcomes);
    print!("{text}");
    fs::write(options.out.join("hits.md"), &text)?;
    fs::write(
        options.out.join("hits.json"),
        serde_json::to_string_pretty(&json(effort, &outcomes))?,
    )?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
