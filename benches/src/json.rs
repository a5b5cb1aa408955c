//! The results as JSON, for programs.

use serde_json::{Value, json};

use crate::contender::CANDIDATES;
use crate::harness::Outcome;
use crate::latency::Latency;
use crate::machine::Machine;
use crate::stats::Spread;
use crate::target::Verdict;

/// Everything that was measured.
pub fn report(
    machine: &Machine,
    outcomes: &[Outcome],
    latencies: &[Latency],
    verdicts: &[Verdict],
) -> Value {
    json!({
        "machine": machine.json(),
        "command": machine.command,
        "results": outcomes.iter().flat_map(results).collect::<Vec<_>>(),
        "latencies_ns": latencies.iter().map(latency).collect::<Vec<_>>(),
        "targets": verdicts.iter().map(target).collect::<Vec<_>>(),
    })
}

fn results(outcome: &Outcome) -> Vec<Value> {
    let result = |(position, samples): (usize, &Vec<f64>)| {
        let cost = Spread::of(samples)?;
        Some(json!({
            "workload": outcome.title(),
            "contender": CANDIDATES[position].name,
            "data_set": outcome.set.to_string(),
            "entries": outcome.set.entries(),
            "threads": outcome.threads,
            "tagged_ppm": outcome.tagged_ppm,
            "unit": outcome.op.unit(),
            "rounds": samples.len(),
            "median": cost.median,
            "min": cost.min,
            "max": cost.max,
            "ratio_to_ours": outcome.ratio(position).map(|ratio| ratio.median),
        }))
    };
    outcome.samples.iter().enumerate().filter_map(result).collect()
}

fn latency(latency: &Latency) -> Value {
    json!({
        "workload": if latency.tags { "tag set + clear" } else { "random lookup" },
        "contender": latency.name,
        "data_set": latency.set.to_string(),
        "threads": latency.threads,
        "count": latency.count,
        "p50": latency.p50,
        "p99": latency.p99,
        "p99.9": latency.p999,
        "max": latency.max,
    })
}

fn target(verdict: &Verdict) -> Value {
    json!({
        "target": verdict.target.title,
        "limit": verdict.target.limit,
        "unit": verdict.target.unit,
        "measured": verdict.worst.as_ref().map(|worst| worst.0),
        "where": verdict.worst.as_ref().map(|worst| &worst.1),
        "met": verdict.met(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Effort, Pool, measure};
    use crate::target;
    use crate::workload::WORKLOADS;

    #[test]
    fn a_report_has_a_result_for_each_contender_that_was_measured() {
        let effort = Effort { rounds: 1, entries_max: 1 << 10, ..Effort::QUICK };
        let outcomes = measure(WORKLOADS[0].rows(1 << 10)[0], &mut Pool::default(), effort);
        let report = report(&Machine::ask("report"), &outcomes, &[], &target::check(&outcomes));
        let measured = outcomes[0].samples.iter().filter(|samples| !samples.is_empty()).count();
        let results = report["results"].as_array().expect("an array");
        assert_eq!(results.len(), measured);
        assert_eq!(results[0]["contender"], "tagged-radix");
        assert_eq!(results[0]["ratio_to_ours"], 1.0);
        assert_eq!(results[0]["rounds"], 1);
        assert!(report["machine"]["cores"].as_u64() >= Some(1));
        assert!(report["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
    }
}
