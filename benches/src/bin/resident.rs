//! Measures what the process takes for a page cache while it is used; writes a table, JSON and a picture.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use benches::resident::{self, Effort, Phase};
use clap::Parser;
use serde_json::json;

/// Use a page cache in all ways, and print how much memory the process takes for it.
#[derive(Debug, Parser)]
struct Options {
    /// A small cache, for two seconds: good for a look only.
    #[arg(long)]
    quick: bool,
    /// MiB that the cache has room for.
    #[arg(long, default_value_t = 64)]
    capacity: u64,
    /// For how many seconds pages come and go.
    #[arg(long, default_value_t = 60)]
    churn: u64,
    /// Where resident.md, resident.json and resident.svg go.
    #[arg(long, default_value = "target/report")]
    out: PathBuf,
}

fn text(effort: Effort, phases: &[Phase]) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut lines = vec![
        format!(
            "Resident memory that came with a cache of {} MiB, at the end of each phase and at most in it.\n",
            mib(effort.capacity)
        ),
        "| what was done | seconds | room, MiB | cached, MiB | taken, MiB | at most | bytes a byte cached |".into(),
        "|---|---|---|---|---|---|---|".into(),
    ];
    for phase in phases {
        let (Some(first), Some(last)) = (phase.samples.first(), phase.samples.last()) else {
            continue;
        };
        let most = phase.samples.iter().map(|sample| sample.taken).max().unwrap_or(0);
        lines.push(format!(
            "| {} | {:.2} | {:.0} | {:.1} | {:.1} | {:.1} | {:.3} |",
            phase.name,
            (last.at - first.at).as_secs_f64(),
            mib(last.capacity),
            mib(last.cached),
            mib(last.taken),
            mib(most),
            last.taken as f64 / last.cached.max(1) as f64,
        ));
    }
    lines.join("\n") + "\n"
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (capacity, churn) =
        if options.quick { (8, 1) } else { (options.capacity.max(1), options.churn) };
    let effort = Effort { capacity: capacity << 20, churn: Duration::from_secs(churn) };
    fs::create_dir_all(&options.out)?;
    let phases = resident::measure(effort)?;
    let text = text(effort, &phases);
    print!("{text}");
    fs::write(options.out.join("resident.md"), &text)?;
    let samples = phases.iter().flat_map(|phase| {
        phase.samples.iter().map(|sample| {
            json!({
                "phase": phase.name,
                "seconds": sample.at.as_secs_f64(),
                "taken_bytes": sample.taken,
                "cached_bytes": sample.cached,
                "capacity_bytes": sample.capacity,
            })
        })
    });
    let samples: Vec<_> = samples.collect();
    fs::write(options.out.join("resident.json"), serde_json::to_string(&samples)?)?;
    resident::draw(&phases, &options.out.join("resident.svg"))?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}
