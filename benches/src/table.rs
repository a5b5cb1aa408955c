//! The results as Markdown tables.

use std::fmt::Write as _;

use crate::contender::CANDIDATES;
use crate::harness::Outcome;
use crate::latency::Latency;
use crate::machine::Machine;
use crate::stats::Spread;
use crate::target::Verdict;

/// Draws a table for each section: the first contender's median and range, the others' medians and how many times more than
/// the first they cost, compared round by round.
pub fn sections(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let mut sections: Vec<&str> = outcomes.iter().map(|outcome| outcome.section).collect();
    sections.sort_by_key(|section| outcomes.iter().position(|outcome| outcome.section == *section));
    sections.dedup();
    for section in sections {
        let rows: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.section == section).collect();
        let shown = |position: &usize| rows.iter().any(|row| !row.samples[*position].is_empty());
        let columns: Vec<usize> = (0..CANDIDATES.len()).filter(shown).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "### {section}\n");
        text += "| work | entries | threads | tagged | unit |";
        for &column in &columns {
            let _ = write!(text, " {} |", CANDIDATES[column].name);
        }
        let _ = writeln!(text, "\n|{}", "---|".repeat(5 + columns.len()));
        for row in rows {
            text += &line(row, &columns);
        }
        text.push('\n');
    }
    text
}

fn line(row: &Outcome, columns: &[usize]) -> String {
    let mut line = format!(
        "| {} | {} | {} | {} | {} |",
        row.title(),
        row.set,
        row.threads,
        percent(row.tagged_ppm),
        row.op.unit()
    );
    for &column in columns {
        line += &match Spread::of(&row.samples[column]) {
            None => " – |".to_owned(),
            Some(Spread { min, median, max }) if column == 0 => {
                format!(" **{}** [{}–{}] |", figure(median), figure(min), figure(max))
            }
            Some(Spread { median, .. }) => {
                let ratio = row
                    .ratio(column)
                    .map_or(String::new(), |ratio| format!(" ×{}", figure(ratio.median)));
                format!(" {}{ratio} |", figure(median))
            }
        };
    }
    line.push('\n');
    line
}

/// Draws the table of tail latencies.
pub fn latencies(latencies: &[Latency]) -> String {
    let mut text = String::from(
        "### Single operations, in ns\n\n| work | entries | threads | contender | median | 99 % | 99.9 % | longest |\n|---|---|---|---|---|---|---|---|\n",
    );
    for latency in latencies {
        let work = if latency.tags { "tag set + clear" } else { "random lookup" };
        let Latency { name, set, threads, p50, p99, p999, max, .. } = latency;
        let _ = writeln!(
            text,
            "| {work} | {set} | {threads} | {name} | {p50} | {p99} | {p999} | {max} |"
        );
    }
    text
}

/// Draws the table of targets.
pub fn targets(verdicts: &[Verdict]) -> String {
    let mut text =
        String::from("### Targets\n\n| target | at most | measured | |\n|---|---|---|---|\n");
    for verdict in verdicts {
        let (measured, met) = match &verdict.worst {
            None => ("–".to_owned(), "not measured"),
            Some((worst, place)) => (
                format!("{} ({place})", figure(*worst)),
                if verdict.met() == Some(true) { "met" } else { "**missed**" },
            ),
        };
        let _ = writeln!(
            text,
            "| {} | {} {} | {measured} | {met} |",
            verdict.target.title, verdict.target.limit, verdict.target.unit
        );
    }
    text
}

/// Says where and how the figures were made.
pub fn header(machine: &Machine, rounds: usize) -> String {
    let Machine { cpu, cores, os, rustc, date, command } = machine;
    format!(
        "`{command}`\n\n{cpu}, {cores} threads, {os}, {rustc}, {date}; {rounds} rounds.\n\n\
         Cells: the first contender's **median** [lowest–highest] over the rounds; for the others the median, and × how many\n\
         times what the first one costs, compared in the same round (median). Less is better everywhere. –: cannot do it.\n"
    )
}

/// Prints three digits or so: more would be noise.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        size if size < 10_000.0 => format!("{value:.0}"),
        _ => format!("{:.0}k", value / 1000.0),
    }
}

fn percent(ppm: u32) -> String {
    format!("{} %", f64::from(ppm) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Hold;
    use crate::keys::DataSet;
    use crate::workload::Op;

    #[test]
    fn a_row_has_medians_and_ratios() {
        let mut samples = vec![Vec::new(); CANDIDATES.len()];
        samples[0] = vec![1.0, 2.0, 4.0];
        samples[1] = vec![10.0, 20.0, 80.0];
        let outcome = Outcome {
            section: "Lookups",
            op: Op::Lookup,
            tags: false,
            hold: Hold::Each,
            set: DataSet::Dense(1 << 16),
            threads: 1,
            tagged_ppm: 0,
            samples,
        };
        let row = "| random lookup, guard each | dense 64K | 1 | 0 % | ns/op | **2.00** [1.00–4.00] | 20.0 ×10.0 |\n";
        assert!(sections(&[outcome]).contains(row));
    }
}
