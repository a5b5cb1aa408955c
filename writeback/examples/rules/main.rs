//! The rule of 2003 beside the rule of 2004: the same workload under both, and what each missed.
//!
//! ```text
//! cargo run --release --example rules --features rule-2003
//! ```
//!
//! The only difference is what a claim clears: the page's dirty flag and its dirty tag (2003), or the
//! flag only (2004). See [`writeback::DirtyRule`].

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::json;
use writeback::{Config, DirtyRule};

use common::Fallible;
use common::options::{self, FAILED, OK, Options};
use common::outcome::Outcome;
use common::run::{Plan, conduct};
use common::target::Target;
use common::workload::Numbered;

/// Runs the same workload under the rule of 2003 and that of 2004, and tells how many pages each
/// missed.
#[derive(Debug, Parser)]
#[command(
    name = "rules",
    after_help = "Exit status: 0 if the rule of 2003 missed some and that of 2004 none, 1 if not, 2 if it could not be tried."
)]
struct Arguments {
    /// How long to run under each rule
    #[arg(long, default_value = "4", value_parser = options::seconds)]
    seconds: Duration,
    #[command(flatten)]
    options: Options,
}

const WHAT_HAPPENED: &str = "\
What happened under the rule of 2003: the reclaimer wants to write a dirty page. It locks the page and
clears its dirty flag, and with it the tag in the index by which a sync finds dirty pages. Then it sees
that the journal holds the page. It waits a moment for it, and makes the page dirty again if that was
in vain. A sync that walks the index in that moment finds no tag: it neither writes the page nor waits
for it, and returns Ok although the page is not in the file, or not flushed.
Under the rule of 2004 the tag stays until it is decided what becomes of the page. The sync finds it,
waits for the page's lock, sees that the page is dirty, and writes it. Everything else is the same.
";

fn main() -> ExitCode {
    options::main(run)
}

fn run(arguments: Arguments) -> Fallible<u8> {
    let options = &arguments.options;
    let first = Target::temporary(options.syncers)?;
    let second = Target::temporary(options.syncers)?;
    if !options.json {
        options::print(&format!(
            "On {}, {} under each rule, seed {}: {} pages of {}, {} writers, {} syncers, a flusher, a \
             journal, a reclaimer.\n\n",
            first.describe(),
            HumanDuration(arguments.seconds),
            options.seed,
            HumanCount(options.pages(None)? as u64),
            HumanBytes(options.page_size as u64),
            options.writers,
            options.syncers,
        ))?;
    }
    let of_2003 = under(DirtyRule::FlagAndTag, "rule of 2003", &arguments, first)?;
    let of_2004 = under(DirtyRule::FlagOnly, "rule of 2004", &arguments, second)?;
    let shown = of_2003.missed > 0 && of_2004.is_clean();
    if options.json {
        let (of_2003, of_2004) = (of_2003.json(), of_2004.json());
        let summary = json!({ "rule_2003": of_2003, "rule_2004": of_2004, "shown": shown });
        options::print(&format!("{summary:#}\n"))?;
    } else {
        options::print(&describe(&of_2003, &of_2004))?;
    }
    Ok(if shown { OK } else { FAILED })
}

fn under(rule: DirtyRule, label: &str, arguments: &Arguments, target: Target) -> Fallible<Outcome> {
    let options = &arguments.options;
    let (pages, page_size, seed) = (options.pages(None)?, options.page_size, options.seed);
    let plan = Plan {
        label,
        workload: &Numbered { pages, page_size, seed },
        version_of: Numbered::claimed_version,
        config: Config::new().page_size(page_size).dirty_rule(rule),
        page_size,
        length: arguments.seconds,
        writers: options.writers,
        syncers: options.syncers,
        seed,
    };
    let name = target.name.clone();
    conduct(&plan, target).map_err(|error| format!("{name}: {error}").into())
}

fn describe(of_2003: &Outcome, of_2004: &Outcome) -> String {
    let mut text = format!("  {:<30} {:<44} {}\n", "", "2003: flag and tag", "2004: flag only");
    for ((name, old), (_, new)) in of_2003.table().into_iter().zip(of_2004.table()) {
        text += &format!("  {name:<30} {old:<44} {new}\n");
    }
    text.push('\n');
    if !of_2004.is_clean() {
        text += &format!("Under the rule of 2004: {}", of_2004.verdict());
    } else if of_2003.missed == 0 {
        text += "FAILED: the rule of 2003 missed no page this time. Try more --seconds.\n";
    } else {
        let missed = HumanCount(of_2003.missed);
        text += &format!(
            "THE RULE OF 2003 MISSED {missed} PAGES, THE RULE OF 2004 NONE. Some of them:\n"
        );
        for detail in of_2003.details.iter().take(3) {
            text += &format!("  {detail}\n");
        }
    }
    text.push('\n');
    text + WHAT_HAPPENED
}
