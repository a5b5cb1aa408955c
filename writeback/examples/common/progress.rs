//! Live progress on standard error: a bar on a terminal, a line a second elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a run is.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    begun: Instant,
    length: Duration,
    bar: Option<ProgressBar>,
    next_line: Duration,
}

impl Progress {
    pub(crate) fn new(label: &str, length: Duration) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}")
                .expect("the template is valid")
                .progress_chars("=> ");
            let total = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            ProgressBar::new(total).with_style(style).with_prefix(label.to_owned())
        });
        let (label, next_line) = (label.to_owned(), Duration::from_secs(1));
        Self { label, begun: Instant::now(), length, bar, next_line }
    }

    /// Says how things are; call it several times a second.
    pub(crate) fn show(&mut self, message: impl FnOnce() -> String) {
        let elapsed = self.begun.elapsed();
        match &self.bar {
            Some(bar) => {
                let shown = elapsed.min(self.length);
                bar.set_position(u64::try_from(shown.as_millis()).unwrap_or(u64::MAX));
                bar.set_message(message());
            }
            None if elapsed >= self.next_line => {
                self.next_line = elapsed + Duration::from_secs(1);
                say(&format!("{} {:.0} s: {}", self.label, elapsed.as_secs_f64(), message()));
            }
            None => {}
        }
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
