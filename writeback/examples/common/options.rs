//! Options that the examples share, and how they end.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::HumanBytes;

use super::Fallible;
use super::progress::say;

/// Nothing was missed.
pub(crate) const OK: u8 = 0;
/// What was to be shown was not shown.
pub(crate) const FAILED: u8 = 1;
/// It could not be tried.
pub(crate) const TROUBLE: u8 = 2;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Size of the file; all of it is kept in memory unless told otherwise (K, M, G or KiB, MiB, GiB: powers of 1024)
    #[arg(long, default_value = "16MiB", value_parser = bytes)]
    pub(crate) size: u64,
    /// How many threads change pages
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) writers: u16,
    /// How many threads sync and check
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) syncers: u16,
    /// Bytes in a page: a power of two from 512 to 1MiB
    #[arg(long, default_value = "4096", value_parser = page_size)]
    pub(crate) page_size: usize,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// How many whole pages `--size` has; all of them are kept in memory, or no more than `capacity` bytes.
    pub(crate) fn pages(&self, capacity: Option<u64>) -> Fallible<usize> {
        enough_memory(self.size.min(capacity.unwrap_or(u64::MAX)))?;
        match usize::try_from(self.size)? / self.page_size {
            0 => Err("--size is less than one page".into()),
            pages => Ok(pages),
        }
    }
}

/// Tells whether a file of so many bytes can be kept in memory, some of its pages twice.
pub(crate) fn enough_memory(size: u64) -> Fallible<()> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    // Where the system does not tell, one terabyte is more than enough for a try.
    let most = available.map_or(1 << 40, |bytes| bytes / 3);
    if size <= most {
        return Ok(());
    }
    let (size, most) = (HumanBytes(size), HumanBytes(most));
    Err(format!("{size} is too much: it is kept in memory, which has room for {most}").into())
}

/// A number of bytes, with or without a suffix.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err("the suffix must be K, M, G or KiB, MiB, GiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "not a number of bytes")?;
    number.checked_mul(1 << unit).ok_or_else(|| "too large".into())
}

fn page_size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(bytes(text)?).unwrap_or(usize::MAX);
    let valid = size.is_power_of_two() && (512..=1 << 20).contains(&size);
    valid.then_some(size).ok_or_else(|| "must be a power of two from 512 to 1MiB".into())
}

/// A length of time in seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let valid = text.parse::<f64>().ok().filter(|seconds| (0.1..=1e6).contains(seconds));
    valid.map(Duration::from_secs_f64).ok_or_else(|| "must be a number from 0.1 to 1000000".into())
}

/// Parses the command line and does `work`; whatever goes wrong is one line on standard error.
pub(crate) fn main<A: clap::Parser>(work: impl FnOnce(A) -> Fallible<u8>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(help) if !help.use_stderr() => {
            let _ = help.print();
            return ExitCode::from(OK);
        }
        Err(error) => {
            // What is wrong comes first, then an empty line and advice.
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            say(&format!("{} (--help tells more)", lines.collect::<Vec<_>>().join(" ")));
            return ExitCode::from(TROUBLE);
        }
    };
    match work(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(TROUBLE)
        }
    }
}

/// Prints on standard output. Nobody may be reading it, which is no failure.
pub(crate) fn print(text: &str) -> Fallible<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot print the summary: {error}").into())
        }
        _ => Ok(()),
    }
}
