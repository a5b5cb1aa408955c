//! The result as a Markdown table.

use std::fmt::Write as _;

use crate::contender::CANDIDATES;
use crate::harness::{Outcome, Spread};

/// Draws one row a workload: the median cost of each contender (best round in brackets),
/// and how many times more than the first contender each other one costs (range over the rounds in brackets).
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut table = String::from("| workload | threads | unit |");
    for (position, candidate) in CANDIDATES.iter().enumerate() {
        // Writing to a `String` cannot fail.
        let _ = write!(table, " `{}` |", candidate.name);
        if position > 0 {
            table.push_str(" ratio |");
        }
    }
    table.push_str("\n|---|---|---|");
    table.push_str(&"---|".repeat(2 * CANDIDATES.len() - 1));
    table.push('\n');
    for outcome in outcomes {
        table.push_str(&row(outcome));
    }
    table
}

fn row(outcome: &Outcome) -> String {
    let workload = outcome.workload;
    let mut row = format!("| {} | {} | {} |", workload.title(), workload.threads, workload.unit());
    for position in 0..outcome.samples.len() {
        let Spread { min, median, .. } = outcome.cost(position);
        let _ = write!(row, " {} [{}] |", figure(median), figure(min));
        if position > 0 {
            let Spread { min, median, max } = outcome.ratio(position);
            let _ = write!(row, " **{}** [{}–{}] |", figure(median), figure(min), figure(max));
        }
    }
    row.push('\n');
    row
}

/// Prints three digits or so: more would be noise.
fn figure(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    #[test]
    fn ratios_compare_the_same_round() {
        let outcome = Outcome {
            workload: WORKLOADS[0],
            samples: vec![vec![1.0, 2.0, 4.0], vec![10.0, 20.0, 80.0]],
        };
        let table = markdown(&[outcome]);
        assert!(
            table.ends_with(
                "| 1 | ns/lookup | 2.00 [1.00] | 20.0 [10.0] | **10.0** [10.0–20.0] |\n"
            ),
            "{table}"
        );
    }
}
