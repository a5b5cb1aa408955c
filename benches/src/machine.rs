//! Where and with what the figures were made.

use std::fs;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

/// What a stranger needs to know about the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads it runs at the same time.
    pub cores: usize,
    /// The operating system and its version.
    pub os: String,
    /// The compiler's version.
    pub rustc: String,
    /// The day.
    pub date: String,
    /// The command line.
    pub command: String,
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl Machine {
    /// Asks the system; what it does not tell is "unknown". `program` is the one that runs.
    pub fn ask(program: &str) -> Machine {
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments = arguments.join(" ");
        let command = format!("cargo run --release -p benches --bin {program} -- {arguments}");
        Machine {
            cpu: known(cpu().or_else(|| output("uname", &["-m"]))),
            cores: thread::available_parallelism().map_or(1, usize::from),
            os: known(output("uname", &["-sr"])),
            rustc: known(output("rustc", &["--version"])),
            date: known(output("date", &["-u", "+%Y-%m-%d"])),
            command: command.trim_end_matches(" -- ").to_owned(),
        }
    }

    /// All but the command, for programs.
    pub fn json(&self) -> Value {
        let Machine { cpu, cores, os, rustc, date, command: _ } = self;
        json!({ "cpu": cpu, "cores": cores, "os": os, "rustc": rustc, "date": date })
    }
}
