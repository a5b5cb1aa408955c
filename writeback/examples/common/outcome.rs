//! What came of a run, in numbers.

use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount, HumanFloatCount};
use serde_json::{Value, json};
use writeback::stats::Stats;

/// The numbers of one run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How long the writers ran.
    pub(crate) seconds: f64,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) syncs: u64,
    /// Syncs that come together share one of these.
    pub(crate) fdatasyncs: u64,
    pub(crate) latency_us: Histogram<u64>,
    /// Pages that a writer-back claimed and had to leave dirty because the journal held them.
    pub(crate) declined: u64,
    pub(crate) checked: u64,
    pub(crate) read_again: u64,
    pub(crate) missed: u64,
    /// Reads through the cache that were old or torn.
    pub(crate) misread: u64,
    /// The first of the missed and misread pages, described.
    pub(crate) details: Vec<String>,
    /// What the cache's own check of itself found.
    pub(crate) violation: Option<String>,
    pub(crate) stats: Stats,
    /// The most memory that the process had, in bytes, if the system tells.
    pub(crate) memory_most: Option<u64>,
}

impl Outcome {
    /// Nothing at all was wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.missed == 0 && self.misread == 0 && self.violation.is_none()
    }

    /// What it all means, in a line or two, and what was wrong.
    pub(crate) fn verdict(&self) -> String {
        let mut text = if self.is_clean() {
            format!(
                "NO PAGE WAS MISSED: when each of {} syncs returned, every page dirtied before was in \
                 the file.\n",
                HumanCount(self.syncs)
            )
        } else {
            format!(
                "FAILED: {} pages were missed by a sync, {} reads through the cache were wrong.\n",
                HumanCount(self.missed),
                HumanCount(self.misread)
            )
        };
        for detail in self.details.iter().chain(&self.violation) {
            text += &format!("  {detail}\n");
        }
        text
    }

    fn per_second(&self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let count = count as f64;
        (count / self.seconds.max(1e-3)).round()
    }

    /// The summary, one line a number.
    pub(crate) fn table(&self) -> Vec<(&'static str, String)> {
        let each = |count| {
            let rate = HumanFloatCount(self.per_second(count));
            format!("{} ({rate} a second)", HumanCount(count))
        };
        let quantile = |q| time(self.latency_us.value_at_quantile(q));
        let latency = format!(
            "p50 {}, p99 {}, max {}",
            quantile(0.5),
            quantile(0.99),
            time(self.latency_us.max())
        );
        vec![
            ("pages changed", each(self.writes)),
            ("pages read", each(self.reads)),
            ("pages written to the file", each(self.stats.written)),
            ("pages evicted", each(self.stats.evicted)),
            ("memory at most", self.memory_most.map_or("unknown".into(), memory)),
            ("declined, held by the journal", HumanCount(self.declined).to_string()),
            ("sync_data calls", HumanCount(self.syncs).to_string()),
            ("fdatasync calls they needed", HumanCount(self.fdatasyncs).to_string()),
            ("sync latency", latency),
            ("pages checked past the cache", HumanCount(self.checked).to_string()),
            ("  of these read again, torn", HumanCount(self.read_again).to_string()),
            ("pages missed", HumanCount(self.missed).to_string()),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "writes": self.writes,
            "writes_per_second": self.per_second(self.writes),
            "reads": self.reads,
            "reads_per_second": self.per_second(self.reads),
            "pages_written": self.stats.written,
            "pages_evicted": self.stats.evicted,
            "pages_cached": self.stats.cached,
            "memory_most_bytes": self.memory_most,
            "declined": self.declined,
            "syncs": self.syncs,
            "fdatasyncs": self.fdatasyncs,
            "sync_latency_us": {
                "p50": self.latency_us.value_at_quantile(0.5),
                "p99": self.latency_us.value_at_quantile(0.99),
                "max": self.latency_us.max(),
            },
            "pages_checked": self.checked,
            "pages_read_again": self.read_again,
            "pages_missed": self.missed,
            "pages_misread": self.misread,
            "violation": self.violation,
            "details": self.details,
        })
    }
}

fn memory(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// The most memory that this process has had.
pub(crate) fn memory_most() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A histogram of microseconds, up to an hour.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are valid")
}

/// Microseconds for people.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}
