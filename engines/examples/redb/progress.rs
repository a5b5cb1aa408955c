//! Live progress on standard error: a bar on a terminal, a line a second elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a run is.
pub(crate) struct Progress {
    label: &'static str,
    begun: Instant,
    bar: Option<ProgressBar>,
    next_line: Duration,
}

impl Progress {
    /// Of a run that takes `total`, counted in whatever.
    pub(crate) fn new(label: &'static str, total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}")
                .expect("the template is valid")
                .progress_chars("=> ");
            ProgressBar::new(total).with_style(style).with_prefix(label)
        });
        Self { label, begun: Instant::now(), bar, next_line: Duration::from_secs(1) }
    }

    /// Says how things are, at `position` of the total.
    pub(crate) fn show(&mut self, position: u64, message: impl FnOnce() -> String) {
        let elapsed = self.begun.elapsed();
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(message());
            }
            None if elapsed >= self.next_line => {
                self.next_line = elapsed + Duration::from_secs(1);
                say(&format!("{} {:.0} s: {}", self.label, elapsed.as_secs_f64(), message()));
            }
            None => {}
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error; nobody may be listening, which is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
